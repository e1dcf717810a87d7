//! Messages between processes as libprocess frames them: each is an HTTP request whose path names
//! the receiving process and the message, and whose body is the message. No IO.
//!
//! A peer answers every request with `202 Accepted` on the same connection; a sender has to read
//! those answers, and need not look at them.

mod decode;
mod upid;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, Dialect, FrameError, Request, dialect};
pub use upid::{Upid, UpidError};

use std::io::Write as _;

/// The answer to every message.
pub const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// Appends the request that carries `body` from one process to another.
pub fn encode(out: &mut Vec<u8>, from: &Upid, to: &Upid, name: &str, body: &[u8]) {
    let slash = if to.id.is_empty() { "" } else { "/" };
    let receiver = upid::escape(&to.id);
    let head = format_args!(
        "POST {slash}{receiver}/{name} HTTP/1.1\r\n\
         User-Agent: libprocess/{from}\r\n\
         Libprocess-From: {from}\r\n\
         Connection: Keep-Alive\r\n\
         Host: {host}\r\n",
        host = to.address,
    )
    .to_string();
    out.reserve(head.len() + body.len() + 48);
    out.extend_from_slice(head.as_bytes());
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
