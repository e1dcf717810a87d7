//! The 512-byte header block: where its fields are and how numbers are written in them.

use super::BLOCK;
use crate::{Error, Result};

pub type Block = [u8; BLOCK];
type Field = (usize, usize);

pub const NAME: Field = (0, 100);
pub const MODE: Field = (100, 8);
pub const UID: Field = (108, 8);
pub const GID: Field = (116, 8);
pub const SIZE: Field = (124, 12);
pub const MTIME: Field = (136, 12);
const CHECKSUM: Field = (148, 8);
pub const TYPE: usize = 156;
pub const LINK: Field = (157, 100);
pub const MAGIC: Field = (257, 8);
pub const MAJOR: Field = (329, 8);
pub const MINOR: Field = (337, 8);
pub const PREFIX: Field = (345, 155);
pub const SPARSE: usize = 386;
pub const SPARSE_MORE: usize = 482;
pub const SPARSE_SIZE: Field = (483, 12);

/// Returns the bytes of a field.
pub fn field(block: &Block, (start, length): Field) -> &[u8] {
    &block[start..start + length]
}

/// Returns a text field up to its first NUL.
pub fn text(block: &Block, at: Field) -> &[u8] {
    let bytes = field(block, at);
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

/// Reads a number: octal digits, or big-endian binary marked by the high bit (GNU).
pub fn number(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first()?;
    if first & 0x80 != 0 {
        // Two's complement with the marker bit in place of the sign's copy.
        let negative = first & 0x40 != 0;
        let start = if negative { i128::from(first) - 256 } else { i128::from(first & 0x3f) };
        let mut value = start;
        for byte in &bytes[1..] {
            value = (value << 8) | i128::from(*byte);
            if value.unsigned_abs() > 1 << 80 {
                return None;
            }
        }
        return i64::try_from(value).ok();
    }
    let digits = bytes.trim_ascii_start();
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    if !digits[end..].iter().all(|b| *b == 0 || *b == b' ') {
        // Anything may stand after a NUL.
        if digits[end] != 0 {
            return None;
        }
    }
    let mut value: i64 = 0;
    for digit in &digits[..end] {
        if *digit > b'7' {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// Reads a number that cannot be negative.
pub fn unsigned(bytes: &[u8]) -> Option<u64> {
    number(bytes).and_then(|value| u64::try_from(value).ok())
}

/// Sums the header as its checksum field wants it; old writers used signed bytes.
fn checksums(block: &Block) -> (i64, i64) {
    let mut sums = (0, 0);
    for (index, byte) in block.iter().enumerate() {
        let in_field = (CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1).contains(&index);
        let byte = if in_field { b' ' } else { *byte };
        sums.0 += i64::from(byte);
        sums.1 += i64::from(byte.cast_signed());
    }
    sums
}

/// Refuses a block whose checksum is wrong.
pub fn verify(block: &Block) -> Result<()> {
    let stored = number(field(block, CHECKSUM));
    let (unsigned, signed) = checksums(block);
    if stored == Some(unsigned) || stored == Some(signed) {
        return Ok(());
    }
    Err(Error::InvalidArchive("a header's checksum is wrong: not a tar archive, or damaged".into()))
}

/// Writes octal digits and a NUL, or nothing at all if they do not fit.
pub fn put_octal(block: &mut Block, (start, length): Field, value: u64) -> bool {
    let text = format!("{value:0width$o}", width = length - 1);
    if text.len() > length - 1 {
        return false;
    }
    block[start..start + text.len()].copy_from_slice(text.as_bytes());
    true
}

/// Fills the checksum in, last of all.
pub fn seal(block: &mut Block) {
    let text = format!("{:06o}\0 ", checksums(block).0);
    block[CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1].copy_from_slice(text.as_bytes());
}
