//! TLS to a node's proxy (RFC 8446), for addresses that begin with `https://`. Whom to trust is what the
//! operating system says; `SSL_CERT_FILE` and `SSL_CERT_DIR` name other roots.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Makes connections speak TLS. The roots are read when the first one does.
#[derive(Default)]
pub(super) struct Tls {
    roots: Vec<CertificateDer<'static>>,
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    /// Trusts these roots and no other.
    pub(super) fn trusting(roots: Vec<Vec<u8>>) -> Self {
        Tls {
            roots: roots.into_iter().map(CertificateDer::from).collect(),
            connector: OnceCell::new(),
        }
    }

    /// Speaks TLS with `host` over a connection.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let roots = self.roots.clone();
        let connector = self
            .connector
            .get_or_try_init(|| async {
                let made = tokio::task::spawn_blocking(move || connector(roots)).await;
                made.map_err(io::Error::other)?
            })
            .await?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        connector.connect(name, stream).await
    }
}

fn connector(given: Vec<CertificateDer<'static>>) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    if given.is_empty() {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    } else {
        roots.add_parsable_certificates(given);
    }
    if roots.is_empty() {
        return Err(io::Error::other(
            "no root certificates are installed here: install them, or name them in SSL_CERT_FILE",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
