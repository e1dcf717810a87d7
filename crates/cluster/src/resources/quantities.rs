//! Amounts by name, without owners: what shares, quotas and headroom are counted in.

use std::fmt;
use std::sync::Arc;

use super::{Resources, Scalar};

/// How much of each scalar resource. Absent and zero are the same.
///
/// There are a handful of names: a sorted list is searched and copied faster than a map.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Quantities(Vec<(Arc<str>, Scalar)>);

impl Quantities {
    /// The amount of one resource; zero when it is not there.
    pub fn get(&self, name: &str) -> Scalar {
        self.find(name).map_or(Scalar::ZERO, |at| self.0[at].1)
    }

    /// Sets the amount of one resource.
    pub fn set(&mut self, name: impl Into<Arc<str>>, amount: Scalar) {
        let name = name.into();
        match self.find(&name) {
            Ok(at) if amount.is_zero() => drop(self.0.remove(at)),
            Ok(at) => self.0[at].1 = amount,
            Err(_) if amount.is_zero() => {}
            Err(at) => self.0.insert(at, (name, amount)),
        }
    }

    /// Where a name is, or where it would be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    /// Names and amounts, by name; no amount is zero.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Scalar)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
    }

    /// Whether all amounts are zero.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is at least as much of everything as in `other`.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(name, amount)| *amount <= self.get(name))
    }

    /// Adds amount by amount.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            self.add_one(name, *amount);
        }
    }

    /// Adds to one amount.
    pub fn add_one(&mut self, name: &Arc<str>, amount: Scalar) {
        if amount.is_zero() {
            return;
        }
        match self.find(name) {
            Ok(at) => {
                self.0[at].1 += amount;
                if self.0[at].1.is_zero() {
                    self.0.remove(at);
                }
            }
            Err(at) => self.0.insert(at, (name.clone(), amount)),
        }
    }

    /// Subtracts amount by amount, stopping at zero.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            if let Ok(at) = self.find(name) {
                let left = &mut self.0[at].1;
                *left = (*left - *amount).max(Scalar::ZERO);
                if left.is_zero() {
                    self.0.remove(at);
                }
            }
        }
    }

    /// What is missing here to reach `wanted`.
    #[must_use]
    pub fn missing_to(&self, wanted: &Self) -> Self {
        let mut missing = wanted.clone();
        missing.subtract(self);
        missing
    }

    /// The largest of the parts that `held` is of these amounts, but for the excluded ones.
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact, only reproducible")]
    pub fn dominant_share(&self, held: &Self, excluded: &[Arc<str>]) -> f64 {
        held.iter()
            .filter(|(name, _)| !excluded.contains(name))
            .map(|(name, amount)| {
                let total = self.get(name).as_milli();
                if total > 0 { amount.as_milli() as f64 / total as f64 } else { 0.0 }
            })
            .fold(0.0, f64::max)
    }
}

impl From<&Resources> for Quantities {
    /// Sums the scalars. Shared ones count once, however many hold them.
    fn from(resources: &Resources) -> Self {
        let mut quantities = Self::default();
        for resource in resources {
            if let Some(amount) = resource.amount() {
                quantities.add_one(&resource.name, amount);
            }
        }
        quantities
    }
}

impl FromIterator<(Arc<str>, Scalar)> for Quantities {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Scalar)>>(items: I) -> Self {
        let mut quantities = Self::default();
        for (name, amount) in items {
            quantities.add_one(&name, amount);
        }
        quantities
    }
}

impl fmt::Display for Quantities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, amount)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "; " };
            write!(f, "{comma}{name}:{amount}")?;
        }
        Ok(())
    }
}
