use prost::Message as _;

use super::*;
use crate::internal::PingSlaveMessage;

fn upid(text: &str) -> Upid {
    text.parse().unwrap()
}

fn all(decoder: &mut Decoder) -> Vec<Request> {
    std::iter::from_fn(|| decoder.next_request().unwrap()).collect()
}

fn error(stream: &[u8]) -> String {
    let mut decoder = Decoder::new(1000);
    decoder.buffer().extend_from_slice(stream);
    loop {
        match decoder.next_request() {
            Ok(Some(_)) => {}
            Ok(None) => return "more".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn a_process_is_named_as_its_peers_name_it() {
    for text in ["slave(1)@10.0.0.1:5051", "master@127.0.0.1:5050", "@0.0.0.0:0"] {
        assert_eq!(upid(text).to_string(), text);
    }
    for bad in ["", "master", "master@", "master@host:1", "a b@1.1.1.1:1", "m@1.1.1.1:70000"] {
        assert!(bad.parse::<Upid>().is_err(), "{bad}");
    }
}

#[test]
fn a_message_is_framed_as_libprocess_frames_it() {
    let mut out = Vec::new();
    let body = PingSlaveMessage { connected: true }.encode_to_vec();
    let (from, to) = (upid("master@127.0.0.1:5050"), upid("slave(1)@127.0.0.1:5051"));
    encode(&mut out, &from, &to, "mesos.internal.PingSlaveMessage", &body);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "POST /slave(1)/mesos.internal.PingSlaveMessage HTTP/1.1\r\n\
         User-Agent: libprocess/master@127.0.0.1:5050\r\n\
         Libprocess-From: master@127.0.0.1:5050\r\n\
         Connection: Keep-Alive\r\n\
         Host: 127.0.0.1:5051\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         2\r\n\u{8}\u{1}\r\n0\r\n\r\n"
    );
}

#[test]
fn messages_survive_any_cut() {
    let (from, to) = (upid("slave(1)@127.0.0.1:5051"), upid("master@127.0.0.1:5050"));
    let bodies: [&[u8]; 4] = [b"", b"x", &[7; 700], b"\r\n0\r\n\r\n"];
    let mut stream = Vec::new();
    for body in bodies {
        encode(&mut stream, &from, &to, "some.Message", body);
    }
    for step in 1..stream.len() {
        let mut decoder = Decoder::new(1000);
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            decoder.buffer().extend_from_slice(piece);
            found.extend(all(&mut decoder));
        }
        assert_eq!(found.len(), bodies.len());
        for (request, body) in found.iter().zip(bodies) {
            assert_eq!((&*request.to, &*request.name), ("master", "some.Message"));
            assert_eq!(*request.from, from);
            assert_eq!(request.body, body);
        }
    }
}

#[test]
fn a_message_may_come_in_chunks_or_with_its_length_or_escaped() {
    let mut decoder = Decoder::new(1000);
    decoder.buffer().extend_from_slice(
        b"POST /slave%281%29/a.B HTTP/1.1\r\nUser-Agent: libprocess/m@1.2.3.4:5\r\n\
          Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
          POST /m/a.C HTTP/1.1\r\nLibprocess-From: m@1.2.3.4:5\r\nContent-Length: 2\r\n\r\nfg",
    );
    let found = all(&mut decoder);
    let seen: Vec<_> = found.iter().map(|r| (&*r.to, &*r.name, &*r.body)).collect();
    assert_eq!(seen, [("slave(1)", "a.B", &b"abcde"[..]), ("m", "a.C", &b"fg"[..])]);
}

#[test]
fn what_is_no_message_is_told_why() {
    let head = "POST /m/a.B HTTP/1.1\r\nLibprocess-From: m@1.2.3.4:5\r\n";
    let cases = [
        (format!("{head}Content-Length: 1001\r\n\r\n"), "1001 bytes is longer than the 1000"),
        (format!("{head}Content-Length: no\r\n\r\n"), "Content-Length is no number"),
        (format!("{head}Transfer-Encoding: gzip\r\n\r\n"), "unknown transfer coding gzip"),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffff\r\n"), "longer than the 1000"),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), "size is no number"),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nabc"), "longer than it says"),
        ("POST / HTTP/1.1\r\nLibprocess-From: m@1.2.3.4:5\r\n\r\n".to_owned(), "path '/'"),
        ("POST /m/a.B HTTP/1.1\r\n\r\n".to_owned(), "Failed to determine sender"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "not HTTP"),
        (format!("POST /m/{} HTTP/1.1\r\n", "x".repeat(20_000)), "headers do not end"),
    ];
    for (stream, expected) in cases {
        let told = error(stream.as_bytes());
        assert!(told.contains(expected), "{told} for {}", &stream[..stream.len().min(80)]);
    }
}

#[test]
fn a_connection_shows_who_speaks() {
    let cases: [(&[u8], Option<Dialect>); 5] = [
        (b"POST /master/a.B HTTP/1.1\r\nUser-Agent: libprocess/m@1.1.1.1:1\r\n", None),
        (
            b"POST /master/a.B HTTP/1.1\r\nUser-Agent: libprocess/m@1.1.1.1:1\r\n\r\n",
            Some(Dialect::Libprocess),
        ),
        (b"POST /api/v1 HTTP/1.1\r\nUser-Agent: curl\r\n\r\n", Some(Dialect::Http)),
        (b"GET /state HTTP/1.1\r\n\r\n", Some(Dialect::Http)),
        (b"\x16\x03\x01", Some(Dialect::Http)),
    ];
    for (first, expected) in cases {
        assert_eq!(dialect(first), expected);
    }
}

#[test]
fn what_the_fuzzer_kept_is_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/libprocess");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let _ = dialect(&bytes);
        let _ = crate::json::from_slice::<crate::v1::scheduler::Call>(&bytes);
        let mut decoder = Decoder::new(1 << 16);
        decoder.buffer().extend_from_slice(&bytes);
        while let Ok(Some(request)) = decoder.next_request() {
            let _ = crate::decode::<crate::internal::RegisterSlaveMessage>(&request.body);
        }
    }
}
