//! Log lines as bytes on the wire.

use std::fmt::Write as _;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use engine::container::AttachStream;
use engine::logs::{LogLine, LogSource, Logs};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

/// How lines are to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// Raw, without frames.
    pub(crate) tty: bool,
    /// Each line begins with its time.
    pub(crate) timestamps: bool,
    /// Each line begins with its attributes.
    pub(crate) details: bool,
}

/// Writes a line, in a frame unless the container has a terminal.
pub(crate) fn bytes(line: &LogLine, format: Format) -> Bytes {
    let mut prefix = String::new();
    if format.timestamps {
        prefix.push_str(&time(line.time));
        prefix.push(' ');
    }
    if format.details {
        for (at, (key, value)) in line.attributes.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(prefix, "{comma}{}={}", escape(key), escape(value));
        }
        prefix.push(' ');
    }
    let length = prefix.len() + line.message.len();
    let mut bytes = BytesMut::with_capacity(length + 8);
    if !format.tty {
        let source = match line.source {
            LogSource::Stdout => 1,
            LogSource::Stderr => 2,
        };
        bytes.put_slice(&[source, 0, 0, 0]);
        // Lines are bounded by the reader, far below this.
        bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
    bytes.put_slice(prefix.as_bytes());
    bytes.put_slice(&line.message);
    bytes.freeze()
}

/// Nine digits always, so that columns stay aligned.
fn time(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// Form encoding, so that `,` and `=` in values keep their meaning.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            // Writing to a string cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// Puts what was logged before what is coming.
pub(crate) fn before(
    past: Logs,
    coming: Box<dyn AsyncRead + Send + Unpin>,
) -> Box<dyn AsyncRead + Send + Unpin> {
    let format = Format { tty: past.tty, timestamps: false, details: false };
    let lines = past.lines.map(move |line| Ok::<_, io::Error>(bytes(&line?, format)));
    Box::new(StreamReader::new(lines).chain(coming))
}

/// An attachment to nothing, for a client that only wants the past.
pub(crate) fn nothing(tty: bool) -> AttachStream {
    AttachStream { reader: Box::new(tokio::io::empty()), writer: Box::new(tokio::io::sink()), tty }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn line() -> LogLine {
        LogLine {
            source: LogSource::Stderr,
            time: "2024-01-01T00:00:00.5Z".parse().unwrap(),
            attributes: BTreeMap::from([("a".into(), "1,2".into()), ("b".into(), "x y".into())]),
            message: Bytes::from_static(b"hi\n"),
        }
    }

    #[test]
    fn lines_are_framed_without_a_terminal() {
        let plain = Format { tty: false, timestamps: false, details: false };
        assert_eq!(&bytes(&line(), plain)[..], b"\x02\0\0\0\0\0\0\x03hi\n");
        let raw = Format { tty: true, ..plain };
        assert_eq!(&bytes(&line(), raw)[..], b"hi\n");
    }

    #[test]
    fn prefixes_count_as_part_of_the_line() {
        let format = Format { tty: true, timestamps: true, details: true };
        assert_eq!(
            &bytes(&line(), format)[..],
            b"2024-01-01T00:00:00.500000000Z a=1%2C2,b=x+y hi\n"
        );
    }
}
