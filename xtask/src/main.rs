//! Project tasks: `cargo xtask check | tidy | vm-test | bench … | e2e …`; without any it lists them.

mod bench;
mod check;
mod docker_py;
mod dockerfiles;
mod mesos_framework;
mod tidy;
mod vm;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask TASK
  check                          fmt, clippy, docs, unit tests, tidy
  tidy                           what no compiler checks: module docs, layering, file sizes
  vm-test [FILTER…]              tests under Debian's kernel with cgroup v2, in a virtual machine
  bench start [--runs N]         run, exec, create/start/stop/rm beside docker and podman
  bench image [--runs N]         pull, unpack, save, load, commit beside docker and podman
  bench build [--runs N]         30 steps, wide stages, large contexts beside docker and podman
  bench net [--runs N] [rates] [connect] [names] [ports]
                                 throughput and requests, connect, names, published ports beside
                                 docker and podman; or some of these
  bench cluster [--runs N] [--size AGENTS/TASKS[/IN-FLIGHT]]… [--master IP:PORT [--pid PID]] [-- LOAD FLAGS]
                                 simulated agents and tasks against a master, ours unless told
  bench tasks [--runs N] [--tasks N]
                                 containers that one agent launches in a second, beside dockerd
  e2e docker-py --suite PATH     docker-py's own integration tests against a daemon of ours
  e2e dockerfiles DIR            builds and runs the Dockerfiles below a folder
  e2e mesos-framework --master HOST:PORT --image IMAGE
                                 one task by the npm client of that name on a running cluster";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["check"] => check::run_all(),
        ["tidy"] => tidy::run(),
        ["vm-test", filters @ ..] => vm::run(filters),
        ["bench", "start", options @ ..] => bench::start(options),
        ["bench", "image", options @ ..] => bench::image(options),
        ["bench", "build", options @ ..] => bench::build(options),
        ["bench", "net", options @ ..] => bench::net(options),
        // Started by `bench net` in a container's network.
        ["bench", "names-load", options @ ..] => bench::names_load(options),
        ["bench", "cluster", options @ ..] => bench::cluster(options),
        ["bench", "tasks", options @ ..] => bench::tasks(options),
        ["e2e", "mesos-framework", options @ ..] => mesos_framework::judge(options),
        ["e2e", "dockerfiles", options @ ..] => dockerfiles::judge(options),
        ["e2e", "docker-py", options @ ..] => docker_py::run_suite(options),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root.
fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask is a folder of the workspace").to_owned()
}

/// Runs a command in the workspace's root; a non-zero exit is an error.
fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .status()
        .with_context(|| format!("start {program}"))?;
    if !status.success() {
        bail!("{program} {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// Runs a command in the workspace's root and returns what it printed.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} ended with {}: {said}", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
