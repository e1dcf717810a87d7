//! Drawing of identities.

use rand::Rng as _;

/// Draws 64 lower-case hexadecimal digits whose first twelve are not all decimal: a short id
/// that reads as a number would be taken for one where a host name is expected.
pub(crate) fn random_hex() -> String {
    let mut random = rand::rng();
    loop {
        let mut bytes = [0_u8; 32];
        random.fill_bytes(&mut bytes);
        let text = hex(&bytes);
        if !text[..12].bytes().all(|byte| byte.is_ascii_digit()) {
            return text;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
