//! The types of flag values: their name in the help, their default, their check.

use crate::units;

/// The type of a flag's value.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    /// Shown behind the flag; empty for switches.
    pub(crate) name: &'static str,
    /// Shown in the help as `(default …)` when not empty.
    pub(crate) default: &'static str,
    /// Says why a value is refused, in the words of the flag's type.
    pub(crate) check: fn(&str) -> Result<(), String>,
    pub(crate) is_switch: bool,
}

const fn value(name: &'static str, check: fn(&str) -> Result<(), String>) -> Type {
    Type { name, default: "", check, is_switch: false }
}

const fn any(_: &str) -> Result<(), String> {
    Ok(())
}

impl Type {
    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }
}

/// A switch, off unless given.
pub(crate) const SWITCH: Type = Type { name: "", default: "", check: check_bool, is_switch: true };
/// A switch that is on unless turned off.
pub(crate) const ON: Type = Type { default: "true", ..SWITCH };
pub(crate) const STRING: Type = value("string", any);
pub(crate) const STRINGS: Type = value("strings", any);
pub(crate) const LIST: Type = value("list", any);
pub(crate) const FILTER: Type = value("filter", check_filter);
pub(crate) const MAP: Type = value("map", any);
pub(crate) const INT: Type = value("int", check_int);
pub(crate) const UINT: Type = value("uint", check_uint);
pub(crate) const UINT16: Type = value("uint16", check_uint16);
pub(crate) const UINT32: Type = value("uint32", check_uint32);
pub(crate) const BYTES: Type = value("bytes", check_bytes);
pub(crate) const SWAP_BYTES: Type = value("bytes", check_swap_bytes);
pub(crate) const DECIMAL: Type = value("decimal", check_cpus);
pub(crate) const DURATION: Type = value("duration", check_duration);

pub(crate) const fn checked(name: &'static str, check: fn(&str) -> Result<(), String>) -> Type {
    value(name, check)
}

/// Reads a switch's value as Go's ParseBool does.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn check_bool(text: &str) -> Result<(), String> {
    parse_bool(text)
        .map(drop)
        .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}

/// Tells why a number does not parse, in the words of Go's strconv.
fn number_error(function: &str, text: &str, kind: &std::num::IntErrorKind) -> String {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let why = match kind {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {text:?}: {why}")
}

fn check_int(text: &str) -> Result<(), String> {
    text.parse::<i64>().map(drop).map_err(|e| number_error("ParseInt", text, e.kind()))
}

fn check_uint(text: &str) -> Result<(), String> {
    text.parse::<u64>().map(drop).map_err(|e| number_error("ParseUint", text, e.kind()))
}

fn check_uint16(text: &str) -> Result<(), String> {
    text.parse::<u16>().map(drop).map_err(|e| number_error("ParseUint", text, e.kind()))
}

fn check_uint32(text: &str) -> Result<(), String> {
    text.parse::<u32>().map(drop).map_err(|e| number_error("ParseUint", text, e.kind()))
}

fn check_bytes(text: &str) -> Result<(), String> {
    units::parse_bytes(text).map(drop)
}

fn check_swap_bytes(text: &str) -> Result<(), String> {
    if text == "-1" { Ok(()) } else { check_bytes(text) }
}

fn check_cpus(text: &str) -> Result<(), String> {
    units::parse_nano_cpus(text).map(drop)
}

fn check_duration(text: &str) -> Result<(), String> {
    units::parse_duration_nanos(text).map(drop)
}

fn check_filter(text: &str) -> Result<(), String> {
    match text.split_once('=') {
        Some((name, _)) if !name.trim().is_empty() => Ok(()),
        _ => Err("bad format of filter (expected name=value)".to_owned()),
    }
}
