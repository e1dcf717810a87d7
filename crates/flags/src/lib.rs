//! Command lines of `teu master` and `teu agent`, in Mesos' manner.
//!
//! A program has a table of [`Flag`]s. Values come from `--name=value`, `--name value`,
//! `--name` and `--no-name` for switches, or the environment (`MESOS_NAME`); the command line wins.
//! A value `file:///path` is the content of that file. A flag that Mesos knows and Teu does not
//! have is listed with the reason and refused when given; an unknown one is refused with the
//! nearest names. What the values mean is the program's business, [`units`] reads the common forms.

pub mod units;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// How a flag takes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--name=value`.
    Value,
    /// `--name=/path` or `--name=file:///path`: a file that is read more than once, so that the path
    /// is the value.
    Path,
    /// `--name`, `--no-name`, `--name=true|false`.
    Switch,
    /// Known to Mesos, not available here; the text says why or what to use instead.
    Refused(&'static str),
}

/// One line of a program's table.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// The value when none is given; `None` leaves the flag unset.
    pub default: Option<&'static str>,
    pub help: &'static str,
}

/// A flag with a value.
pub const fn value(name: &'static str, default: Option<&'static str>, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Value, default, help }
}

/// A flag with the path of a file that is read more than once.
pub const fn path(name: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Path, default: None, help }
}

/// A flag that is on or off.
pub const fn switch(name: &'static str, on: bool, help: &'static str) -> Flag {
    let default = Some(if on { "true" } else { "false" });
    Flag { name, kind: Kind::Switch, default, help }
}

/// A flag of Mesos that is refused.
pub const fn refused(name: &'static str, reason: &'static str) -> Flag {
    Flag { name, kind: Kind::Refused(reason), default: None, help: reason }
}

/// Why a command line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unknown flag '--{name}'{}", near_text(.near))]
    Unknown { name: String, near: Vec<&'static str> },
    #[error("unexpected argument '{0}': flags are written --name=value")]
    Positional(String),
    #[error("flag '--{0}' is given twice")]
    Twice(String),
    #[error("flag '--{0}' needs a value: --{0}=VALUE")]
    NoValue(String),
    #[error("flag '--{0}' takes a value, so there is no '--no-{0}'")]
    NotASwitch(String),
    #[error("flag '--{name}' is true or false, not '{value}'")]
    NotABool { name: String, value: String },
    #[error("flag '--{name}' is not available: {reason}")]
    Refused { name: String, reason: &'static str },
    #[error("flag '--{name}': cannot read {path}: {message}")]
    File { name: String, path: String, message: String },
    #[error("flag '--{name}': {message}")]
    Invalid { name: String, message: String },
    #[error("flag '--{0}' is required")]
    Required(String),
}

fn near_text(near: &[&str]) -> String {
    if near.is_empty() {
        return "; --help lists all".to_owned();
    }
    let names: Vec<String> = near.iter().map(|name| format!("--{name}")).collect();
    format!("; near it: {}", names.join(", "))
}

/// The values of a command line, defaults filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, String>);

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    Run(Values),
    Help,
    Version,
}

/// Reads `args` (without the program's name) and the variables of the environment.
///
/// # Errors
/// The first argument that cannot be used.
pub fn parse(
    table: &'static [Flag],
    args: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Parsed, Error> {
    let mut given: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let Some(word) = arg.strip_prefix("--").filter(|word| !word.is_empty()) else {
            match arg.as_str() {
                "-h" => return Ok(Parsed::Help),
                _ => return Err(Error::Positional(arg)),
            }
        };
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        match (name, inline.as_deref()) {
            ("help", None | Some("true")) => return Ok(Parsed::Help),
            ("version", None | Some("true")) => return Ok(Parsed::Version),
            _ => {}
        }
        let (flag, negated) = lookup(table, name)?;
        let value = match (flag.kind, inline) {
            (Kind::Refused(reason), _) => {
                return Err(Error::Refused { name: flag.name.to_owned(), reason });
            }
            (Kind::Value | Kind::Path, _) if negated => {
                return Err(Error::NotASwitch(flag.name.to_owned()));
            }
            (Kind::Value | Kind::Path, Some(value)) => value,
            (Kind::Value | Kind::Path, None) => {
                match args.next_if(|next| !next.starts_with("--")) {
                    Some(value) => value,
                    None => return Err(Error::NoValue(flag.name.to_owned())),
                }
            }
            (Kind::Switch, None) => (!negated).to_string(),
            (Kind::Switch, Some(value)) if negated => {
                return Err(Error::NotABool { name: name.to_owned(), value });
            }
            (Kind::Switch, Some(value)) => value,
        };
        if given.insert(flag.name, value).is_some() {
            return Err(Error::Twice(flag.name.to_owned()));
        }
    }
    from_environment(table, environment, &mut given)?;
    let mut values = BTreeMap::new();
    for flag in table {
        match given.remove(flag.name) {
            Some(value) => drop(values.insert(flag.name, checked(flag, value)?)),
            None => drop(flag.default.map(|default| values.insert(flag.name, default.to_owned()))),
        }
    }
    Ok(Parsed::Run(Values(values)))
}

/// Adds what only the environment says. Variables of no flag are other programs' business
/// (`MESOS_SANDBOX`, `MESOS_NATIVE_JAVA_LIBRARY`).
fn from_environment(
    table: &'static [Flag],
    environment: impl IntoIterator<Item = (String, String)>,
    given: &mut BTreeMap<&'static str, String>,
) -> Result<(), Error> {
    for (name, value) in environment {
        let Some(name) = name.strip_prefix("MESOS_") else { continue };
        let name = name.to_ascii_lowercase();
        let Some(flag) = table.iter().find(|flag| flag.name == name) else { continue };
        if let Kind::Refused(reason) = flag.kind {
            return Err(Error::Refused { name, reason });
        }
        given.entry(flag.name).or_insert(value);
    }
    Ok(())
}

fn lookup(table: &'static [Flag], name: &str) -> Result<(&'static Flag, bool), Error> {
    let find = |name: &str| table.iter().find(|flag| flag.name == name);
    if let Some(flag) = find(name) {
        return Ok((flag, false));
    }
    if let Some(flag) = name.strip_prefix("no-").and_then(find) {
        return Ok((flag, true));
    }
    let mut near: Vec<(f64, &'static str)> = table
        .iter()
        .filter(|flag| !matches!(flag.kind, Kind::Refused(_)))
        .map(|flag| (strsim::jaro(name, flag.name), flag.name))
        .filter(|(score, _)| *score > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near = near.into_iter().take(3).map(|(_, name)| name).collect();
    Err(Error::Unknown { name: name.to_owned(), near })
}

fn checked(flag: &Flag, value: String) -> Result<String, Error> {
    let name = || flag.name.to_owned();
    let value = match value.strip_prefix("file://") {
        Some(path) if flag.kind == Kind::Path => path.to_owned(),
        None => value,
        Some(path) => std::fs::read_to_string(path).map_err(|e| Error::File {
            name: name(),
            path: path.to_owned(),
            message: e.to_string(),
        })?,
    };
    match flag.kind {
        Kind::Switch => match value.as_str() {
            "true" | "1" => Ok("true".to_owned()),
            "false" | "0" => Ok("false".to_owned()),
            _ => Err(Error::NotABool { name: name(), value }),
        },
        Kind::Value | Kind::Path | Kind::Refused(_) => Ok(value),
    }
}

impl Values {
    /// The value of a flag, if it has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a flag; empty when it has none.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// The value of a flag that has to have one.
    ///
    /// # Errors
    /// [`Error::Required`].
    pub fn required(&self, name: &str) -> Result<&str, Error> {
        self.get(name).ok_or_else(|| Error::Required(name.to_owned()))
    }

    /// Reads a flag's value with `read`, such as [`units::duration`]; `None` when unset.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what `read` says.
    pub fn read<T, E: std::fmt::Display>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Error> {
        self.get(name)
            .map(|text| {
                read(text)
                    .map_err(|e| Error::Invalid { name: name.to_owned(), message: e.to_string() })
            })
            .transpose()
    }

    /// Reads the value of a flag that has a default or is required.
    ///
    /// # Errors
    /// As [`Self::read`] and [`Self::required`].
    pub fn need<T, E: std::fmt::Display>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Error> {
        self.read(name, read)?.ok_or_else(|| Error::Required(name.to_owned()))
    }

    /// All values by name, as the endpoint `/flags` shows them.
    pub fn all(&self) -> &BTreeMap<&'static str, String> {
        &self.0
    }
}

/// The page of documentation about a program, `master` or `agent`: what acts, then what is refused
/// and why.
pub fn page(program: &str, table: &[Flag]) -> String {
    format!(
        "# Flags of `teu {program}`\n\n\
         Every flag of Mesos' {program}, as version 1.11 and its main branch since have them. \
         Values come from\n`--name=value`, `--name value`, `--name` and `--no-name`, or \
         `MESOS_NAME` in the environment; a value\n`file:///path` is the content of that file. \
         An unknown flag is an error that names the nearest ones.\n\n{}",
        markdown(table)
    )
}

/// Which of the names, one a line, are neither in the table nor known to every program; and which
/// names stand in the table twice.
pub fn unknown<'a>(table: &'a [Flag], names: &'a str) -> Vec<&'a str> {
    let is_there = |name: &str| table.iter().any(|flag| flag.name == name);
    let missing =
        names.lines().filter(|name| !is_there(name) && !["help", "version"].contains(name));
    let twice = table
        .iter()
        .enumerate()
        .filter(|(at, flag)| table[..*at].iter().any(|earlier| earlier.name == flag.name));
    missing.chain(twice.map(|(_, flag)| flag.name)).collect()
}

fn markdown(table: &[Flag]) -> String {
    let mut sorted: Vec<&Flag> = table.iter().collect();
    sorted.sort_by_key(|flag| flag.name);
    let (refused, acting): (Vec<&Flag>, Vec<&Flag>) =
        sorted.into_iter().partition(|flag| matches!(flag.kind, Kind::Refused(_)));
    let mut text = "| flag | default | what it does |\n|---|---|---|\n".to_owned();
    for flag in acting {
        let default = flag.default.filter(|default| !default.is_empty());
        let default = default.map(|default| format!("`{}`", default.replace('|', "\\|")));
        let default = default.unwrap_or_default();
        text.push_str(&format!("| `--{}` | {default} | {} |\n", flag.name, flag.help));
    }
    text.push_str("\n## Refused\n\n| flag | why, or what to do instead |\n|---|---|\n");
    for flag in refused {
        text.push_str(&format!("| `--{}` | {} |\n", flag.name, flag.help));
    }
    text
}

/// The text of `--help`.
pub fn help(usage: &str, table: &[Flag]) -> String {
    let mut text = format!("Usage: {usage} [--name=value…]\n\n");
    for flag in table {
        let name = match flag.kind {
            Kind::Value => format!("--{}=VALUE", flag.name),
            Kind::Path => format!("--{}=PATH", flag.name),
            Kind::Switch => format!("--[no-]{}", flag.name),
            Kind::Refused(_) => continue,
        };
        let default = flag.default.filter(|d| !d.is_empty());
        let default = default.map(|d| format!(" (default: {d})")).unwrap_or_default();
        text.push_str(&format!("  {name}\n      {}{default}\n", flag.help));
    }
    text.push_str("\nEvery flag can be given as a variable: MESOS_NAME=value.\n");
    text
}
