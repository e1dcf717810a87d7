//! Where in a Dockerfile something is wrong, and how that is shown.

use std::fmt::Write as _;

/// A part of one line. Lines and columns count from 1, columns are characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The line.
    pub line: usize,
    /// The first character.
    pub column: usize,
    /// How many characters.
    pub length: usize,
}

/// Something to tell about a part of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The part.
    pub span: Span,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The name of the rule, for what is only advice.
    pub rule: Option<&'static str>,
}

impl Diagnostic {
    /// Makes one without advice.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None, rule: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Names the rule.
    #[must_use]
    pub fn rule(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Shows the message, the place and the line itself.
    pub fn render(&self, file: &str, source: &str) -> String {
        let Span { line, column, .. } = self.span;
        let mut text = format!("{file}:{line}:{column}: {}", self.message);
        text.push_str(&self.excerpt(source));
        if let Some(help) = &self.help {
            // A String takes every write.
            let _ = write!(text, "\n help: {help}");
        }
        text
    }

    /// Shows the place and the line alone.
    pub fn place(&self, file: &str, source: &str) -> String {
        let Span { line, column, .. } = self.span;
        format!(" --> {file}:{line}:{column}{}", self.excerpt(source))
    }

    fn excerpt(&self, source: &str) -> String {
        let Span { line, column, length } = self.span;
        let mut text = String::new();
        if let Some(shown) = source.lines().nth(line.saturating_sub(1)) {
            let shown: String = shown.trim_start_matches('\u{feff}').chars().take(160).collect();
            let shown = shown.replace('\t', " ");
            let number = line.to_string();
            let gap = " ".repeat(number.len());
            let before = " ".repeat(column.saturating_sub(1).min(160));
            let room = shown.chars().count().saturating_sub(column.saturating_sub(1)).max(1);
            let marks = "^".repeat(length.clamp(1, room));
            // A String takes every write.
            let _ = write!(text, "\n {number} | {shown}\n {gap} | {before}{marks}");
        }
        text
    }
}

/// Finds the name that was probably meant.
pub(crate) fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = if name.len() <= 3 { 1 } else { 2 };
    let distances = known.iter().map(|other| (distance(name, other), *other));
    distances.filter(|(distance, _)| *distance <= limit).min().map(|(_, other)| other)
}

/// Counts insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown_with_its_line() {
        let source = "FROM a\n\tRUM echo\n";
        let found = Diagnostic::new(Span { line: 2, column: 2, length: 3 }, "unknown instruction")
            .help("did you mean RUN?")
            .render("Dockerfile", source);
        let expected = "Dockerfile:2:2: unknown instruction\n 2 |  RUM echo\n   |  ^^^\n help: did you mean RUN?";
        assert_eq!(found, expected);
    }

    #[test]
    fn near_names_are_found() {
        assert_eq!(closest("FORM", &["FROM", "RUN"]), Some("FROM"));
        assert_eq!(closest("RUM", &["FROM", "RUN"]), Some("RUN"));
        assert_eq!(closest("WHATEVER", &["FROM", "RUN"]), None);
    }
}
