//! From the text of a Dockerfile to statements: directives, comments, continued lines, heredocs.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Span};

/// What the lines in front of the first statement say about the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: the frontend image that was asked for.
    pub syntax: Option<String>,
    /// `# escape=`: a backslash or a backtick.
    pub escape: char,
    /// `# check=`: which lints to skip, and whether they are errors.
    pub check: Option<String>,
}

/// Text that follows an instruction in lines of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it; for COPY the file's name.
    pub name: String,
    /// Whether variables in it are replaced by the builder: the word is not quoted.
    pub expand: bool,
    /// Whether leading tabs were taken off, as `<<-` asks.
    pub dedent: bool,
    /// The lines, each with its line feed.
    pub content: String,
    /// The word as it stands in the instruction, such as `<<-"EOF"`.
    pub marker: String,
}

/// An instruction with its continued lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// The joined text.
    pub(super) text: String,
    /// Offset in the text, line and column where each piece of it comes from.
    pieces: Vec<(usize, usize, usize)>,
    /// The heredocs, in order.
    pub(super) heredocs: Vec<Heredoc>,
}

impl Statement {
    /// Finds where a part of the text stands in the file.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let piece = self.pieces.iter().rev().find(|piece| piece.0 <= range.start);
        let (offset, line, column) = piece.copied().unwrap_or((0, 1, 1));
        let end = self.pieces.iter().map(|piece| piece.0).find(|start| *start > offset);
        let end = range.end.min(end.unwrap_or(usize::MAX)).min(self.text.len());
        let count =
            |range: Range<usize>| self.text.get(range).map_or(0, |text| text.chars().count());
        Span {
            line,
            column: column + count(offset..range.start),
            length: count(range.start..end.max(range.start)).max(1),
        }
    }
}

/// A file's statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines {
    /// What the file says of itself.
    pub(super) directives: Directives,
    /// The statements in order.
    pub(super) statements: Vec<Statement>,
    /// Lines that are fine now and may not be later.
    pub(super) warnings: Vec<Diagnostic>,
}

/// No file that people write is longer.
const MAX_BYTES: usize = 16 << 20;

/// Splits a file.
///
/// # Errors
/// For bad directives and heredocs without an end.
pub(super) fn split(source: &str) -> Result<Lines, Diagnostic> {
    if source.len() > MAX_BYTES {
        let span = Span { line: 1, column: 1, length: 1 };
        return Err(Diagnostic::new(span, format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let lines: Vec<&str> = source.lines().collect();
    let (directives, first) = directives(&lines)?;
    let mut reader = Reader { lines, at: first, escape: directives.escape, warnings: Vec::new() };
    let mut statements = Vec::new();
    while let Some(statement) = reader.statement()? {
        statements.push(statement);
    }
    Ok(Lines { directives, statements, warnings: reader.warnings })
}

fn directives(lines: &[&str]) -> Result<(Directives, usize), Diagnostic> {
    let mut found = Directives { syntax: None, escape: '\\', check: None };
    let mut seen: Vec<String> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some((key, value)) = directive(line) else { return Ok((found, number)) };
        let span = Span { line: number + 1, column: 1, length: line.chars().count().max(1) };
        if seen.contains(&key) {
            let text = format!("only one {key} parser directive can be used");
            return Err(Diagnostic::new(span, text));
        }
        match key.as_str() {
            "escape" => {
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let text = format!("invalid escape token '{value}' does not match ` or \\");
                        return Err(Diagnostic::new(span, text));
                    }
                };
            }
            "syntax" => found.syntax = Some(value.to_owned()),
            "check" => found.check = Some(value.to_owned()),
            // A comment with an equals sign.
            _ => return Ok((found, number)),
        }
        seen.push(key);
    }
    Ok((found, lines.len()))
}

fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let key = key.trim();
    let is_word = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_word && !value.trim().is_empty()).then(|| (key.to_ascii_lowercase(), value.trim()))
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    at: usize,
    escape: char,
    warnings: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn statement(&mut self) -> Result<Option<Statement>, Diagnostic> {
        while let Some(line) = self.lines.get(self.at) {
            let trimmed = line.trim();
            if !trimmed.is_empty() && !trimmed.starts_with('#') {
                break;
            }
            self.at += 1;
        }
        let Some(first) = self.lines.get(self.at).copied() else { return Ok(None) };
        let start = first.trim_start();
        let column = first.chars().count() - start.chars().count() + 1;
        let mut statement = Statement {
            text: String::new(),
            pieces: vec![(0, self.at + 1, column)],
            heredocs: Vec::new(),
        };
        let mut rest = start;
        loop {
            self.at += 1;
            let continued = continued(rest, self.escape);
            statement.text.push_str(continued.unwrap_or(rest));
            if continued.is_none() {
                break;
            }
            let Some(next) = self.continuation() else { break };
            statement.pieces.push((statement.text.len(), self.at + 1, 1));
            rest = next;
        }
        let end = statement.text.trim_end().len();
        statement.text.truncate(end);
        self.heredocs(&mut statement)?;
        Ok(Some(statement))
    }

    /// Finds the line that continues a statement; comments and empty lines between do not.
    fn continuation(&mut self) -> Option<&'a str> {
        loop {
            let line = *self.lines.get(self.at)?;
            let trimmed = line.trim();
            if trimmed.is_empty() {
                let span = Span { line: self.at + 1, column: 1, length: 1 };
                let text = "empty line in a continued instruction";
                self.warnings.push(
                    Diagnostic::new(span, text)
                        .rule("NoEmptyContinuation")
                        .help("take the empty line out, or end the instruction before it"),
                );
            } else if !trimmed.starts_with('#') {
                return Some(line);
            }
            self.at += 1;
        }
    }

    fn heredocs(&mut self, statement: &mut Statement) -> Result<(), Diagnostic> {
        let text = statement.text.clone();
        let mut words = words(&text, self.escape);
        let mut name = words.first().map(|word| text[word.clone()].to_ascii_uppercase());
        if name.as_deref() == Some("ONBUILD") && words.len() > 1 {
            words.remove(0);
            name = Some(text[words[0].clone()].to_ascii_uppercase());
        }
        if !matches!(name.as_deref(), Some("RUN" | "COPY" | "ADD")) {
            return Ok(());
        }
        for word in words.into_iter().skip(1) {
            let Some(mut heredoc) = heredoc(&text[word.clone()]) else { continue };
            loop {
                let Some(line) = self.lines.get(self.at) else {
                    let text = format!("unterminated heredoc: no line {:?}", heredoc.name);
                    return Err(Diagnostic::new(statement.span(word), text)
                        .help(format!("end it with a line that is {} alone", heredoc.name)));
                };
                self.at += 1;
                let line = if heredoc.dedent { line.trim_start_matches('\t') } else { line };
                if line == heredoc.name {
                    break;
                }
                heredoc.content.push_str(line);
                heredoc.content.push('\n');
            }
            statement.heredocs.push(heredoc);
        }
        Ok(())
    }
}

/// Takes the escape off a line that goes on in the next.
fn continued(line: &str, escape: char) -> Option<&str> {
    line.trim_end_matches([' ', '\t', '\r']).strip_suffix(escape)
}

/// Reads `<<EOF`, `<<-EOF`, `3<<"EOF"`.
fn heredoc(word: &str) -> Option<Heredoc> {
    let (digits, rest) = word.split_once("<<")?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (dedent, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    let expand = name.len() == rest.len();
    (!name.is_empty()).then(|| Heredoc {
        name,
        expand,
        dedent,
        content: String::new(),
        marker: word.to_owned(),
    })
}

/// Splits at white space that is not quoted or escaped; the words stay as they are.
pub(super) fn words(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, c) if c.is_whitespace() => {
                if let Some(start) = start.take() {
                    words.push(start..at);
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), c) if c == escape => {
                characters.next();
            }
            _ => {}
        }
        start.get_or_insert(at);
    }
    if let Some(start) = start {
        words.push(start..text.len());
    }
    words
}

#[cfg(test)]
mod tests;
