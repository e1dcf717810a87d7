//! The Dockerfile language: from text to instructions that know where they stand. Nothing here is
//! replaced, looked up or run.

mod flags;
mod lines;
mod parse;

pub use lines::{Directives, Heredoc};
pub use parse::{parse, parse_trigger};

use crate::diagnostic::{Diagnostic, Span};

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What the file says of itself.
    pub directives: Directives,
    /// ARGs in front of the first FROM.
    pub global_args: Vec<Instruction>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// What is fine now and may not be later.
    pub warnings: Vec<Diagnostic>,
}

/// A stage: FROM and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The FROM instruction's text and place.
    pub from: Instruction,
    /// The image or stage as written.
    pub base: Spanned,
    /// `--platform`
    pub platform: Option<Spanned>,
    /// `AS`, in lower case.
    pub name: Option<Spanned>,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// A word and its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spanned {
    /// The word.
    pub text: String,
    /// The place.
    pub span: Span,
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Its text with continued lines joined, heredocs not included.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// What it says.
    pub kind: Kind,
}

/// A command: a line for the shell, or the words themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// Goes to the shell.
    Shell(String),
    /// A JSON array.
    Exec(Vec<String>),
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Only in front of the stages' own instructions; [`Stage`] has its parts.
    From,
    /// `ARG name[=default] …`
    Arg(Vec<(String, Option<String>)>),
    /// `ENV key=value …`, values with their quotes.
    Env(Vec<(String, String)>),
    /// `LABEL key=value …`, both with their quotes.
    Label(Vec<(String, String)>),
    /// `RUN`
    Run(Run),
    /// `CMD`
    Cmd(Words),
    /// `ENTRYPOINT`
    Entrypoint(Words),
    /// `SHELL`
    Shell(Vec<String>),
    /// `COPY` and `ADD`
    Copy(Copy),
    /// `WORKDIR`
    Workdir(String),
    /// `USER`
    User(String),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `ONBUILD`: the trigger as text.
    OnBuild(String),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `MAINTAINER`
    Maintainer(String),
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command; for a heredoc alone, its content.
    pub command: Words,
    /// Heredocs that the command line mentions.
    pub heredocs: Vec<Heredoc>,
    /// Whether the command is a heredoc and nothing else.
    pub is_script: bool,
    /// `--mount`, in order.
    pub mounts: Vec<Spanned>,
    /// `--network`
    pub network: Option<Spanned>,
    /// `--security`
    pub security: Option<Spanned>,
    /// `--device`
    pub devices: Vec<Spanned>,
}

/// A source of COPY and ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, pattern or URL.
    Path(Spanned),
    /// A heredoc: a file of that name.
    Inline(Heredoc),
}

/// `COPY` and `ADD`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// ADD: URLs are fetched, archives unpacked.
    pub is_add: bool,
    /// What to copy.
    pub sources: Vec<Source>,
    /// Where to.
    pub destination: String,
    /// `--from`
    pub from: Option<Spanned>,
    /// `--chown`
    pub chown: Option<Spanned>,
    /// `--chmod`
    pub chmod: Option<Spanned>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`
    pub exclude: Vec<Spanned>,
    /// `--checksum`
    pub checksum: Option<Spanned>,
    /// `--keep-git-dir`
    pub keep_git_dir: bool,
    /// `--unpack`
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// `None` turns an inherited one off.
    pub command: Option<Words>,
    /// Nanoseconds; 0 where not given.
    pub interval: i64,
    /// Nanoseconds; 0 where not given.
    pub timeout: i64,
    /// Nanoseconds; 0 where not given.
    pub start_period: i64,
    /// Nanoseconds; 0 where not given.
    pub start_interval: i64,
    /// 0 where not given.
    pub retries: i64,
}

/// Every instruction.
pub(crate) const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

#[cfg(test)]
mod tests;
