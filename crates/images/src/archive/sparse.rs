//! The maps of sparse files: three encodings of "these runs are content, the rest is holes".

use super::header::{self, Block};
use super::{BLOCK, Extent};

/// Reads extents from a header block (4 of them) or an extension block (21); the first empty one
/// ends the list.
pub fn from_block(block: &Block, start: usize, count: usize) -> Option<Vec<Extent>> {
    let mut extents = Vec::new();
    for index in 0..count {
        let at = start + index * 24;
        if block[at] == 0 {
            break;
        }
        let offset = header::unsigned(&block[at..at + 12])?;
        let length = header::unsigned(&block[at + 12..at + 24])?;
        extents.push(Extent { offset, length });
    }
    Some(extents)
}

/// Tells whether a map is sorted, within the file, and accounts for all of the payload.
pub fn is_sound(map: &[Extent], size: u64, payload: u64) -> bool {
    let mut end = 0;
    let mut total: u64 = 0;
    for extent in map {
        let Some(extent_end) = extent.offset.checked_add(extent.length) else { return false };
        if extent.offset < end || extent_end > size {
            return false;
        }
        end = extent_end;
        total += extent.length;
    }
    total == payload
}

/// Collects the decimal lines of a pax 1.0 map that stands in front of the content.
#[derive(Debug, Default)]
pub struct MapLines {
    numbers: Vec<u64>,
    current: Option<u64>,
    /// Bytes of the payload used so far, always whole blocks.
    pub used: u64,
}

impl MapLines {
    /// Takes one block; `Some(Some(map))` when the map is complete, `None` when it is malformed.
    pub fn push(&mut self, block: &Block, limit: usize) -> Option<Option<Vec<Extent>>> {
        self.used += BLOCK as u64;
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let value = self.current.unwrap_or(0);
                    self.current = Some(value.checked_mul(10)?.checked_add(digit)?);
                }
                b'\n' => {
                    self.numbers.push(self.current.take()?);
                    let count = usize::try_from(self.numbers[0]).ok()?;
                    if count > limit {
                        return None;
                    }
                    if self.numbers.len() == 1 + 2 * count {
                        return Some(Some(self.extents()));
                    }
                }
                _ => return None,
            }
        }
        Some(None)
    }

    fn extents(&self) -> Vec<Extent> {
        self.numbers[1..]
            .chunks_exact(2)
            .map(|pair| Extent { offset: pair[0], length: pair[1] })
            .collect()
    }
}

/// Writes a pax 1.0 map, padded to whole blocks.
pub fn to_lines(map: &[Extent]) -> Vec<u8> {
    let mut lines = format!("{}\n", map.len());
    for extent in map {
        lines.push_str(&format!("{}\n{}\n", extent.offset, extent.length));
    }
    let mut bytes = lines.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}
