//! The node's configuration: parsed raw, with unknown fields refused, then validated into what the node
//! uses. Relative paths are relative to the file that names them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use lapwing_api::Origins;
use lapwing_net::{Limits, Multiaddr, NetError};
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::federation::Federation;
use lapwing_protocol::id::from_hex;
use lapwing_protocol::key::VerifyingKey;
use serde::Deserialize;

/// Why a configuration cannot be used. Each message is one line: where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{path}: cannot be read ({source}): check the path and its permissions", path = path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {what}", path = path.display())]
    Syntax { path: PathBuf, what: String },
    #[error("{path}: `{field}` {what}", path = path.display())]
    Field {
        path: PathBuf,
        field: &'static str,
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    federation: PathBuf,
    data_dir: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    net: RawNet,
    api: RawApi,
    #[serde(default)]
    admin: RawAdmin,
    #[serde(default)]
    log: RawLog,
    #[serde(default)]
    store: RawStore,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawNet {
    #[serde(default)]
    listen: Vec<String>,
    #[serde(default)]
    announce: Vec<String>,
    #[serde(default)]
    bootstrap: Vec<String>,
    #[serde(default)]
    mdns: bool,
    max_connections: Option<u32>,
    peer_calls_per_second: Option<u32>,
    peer_mib_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApi {
    listen: String,
    max_connections: Option<usize>,
    rate_per_second: Option<u32>,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    cors_origins: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    socket: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLog {
    #[serde(default)]
    format: LogFormat,
    #[serde(default)]
    level: LogLevel,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawStore {
    cache_mib: Option<u64>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// Failures only.
    Error,
    /// What an operator should look at.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// For developers.
    Debug,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) federation: FederationFile,
    pub(crate) data_dir: PathBuf,
    pub(crate) key_file: PathBuf,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) announce: Vec<Multiaddr>,
    pub(crate) bootstrap: Vec<Multiaddr>,
    pub(crate) mdns: bool,
    pub(crate) net_limits: Limits,
    pub(crate) api_listen: SocketAddr,
    pub(crate) max_connections: Option<usize>,
    pub(crate) rate_per_second: Option<u32>,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) cors_origins: Origins,
    pub(crate) admin_socket: PathBuf,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: LogLevel,
    pub(crate) cache_bytes: u64,
}

/// What a federation file says.
#[derive(Clone, Debug)]
pub(crate) struct FederationFile {
    pub(crate) federation: Federation,
    /// The roster, as signed, where the file names one.
    pub(crate) roster: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFederation {
    name: String,
    threshold: u8,
    roots: Vec<String>,
    roster: Option<PathBuf>,
}

/// Reads a file's text.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Parses a TOML file's text; unknown fields are refused by name and line where `T` says so.
pub(crate) fn parse<T: for<'a> Deserialize<'a>>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|e| ConfigError::Syntax {
        path: path.to_owned(),
        what: explain(&e, text),
    })
}

/// One line: the line's number, what is wrong, and the nearest known name for an unknown one.
fn explain(error: &toml::de::Error, text: &str) -> String {
    let line = error
        .span()
        .map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
    let mut message = error.message().replace('\n', " ");
    if let Some(nearest) = nearest_field(&message) {
        message = format!("{message}; did you mean `{nearest}`?");
    }
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

/// Out of "unknown field `x`, expected one of `a`, `b`": the expected name most like `x`.
fn nearest_field(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut names = rest.split('`').skip(1).step_by(2).map(str::to_owned);
    let wrong = names.next()?;
    names
        .map(|n| (distance(&wrong, &n), n))
        .min()
        .filter(|(d, n)| *d <= 1 + n.len() / 3)
        .map(|(_, n)| n)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Loads and validates a node's configuration and the federation file that it names.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path)?;
    let raw: RawConfig = parse(path, &text)?;
    let base = path.parent().unwrap_or(Path::new("."));
    let field = |field, what: String| ConfigError::Field {
        path: path.to_owned(),
        field,
        what,
    };
    type Check = fn(&Multiaddr) -> Result<(), NetError>;
    let addresses = |name, list: &[String], check: Check| {
        list.iter()
            .map(|a| {
                let address = a.parse::<Multiaddr>().map_err(|e| {
                    field(name, format!("has `{a}`, which is no multiaddress ({e}): write /ip4/192.0.2.1/tcp/4001"))
                })?;
                match check(&address) {
                    Ok(()) => Ok(address),
                    Err(e) => Err(field(name, format!("cannot be used: {e}"))),
                }
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let api_listen = raw.api.listen.parse::<SocketAddr>().map_err(|_| {
        field(
            "api.listen",
            format!(
                "is `{}`: write an address and a port, such as 127.0.0.1:8080",
                raw.api.listen
            ),
        )
    })?;
    let cache_mib = raw.store.cache_mib.unwrap_or(64);
    if !(1..=65_536).contains(&cache_mib) {
        return Err(field(
            "store.cache_mib",
            format!("is {cache_mib}: choose 1 to 65536"),
        ));
    }
    if raw.api.max_connections == Some(0) || raw.api.rate_per_second == Some(0) {
        return Err(field(
            "api",
            "has a limit of zero: leave the limit out for the default".to_owned(),
        ));
    }
    let data_dir = base.join(raw.data_dir);
    Ok(Config {
        federation: load_federation(&base.join(raw.federation))?,
        admin_socket: base.join(
            raw.admin
                .socket
                .unwrap_or_else(|| data_dir.join("admin.sock")),
        ),
        data_dir,
        key_file: base.join(raw.key_file),
        listen: addresses("net.listen", &raw.net.listen, lapwing_net::check_listen)?,
        announce: addresses(
            "net.announce",
            &raw.net.announce,
            lapwing_net::check_announce,
        )?,
        bootstrap: addresses(
            "net.bootstrap",
            &raw.net.bootstrap,
            lapwing_net::check_bootstrap,
        )?,
        mdns: raw.net.mdns,
        net_limits: net_limits(&raw.net).map_err(|(name, what)| field(name, what))?,
        api_listen,
        max_connections: raw.api.max_connections,
        rate_per_second: raw.api.rate_per_second,
        trusted_proxies: raw
            .api
            .trusted_proxies
            .iter()
            .map(|text| proxy(text).map_err(|what| field("api.trusted_proxies", what)))
            .collect::<Result<_, _>>()?,
        cors_origins: origins(raw.api.cors_origins.as_deref())
            .map_err(|what| field("api.cors_origins", what))?,
        log_format: raw.log.format,
        log_level: raw.log.level,
        cache_bytes: cache_mib * 1024 * 1024,
    })
}

/// The default bounds on what peers may cost, but for those that the file names.
fn net_limits(raw: &RawNet) -> Result<Limits, (&'static str, String)> {
    let mut limits = Limits::default();
    for (name, given, range, to) in [
        (
            "net.max_connections",
            raw.max_connections,
            16..=65_536,
            &mut limits.connections,
        ),
        (
            "net.peer_calls_per_second",
            raw.peer_calls_per_second,
            100..=1_000_000,
            &mut limits.calls_per_second,
        ),
        (
            "net.peer_mib_per_second",
            raw.peer_mib_per_second,
            1..=2048,
            &mut limits.mib_per_second,
        ),
    ] {
        if let Some(given) = given {
            if !range.contains(&given) {
                let what = format!("is {given}: choose {} to {}", range.start(), range.end());
                return Err((name, what));
            }
            *to = given;
        }
    }
    Ok(limits)
}

fn proxy(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>()
        // As the API compares them: an IPv4 address is one, however it is written.
        .map(|address| address.to_canonical())
        .map_err(|_| format!("has `{text}`: write the proxy's IP address, such as 127.0.0.1"))
}

/// Any origin where the field is absent or is `["*"]`.
fn origins(list: Option<&[String]>) -> Result<Origins, String> {
    let list = match list {
        None => return Ok(Origins::Any),
        Some([any]) if any == "*" => return Ok(Origins::Any),
        Some(list) => list,
    };
    let only = list.iter().map(|text| {
        text.parse().map_err(|e| {
            format!("has `{text}` ({e}): write https://app.example.org, or [\"*\"] for all")
        })
    });
    only.collect::<Result<_, _>>().map(Origins::Only)
}

/// Loads and validates a federation file, with the roster that it names.
pub(crate) fn load_federation(path: &Path) -> Result<FederationFile, ConfigError> {
    let (federation, roster) = load_pinned(path)?;
    let roster = match roster {
        None => None,
        Some(file) => {
            let read = fs::read(&file);
            Some(read.map_err(|source| ConfigError::Unreadable { path: file, source })?)
        }
    };
    Ok(FederationFile { federation, roster })
}

/// Loads and validates what a federation file pins, and says which roster it names: that need not be
/// there yet while its roots are still signing it.
pub(crate) fn load_pinned(path: &Path) -> Result<(Federation, Option<PathBuf>), ConfigError> {
    let raw: RawFederation = parse(path, &read(path)?)?;
    let field = |field, what: String| ConfigError::Field {
        path: path.to_owned(),
        field,
        what,
    };
    let mut roots = Vec::new();
    for root in &raw.roots {
        let bytes = from_hex(root).map_err(|e| field("roots", format!("has `{root}`: {e}")))?;
        let key = VerifyingKey::from_bytes(&bytes)
            .map_err(|e| field("roots", format!("has `{root}`: {e}")))?;
        roots.push(key);
    }
    roots.sort_unstable();
    roots.dedup();
    if roots.is_empty() || raw.threshold == 0 || usize::from(raw.threshold) > roots.len() {
        return Err(field(
            "threshold",
            format!(
                "is {}: choose 1 to the number of distinct roots ({})",
                raw.threshold,
                roots.len()
            ),
        ));
    }
    let name = Text::try_from(raw.name.as_str())
        .map_err(|e| field("name", format!("cannot be used: {e}")))?;
    let roots =
        List::try_from(roots).map_err(|e| field("roots", format!("cannot be used: {e}")))?;
    let federation = Federation {
        name,
        roots,
        threshold: raw.threshold,
    };
    let base = path.parent().unwrap_or(Path::new("."));
    Ok((federation, raw.roster.map(|file| base.join(file))))
}

#[cfg(test)]
mod tests;
