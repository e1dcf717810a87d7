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
    let tag = tag.unwrap_or("latest");
    // The daemon gets both apart, and would take the name's own tag for one that was replaced.
    let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if has_tag || !is_tag(tag) {
        return Err(format!(
            "Error parsing reference: {reference:?} is not a valid repository/tag: invalid reference format"
        ));
    }
    Ok((name.to_owned(), tag.to_owned()))
}

/// Letters, digits and underscores, and from the second on points and hyphens; 128 at most.
fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len())
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_split_where_they_belong() {
        let split = |text: &str| {
            split_reference(text).map_err(|told| told.contains("invalid reference format"))
        };
        let pair = |name: &str, tag: &str| Ok((name.to_owned(), tag.to_owned()));
        assert_eq!(split("box"), pair("box", "latest"));
        assert_eq!(split("here:5000/box:1.2-x"), pair("here:5000/box", "1.2-x"));
        assert_eq!(split("here:5000/box"), pair("here:5000/box", "latest"));
        for wrong in ["", "a b", "a:b:c", "a:", "a:-x", "a:b$", "Box:1"] {
            assert_eq!(split(wrong), Err(true), "{wrong}");
        }
    }
}
