//! Services that take a container's lines, beside the file or instead of it.
//!
//! The engine has read all options and filled in all names: what is left is to send.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A log service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "service", rename_all = "kebab-case")]
pub enum Remote {
    /// RFC 3164 and 5424.
    Syslog(Syslog),
    /// systemd's journal, in its native protocol.
    Journald(Journald),
    /// Graylog's format.
    Gelf(Gelf),
    /// Fluentd's forward protocol.
    Fluentd(Fluentd),
}

/// Where a service listens. Names of hosts are looked up at each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// `host:port`.
    Udp(String),
    /// `host:port`.
    Tcp(String),
    /// A stream socket.
    Unix(PathBuf),
    /// A datagram socket.
    Unixgram(PathBuf),
}

/// How to speak to a syslog daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syslog {
    /// `None`: the local one.
    pub address: Option<Address>,
    /// The facility's number.
    pub facility: u8,
    /// The form of a message.
    pub format: SyslogFormat,
    /// What the message calls its program.
    pub tag: String,
    /// What it calls the host.
    pub hostname: String,
    /// What it calls the program's process.
    pub pid: u32,
}

/// The form of a syslog message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogFormat {
    /// As programs on the same host write, without its name.
    Local,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

/// What the journal is told with every line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journald {
    /// Fields by their names in the journal.
    pub fields: BTreeMap<String, String>,
}

/// How to speak to Graylog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gelf {
    /// UDP or TCP.
    pub address: Address,
    /// Of messages by UDP.
    pub compression: GelfCompression,
    /// 0 to 9.
    pub level: u32,
    /// What messages call the host.
    pub hostname: String,
    /// More fields, with their underscore.
    pub fields: BTreeMap<String, String>,
}

/// How messages to Graylog are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GelfCompression {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// Not at all.
    None,
}

/// How to speak to Fluentd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fluentd {
    /// TCP or a stream socket.
    pub address: Address,
    /// The events' tag.
    pub tag: String,
    /// Whether the container may start while nobody listens there.
    pub lazily: bool,
    /// Whether times have nanoseconds.
    pub sub_second: bool,
    /// Fields of every record.
    pub fields: BTreeMap<String, String>,
}
