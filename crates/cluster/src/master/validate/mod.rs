//! Checks of what frameworks and operators ask for. Errors are in Mesos' words, because frameworks
//! and people match on them.

pub(super) mod framework;
pub(super) mod operation;
pub(super) mod task;

/// The first item that is there twice.
pub(super) fn first_duplicate<T: Ord + Clone>(items: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = std::collections::BTreeSet::new();
    items.into_iter().find(|item| !seen.insert(item.clone()))
}

/// Checks an identifier that becomes part of paths on agents.
pub(super) fn id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("ID must not be empty".into());
    }
    if id.len() > 255 {
        return Err(format!(
            "ID must not be greater than 255 characters, and this has {}",
            id.len()
        ));
    }
    if id == "." || id == ".." {
        return Err(format!("'{id}' is disallowed"));
    }
    if id.chars().any(|c| c.is_control() || c == '/' || c == '\\') {
        return Err(format!("'{}' contains invalid characters", id.escape_debug()));
    }
    Ok(())
}
