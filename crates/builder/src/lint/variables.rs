//! Variables that nothing sets.

use std::collections::BTreeSet;

use super::{Facts, Findings};
use crate::build::PROXY_ARGS;
use crate::diagnostic::{Span, closest};
use crate::expand;
use crate::syntax::{Copy, Dockerfile, Instruction, Kind, Source, Stage};

/// Names that are set at the end of a stage; `None` when the base image is not here to be asked.
type Scope = Option<BTreeSet<String>>;

pub(super) fn check(file: &Dockerfile, facts: &Facts<'_>, found: &mut Findings) {
    let mut environments: Vec<Scope> = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let mut environment = base(file, index, stage, &environments, facts);
        let mut args: BTreeSet<String> = PROXY_ARGS.map(str::to_owned).into();
        for instruction in &stage.instructions {
            if let Some(environment) = &environment {
                let known = |name: &str| environment.contains(name) || args.contains(name);
                let escape = file.directives.escape;
                uses(instruction, &mut |text, span| {
                    for name in plain(text, escape).into_iter().filter(|name| !known(name)) {
                        undefined(&name, span, environment.iter().chain(&args), found);
                    }
                });
            }
            match &instruction.kind {
                Kind::Arg(list) => args.extend(list.iter().map(|(name, _)| name.clone())),
                Kind::Env(pairs) => {
                    if let Some(own) = &mut environment {
                        own.extend(pairs.iter().map(|(name, _)| name.clone()));
                    }
                }
                _ => {}
            }
        }
        environments.push(environment);
    }
}

fn undefined<'a>(
    name: &str,
    span: Span,
    known: impl Iterator<Item = &'a String>,
    found: &mut Findings,
) {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let help = match closest(name, &known) {
        Some(near) => format!("did you mean ${near}?"),
        None => format!("write ARG {name}, or give it a value with ENV"),
    };
    found.add("UndefinedVar", span, format!("nothing sets ${name}, it is empty"), help);
}

/// What the base of a stage sets.
fn base(
    file: &Dockerfile,
    index: usize,
    stage: &Stage,
    before: &[Scope],
    facts: &Facts<'_>,
) -> Scope {
    let lookup = |name: &str| facts.global_args.get(name).cloned();
    let name = expand::word(&stage.base.text, file.directives.escape, &lookup).ok()?;
    let is_it =
        |stage: &Stage| stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(&name));
    if let Some(earlier) = file.stages[..index].iter().rposition(is_it) {
        return before.get(earlier).cloned().flatten();
    }
    let mut names: BTreeSet<String> = match name.as_str() {
        "scratch" => BTreeSet::new(),
        name => (facts.image)(name)?.environment.into_iter().collect(),
    };
    // Every container has it.
    names.insert("PATH".to_owned());
    Some(names)
}

/// Tells the texts of an instruction in which the builder itself replaces variables.
fn uses(instruction: &Instruction, tell: &mut dyn FnMut(&str, Span)) {
    let span = instruction.span;
    match &instruction.kind {
        Kind::Env(pairs) => pairs.iter().for_each(|(_, value)| tell(value, span)),
        Kind::Label(pairs) => pairs.iter().for_each(|(key, value)| {
            tell(key, span);
            tell(value, span);
        }),
        Kind::Arg(args) => {
            args.iter().filter_map(|(_, value)| value.as_ref()).for_each(|text| tell(text, span));
        }
        Kind::Workdir(text) | Kind::User(text) | Kind::StopSignal(text) => tell(text, span),
        Kind::Expose(list) | Kind::Volume(list) => list.iter().for_each(|text| tell(text, span)),
        Kind::Copy(copy) => of_copy(copy, span, tell),
        _ => {}
    }
}

fn of_copy(copy: &Copy, span: Span, tell: &mut dyn FnMut(&str, Span)) {
    for source in &copy.sources {
        if let Source::Path(path) = source {
            tell(&path.text, path.span);
        }
    }
    tell(&copy.destination, span);
    for flag in [&copy.from, &copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten() {
        tell(&flag.text, flag.span);
    }
}

/// The variables of a word that have no modifier, which would say what they are without a value.
pub(super) fn plain(text: &str, escape: char) -> Vec<String> {
    let mut found = Vec::new();
    let mut characters = text.chars().peekable();
    let mut quote = None;
    while let Some(character) = characters.next() {
        match character {
            c if c == escape && quote != Some('\'') => drop(characters.next()),
            '\'' | '"' if quote.is_none() => quote = Some(character),
            c if Some(c) == quote => quote = None,
            '$' if quote != Some('\'') => {
                let is_braced = characters.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(c) = characters.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
                let is_plain = !is_braced || characters.peek() == Some(&'}');
                if is_plain && name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
                    found.push(name);
                }
            }
            _ => {}
        }
    }
    found
}
