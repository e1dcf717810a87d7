//! Docker's stream frames: `[type, 0, 0, 0, length as big-endian u32, payload]`.

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;
/// The longest payload accepted; longer ones are a protocol error.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Client to process; an empty payload is end of file.
    Stdin = 0,
    /// Process to client; also a terminal's output.
    Stdout = 1,
    /// Process to client.
    Stderr = 2,
}

/// Builds the header of a frame of `length` payload bytes.
pub fn header(stream: Stream, length: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Appends a whole frame to `output`.
///
/// # Panics
/// If `payload` is longer than 4 GiB.
pub fn encode(stream: Stream, payload: &[u8], output: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a payload is shorter than 4 GiB");
    output.extend_from_slice(&header(stream, length));
    output.extend_from_slice(payload);
}

/// A frame that cannot be: unknown type or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame header {header:02x?}")]
pub struct MalformedFrame {
    /// What was received.
    pub header: [u8; HEADER_BYTES],
}

/// Takes a byte stream apart into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole frame; `None` until more bytes come.
    ///
    /// # Errors
    /// [`MalformedFrame`]; the stream is of no use after it.
    pub fn next_frame(&mut self) -> Result<Option<(Stream, &[u8])>, MalformedFrame> {
        let pending = &self.buffer[self.start..];
        let Some(header) = pending.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [kind, _, _, _, a, b, c, d] = *header;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let stream = match kind {
            0 => Stream::Stdin,
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return Err(MalformedFrame { header: *header }),
        };
        if length > MAX_PAYLOAD_BYTES {
            return Err(MalformedFrame { header: *header });
        }
        let end = HEADER_BYTES + length;
        if pending.len() < end {
            return Ok(None);
        }
        let from = self.start + HEADER_BYTES;
        self.start += end;
        Ok(Some((stream, &self.buffer[from..from + length])))
    }

    /// Tells whether bytes of an unfinished frame are held.
    pub fn is_partial(&self) -> bool {
        self.start < self.buffer.len()
    }
}
