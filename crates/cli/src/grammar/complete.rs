//! Completion scripts, generated from the command tables.

use super::{Action, Command, Flag};

/// Writes the completion script of a shell; `None` for a shell that is not known.
pub(crate) fn script(
    shell: &str,
    program: &str,
    commands: &[&'static Command],
    globals: &'static [Flag],
) -> Option<Vec<u8>> {
    let shell: clap_complete::Shell = shell.parse().ok()?;
    let mut root = clap::Command::new(program.to_owned()).args(globals.iter().map(argument));
    for command in commands {
        root = root.subcommand(convert(command));
    }
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut root, program, &mut out);
    Some(out)
}

fn convert(command: &'static Command) -> clap::Command {
    let mut converted = clap::Command::new(command.name)
        .about(command.about.lines().next().unwrap_or_default())
        .disable_help_flag(true)
        .args(command.flag_list().filter(|f| !f.help.is_empty()).map(argument));
    if let Action::Group(children) = command.action {
        for child in children {
            converted = converted.subcommand(convert(child));
        }
    }
    converted
}

fn argument(flag: &'static Flag) -> clap::Arg {
    let action =
        if flag.value.is_switch { clap::ArgAction::SetTrue } else { clap::ArgAction::Append };
    let mut arg = clap::Arg::new(flag.long).long(flag.long).help(flag.help).action(action);
    if let Some(short) = flag.short {
        arg = arg.short(short);
    }
    arg
}
