//! Variables and quotes in a word, as the Dockerfile language has them.
//!
//! `$name`, `${name}` and the modifiers `:-` `:+` `:?` (and without colon), `#` `##` `%` `%%`, `/` `//`.

use std::iter::Peekable;
use std::str::Chars;

/// Looks a variable up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces variables in a word and takes its quotes off.
///
/// # Errors
/// For quotes and braces without an end, unknown modifiers, and what `:?` demands.
pub fn word(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    let mut words = expand(text, escape, lookup, Quotes::Removed)?;
    Ok(if words.len() == 1 { words.remove(0) } else { words.concat() })
}

/// The same for a text in which quotes mean nothing, such as a heredoc.
///
/// # Errors
/// See [`word`].
pub fn text(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    Ok(expand(text, escape, lookup, Quotes::Plain)?.concat())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Removed,
    Plain,
}

/// Variables nested deeper are a mistake, or meant to exhaust the stack.
const MAX_DEPTH: usize = 32;

fn expand(
    text: &str,
    escape: char,
    lookup: Lookup<'_>,
    quotes: Quotes,
) -> Result<Vec<String>, String> {
    let mut scanner = Scanner { rest: text.chars().peekable(), escape, lookup, quotes, depth: 0 };
    Ok(vec![scanner.until(None)?])
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    escape: char,
    lookup: Lookup<'a>,
    quotes: Quotes,
    depth: usize,
}

impl Scanner<'_> {
    /// Reads up to `stop`, which is taken as read; to the end without one.
    fn until(&mut self, stop: Option<char>) -> Result<String, String> {
        let mut out = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                c if Some(c) == stop => return Ok(out),
                '\'' if self.quotes == Quotes::Removed => self.single(&mut out)?,
                '"' if self.quotes == Quotes::Removed => self.double(&mut out)?,
                '$' => out.push_str(&self.dollar()?),
                c if c == self.escape => self.escaped(&mut out),
                c => out.push(c),
            }
        }
        match stop {
            None => Ok(out),
            Some(_) => Err("syntax error: missing '}' in a substitution".to_owned()),
        }
    }

    fn escaped(&mut self, out: &mut String) {
        match (self.quotes, self.rest.peek()) {
            (Quotes::Removed, Some(_)) => out.extend(self.rest.next()),
            (Quotes::Removed, None) => {}
            (Quotes::Plain, Some(next)) if *next == '$' || *next == self.escape => {
                out.extend(self.rest.next());
            }
            (Quotes::Plain, _) => out.push(self.escape),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), String> {
        for character in self.rest.by_ref() {
            if character == '\'' {
                return Ok(());
            }
            out.push(character);
        }
        Err("unexpected end of statement while looking for matching single-quote".to_owned())
    }

    fn double(&mut self, out: &mut String) -> Result<(), String> {
        while let Some(character) = self.rest.next() {
            match character {
                '"' => return Ok(()),
                '$' => out.push_str(&self.dollar()?),
                c if c == self.escape => match self.rest.peek() {
                    Some(next) if *next == '"' || *next == '$' || *next == self.escape => {
                        out.extend(self.rest.next());
                    }
                    _ => out.push(c),
                },
                c => out.push(c),
            }
        }
        Err("unexpected end of statement while looking for matching double-quote".to_owned())
    }

    fn dollar(&mut self) -> Result<String, String> {
        if self.rest.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(match name.is_empty() {
                true => "$".to_owned(),
                false => (self.lookup)(&name).unwrap_or_default(),
            });
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("substitutions nested more than {MAX_DEPTH} deep"));
        }
        let value = self.braced()?;
        self.depth -= 1;
        Ok(value)
    }

    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err("syntax error: bad substitution".to_owned());
        }
        let value = (self.lookup)(&name);
        match self.rest.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => match self.rest.next() {
                Some(modifier @ ('-' | '+' | '?')) => {
                    self.conditional(&name, value.filter(|value| !value.is_empty()), modifier)
                }
                other => Err(unsupported(&name, &format!(":{}", other.unwrap_or('}')))),
            },
            Some(modifier @ ('-' | '+' | '?')) => self.conditional(&name, value, modifier),
            Some(side @ ('#' | '%')) => {
                let longest = self.rest.next_if_eq(&side).is_some();
                let pattern = self.pattern('}')?;
                Ok(trimmed(&value.unwrap_or_default(), &pattern, side == '#', longest))
            }
            Some('/') => {
                let all = self.rest.next_if_eq(&'/').is_some();
                let pattern = self.pattern('/')?;
                let replacement = self.until(Some('}'))?;
                Ok(replaced(&value.unwrap_or_default(), &pattern, &replacement, all))
            }
            Some(other) => Err(unsupported(&name, &other.to_string())),
            None => Err("syntax error: missing '}' in a substitution".to_owned()),
        }
    }

    fn conditional(
        &mut self,
        name: &str,
        value: Option<String>,
        modifier: char,
    ) -> Result<String, String> {
        let word = self.until(Some('}'))?;
        match (modifier, value) {
            ('-', Some(value)) | ('?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, None) if word.is_empty() => Err(format!("{name}: not set")),
            (_, _) => Err(format!("{name}: {word}")),
        }
    }

    /// Reads a pattern, with its escapes.
    fn pattern(&mut self, stop: char) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        while let Some(character) = self.rest.next() {
            match character {
                c if c == stop => return Ok(pieces),
                '*' => pieces.push(Piece::Any),
                '?' => pieces.push(Piece::One),
                '$' => pieces.extend(self.dollar()?.chars().map(Piece::Just)),
                c if c == '\\' || c == self.escape => {
                    pieces.extend(self.rest.next().map(Piece::Just));
                }
                c => pieces.push(Piece::Just(c)),
            }
        }
        Err(format!("syntax error: missing '{stop}' in a substitution"))
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
                while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.rest.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {}
        }
        name
    }
}

fn unsupported(name: &str, modifier: &str) -> String {
    format!("unsupported modifier ({modifier}) in the substitution of {name}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Just(char),
    One,
    Any,
}

/// Tells for every length whether the first so many characters match: one pass, whatever the pattern.
fn matching_prefixes(pattern: &[Piece], text: &[char]) -> Vec<bool> {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for piece in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            match piece {
                Piece::Any => next[at] = reached[at] || (at > 0 && next[at - 1]),
                Piece::One => next[at] = at > 0 && reached[at - 1],
                Piece::Just(c) => next[at] = at > 0 && reached[at - 1] && text[at - 1] == *c,
            }
        }
        reached = next;
    }
    reached
}

fn trimmed(value: &str, pattern: &[Piece], front: bool, longest: bool) -> String {
    let mut text: Vec<char> = value.chars().collect();
    let mut pattern = pattern.to_vec();
    if !front {
        text.reverse();
        pattern.reverse();
    }
    let matches = matching_prefixes(&pattern, &text);
    let cut = match longest {
        true => matches.iter().rposition(|matches| *matches),
        false => matches.iter().position(|matches| *matches),
    };
    let mut left: Vec<char> = text.split_off(cut.unwrap_or(0));
    if !front {
        left.reverse();
    }
    left.into_iter().collect()
}

fn replaced(value: &str, pattern: &[Piece], replacement: &str, all: bool) -> String {
    let text: Vec<char> = value.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let mut done = false;
    while at < text.len() {
        let found = (!done || all)
            .then(|| matching_prefixes(pattern, &text[at..]).iter().rposition(|matches| *matches))
            .flatten()
            .filter(|length| *length > 0);
        match found {
            Some(length) => {
                out.push_str(replacement);
                at += length;
                done = true;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
