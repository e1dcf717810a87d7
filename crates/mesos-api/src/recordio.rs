//! RecordIO: records in a stream, each after its length in decimal digits and a newline.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// More digits than the longest record needs.
const DIGITS_MAX: usize = 20;

/// Appends a record to `out`.
pub fn encode_into(out: &mut Vec<u8>, record: &[u8]) {
    out.extend_from_slice(record.len().to_string().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(record);
}

/// A record with its length before it.
pub fn encode(record: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(record.len() + 8);
    encode_into(&mut out, record);
    out.into()
}

/// Why a stream holds no further record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// What stands where a length should is no number.
    #[error("Failed to decode length '{0}': Failed to convert '{0}' to number")]
    Length(String),
    /// The record would be longer than is allowed.
    #[error("a record of {length} bytes is longer than the {max} allowed")]
    TooLong {
        /// What the stream announces.
        length: usize,
        /// What the decoder was made for.
        max: usize,
    },
}

/// Finds the records in a stream that comes in pieces of any size.
///
/// After an error the stream cannot be read on: there is no telling where the next record begins.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    length: Option<usize>,
    max: usize,
}

impl Decoder {
    /// A decoder that refuses records of more than `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), length: None, max }
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next record, or `None` until more of the stream has come.
    ///
    /// # Errors
    /// If a length is no number or too big.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, RecordError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.take_length()? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.length = Some(length);
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether the stream may end here.
    pub fn is_between_records(&self) -> bool {
        self.length.is_none() && self.buffer.is_empty()
    }

    fn take_length(&mut self) -> Result<Option<usize>, RecordError> {
        let end = self.buffer.iter().take(DIGITS_MAX + 1).position(|byte| *byte == b'\n');
        let Some(end) = end else {
            if self.buffer.len() > DIGITS_MAX {
                return Err(self.bad_length(DIGITS_MAX));
            }
            return Ok(None);
        };
        let digits = &self.buffer[..end];
        let length = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or_else(|| self.bad_length(end))?;
        if length > self.max {
            return Err(RecordError::TooLong { length, max: self.max });
        }
        self.buffer.advance(end + 1);
        Ok(Some(length))
    }

    fn bad_length(&self, end: usize) -> RecordError {
        RecordError::Length(String::from_utf8_lossy(&self.buffer[..end]).into_owned())
    }
}

#[cfg(test)]
mod tests;
