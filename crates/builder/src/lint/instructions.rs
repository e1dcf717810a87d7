//! Rules about the instructions of one stage.

use std::collections::BTreeMap;

use super::{Facts, Findings};
use crate::diagnostic::Span;
use crate::syntax::{Copy, Instruction, Kind, Source, Words};
use crate::tree::cleaned;

pub(super) fn check(instructions: &[Instruction], facts: &Facts<'_>, found: &mut Findings) {
    let mut last: BTreeMap<&str, Span> = BTreeMap::new();
    let mut has_directory = false;
    for instruction in instructions {
        let span = instruction.span;
        let once = match &instruction.kind {
            Kind::Cmd(_) => Some("CMD"),
            Kind::Entrypoint(_) => Some("ENTRYPOINT"),
            Kind::Healthcheck(_) => Some("HEALTHCHECK"),
            _ => None,
        };
        if let Some(name) = once
            && let Some(earlier) = last.insert(name, span)
        {
            let text = format!("another {name} follows, and only the last counts");
            found.add("MultipleInstructionsDisallowed", earlier, text, "take this one out");
        }
        match &instruction.kind {
            Kind::Cmd(Words::Shell(line)) | Kind::Entrypoint(Words::Shell(line))
                if !line.is_empty() && !has_own_shell(instructions, instruction) =>
            {
                let text = "a shell stands between signals and the command".to_owned();
                let help = "write the command as a JSON array, or say SHELL if it is meant";
                found.add("JSONArgsRecommended", span, text, help);
            }
            Kind::Workdir(path) => {
                if !path.starts_with(['/', '$', '"']) && !has_directory {
                    let text = format!("where {path} is depends on the base image");
                    found.add("WorkdirRelativePath", span, text, "begin with an absolute path");
                }
                has_directory = true;
            }
            Kind::Env(pairs) => {
                pairs.iter().for_each(|(key, _)| secret(key, "ENV", span, found));
            }
            Kind::Arg(args) => args.iter().for_each(|(key, _)| secret(key, "ARG", span, found)),
            Kind::Expose(ports) => ports.iter().for_each(|port| expose(port, span, found)),
            Kind::Copy(copy) => ignored(copy, facts, found),
            _ => {}
        }
    }
}

/// SHELL before an instruction says that the shell is meant.
fn has_own_shell(all: &[Instruction], instruction: &Instruction) -> bool {
    let before = all.iter().take_while(|other| !std::ptr::eq(*other, instruction));
    before.into_iter().any(|other| matches!(other.kind, Kind::Shell(_)))
}

fn secret(key: &str, what: &str, span: Span, found: &mut Findings) {
    const TELLING: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "passwd",
        "password",
        "pword",
        "secret",
        "token",
    ];
    let lower = key.to_ascii_lowercase();
    let mut words = lower.split('_');
    // A public key is none.
    if words.clone().all(|word| word != "public") && words.any(|word| TELLING.contains(&word)) {
        let text = format!("{what} {key} stays in the image for everybody to read");
        found.add("SecretsUsedInArgOrEnv", span, text, "use RUN --mount=type=secret");
    }
}

fn expose(port: &str, span: Span, found: &mut Findings) {
    if port.contains(':') {
        let text = format!("EXPOSE {port} names an address or a port of the host");
        let help = "write the container's port alone; run -p publishes it";
        found.add("ExposeInvalidFormat", span, text, help);
    }
    if let Some((number, protocol)) = port.split_once('/')
        && !protocol.contains('$')
        && protocol != protocol.to_ascii_lowercase()
    {
        let text = format!("the protocol of EXPOSE {port} is in capitals");
        let help = format!("write {number}/{}", protocol.to_ascii_lowercase());
        found.add("ExposeProtoCasing", span, text, help);
    }
}

fn ignored(copy: &Copy, facts: &Facts<'_>, found: &mut Findings) {
    if copy.from.is_some() {
        return;
    }
    for source in &copy.sources {
        let Source::Path(path) = source else { continue };
        let is_elsewhere = copy.is_add && crate::fetch::is_remote(&path.text);
        if is_elsewhere || path.text.contains(['*', '?', '[', '$', '"', '\'', '\\']) {
            continue;
        }
        let clean = cleaned(&path.text);
        if !clean.is_empty() && facts.ignored.excludes(&clean) {
            let text = format!("{} is left out by .dockerignore", path.text);
            let help = "take it out there, or here";
            found.add("CopyIgnoredFile", path.span, text, help);
        }
    }
}
