//! The one port for everything: a connection's first request tells whether a process sends
//! messages over it or somebody speaks HTTP.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use endpoints::heads;
use hyper_util::rt::TokioIo;
use mesos_api::libprocess::{Dialect, dialect};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Server;
use crate::inbound;

/// How long a peer may take for the headers of a request, once they begin.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when the kernel has no descriptor for a new connection.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until told to stop, and then lets go of them.
pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                let stop = stop.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = connection(stream, server) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(mut stream: TcpStream, server: Arc<Server>) {
    if let Err(error) = stream.set_nodelay(true).and_then(|()| heads::probe_silent_peer(&stream)) {
        tracing::debug!(%error, "connection is gone already");
        return;
    }
    let mut first = BytesMut::new();
    let speaks = match timeout(HEADERS_TIMEOUT, recognize(&mut stream, &mut first)).await {
        Ok(Ok(Some(speaks))) => speaks,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => {
            tracing::debug!(%error, "connection broke before a request came");
            return;
        }
    };
    match speaks {
        Dialect::Libprocess => inbound::serve(stream, first, server.handle()).await,
        // In a box: agents' connections, which stay, need not have room for it.
        Dialect::Http => Box::pin(http(stream, first, server)).await,
    }
}

/// Reads until it is clear who speaks; none if the peer closed before that.
async fn recognize(stream: &mut TcpStream, first: &mut BytesMut) -> io::Result<Option<Dialect>> {
    loop {
        if let Some(speaks) = dialect(first) {
            return Ok(Some(speaks));
        }
        if stream.read_buf(first).await? == 0 {
            return Ok(None);
        }
    }
}

async fn http(mut stream: TcpStream, mut first: BytesMut, server: Arc<Server>) {
    match server.take_calls(&mut stream, &mut first, HEADERS_TIMEOUT).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::debug!(%error, "connection broke");
            return;
        }
    }
    let (read, write) = stream.into_split();
    let stream = tokio::io::join(Cursor::new(first).chain(read), write);
    let (stream, timer) = heads::noted(stream);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(timer)
        .header_read_timeout(HEADERS_TIMEOUT)
        .serve_connection(
            TokioIo::new(stream),
            hyper::service::service_fn(move |request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            }),
        )
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection ended");
    }
}
