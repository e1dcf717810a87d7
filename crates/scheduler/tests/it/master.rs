//! A master that plays a script: it takes requests one by one and answers what the test says.

use std::time::Duration;

use prost::Message as _;
use scheduler::v1::scheduler::{Call, Event, event};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Master {
    listener: TcpListener,
    pub(crate) address: String,
}

/// A request, and the connection it came by.
pub(crate) struct Request {
    head: String,
    pub(crate) call: Call,
    pub(crate) stream: TcpStream,
}

impl Master {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        Self { listener, address }
    }

    /// Waits for a request on a new connection.
    pub(crate) async fn accept(&self) -> Request {
        let accepted = tokio::time::timeout(DEADLINE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("nobody connects").expect("accepted");
        Request::read(stream).await
    }
}

impl Request {
    async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            read_some(&mut stream, &mut bytes).await;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = header(&head, "content-length").unwrap_or("0").parse::<usize>();
        let length = length.expect("a number");
        while bytes.len() < end + length {
            read_some(&mut stream, &mut bytes).await;
        }
        let call = Call::decode(&bytes[end..end + length]).expect("a call");
        Self { head, call, stream }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) async fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(text.as_bytes()).await.expect("written");
    }

    /// Answers SUBSCRIBE: the head, and SUBSCRIBED.
    pub(crate) async fn subscribed(&mut self, framework_id: &str) {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nMesos-Stream-Id: s1\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await.expect("written");
        let subscribed = event::Subscribed {
            framework_id: framework_id.into(),
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        };
        self.event(event::Type::Subscribed, |event| event.subscribed = Some(subscribed.into()))
            .await;
    }

    pub(crate) async fn event(&mut self, kind: event::Type, fill: impl FnOnce(&mut Event)) {
        let mut event = Event { r#type: Some(kind.into()), ..Default::default() };
        fill(&mut event);
        let bytes = event.encode_to_vec();
        let mut record = format!("{}\n", bytes.len()).into_bytes();
        record.extend(bytes);
        // Two chunks, cut where it hurts: within the record's length.
        let (first, second) = record.split_at(1);
        for part in [first, second] {
            let size = format!("{:x}\r\n", part.len());
            self.stream.write_all(size.as_bytes()).await.expect("written");
            self.stream.write_all(part).await.expect("written");
            self.stream.write_all(b"\r\n").await.expect("written");
        }
    }
}

async fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>) {
    let count = tokio::time::timeout(DEADLINE, stream.read_buf(bytes)).await;
    assert_ne!(count.expect("nothing arrives").expect("read"), 0, "the driver hung up");
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.starts_with(&format!("{name}:")))?;
    line.split_once(':').map(|(_, value)| value.trim())
}
