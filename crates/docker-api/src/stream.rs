//! Takes the multiplexed output of a container apart.
//!
//! Without a terminal, attach, exec and logs carry frames: a header of eight
//! bytes `[kind, 0, 0, 0, length as u32 BE]`, then the payload. Pieces of a
//! payload are handed on as they arrive, so a frame's length costs no memory.

use bytes::{Buf as _, Bytes, BytesMut};

const HEADER_LEN: usize = 8;

/// Which stream a piece of output belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stdin,
    Stdout,
    Stderr,
    /// A message of the daemon about the stream itself.
    System,
}

/// The stream is not made of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized input header: {0}")]
pub struct UnknownKind(pub u8);

/// Decodes frames out of bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    current: Option<(Kind, usize)>,
}

impl Decoder {
    /// Takes bytes from the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next piece of output; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When a header names no known stream.
    pub fn next_piece(&mut self) -> Result<Option<(Kind, Bytes)>, UnknownKind> {
        loop {
            if let Some((kind, left)) = self.current {
                if left == 0 {
                    self.current = None;
                    continue;
                }
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let piece = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                self.current = Some((kind, left - piece.len()));
                return Ok(Some((kind, piece)));
            }
            if self.buffer.len() < HEADER_LEN {
                return Ok(None);
            }
            let kind = match self.buffer[0] {
                0 => Kind::Stdin,
                1 => Kind::Stdout,
                2 => Kind::Stderr,
                3 => Kind::System,
                other => return Err(UnknownKind(other)),
            };
            self.buffer.advance(4);
            self.current = Some((kind, self.buffer.get_u32() as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("test payloads are small");
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn pieces_come_out_in_order_whatever_the_cuts() {
        let mut wire = frame(1, b"out");
        wire.extend(frame(2, b""));
        wire.extend(frame(2, b"err"));
        for cut in 1..wire.len() {
            let mut decoder = Decoder::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for chunk in wire.chunks(cut) {
                decoder.push(chunk);
                while let Some((kind, piece)) = decoder.next_piece().expect("known kinds") {
                    if kind == Kind::Stdout { out.extend(piece) } else { err.extend(piece) }
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"out"[..], &b"err"[..]), "cut {cut}");
        }
    }

    #[test]
    fn unframed_bytes_are_refused() {
        let mut decoder = Decoder::default();
        decoder.push(b"hello world");
        assert_eq!(decoder.next_piece(), Err(UnknownKind(b'h')));
    }
}
