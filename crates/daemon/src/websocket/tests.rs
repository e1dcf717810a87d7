//! Output into messages, and whose pages may have a websocket.

use axum::http::HeaderMap;

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn frames_are_taken_off_and_cut_ones_are_errors() {
    let mut framed = Vec::new();
    let long = vec![b'x'; CHUNK_BYTES + 1];
    for (stream, bytes) in [(1, &b"out"[..]), (2, b""), (2, b"err"), (1, &long)] {
        framed.extend_from_slice(&[stream, 0, 0, 0]);
        framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(bytes);
    }
    block_on(async {
        let mut output = Output { reader: &framed[..], framed: true, left: 0 };
        assert_eq!(output.next().await.unwrap().unwrap(), "out");
        assert_eq!(output.next().await.unwrap().unwrap(), "err");
        assert_eq!(output.next().await.unwrap().unwrap().len(), CHUNK_BYTES);
        assert_eq!(output.next().await.unwrap().unwrap(), "x");
        assert!(output.next().await.unwrap().is_none());
        let mut cut = Output { reader: &framed[..5], framed: true, left: 0 };
        assert!(cut.next().await.is_err());
        let mut raw = Output { reader: &b"raw"[..], framed: false, left: 0 };
        assert_eq!(raw.next().await.unwrap().unwrap(), "raw");
        assert!(raw.next().await.unwrap().is_none());
    });
}

#[test]
fn characters_in_two_parts_stay_whole() {
    let mut text = Text::default();
    assert_eq!(text.push(b"a\xe2\x82"), "a");
    assert_eq!(text.push(b"\xacb"), "\u{20ac}b");
    assert_eq!(text.push(b"\xffc\xf0\x9f"), "\u{fffd}c");
    assert_eq!(text.push(b"d"), "\u{fffd}d");
}

#[test]
fn only_pages_of_the_same_host_may_have_one() {
    let check = |origin: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1:2375".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        refuse_other_origins(&headers).map_err(|error| error.message)
    };
    assert_eq!(check(None), Ok(()));
    assert_eq!(check(Some("http://127.0.0.1:2375")), Ok(()));
    for other in ["http://evil.example", "null", "", "http://127.0.0.1"] {
        assert!(check(Some(other)).unwrap_err().contains("may not open a websocket"), "{other}");
    }
}
