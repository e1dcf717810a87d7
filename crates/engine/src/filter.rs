//! The filters of list, prune and event requests: a name with the values asked for.
//!
//! Values of one name are alternatives, names are conjunctions, as in the Engine API. What a name
//! means belongs to the noun that is filtered; this file only holds the shared ways of matching.

use std::collections::{BTreeMap, BTreeSet};

/// Filter names with their values; a name that is absent accepts everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// A filter that the noun does not know, or whose value makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The name is not one of those the request knows.
    #[error("invalid filter '{0}'")]
    UnknownName(String),
    /// The value cannot be understood for this name.
    #[error("invalid filter '{name}={}'", .values.join(","))]
    BadValue {
        /// The filter's name.
        name: String,
        /// All values given for it.
        values: Vec<String>,
    },
}

impl Filters {
    /// Makes the empty set, which accepts everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one value to a name.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().insert(value.into());
    }

    /// Tells whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether the name was given.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Gives the values of a name; none when it was not given.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Refuses names outside `accepted`.
    ///
    /// # Errors
    /// [`FilterError::UnknownName`] for the first name that is not accepted.
    pub fn check_names(&self, accepted: &[&str]) -> Result<(), FilterError> {
        match self.0.keys().find(|name| !accepted.contains(&name.as_str())) {
            Some(name) => Err(FilterError::UnknownName(name.clone())),
            None => Ok(()),
        }
    }

    /// Reads a name as a yes or no; `default` when it was not given.
    ///
    /// # Errors
    /// [`FilterError::BadValue`] for anything but `1`, `true`, `0`, `false`, or for both at once.
    pub fn bool_or(&self, name: &str, default: bool) -> Result<bool, FilterError> {
        let Some(values) = self.0.get(name) else { return Ok(default) };
        let yes = values.contains("1") || values.contains("true");
        let no = values.contains("0") || values.contains("false");
        if yes == no { Err(self.bad_value(name)) } else { Ok(yes) }
    }

    /// Makes the error for a name whose value was not understood.
    pub fn bad_value(&self, name: &str) -> FilterError {
        FilterError::BadValue {
            name: name.to_owned(),
            values: self.values(name).map(str::to_owned).collect(),
        }
    }

    /// Accepts when the name is absent or one of its values equals `source`.
    pub fn exact(&self, name: &str, source: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.contains(source))
    }

    /// Accepts when the name is absent or one of its values is a prefix of `source`.
    pub fn prefix(&self, name: &str, source: &str) -> bool {
        self.0.get(name).is_none_or(|values| {
            values.is_empty() || values.iter().any(|value| source.starts_with(value))
        })
    }

    /// Accepts when the name is absent or one of its values is in `source` as a regular
    /// expression. A value that is no expression is compared literally.
    pub fn matches(&self, name: &str, source: &str) -> bool {
        self.0.get(name).is_none_or(|values| {
            let matches = |value: &String| {
                value == source
                    || regex::Regex::new(value).is_ok_and(|pattern| pattern.is_match(source))
            };
            values.is_empty() || values.iter().any(matches)
        })
    }

    /// Accepts when every `key` or `key=value` of the name holds in `pairs` (labels combine with
    /// and, unlike other values).
    pub fn pairs(&self, name: &str, pairs: &BTreeMap<String, String>) -> bool {
        self.values(name).all(|wanted| holds(wanted, pairs))
    }

    /// Accepts by `label` and `label!` together.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let refused = self.contains("label!") && self.pairs("label!", labels);
        self.pairs("label", labels) && !refused
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Filters {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(iter: T) -> Self {
        let mut filters = Self::new();
        for (name, value) in iter {
            filters.add(name, value);
        }
        filters
    }
}

fn holds(wanted: &str, pairs: &BTreeMap<String, String>) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => pairs.get(key).is_some_and(|have| have == value),
        None => pairs.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn absent_names_accept_everything() {
        let filters = Filters::new();
        assert!(filters.exact("name", "x") && filters.prefix("name", "x"));
        assert!(filters.labels(&labels(&[])));
        assert_eq!(filters.bool_or("dangling", true), Ok(true));
    }

    #[test]
    fn labels_combine_with_and() {
        let filters: Filters = [("label", "a=1"), ("label", "b")].into_iter().collect();
        assert!(filters.labels(&labels(&[("a", "1"), ("b", "")])));
        assert!(!filters.labels(&labels(&[("a", "2"), ("b", "")])));
        assert!(!filters.labels(&labels(&[("a", "1")])));
        let not: Filters = [("label!", "a")].into_iter().collect();
        assert!(not.labels(&labels(&[])) && !not.labels(&labels(&[("a", "")])));
    }

    #[test]
    fn booleans_refuse_nonsense() {
        let filters: Filters = [("dangling", "maybe")].into_iter().collect();
        assert_eq!(
            filters.bool_or("dangling", false).unwrap_err().to_string(),
            "invalid filter 'dangling=maybe'"
        );
        let both: Filters = [("dangling", "1"), ("dangling", "false")].into_iter().collect();
        assert!(both.bool_or("dangling", false).is_err());
        assert_eq!(
            both.check_names(&["label"]).unwrap_err().to_string(),
            "invalid filter 'dangling'"
        );
    }
}
