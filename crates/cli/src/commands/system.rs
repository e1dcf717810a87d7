//! The commands for the engine itself.

use crate::cli;
use crate::grammar::{
    self, Action, Args, Call, Command, FILTER, Flag, Outcome, STRING, SWITCH, action, flag, short,
};
use crate::prune;
use crate::system::{disk, events, info, inspect, version};

const FORMAT: Flag = short('f', "format", STRING, "Show it by a Go template, or as 'json'");

pub(super) const VERSION: Command = Command {
    name: "version",
    usage: "[OPTIONS]",
    about: "Show the versions of this program and of the daemon",
    flags: &[&[FORMAT]],
    action: action!(version::version),
    ..Command::BASE
};

pub(super) const INFO: Command = Command {
    name: "info",
    usage: "[OPTIONS]",
    about: "Show what the daemon is and has",
    paths: &["system info", "info"],
    flags: &[&[FORMAT]],
    action: action!(info::info),
    ..Command::BASE
};

pub(super) const INSPECT: Command = Command {
    name: "inspect",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Show everything about containers, images, networks or volumes",
    flags: &[&[
        FORMAT,
        short('s', "size", SWITCH, "Show the sizes of containers as well"),
        flag("type", STRING, "Look at objects of this type only"),
    ]],
    args: Args::AtLeast(1),
    action: action!(inspect::inspect),
    ..Command::BASE
};

pub(super) const COMPLETION: Command = Command {
    name: "completion",
    usage: "bash|zsh|fish|elvish|powershell",
    about: "Write the completion script of a shell",
    args: Args::Exactly(1),
    action: action!(completion),
    ..Command::BASE
};

async fn completion(call: Call<'_>) -> Outcome {
    use std::io::Write as _;
    let all: Vec<&'static Command> = super::all().collect();
    let script = grammar::script(&call.args[0], cli::program(), &all, super::GLOBALS)
        .ok_or_else(|| format!("unknown shell: {:?}", call.args[0]))?;
    std::io::stdout().write_all(&script)?;
    Ok(0)
}

pub(super) const EVENTS: Command = Command {
    name: "events",
    usage: "[OPTIONS]",
    about: "Show what happens in the daemon as it happens",
    paths: &["system events", "events"],
    flags: &[&[
        crate::container::flags::FILTERS,
        flag("format", STRING, "Show each event by a Go template, or as 'json'"),
        flag("since", STRING, "Begin at a time or so long ago"),
        flag("until", STRING, "End at a time or so long ago"),
    ]],
    action: action!(events::events),
    ..Command::BASE
};

const DF: Command = Command {
    name: "df",
    usage: "[OPTIONS]",
    about: "Show how much disk everything takes",
    flags: &[&[
        flag(
            "format",
            STRING,
            "Show each line by a Go template, as 'json', or as 'table TEMPLATE'",
        ),
        short('v', "verbose", SWITCH, "Show each object"),
    ]],
    action: action!(disk::usage),
    ..Command::BASE
};

const PRUNE: Command = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove everything that is not used",
    flags: &[&[
        short('a', "all", SWITCH, "Remove all images without a container, not only nameless ones"),
        flag("filter", FILTER, "Remove only what fits the conditions (until=TIME, label=KEY)"),
        short('f', "force", SWITCH, "Do not ask first"),
        flag("volumes", SWITCH, "Remove anonymous volumes as well"),
    ]],
    action: action!(prune::system),
    ..Command::BASE
};

pub(super) const SYSTEM: Command = Command {
    name: "system",
    about: "Manage the engine",
    action: Action::Group(&[&DF, &EVENTS, &INFO, &PRUNE]),
    ..Command::BASE
};
