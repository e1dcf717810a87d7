//! An HTTP server that does what a test says: answers, lies, cuts, hangs, or forwards to a real registry.
//!
//! One connection carries one request; whatever is no HTTP (a TLS hello) gets the connection closed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// Empty for forwarded requests.
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer(Answer),
    /// Reads the request and never answers.
    Hang,
    /// Closes without a byte.
    Close,
    /// Sends exactly these bytes.
    Raw(Vec<u8>),
    /// Passes the request on to the real registry.
    Forward,
    /// The same, but cuts the request after so many bytes of its body.
    ForwardCut(usize),
}

/// An HTTP reply; a `content-length` header of the test's own replaces the honest one.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection is cut.
    pub cut: Option<usize>,
    /// Bytes of the body after which nothing more comes.
    pub stall: Option<usize>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server; it ends with the value.
pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::before(None, handler).await
    }

    /// Starts a server that can forward to `upstream`.
    pub async fn before(
        upstream: Option<SocketAddr>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let seen = Arc::clone(&requests);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                connections.spawn(async move {
                    // A client that goes away is part of many tests.
                    let _ = serve(connection, upstream, &*handler, &seen).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, requests, accepting }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests whose line contains `part`.
    pub fn seen(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.line().contains(part)).collect()
    }
}

async fn serve(
    mut connection: TcpStream,
    upstream: Option<SocketAddr>,
    handler: &Handler,
    seen: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let Some((mut request, rest)) = head(&mut connection).await? else { return Ok(()) };
    let length: usize =
        request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let reply = handler(&request);
    if matches!(reply, Reply::Forward | Reply::ForwardCut(_)) {
        seen.lock().unwrap().push(request.clone());
        let upstream = TcpStream::connect(upstream.expect("an upstream to forward to")).await?;
        let most = if let Reply::ForwardCut(most) = reply { most } else { usize::MAX };
        return forward(connection, upstream, &request, rest, length, most).await;
    }
    request.body = rest;
    while request.body.len() < length && !matches!(reply, Reply::Close) {
        let mut buffer = vec![0; 64 << 10];
        let read = connection.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        request.body.extend_from_slice(&buffer[..read]);
    }
    let is_head = request.method == "HEAD";
    seen.lock().unwrap().push(request);
    match reply {
        Reply::Answer(answer) => write(&mut connection, answer, is_head).await,
        Reply::Raw(bytes) => connection.write_all(&bytes).await,
        Reply::Hang => hang(&mut connection).await,
        Reply::Close | Reply::Forward | Reply::ForwardCut(_) => Ok(()),
    }
}

/// Waits until the client gives up.
async fn hang(connection: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 1024];
    while connection.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn head(connection: &mut TcpStream) -> std::io::Result<Option<(Request, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer).await?;
        if read == 0 || bytes.first().or(buffer.first()) == Some(&0x16) || bytes.len() > 1 << 20 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
    };
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let request =
        Request { method: method.to_owned(), path: path.to_owned(), headers, body: Vec::new() };
    Ok(Some((request, bytes[end + 4..].to_vec())))
}

async fn write(connection: &mut TcpStream, answer: Answer, is_head: bool) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let own_length = answer.headers.iter().any(|(name, _)| {
        name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
    });
    if !own_length {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    connection.write_all(format!("{head}\r\n").as_bytes()).await?;
    if is_head {
        return connection.shutdown().await;
    }
    let most = answer.cut.or(answer.stall).unwrap_or(usize::MAX).min(answer.body.len());
    connection.write_all(&answer.body[..most]).await?;
    connection.flush().await?;
    if answer.stall.is_some() {
        return hang(connection).await;
    }
    connection.shutdown().await?;
    // Closing with bytes unread would be a reset, which may overtake what was sent.
    hang(connection).await
}

async fn forward(
    client: TcpStream,
    upstream: TcpStream,
    request: &Request,
    rest: Vec<u8>,
    length: usize,
    most: usize,
) -> std::io::Result<()> {
    let (mut client_read, mut client_write) = client.into_split();
    let (mut upstream_read, mut upstream_write) = upstream.into_split();
    let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.path);
    for (name, value) in
        request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection"))
    {
        head += &format!("{name}: {value}\r\n");
    }
    upstream_write.write_all(format!("{head}\r\n").as_bytes()).await?;
    let first = &rest[..rest.len().min(most)];
    upstream_write.write_all(first).await?;
    let left = length.min(most).saturating_sub(first.len());
    copy(&mut client_read, &mut upstream_write, left).await?;
    if most < length {
        return Ok(());
    }
    copy(&mut upstream_read, &mut client_write, usize::MAX).await?;
    client_write.shutdown().await
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    most: usize,
) -> std::io::Result<()> {
    tokio::io::copy(&mut from.take(most as u64), to).await.map(drop)
}
