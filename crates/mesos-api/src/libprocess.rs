//! Messages between processes as libprocess frames them: each is an HTTP request whose path names
//! the receiving process and the message, and whose body is the message. No IO.
//!
//! A peer answers every request with `202 Accepted` on the same connection; a sender has to read
//! those answers, and need not look at them.

mod decode;
mod upid;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, Dialect, FrameError, Request, dialect, sender_of};
pub use upid::{Upid, UpidError};

use std::io::Write as _;
use std::net::SocketAddrV4;

/// The answer to every message.
pub const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// The way from one process to an address: what all messages that take it begin with, made once.
#[derive(Debug, Clone)]
pub struct Route {
    headers: String,
}

impl Route {
    /// From a process to those that listen at an address.
    pub fn new(from: &Upid, to: SocketAddrV4) -> Self {
        let headers = format!(
            " HTTP/1.1\r\n\
             User-Agent: libprocess/{from}\r\n\
             Libprocess-From: {from}\r\n\
             Connection: Keep-Alive\r\n\
             Host: {to}\r\n"
        );
        Self { headers }
    }

    /// Appends the request that carries `body` to the process of that name.
    pub fn encode(&self, out: &mut Vec<u8>, receiver: &str, name: &str, body: &[u8]) {
        out.reserve(receiver.len() + name.len() + self.headers.len() + body.len() + 64);
        out.extend_from_slice(b"POST ");
        if !receiver.is_empty() {
            out.push(b'/');
            upid::escape(out, receiver);
        }
        out.push(b'/');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(self.headers.as_bytes());
        if body.is_empty() {
            out.extend_from_slice(b"\r\n");
            return;
        }
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        // Writing to a vector does not fail.
        let _ = write!(out, "{:x}\r\n", body.len());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n0\r\n\r\n");
    }
}

/// Appends the request that carries `body` from one process to another.
pub fn encode(out: &mut Vec<u8>, from: &Upid, to: &Upid, name: &str, body: &[u8]) {
    Route::new(from, to.address).encode(out, &to.id, name, body);
}
