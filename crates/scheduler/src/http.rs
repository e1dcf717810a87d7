//! HTTP to one master: the connection that carries the events, and the one that carries the calls.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mesos_api::v1::scheduler::Call;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::Encoding;
use crate::error::{Error, Result};
use crate::masters::Target;

const CONNECT_TIMEOUT_SECS: u64 = 10;
const ANSWER_TIMEOUT_SECS: u64 = 30;
const ERROR_TEXT_MAX: usize = 64 * 1024;

/// An open connection; its task ends with it.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn open(target: Target) -> Result<Self> {
        let address = target.address.as_str();
        let dial = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = within(CONNECT_TIMEOUT_SECS, address, "connecting", dial)
            .await?
            .map_err(|source| Error::Connect { address: address.to_owned(), source })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::http(address, &error))?;
        let driver = tokio::spawn(async move {
            // What breaks here is reported to whoever waits on the sender.
            let _ = connection.await;
        });
        Ok(Self { target, sender, driver })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    fn address(&self) -> &str {
        &self.target.address
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends one call and returns the answer's head; the body is unread.
    pub(crate) async fn post(
        &mut self,
        call: &Call,
        encoding: Encoding,
        stream_id: Option<&str>,
    ) -> Result<Response<Incoming>> {
        self.send(request(self.address(), call, encoding, stream_id)?).await
    }

    /// Sends any request and returns the answer's head.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>> {
        if let Some(authorization) = &self.target.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let address = self.target.address.clone();
        let answer = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        within(ANSWER_TIMEOUT_SECS, &address, "waiting for its answer", answer)
            .await?
            .map_err(|error| Error::http(&address, &error))
    }

    /// Reads what is left of an answer that is short.
    pub(crate) async fn text(&self, response: Response<Incoming>) -> Result<String> {
        let body = Limited::new(response.into_body(), ERROR_TEXT_MAX).collect();
        let body = within(ANSWER_TIMEOUT_SECS, self.address(), "reading its answer", body).await?;
        let body = body.map_err(|error| Error::Http {
            address: self.target.address.clone(),
            message: error.to_string(),
        })?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).trim().to_owned())
    }

    /// The error that an answer other than success is.
    pub(crate) async fn refusal(&self, call: &'static str, response: Response<Incoming>) -> Error {
        let status = response.status();
        match self.text(response).await {
            Ok(message) => Error::Status {
                address: self.target.address.clone(),
                call,
                status: status.as_u16(),
                message,
            },
            Err(error) => error,
        }
    }
}

fn request(
    address: &str,
    call: &Call,
    encoding: Encoding,
    stream_id: Option<&str>,
) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::post("/api/v1/scheduler")
        .header("Host", address)
        .header("User-Agent", concat!("teu-scheduler/", env!("CARGO_PKG_VERSION")))
        .header("Content-Type", encoding.media_type())
        .header("Accept", encoding.media_type());
    if let Some(stream_id) = stream_id {
        request = request.header("Mesos-Stream-Id", stream_id);
    }
    request
        .body(Full::new(encoding.encode(call)))
        .map_err(|error| Error::Http { address: address.to_owned(), message: error.to_string() })
}

/// Whether a call was taken.
pub(crate) fn is_taken(status: StatusCode) -> bool {
    status == StatusCode::ACCEPTED || status == StatusCode::OK
}

pub(crate) async fn within<F: Future>(
    seconds: u64,
    address: &str,
    doing: &'static str,
    future: F,
) -> Result<F::Output> {
    tokio::time::timeout(Duration::from_secs(seconds), future).await.map_err(|_| Error::Timeout {
        address: address.to_owned(),
        seconds,
        doing,
    })
}
