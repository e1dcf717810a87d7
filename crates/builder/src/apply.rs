//! Instructions that change nothing but the image's configuration. Pure.

use std::collections::BTreeMap;

use images::{Empty, Healthcheck};

use crate::expand;
use crate::state::{State, set_env};
use crate::syntax::{Instruction, Kind, Words};
use crate::{Error, Result};

/// The shell of the shell form when SHELL says nothing.
pub(crate) const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Replaces the variables of a word.
pub(crate) fn word(state: &State, text: &str, escape: char) -> Result<String> {
    expand::word(text, escape, &|name| state.variable(name)).map_err(Error::Invalid)
}

/// The command with the shell in front where it is a line for one.
pub(crate) fn command(state: &State, words: &Words) -> Vec<String> {
    match words {
        Words::Exec(words) => words.clone(),
        Words::Shell(line) => {
            let shell = state.config.config.shell.clone().filter(|shell| !shell.is_empty());
            let mut words = shell.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
            words.push(line.clone());
            words
        }
    }
}

/// Values that ARG can have: given ones, and those of the ARGs before the first FROM.
#[derive(Debug)]
pub(crate) struct ArgValues<'a> {
    pub(crate) given: &'a BTreeMap<String, Option<String>>,
    pub(crate) global: &'a BTreeMap<String, String>,
}

/// Applies an instruction and returns how the history has it; `None` for instructions that make
/// layers.
///
/// # Errors
/// For values that cannot be.
pub(crate) fn apply(
    state: &mut State,
    instruction: &Instruction,
    escape: char,
    values: &ArgValues<'_>,
) -> Result<Option<String>> {
    let text = match &instruction.kind {
        Kind::From | Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_) => return Ok(None),
        Kind::Arg(args) => arg(state, args, escape, values)?,
        Kind::Env(pairs) => {
            let pairs = expanded(state, pairs, escape)?;
            let env = state.config.config.env.get_or_insert_default();
            pairs.iter().for_each(|(key, value)| set_env(env, key, value));
            format!("ENV {}", written(&pairs))
        }
        Kind::Label(pairs) => {
            let pairs = expanded(state, pairs, escape)?;
            let text = format!("LABEL {}", written(&pairs));
            state.config.config.labels.get_or_insert_default().extend(pairs);
            text
        }
        Kind::Cmd(words) => {
            let command = command(state, words);
            let text = format!("CMD {}", json(&command));
            // CMD alone means: none.
            let is_empty = matches!(words, Words::Shell(line) if line.is_empty());
            state.config.config.cmd = Some(if is_empty { Vec::new() } else { command });
            state.own_cmd = true;
            text
        }
        Kind::Entrypoint(words) => {
            let command = command(state, words);
            let text = format!("ENTRYPOINT {}", json(&command));
            let is_empty =
                matches!(words, Words::Shell(line) if line.is_empty()) || command.is_empty();
            state.config.config.entrypoint = Some(command).filter(|_| !is_empty);
            if !state.own_cmd {
                state.config.config.cmd = None;
            }
            text
        }
        Kind::Shell(words) => {
            state.config.config.shell = Some(words.clone());
            format!("SHELL {}", json(words))
        }
        Kind::User(user) => {
            let user = word(state, user, escape)?;
            let text = format!("USER {user}");
            state.config.config.user = user;
            text
        }
        Kind::Expose(ports) => expose(state, ports, escape)?,
        Kind::Volume(paths) => volume(state, paths, escape)?,
        Kind::StopSignal(signal) => {
            let signal = word(state, signal, escape)?;
            check_signal(&signal)?;
            let text = format!("STOPSIGNAL {signal}");
            state.config.config.stop_signal = signal;
            text
        }
        Kind::OnBuild(trigger) => {
            state.config.config.on_build.get_or_insert_default().push(trigger.clone());
            format!("ONBUILD {trigger}")
        }
        Kind::Healthcheck(check) => healthcheck(state, check),
        Kind::Maintainer(name) => {
            state.config.author.clone_from(name);
            format!("MAINTAINER {name}")
        }
    };
    Ok(Some(text))
}

fn arg(
    state: &mut State,
    args: &[(String, Option<String>)],
    escape: char,
    values: &ArgValues<'_>,
) -> Result<String> {
    let mut text = "ARG".to_owned();
    for (name, default) in args {
        let value = match (values.given.get(name), default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => Some(word(state, default, escape)?),
            (None, None) => values.global.get(name).cloned(),
        };
        text.push_str(&match &value {
            Some(value) => format!(" {name}={value}"),
            None => format!(" {name}"),
        });
        state.args.push((name.clone(), value));
    }
    Ok(text)
}

fn expanded(
    state: &State,
    pairs: &[(String, String)],
    escape: char,
) -> Result<Vec<(String, String)>> {
    // All values see the environment as it was before the instruction.
    let pairs = pairs
        .iter()
        .map(|(key, value)| Ok((word(state, key, escape)?, word(state, value, escape)?)));
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    match pairs.iter().any(|(key, _)| key.is_empty()) {
        true => Err(Error::Invalid("names can not be blank".to_owned())),
        false => Ok(pairs),
    }
}

fn written(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

pub(crate) fn json(words: &[String]) -> String {
    serde_json::Value::from(words.to_vec()).to_string()
}

fn expose(state: &mut State, ports: &[String], escape: char) -> Result<String> {
    let mut found = Vec::new();
    for port in ports {
        // A variable may hold several.
        for port in word(state, port, escape)?.split_whitespace() {
            found.extend(port_range(port)?);
        }
    }
    let exposed = state.config.config.exposed_ports.get_or_insert_default();
    exposed.extend(found.iter().map(|port| (port.clone(), Empty {})));
    Ok(format!("EXPOSE {}", found.join(" ")))
}

/// `80`, `80/udp`, `8000-8010/tcp`; a host's side is of no meaning in an image.
fn port_range(text: &str) -> Result<Vec<String>> {
    let bad = || Error::Invalid(format!("invalid containerPort: {text}"));
    let container = text.rsplit(':').next().unwrap_or(text);
    let (ports, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(Error::Invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let first: u16 = first.parse().map_err(|_| bad())?;
    let last: u16 = last.parse().map_err(|_| bad())?;
    if first > last {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn volume(state: &mut State, paths: &[String], escape: char) -> Result<String> {
    let paths = paths.iter().map(|path| word(state, path, escape));
    let paths = paths.collect::<Result<Vec<String>>>()?;
    if paths.iter().any(|path| path.trim().is_empty()) {
        return Err(Error::Invalid("VOLUME specified can not be an empty string".to_owned()));
    }
    let volumes = state.config.config.volumes.get_or_insert_default();
    volumes.extend(paths.iter().map(|path| (path.clone(), Empty {})));
    Ok(format!("VOLUME {}", json(&paths)))
}

fn check_signal(signal: &str) -> Result<()> {
    let bad = || Error::Invalid(format!("invalid signal: {signal}"));
    if let Ok(number) = signal.parse::<u32>() {
        return if (1..=64).contains(&number) { Ok(()) } else { Err(bad()) };
    }
    let name = signal.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let fine =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-".contains(c));
    if fine { Ok(()) } else { Err(bad()) }
}

fn healthcheck(state: &mut State, check: &crate::syntax::Healthcheck) -> String {
    let test = match &check.command {
        None => vec!["NONE".to_owned()],
        Some(Words::Shell(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
        Some(Words::Exec(words)) => {
            std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
        }
    };
    let text = format!("HEALTHCHECK {}", json(&test));
    state.config.config.healthcheck = Some(Healthcheck {
        test,
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    fn applied(lines: &str, given: &[(&str, Option<&str>)]) -> State {
        let file = parse(&format!("FROM scratch\n{lines}")).unwrap();
        let given = given.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        let global = BTreeMap::from([("G".to_owned(), "global".to_owned())]);
        let values = ArgValues { given: &given, global: &global };
        let mut state = State::scratch();
        for instruction in &file.stages[0].instructions {
            apply(&mut state, instruction, '\\', &values).unwrap();
        }
        state
    }

    #[test]
    fn env_sees_what_was_before_the_instruction() {
        let state = applied("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n", &[]);
        let env = state.config.config.env.unwrap();
        assert!(env[0].starts_with("PATH=/usr/local/sbin:"), "{env:?}");
        assert_eq!(env[1..], ["abc=bye", "def=hello", "ghi=bye"]);
    }

    #[test]
    fn args_have_defaults_values_and_are_hidden_by_env() {
        let lines = "ARG A=1\nARG B\nARG G\nARG C=$A$G\nENV A=env\nENV X=$A$B$C\n";
        let state = applied(lines, &[("B", Some("b"))]);
        assert_eq!(state.config.config.env.clone().unwrap()[2], "X=envb1global");
        let args = state.visible_args();
        assert_eq!(args.get("B").map(String::as_str), Some("b"));
        assert!(!args.contains_key("A"));
        let state = applied("ARG A=1\nENV X=[$A]\n", &[("A", None)]);
        assert_eq!(state.config.config.env.unwrap()[1], "X=[]");
    }

    #[test]
    fn an_entrypoint_takes_an_inherited_command_away() {
        let mut base = State::scratch();
        base.config.config.cmd = Some(vec!["inherited".to_owned()]);
        let file = parse("FROM scratch\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\n").unwrap();
        let (given, global) = (BTreeMap::new(), BTreeMap::new());
        let values = ArgValues { given: &given, global: &global };
        let instructions = &file.stages[0].instructions;
        apply(&mut base, &instructions[0], '\\', &values).unwrap();
        assert_eq!(base.config.config.cmd, None);
        apply(&mut base, &instructions[1], '\\', &values).unwrap();
        apply(&mut base, &instructions[0], '\\', &values).unwrap();
        assert_eq!(base.config.config.cmd, Some(vec!["c".to_owned()]));
    }

    #[test]
    fn ports_volumes_labels_and_health() {
        let state = applied(
            "SHELL [\"/bin/bash\", \"-c\"]\nEXPOSE 80 90-91/udp\nVOLUME /a [\nLABEL a=\"b c\"\nCMD x\nHEALTHCHECK --retries=3 CMD y\n",
            &[],
        );
        let config = state.config.config;
        let ports: Vec<String> = config.exposed_ports.unwrap().into_keys().collect();
        assert_eq!(ports, ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!(config.labels.unwrap()["a"], "b c");
        assert_eq!(config.cmd.unwrap(), ["/bin/bash", "-c", "x"]);
        assert_eq!(config.healthcheck.unwrap().test, ["CMD-SHELL", "y"]);
        let file = parse("FROM scratch\nEXPOSE 70000\n").unwrap();
        let (given, global) = (BTreeMap::new(), BTreeMap::new());
        let values = ArgValues { given: &given, global: &global };
        let mut state = State::scratch();
        assert!(apply(&mut state, &file.stages[0].instructions[0], '\\', &values).is_err());
    }
}
