//! The command line: flags to API calls to tables, progress and templates.
//!
//! [`run`] is the interface for people, [`request`] for programs that start containers. `grammar` says what may be typed, the
//! modules named after nouns say what happens then, one file per command or
//! small family; the rest is what they share.

mod attach;
mod autostart;
mod bootstrap;
mod cli;
mod cluster;
mod commands;
mod config;
mod container;
mod context;
mod failure;
mod filters;
mod grammar;
mod image;
mod network;
mod node;
mod pipe;
mod prune;
pub mod request;
mod signals;
mod suggest;
mod swarm;
mod system;
mod table;
mod tarball;
mod task;
mod template;
mod terminal;
mod units;
mod volume;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use cli::Cli;
use failure::Failure;
use grammar::{Action, Call, Command, Outcome, Parsed, Values};

/// Takes off a command line what `cluster up` tells the roles that it starts, and obeys it.
///
/// # Errors
/// When there is no use in starting any more.
pub fn end_with_parent(args: &mut Vec<OsString>) -> Result<(), String> {
    cluster::end_with_parent(args)
}

/// Runs one command line; the first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    failure::end_with_reader();
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_default();
    let program = match Path::new(&name).file_name().and_then(|n| n.to_str()) {
        Some("docker") => "docker",
        _ => "teu",
    };
    cli::set_program(program);
    let words: Result<Vec<String>, OsString> = args.map(OsString::into_string).collect();
    let outcome = match words {
        Ok(words) => dispatch(&words),
        Err(word) => Err(Failure::new(format!("{program}: argument {word:?} is not UTF-8"))),
    };
    let _ = std::io::stdout().flush(); // nobody is left to tell
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("{}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(words: &[String]) -> Outcome {
    let program = cli::program();
    if words.first().is_some_and(|word| word == autostart::LAUNCHER) {
        return Err(autostart::launch().into());
    }
    let mut globals = Values::default();
    let rest = grammar::parse_flags(&|| commands::GLOBALS.iter(), words, false, &mut globals)
        .map_err(|message| {
            Failure::flag(message, program, format!("{program} [OPTIONS] COMMAND [ARG...]"))
        })?;
    if globals.on("version") {
        println!("{}", commands::version_line());
        return Ok(0);
    }
    let Some((name, rest)) = rest.split_first() else {
        print!("{}", commands::help());
        return Ok(0);
    };
    if name == "help" {
        return help_about(rest);
    }
    let Some(mut command) = commands::find(name) else {
        return Err(unknown(program, name, None));
    };
    let mut path = format!("{program} {name}");
    let mut rest = rest;
    while let Action::Group(children) = command.action {
        let Some((word, after)) = rest.split_first() else {
            eprint!("{}", grammar::command_help(command, &path, terminal::width()));
            return Ok(0);
        };
        if word.starts_with('-') {
            grammar::parse(command, &path, rest)?;
            print!("{}", grammar::command_help(command, &path, terminal::width()));
            return Ok(0);
        }
        let Some(child) = grammar::find(children, word) else {
            return Err(unknown(&path, word, Some(children)));
        };
        path = format!("{path} {word}");
        command = child;
        rest = after;
    }
    match grammar::parse(command, &path, rest)? {
        Parsed::Help => {
            print!("{}", grammar::command_help(command, &path, terminal::width()));
            Ok(0)
        }
        Parsed::Go { flags, args } => execute(command, path, globals, flags, args),
    }
}

fn execute(
    command: &'static Command,
    path: String,
    globals: Values,
    flags: Values,
    args: Vec<String>,
) -> Outcome {
    let Action::Run(action) = command.action else {
        return Ok(0);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cli = Cli::new(globals);
    let outcome = runtime.block_on(action(Call { cli: &cli, flags, args, path }));
    // A thread may still wait for input that nobody wants any more.
    runtime.shutdown_background();
    outcome
}

fn help_about(words: &[String]) -> Outcome {
    let mut path = cli::program().to_owned();
    let mut command = None;
    for word in words {
        let found = match command {
            None => commands::find(word),
            Some(parent) => grammar::find(Command::children(parent), word),
        };
        let Some(found) = found else {
            return Err(unknown(&path, word, command.map(Command::children)));
        };
        path = format!("{path} {word}");
        command = Some(found);
    }
    match command {
        Some(command) => print!("{}", grammar::command_help(command, &path, terminal::width())),
        None => print!("{}", commands::help()),
    }
    Ok(0)
}

fn unknown(path: &str, word: &str, children: Option<&[&'static Command]>) -> Failure {
    let program = cli::program();
    let near = match children {
        Some(children) => suggest::nearest(word, children.iter().map(|c| c.name)),
        None => suggest::nearest(word, commands::all().map(|c| c.name)),
    };
    let guess =
        near.map(|near| format!("\n\nDid you mean this?\n\t{path} {near}")).unwrap_or_default();
    let usage =
        if children.is_some() { format!("\n\nUsage:  {path} COMMAND") } else { String::new() };
    Failure::new(format!(
        "{program}: unknown command: {path} {word}{guess}{usage}\n\nRun '{path} --help' for more information"
    ))
}
