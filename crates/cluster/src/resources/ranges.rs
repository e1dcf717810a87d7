//! Sets of whole numbers as sorted, disjoint, non-adjacent inclusive ranges: ports, mostly.

use std::fmt;

/// A set of `u64` in normal form: two equal sets are equal values.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Puts any ranges into normal form. A range whose begin lies past its end is empty.
    pub fn new(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(begin, end)| begin <= end).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (begin, end) in sorted {
            match merged.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Self(merged)
    }

    /// Whether a number is in more than one of these ranges.
    pub fn overlap(ranges: impl IntoIterator<Item = (u64, u64)>) -> bool {
        let mut sorted: Vec<_> = ranges.into_iter().collect();
        sorted.sort_unstable();
        sorted.windows(2).any(|pair| pair[1].0 <= pair[0].1)
    }

    /// The ranges, both ends included, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether no number is in the set.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the number is in the set.
    pub fn contains_value(&self, value: u64) -> bool {
        let after = self.0.partition_point(|(begin, _)| *begin <= value);
        after > 0 && value <= self.0[after - 1].1
    }

    /// Whether every number of `other` is in this set.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(begin, end)| {
            let after = self.0.partition_point(|(ours, _)| ours <= begin);
            after > 0 && *end <= self.0[after - 1].1
        })
    }

    /// The union of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.iter().chain(other.iter()))
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        let mut holes = other.0.iter().peekable();
        for &(begin, end) in &self.0 {
            let mut next = Some(begin);
            while let Some(from) = next {
                match holes.peek() {
                    Some(hole) if hole.1 < from => {
                        holes.next();
                    }
                    Some(&&(hole_begin, hole_end)) if hole_begin <= end => {
                        if from < hole_begin {
                            left.push((from, hole_begin - 1));
                        }
                        // The hole may reach into the next range: it stays for that one.
                        next = hole_end.checked_add(1).filter(|from| *from <= end);
                    }
                    _ => {
                        left.push((from, end));
                        next = None;
                    }
                }
            }
        }
        Self(left)
    }

    /// How many numbers the set holds; saturates.
    pub fn count(&self) -> u64 {
        self.iter()
            .fold(0, |sum: u64, (begin, end)| sum.saturating_add((end - begin).saturating_add(1)))
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (begin, end)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{begin}-{end}")?;
        }
        f.write_str("]")
    }
}
