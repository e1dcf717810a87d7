//! The address of a process: `id@ip:port`.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;

use thiserror::Error;

/// A process and the socket it is reached at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Upid {
    /// The name of the process at its address, such as `master` or `slave(1)`.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddrV4,
}

/// Why a text is no address of a process.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not of the form id@ip:port")]
pub struct UpidError(String);

impl Upid {
    /// The process `id` at `address`.
    pub fn new(id: impl Into<String>, address: SocketAddrV4) -> Self {
        Self { id: id.into(), address }
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

impl FromStr for Upid {
    type Err = UpidError;

    fn from_str(text: &str) -> Result<Self, UpidError> {
        let refuse = || UpidError(text.to_owned());
        let (id, address) = text.split_once('@').ok_or_else(refuse)?;
        if id.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(refuse());
        }
        let address = address.parse().map_err(|_| refuse())?;
        Ok(Self { id: id.to_owned(), address })
    }
}

/// Appends an id as it stands in a path. Parentheses stay as they are: every peer sends them so.
pub(super) fn escape(to: &mut Vec<u8>, id: &str) {
    use std::io::Write as _;

    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => to.push(byte),
            b'-' | b'_' | b'.' | b'~' | b'(' | b')' => to.push(byte),
            // Writing to a vector does not fail.
            _ => drop(write!(to, "%{byte:02X}")),
        }
    }
}

/// The id that a part of a path stands for.
pub(super) fn unescape(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits =
            escaped.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        bytes.push(u8::from_str_radix(digits?, 16).ok()?);
        rest = &escaped[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}
