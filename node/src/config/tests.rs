//! What is said of a configuration that cannot be used.

use super::*;

fn problem(config: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let root = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    fs::write(
        dir.path().join("federation.toml"),
        format!("name = \"x\"\nthreshold = 1\nroots = [\"{root}\"]\n"),
    )
    .unwrap();
    let file = dir.path().join("lapwing.toml");
    fs::write(&file, config).unwrap();
    match load(&file) {
        Ok(_) => String::new(),
        Err(e) => e.to_string().replace(&dir.path().display().to_string(), ""),
    }
}

const GOOD: &str =
    "federation = \"federation.toml\"\ndata_dir = \"data\"\nkey_file = \"node.key\"\n";

#[test]
fn names_what_is_wrong_and_what_to_do() {
    let table = [
        ("[api]\nlisten = \"127.0.0.1:0\"\n", ""),
        (
            "[api]\nlisten = \"localhost\"\n",
            "/lapwing.toml: `api.listen` is `localhost`: write an address and a port, such as 127.0.0.1:8080",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[nett]\nlisten = []\n",
            "did you mean `net`?",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[log]\nlevle = \"info\"\n",
            "line 7: unknown field `levle`, expected `format` or `level`; did you mean `level`?",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"loud\"\n",
            "line 7: unknown variant `loud`",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[store]\ncache_mib = 0\n",
            "`store.cache_mib` is 0: choose 1 to 65536",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[net]\nlisten = [\"127.0.0.1:1\"]\n",
            "`net.listen` has `127.0.0.1:1`, which is no multiaddress",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[net]\nlisten = [\"/ip4/0.0.0.0/tcp/4001\", \"/ip4/0.0.0.0/udp/4001/quic-v1\"]\nmdns = true\nmax_connections = 100\n",
            "",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[net]\nlisten = [\"/ip4/0.0.0.0/udp/4001\"]\n",
            "`net.listen` cannot be used: /ip4/0.0.0.0/udp/4001 is not supported; write /ip4/<address>/tcp/<port> or /ip4/<address>/udp/<port>/quic-v1",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[net]\nbootstrap = [\"/dns/node.example/udp/4001/quic-v1\"]\n",
            "`net.bootstrap` cannot be used: bootstrap address /dns/node.example/udp/4001/quic-v1 does not end in /p2p/",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\n[net]\npeer_calls_per_second = 5\n",
            "`net.peer_calls_per_second` is 5: choose 100 to 1000000",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"::1\", \"10.0.0.0/8\"]\n",
            "`api.trusted_proxies` has `10.0.0.0/8`: write the proxy's IP address",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\ncors_origins = [\"https://a.example/\"]\n",
            "`api.cors_origins` has `https://a.example/`",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"::ffff:10.0.0.1\"]\ncors_origins = [\"*\"]\n",
            "",
        ),
        ("", "missing field `api`"),
    ];
    for (rest, said) in table {
        let found = problem(&format!("{GOOD}{rest}"));
        assert!(
            found.contains(said) && (said.is_empty() == found.is_empty()),
            "{rest:?} gave {found:?}"
        );
        assert!(!found.contains('\n'), "one line: {found:?}");
    }
    assert!(problem("federation = \"no.toml\"\ndata_dir = \"d\"\nkey_file = \"k\"\n[api]\nlisten = \"127.0.0.1:0\"\n").contains("no.toml: cannot be read"));
}
