//! What every test here starts with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lapwing_testnet::federation::quick_params;
use lapwing_testnet::net::NetOptions;
use lapwing_testnet::seeds::Seeds;

/// The node binary of this build, brought up to date once; or the one that `LAPWING_BIN` names.
pub(crate) fn lapwing() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("LAPWING_BIN") {
            return path.into();
        }
        // target/<profile>/deps/<this test>
        let exe = std::env::current_exe().unwrap();
        let profile = exe.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "-p", "lapwing"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        profile.join("lapwing")
    })
}

/// A federation under `base`.
pub(crate) fn options(base: &Path, nodes: usize, seed: u64) -> NetOptions {
    NetOptions {
        nodes,
        seeds: Seeds::new(seed),
        params: quick_params(),
        base: base.to_owned(),
        binary: lapwing().to_owned(),
        keep: false,
        relays: false,
    }
}
