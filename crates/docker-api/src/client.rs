//! A client of the Engine API.
//!
//! One [`Client`] keeps its idle connections and reuses them, so that a
//! command of several calls dials once. A hijacked connection (attach, exec)
//! leaves the pool for good. The API version is negotiated by the first call
//! through `/_ping`, unless it was fixed.

mod answerable;
mod connection;
mod error;
mod host;
mod request;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::{Arc, Mutex, OnceLock};

use hyper::StatusCode;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, UPGRADE};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

pub use error::{Error, Result};
pub use host::Host;
pub use request::{Body, Request, Response, encode_path};
pub use tls::TlsFiles;

use crate::{API_VERSION, MIN_API_VERSION};

/// What the server says about itself in `/_ping`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping {
    /// Newest API version of the server, empty when it sent none.
    pub api_version: String,
    pub os_type: String,
    pub experimental: bool,
    /// `2` means that the server prefers BuildKit.
    pub builder_version: String,
    /// Value of the `Swarm` header, such as `inactive` or `active/manager`.
    pub swarm: String,
}

/// A connection taken over by a raw byte stream.
pub struct Hijacked {
    /// The server's `Content-Type`, which tells raw from multiplexed output.
    pub content_type: String,
    pub io: Box<dyn DuplexStream>,
}

impl std::fmt::Debug for Hijacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hijacked").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// A byte stream in both directions; shutting it down closes the writing half only.
pub trait DuplexStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> DuplexStream for T {}

/// Idle connections, ready for the next request.
///
/// The lock is held for a push or a pop, never across an await.
pub(crate) type Idle = Arc<Mutex<Vec<SendRequest<Body>>>>;

/// A client of one Engine API endpoint.
pub struct Client {
    host: Host,
    tls: Option<Arc<rustls::ClientConfig>>,
    version: OnceLock<String>,
    ping: OnceLock<Ping>,
    headers: Vec<(String, String)>,
    idle: Idle,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.host)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; nothing is dialled before the first call.
    pub fn new(host: Host) -> Self {
        Self {
            host,
            tls: None,
            version: OnceLock::new(),
            ping: OnceLock::new(),
            headers: Vec::new(),
            idle: Idle::default(),
        }
    }

    /// Talks TLS to a TCP host.
    ///
    /// # Errors
    /// When a file cannot be read or holds no usable certificate or key.
    pub fn with_tls(mut self, files: &TlsFiles) -> Result<Self> {
        self.tls = Some(Arc::new(files.load()?));
        Ok(self)
    }

    /// Fixes the API version; nothing is negotiated then.
    #[must_use]
    pub fn with_version(self, version: &str) -> Self {
        let _ = self.version.set(version.trim_start_matches('v').to_owned());
        self
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Tells the API version in use, once a call has settled it.
    pub fn version(&self) -> Option<&str> {
        self.version.get().map(String::as_str)
    }

    /// Asks the server for its version and kind; answers from memory the second time.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn ping(&self) -> Result<&Ping> {
        if let Some(ping) = self.ping.get() {
            return Ok(ping);
        }
        let response =
            self.send(Request::head("/_ping").into_http("", &self.host, &self.headers)?).await?;
        let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
        let ping = Ping {
            api_version: header("api-version"),
            os_type: header("ostype"),
            experimental: header("docker-experimental") == "true",
            builder_version: header("builder-version"),
            swarm: header("swarm"),
        };
        if response.status().is_server_error() && ping.api_version.is_empty() {
            return Err(response.into_error().await);
        }
        let _ = response.bytes().await?;
        Ok(self.ping.get_or_init(|| ping))
    }

    /// Sends a request and returns the answer with its body unread.
    ///
    /// # Errors
    /// [`Error::Status`] for every answer that is not 2xx or 304.
    pub async fn call(&self, request: Request) -> Result<Response> {
        let version = self.negotiated().await?;
        let response = self.send(request.into_http(version, &self.host, &self.headers)?).await?;
        let status = response.status();
        if status.is_success()
            || status == StatusCode::NOT_MODIFIED
            || status == StatusCode::SWITCHING_PROTOCOLS
        {
            Ok(response)
        } else {
            Err(response.into_error().await)
        }
    }

    /// Sends a request that takes the connection over.
    ///
    /// # Errors
    /// As [`Client::call`]; also when the server does not switch protocols.
    pub async fn hijack(&self, request: Request) -> Result<Hijacked> {
        let version = self.negotiated().await?;
        let request =
            request.header(CONNECTION.as_str(), "Upgrade").header(UPGRADE.as_str(), "tcp");
        let http = request.into_http(version, &self.host, &self.headers)?;
        let mut sender = connection::dial(&self.host, self.tls.as_ref()).await?;
        let response = sender.send_request(http).await.map_err(Error::http)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let response = Response::new(response, None);
            if response.status().is_success() {
                return Err(Error::NotHijacked);
            }
            return Err(response.into_error().await);
        }
        let content_type = response
            .headers()
            .get(hyper::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let upgraded = hyper::upgrade::on(response).await.map_err(Error::http)?;
        Ok(Hijacked { content_type, io: Box::new(TokioIo::new(upgraded)) })
    }

    async fn negotiated(&self) -> Result<&str> {
        if let Some(version) = self.version.get() {
            return Ok(version);
        }
        let ping = self.ping().await?;
        Ok(self.version.get_or_init(|| negotiate(&ping.api_version)))
    }

    async fn send(&self, mut request: hyper::Request<Body>) -> Result<Response> {
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(Response::new(response, Some((sender, Arc::clone(&self.idle)))));
                }
                // The server closed the connection before it saw the request.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Error::http(failed.into_error())),
                },
            }
        }
        let mut sender = connection::dial(&self.host, self.tls.as_ref()).await?;
        let response = sender.send_request(request).await.map_err(Error::http)?;
        Ok(Response::new(response, Some((sender, Arc::clone(&self.idle)))))
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().expect("nothing panics while it holds the lock");
        idle.pop()
    }
}

/// Chooses the version for a server whose newest is `server` (empty: a server older than negotiation).
fn negotiate(server: &str) -> String {
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    match (number(server), number(API_VERSION)) {
        (Some(theirs), Some(ours)) if theirs < ours => server.to_owned(),
        (Some(_), _) => API_VERSION.to_owned(),
        (None, _) => MIN_API_VERSION.to_owned(),
    }
}
