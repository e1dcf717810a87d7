//! Somebody looks at `/state` all the while, as dashboards and service discovery do.

use std::net::SocketAddrV4;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

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

impl Looks {
    fn note(&mut self, (time, bytes): (Duration, usize)) {
        self.times.push(time);
        self.bytes = bytes;
    }
}

/// Looks again and again, on a thread of its own: who watches a cluster does not wait for its tasks.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Looks>>,
}

impl Watcher {
    pub(crate) fn start(master: SocketAddrV4) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(watch(master, stopped))
        });
        Self { stop, thread }
    }

    /// What it has seen, sorted by time.
    pub(crate) fn stop(self) -> Result<Looks> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow!("the watcher panicked"))?
    }
}

async fn watch(master: SocketAddrV4, mut stopped: oneshot::Receiver<()>) -> Result<Looks> {
    let mut sender = connect(master).await?;
    let mut looks = Looks::default();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            look = look(&mut sender, master) => looks.note(look?),
        }
        tokio::time::sleep(PAUSE).await;
    }
    looks.times.sort_unstable();
    Ok(looks)
}

/// Looks so many times, one after the other.
pub(crate) async fn measure(master: SocketAddrV4, count: usize) -> Result<Looks> {
    let mut sender = connect(master).await?;
    let mut looks = Looks::default();
    for _ in 0..count {
        looks.note(look(&mut sender, master).await?);
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
