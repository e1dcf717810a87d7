//! What a Dockerfile offers, told without a build: its targets, and what one of them takes. The answers
//! have BuildKit's shape, so that its clients' tools can read them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::apply::{self, ArgValues};
use crate::error::SourceFile;
use crate::expand;
use crate::mount;
use crate::plan::{Base, Plan};
use crate::state::State;
use crate::syntax::{Dockerfile, Instruction, Kind, Stage};
use crate::{Error, Result};

/// Lists the stages.
pub(crate) fn targets(file: &Dockerfile, source: &SourceFile) -> Json {
    let last = file.stages.len() - 1;
    let targets = file.stages.iter().enumerate().map(|(index, stage)| {
        let mut target = named(stage, source);
        target.insert("base".to_owned(), json!(stage.base.text));
        if index == last {
            target.insert("default".to_owned(), json!(true));
        }
        if let Some(platform) = &stage.platform {
            target.insert("platform".to_owned(), json!(platform.text));
        }
        target.insert("location".to_owned(), location(stage.from.span.line));
        Json::Object(target)
    });
    json!({"targets": targets.collect::<Vec<_>>(), "sources": sources(source)})
}

/// Name and description of a stage, as far as it has them.
fn named(stage: &Stage, source: &SourceFile) -> Map<String, Json> {
    let mut named = Map::new();
    if let Some(name) = &stage.name {
        named.insert("name".to_owned(), json!(name.text));
        let description = description(source, stage.from.span.line, &name.text);
        insert_text(&mut named, "description", description.unwrap_or_default());
    }
    named
}

fn insert_text(object: &mut Map<String, Json>, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.to_owned(), json!(text));
    }
}

fn sources(source: &SourceFile) -> [String; 1] {
    [STANDARD.encode(&source.text)]
}

fn location(line: usize) -> Json {
    json!({"ranges": [{"start": {"line": line}}]})
}

/// What a comment in front of a line says of a name that it begins with; an empty comment begins anew.
fn description<'a>(source: &'a SourceFile, line: usize, name: &str) -> Option<&'a str> {
    let before = source.text.lines().take(line - 1).map(str::trim).collect::<Vec<_>>();
    let comments = before.into_iter().rev().filter(|line| !line.is_empty());
    let comments = comments.map_while(|line| Some(line.strip_prefix('#')?.trim()));
    let of_name = comments.take_while(|comment| !comment.is_empty());
    // The first one in the file counts.
    of_name.filter_map(|comment| comment.strip_prefix(name)?.strip_prefix(' ')).last()
}

/// What an outline depends on.
pub(crate) struct Facts<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) source: &'a SourceFile,
    /// The target and what it needs.
    pub(crate) plan: &'a Plan,
    pub(crate) build_args: &'a BTreeMap<String, Option<String>>,
    /// Finds the state of an image; `None` for one that is not here, of which no variables are known.
    pub(crate) image: &'a dyn Fn(&str) -> Option<State>,
}

/// Tells what the target takes: values of ARG, secrets, agents.
///
/// # Errors
/// For instructions that would fail in a build, too.
pub(crate) fn outline(facts: &Facts<'_>) -> Result<Json> {
    let globals = facts.globals()?;
    let mut taken: BTreeMap<usize, Taken> = BTreeMap::new();
    let mut states: BTreeMap<usize, State> = BTreeMap::new();
    for planned in &facts.plan.stages {
        let mut state = match &planned.base {
            Base::Stage(index) => states.get(index).map(State::base_of),
            Base::Image(name) => (facts.image)(name),
            Base::Scratch | Base::Context(_) => None,
        }
        .unwrap_or_else(State::scratch);
        let stage = &facts.file.stages[planned.index];
        taken.insert(planned.index, facts.stage(stage, &mut state, &globals)?);
        states.insert(planned.index, state);
    }
    let mut all = Taken::default();
    let mut pending = vec![facts.plan.target];
    let mut seen = BTreeSet::new();
    while let Some(index) = pending.pop() {
        let Some(planned) = facts.plan.stages.iter().find(|planned| planned.index == index) else {
            continue;
        };
        if !seen.insert(index) {
            continue;
        }
        // What is nearer to the target counts; what a stage stands on is nearer than what it copies.
        if let Some(taken) = taken.remove(&index) {
            all.add(taken);
        }
        let base = match planned.base {
            Base::Stage(base) => Some(base),
            _ => None,
        };
        pending.extend(planned.needs.iter().copied().filter(|need| Some(*need) != base));
        pending.extend(base);
    }
    let stage = &facts.file.stages[facts.plan.target];
    let mut outline = named(stage, facts.source);
    outline.insert("sources".to_owned(), json!(sources(facts.source)));
    let args = all.args.into_iter().map(|(name, arg)| (arg.line, arg.json(&name)));
    let asked = |asked: BTreeMap<String, Asked>| {
        let entries = asked.into_iter().map(|(name, asked)| (asked.line, asked.json(&name)));
        entries.collect::<Vec<_>>()
    };
    let lists =
        [("args", args.collect()), ("secrets", asked(all.secrets)), ("ssh", asked(all.ssh))];
    for (key, mut entries) in lists {
        entries.sort_by_key(|(line, _)| *line);
        let entries: Vec<Json> = entries.into_iter().map(|(_, entry)| entry).collect();
        if !entries.is_empty() {
            outline.insert(key.to_owned(), Json::Array(entries));
        }
    }
    Ok(Json::Object(outline))
}

/// What stages take, by name.
#[derive(Debug, Default)]
struct Taken {
    args: BTreeMap<String, Arg>,
    secrets: BTreeMap<String, Asked>,
    ssh: BTreeMap<String, Asked>,
}

impl Taken {
    /// Adds what is not there yet.
    fn add(&mut self, other: Self) {
        for (name, arg) in other.args {
            self.args.entry(name).or_insert(arg);
        }
        for (own, other) in [(&mut self.secrets, other.secrets), (&mut self.ssh, other.ssh)] {
            for (name, asked) in other {
                own.entry(name).or_insert(asked);
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Arg {
    value: String,
    description: String,
    line: usize,
    /// ARGs in front of the first FROM that its value is made of.
    needs: BTreeSet<String>,
}

impl Arg {
    fn json(&self, name: &str) -> Json {
        let mut arg = Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("location".to_owned(), location(self.line)),
        ]);
        insert_text(&mut arg, "description", &self.description);
        insert_text(&mut arg, "value", &self.value);
        Json::Object(arg)
    }
}

/// A secret or an agent.
#[derive(Debug, Clone, Copy)]
struct Asked {
    required: bool,
    line: usize,
}

impl Asked {
    fn json(self, name: &str) -> Json {
        let mut asked = json!({"name": name, "location": location(self.line)});
        if self.required {
            asked["required"] = json!(true);
        }
        asked
    }
}

impl Facts<'_> {
    fn arg(&self, instruction: &Instruction, name: &str, value: Option<&str>) -> Arg {
        let line = instruction.span.line;
        Arg {
            value: value.unwrap_or_default().to_owned(),
            description: description(self.source, line, name).unwrap_or_default().to_owned(),
            line,
            needs: BTreeSet::new(),
        }
    }

    /// The ARGs in front of the first FROM; of several of a name the last one.
    fn globals(&self) -> Result<BTreeMap<String, Arg>> {
        let mut globals: BTreeMap<String, Arg> = BTreeMap::new();
        for instruction in &self.file.global_args {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for (name, default) in args {
                let value = self.plan.global_args.get(name).map(String::as_str);
                let mut arg = self.arg(instruction, name, value);
                if let (false, Some(default)) = (self.build_args.contains_key(name), default) {
                    arg.needs = self.variables(default, instruction)?;
                    // One that is made of its own earlier value needs what that needed.
                    if arg.needs.remove(name) {
                        arg.needs
                            .extend(globals.remove(name).into_iter().flat_map(|own| own.needs));
                    }
                }
                globals.insert(name.clone(), arg);
            }
        }
        Ok(globals)
    }

    /// The names of variables in a word.
    fn variables(&self, text: &str, instruction: &Instruction) -> Result<BTreeSet<String>> {
        let found = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            found.borrow_mut().insert(name.to_owned());
            self.plan.global_args.get(name).cloned()
        };
        expand::word(text, self.file.directives.escape, &lookup)
            .map_err(|message| self.source.at(instruction.span, Error::Invalid(message)))?;
        Ok(found.into_inner())
    }

    /// Goes through a stage, whose state is that of its end then.
    fn stage(
        &self,
        stage: &Stage,
        state: &mut State,
        globals: &BTreeMap<String, Arg>,
    ) -> Result<Taken> {
        let mut taken = Taken::default();
        let mut inherited = self.variables(&stage.base.text, &stage.from)?;
        if let Some(platform) = &stage.platform {
            inherited.extend(self.variables(&platform.text, &stage.from)?);
        }
        let values = ArgValues { given: self.build_args, global: &self.plan.global_args };
        let escape = self.file.directives.escape;
        for instruction in &stage.instructions {
            let wrong = |error| self.source.at(instruction.span, error);
            if let Kind::Run(run) = &instruction.kind {
                for (number, text) in run.mounts.iter().enumerate() {
                    let value = apply::word(state, &text.text, escape).map_err(wrong)?;
                    let mount = mount::parse(&value, number);
                    let mount = mount.map_err(|error| wrong(Error::Invalid(error)))?;
                    let (list, id, required) = match mount.kind {
                        mount::Kind::Secret { id, required, .. } => {
                            (&mut taken.secrets, id, required)
                        }
                        mount::Kind::Ssh { id, required, .. } => (&mut taken.ssh, id, required),
                        _ => continue,
                    };
                    list.entry(id).or_insert(Asked { required, line: instruction.span.line });
                }
            }
            apply::apply(state, instruction, escape, &values).map_err(wrong)?;
            let Kind::Arg(args) = &instruction.kind else { continue };
            let values = &state.args[state.args.len() - args.len()..];
            for ((name, default), (_, value)) in args.iter().zip(values) {
                let is_inherited = default.is_none()
                    && !self.build_args.contains_key(name)
                    && self.plan.global_args.contains_key(name);
                match is_inherited {
                    true => drop(inherited.insert(name.clone())),
                    false => {
                        let arg = self.arg(instruction, name, value.as_deref());
                        taken.args.insert(name.clone(), arg);
                    }
                }
            }
        }
        let mut pending: Vec<String> = inherited.into_iter().collect();
        while let Some(name) = pending.pop() {
            // Those that every build has are nobody's to give.
            if let Some(arg) = globals.get(&name).filter(|_| !taken.args.contains_key(&name)) {
                pending.extend(arg.needs.iter().cloned());
                taken.args.insert(name, arg.clone());
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
