//! A daemon for one test, and a client that shows everything it gets.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use daemon::{Config, Settings};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// Longest time anything in these tests may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A daemon that serves on `socket`.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) stop: CancellationToken,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Runs `test` against a fresh daemon. Without root it says so and does nothing.
pub(crate) fn with_daemon<F>(test: impl FnOnce(Host) -> F + Send)
where
    F: Future<Output = ()>,
{
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root for the daemon's network");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    // Bridge and rules live in a namespace of their own and go with it.
    let (namespace, ()) = std::thread::spawn(|| linux::netlink::make_network_namespace(|| Ok(())))
        .join()
        .unwrap()
        .unwrap();
    linux::namespace::in_namespace(namespace.as_fd(), || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let host = Host {
                socket: path.join("d.sock"),
                dir: path.clone(),
                stop: CancellationToken::new(),
            };
            let running = tokio::spawn(daemon::run(host.config(), host.stop.clone()));
            host.wait_until_it_answers().await;
            tokio::time::timeout(DEADLINE, test(host.clone())).await.expect("test took too long");
            host.stop.cancel();
            tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap().unwrap();
        });
    })
    .unwrap();
}

impl Host {
    pub(crate) fn config(&self) -> Config {
        let settings: Settings = serde_json::from_value(serde_json::json!({
            "data-root": self.dir.join("data"),
            "exec-root": self.dir.join("exec"),
            "hosts": [format!("unix://{}", self.socket.display())],
            "bridge": "td0",
        }))
        .unwrap();
        Config::resolve(settings).unwrap()
    }

    async fn wait_until_it_answers(&self) {
        let answers = async {
            while UnixStream::connect(&self.socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, answers).await.expect("the daemon does not answer");
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request("POST", path, &headers, body.to_string()).await
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        request(&self.socket, method, path, headers, body.into()).await
    }
}

async fn request(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "docker");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    driver.abort();
    Answer { status: parts.status, headers: parts.headers, body }
}
