//! Resources and their algebra: addition, subtraction, containment, reservation, allocation.
//!
//! A [`Resources`] is in normal form: what can be one entry is one entry, empty entries are gone,
//! and the order is the order in which names first appeared, as Mesos keeps it. Cloning is cheap:
//! the entries are shared until one side changes them.
//!
//! Scalars are fixed point (thousandths), ranges and sets are true sets. Subtracting what is not
//! there leaves the rest untouched, so a caller that must not over-allocate asks
//! [`Resources::contains`] first.

mod parse;
mod quantities;
mod ranges;
mod resource;
mod scalar;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use parse::ParseError;
pub use quantities::Quantities;
pub use ranges::Ranges;
pub use resource::{
    Disk, DiskSource, DiskSourceKind, Persistence, Reservation, ReservationKind, Resource, Value,
    Volume,
};
pub use scalar::Scalar;
pub use wire::Format;

use crate::id::Role;
use crate::role;

/// A bag of resources in normal form.
#[derive(Debug, Default, Clone)]
pub struct Resources(Arc<Vec<Resource>>);

impl Resources {
    /// No resources.
    pub fn new() -> Self {
        Self::default()
    }

    /// No resources, with room for so many entries: bags of two or four are held by the ten
    /// thousand, and should not take more than they need.
    pub(crate) fn with_room(entries: usize) -> Self {
        Self(Arc::new(Vec::with_capacity(entries)))
    }

    /// Parses the text form: `cpus:24;mem(web):1024;ports:[31000-32000];disks:{a,b}`.
    ///
    /// # Errors
    /// Names the part that is not understood.
    pub fn parse(text: &str, default_role: &Role) -> Result<Self, ParseError> {
        parse::parse(text, default_role)
    }

    /// The entries.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.0.iter()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one resource.
    pub fn add(&mut self, resource: &Resource) {
        if resource.is_empty() {
            return;
        }
        let items = Arc::make_mut(&mut self.0);
        match items.iter_mut().find(|item| item.can_merge(resource)) {
            Some(item) => item.add(resource),
            None => items.push(resource.clone()),
        }
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Self) {
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        for resource in other {
            self.add(resource);
        }
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add_all(other);
        sum
    }

    /// Takes away one resource, as far as it is there.
    pub fn subtract(&mut self, resource: &Resource) {
        self.subtract_from(resource, Resource::same_identity);
    }

    fn subtract_from(&mut self, resource: &Resource, same: fn(&Resource, &Resource) -> bool) {
        if resource.is_empty() {
            return;
        }
        let indivisible = resource.shared || resource.is_indivisible();
        let Some(at) = self.0.iter().position(|item| {
            same(item, resource) && (!indivisible || item.value == resource.value)
        }) else {
            return;
        };
        let items = Arc::make_mut(&mut self.0);
        items[at].subtract(resource);
        let below_zero = items[at].amount().is_some_and(|amount| amount <= Scalar::ZERO);
        if items[at].is_empty() || below_zero && !items[at].shared {
            items.remove(at);
        }
    }

    /// Takes away all of `other`, as far as it is there.
    pub fn subtract_all(&mut self, other: &Self) {
        if Arc::ptr_eq(&self.0, &other.0) {
            // What was given away as a whole comes back as a whole.
            *self = Self::default();
            return;
        }
        for resource in other {
            self.subtract(resource);
        }
    }

    /// Takes away all of `other`, as far as it is there, whomever it is allocated to: from a bag
    /// that bears no such marks.
    pub(crate) fn subtract_unmarked(&mut self, other: &Self) {
        for resource in other {
            self.subtract_from(resource, Resource::same_but_for_allocation);
        }
    }

    /// What is left of this when `other` is taken away.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract_all(other);
        rest
    }

    /// Whether all of `other` is in here.
    pub fn contains(&self, other: &Self) -> bool {
        match other.0.as_slice() {
            [] => true,
            _ if Arc::ptr_eq(&self.0, &other.0) => true,
            // Entries that can be split differ in what they are: each is found in a place of its own.
            all if all.iter().all(|item| !item.shared && !item.is_indivisible()) => {
                all.iter().all(|resource| self.contains_one(resource))
            }
            // Two whole disks of one kind must not be found in the same place twice.
            _ => {
                let mut rest = self.clone();
                other.iter().all(|resource| {
                    let there = rest.contains_one(resource);
                    if there {
                        rest.subtract(resource);
                    }
                    there
                })
            }
        }
    }

    /// Whether one resource is in here.
    pub fn contains_one(&self, resource: &Resource) -> bool {
        self.iter().any(|item| item.contains(resource))
    }

    /// The entries for which `keep` says yes.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Self {
        if self.iter().all(&keep) {
            return self.clone();
        }
        Self(Arc::new(self.iter().filter(|item| keep(item)).cloned().collect()))
    }

    /// Changes each entry and restores the normal form.
    #[must_use]
    pub fn map(&self, change: impl Fn(&mut Resource)) -> Self {
        self.iter()
            .map(|item| {
                let mut item = item.clone();
                change(&mut item);
                item
            })
            .collect()
    }

    /// The part that nobody reserved.
    #[must_use]
    pub fn unreserved(&self) -> Self {
        self.filter(Resource::is_unreserved)
    }

    /// The part that is reserved, to anybody.
    #[must_use]
    pub fn reserved(&self) -> Self {
        self.filter(|item| !item.is_unreserved())
    }

    /// The part reserved to exactly this role.
    #[must_use]
    pub fn reserved_to(&self, role: &Role) -> Self {
        self.filter(|item| item.reserved_role() == Some(role))
    }

    /// The part that a framework of this role may get: unreserved, or reserved to it or above it.
    #[must_use]
    pub fn usable_by(&self, role: &Role) -> Self {
        self.filter(|item| item.reserved_role().is_none_or(|owner| role::may_use(role, owner)))
    }

    /// The part that cannot be taken back.
    #[must_use]
    pub fn non_revocable(&self) -> Self {
        self.filter(|item| !item.revocable)
    }

    /// The part that can be taken back at any time.
    #[must_use]
    pub fn revocable(&self) -> Self {
        self.filter(|item| item.revocable)
    }

    /// The part that several tasks can hold at once.
    #[must_use]
    pub fn shared(&self) -> Self {
        self.filter(|item| item.shared)
    }

    /// The part that only one task can hold.
    #[must_use]
    pub fn non_shared(&self) -> Self {
        self.filter(|item| !item.shared)
    }

    /// The persistent volumes.
    #[must_use]
    pub fn persistent_volumes(&self) -> Self {
        self.filter(Resource::is_persistent_volume)
    }

    /// Marks all as allocated to the role.
    #[must_use]
    pub fn allocated_to(&self, role: &Role) -> Self {
        if self.iter().all(|item| item.allocation.as_ref() == Some(role)) {
            return self.clone();
        }
        self.map(|item| item.allocation = Some(role.clone()))
    }

    /// Removes the mark of allocation.
    #[must_use]
    pub fn unallocated(&self) -> Self {
        if self.iter().all(|item| item.allocation.is_none()) {
            return self.clone();
        }
        self.map(|item| item.allocation = None)
    }

    /// Adds one reservation on top of every entry.
    #[must_use]
    pub fn push_reservation(&self, reservation: &Reservation) -> Self {
        self.map(|item| item.reservations.push(reservation.clone()))
    }

    /// Removes the topmost reservation of every entry.
    #[must_use]
    pub fn pop_reservation(&self) -> Self {
        self.map(|item| {
            item.reservations.pop();
        })
    }

    /// The sum of all scalars of this name; nothing if there is none.
    pub fn amount(&self, name: &str) -> Option<Scalar> {
        let mut amounts =
            self.iter().filter(|item| *item.name == *name).filter_map(Resource::amount);
        let first = amounts.next()?;
        Some(first + amounts.sum())
    }

    /// All ports of all entries.
    pub fn ports(&self) -> Ranges {
        Ranges::new(self.iter().filter(|item| *item.name == *"ports").flat_map(|item| {
            match &item.value {
                Value::Ranges(ranges) => ranges.iter().collect(),
                _ => Vec::new(),
            }
        }))
    }
}

impl PartialEq for Resources {
    /// Equal when each contains the other: the order of entries says nothing.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.len() == other.len() && self.contains(other) && other.contains(self)
    }
}

impl Eq for Resources {}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(items: I) -> Self {
        let items = items.into_iter();
        let mut all: Vec<Resource> = Vec::with_capacity(items.size_hint().0);
        for item in items.filter(|item| !item.is_empty()) {
            match all.iter_mut().find(|known| known.can_merge(&item)) {
                Some(known) => known.add(&item),
                None => all.push(item),
            }
        }
        Self(Arc::new(all))
    }
}

impl From<Resource> for Resources {
    fn from(resource: Resource) -> Self {
        Self::from_iter([resource])
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("{}");
        }
        for (i, resource) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{resource}")?;
        }
        Ok(())
    }
}
