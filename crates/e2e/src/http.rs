//! The smallest HTTP client that can fetch a page: one request, one connection, whole body.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches `http://ADDRESS/`; anything but a 200 is an error.
pub fn get(address: SocketAddr) -> Result<String> {
    get_path(address, "/")
}

/// Fetches `http://ADDRESS` with `path`; anything but a 200 is an error.
pub fn get_path(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    page(&mut stream, path)
}

/// Posts a form; anything but a 200 is an error.
pub fn post(address: SocketAddr, path: &str, form: &str) -> Result<String> {
    post_as(address, path, "application/x-www-form-urlencoded", form)
}

/// Posts JSON; anything but a 200 is an error.
pub fn post_json(address: SocketAddr, path: &str, json: &serde_json::Value) -> Result<String> {
    post_as(address, path, "application/json", &json.to_string())
}

fn post_as(address: SocketAddr, path: &str, kind: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\n");
    exchange(&mut stream, &format!("{head}Content-Length: {length}\r\n\r\n{body}"))
}

/// Fetches `path` from the server behind a Unix socket; anything but a 200 is an error.
pub fn get_unix(socket: &Path, path: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    page(&mut stream, path)
}

/// Sends `request` verbatim to a Unix socket and returns everything until the server closes.
pub fn raw_unix(socket: &Path, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn page(stream: &mut (impl Read + Write), path: &str) -> Result<String> {
    exchange(stream, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP header came back")?;
    if !head.lines().next().is_some_and(|line| line.contains(" 200 ")) {
        bail!("answered {head}");
    }
    Ok(body.to_owned())
}
