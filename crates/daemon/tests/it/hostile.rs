//! Clients that mean no good: whatever they do, others are served.

use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::{DEADLINE, Host, with_daemon};

async fn connect(host: &Host) -> UnixStream {
    UnixStream::connect(&host.socket).await.unwrap()
}

#[test]
fn idle_and_slow_connections_hold_up_nobody() {
    with_daemon(|host| async move {
        let mut held = Vec::new();
        for at in 0..200 {
            let mut stream = connect(&host).await;
            let part: &[u8] = match at % 4 {
                0 => b"",
                1 => b"GET /_ping HT",
                2 => b"POST /containers/create HTTP/1.1\r\nhost: d\r\ncontent-length: 1000000\r\n\r\n{",
                _ => b"GET /events HTTP/1.1\r\nhost: d\r\n\r\n",
            };
            stream.write_all(part).await.unwrap();
            held.push(stream);
        }
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(host.get("/_ping").await.status, 200);
        }
        assert!(begun.elapsed() < DEADLINE / 3, "{:?}", begun.elapsed());
    });
}

#[test]
fn a_client_that_never_reads_costs_no_memory() {
    with_daemon(|host| async move {
        // Pipelined requests whose answers are never read: the server must stop reading.
        let mut stream = connect(&host).await;
        let request = b"GET /version HTTP/1.1\r\nhost: d\r\n\r\n".repeat(1000);
        let flood = async {
            loop {
                if stream.write_all(&request).await.is_err() {
                    break;
                }
            }
        };
        let blocked = tokio::time::timeout(std::time::Duration::from_secs(1), flood).await;
        assert!(blocked.is_err(), "the server took everything in");
        assert_eq!(host.get("/_ping").await.status, 200);
    });
}

#[test]
fn garbage_is_answered_or_cut_off() {
    with_daemon(|host| async move {
        let long_header = format!("GET /_ping HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
        let many_headers = format!("GET /_ping HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(5000));
        for garbage in [
            b"\0\0\0\0\r\n\r\n".as_slice(),
            b"GET\r\n\r\n",
            b"GET /_ping HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            long_header.as_bytes(),
            many_headers.as_bytes(),
        ] {
            let mut stream = connect(&host).await;
            // The server may hang up in the middle.
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
            assert!(read.is_ok(), "left hanging");
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        assert_eq!(host.get("/_ping").await.status, 200);
    });
}

#[test]
fn control_characters_do_not_come_back() {
    with_daemon(|host| async move {
        for path in [
            "/volumes/%1b%5b31mred%07",
            "/containers/%00%1b/json",
            "/networks/%1b%5b2J",
            "/images/%1b%5b31m/json",
            "/containers/json?filters=%7B%22%1b%22%3A%5B%22x%22%5D%7D",
        ] {
            let answer = host.get(path).await;
            assert!(answer.status.is_client_error(), "{path}: {answer:?}");
            assert!(!answer.message().chars().any(char::is_control), "{path}: {answer:?}");
        }
        let name = json!({"Name": "a\u{1b}[31mb"});
        assert_eq!(host.post("/volumes/create", &name).await.status, 400);
    });
}

#[test]
fn odd_parameters_are_refused() {
    with_daemon(|host| async move {
        for path in [
            "/containers/json?filters=%5B1%5D",
            "/containers/json?filters=nonsense",
            "/containers/json?limit=x",
            "/containers/json?filters=%7B%22status%22%3A%5B%22odd%22%5D%7D",
            "/containers/json?filters=%7B%22nope%22%3A%5B%22odd%22%5D%7D",
            "/images/json?filters=%7B%22dangling%22%3A%5B%22odd%22%5D%7D",
            "/events?since=soon",
            "/events?filters=%7B%22nope%22%3A%5B%22odd%22%5D%7D",
            "/system/df?type=everything",
            "/containers/x/logs",
        ] {
            let answer = host.get(path).await;
            assert_eq!(answer.status, 400, "{path}: {answer:?}");
            answer.message();
        }
    });
}
