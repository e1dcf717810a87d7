//! Somebody looks at `/state` all the while, as dashboards and service discovery do.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Between the end of one answer and the next request.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers to `/state`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    /// Times to the last byte.
    pub(crate) times: Vec<Duration>,
    /// Length of the last answer.
    pub(crate) bytes: usize,
}

/// What a watcher has seen so far; readable when it was stopped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<Mutex<Looks>>);

impl Watched {
    /// The looks, sorted by time.
    pub(crate) fn taken(&self) -> Looks {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        looks.times.sort_unstable();
        looks
    }

    fn note(&self, time: Duration, bytes: usize) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.times.push(time);
        looks.bytes = bytes;
    }

    /// Looks again and again until it is dropped.
    pub(crate) async fn watch(self, master: SocketAddrV4) -> Result<()> {
        let mut sender = connect(master).await?;
        loop {
            let (time, bytes) = look(&mut sender, master).await?;
            self.note(time, bytes);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Looks so many times, one after the other.
pub(crate) async fn measure(master: SocketAddrV4, count: usize) -> Result<Looks> {
    let mut sender = connect(master).await?;
    let mut looks = Looks::default();
    for _ in 0..count {
        let (time, bytes) = look(&mut sender, master).await?;
        looks.times.push(time);
        looks.bytes = bytes;
    }
    looks.times.sort_unstable();
    Ok(looks)
}

async fn connect(master: SocketAddrV4) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(master).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn look(
    sender: &mut SendRequest<Empty<Bytes>>,
    master: SocketAddrV4,
) -> Result<(Duration, usize)> {
    let started = Instant::now();
    sender.ready().await?;
    let request = Request::get("/state").header("Host", master.to_string()).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("/state was answered by {}", response.status());
    }
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok((started.elapsed(), bytes))
}
