use std::convert::Infallible;

use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::advance;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// The other end of a connection that is served.
fn connect() -> DuplexStream {
    let (near, far) = duplex(4096);
    let (connection, timer) = noted(far);
    let answer = |_| async { Ok::<_, Infallible>(Response::new(String::new())) };
    tokio::spawn(
        http1::Builder::new()
            .timer(timer)
            .header_read_timeout(LIMIT)
            .serve_connection(TokioIo::new(connection), service_fn(answer)),
    );
    near
}

/// Whether a request is answered.
async fn answered(connection: &mut DuplexStream) -> bool {
    connection.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_ok()
        && matches!(connection.read(&mut [0; 4096]).await, Ok(length) if length > 0)
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_stays_before_and_between_requests() {
    let mut connection = connect();
    for _ in 0..3 {
        advance(HOUR).await;
        assert!(answered(&mut connection).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_ends_the_connection() {
    let mut connection = connect();
    assert!(answered(&mut connection).await);
    advance(HOUR).await;
    let started = tokio::time::Instant::now();
    connection.write_all(b"GET / HTTP/1.1\r\n").await.expect("it stays until then");
    let mut rest = Vec::new();
    tokio::time::timeout(HOUR, connection.read_to_end(&mut rest)).await.expect("closed").ok();
    assert_eq!(started.elapsed().as_secs(), LIMIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_in_pieces_has_its_time_from_the_first_one() {
    let mut connection = connect();
    advance(HOUR).await;
    for piece in ["GET /", " HTTP/1.1\r\n", "Host: a\r\n", "\r\n"] {
        advance(LIMIT / 5).await;
        connection.write_all(piece.as_bytes()).await.expect("open");
        tokio::task::yield_now().await;
    }
    let length = connection.read(&mut [0; 4096]).await.expect("an answer");
    assert!(length > 0, "closed although the head came in time");
}
