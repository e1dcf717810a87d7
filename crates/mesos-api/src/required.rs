//! Required fields in protobuf: a message that lacks one must be refused, and prost does not.

use bytes::Buf;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use thiserror::Error;

use crate::json::Json;

/// What a message requires, and which of its fields are messages. Generated.
#[doc(hidden)]
#[derive(Debug)]
pub struct Table {
    pub(crate) required: &'static [(u32, &'static str)],
    pub(crate) messages: &'static [(u32, &'static str, &'static Self)],
}

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes are not protobuf of this message.
    #[error("{0}")]
    Malformed(String),
    /// A required field is missing.
    #[error("Missing required fields: {0}")]
    Missing(String),
}

/// Deeper nesting is refused, as protobuf's own decoders do.
const DEPTH_MAX: usize = 100;

/// Decodes a message and insists on its required fields.
///
/// # Errors
/// If the bytes are malformed or a required field is missing.
pub fn decode<T: Message + Json>(bytes: &[u8]) -> Result<T, WireError> {
    let message = T::decode(bytes).map_err(|error| WireError::Malformed(error.to_string()))?;
    check(bytes, T::table(), DEPTH_MAX)?;
    Ok(message)
}

fn check(mut bytes: &[u8], table: &Table, depth: usize) -> Result<(), WireError> {
    let malformed = || WireError::Malformed("the message is nested too deeply".to_owned());
    let depth = depth.checked_sub(1).ok_or_else(malformed)?;
    let mut seen = 0_u64;
    while bytes.has_remaining() {
        let (number, kind) =
            decode_key(&mut bytes).map_err(|error| WireError::Malformed(error.to_string()))?;
        if let Some(at) = table.required.iter().position(|(required, _)| *required == number) {
            seen |= 1 << at;
        }
        let value = field(&mut bytes, kind)?;
        let inner = table.messages.iter().find(|(field, ..)| *field == number);
        if let Some((_, name, inner)) = inner {
            check(value, inner, depth).map_err(|error| match error {
                WireError::Missing(path) => WireError::Missing(format!("{name}.{path}")),
                malformed => malformed,
            })?;
        }
    }
    let missing: Vec<&str> = table
        .required
        .iter()
        .enumerate()
        .filter(|(at, _)| seen & (1 << at) == 0)
        .map(|(_, (_, name))| *name)
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(WireError::Missing(missing.join(", "))) }
}

/// Takes the value of a field off the front; what it is, if it is one of bytes.
fn field<'a>(bytes: &mut &'a [u8], kind: WireType) -> Result<&'a [u8], WireError> {
    let cut = || WireError::Malformed("the message ends inside a field".to_owned());
    let length = match kind {
        WireType::Varint => {
            decode_varint(bytes).map_err(|error| WireError::Malformed(error.to_string()))?;
            0
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => {
            let length =
                decode_varint(bytes).map_err(|error| WireError::Malformed(error.to_string()))?;
            usize::try_from(length).map_err(|_| cut())?
        }
        WireType::StartGroup | WireType::EndGroup => {
            return Err(WireError::Malformed("the message holds a group".to_owned()));
        }
    };
    let (value, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    Ok(value)
}

#[cfg(test)]
mod tests;
