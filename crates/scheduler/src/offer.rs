//! Offers, and cutting tasks out of them.

use std::ops::RangeInclusive;

use mesos_api::v1;
use mesos_api::v1::value;
use mesos_api::v1::{AgentId, OfferId};

use crate::task::{Needs, Task};

/// Resources of one agent, for this framework to use or to decline.
///
/// [`Offer::place`] cuts a task out of it and leaves the rest, so that several tasks may be cut
/// out of one offer and launched together.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    offer: v1::Offer,
}

impl Offer {
    pub(crate) fn new(offer: v1::Offer) -> Self {
        Self { offer }
    }

    /// The offer.
    pub fn id(&self) -> OfferId {
        self.offer.id.clone()
    }

    /// The agent.
    pub fn agent_id(&self) -> &AgentId {
        &self.offer.agent_id
    }

    /// The agent's host.
    pub fn hostname(&self) -> &str {
        &self.offer.hostname
    }

    /// Processors left in this offer; parts of one are possible.
    pub fn cpus(&self) -> f64 {
        self.scalar("cpus")
    }

    /// Memory left in this offer, in MB.
    pub fn mem_mb(&self) -> f64 {
        self.scalar("mem")
    }

    /// Disk left in this offer, in MB; volumes are not counted.
    pub fn disk_mb(&self) -> f64 {
        self.scalar("disk")
    }

    /// What is left of any resource that is an amount, such as `gpus`.
    pub fn scalar(&self, name: &str) -> f64 {
        let amounts = self.offer.resources.iter().filter(|r| r.name == name && is_plain(r));
        from_thousandths(amounts.map(thousandths).sum())
    }

    /// Ports left in this offer.
    pub fn ports(&self) -> Vec<RangeInclusive<u64>> {
        let ports = self.offer.resources.iter().filter(|r| r.name == "ports" && is_plain(r));
        let ranges = ports.filter_map(|resource| resource.ranges.as_ref()).flat_map(|r| &r.range);
        ranges.map(|range| range.begin..=range.end).collect()
    }

    /// What the operator said about the agent: the text of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let attribute = self.offer.attributes.iter().find(|attribute| attribute.name == name)?;
        attribute.text.as_ref().map(|text| text.value.as_str())
    }

    /// Cuts a task out of the offer: takes what it needs, reserved resources first, and returns
    /// it ready to launch. `None`, and nothing taken, if not all of it is left.
    pub fn place(&mut self, task: &Task) -> Option<v1::TaskInfo> {
        let mut left = self.offer.resources.clone();
        let needs = task.needs();
        let mut taken = Vec::new();
        for (name, amount) in &needs.scalars {
            take_scalar(&mut left, name, *amount, &mut taken)?;
        }
        let ports = take_ports(&mut left, &needs, &mut taken)?;
        self.offer.resources = left;
        Some(task.build(self.offer.agent_id.clone(), taken, &ports))
    }

    /// The message, less what was cut out of it.
    pub fn message(&self) -> &v1::Offer {
        &self.offer
    }
}

impl From<v1::Offer> for Offer {
    fn from(offer: v1::Offer) -> Self {
        Self::new(offer)
    }
}

/// Volumes and revocable resources are for those who ask for them by hand.
fn is_plain(resource: &v1::Resource) -> bool {
    resource.disk.is_none() && resource.revocable.is_none() && resource.shared.is_none()
}

#[expect(deprecated, reason = "what frameworks without RESERVATION_REFINEMENT are sent")]
fn is_reserved(resource: &v1::Resource) -> bool {
    !resource.reservations.is_empty()
        || resource.reservation.is_some()
        || resource.role.as_deref().is_some_and(|role| role != "*")
}

/// Mesos counts in thousandths: sums of these are exact, sums of doubles are not.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates; no machine has 2^53")]
fn thousandths(resource: &v1::Resource) -> i64 {
    (resource.scalar.map_or(0.0, |scalar| scalar.value) * 1000.0).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 thousandths of anything")]
fn from_thousandths(amount: i64) -> f64 {
    amount as f64 / 1000.0
}

/// Indices of the plain resources of that name, reserved ones first.
fn candidates(resources: &[v1::Resource], name: &str) -> Vec<usize> {
    let mut found: Vec<usize> = (0..resources.len())
        .filter(|index| resources[*index].name == name && is_plain(&resources[*index]))
        .collect();
    found.sort_by_key(|index| !is_reserved(&resources[*index]));
    found
}

fn take_scalar(
    left: &mut [v1::Resource],
    name: &str,
    amount: f64,
    taken: &mut Vec<v1::Resource>,
) -> Option<()> {
    let wanted =
        v1::Resource { scalar: Some(value::Scalar { value: amount }), ..Default::default() };
    let mut missing = thousandths(&wanted);
    for index in candidates(left, name) {
        let part = missing.min(thousandths(&left[index]));
        if part <= 0 {
            continue;
        }
        let rest = from_thousandths(thousandths(&left[index]) - part);
        let mut piece = left[index].clone();
        piece.scalar = Some(value::Scalar { value: from_thousandths(part) });
        left[index].scalar = Some(value::Scalar { value: rest });
        taken.push(piece);
        missing -= part;
    }
    (missing <= 0).then_some(())
}

/// Takes the ports asked for by number, then any for the rest, and returns all in the order asked.
fn take_ports(
    left: &mut [v1::Resource],
    needs: &Needs,
    taken: &mut Vec<v1::Resource>,
) -> Option<Vec<u16>> {
    let mut given = vec![None; needs.ports.len()];
    // Fixed ones first, so that no free choice takes them away.
    for fixed in [true, false] {
        for (place, wanted) in needs.ports.iter().enumerate() {
            if wanted.is_some() == fixed {
                given[place] = Some(take_port(left, *wanted, taken)?);
            }
        }
    }
    given.into_iter().collect()
}

fn take_port(
    left: &mut [v1::Resource],
    wanted: Option<u16>,
    taken: &mut Vec<v1::Resource>,
) -> Option<u16> {
    for index in candidates(left, "ports") {
        let ranges = &mut left[index].ranges.get_or_insert_default().range;
        let fitting = |range: &value::Range| match wanted {
            Some(port) => (range.begin..=range.end).contains(&port.into()),
            None => range.begin <= range.end,
        };
        let Some(place) = ranges.iter().position(fitting) else { continue };
        let range = ranges.remove(place);
        let port = wanted.map_or(range.begin, u64::from);
        if port < range.end {
            ranges.insert(place, value::Range { begin: port + 1, end: range.end });
        }
        if port > range.begin {
            ranges.insert(place, value::Range { begin: range.begin, end: port - 1 });
        }
        let mut piece = left[index].clone();
        piece.ranges = Some(value::Ranges { range: vec![value::Range { begin: port, end: port }] });
        taken.push(piece);
        return u16::try_from(port).ok();
    }
    None
}

#[cfg(test)]
mod tests;
