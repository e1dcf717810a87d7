//! How a command fails: what is printed, and the exit code.

use std::fmt;

/// The exit code of an engine's or this program's own refusal to run something.
pub(crate) const REFUSED: u8 = 125;

/// What a shell says of a command whose reader has gone (`teu ps | head -1`): SIGPIPE ended it.
const READER_GONE: u8 = 128 + 13;

/// Makes a command end in silence where it prints to a reader that has gone. The standard library
/// turns SIGPIPE off and has `println!` panic instead.
pub(crate) fn end_with_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload_as_str().unwrap_or_default();
        if what.starts_with("failed printing to std") && what.contains("Broken pipe") {
            std::process::exit(READER_GONE.into());
        }
        report(panic);
    }));
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Printed on stderr as it is; nothing when empty.
    pub(crate) text: String,
    pub(crate) code: u8,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    pub(crate) fn with_code(code: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), code }
    }

    /// A flag that cannot be understood.
    pub(crate) fn flag(message: String, path: &str, usage: String) -> Self {
        let text =
            format!("{message}\n\nUsage:  {usage}\n\nRun '{path} --help' for more information");
        Self { text, code: REFUSED }
    }

    /// A wrong number of arguments.
    pub(crate) fn arguments(message: String, path: &str, usage: String, word: &str) -> Self {
        let program = path.split(' ').next().unwrap_or(path);
        let text = format!(
            "{program}: {message}\n\nUsage:  {usage}\n\n{word} '{path} --help' for more information"
        );
        Self { text, code: 1 }
    }

    /// A refusal of `run`: `teu: MESSAGE` and where to read more.
    pub(crate) fn run(code: u8, message: &str, path: &str) -> Self {
        let program = path.split(' ').next().unwrap_or(path);
        let text = format!("{program}: {message}\n\nRun '{path} --help' for more information");
        Self { text, code }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<docker_api::Error> for Failure {
    fn from(error: docker_api::Error) -> Self {
        Self::new(describe(&error))
    }
}

impl From<scheduler::Error> for Failure {
    fn from(error: scheduler::Error) -> Self {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::new(format!("{error}{}", source.unwrap_or_default()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::with_code(READER_GONE, "");
        }
        Self::new(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// The exit code that shells give to a command that cannot be started for this reason: 127 where it
/// is not found, 126 where it is not executable.
pub(crate) fn code_of_shells(text: &str) -> Option<u8> {
    let text = text.to_ascii_lowercase();
    let says = |words: [&str; 2]| words.iter().any(|words| text.contains(words));
    if says(["executable file not found", "no such file or directory"]) {
        Some(127)
    } else if says(["permission denied", "is a directory"]) {
        Some(126)
    } else {
        None
    }
}

/// Says what went wrong between this program and the daemon.
pub(crate) fn describe(error: &docker_api::Error) -> String {
    use docker_api::Error::Connect;
    let Connect { host, source } = error else {
        return error.to_string();
    };
    let product = crate::cli::product();
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => format!(
            "permission denied while trying to connect to the {product} daemon socket at {host}: \
             be root or a member of the socket's group"
        ),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            let program = crate::cli::program();
            format!(
                "Cannot connect to the {product} daemon at {host}. Is the {program} daemon running?"
            )
        }
        _ => format!("error during connect: {host}: {source}"),
    }
}
