//! Which stages a build needs, in which order, and on what they stand. Pure: text in, graph out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostic, closest};
use crate::expand;
use crate::syntax::{Dockerfile, Instruction, Kind, Source, Spanned, Stage};

/// What FROM, COPY --from and RUN --mount from= mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// A stage before.
    Stage(usize),
    /// A context given by name.
    Context(String),
    /// An image.
    Image(String),
}

/// A stage to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its number in the file.
    pub index: usize,
    /// On what it stands.
    pub base: Base,
    /// `--platform`, variables replaced.
    pub platform: Option<String>,
    /// The stages whose results it needs.
    pub needs: BTreeSet<usize>,
    /// The number of its first instruction among all.
    pub first_number: usize,
}

/// A build's stages, each after those it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The stages.
    pub stages: Vec<Planned>,
    /// The stage that becomes the image.
    pub target: usize,
    /// The number of all instructions.
    pub total: usize,
    /// Values of the ARGs before the first FROM.
    pub global_args: BTreeMap<String, String>,
}

/// What the names of further contexts mean: files, or an image.
pub type Names = BTreeMap<String, Option<String>>;

/// What a plan depends on besides the file.
#[derive(Debug, Default)]
pub struct Inputs<'a> {
    /// Values for ARG.
    pub build_args: BTreeMap<String, Option<String>>,
    /// The stage to build.
    pub target: Option<&'a str>,
    /// Values that every build has, such as `TARGETPLATFORM`.
    pub predefined: BTreeMap<String, String>,
    /// Further contexts by name, those that are images with the image.
    pub contexts: Names,
}

/// Makes a plan.
///
/// # Errors
/// For stages that are not there, or stand on themselves.
pub fn plan(file: &Dockerfile, inputs: &Inputs<'_>) -> Result<Plan, Diagnostic> {
    let global_args = global_args(file, inputs)?;
    let resolver = Resolver { file, inputs, global_args: &global_args };
    let target = resolver.target()?;
    let mut planned: BTreeMap<usize, Planned> = BTreeMap::new();
    let mut wanted = vec![target];
    while let Some(index) = wanted.pop() {
        if let Entry::Vacant(vacant) = planned.entry(index) {
            let stage = resolver.stage(index)?;
            wanted.extend(stage.needs.iter().copied());
            vacant.insert(stage);
        }
    }
    // A stage needs earlier ones only, so the file's order is an order to build in.
    let mut total = 0;
    let mut stages: Vec<Planned> = planned.into_values().collect();
    for stage in &mut stages {
        stage.first_number = total + 1;
        total += 1 + file.stages[stage.index].instructions.len();
    }
    Ok(Plan { stages, target, total, global_args })
}

impl Plan {
    /// Plans stages that only a trigger of a base image needs, and what they need: the file does not
    /// say so. Each comes after those it needs.
    ///
    /// # Errors
    /// See [`plan`].
    pub fn more(
        &self,
        file: &Dockerfile,
        inputs: &Inputs<'_>,
        wanted: usize,
        known: &BTreeSet<usize>,
    ) -> Result<Vec<Planned>, Diagnostic> {
        let resolver = Resolver { file, inputs, global_args: &self.global_args };
        let mut planned: BTreeMap<usize, Planned> = BTreeMap::new();
        let mut pending = vec![wanted];
        while let Some(index) = pending.pop() {
            if !known.contains(&index) && !planned.contains_key(&index) {
                let mut stage = resolver.stage(index)?;
                // Behind all that was counted.
                stage.first_number = self.total + 1;
                pending.extend(stage.needs.iter().copied());
                planned.insert(index, stage);
            }
        }
        Ok(planned.into_values().collect())
    }
}

/// Finds the stages that must not come from the cache when those of some names must not: they, and
/// all that need them, because what these made of the old result is not the new one's. Returns the names
/// that no stage has, too.
pub fn fresh<'a>(
    file: &Dockerfile,
    plan: &Plan,
    names: &'a [String],
) -> (BTreeSet<usize>, Vec<&'a str>) {
    let has = |stage: &Stage, name: &str| {
        stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name))
    };
    let mut fresh = BTreeSet::new();
    for planned in &plan.stages {
        let stage = &file.stages[planned.index];
        if names.iter().any(|name| has(stage, name)) || !planned.needs.is_disjoint(&fresh) {
            fresh.insert(planned.index);
        }
    }
    let unknown = names.iter().filter(|name| !file.stages.iter().any(|stage| has(stage, name)));
    (fresh, unknown.map(String::as_str).collect())
}

/// Finds the stages that an instruction of stage `index` takes files from.
///
/// # Errors
/// See [`reference()`].
pub fn stages_of(
    file: &Dockerfile,
    contexts: &Names,
    instruction: &Instruction,
    index: usize,
) -> Result<Vec<usize>, String> {
    let bases = froms(instruction).into_iter();
    let bases = bases.map(|from| reference(file, contexts, &from.text, index));
    Ok(bases.collect::<Result<Vec<_>, _>>()?.iter().filter_map(stage_of).collect())
}

fn global_args(
    file: &Dockerfile,
    inputs: &Inputs<'_>,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let mut values = inputs.predefined.clone();
    for instruction in &file.global_args {
        let Kind::Arg(args) = &instruction.kind else { continue };
        for (name, default) in args {
            let value = match (inputs.build_args.get(name), default) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => Some(expanded(file, default, &values, instruction)?),
                (None, None) => continue,
            };
            match value {
                Some(value) => drop(values.insert(name.clone(), value)),
                None => drop(values.remove(name)),
            }
        }
    }
    Ok(values)
}

fn expanded(
    file: &Dockerfile,
    text: &str,
    values: &BTreeMap<String, String>,
    instruction: &Instruction,
) -> Result<String, Diagnostic> {
    expand::word(text, file.directives.escape, &|name| values.get(name).cloned())
        .map_err(|message| Diagnostic::new(instruction.span, message))
}

struct Resolver<'a> {
    file: &'a Dockerfile,
    inputs: &'a Inputs<'a>,
    global_args: &'a BTreeMap<String, String>,
}

impl Resolver<'_> {
    fn target(&self) -> Result<usize, Diagnostic> {
        let stages = &self.file.stages;
        let Some(name) = self.inputs.target.filter(|name| !name.is_empty()) else {
            return Ok(stages.len() - 1);
        };
        let named = stages.iter().rposition(|stage| {
            stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name))
        });
        let by_number = name.parse().ok().filter(|index| *index < stages.len());
        named.or(by_number).ok_or_else(|| {
            let span = stages[0].from.span;
            let found = Diagnostic::new(span, format!("target stage {name:?} could not be found"));
            self.suggest(found, name)
        })
    }

    fn suggest(&self, found: Diagnostic, name: &str) -> Diagnostic {
        let names = self.file.stages.iter().filter_map(|stage| stage.name.as_ref());
        let names: Vec<&str> = names.map(|name| name.text.as_str()).collect();
        match closest(&name.to_ascii_lowercase(), &names) {
            Some(near) => found.help(format!("did you mean {near}?")),
            None if names.is_empty() => found.help("no stage has a name; write FROM image AS name"),
            None => found.help(format!("there are {}", names.join(", "))),
        }
    }

    fn stage(&self, index: usize) -> Result<Planned, Diagnostic> {
        let stage = &self.file.stages[index];
        let base = self.base(stage, index)?;
        let platform = match &stage.platform {
            Some(text) => Some(self.expand(text)?).filter(|text| !text.is_empty()),
            None => None,
        };
        let mut needs = BTreeSet::new();
        needs.extend(stage_of(&base));
        for instruction in &stage.instructions {
            for from in froms(instruction) {
                needs.extend(stage_of(&self.reference(&from, index)?));
            }
        }
        Ok(Planned { index, base, platform, needs, first_number: 0 })
    }

    fn expand(&self, text: &Spanned) -> Result<String, Diagnostic> {
        let lookup = |name: &str| self.global_args.get(name).cloned();
        expand::word(&text.text, self.file.directives.escape, &lookup)
            .map_err(|message| Diagnostic::new(text.span, message))
    }

    fn base(&self, stage: &Stage, index: usize) -> Result<Base, Diagnostic> {
        let name = self.expand(&stage.base)?;
        if name.is_empty() {
            let text = format!("base name ({}) should not be blank", stage.base.text);
            return Err(Diagnostic::new(stage.base.span, text)
                .help("give the ARG a default before the first FROM, or --build-arg"));
        }
        let own = stage.name.as_ref().map(|name| name.text.as_str());
        if !self.inputs.contexts.contains_key(&name)
            && let Some(earlier) = self.named(&name, index)
            && own.is_none_or(|own| !own.eq_ignore_ascii_case(&name) || earlier < index)
        {
            return Ok(Base::Stage(earlier));
        }
        Ok(outside(&self.inputs.contexts, &name))
    }

    /// Finds a stage by name among those before `index`.
    fn named(&self, name: &str, index: usize) -> Option<usize> {
        self.file.stages[..index].iter().rposition(|stage| {
            stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name))
        })
    }

    fn reference(&self, from: &Spanned, index: usize) -> Result<Base, Diagnostic> {
        reference(self.file, &self.inputs.contexts, &from.text, index)
            .map_err(|message| self.suggest(Diagnostic::new(from.span, message), &from.text))
    }
}

/// Finds what a `--from` in stage `index` means: a further context, as in BuildKit before a stage.
///
/// # Errors
/// For this stage itself and later ones.
pub fn reference(
    file: &Dockerfile,
    contexts: &Names,
    name: &str,
    index: usize,
) -> Result<Base, String> {
    let is_named =
        |stage: &Stage| stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name));
    if contexts.contains_key(name) {
        return Ok(outside(contexts, name));
    }
    if let Some(earlier) = file.stages[..index].iter().rposition(is_named) {
        return Ok(Base::Stage(earlier));
    }
    if is_named(&file.stages[index]) {
        return Err(format!("circular dependency: stage {name} copies from itself"));
    }
    if let Some(later) = file.stages.iter().position(is_named) {
        let line = file.stages[later].from.span.line;
        return Err(format!("stage {name} begins on line {line}, after it is needed"));
    }
    if let Ok(number) = name.parse::<usize>() {
        return match number.cmp(&index) {
            std::cmp::Ordering::Less => Ok(Base::Stage(number)),
            std::cmp::Ordering::Equal => {
                Err(format!("circular dependency: stage {name} copies from itself"))
            }
            std::cmp::Ordering::Greater => {
                Err(format!("invalid from flag value {name}: there is no such stage before"))
            }
        };
    }
    Ok(outside(contexts, name))
}

/// What a name means that is no stage's.
fn outside(contexts: &Names, name: &str) -> Base {
    // Without a tag the name stands for the latest, as it does for images.
    let short = name.strip_suffix(":latest").unwrap_or(name);
    let found = contexts.get_key_value(name).or_else(|| contexts.get_key_value(short));
    match found {
        Some((_, Some(image))) => Base::Image(image.clone()),
        Some((own, None)) => Base::Context(own.clone()),
        None if name == "scratch" => Base::Scratch,
        None => Base::Image(name.to_owned()),
    }
}

fn stage_of(base: &Base) -> Option<usize> {
    match base {
        Base::Stage(index) => Some(*index),
        _ => None,
    }
}

/// What an instruction copies or mounts from.
fn froms(instruction: &Instruction) -> Vec<Spanned> {
    match &instruction.kind {
        Kind::Copy(copy) => copy.from.iter().cloned().collect(),
        Kind::Run(run) => {
            let mounts = run.mounts.iter().filter_map(|mount| {
                let from = mount.text.split(',').find_map(|part| part.strip_prefix("from="))?;
                Some(Spanned { text: from.trim_matches('"').to_owned(), span: mount.span })
            });
            mounts.collect()
        }
        _ => Vec::new(),
    }
}

/// Tells whether a file takes anything from the main context.
pub fn uses_context(file: &Dockerfile) -> bool {
    file.stages.iter().flat_map(|stage| &stage.instructions).any(|instruction| {
        match &instruction.kind {
            Kind::Copy(copy) => {
                copy.from.is_none()
                    && copy.sources.iter().any(|source| matches!(source, Source::Path(_)))
            }
            Kind::Run(run) => !run.mounts.is_empty(),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests;
