//! Values into fields: what fits where, and what is missing in the end.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Json, JsonError, Value, parse};

type Members<'a> = [(Cow<'a, str>, Value<'a>)];

/// The object that a message is read from.
#[derive(Debug)]
pub struct Reader<'a> {
    members: &'a Members<'a>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(members: &'a Members<'a>) -> Self {
        Self { members }
    }

    /// The members that are not null: null means unset.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'a str, &'a Value<'a>)> + use<'a> {
        self.members
            .iter()
            .map(|(name, value)| (&**name, value))
            .filter(|(_, value)| **value != Value::Null)
    }
}

/// Where in a message a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    /// A missing field comes before what is missing inside fields that are there.
    inside: bool,
    number: i32,
    index: Option<usize>,
    name: &'static str,
}

/// The required fields that were not given, as far as a message was read.
#[derive(Debug, Default)]
pub struct Missing {
    path: Vec<Step>,
    found: Vec<Vec<Step>>,
}

impl Missing {
    /// Notes that a required field of the message being read is not there.
    pub(crate) fn note(&mut self, number: i32, name: &'static str) {
        let mut path = self.path.clone();
        path.push(Step { inside: false, number, index: None, name });
        self.found.push(path);
    }

    /// Reads a message that stands in a field of the one being read.
    pub(crate) fn inside<T: Json>(
        &mut self,
        field: Field,
        index: Option<usize>,
        message: &mut T,
        value: &Value<'_>,
    ) -> Result<(), JsonError> {
        let Value::Object(members) = value else {
            return Err(unexpected(value, field.name));
        };
        self.path.push(Step { inside: true, number: field.number, index, name: field.name });
        let result = message.read_json(&Reader::new(members), self);
        self.path.pop();
        result
    }

    /// The missing fields by path, in the order of protobuf's own report.
    pub(crate) fn describe(mut self) -> Option<String> {
        if self.found.is_empty() {
            return None;
        }
        self.found.sort();
        let paths: Vec<String> = self.found.iter().map(|path| join(path)).collect();
        Some(paths.join(", "))
    }
}

fn join(path: &[Step]) -> String {
    let steps: Vec<String> = path
        .iter()
        .map(|step| match step.index {
            Some(index) => format!("{}[{index}]", step.name),
            None => step.name.to_owned(),
        })
        .collect();
    steps.join(".")
}

/// A field as its errors name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) number: i32,
    pub(crate) name: &'static str,
}

/// A value that stands for itself.
pub(crate) trait Scalar: Sized {
    fn read(value: &Value<'_>, name: &str) -> Result<Self, JsonError>;
}

fn unexpected(value: &Value<'_>, name: &str) -> JsonError {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    JsonError::Shape(format!("Not expecting a JSON {kind} for field '{name}'"))
}

impl Scalar for String {
    fn read(value: &Value<'_>, name: &str) -> Result<Self, JsonError> {
        match value {
            Value::String(text) => Ok(text.to_string()),
            _ => Err(unexpected(value, name)),
        }
    }
}

impl Scalar for Bytes {
    fn read(value: &Value<'_>, name: &str) -> Result<Self, JsonError> {
        let Value::String(text) = value else {
            return Err(unexpected(value, name));
        };
        decode_base64(text).map(Self::from).map_err(|reason| {
            JsonError::Shape(format!("Failed to base64 decode bytes field '{name}': {reason}"))
        })
    }
}

/// Base64 as Mesos reads it: space is skipped, and padding ends it or is absent.
fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0);
    for c in text.chars() {
        let six = match c {
            '=' => break,
            'A'..='Z' => u32::from(c) - u32::from('A'),
            'a'..='z' => u32::from(c) - u32::from('a') + 26,
            '0'..='9' => u32::from(c) - u32::from('0') + 52,
            '+' => 62,
            '/' => 63,
            _ if c.is_ascii_whitespace() || c == '\u{b}' => continue,
            _ => return Err(format!("Invalid character '{c}'")),
        };
        bits = bits << 6 | six;
        held += 6;
        if held >= 8 {
            held -= 8;
            let [.., low] = (bits >> held).to_be_bytes();
            bytes.push(low);
        }
    }
    Ok(bytes)
}

impl Scalar for bool {
    fn read(value: &Value<'_>, name: &str) -> Result<Self, JsonError> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::String(text) => match parse(text.as_bytes()) {
                Ok(Value::Bool(value)) => Ok(value),
                other => Err(not_inside(text, "boolean", name, other.err())),
            },
            _ => Err(unexpected(value, name)),
        }
    }
}

fn not_inside(text: &str, kind: &str, name: &str, reason: Option<String>) -> JsonError {
    let reason = reason.unwrap_or_else(|| "Unexpected JSON type parsed".to_owned());
    JsonError::Shape(format!(
        "Failed to parse '{text}' as a JSON {kind} for field '{name}': {reason}"
    ))
}

enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

fn number(value: &Value<'_>, name: &str) -> Result<Number, JsonError> {
    match value {
        Value::Signed(value) => Ok(Number::Signed(*value)),
        Value::Unsigned(value) => Ok(Number::Unsigned(*value)),
        Value::Float(value) => Ok(Number::Float(*value)),
        Value::String(text) => match parse(text.as_bytes()) {
            Ok(inner) if !matches!(inner, Value::String(_)) => {
                number(&inner, name).map_err(|_| not_inside(text, "number", name, None))
            }
            Ok(_) => Err(not_inside(text, "number", name, None)),
            Err(reason) => Err(not_inside(text, "number", name, Some(reason))),
        },
        _ => Err(unexpected(value, name)),
    }
}

macro_rules! whole_numbers {
    ($($kind:ty),*) => {$(
        impl Scalar for $kind {
            // A number that does not fit is cut as C++ cuts it: peers rely on nothing better.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]
            fn read(value: &Value<'_>, name: &str) -> Result<Self, JsonError> {
                Ok(match number(value, name)? {
                    Number::Signed(value) => value as Self,
                    Number::Unsigned(value) => value as Self,
                    Number::Float(value) => value as Self,
                })
            }
        }
    )*};
}

whole_numbers!(i32, i64, u32, u64);

impl Scalar for f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "what a double cannot hold is lost by its nature"
    )]
    fn read(value: &Value<'_>, name: &str) -> Result<Self, JsonError> {
        match value {
            Value::String(text) if text == "Infinity" => return Ok(Self::INFINITY),
            Value::String(text) if text == "-Infinity" => return Ok(Self::NEG_INFINITY),
            _ => {}
        }
        Ok(match number(value, name)? {
            Number::Signed(value) => value as Self,
            Number::Unsigned(value) => value as Self,
            Number::Float(value) => value,
        })
    }
}

/// An enumeration's value by name. A name that is not known leaves an optional field unset.
pub(crate) fn enumeration<E: Into<i32>>(
    value: &Value<'_>,
    name: &str,
    required: Required,
    by_name: impl Fn(&str) -> Option<E>,
) -> Result<Option<i32>, JsonError> {
    let Value::String(text) = value else {
        return Err(unexpected(value, name));
    };
    match by_name(text) {
        Some(found) => Ok(Some(found.into())),
        None if matches!(required, Required::Yes) => {
            Err(JsonError::Shape(format!("Failed to find enum for '{text}'")))
        }
        None => Ok(None),
    }
}

/// Whether a field must be set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Required {
    Yes,
    No,
}

/// Calls `one` for each value of a repeated field: the elements of an array, or the one value that
/// stands where an array should.
pub(crate) fn each<'a>(
    value: &'a Value<'a>,
    one: &mut dyn FnMut(&'a Value<'a>) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    match value {
        Value::Null => Ok(()),
        Value::Array(elements) => elements.iter().try_for_each(|element| each(element, one)),
        _ => one(value),
    }
}

/// Reads the entries of a map.
pub(crate) fn map<V: Default>(
    to: &mut BTreeMap<String, V>,
    value: &Value<'_>,
    name: &str,
    mut one: impl FnMut(&mut V, &Value<'_>) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let Value::Object(members) = value else {
        return Err(unexpected(value, name));
    };
    for (key, value) in members {
        let mut entry = V::default();
        if *value != Value::Null {
            one(&mut entry, value)?;
        }
        to.insert(key.to_string(), entry);
    }
    Ok(())
}
