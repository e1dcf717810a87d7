//! Messages of RFC 3164 and RFC 5424, and the way to the local daemon.

use std::io::{self, Write};
use std::path::Path;

use super::link::Link;
use super::{Entry, severity};
use crate::shim::log::json::write_time_to;
use crate::shim::protocol::remote::{Syslog, SyslogFormat};

/// Where syslog daemons listen for programs of their own host.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(super) fn local() -> io::Result<Link> {
    let found = LOCAL.iter().find_map(|path| {
        let path = Path::new(path);
        let stream = || std::os::unix::net::UnixStream::connect(path).map(Link::Unix);
        Link::unixgram(path).or_else(|_| stream()).ok()
    });
    found.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no daemon listens at {}; name one with syslog-address", LOCAL.join(", ")),
        )
    })
}

pub(super) fn message(config: &Syslog, entry: Entry<'_>) -> io::Result<Vec<u8>> {
    let priority = config.facility * 8 + severity(entry.source);
    let Syslog { tag, hostname, pid, .. } = config;
    let mut message = Vec::with_capacity(entry.text.len() + 128);
    match config.format {
        SyslogFormat::Local => {
            let time = stamp(entry.time_ns);
            write!(message, "<{priority}>{time} {tag}[{pid}]: ")?;
        }
        SyslogFormat::Rfc3164 => {
            let time = stamp(entry.time_ns);
            write!(message, "<{priority}>{time} {hostname} {tag}[{pid}]: ")?;
        }
        SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
            let digits = if config.format == SyslogFormat::Rfc5424 { 0 } else { 6 };
            write!(message, "<{priority}>1 ")?;
            write_time_to(entry.time_ns, digits, &mut message);
            write!(message, " {hostname} {tag} {pid} {tag} - ")?;
        }
    }
    message.extend_from_slice(entry.text);
    message.push(b'\n');
    Ok(message)
}

/// `Jan _2 15:04:05` in the host's time zone.
fn stamp(time_ns: i64) -> String {
    let time = linux::time::local(time_ns.div_euclid(1_000_000_000));
    let month = MONTHS.get(time.month0).copied().unwrap_or("Jan");
    format!("{month} {:>2} {:02}:{:02}:{:02}", time.day, time.hour, time.minute, time.second)
}
