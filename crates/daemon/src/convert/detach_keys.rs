//! `ctrl-p,ctrl-q` as bytes.

use crate::error::{ApiError, ApiResult};

/// What detaches when a client does not say.
const DEFAULT: [u8; 2] = [16, 17];

/// Reads a comma-separated sequence of characters and `ctrl-X`.
pub(crate) fn parse(text: &str) -> ApiResult<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    text.split(',').map(|key| parse_key(key, text)).collect()
}

fn parse_key(key: &str, text: &str) -> ApiResult<u8> {
    let invalid =
        || ApiError::invalid(format!("Invalid escape keys ({}) provided", text.escape_debug()));
    match key.as_bytes() {
        [byte] if byte.is_ascii() && !byte.is_ascii_control() => Ok(*byte),
        [b'c', b't', b'r', b'l', b'-', letter] => match letter.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => Ok(letter - b'a' + 1),
            b'@' => Ok(0),
            b'[' => Ok(27),
            b'\\' => Ok(28),
            b']' => Ok(29),
            b'^' => Ok(30),
            b'_' => Ok(31),
            _ => Err(invalid()),
        },
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_become_bytes() {
        assert_eq!(parse("").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-a,x,ctrl-@,ctrl-_").unwrap(), [1, b'x', 0, 31]);
        for text in ["ctrl-", "ctrl-aa", "ab", "ctrl-!", ",", "ü"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
