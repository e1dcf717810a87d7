//! The text form of resources, as in an agent's `--resources`:
//! `cpus:24;mem(web):24576;ports:[21000-24000,30000-34000];bugs:{a,b}`.

use super::{Ranges, Reservation, ReservationKind, Resource, Resources, Scalar, Value};
use crate::id::Role;
use crate::role;

/// Why a text is no resources.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseError {
    #[error("bad resource '{0}': expected name:value or name(role):value")]
    Form(String),
    #[error("bad value '{value}' of resource '{name}': {reason}")]
    Value { name: String, value: String, reason: &'static str },
    #[error("bad role of resource '{name}': {reason}")]
    Role { name: String, reason: String },
    #[error("resource '{0}' is a number in one place and not in another")]
    MixedKinds(String),
}

pub(super) fn parse(text: &str, default_role: &Role) -> Result<Resources, ParseError> {
    let mut resources = Resources::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let resource = parse_one(part, default_role)?;
        let mixed = resources.iter().any(|other: &Resource| {
            other.name == resource.name
                && std::mem::discriminant(&other.value) != std::mem::discriminant(&resource.value)
        });
        if mixed {
            return Err(ParseError::MixedKinds(resource.name.to_string()));
        }
        resources.add(&resource);
    }
    Ok(resources)
}

fn parse_one(text: &str, default_role: &Role) -> Result<Resource, ParseError> {
    let form = || ParseError::Form(text.to_owned());
    let (key, value) = text.split_once(':').ok_or_else(form)?;
    let (name, owner) = match key.split_once('(') {
        None => (key.trim(), default_role.clone()),
        Some((name, rest)) => {
            let owner = rest.trim_end().strip_suffix(')').ok_or_else(form)?;
            (name.trim(), Role::from(owner.trim()))
        }
    };
    if name.is_empty() {
        return Err(form());
    }
    role::validate(owner.as_str())
        .map_err(|reason| ParseError::Role { name: name.to_owned(), reason })?;
    let mut resource = Resource::new(name, parse_value(name, value.trim())?);
    if owner != Role::star() {
        resource.reservations.push(Reservation {
            kind: ReservationKind::Static,
            role: owner,
            principal: None,
            labels: Vec::new(),
        });
    }
    Ok(resource)
}

fn parse_value(name: &str, text: &str) -> Result<Value, ParseError> {
    let bad = |reason| ParseError::Value { name: name.to_owned(), value: text.to_owned(), reason };
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(|| bad("a range ends with ']'"))?;
        return parse_ranges(inner).map(Value::Ranges).map_err(bad);
    }
    if let Some(inner) = text.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or_else(|| bad("a set ends with '}'"))?;
        let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(Value::Set(items.map(Into::into).collect()));
    }
    let number: f64 = text.parse().map_err(|_| bad("not a number, [range] or {set}"))?;
    if !number.is_finite() || number < 0.0 {
        return Err(bad("an amount is finite and not negative"));
    }
    Ok(Value::Scalar(Scalar::from_f64(number)))
}

fn parse_ranges(text: &str) -> Result<Ranges, &'static str> {
    let mut ranges = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (begin, end) = part.split_once('-').ok_or("a range is begin-end")?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| "a range is begin-end");
        let (begin, end) = (number(begin)?, number(end)?);
        if begin > end {
            return Err("a range begins before it ends");
        }
        ranges.push((begin, end));
    }
    Ok(Ranges::new(ranges))
}
