//! What is allowed in a Dockerfile and probably not meant. The names of the rules are BuildKit's, so
//! that `# check=skip=…` means the same. Pure: what is to be known besides the file is given.

mod instructions;
mod stages;
mod variables;

use std::collections::BTreeMap;

use dockerignore::Patterns;

use crate::diagnostic::{Diagnostic, Span};
use crate::syntax::Dockerfile;

/// What a check knows besides the file.
pub(crate) struct Facts<'a> {
    /// Values of the ARGs before the first FROM, and of those that every build has.
    pub(crate) global_args: &'a BTreeMap<String, String>,
    /// What the context leaves out.
    pub(crate) ignored: &'a Patterns,
    /// The platform to build for.
    pub(crate) platform: &'a str,
    /// Finds an image; `None` for one that is not here.
    pub(crate) image: &'a dyn Fn(&str) -> Option<Image>,
}

/// What is to be known of a base image.
pub(crate) struct Image {
    /// Names of the variables that it sets.
    pub(crate) environment: Vec<String>,
    /// `os/architecture`, perhaps with a variant.
    pub(crate) platform: String,
}

/// What is to become of findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    skipped: Vec<String>,
    /// Whether findings fail the build.
    pub(crate) is_error: bool,
}

impl Settings {
    /// Reads `skip=Rule,Rule;error=true`, as in `# check=` and `BUILDKIT_DOCKERFILE_CHECK`.
    ///
    /// # Errors
    /// For what is neither.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("skip", list)) => {
                    settings.skipped.extend(list.split(',').map(|name| name.trim().to_owned()));
                }
                Some(("error", "true")) => settings.is_error = true,
                Some(("error", "false")) => settings.is_error = false,
                // Rules that BuildKit tries out; none of those here is one.
                Some(("experimental", _)) => {}
                _ => {
                    return Err(format!(
                        "invalid check option {part:?}: want skip=RULE,RULE or error=true"
                    ));
                }
            }
        }
        Ok(settings)
    }

    fn skips(&self, rule: Option<&'static str>) -> bool {
        let same = |skip: &String| {
            skip == "all" || rule.is_some_and(|rule| rule.eq_ignore_ascii_case(skip))
        };
        self.skipped.iter().any(same)
    }
}

/// Looks a file through.
pub(crate) fn check(file: &Dockerfile, settings: &Settings, facts: &Facts<'_>) -> Vec<Diagnostic> {
    let mut found = Findings(file.warnings.clone());
    stages::check(file, facts, &mut found);
    for stage in &file.stages {
        instructions::check(&stage.instructions, facts, &mut found);
    }
    variables::check(file, facts, &mut found);
    let Findings(mut found) = found;
    found.retain(|finding| !settings.skips(finding.rule));
    found.sort_by_key(|finding| (finding.span.line, finding.span.column));
    found
}

/// What was found so far.
struct Findings(Vec<Diagnostic>);

impl Findings {
    fn add(&mut self, rule: &'static str, span: Span, message: String, help: impl Into<String>) {
        self.0.push(Diagnostic::new(span, message).rule(rule).help(help));
    }
}

#[cfg(test)]
mod tests;
