//! Offer constraints: conditions on an agent that a framework sets for its roles.

use std::collections::BTreeMap;

use mesos_api::v1;
use mesos_api::v1::scheduler::attribute_constraint::{Predicate, Selector, predicate, selector};
use mesos_api::v1::scheduler::{AttributeConstraint, OfferConstraints};
use regex::{Regex, RegexBuilder};

use crate::id::Role;

/// A regular expression may compile to at most this much.
const REGEX_BYTES_MAX: usize = 64 * 1024;

/// A framework's constraints, ready to be evaluated.
#[derive(Debug, Clone, Default)]
pub struct Constraints(BTreeMap<Role, Vec<Vec<Constraint>>>);

#[derive(Debug, Clone)]
struct Constraint {
    subject: Subject,
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Subject {
    Hostname,
    Region,
    Zone,
    Attribute(String),
}

#[derive(Debug, Clone)]
enum Condition {
    Exists,
    NotExists,
    Equals(String),
    NotEquals(String),
    Matches(Regex),
    NotMatches(Regex),
}

impl Constraints {
    /// Compiles the constraints of a call.
    ///
    /// # Errors
    /// Says which constraint cannot be understood.
    pub fn compile(wire: &OfferConstraints) -> Result<Self, String> {
        let mut roles = BTreeMap::new();
        for (role, constraints) in &wire.role_constraints {
            let mut groups = Vec::new();
            for group in &constraints.groups {
                if group.attribute_constraints.is_empty() {
                    return Err(format!("Empty constraint group for role '{role}'"));
                }
                groups.push(
                    group.attribute_constraints.iter().map(compile).collect::<Result<_, _>>()?,
                );
            }
            if groups.is_empty() {
                return Err(format!(
                    "'RoleConstraints::groups' is empty for role '{role}'; to remove constraints, \
                     leave the role out"
                ));
            }
            roles.insert(Role::from(role.as_str()), groups);
        }
        Ok(Self(roles))
    }

    /// Whether the agent may be offered to the role: one group must hold entirely.
    pub fn allow(&self, role: &Role, agent: &v1::AgentInfo) -> bool {
        self.0.get(role).is_none_or(|groups| {
            groups.iter().any(|group| group.iter().all(|constraint| constraint.holds(agent)))
        })
    }
}

impl Constraint {
    /// Holds for a pseudo-attribute's value, or for any attribute of the name: as in Mesos, text
    /// conditions hold for attributes that are no text, except that equality does not.
    fn holds(&self, agent: &v1::AgentInfo) -> bool {
        let fault = agent.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        match &self.subject {
            Subject::Hostname => self.holds_for(Some(&agent.hostname)),
            Subject::Region => self.holds_for(fault.map(|fault| fault.region.name.as_str())),
            Subject::Zone => self.holds_for(fault.map(|fault| fault.zone.name.as_str())),
            Subject::Attribute(name) => {
                let mut values =
                    agent.attributes.iter().filter(|attribute| attribute.name == *name);
                match &self.condition {
                    Condition::Exists => values.next().is_some(),
                    Condition::NotExists => values.next().is_none(),
                    _ => {
                        values.next().is_none_or(|attribute| {
                            attribute
                                .text
                                .as_ref()
                                .is_none_or(|text| self.holds_for(Some(&text.value)))
                        }) && (agent.attributes.iter().any(|attribute| attribute.name == *name)
                            || self.holds_for(None))
                    }
                }
            }
        }
    }

    fn holds_for(&self, value: Option<&str>) -> bool {
        match (&self.condition, value) {
            (Condition::Exists, value) => value.is_some(),
            (Condition::NotExists, value) => value.is_none(),
            (Condition::Equals(wanted), Some(value)) => wanted == value,
            (Condition::NotEquals(unwanted), Some(value)) => unwanted != value,
            (Condition::Matches(regex), Some(value)) => regex.is_match(value),
            (Condition::NotMatches(regex), Some(value)) => !regex.is_match(value),
            (Condition::Equals(_) | Condition::Matches(_), None) => false,
            (Condition::NotEquals(_) | Condition::NotMatches(_), None) => true,
        }
    }
}

fn compile(wire: &AttributeConstraint) -> Result<Constraint, String> {
    Ok(Constraint { subject: subject(&wire.selector)?, condition: condition(&wire.predicate)? })
}

fn subject(wire: &Selector) -> Result<Subject, String> {
    match &wire.selector {
        Some(selector::Selector::AttributeName(name)) => Ok(Subject::Attribute(name.clone())),
        Some(selector::Selector::PseudoattributeType(kind)) => {
            match selector::PseudoattributeType::try_from(*kind) {
                Ok(selector::PseudoattributeType::Hostname) => Ok(Subject::Hostname),
                Ok(selector::PseudoattributeType::Region) => Ok(Subject::Region),
                Ok(selector::PseudoattributeType::Zone) => Ok(Subject::Zone),
                _ => Err("Unknown pseudoattribute type".into()),
            }
        }
        None => Err("Exactly one of 'AttributeConstraint::Selector::name' or \
                     'AttributeConstraint::Selector::pseudoattribute_type' must be set"
            .into()),
    }
}

fn condition(wire: &Predicate) -> Result<Condition, String> {
    use predicate::Predicate as Wire;
    match &wire.predicate {
        Some(Wire::Exists(_)) => Ok(Condition::Exists),
        Some(Wire::NotExists(_)) => Ok(Condition::NotExists),
        Some(Wire::TextEquals(text)) => Ok(Condition::Equals(text.value.clone())),
        Some(Wire::TextNotEquals(text)) => Ok(Condition::NotEquals(text.value.clone())),
        Some(Wire::TextMatches(text)) => Ok(Condition::Matches(regex(&text.regex)?)),
        Some(Wire::TextNotMatches(text)) => Ok(Condition::NotMatches(regex(&text.regex)?)),
        None => Err("Unknown predicate type".into()),
    }
}

/// Compiles an expression that must match the whole value.
fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("Failed to construct regex from pattern '{text}': {error}"))
}
