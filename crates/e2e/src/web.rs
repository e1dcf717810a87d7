//! A web server with fixed pages, for what fetches from one.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// One page: the path with its query, the status line's rest, the body.
pub type Page = (&'static str, &'static str, Vec<u8>);

/// Serves its pages on the loopback until the process ends; anything else is a 404.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    /// Paths in the order in which they were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    /// Starts it on a free port.
    pub fn start(pages: Vec<Page>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let pages = Arc::new(pages);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, note) = (Arc::clone(&pages), Arc::clone(&note));
                // A client that leaves early is its own affair.
                std::thread::spawn(move || drop(answer(stream, &pages, &note)));
            }
        });
        Ok(Self { address, asked })
    }

    /// The port of the loopback it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How often a path was asked for.
    pub fn requests(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|known| *known == path).count()
    }
}

fn answer(stream: TcpStream, pages: &[Page], asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    let missing = (path, "404 Not Found", b"nothing here".to_vec());
    let found = pages.iter().find(|(page, ..)| *page == path);
    let (_, status, body) = found.map_or(&missing, |page| page);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}
