//! Query strings, read as Docker reads them: unknown names are ignored, booleans are lenient,
//! numbers are not, filters come in two JSON shapes.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Deserialize;

use crate::error::{ApiError, ApiResult};

/// The pairs of a query string, in order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or("")))
    }
}

impl Params {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value, if the name occurs.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value if it is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a repeatable name.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Docker's idea of true: anything but these five.
    pub(crate) fn bool(&self, name: &str) -> bool {
        self.bool_or(name, false)
    }

    /// As [`Params::bool`], with another answer for a name that does not occur.
    pub(crate) fn bool_or(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| {
            let value = value.trim().to_ascii_lowercase();
            !["", "0", "no", "false", "none"].contains(&value.as_str())
        })
    }

    /// A number; absent or empty is `None`.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> ApiResult<Option<T>> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::invalid(format!(
                        "invalid value {text:?} for parameter {name}: invalid syntax"
                    ))
                })
            })
            .transpose()
    }

    /// The `filters` parameter.
    pub(crate) fn filters(&self) -> ApiResult<Filters> {
        Filters::parse(self.text("filters").unwrap_or(""))
    }
}

/// Name to values; a name's values are alternatives.
pub(crate) type FilterMap = BTreeMap<String, Vec<String>>;

/// A parsed `filters` parameter.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Filters(pub(crate) FilterMap);

#[derive(Deserialize)]
#[serde(untagged)]
enum Wire {
    Sets(BTreeMap<String, BTreeMap<String, bool>>),
    Lists(FilterMap),
}

impl Filters {
    fn parse(text: &str) -> ApiResult<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_str(text) {
            // In the set form a value may be switched off; nobody does, yet it must not filter.
            Ok(Wire::Sets(sets)) => Ok(Self(
                sets.into_iter()
                    .map(|(name, values)| {
                        (name, values.into_iter().filter(|(_, on)| *on).map(|(v, _)| v).collect())
                    })
                    .collect(),
            )),
            Ok(Wire::Lists(lists)) => Ok(Self(lists)),
            Err(_) => Err(ApiError::invalid(format!("invalid filter '{}'", printable(text)))),
        }
    }

    /// Refuses names that the operation does not know.
    pub(crate) fn only(self, known: &[&str]) -> ApiResult<Self> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ApiError::invalid(format!("invalid filter '{}'", printable(name)))),
            None => Ok(self),
        }
    }

    /// The values of a name; empty if it does not occur.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Takes control characters out of text that a client sent before it is sent back.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(256).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Undoes form encoding; broken escapes stay as they are, broken UTF-8 is replaced.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, escaped) {
            (_, Some(value)) => {
                decoded.push(value);
                at += 3;
                continue;
            }
            (b'+', None) => decoded.push(b' '),
            (other, None) => decoded.push(other),
        }
        at += 1;
    }
    String::from_utf8(decoded)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let params = Params::parse("name=a%2Fb+c&changes=X&changes=Y&flag&bad=%zz&e=");
        assert_eq!(params.get("name"), Some("a/b c"));
        assert_eq!(params.all("changes"), ["X", "Y"]);
        assert_eq!(params.get("flag"), Some(""));
        assert_eq!(params.get("bad"), Some("%zz"));
        assert_eq!(params.text("e"), None);
    }

    #[test]
    fn booleans_are_dockers() {
        let params = Params::parse("a=1&b=0&c=False&d=none&e=&f=yes");
        let values: Vec<bool> = ["a", "b", "c", "d", "e", "f", "g"].map(|n| params.bool(n)).into();
        assert_eq!(values, [true, false, false, false, false, true, false]);
        assert!(params.bool_or("g", true));
    }

    #[test]
    fn filters_come_in_both_shapes() {
        let expected = Filters(BTreeMap::from([("label".into(), vec!["a=b".into(), "c".into()])]));
        for text in [r#"{"label":{"a=b":true,"c":true,"d":false}}"#, r#"{"label":["a=b","c"]}"#] {
            assert_eq!(Filters::parse(text).unwrap(), expected);
        }
        assert_eq!(Filters::parse("{}").unwrap(), Filters::default());
        assert!(Filters::parse("[1]").is_err());
        let unknown = Filters::parse(r#"{"x\u0007":["1"]}"#).unwrap().only(&["label"]);
        assert_eq!(unknown.unwrap_err().message, "invalid filter 'x\u{fffd}'");
    }

    #[test]
    fn numbers_are_checked() {
        let params = Params::parse("t=5&x=abc&e=");
        assert_eq!(params.number::<i32>("t").unwrap(), Some(5));
        assert_eq!(params.number::<i32>("e").unwrap(), None);
        assert!(params.number::<i32>("x").is_err());
    }
}
