//! Which files of a build's context are left out: the rules of `.dockerignore`.
//!
//! Patterns are those of Go's `filepath.Match`, with `**` for any number of directories; a pattern
//! that begins with `!` brings files back. The last pattern that matches a path, or one of the
//! directories that it is in, decides. Client and engine apply the same rules, hence the crate.

use std::fmt;

/// The patterns of a `.dockerignore` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    has_exceptions: bool,
}

/// A pattern that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern(String);

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "illegal exclusion pattern: {:?}: syntax error in pattern", self.0)
    }
}

impl std::error::Error for BadPattern {}

impl Patterns {
    /// Reads the lines of a file.
    ///
    /// # Errors
    /// For the first bad pattern.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // A comment is told by its very first character.
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self::from_patterns(lines.filter_map(|line| clean_line(line.trim())))
    }

    /// Takes patterns that are cleaned already, such as those of `--exclude`.
    ///
    /// # Errors
    /// For the first bad pattern.
    pub fn from_patterns<S: AsRef<str>>(
        lines: impl IntoIterator<Item = S>,
    ) -> Result<Self, BadPattern> {
        let mut patterns = Vec::new();
        for line in lines {
            let line = line.as_ref();
            let bad = || BadPattern(line.chars().take(200).collect());
            let (is_exception, text) = match line.strip_prefix('!') {
                Some("") => return Err(bad()),
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let components = text.split('/').map(Component::parse);
            let components = components.collect::<Option<Vec<_>>>().ok_or_else(bad)?;
            patterns.push(Pattern { is_exception, components });
        }
        let has_exceptions = patterns.iter().any(|pattern| pattern.is_exception);
        Ok(Self { patterns, has_exceptions })
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Tells whether a path is left out. It is relative, without `.` and `..`.
    pub fn excludes(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            // One that would change nothing need not be looked at.
            if excluded != pattern.is_exception {
                continue;
            }
            // What holds for a directory holds for all that is in it.
            if (1..=parts.len()).any(|length| pattern.matches(&parts[..length])) {
                excluded = !pattern.is_exception;
            }
        }
        excluded
    }

    /// Tells whether a directory that is left out may still hold something that is not.
    pub fn may_contain(&self, directory: &str) -> bool {
        if !self.has_exceptions {
            return false;
        }
        let parts: Vec<&str> = directory.split('/').collect();
        self.patterns.iter().any(|pattern| pattern.is_exception && pattern.may_be_below(&parts))
    }
}

/// Takes a line to the form that paths have: `/a//b/` becomes `a/b`.
fn clean_line(line: &str) -> Option<String> {
    let (mark, rest) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if rest.is_empty() {
        // A lone exclamation mark is a mistake that is told, an empty line is none.
        return (!mark.is_empty()).then(|| mark.to_owned());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            // Nothing is above the root.
            ".." if rest.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    // The context's root itself cannot be left out.
    let cleaned = if parts.is_empty() { ".".to_owned() } else { parts.join("/") };
    Some(format!("{mark}{cleaned}"))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    is_exception: bool,
    components: Vec<Component>,
}

impl Pattern {
    fn matches(&self, path: &[&str]) -> bool {
        matches(&self.components, path)
    }

    /// Whether something below the directory could match.
    fn may_be_below(&self, directory: &[&str]) -> bool {
        for (index, part) in directory.iter().enumerate() {
            match self.components.get(index) {
                None => return false,
                Some(Component::AnyDepth) => return true,
                Some(component) if !component.matches(part) => return false,
                Some(_) => {}
            }
        }
        self.components.len() > directory.len()
    }
}

/// Tells whether components match a whole path; reachable positions one component at a time, so that
/// no pattern takes long.
fn matches(components: &[Component], path: &[&str]) -> bool {
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for (index, component) in components.iter().enumerate() {
        let is_last = index + 1 == components.len();
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            next[at] = match component {
                // At the end it stands for something, before that for nothing as well.
                Component::AnyDepth if is_last => (0..at).any(|start| reached[start]),
                Component::AnyDepth => (0..=at).any(|start| reached[start]),
                component => at > 0 && reached[at - 1] && component.matches(path[at - 1]),
            };
        }
        reached = next;
    }
    reached[path.len()]
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// `**`
    AnyDepth,
    Pieces(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Just(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z]`, `[^a-z]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Component {
    fn parse(text: &str) -> Option<Self> {
        if text == "**" {
            return Some(Self::AnyDepth);
        }
        let mut pieces = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '*' => {
                    while characters.next_if_eq(&'*').is_some() {}
                    Piece::Many
                }
                '?' => Piece::One,
                '\\' => Piece::Just(characters.next()?),
                '[' => class(&mut characters)?,
                other => Piece::Just(other),
            });
        }
        Some(Self::Pieces(pieces))
    }

    fn matches(&self, name: &str) -> bool {
        let Self::Pieces(pieces) = self else { return true };
        let name: Vec<char> = name.chars().collect();
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        for piece in pieces {
            let mut next = vec![false; name.len() + 1];
            for at in 0..=name.len() {
                next[at] = match piece {
                    Piece::Many => reached[at] || (at > 0 && next[at - 1]),
                    piece => at > 0 && reached[at - 1] && piece.takes(name[at - 1]),
                };
            }
            reached = next;
        }
        reached[name.len()]
    }
}

impl Piece {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Just(own) => *own == character,
            Self::One => true,
            Self::Many => false,
            Self::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                inside != *negated
            }
        }
    }
}

fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let negated = characters.next_if(|c| matches!(c, '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match characters.next()? {
            ']' if !ranges.is_empty() => return Some(Piece::Class { negated, ranges }),
            ']' | '-' => return None,
            '\\' => characters.next()?,
            other => other,
        };
        let mut high = low;
        if characters.next_if_eq(&'-').is_some() {
            high = match characters.next()? {
                ']' | '-' => return None,
                '\\' => characters.next()?,
                other => other,
            };
        }
        ranges.push((low, high));
    }
}

/// Tells whether one path matches one pattern, as the sources of COPY do: `**` is no more than `*`
/// within a name there.
///
/// # Errors
/// For a bad pattern.
pub fn matches_path(pattern: &str, path: &str) -> Result<bool, BadPattern> {
    let bad = || BadPattern(pattern.chars().take(200).collect());
    let components = pattern.split('/').map(Component::parse);
    let components = components.collect::<Option<Vec<_>>>().ok_or_else(bad)?;
    Ok(matches(&components, &path.split('/').collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, excluded: &[&str], kept: &[&str]) {
        let patterns = Patterns::parse(file).unwrap();
        for path in excluded {
            assert!(patterns.excludes(path), "{path} by {file:?}");
        }
        for path in kept {
            assert!(!patterns.excludes(path), "{path} by {file:?}");
        }
    }

    #[test]
    fn files_and_directories() {
        check("a\n", &["a", "a/b"], &["b/a", "ab"]);
        check("/a/\n", &["a", "a/b"], &["b/a"]);
        check("./a//b\n", &["a/b", "a/b/c"], &["a"]);
        check("a/../b", &["b"], &["a"]);
        check("*.md\n", &["x.md"], &["a/x.md"]);
        check("*/temp*", &["a/temporary.txt", "a/temp"], &["temp", "a/b/temp"]);
        check("*/*/temp*", &["a/b/temporary.txt"], &["a/temp"]);
        check("temp?", &["tempa", "tempb"], &["temp", "tempab"]);
    }

    #[test]
    fn any_depth() {
        check("**/*.go", &["a.go", "b/a.go", "b/c/a.go"], &["a.god"]);
        check("a/**", &["a/b", "a/b/c"], &["a", "b"]);
        check("**/x/**", &["x/y", "a/x/y/z"], &["x", "a/y"]);
        check("**", &["a", "a/b"], &[]);
        check("a**b", &["ab", "axxb"], &["a/b"]);
    }

    #[test]
    fn the_last_match_decides() {
        check("*.md\n!README.md\n", &["a.md"], &["README.md"]);
        check("*.md\n!README*.md\nREADME-secret.md\n", &["README-secret.md"], &["README.md"]);
        check("*.md\nREADME-secret.md\n!README*.md\n", &["a.md"], &["README-secret.md"]);
        check("*\n!src/*.rs\n", &["src", "a", "src/a.c"], &["src/a.rs"]);
        check("docs\n!docs/a/b\n", &["docs", "docs/a"], &["docs/a/b", "docs/a/b/c"]);
        let patterns = Patterns::parse("*\n!src/*.rs\n").unwrap();
        assert!(patterns.may_contain("src") && !patterns.may_contain("other"));
        let patterns = Patterns::parse("*\n!**/keep\n").unwrap();
        assert!(patterns.may_contain("any/where"));
    }

    #[test]
    fn lines_are_cleaned() {
        check("\u{feff}# comment\n\n  a  \n", &["a"], &["# comment"]);
        check(" #a\n", &["#a"], &[]);
        check("! a\n", &[], &["a"]);
        check(".\n", &[], &["a"]);
        check("[a-c]x\n", &["bx"], &["dx"]);
        check("[^a-c]x\n", &["dx"], &["bx"]);
        check("\\*\n", &["*"], &["a"]);
    }

    #[test]
    fn bad_patterns_are_told() {
        for bad in ["[", "[]", "[a-]", "a\\", "!", "[-a]"] {
            let error = Patterns::parse(bad).unwrap_err().to_string();
            assert!(error.contains("illegal exclusion pattern"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_the_fuzzer_kept_is_read() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/dockerignore");
        for entry in std::fs::read_dir(corpus).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let (path, rest) = text.split_once('\n').unwrap_or((&text, &text));
            if let Ok(patterns) = Patterns::parse(rest) {
                let _ = (patterns.may_contain(path), patterns.excludes(path));
            }
            let _ = matches_path(rest, path);
        }
    }
}
