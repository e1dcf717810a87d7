//! Images.

pub(crate) mod auth;
pub(crate) mod build;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod remove;

/// The registry of names that name none.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";

/// Splits `name[:tag]`; a digest is refused, because it cannot be given.
pub(crate) fn split_reference(reference: &str) -> Result<(String, String), String> {
    if reference.is_empty() || reference.contains(char::is_whitespace) {
        return Err(format!(
            "Error parsing reference: {reference:?} is not a valid repository/tag: invalid reference format"
        ));
    }
    if reference.contains('@') {
        return Err("refusing to create a tag with a digest reference".to_owned());
    }
    let (name, tag) = split_tag(reference);
    if name.chars().any(|c| c.is_ascii_uppercase()) && !name.contains('/') {
        return Err(format!(
            "Error parsing reference: {reference:?} is not a valid repository/tag: invalid reference format: repository name ({name}) must be lowercase"
        ));
    }
    Ok((name.to_owned(), tag.unwrap_or("latest").to_owned()))
}

/// Splits a tag off; a colon in front of a slash is a registry's port.
pub(crate) fn split_tag(reference: &str) -> (&str, Option<&str>) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (reference, None),
    }
}

/// Tells which registry a name belongs to.
pub(crate) fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DEFAULT_REGISTRY,
    }
}
