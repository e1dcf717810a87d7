//! From words to a command with its flags and arguments.

use std::collections::HashMap;

use super::{Args, Command, Flag, parse_bool, usage_line};
use crate::failure::Failure;

/// Older names of flags: their values count as the flag's own, in the order given.
const OTHER_SPELLINGS: [(&str, &str); 3] =
    [("dns-opt", "dns-option"), ("net", "network"), ("net-alias", "network-alias")];

/// The values given to flags, by long name, in order.
#[derive(Debug, Default)]
pub(crate) struct Values(HashMap<&'static str, Vec<String>>);

impl Values {
    /// Tells whether the flag was given at all.
    pub(crate) fn given(&self, long: &str) -> bool {
        self.0.contains_key(long)
    }

    /// Tells the last value given.
    pub(crate) fn get(&self, long: &str) -> Option<&str> {
        self.0.get(long).and_then(|v| v.last()).map(String::as_str)
    }

    /// Tells the last value given, empty when none was.
    pub(crate) fn text(&self, long: &str) -> &str {
        self.get(long).unwrap_or_default()
    }

    /// Tells the last value given, or the default that the flag's help promises.
    pub(crate) fn text_or<'a>(&'a self, long: &str, default: &'a str) -> &'a str {
        self.get(long).unwrap_or(default)
    }

    /// Tells all values given.
    pub(crate) fn all(&self, long: &str) -> &[String] {
        self.0.get(long).map_or(&[], Vec::as_slice)
    }

    /// Tells all values given, each split at its commas.
    pub(crate) fn split(&self, long: &str) -> Vec<String> {
        self.all(long)
            .iter()
            .flat_map(|v| v.split(','))
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Tells a switch's state.
    pub(crate) fn on(&self, long: &str) -> bool {
        self.get(long).and_then(parse_bool).unwrap_or(false)
    }

    /// Tells the state of a switch that is on unless turned off.
    pub(crate) fn on_by_default(&self, long: &str) -> bool {
        self.get(long).and_then(parse_bool).unwrap_or(true)
    }

    /// Tells an integer; its flag's type has checked it.
    pub(crate) fn int(&self, long: &str) -> Option<i64> {
        self.get(long).and_then(|v| v.parse().ok())
    }

    pub(crate) fn set(&mut self, long: &'static str, value: impl Into<String>) {
        self.0.entry(long).or_default().push(value.into());
    }
}

/// A parsed command.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// `--help` was asked for.
    Help,
    Go {
        flags: Values,
        args: Vec<String>,
    },
}

/// Finds the child called `name`.
pub(crate) fn find(children: &[&'static Command], name: &str) -> Option<&'static Command> {
    children.iter().copied().find(|c| c.name == name || c.aliases.contains(&name))
}

/// Parses the words behind a command's name. `path` is the name as typed, for messages.
pub(crate) fn parse(
    command: &'static Command,
    path: &str,
    words: &[String],
) -> Result<Parsed, Failure> {
    let mut flags = Values::default();
    let args = match parse_flags(&|| command.flag_list(), words, command.interspersed, &mut flags) {
        Ok(args) => args,
        Err(message) => return Err(Failure::flag(message, path, usage_line(command, path))),
    };
    if flags.on("help") {
        return Ok(Parsed::Help);
    }
    check_count(command.args, args.len()).map_err(|(wants, word)| {
        Failure::arguments(format!("'{path}' {wants}"), path, usage_line(command, path), word)
    })?;
    Ok(Parsed::Go { flags, args })
}

/// As [`parse`], but an error is the bare message, for callers that are no command line.
pub(crate) fn parse_quietly(
    command: &'static Command,
    path: &str,
    words: &[String],
) -> Result<Parsed, String> {
    let mut flags = Values::default();
    let args = parse_flags(&|| command.flag_list(), words, command.interspersed, &mut flags)?;
    if flags.on("help") {
        return Ok(Parsed::Help);
    }
    check_count(command.args, args.len()).map_err(|(wants, _)| format!("'{path}' {wants}"))?;
    Ok(Parsed::Go { flags, args })
}

const fn check_count_word(at_least: bool) -> &'static str {
    if at_least { "See" } else { "Run" }
}

fn check_count(args: Args, count: usize) -> Result<(), (String, &'static str)> {
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    let wants = match args {
        Args::Exactly(0) if count > 0 => "accepts no arguments".to_owned(),
        Args::Exactly(n) if count != n => format!("requires {n} {}", plural(n)),
        Args::AtLeast(n) if count < n => format!("requires at least {n} {}", plural(n)),
        Args::AtMost(n) if count > n => format!("requires at most {n} {}", plural(n)),
        Args::Between(min, max) if !(min..=max).contains(&count) => {
            format!("requires at least {min} and at most {max} {}", plural(max))
        }
        _ => return Ok(()),
    };
    Err((wants, check_count_word(matches!(args, Args::AtLeast(_)))))
}

/// Splits words into flags and arguments; the message of an error is the flag's own.
pub(crate) fn parse_flags<I: Iterator<Item = &'static Flag>>(
    flags: &dyn Fn() -> I,
    words: &[String],
    interspersed: bool,
    values: &mut Values,
) -> Result<Vec<String>, String> {
    let mut args = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            args.extend(rest.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            if name == "help" {
                values.set("help", inline.unwrap_or_else(|| "true".to_owned()));
                continue;
            }
            let Some(flag) = flags().find(|f| f.long == name) else {
                return Err(unknown_flag(name, flags()));
            };
            let value = match inline {
                Some(value) => value,
                None if flag.value.is_switch => "true".to_owned(),
                None => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: --{name}"))?,
            };
            store(flag, value, values)?;
        } else if word.len() > 1 && word.starts_with('-') {
            parse_cluster(flags, word, &mut rest, values)?;
        } else if interspersed {
            args.push(word.clone());
        } else {
            args.push(word.clone());
            args.extend(rest.by_ref().cloned());
        }
    }
    Ok(args)
}

/// Reads `-abc`, `-p80:80`, `-p=80:80` and `-p 80:80`.
fn parse_cluster<'a, I: Iterator<Item = &'static Flag>>(
    flags: &dyn Fn() -> I,
    word: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    values: &mut Values,
) -> Result<(), String> {
    let mut letters = &word[1..];
    while let Some(letter) = letters.chars().next() {
        let after = &letters[letter.len_utf8()..];
        let Some(flag) = flags().find(|f| f.short == Some(letter)) else {
            if letter == 'h' {
                values.set("help", "true");
                return Ok(());
            }
            return Err(format!("unknown shorthand flag: '{letter}' in -{letters}"));
        };
        if let Some(value) = after.strip_prefix('=') {
            return store(flag, value.to_owned(), values);
        }
        if flag.value.is_switch {
            store(flag, "true".to_owned(), values)?;
            letters = after;
            continue;
        }
        let value = if after.is_empty() {
            rest.next()
                .cloned()
                .ok_or_else(|| format!("flag needs an argument: '{letter}' in -{letters}"))?
        } else {
            after.to_owned()
        };
        return store(flag, value, values);
    }
    Ok(())
}

fn store(flag: &'static Flag, value: String, values: &mut Values) -> Result<(), String> {
    if let Err(why) = (flag.value.check)(&value) {
        let name = match flag.short {
            Some(short) => format!("-{short}, --{}", flag.long),
            None => format!("--{}", flag.long),
        };
        return Err(format!("invalid argument {value:?} for \"{name}\" flag: {why}"));
    }
    let other = OTHER_SPELLINGS.iter().find(|(other, _)| *other == flag.long);
    values.set(other.map_or(flag.long, |(_, long)| long), value);
    Ok(())
}

fn unknown_flag(name: &str, flags: impl Iterator<Item = &'static Flag>) -> String {
    let near = crate::suggest::nearest(name, flags.filter(|f| !f.help.is_empty()).map(|f| f.long));
    match near {
        Some(near) => format!("unknown flag: --{name} (did you mean --{near}?)"),
        None => format!("unknown flag: --{name}"),
    }
}
