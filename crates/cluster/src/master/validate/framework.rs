//! Whether a framework's description is one.

use std::collections::BTreeSet;
use std::time::Duration;

use mesos_api::v1::FrameworkInfo;

use super::first_duplicate;
use crate::capability::FrameworkCapabilities;
use crate::id::Role;
use crate::role;

/// Checks a description by itself.
#[expect(deprecated, reason = "frameworks without MULTI_ROLE have no other way")]
pub(in crate::master) fn info(info: &FrameworkInfo) -> Result<(), String> {
    if FrameworkCapabilities::of(info).multi_role {
        if info.role.is_some() {
            return Err("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE \
                        capable"
                .into());
        }
        if let Some(role) = first_duplicate(&info.roles) {
            return Err(format!("'FrameworkInfo.roles' contains duplicate items: {role}"));
        }
        for role in &info.roles {
            role::validate(role)
                .map_err(|error| format!("'FrameworkInfo.roles' contains invalid role: {error}"))?;
        }
    } else {
        if !info.roles.is_empty() {
            return Err("'FrameworkInfo.roles' must not be set when the framework is not \
                        MULTI_ROLE capable"
                .into());
        }
        role::validate(info.role())
            .map_err(|error| format!("'FrameworkInfo.role' is not a valid role: {error}"))?;
    }
    if let Some(id) = info.id.as_ref().filter(|id| !id.value.is_empty()) {
        super::id(&id.value)
            .map_err(|error| format!("'FrameworkInfo.id' is not a valid ID: {error}"))?;
    }
    let timeout = info.failover_timeout();
    if timeout.is_nan()
        || Duration::try_from_secs_f64(timeout.abs()).is_err()
        || over_int64(timeout)
    {
        return Err(format!("The framework failover_timeout ({}) is invalid", exponent(timeout)));
    }
    offer_filters(info)
}

/// A duration is counted in nanoseconds in 64 bits.
fn over_int64(secs: f64) -> bool {
    secs.abs() > 9_223_372_036.0
}

/// Writes a large number as C does: `1e+99`.
fn exponent(number: f64) -> String {
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power:0>2}"),
        _ => text,
    }
}

fn offer_filters(info: &FrameworkInfo) -> Result<(), String> {
    let roles = crate::master::framework::roles(info);
    for (role, filters) in &info.offer_filters {
        if !roles.contains(role.as_str()) {
            return Err(format!(
                "Offer filters specified for invalid role '{role}': framework does not subscribe \
                 to it"
            ));
        }
        let Some(smallest) = &filters.min_allocatable_resources else { continue };
        let amounts =
            smallest.quantities.iter().flat_map(|quantities| quantities.quantities.values());
        for amount in amounts {
            if !amount.value.is_finite() || amount.value < 0.0 {
                return Err(format!(
                    "Invalid offer filters for role '{role}': resource quantities must not be \
                     negative"
                ));
            }
        }
    }
    Ok(())
}

/// Checks the roles against those that the operator allows.
pub(in crate::master) fn allowed_roles(
    roles: &BTreeSet<Role>,
    allowed: Option<&[Role]>,
) -> Result<(), String> {
    let Some(allowed) = allowed else { return Ok(()) };
    let star = Role::star();
    let unknown = |role: &&Role| !allowed.contains(role) && **role != star;
    let bad: Vec<&str> = roles.iter().filter(unknown).map(Role::as_str).collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(format!("Roles {{ {} }} are not present in the master's --roles", bad.join(", ")))
}

/// Checks the roles in which a framework wants no offers: they are some of its own.
pub(in crate::master) fn suppressed(
    roles: &BTreeSet<Role>,
    suppressed: &[String],
) -> Result<(), String> {
    if let Some(role) = first_duplicate(suppressed) {
        return Err(format!("Suppressed roles contain duplicate items: {role}"));
    }
    let foreign: BTreeSet<&str> =
        suppressed.iter().map(String::as_str).filter(|role| !roles.contains(*role)).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let foreign: Vec<&str> = foreign.into_iter().collect();
    Err(format!(
        "Suppressed roles {{ {} }} are not contained in the set of roles",
        foreign.join(", ")
    ))
}

/// Checks a description against the one that was there: what agents and accounts rely on stays.
pub(in crate::master) fn update(old: &FrameworkInfo, new: &FrameworkInfo) -> Result<(), String> {
    if old.principal != new.principal {
        // Who it was is nobody's business who only knows the framework's id.
        return Err("Changing framework's principal is not allowed.".to_owned());
    }
    if old.user != new.user {
        return Err(format!(
            "Updating 'FrameworkInfo.user' is unsupported; attempted to update from '{}' to '{}'",
            old.user, new.user
        ));
    }
    if old.checkpoint() != new.checkpoint() {
        return Err(format!(
            "Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from '{}' to \
             '{}'",
            old.checkpoint(),
            new.checkpoint()
        ));
    }
    Ok(())
}
