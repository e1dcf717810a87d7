//! A command line pointed at one daemon.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::host::bin_dir;
use crate::pty::Pty;

/// Which program plays the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Our own.
    Teu,
    /// The stock docker CLI found on PATH.
    Docker,
}

/// A client program with the daemon it talks to.
#[derive(Clone, Debug)]
pub struct Client {
    program: Program,
    /// `None`: whatever the program finds by itself.
    daemon: Option<(String, PathBuf)>,
    environment: Vec<(String, String)>,
}

/// What a finished command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; 128 + n after signal n.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

impl Client {
    pub(crate) fn new(program: Program, address: String, config: PathBuf) -> Self {
        Self { program, daemon: Some((address, config)), environment: Vec::new() }
    }

    /// Our own command line and whatever daemon this host has, or will have once it is asked.
    pub fn of_this_host() -> Self {
        Self { program: Program::Teu, daemon: None, environment: Vec::new() }
    }

    /// The same with a variable more in its environment.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command with `args`, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match self.program {
            Program::Teu => Command::new(bin_dir().join("teu")),
            Program::Docker => Command::new("docker"),
        };
        command.args(args).env("TERM", "xterm").stdin(Stdio::null());
        // The classic builder: BuildKit is a client of its own.
        command.env("DOCKER_BUILDKIT", "0");
        if let Some((address, config)) = &self.daemon {
            command.env("DOCKER_HOST", address).env("DOCKER_CONFIG", config);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs to the end and returns what came out, whatever the exit code.
    pub fn try_run(&self, args: &[&str]) -> Result<Ran> {
        self.try_run_with_input(args, b"")
    }

    /// As [`Client::try_run`] with `input` on standard input.
    pub fn try_run_with_input(&self, args: &[&str], input: &[u8]) -> Result<Ran> {
        use std::io::Write;
        use std::os::unix::process::ExitStatusExt;
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let mut pipe = child.stdin.take().expect("stdin is piped");
        let input = input.to_vec();
        // A client that does not read its input closes the pipe: not this side's business.
        let typing = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let output = child.wait_with_output()?;
        typing.join().expect("the writer does not panic");
        let status = output.status;
        Ok(Ran {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: format!("{:?} {}", self.program, args.join(" ")),
        })
    }

    /// Runs to the end; a non-zero exit is an error with everything it printed. Returns stdout.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.try_run(args)?.ok()
    }

    /// Starts the command on a terminal of its own.
    pub fn terminal(&self, args: &[&str]) -> Result<Pty> {
        Pty::spawn(&self.command(args))
    }
}

impl Ran {
    /// Standard output of a command that succeeded.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!(
                "{} exited {}\nstdout: {}\nstderr: {}",
                self.command,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stdout)
    }
}
