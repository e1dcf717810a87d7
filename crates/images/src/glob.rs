//! Shell patterns over image names, as Go's `path.Match` understands them: `*` and `?` stop at a
//! slash, `[a-z]` and `[^a-z]` are classes, `\` takes the next character as it is.

use crate::{Error, Result};

/// A parsed pattern.
#[derive(Debug)]
pub(crate) struct Glob(Vec<Token>);

#[derive(Debug)]
enum Token {
    Literal(char),
    AnyCharacter,
    AnyText,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `InvalidParameter` for a class or escape without an end.
    pub(crate) fn parse(pattern: &str) -> Result<Self> {
        let bad = || {
            Error::InvalidParameter(format!(
                "invalid filter 'reference={pattern}': syntax error in pattern"
            ))
        };
        let mut tokens = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                '*' => Token::AnyText,
                '?' => Token::AnyCharacter,
                '\\' => Token::Literal(rest.next().ok_or_else(bad)?),
                '[' => {
                    let negated = rest.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let mut character = || match rest.next() {
                            Some('\\') => rest.next(),
                            other => other,
                        };
                        let start = character().ok_or_else(bad)?;
                        if start == ']' && !ranges.is_empty() {
                            break;
                        }
                        let end = match rest.next_if_eq(&'-') {
                            Some(_) => rest.next().ok_or_else(bad)?,
                            None => start,
                        };
                        ranges.push((start, end));
                    }
                    Token::Class { negated, ranges }
                }
                other => Token::Literal(other),
            });
        }
        Ok(Self(tokens))
    }

    /// Tells whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        // The positions of the text that the tokens so far may have led to; no backtracking, so a
        // pattern full of stars costs no more than its length times the text's.
        let mut positions = vec![false; text.len() + 1];
        positions[0] = true;
        for token in &self.0 {
            let mut next = vec![false; text.len() + 1];
            for at in 0..=text.len() {
                match token {
                    Token::AnyText => {
                        next[at] = positions[at] || (at > 0 && next[at - 1] && text[at - 1] != '/');
                    }
                    token => next[at] = at > 0 && positions[at - 1] && token.accepts(text[at - 1]),
                }
            }
            positions = next;
        }
        positions[text.len()]
    }
}

impl Token {
    fn accepts(&self, character: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == character,
            Self::AnyCharacter => character != '/',
            Self::AnyText => false,
            Self::Class { negated, ranges } => {
                let within = ranges.iter().any(|(from, to)| (*from..=*to).contains(&character));
                within != *negated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_does() {
        for (pattern, text, expected) in [
            ("debian", "debian", true),
            ("deb*", "debian", true),
            ("deb*", "debian/x", false),
            ("*/x", "debian/x", true),
            ("deb?an:*", "debian:12", true),
            ("[a-d]ebian", "debian", true),
            ("[^a-d]ebian", "debian", false),
            ("\\*", "*", true),
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "aXbXc", true),
            ("a*b*c", "aXbX", false),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
        for pattern in ["[a", "[", "a\\"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }
}
