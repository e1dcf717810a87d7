//! Roles: what a valid one looks like, and who is above whom.

use crate::id::Role;

/// Checks a role's form; the error is in Mesos' words.
///
/// # Errors
/// Says which rule the role breaks.
pub fn validate(role: &str) -> Result<(), String> {
    if role == "*" {
        return Ok(());
    }
    if role.is_empty() {
        return Err("Empty role name is invalid".into());
    }
    if role.starts_with('/') {
        return Err(format!("Role '{role}' cannot start with a slash"));
    }
    if role.ends_with('/') {
        return Err(format!("Role '{role}' cannot end with a slash"));
    }
    if role.contains("//") {
        return Err(format!("Role '{role}' cannot contain two adjacent slashes"));
    }
    role.split('/').try_for_each(validate_component)
}

fn validate_component(component: &str) -> Result<(), String> {
    if component == "." || component == ".." {
        return Err(format!("Role component '{component}' is invalid"));
    }
    if component == "*" {
        return Err("Role path component '*' is invalid".into());
    }
    if component.starts_with('-') {
        return Err(format!(
            "Role component '{component}' is invalid because it begins with a dash"
        ));
    }
    let bad = |c: char| matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ' | '\x7f' | '\x08');
    if component.contains(bad) {
        return Err(format!(
            "Role component '{component}' is invalid because it contains backspace or whitespace"
        ));
    }
    Ok(())
}

/// The roles above this one, nearest first: `a/b/c` gives `a/b`, `a`.
pub fn ancestors(role: &str) -> impl Iterator<Item = &str> {
    let mut rest = role;
    std::iter::from_fn(move || {
        let (above, _) = rest.rsplit_once('/')?;
        rest = above;
        Some(above)
    })
}

/// The first part of the path: only it may hold a quota.
pub fn top_level(role: &str) -> &str {
    role.split_once('/').map_or(role, |(top, _)| top)
}

/// Whether `role` lies strictly below `above`.
pub fn is_strict_subrole(role: &str, above: &str) -> bool {
    role.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether resources reserved to `reserved` may be given to `role`: the same, or one below it.
pub fn may_use(role: &Role, reserved: &Role) -> bool {
    role == reserved || is_strict_subrole(role.as_str(), reserved.as_str())
}
