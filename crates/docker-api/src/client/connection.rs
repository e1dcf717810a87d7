//! Dialling: a Unix socket, TCP, or TLS over TCP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::answerable::Answerable;
use super::{Body, Error, Host, Result};

const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a connection and starts the task that drives it; the task ends with the sender.
pub(crate) async fn dial(
    host: &Host,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<SendRequest<Body>> {
    match host {
        Host::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|e| connect_error(host, e))?;
            handshake(stream).await
        }
        Host::Tcp { host: name, port, .. } => {
            let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "dial timed out");
            let stream =
                tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect((name.as_str(), *port)))
                    .await
                    .unwrap_or_else(|_| Err(timed_out()))
                    .map_err(|e| connect_error(host, e))?;
            let _ = stream.set_nodelay(true); // only latency is lost without it
            let Some(config) = tls else {
                return handshake(stream).await;
            };
            let server = ServerName::try_from(name.clone())
                .map_err(|e| Error::Host(format!("{name}: {e}")))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            let stream =
                connector.connect(server, stream).await.map_err(|e| connect_error(host, e))?;
            handshake(stream).await
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Body>> {
    let stream = TokioIo::new(Answerable::new(stream));
    let (sender, connection) = http1::handshake(stream).await.map_err(Error::http)?;
    tokio::spawn(async move {
        // Whoever waits for the answer learns of the failure from the sender.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

fn connect_error(host: &Host, source: io::Error) -> Error {
    Error::Connect { host: host.to_string(), source }
}
