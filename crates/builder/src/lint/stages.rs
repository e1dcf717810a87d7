//! Rules about stages, and about how all instructions are written.

use std::collections::{BTreeMap, BTreeSet};

use images::Reference;

use super::{Facts, Findings};
use crate::expand;
use crate::syntax::{Dockerfile, Instruction, Kind, Stage};

pub(super) fn check(file: &Dockerfile, facts: &Facts<'_>, found: &mut Findings) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for stage in &file.stages {
        if let Some(name) = &stage.name
            && !names.insert(&name.text)
        {
            let text = format!("stage name {:?} is used twice", name.text);
            found.add("DuplicateStageName", name.span, text, "give each stage a name of its own");
        }
        name(stage, found);
        platform(stage, found);
    }
    casing(file, found);
    bases(file, facts, found);
}

fn name(stage: &Stage, found: &mut Findings) {
    let Some(name) = &stage.name else { return };
    let words: Vec<&str> = stage.from.text.split_whitespace().collect();
    let [from, .., keyword, written] = words.as_slice() else { return };
    if *written != name.text {
        let text = format!("stage name {written:?} has capitals, which do not count");
        found.add("StageNameCasing", name.span, text, format!("write {}", name.text));
    }
    let is_lower = |word: &str| word.chars().all(|c| !c.is_ascii_uppercase());
    if is_lower(from) != is_lower(keyword) {
        let text = format!("{keyword:?} and {from:?} are written in different case");
        let same = if is_lower(from) { "as" } else { "AS" };
        found.add("FromAsCasing", stage.from.span, text, format!("write {same}"));
    }
    if ["scratch", "context"].contains(&name.text.as_str()) {
        let text = format!("{:?} means something else and should name no stage", name.text);
        found.add("ReservedStageName", name.span, text, "give the stage another name");
    }
}

fn platform(stage: &Stage, found: &mut Findings) {
    let Some(platform) = &stage.platform else { return };
    if platform.text.trim_matches(['{', '}', '$']) == "TARGETPLATFORM" {
        let text = "the platform is the target's in any case".to_owned();
        found.add("RedundantTargetPlatform", platform.span, text, "leave --platform out");
        return;
    }
    if platform.text.contains('$') {
        return;
    }
    // A stage that is named for its platform says that it is meant.
    let parts: Vec<&str> = platform.text.split('/').collect();
    let says = |text: &str| parts.iter().any(|part| !part.is_empty() && text.contains(part));
    if !says(&stage.base.text) && !stage.name.as_ref().is_some_and(|name| says(&name.text)) {
        let text = format!("the platform is always {}, whatever is asked for", platform.text);
        let help = "use $BUILDPLATFORM, or leave --platform out";
        found.add("FromPlatformFlagConstDisallowed", platform.span, text, help);
    }
}

/// Names of instructions are in capitals or not: what most of them are is right.
fn casing(file: &Dockerfile, found: &mut Findings) {
    let all = || {
        file.global_args
            .iter()
            .chain(file.stages.iter().flat_map(|s| std::iter::once(&s.from).chain(&s.instructions)))
    };
    let word = |instruction: &'_ Instruction| -> String {
        instruction.text.split_whitespace().next().unwrap_or_default().to_owned()
    };
    let count = |is: fn(&char) -> bool| all().filter(|i| word(i).chars().all(|c| is(&c))).count();
    let lower = count(char::is_ascii_lowercase);
    let upper = count(char::is_ascii_uppercase);
    for instruction in all() {
        let own = word(instruction);
        let (right, what) = match lower > upper {
            true => (own.to_ascii_lowercase(), "lower case"),
            false => (own.to_ascii_uppercase(), "capitals"),
        };
        if own != right {
            let text = format!("{own} is not in {what}, as most instructions here are");
            let help = format!("write {right}");
            found.add("ConsistentInstructionCasing", instruction.span, text, help);
        }
    }
}

/// An image that is here may be for other machines, as nothing was said about that.
fn base_platform(stage: &Stage, file: &Dockerfile, facts: &Facts<'_>, found: &mut Findings) {
    let lookup = |name: &str| facts.global_args.get(name).cloned();
    let name = expand::word(&stage.base.text, file.directives.escape, &lookup);
    let is_stage = |name: &str| {
        file.stages.iter().any(|other| other.name.as_ref().is_some_and(|own| own.text == name))
    };
    let name = name.ok().filter(|name| stage.platform.is_none() && !is_stage(name));
    let Some(image) = name.and_then(|name| (facts.image)(&name)) else { return };
    // What is not said about a platform does not matter.
    if !image.platform.split('/').zip(facts.platform.split('/')).all(|(a, b)| a == b) {
        let text = format!(
            "{} is an image for {}, and the build is for {}",
            stage.base.text, image.platform, facts.platform
        );
        let help = "pull the right one, or say --platform if it is meant";
        found.add("InvalidBaseImagePlatform", stage.base.span, text, help);
    }
}

/// Variables of FROM: whether they are there, and what comes out without values from outside.
fn bases(file: &Dockerfile, facts: &Facts<'_>, found: &mut Findings) {
    let mut declared: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let escape = file.directives.escape;
    for instruction in &file.global_args {
        let Kind::Arg(args) = &instruction.kind else { continue };
        for (name, default) in args {
            let lookup = |name: &str| declared.get(name).cloned().flatten();
            let value = default.as_ref().and_then(|d| expand::word(d, escape, &lookup).ok());
            declared.insert(name, value);
        }
    }
    for stage in &file.stages {
        for word in std::iter::once(&stage.base).chain(&stage.platform) {
            for name in super::variables::plain(&word.text, escape) {
                if !declared.contains_key(name.as_str()) && !facts.global_args.contains_key(&name) {
                    let text = format!("FROM uses ${name}, which no ARG before it declares");
                    let help = format!("write ARG {name}=… before the first FROM");
                    found.add("UndefinedArgInFrom", word.span, text, help);
                }
            }
        }
        base_platform(stage, file, facts, found);
        if !stage.base.text.contains('$') {
            continue;
        }
        let lookup = |name: &str| match declared.get(name) {
            Some(value) => value.clone(),
            None => facts.global_args.get(name).cloned(),
        };
        let value = expand::word(&stage.base.text, escape, &lookup).unwrap_or_default();
        if value != "scratch" && Reference::parse(&value).is_err() {
            let text = format!(
                "without values for its variables the base is {value:?}, which is no image's name"
            );
            let help = "give the ARG a default that is one";
            found.add("InvalidDefaultArgInFrom", stage.base.span, text, help);
        }
    }
}
