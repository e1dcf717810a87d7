//! Dominant resource fairness: who has the smallest share is next.
//!
//! Roles form a tree; at each level siblings are ordered by dominant share over weight, then by how
//! often they were given something, then by name. The frameworks of a role are ordered the same way
//! among themselves, and stand beside the role's children as one more child.
//!
//! Each level keeps its order as a sorted set, so that one allocation costs a logarithm and not a
//! sort, and no more than that however much changed before somebody asks for the order. When the
//! cluster's total changes all shares change: levels notice by a version number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{FrameworkId, Role};
use crate::resources::Quantities;
use crate::role;

/// The sort key: a share as ordered bits, and a count of allocations.
type Rank = (u64, u64);

#[derive(Debug, Clone)]
struct Entry {
    allocated: Quantities,
    allocations: u64,
    weight: f64,
    /// As it stands in the order.
    rank: Rank,
    /// It changed since it was ranked.
    stale: bool,
}

/// Siblings in the order of their shares.
#[derive(Debug, Clone)]
struct Level<K> {
    entries: BTreeMap<K, Entry>,
    order: BTreeSet<(Rank, K)>,
    /// Those that changed since they were ranked.
    stale: Vec<K>,
    /// For which total the ranks were computed.
    version: u64,
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), order: BTreeSet::new(), stale: Vec::new(), version: 0 }
    }
}

impl<K: Ord + Clone> Level<K> {
    fn insert(&mut self, key: K, weight: f64) {
        if !self.entries.contains_key(&key) {
            let entry = Entry {
                allocated: Quantities::default(),
                allocations: 0,
                weight,
                rank: (0, 0),
                stale: false,
            };
            self.order.insert((entry.rank, key.clone()));
            self.entries.insert(key, entry);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&(entry.rank, key.clone()));
        }
    }

    fn change(&mut self, key: &K, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(key) {
            change(entry);
            if !std::mem::replace(&mut entry.stale, true) {
                self.stale.push(key.clone());
            }
        }
    }

    fn ordered(&mut self, total: &Total) -> impl Iterator<Item = &K> {
        if self.version != total.version {
            self.version = total.version;
            self.stale.clear();
            for entry in self.entries.values_mut() {
                entry.rank = total.rank(entry);
                entry.stale = false;
            }
            self.order =
                self.entries.iter().map(|(key, entry)| (entry.rank, key.clone())).collect();
        }
        for key in self.stale.drain(..) {
            // It may have gone, and come again, since.
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.stale) else {
                continue;
            };
            let before = (entry.rank, key);
            self.order.remove(&before);
            entry.rank = total.rank(entry);
            entry.stale = false;
            self.order.insert((entry.rank, before.1));
        }
        self.order.iter().map(|(_, key)| key)
    }
}

/// What shares are parts of.
#[derive(Debug, Default, Clone)]
struct Total {
    quantities: Quantities,
    excluded: Vec<Arc<str>>,
    version: u64,
}

impl Total {
    fn rank(&self, entry: &Entry) -> Rank {
        let share = self.quantities.dominant_share(&entry.allocated, &self.excluded);
        (share_bits(share / entry.weight), entry.allocations)
    }
}

/// For numbers that are not negative the bits are ordered as the numbers are.
fn share_bits(share: f64) -> u64 {
    share.max(0.0).to_bits()
}

/// A child of a role in the tree: its own frameworks, or a role below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Child {
    Own,
    Role(Role),
}

#[derive(Debug, Default, Clone)]
struct Node {
    children: Level<Child>,
    frameworks: Level<FrameworkId>,
    /// Those of the frameworks that want offers.
    active: BTreeSet<FrameworkId>,
}

/// The tree of roles and their frameworks.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    /// Every role that has frameworks or allocations, and all roles above one.
    nodes: BTreeMap<Role, Node>,
    root: Level<Child>,
    total: Total,
    weights: BTreeMap<Role, f64>,
}

impl Sorter {
    pub(super) fn new(excluded: Vec<Arc<str>>) -> Self {
        let total = Total { excluded, version: 1, ..Total::default() };
        Self { total, ..Self::default() }
    }

    pub(super) fn total(&self) -> &Quantities {
        &self.total.quantities
    }

    pub(super) fn add_total(&mut self, quantities: &Quantities) {
        self.total.quantities.add(quantities);
        self.total.version += 1;
    }

    pub(super) fn subtract_total(&mut self, quantities: &Quantities) {
        self.total.quantities.subtract(quantities);
        self.total.version += 1;
    }

    pub(super) fn weight(&self, role: &Role) -> f64 {
        self.weights.get(role).copied().unwrap_or(1.0)
    }

    pub(super) fn set_weight(&mut self, role: &Role, weight: f64) {
        self.weights.insert(role.clone(), weight);
        let level = match parent(role) {
            Some(above) => self.nodes.get_mut(&above).map(|node| &mut node.children),
            None => Some(&mut self.root),
        };
        if let Some(level) = level {
            level.change(&Child::Role(role.clone()), |entry| entry.weight = weight);
        }
    }

    pub(super) fn add_framework(&mut self, role: &Role, framework: &FrameworkId) {
        self.ensure(role);
        if let Some(node) = self.nodes.get_mut(role) {
            node.frameworks.insert(framework.clone(), 1.0);
        }
    }

    /// Forgets a framework that holds nothing any more.
    pub(super) fn remove_framework(&mut self, role: &Role, framework: &FrameworkId) {
        if let Some(node) = self.nodes.get_mut(role) {
            node.frameworks.remove(framework);
            node.active.remove(framework);
        }
        self.prune(role);
    }

    pub(super) fn set_active(&mut self, role: &Role, framework: &FrameworkId, active: bool) {
        if let Some(node) = self.nodes.get_mut(role) {
            if active && node.frameworks.entries.contains_key(framework) {
                node.active.insert(framework.clone());
            } else {
                node.active.remove(framework);
            }
        }
    }

    pub(super) fn allocated(&mut self, role: &Role, framework: &FrameworkId, what: &Quantities) {
        self.ensure(role);
        self.change(role, framework, |entry| {
            entry.allocated.add(what);
            entry.allocations += 1;
        });
    }

    pub(super) fn unallocated(&mut self, role: &Role, framework: &FrameworkId, what: &Quantities) {
        self.change(role, framework, |entry| entry.allocated.subtract(what));
    }

    /// The roles that have a framework which wants offers, smallest share first.
    pub(super) fn roles(&mut self) -> Vec<Role> {
        let mut roles = Vec::new();
        let top: Vec<Child> = self.root.ordered(&self.total).cloned().collect();
        for child in top {
            self.collect(None, &child, &mut roles);
        }
        roles
    }

    /// The frameworks of a role that want offers, smallest share first.
    pub(super) fn frameworks(&mut self, role: &Role) -> Vec<FrameworkId> {
        let total = &self.total;
        let Some(node) = self.nodes.get_mut(role) else { return Vec::new() };
        let active = &node.active;
        node.frameworks.ordered(total).filter(|id| active.contains(*id)).cloned().collect()
    }

    fn collect(&mut self, at: Option<&Role>, child: &Child, roles: &mut Vec<Role>) {
        match child {
            Child::Own => {
                let wanted = at.filter(|role| {
                    self.nodes.get(*role).is_some_and(|node| !node.active.is_empty())
                });
                roles.extend(wanted.cloned());
            }
            Child::Role(role) => {
                let total = &self.total;
                let Some(node) = self.nodes.get_mut(role) else { return };
                let children: Vec<Child> = node.children.ordered(total).cloned().collect();
                for child in children {
                    self.collect(Some(role), &child, roles);
                }
            }
        }
    }

    fn change(&mut self, role: &Role, framework: &FrameworkId, change: impl Fn(&mut Entry)) {
        if let Some(node) = self.nodes.get_mut(role) {
            node.frameworks.change(framework, &change);
            node.children.change(&Child::Own, &change);
        }
        let mut below = role.clone();
        while let Some(above) = parent(&below) {
            if let Some(node) = self.nodes.get_mut(&above) {
                node.children.change(&Child::Role(below), &change);
            }
            below = above;
        }
        self.root.change(&Child::Role(below), &change);
    }

    /// Makes the node of a role and of all above it.
    fn ensure(&mut self, role: &Role) {
        if self.nodes.contains_key(role) {
            return;
        }
        let weight = self.weight(role);
        let mut node = Node::default();
        node.children.insert(Child::Own, 1.0);
        self.nodes.insert(role.clone(), node);
        match parent(role) {
            Some(above) => {
                self.ensure(&above);
                if let Some(node) = self.nodes.get_mut(&above) {
                    node.children.insert(Child::Role(role.clone()), weight);
                }
            }
            None => self.root.insert(Child::Role(role.clone()), weight),
        }
    }

    /// Removes the node of a role that nobody needs, and those above it that are not needed then.
    fn prune(&mut self, role: &Role) {
        let needed = self.nodes.get(role).is_none_or(|node| {
            !node.frameworks.entries.is_empty() || node.children.entries.len() > 1
        });
        if needed {
            return;
        }
        self.nodes.remove(role);
        match parent(role) {
            Some(above) => {
                if let Some(node) = self.nodes.get_mut(&above) {
                    node.children.remove(&Child::Role(role.clone()));
                }
                self.prune(&above);
            }
            None => self.root.remove(&Child::Role(role.clone())),
        }
    }
}

fn parent(role: &Role) -> Option<Role> {
    role::ancestors(role.as_str()).next().map(Role::from)
}
