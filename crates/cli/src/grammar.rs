//! What a command line may say: commands, their flags and arguments.
//!
//! The rules are those that Docker's users and scripts rely on, and they are
//! the reason why the tables here are not clap's: flags of `run` end at the
//! image, every switch takes `=true` or `=false`, `-itv` clusters, and each
//! refusal has a known text and exit code. Tables are static, so that nothing
//! is built at start. The completion scripts are made from the same tables.

mod complete;
mod help;
mod parse;
#[cfg(test)]
mod tests;
mod types;

use std::future::Future;
use std::pin::Pin;

pub(crate) use complete::script;
pub(crate) use help::{command_help, root_help, usage_line};
pub(crate) use parse::{Parsed, Values, find, parse, parse_flags, parse_quietly};
pub(crate) use types::*;

use crate::cli::Cli;
use crate::failure::Failure;

/// What a command answers: the process' exit code.
pub(crate) type Outcome = Result<u8, Failure>;
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// One flag of a command.
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) value: Type,
    /// Empty for flags that are accepted and not shown.
    pub(crate) help: &'static str,
}

/// How many arguments a command takes after its flags.
#[derive(Clone, Copy)]
pub(crate) enum Args {
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// A command that was recognized, with what it was given.
pub(crate) struct Call<'a> {
    pub(crate) cli: &'a Cli,
    pub(crate) flags: Values,
    pub(crate) args: Vec<String>,
    /// `teu container run`, for messages.
    pub(crate) path: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Action {
    Run(for<'a> fn(Call<'a>) -> Running<'a>),
    Group(&'static [&'static Command]),
}

/// A command or a group of commands.
#[derive(Clone, Copy)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// What follows the command's path in its usage line; lines after the first are whole.
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    /// Every path that leads here, when there are several.
    pub(crate) paths: &'static [&'static str],
    pub(crate) flags: &'static [&'static [Flag]],
    pub(crate) args: Args,
    /// Whether flags may stand behind arguments.
    pub(crate) interspersed: bool,
    pub(crate) action: Action,
}

impl Command {
    /// A command without flags, aliases or arguments, to be completed by `..`.
    pub(crate) const BASE: Self = Self {
        name: "",
        aliases: &[],
        usage: "",
        about: "",
        paths: &[],
        flags: &[],
        args: Args::Exactly(0),
        interspersed: true,
        action: Action::Group(&[]),
    };

    pub(crate) fn flag_list(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().flat_map(|set| set.iter())
    }

    pub(crate) fn children(&self) -> &'static [&'static Self] {
        match self.action {
            Action::Group(children) => children,
            Action::Run(_) => &[],
        }
    }
}

/// A flag with a long name only.
pub(crate) const fn flag(long: &'static str, value: Type, help: &'static str) -> Flag {
    Flag { long, short: None, value, help }
}

/// A flag with a short name as well.
pub(crate) const fn short(
    short: char,
    long: &'static str,
    value: Type,
    help: &'static str,
) -> Flag {
    Flag { long, short: Some(short), value, help }
}

/// Wraps an async function as a command's action.
macro_rules! action {
    ($run:path) => {
        $crate::grammar::Action::Run(|call| Box::pin($run(call)))
    };
}
pub(crate) use action;
