//! Words of a Dockerfile line: separated by blanks, with quotes and backslashes.

use crate::{Error, Result};

/// Splits a line into words and takes quotes and backslashes away.
pub(super) fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    scan(line, &mut |piece| match piece {
        Piece::Blank(_) => words.extend(word.take()),
        Piece::Char(c) => word.get_or_insert_default().push(c),
        Piece::Quote => drop(word.get_or_insert_default()),
    })?;
    words.extend(word);
    Ok(words)
}

/// Takes quotes and backslashes away and leaves blanks as they are.
pub(super) fn unquote(text: &str) -> Result<String> {
    let mut unquoted = String::with_capacity(text.len());
    scan(text, &mut |piece| match piece {
        Piece::Blank(c) | Piece::Char(c) => unquoted.push(c),
        Piece::Quote => {}
    })?;
    Ok(unquoted)
}

enum Piece {
    /// A blank outside of quotes.
    Blank(char),
    /// A character of a word.
    Char(char),
    /// A quote opened or closed: even an empty pair makes a word.
    Quote,
}

fn scan(text: &str, emit: &mut dyn FnMut(Piece)) -> Result<()> {
    let mut chars = text.chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            // Inside single quotes a backslash is a backslash.
            (None, '\\') => emit(Piece::Char(chars.next().unwrap_or('\\'))),
            (Some('"'), '\\') => match chars.next() {
                Some(next @ ('"' | '\\' | '$')) => emit(Piece::Char(next)),
                Some(next) => {
                    emit(Piece::Char('\\'));
                    emit(Piece::Char(next));
                }
                None => emit(Piece::Char('\\')),
            },
            (None, '"' | '\'') => {
                quote = Some(c);
                emit(Piece::Quote);
            }
            (Some(open), c) if open == c => {
                quote = None;
                emit(Piece::Quote);
            }
            (None, c) if c.is_whitespace() => emit(Piece::Blank(c)),
            (_, c) => emit(Piece::Char(c)),
        }
    }
    match quote {
        Some(quote) => Err(Error::InvalidParameter(format!(
            "unexpected end of statement while looking for matching {}",
            if quote == '"' { "double-quote" } else { "single-quote" }
        ))),
        None => Ok(()),
    }
}
