//! The admin API: for the operator, on a socket of its own that only this machine reaches.

use std::fs::{DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use lapwing_protocol::client::{Answer, CallKind};
use lapwing_protocol::problem::Problem;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::calls::{ask, check_slowly, check_type, ok};
use crate::config::ApiConfig;
use crate::health;
use crate::limits::read_body;
use crate::node::Node;
use crate::problem::{Refusal, wrong_method};
use crate::router::{Shell, unknown};

/// The media type of [`Node::metrics`].
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A Unix socket that only its owner may use (mode 0600).
    Socket(PathBuf),
    /// A loopback address. Every user of this machine may use it.
    Loopback(SocketAddr),
}

/// A bound admin socket. The file of a Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct AdminListener(Bound);

#[derive(Debug)]
enum Bound {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _already_gone = std::fs::remove_file(&self.0);
    }
}

impl AdminListener {
    /// Binds it. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another process listens there, `InvalidInput` when the
    /// address is not a loopback address, `AlreadyExists` when the path is another kind of file, and
    /// what the operating system says.
    pub async fn bind(address: &AdminAddress) -> io::Result<Self> {
        match address {
            AdminAddress::Loopback(address) if address.ip().is_loopback() => {
                Ok(Self(Bound::Tcp(TcpListener::bind(address).await?)))
            }
            AdminAddress::Loopback(_) => Err(io::ErrorKind::InvalidInput.into()),
            AdminAddress::Socket(path) => {
                make_room(path).await?;
                let listener = bind_private(path)?;
                Ok(Self(Bound::Unix(listener, SocketFile(path.clone()))))
            }
        }
    }

    /// The address of a loopback listener, with the port that was given to it.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            Bound::Unix(..) => None,
        }
    }
}

async fn make_room(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            // Left behind: the rename replaces it.
            Err(_) => Ok(()),
        },
    }
}

/// Binds in a directory of our own first, so that there is no moment in which others could connect.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    DirBuilder::new().mode(0o700).create(&directory)?;
    let bound = (|| {
        let inside = directory.join("s");
        let listener = UnixListener::bind(&inside)?;
        std::fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        std::fs::rename(&inside, path)?;
        Ok(listener)
    })();
    std::fs::remove_dir_all(&directory)?;
    bound
}

/// Serves the admin API until `shutdown` is done.
///
/// # Errors
/// What the operating system says.
pub async fn serve_admin<N: Node>(
    listener: AdminListener,
    node: Arc<N>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (_close, closing) = watch::channel(false);
    let shell = Arc::new(Shell::new(node, ApiConfig::default(), closing));
    let router = Router::new()
        .route("/status", get(status::<N>))
        .route("/metrics", get(metrics::<N>))
        .route("/trust", post(publish::<N>))
        .route("/reload", post(reload::<N>))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready::<N>))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .with_state(shell);
    match listener.0 {
        Bound::Unix(listener, _file) => {
            axum::serve(listener, router)
                .with_graceful_shutdown(shutdown)
                .await
        }
        Bound::Tcp(listener) => {
            // A page in a browser of this machine could reach the port under a name of its own.
            let router = router.layer(from_fn(local_names_only));
            axum::serve(listener, router)
                .with_graceful_shutdown(shutdown)
                .await
        }
    }
}

async fn local_names_only(request: Request, next: Next) -> Result<Response, Refusal> {
    let host = request.headers().get(HOST).and_then(|v| v.to_str().ok());
    if host.is_some_and(is_local_name) {
        Ok(next.run(request).await)
    } else {
        Err(Problem::UnknownCall.into())
    }
}

fn is_local_name(host: &str) -> bool {
    let loopback = |name: &str| name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || loopback(name) || host == "[::1]"
}

/// `GET /status`: what the node tells its operator.
async fn status<N: Node>(State(shell): State<Arc<Shell<N>>>) -> Response {
    ok("application/json", shell.node.status().to_string().into())
}

/// `GET /metrics`: the same in figures, for Prometheus.
async fn metrics<N: Node>(State(shell): State<Arc<Shell<N>>>) -> Response {
    ok(OPEN_METRICS, shell.node.metrics().into())
}

/// `POST /reload`: reads the configuration anew. An answer of 409 says in one line why nothing changed;
/// it may name files and fields, which are the operator's own.
async fn reload<N: Node>(State(shell): State<Arc<Shell<N>>>) -> Response {
    let reading = tokio::task::spawn_blocking(move || shell.node.reload());
    let done = reading
        .await
        .unwrap_or_else(|_| Err("the node failed while it read its configuration".to_owned()));
    let (status, body) = match done {
        Ok(said) => (StatusCode::OK, said),
        Err(why) => (StatusCode::CONFLICT, json!({ "problem": why })),
    };
    let mut response = ok("application/json", body.to_string().into());
    *response.status_mut() = status;
    response
}

/// `POST /trust`: publishes a record of the chain of trust.
async fn publish<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let kind = CallKind::Publish;
    check_type(request.headers(), kind.content_type())?;
    let (body, _held) = read_body(
        request.into_body(),
        kind.max_body(),
        &shell.bodies,
        shell.config.body_timeout,
    )
    .await?;
    let call = check_slowly(&shell, body).await?;
    match ask(&shell, call).await? {
        Answer::Published(id) => {
            let answer = json!({ "id": id.to_hex() });
            Ok(ok("application/json", answer.to_string().into()))
        }
        _ => Err(Problem::Internal.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass() {
        for host in [
            "localhost",
            "localhost:9",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(is_local_name(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "192.0.2.1:80",
            "127.0.0.1.example.org",
            "[2001:db8::1]:80",
        ] {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[tokio::test]
    async fn the_socket_is_private_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let address = AdminAddress::Socket(path.clone());
        let first = AdminListener::bind(&address).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = AdminListener::bind(&address).await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // As after a crash: the file stays, nobody listens.
        let Bound::Unix(listener, file) = first.0 else {
            panic!("a Unix socket was asked for");
        };
        std::mem::forget(file);
        drop(listener);
        let second = AdminListener::bind(&address).await.unwrap();
        drop(second);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        let other = AdminListener::bind(&address).await.unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::AlreadyExists);
        let public = AdminAddress::Loopback("192.0.2.1:0".parse().unwrap());
        assert!(AdminListener::bind(&public).await.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
