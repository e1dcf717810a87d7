//! The flags between an instruction and its arguments.

use super::Spanned;
use super::lines::{Statement, words};
use crate::diagnostic::{Diagnostic, closest};

/// Flags as given, in order; each is taken out by who knows it.
pub(super) struct Flags<'a> {
    statement: &'a Statement,
    instruction: &'a str,
    /// Name, value if there was an equals sign, place.
    given: Vec<(String, Option<String>, Spanned)>,
    known: Vec<&'static str>,
    /// Where the arguments begin.
    pub(super) rest: usize,
}

impl<'a> Flags<'a> {
    pub(super) fn read(statement: &'a Statement, instruction: &'a str, escape: char) -> Self {
        let text = &statement.text;
        let mut flags =
            Self { statement, instruction, given: Vec::new(), known: Vec::new(), rest: text.len() };
        for word in words(text, escape).into_iter().skip(1) {
            let Some(flag) = text[word.clone()].strip_prefix("--") else {
                flags.rest = word.start;
                break;
            };
            if flag.is_empty() {
                flags.rest = word.end;
                break;
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(unquoted(value))),
                None => (flag, None),
            };
            let spanned = Spanned {
                text: value.clone().unwrap_or_default(),
                span: statement.span(word.clone()),
            };
            flags.given.push((name.to_owned(), value, spanned));
        }
        flags
    }

    /// Takes every value of a flag.
    pub(super) fn all(&mut self, name: &'static str) -> Result<Vec<Spanned>, Diagnostic> {
        self.known.push(name);
        let mut values = Vec::new();
        let mut kept = Vec::new();
        for (given, value, spanned) in self.given.drain(..) {
            match value {
                _ if given != name => kept.push((given, value, spanned)),
                Some(text) if !text.is_empty() => values.push(spanned),
                _ => {
                    return Err(Diagnostic::new(
                        spanned.span,
                        format!("Missing a value on flag: {name}"),
                    )
                    .help(format!("write --{name}=VALUE")));
                }
            }
        }
        self.given = kept;
        Ok(values)
    }

    /// Takes the value of a flag that may be given once.
    pub(super) fn one(&mut self, name: &'static str) -> Result<Option<Spanned>, Diagnostic> {
        let mut values = self.all(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Diagnostic::new(values[1].span, format!("Duplicate flag specified: {name}"))),
        }
    }

    /// Takes a switch.
    pub(super) fn switch(&mut self, name: &'static str) -> Result<Option<bool>, Diagnostic> {
        self.known.push(name);
        let Some(at) = self.given.iter().position(|(given, ..)| given == name) else {
            return Ok(None);
        };
        let (_, value, spanned) = self.given.remove(at);
        match value.as_deref() {
            None | Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Diagnostic::new(
                spanned.span,
                format!("Expecting boolean value for flag {name}, not: {other}"),
            )
            .help("write true or false")),
        }
    }

    /// Refuses what nobody took, and returns the arguments.
    pub(super) fn finish(self) -> Result<&'a str, Diagnostic> {
        if let Some((name, _, spanned)) = self.given.first() {
            let text = format!("unknown flag: --{name} (of {})", self.instruction);
            let diagnostic = Diagnostic::new(spanned.span, text);
            return Err(match (closest(name, &self.known), self.known.is_empty()) {
                (Some(known), _) => diagnostic.help(format!("did you mean --{known}?")),
                (None, true) => diagnostic.help(format!("{} has no flags", self.instruction)),
                (None, false) => diagnostic.help(format!("it knows --{}", self.known.join(", --"))),
            });
        }
        Ok(self.statement.text[self.rest..].trim())
    }
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.to_owned();
        }
    }
    value.to_owned()
}
