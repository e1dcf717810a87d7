//! The text of `--help`.

use std::fmt::Write as _;

use super::{Action, Command, Flag};
use crate::cli;

/// Writes the usage line without its label; commands with two forms have two lines.
pub(crate) fn usage_line(command: &Command, path: &str) -> String {
    let mut lines = command.usage.lines();
    let mut line = format!("{path} {}", lines.next().unwrap_or_default()).trim_end().to_owned();
    for more in lines {
        let _ = write!(line, "\n\t{path} {more}"); // a String takes every write
    }
    line
}

/// Writes the help of one command.
pub(crate) fn command_help(command: &Command, path: &str, width: usize) -> String {
    let usage = match command.action {
        Action::Group(_) => format!("{path} COMMAND"),
        Action::Run(_) => usage_line(command, path),
    };
    let mut out = format!("Usage:  {usage}\n\n{}\n", command.about);
    if !command.paths.is_empty() {
        let program = cli::program();
        let paths: Vec<String> = command.paths.iter().map(|p| format!("{program} {p}")).collect();
        let _ = write!(out, "\nAliases:\n  {}\n", paths.join(", "));
    }
    let mut flags: Vec<&Flag> = command.flag_list().filter(|f| !f.help.is_empty()).collect();
    if !flags.is_empty() {
        flags.sort_by_key(|f| f.long);
        out.push_str("\nOptions:\n");
        flag_table(&mut out, &flags, width);
    }
    if let Action::Group(children) = command.action {
        out.push_str("\nCommands:\n");
        command_table(&mut out, children);
        let _ = write!(out, "\nRun '{path} COMMAND --help' for more information on a command.\n");
    }
    out
}

/// Writes the help of the program.
pub(crate) fn root_help(
    program: &str,
    groups: &[(&str, &[&'static Command])],
    globals: &'static [Flag],
    width: usize,
) -> String {
    let mut out = format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nRuns containers, and makes the images they start from\n"
    );
    for (title, commands) in groups {
        let _ = write!(out, "\n{title}:\n");
        command_table(&mut out, commands);
    }
    out.push_str("\nGlobal Options:\n");
    let flags: Vec<&Flag> = globals.iter().filter(|f| !f.help.is_empty()).collect();
    flag_table(&mut out, &flags, width);
    let _ = write!(out, "\nRun '{program} COMMAND --help' for more information on a command.\n");
    out
}

fn command_table(out: &mut String, commands: &[&'static Command]) {
    let widest = commands.iter().map(|c| c.name.len()).max().unwrap_or(0).max(11);
    for command in commands {
        let first = command.about.lines().next().unwrap_or_default();
        let _ = writeln!(out, "  {:widest$} {first}", command.name);
    }
}

fn flag_table(out: &mut String, flags: &[&Flag], width: usize) {
    let names: Vec<String> = flags.iter().map(|f| flag_name(f)).collect();
    let widest = names.iter().map(String::len).max().unwrap_or(0);
    let indent = widest + 5;
    for (flag, name) in flags.iter().zip(&names) {
        let mut text = flag.help.to_owned();
        match flag.value.default {
            "" => {}
            default if flag.value.name == "string" => {
                let _ = write!(text, " (default {default:?})");
            }
            default => {
                let _ = write!(text, " (default {default})");
            }
        }
        let _ = write!(out, "  {name:widest$}   ");
        let room = width.saturating_sub(indent + 1).max(24);
        for (index, line) in wrap(&text, room).iter().enumerate() {
            if index > 0 {
                let _ = write!(out, "{:indent$}", "");
            }
            out.push_str(line);
            out.push('\n');
        }
    }
}

fn flag_name(flag: &Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |c| format!("-{c}, "));
    format!("{short}--{} {}", flag.long, flag.value.name).trim_end().to_owned()
}

/// Breaks text at blanks into lines of at most `width` characters where words allow.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
