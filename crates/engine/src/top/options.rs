//! The options of ps(1) that say which columns to show.
//!
//! Which processes to show is settled: the container's. Options that only choose processes are
//! accepted and change nothing.

use super::columns::Keyword;
use crate::{Error, Result};

/// What to show.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) columns: Vec<Column>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: String,
    pub(super) keyword: Keyword,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Short,
    Full,
    User,
}

const FULL: &[(&str, &str)] = &[
    ("UID", "user"),
    ("PID", "pid"),
    ("PPID", "ppid"),
    ("C", "c"),
    ("STIME", "stime"),
    ("TTY", "tty"),
    ("TIME", "time"),
    ("CMD", "args"),
];
const USER: &[(&str, &str)] = &[
    ("USER", "user"),
    ("PID", "pid"),
    ("%CPU", "pcpu"),
    ("%MEM", "pmem"),
    ("VSZ", "vsz"),
    ("RSS", "rss"),
    ("TTY", "tty"),
    ("STAT", "stat"),
    ("START", "start"),
    ("TIME", "bsdtime"),
    ("COMMAND", "args"),
];
const SHORT: &[(&str, &str)] = &[("PID", "pid"), ("TTY", "tty"), ("TIME", "time"), ("CMD", "comm")];

impl Selection {
    /// Reads the options; none at all mean `-ef`.
    pub(super) fn parse(ps_args: &str) -> Result<Self> {
        let mut format = Format::default();
        let mut columns = Vec::new();
        let mut words = ps_args.split_whitespace();
        if ps_args.trim().is_empty() {
            format = Format::Full;
        }
        while let Some(word) = words.next() {
            let list = match word.strip_prefix("--") {
                Some("format") => Some(""),
                Some(long) => match long.strip_prefix("format=") {
                    Some(list) => Some(list),
                    None => return Err(unsupported(word, ps_args)),
                },
                None => letters(word, ps_args, &mut format)?,
            };
            match list {
                Some("") => {
                    let list = words.next().ok_or_else(|| no_columns(ps_args))?;
                    add(list, ps_args, &mut columns)?;
                }
                Some(list) => add(list, ps_args, &mut columns)?,
                None => {}
            }
        }
        if columns.is_empty() {
            let preset = match format {
                Format::Short => SHORT,
                Format::Full => FULL,
                Format::User => USER,
            };
            for (title, keyword) in preset {
                let keyword = Keyword::find(keyword).map(|(keyword, _)| keyword);
                columns.extend(keyword.map(|k| Column { title: (*title).to_owned(), keyword: k }));
            }
        }
        Ok(Self { columns })
    }
}

/// Reads a word of single letters. `Some` when it ends in a list of columns, which is empty when
/// the list is the next word.
fn letters<'a>(word: &'a str, ps_args: &str, format: &mut Format) -> Result<Option<&'a str>> {
    let letters = word.strip_prefix('-').unwrap_or(word);
    for (position, letter) in letters.char_indices() {
        match letter {
            'o' | 'O' => return Ok(Some(&letters[position + 1..])),
            'f' | 'F' => *format = Format::Full,
            'u' => *format = Format::User,
            // Which processes, how wide, as a tree, in how many lines.
            'a' | 'A' | 'd' | 'e' | 'g' | 'r' | 'w' | 'x' | 'y' | 'H' => {}
            _ => return Err(unsupported(&letter.to_string(), ps_args)),
        }
    }
    Ok(None)
}

/// Adds `keyword,keyword=TITLE`; as with ps, a title goes to the end of the word.
fn add(list: &str, ps_args: &str, columns: &mut Vec<Column>) -> Result<()> {
    let mut rest = Some(list);
    while let Some(list) = rest {
        let end = list.find([',', '=']).unwrap_or(list.len());
        let (name, tail) = list.split_at(end);
        let (keyword, title) = Keyword::find(name).ok_or_else(|| {
            Error::InvalidParameter(format!(
                "unknown user-defined format specifier {name:?} in ps_args {ps_args:?}"
            ))
        })?;
        let title = tail.strip_prefix('=').unwrap_or(title).to_owned();
        columns.push(Column { title, keyword });
        rest = tail.strip_prefix(',');
    }
    Ok(())
}

fn unsupported(option: &str, ps_args: &str) -> Error {
    Error::InvalidParameter(format!("unsupported option {option:?} in ps_args {ps_args:?}"))
}

fn no_columns(ps_args: &str) -> Error {
    Error::InvalidParameter(format!("ps_args {ps_args:?} names no columns"))
}
