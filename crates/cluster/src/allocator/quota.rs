//! The arithmetic of quotas during one run: what top-level roles consume, what they are still
//! guaranteed, and how much must stay free for that.
//!
//! A role consumes what is reserved to it or below it, used or not, and what is allocated to it of
//! the unreserved. The headroom is what all roles together are still guaranteed: unreserved
//! resources may go to others only while more than that is free.

use std::collections::BTreeMap;

use super::{Allocation, Allocator, Obstacle};
use crate::id::Role;
use crate::registry::Quota;
use crate::resources::{Quantities, Resource, Resources, Scalar, Value};
use crate::role;

/// The books of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    quotas: BTreeMap<Role, Quota>,
    consumed: BTreeMap<Role, Quantities>,
    /// Unreserved resources that nobody has.
    free: Quantities,
}

impl Allocator {
    /// Opens the books. None when no role has a quota: then there is nothing to count.
    pub(super) fn ledger(&self) -> Option<Ledger> {
        if self.quotas.is_empty() {
            return None;
        }
        let mut ledger = Ledger {
            quotas: self.quotas.clone(),
            consumed: BTreeMap::new(),
            free: Quantities::default(),
        };
        for agent in self.agents.values() {
            for resource in &agent.total {
                if let (Some(owner), Some(amount)) = (resource.reserved_role(), resource.amount()) {
                    ledger.consume(owner, resource, amount);
                }
            }
            for Allocation { role, held: resources, .. } in &agent.allocations {
                let counts = |item: &&Resource| item.is_unreserved() && !item.revocable;
                for resource in resources.iter().filter(counts) {
                    if let Some(amount) = resource.amount() {
                        ledger.consume(role, resource, amount);
                    }
                }
            }
            if agent.active {
                let free = agent.free().filter(|item| item.is_unreserved() && !item.revocable);
                ledger.free.add(&Quantities::from(&free));
            }
        }
        Some(ledger)
    }
}

impl Ledger {
    fn consume(&mut self, role: &Role, resource: &Resource, amount: Scalar) {
        let top = Role::from(role::top_level(role.as_str()));
        if self.quotas.contains_key(&top) {
            self.consumed.entry(top).or_default().add_one(&resource.name, amount);
        }
    }

    /// Enters an allocation of a run into the books. What is reserved is in them already.
    pub(super) fn granted(&mut self, role: &Role, resources: &Resources) {
        for resource in resources.iter().filter(|item| item.is_unreserved() && !item.revocable) {
            if let Some(amount) = resource.amount() {
                self.consume(role, resource, amount);
                let one: Quantities = [(resource.name.clone(), amount)].into_iter().collect();
                self.free.subtract(&one);
            }
        }
    }

    /// What a role is still guaranteed. Empty when it has no guarantee or all of it.
    pub(super) fn unsatisfied(&self, role: &Role) -> Quantities {
        let top = role::top_level(role.as_str());
        let Some(quota) = self.quotas.get(top) else { return Quantities::default() };
        let none = Quantities::default();
        self.consumed.get(top).unwrap_or(&none).missing_to(&quota.guarantees)
    }

    /// What must stay free for the guarantees of all roles but this one.
    fn headroom_for_others(&self, role: &Role) -> Quantities {
        let top = role::top_level(role.as_str());
        let mut headroom = Quantities::default();
        for other in self.quotas.keys().filter(|other| other.as_str() != top) {
            headroom.add(&self.unsatisfied(other));
        }
        headroom
    }

    /// How much more of one resource a role may have by its limit. None: as much as there is.
    fn below_limit(&self, role: &Role, name: &str) -> Option<Scalar> {
        let top = role::top_level(role.as_str());
        let limit = *self.quotas.get(top)?.limits.get(name)?;
        let consumed =
            self.consumed.get(top).map(|consumed| consumed.get(name)).unwrap_or_default();
        Some((limit - consumed).max(Scalar::ZERO))
    }

    /// Cuts what could be allocated to what limit and headroom allow.
    pub(super) fn cut(&self, role: &Role, part: &Resources) -> Result<Resources, Obstacle> {
        let headroom = self.headroom_for_others(role);
        let mut allowed = Resources::new();
        let mut obstacle = None;
        let mut granted = Quantities::default();
        for resource in part {
            let (Some(amount), true) =
                (resource.amount(), resource.is_unreserved() && !resource.revocable)
            else {
                allowed.add(resource);
                continue;
            };
            let taken = granted.get(&resource.name);
            let by_limit = self
                .below_limit(role, &resource.name)
                .map_or(amount, |limit| (limit - taken).max(Scalar::ZERO));
            let free = self.free.get(&resource.name) - taken;
            let by_headroom = (free - headroom.get(&resource.name)).max(Scalar::ZERO);
            let most = amount.min(by_limit).min(by_headroom);
            if most < amount {
                obstacle.get_or_insert(if by_limit < amount {
                    Obstacle::QuotaLimit
                } else {
                    Obstacle::QuotaHeadroom
                });
            }
            if let Some(piece) = shrink(resource, most) {
                granted.add_one(&piece.name, piece.amount().unwrap_or_default());
                allowed.add(&piece);
            }
        }
        match obstacle {
            // Ports without anything to run on are no offer.
            Some(obstacle) if !allowed.iter().any(|item| item.amount().is_some()) => Err(obstacle),
            _ => Ok(allowed),
        }
    }

    /// Cuts what could be allocated to a role towards its guarantee: all that is reserved to it, of
    /// the guaranteed resources what is missing, and of the others what may be given to anybody.
    /// None when nothing of it helps the guarantee.
    pub(super) fn cut_to_guarantee(&self, role: &Role, part: &Resources) -> Option<Resources> {
        let mut missing = self.unsatisfied(role);
        if missing.is_empty() {
            return None;
        }
        let top = role::top_level(role.as_str());
        let guarantees = &self.quotas.get(top)?.guarantees;
        let part = self.cut(role, part).ok()?;
        let mut chosen = Resources::new();
        let mut helps = false;
        for resource in &part {
            let (Some(amount), true) =
                (resource.amount(), resource.is_unreserved() && !resource.revocable)
            else {
                chosen.add(resource);
                continue;
            };
            if guarantees.get(&resource.name).is_zero() {
                chosen.add(resource);
                continue;
            }
            let most = amount.min(missing.get(&resource.name));
            if let Some(piece) = shrink(resource, most) {
                helps = true;
                missing.subtract(&Quantities::from(&Resources::from(piece.clone())));
                chosen.add(&piece);
            }
        }
        helps.then_some(chosen)
    }
}

/// A piece of at most this size. None when there is no such piece.
fn shrink(resource: &Resource, most: Scalar) -> Option<Resource> {
    let amount = resource.amount()?;
    if most <= Scalar::ZERO {
        return None;
    }
    if amount <= most {
        return Some(resource.clone());
    }
    if resource.is_indivisible() {
        return None;
    }
    let mut piece = resource.clone();
    piece.value = Value::Scalar(most);
    Some(piece)
}
