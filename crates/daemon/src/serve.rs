//! Accepts connections and speaks HTTP/1.1 on them, one task per connection. A client can only
//! slow down its own connection: headers have a deadline, bodies are read as they are wanted and
//! written as the client takes them.

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listen::Listener;

/// How long a client may take to send a request's headers, and an idle connection may stay.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when the process is out of descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Answers one request; never fails, errors are responses.
pub(crate) trait Handler: Clone + Send + 'static {
    fn call(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `stop`, then lets requests in flight end for at most `grace`.
pub(crate) async fn serve<H: Handler + Sync>(
    listeners: Vec<Listener>,
    handler: H,
    stop: CancellationToken,
    grace: Duration,
) {
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    for listener in listeners {
        let (handler, stop, connections) = (handler.clone(), stop.clone(), connections.clone());
        accepting.spawn(async move {
            accept(listener, handler, stop, connections).await;
        });
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests cut off by shutdown");
    }
}

async fn accept<H: Handler + Sync>(
    listener: Listener,
    handler: H,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept_one(&listener) => accepted,
        };
        let socket = match accepted {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let (handler, stop) = (handler.clone(), stop.clone());
        match (socket, &listener) {
            (Socket::Unix(stream), _) => {
                connections.spawn(connection(stream, handler, stop));
            }
            (Socket::Tcp(stream), Listener::Tls(_, acceptor)) => {
                let acceptor = acceptor.0.clone();
                connections.spawn(async move {
                    let handshake =
                        tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
                    match handshake.await {
                        Ok(Ok(stream)) => connection(stream, handler, stop).await,
                        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                        Err(_) => tracing::debug!("TLS handshake timed out"),
                    }
                });
            }
            (Socket::Tcp(stream), _) => {
                connections.spawn(connection(stream, handler, stop));
            }
        }
    }
}

enum Socket {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn accept_one(listener: &Listener) -> std::io::Result<Socket> {
    match listener {
        Listener::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0)),
        Listener::Tcp(listener) | Listener::Tls(listener, _) => {
            let (stream, _) = listener.accept().await?;
            // Terminals are typed into key by key.
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
    }
}

async fn connection<S, H>(stream: S, handler: H, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler + Sync,
{
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, std::convert::Infallible>(handler.call(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
