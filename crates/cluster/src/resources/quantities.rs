//! Amounts by name, without owners: what shares, quotas and headroom are counted in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Resources, Scalar};

/// How much of each scalar resource. Absent and zero are the same.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Quantities(BTreeMap<Arc<str>, Scalar>);

impl Quantities {
    /// The amount of one resource; zero when it is not there.
    pub fn get(&self, name: &str) -> Scalar {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Sets the amount of one resource.
    pub fn set(&mut self, name: impl Into<Arc<str>>, amount: Scalar) {
        if amount.is_zero() {
            self.0.remove(&name.into());
        } else {
            self.0.insert(name.into(), amount);
        }
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
        let sum = self.0.entry(name.clone()).or_default();
        *sum += amount;
        if sum.is_zero() {
            self.0.remove(name);
        }
    }

    /// Subtracts amount by amount, stopping at zero.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            if let Some(left) = self.0.get_mut(name) {
                *left = (*left - *amount).max(Scalar::ZERO);
                if left.is_zero() {
                    self.0.remove(name);
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
