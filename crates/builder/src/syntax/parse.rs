//! From statements to instructions.

use super::flags::Flags;
use super::lines::{self, Directives, Statement, words};
use super::{
    Copy, Dockerfile, Healthcheck, INSTRUCTIONS, Instruction, Kind, Run, Source, Spanned, Stage,
    Words,
};
use crate::diagnostic::{Diagnostic, Span, closest};

/// Parses a file.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(source: &str) -> Result<Dockerfile, Diagnostic> {
    let lines = lines::split(source)?;
    let mut parser = Parser::new(lines.directives.escape);
    let mut file = Dockerfile {
        directives: lines.directives,
        global_args: Vec::new(),
        stages: Vec::new(),
        warnings: lines.warnings,
    };
    for statement in &lines.statements {
        let instruction = parser.instruction(statement)?;
        if instruction.kind == Kind::From {
            let stage = stage(statement, instruction, parser.escape)?;
            file.stages.push(stage);
            continue;
        }
        match file.stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None if matches!(instruction.kind, Kind::Arg(_)) => file.global_args.push(instruction),
            None => {
                let text = "no build stage in current context";
                return Err(Diagnostic::new(instruction.span, text)
                    .help("a Dockerfile begins with FROM; only ARG may stand before it"));
            }
        }
    }
    if file.stages.is_empty() {
        let span = Span { line: 1, column: 1, length: 1 };
        let text = if lines.statements.is_empty() {
            "the Dockerfile cannot be empty"
        } else {
            "file with no instructions: there is no FROM"
        };
        return Err(Diagnostic::new(span, text).help("begin with FROM image"));
    }
    file.warnings.append(&mut parser.warnings);
    Ok(file)
}

/// Parses the trigger of an ONBUILD.
///
/// # Errors
/// See [`parse`].
pub fn parse_trigger(text: &str, directives: &Directives) -> Result<Instruction, Diagnostic> {
    let lines = lines::split(text)?;
    let [statement] = lines.statements.as_slice() else {
        let span = Span { line: 1, column: 1, length: 1 };
        return Err(Diagnostic::new(span, format!("ONBUILD trigger {text:?} is no instruction")));
    };
    Parser::new(directives.escape).instruction(statement)
}

struct Parser {
    escape: char,
    warnings: Vec<Diagnostic>,
}

impl Parser {
    fn new(escape: char) -> Self {
        Self { escape, warnings: Vec::new() }
    }

    fn instruction(&mut self, statement: &Statement) -> Result<Instruction, Diagnostic> {
        let text = &statement.text;
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let name = text[..end].to_ascii_uppercase();
        let span = statement.span(0..end);
        let kind = self.kind(statement, &name)?;
        Ok(Instruction { text: text.clone(), span, kind })
    }

    fn kind(&mut self, statement: &Statement, name: &str) -> Result<Kind, Diagnostic> {
        let mut flags = Flags::read(statement, name, self.escape);
        let all = statement.span(0..name.len().min(statement.text.len()));
        let start = flags.rest;
        let one = |rest: &str| required(rest, name, "exactly one argument", all);
        Ok(match name {
            "RUN" => self.run(statement, flags)?,
            "COPY" | "ADD" => self.copy(statement, flags, name == "ADD")?,
            "FROM" => Kind::From,
            "HEALTHCHECK" => self.healthcheck(flags, all)?,
            "ARG" => self.arg(statement, flags.finish()?, start)?,
            "ENV" => Kind::Env(self.pairs(statement, flags.finish()?, start, name)?),
            "LABEL" => Kind::Label(self.pairs(statement, flags.finish()?, start, name)?),
            "CMD" => Kind::Cmd(self.command(flags.finish()?, statement, start)),
            "ENTRYPOINT" => Kind::Entrypoint(self.command(flags.finish()?, statement, start)),
            "SHELL" => {
                let rest = flags.finish()?;
                match json(rest) {
                    Some(words) if !words.is_empty() => Kind::Shell(words),
                    _ => {
                        let span = statement.span(start..statement.text.len());
                        return Err(Diagnostic::new(
                            span,
                            "SHELL requires the arguments to be in JSON form",
                        )
                        .help("write SHELL [\"/bin/sh\", \"-c\"]"));
                    }
                }
            }
            "WORKDIR" => Kind::Workdir(one(flags.finish()?)?),
            "USER" => Kind::User(one(flags.finish()?)?),
            "STOPSIGNAL" => Kind::StopSignal(one(flags.finish()?)?),
            "MAINTAINER" => {
                let rest = one(flags.finish()?)?;
                let found = Diagnostic::new(all, "MAINTAINER is deprecated");
                self.warnings
                    .push(found.rule("MaintainerDeprecated").help("write LABEL maintainer=NAME"));
                Kind::Maintainer(rest)
            }
            "EXPOSE" | "VOLUME" => {
                let rest = flags.finish()?;
                let list = match json(rest).filter(|_| name == "VOLUME") {
                    Some(list) => list,
                    None => self.words_of(rest),
                };
                if list.is_empty() {
                    return Err(at_least_one(name, all));
                }
                if name == "EXPOSE" { Kind::Expose(list) } else { Kind::Volume(list) }
            }
            "ONBUILD" => self.onbuild(statement, flags.finish()?, all)?,
            _ => {
                flags.rest = 0;
                let text = format!("unknown instruction: {}", printable(name));
                let found = Diagnostic::new(all, text);
                return Err(match closest(name, &INSTRUCTIONS) {
                    Some(known) => found.help(format!("did you mean {known}?")),
                    None => found.help("a line that ends in a backslash goes on in the next one"),
                });
            }
        })
    }

    fn words_of(&self, text: &str) -> Vec<String> {
        words(text, self.escape).into_iter().map(|word| text[word].to_owned()).collect()
    }

    /// A JSON array is the command itself, anything else a line for the shell.
    fn command(&mut self, rest: &str, statement: &Statement, start: usize) -> Words {
        if let Some(words) = json(rest) {
            return Words::Exec(words);
        }
        if rest.starts_with('[')
            && rest.ends_with(']')
            && !rest.starts_with("[[")
            && !rest.starts_with("[ ")
        {
            let span = statement.span(start..statement.text.len());
            let found = Diagnostic::new(span, "this is no JSON array and goes to the shell");
            self.warnings.push(
                found.rule("InvalidJSONArgs").help("words of a JSON array stand in double quotes"),
            );
        }
        Words::Shell(rest.to_owned())
    }

    fn run(&mut self, statement: &Statement, mut flags: Flags<'_>) -> Result<Kind, Diagnostic> {
        let start = flags.rest;
        let mounts = flags.all("mount")?;
        let network = flags.one("network")?;
        let security = flags.one("security")?;
        let devices = flags.all("device")?;
        let rest = flags.finish()?;
        let mut command = self.command(rest, statement, start);
        let mut heredocs = statement.heredocs.clone();
        let is_script = heredocs.len() == 1 && heredocs[0].marker == rest;
        if is_script {
            command = Words::Shell(heredocs.remove(0).content);
        }
        if matches!(&command, Words::Shell(line) if line.trim().is_empty() && !is_script)
            || command == Words::Exec(Vec::new())
        {
            return Err(at_least_one("RUN", statement.span(0..3)));
        }
        let run = Run { command, heredocs, is_script, mounts, network, security, devices };
        Ok(Kind::Run(run))
    }

    fn copy(
        &mut self,
        statement: &Statement,
        mut flags: Flags<'_>,
        is_add: bool,
    ) -> Result<Kind, Diagnostic> {
        let start = flags.rest;
        let mut copy = Copy { is_add, ..Copy::default() };
        copy.chown = flags.one("chown")?;
        copy.chmod = flags.one("chmod")?;
        copy.link = flags.switch("link")?.unwrap_or(false);
        copy.exclude = flags.all("exclude")?;
        if is_add {
            copy.checksum = flags.one("checksum")?;
            copy.keep_git_dir = flags.switch("keep-git-dir")?.unwrap_or(false);
            copy.unpack = flags.switch("unpack")?;
        } else {
            copy.from = flags.one("from")?;
            copy.parents = flags.switch("parents")?.unwrap_or(false);
        }
        let rest = flags.finish()?;
        let offset = statement.text[start..].find(rest).map_or(start, |at| start + at);
        let mut list: Vec<Spanned> = match json(rest) {
            Some(list) => {
                let span = statement.span(offset..statement.text.len());
                list.into_iter().map(|text| Spanned { text, span }).collect()
            }
            None => words(rest, self.escape)
                .into_iter()
                .map(|word| Spanned {
                    text: rest[word.clone()].to_owned(),
                    span: statement.span(offset + word.start..offset + word.end),
                })
                .collect(),
        };
        let name = if is_add { "ADD" } else { "COPY" };
        let Some(destination) = list.pop().filter(|_| !list.is_empty()) else {
            let text =
                format!("{name} requires at least two arguments, a source and a destination");
            return Err(Diagnostic::new(statement.span(0..name.len()), text));
        };
        copy.destination = destination.text;
        for word in list {
            let inline = statement.heredocs.iter().find(|heredoc| heredoc.marker == word.text);
            copy.sources.push(match inline {
                Some(heredoc) => Source::Inline(heredoc.clone()),
                None => Source::Path(word),
            });
        }
        Ok(Kind::Copy(copy))
    }

    fn arg(&self, statement: &Statement, rest: &str, start: usize) -> Result<Kind, Diagnostic> {
        let mut found = Vec::new();
        for word in words(rest, self.escape) {
            let text = &rest[word.clone()];
            let (name, default) = match text.split_once('=') {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (text, None),
            };
            // Any other is a name, also those of `ARG VERSION= # a remark`, which files out there have.
            if name.is_empty() {
                let span = statement.span(start + word.start..start + word.end);
                return Err(Diagnostic::new(span, "ARG names can not be blank"));
            }
            found.push((name.to_owned(), default));
        }
        if found.is_empty() {
            return Err(at_least_one("ARG", statement.span(0..3)));
        }
        Ok(Kind::Arg(found))
    }

    /// `key=value key2="value two"`, or the old form `key the rest is the value`.
    fn pairs(
        &mut self,
        statement: &Statement,
        rest: &str,
        start: usize,
        name: &str,
    ) -> Result<Vec<(String, String)>, Diagnostic> {
        let list = words(rest, self.escape);
        let Some(first) = list.first() else {
            return Err(at_least_one(name, statement.span(0..name.len())));
        };
        if !rest[first.clone()].contains('=') {
            let value = rest[first.end..].trim();
            let span = statement.span(start + first.start..start + first.end);
            if value.is_empty() {
                return Err(Diagnostic::new(span, format!("{name} must have two arguments"))
                    .help(format!("write {name} {}=VALUE", &rest[first.clone()])));
            }
            let found = Diagnostic::new(span, format!("{name} key value is the old form"));
            self.warnings
                .push(found.rule("LegacyKeyValueFormat").help(format!("write {name} key=value")));
            return Ok(vec![(rest[first.clone()].to_owned(), value.to_owned())]);
        }
        let pairs = list.into_iter().map(|word| {
            let text = &rest[word.clone()];
            let span = statement.span(start + word.start..start + word.end);
            let Some((key, value)) = text.split_once('=') else {
                let text = format!(
                    "Syntax error - can't find = in {:?}. Must be of the form: name=value",
                    printable(text)
                );
                return Err(Diagnostic::new(span, text).help("quote a value with spaces in it"));
            };
            if key.is_empty() {
                return Err(Diagnostic::new(span, format!("{name} names can not be blank")));
            }
            Ok((key.to_owned(), value.to_owned()))
        });
        pairs.collect()
    }

    fn onbuild(
        &mut self,
        statement: &Statement,
        rest: &str,
        all: Span,
    ) -> Result<Kind, Diagnostic> {
        let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        let wrong = match trigger.as_str() {
            "" => return Err(at_least_one("ONBUILD", all)),
            "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
            "FROM" | "MAINTAINER" => format!("{trigger} isn't allowed as an ONBUILD trigger"),
            _ => String::new(),
        };
        if !wrong.is_empty() {
            return Err(Diagnostic::new(all, wrong));
        }
        let mut text = rest.to_owned();
        for heredoc in &statement.heredocs {
            text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
        }
        // A mistake shows now, not in the builds that the image is a base of.
        let directives = Directives { syntax: None, escape: self.escape, check: None };
        parse_trigger(&text, &directives).map_err(|found| Diagnostic { span: all, ..found })?;
        Ok(Kind::OnBuild(text))
    }

    fn healthcheck(&mut self, mut flags: Flags<'_>, all: Span) -> Result<Kind, Diagnostic> {
        let mut nanos = |name| -> Result<i64, Diagnostic> {
            let Some(value) = flags.one(name)? else { return Ok(0) };
            let parsed = duration(&value.text).ok_or_else(|| {
                let text = format!("invalid duration {:?} of --{name}", printable(&value.text));
                Diagnostic::new(value.span, text).help("write for example 30s or 1m30s")
            })?;
            if parsed != 0 && parsed < 1_000_000 {
                let text = format!("--{name} must be at least 1ms, or 0");
                return Err(Diagnostic::new(value.span, text));
            }
            Ok(parsed)
        };
        let mut check = Healthcheck {
            command: None,
            interval: nanos("interval")?,
            timeout: nanos("timeout")?,
            start_period: nanos("start-period")?,
            start_interval: nanos("start-interval")?,
            retries: 0,
        };
        if let Some(value) = flags.one("retries")? {
            check.retries =
                value.text.parse().ok().filter(|count| *count >= 0).ok_or_else(|| {
                    Diagnostic::new(value.span, "--retries is no number from 0 on")
                })?;
        }
        let rest = flags.finish()?;
        let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let arguments = arguments.trim();
        match kind.to_ascii_uppercase().as_str() {
            "NONE" if arguments.is_empty() => Ok(Kind::Healthcheck(check)),
            "NONE" => Err(Diagnostic::new(all, "HEALTHCHECK NONE takes no arguments")),
            "CMD" if arguments.is_empty() => {
                Err(Diagnostic::new(all, "Missing command after HEALTHCHECK CMD"))
            }
            "CMD" => {
                check.command = Some(match json(arguments) {
                    Some(words) => Words::Exec(words),
                    None => Words::Shell(arguments.to_owned()),
                });
                Ok(Kind::Healthcheck(check))
            }
            other => {
                let text = format!("Unknown type {:?} in HEALTHCHECK (try CMD)", printable(other));
                Err(Diagnostic::new(all, text).help("write HEALTHCHECK CMD command, or NONE"))
            }
        }
    }
}

fn stage(statement: &Statement, from: Instruction, escape: char) -> Result<Stage, Diagnostic> {
    let mut flags = Flags::read(statement, "FROM", escape);
    let start = flags.rest;
    let platform = flags.one("platform")?;
    let rest = flags.finish()?;
    let list: Vec<Spanned> = words(rest, escape)
        .into_iter()
        .map(|word| Spanned {
            text: rest[word.clone()].to_owned(),
            span: statement.span(start + word.start..start + word.end),
        })
        .collect();
    let wrong = |span| {
        Diagnostic::new(span, "FROM requires either one or three arguments")
            .help("write FROM image, or FROM image AS name")
    };
    let (base, name) = match list.as_slice() {
        [base] => (base.clone(), None),
        [base, word, name] if word.text.eq_ignore_ascii_case("as") => {
            let lower = name.text.to_ascii_lowercase();
            let mut characters = lower.chars();
            let fine = characters.next().is_some_and(|c| c.is_ascii_lowercase())
                && characters.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if !fine {
                let text = format!("invalid name for build stage: {:?}", printable(&name.text));
                return Err(Diagnostic::new(name.span, text)
                    .help("name can't start with a number or contain symbols"));
            }
            (base.clone(), Some(Spanned { text: lower, span: name.span }))
        }
        [] => return Err(wrong(from.span)),
        [_, second, ..] => return Err(wrong(second.span)),
    };
    Ok(Stage { from, base, platform, name, instructions: Vec::new() })
}

fn json(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

fn required(rest: &str, name: &str, what: &str, span: Span) -> Result<String, Diagnostic> {
    if rest.is_empty() {
        return Err(Diagnostic::new(span, format!("{name} requires {what}")));
    }
    Ok(rest.to_owned())
}

fn at_least_one(name: &str, span: Span) -> Diagnostic {
    Diagnostic::new(span, format!("{name} requires at least one argument"))
}

fn printable(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Reads a duration as Go writes it, in nanoseconds: `1h2m3.5s`, `100ms`, `0`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.');
        let unit_end = unit_end.map_or(rest.len(), |at| end + at);
        total += number
            * match &rest[end..unit_end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    #[allow(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (!text.is_empty() && total < 9e18).then_some(total as i64)
}
