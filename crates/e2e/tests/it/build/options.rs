//! Every option of `build`: what it does, seen from outside, and the page that says so.
//!
//! [`table::ROWS`] has a row per option, with Dockerfiles that judge themselves, refusals, and looks at
//! what came of it. `docs/build-options.md` is the same table for people; a stale one fails here.

mod acts;
mod page;
mod table;

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use e2e::Program;

use super::{Files, World, build, with};
use table::{Check, ROWS, Row};

#[test]
fn every_option_acts_with_teu() -> Result<()> {
    with(Program::Teu, |world| options_act(world, |_| true))
}

#[test]
fn every_option_acts_with_docker() -> Result<()> {
    let known = names_in_help(std::process::Command::new("docker").args(["build", "--help"]))?;
    ensure!(known.len() > 25, "docker's help names {known:?}");
    OF_DOCKER.set(known).ok();
    with(Program::Docker, |world| {
        options_act(world, |row| OF_DOCKER.get().is_some_and(|known| known.contains(row.name())))
    })
}

/// What the stock command line has, without its plugin.
static OF_DOCKER: std::sync::OnceLock<BTreeSet<String>> = std::sync::OnceLock::new();

fn options_act(world: &World, chosen: impl Fn(&Row) -> bool) -> Result<()> {
    let mut failed = Vec::new();
    for row in ROWS.iter().filter(|row| chosen(row)) {
        for check in row.checks {
            if let Err(error) = acts(world, row, check) {
                failed.push(format!("{}: {error:#}", row.option));
            }
        }
    }
    super::nothing_is_left(world)?;
    if failed.is_empty() { Ok(()) } else { bail!("{} fail\n{}", failed.len(), failed.join("\n")) }
}

fn acts(world: &World, row: &Row, check: &Check) -> Result<()> {
    let ran = |args: &[&str], lines: &str| {
        let dockerfile = format!("FROM busybox\n{lines}\n");
        let files = Files::new(world, row.name(), &[("Dockerfile", &dockerfile), ("a", "a\n")])?;
        build(world, &files, args)
    };
    match check {
        Check::Builds(args, lines) => ran(args, lines)?.ok().map(drop),
        Check::Refuses(args, message) => {
            // Limits are looked at when the command runs, so it must not be in the cache.
            let ran = ran(args, &format!("RUN echo {}", row.name()))?;
            let told = format!("{}{}", ran.stdout, ran.stderr);
            let fits = message.split(" | ").any(|message| told.contains(message));
            ensure!(ran.code != 0 && fits, "{args:?}: not {message:?}: {ran:?}");
            Ok(())
        }
        Check::Does(act) => act(world),
    }
}

/// Those of Docker's plugin for BuildKit, which `docker build --help` shows only where it is installed.
const OF_BUILDX: &str = "add-host allow annotation attest build-arg build-context builder cache-from \
    cache-to call cgroup-parent check file iidfile label load metadata-file network no-cache \
    no-cache-filter output platform progress provenance pull push quiet sbom secret shm-size ssh tag \
    target ulimit";

#[test]
fn no_option_is_forgotten() -> Result<()> {
    let rows: BTreeSet<&str> = ROWS.iter().map(Row::name).collect();
    let mut known: BTreeSet<String> = OF_BUILDX.split_whitespace().map(str::to_owned).collect();
    known.extend(names_in_help(std::process::Command::new("docker").args(["build", "--help"]))?);
    let teu = e2e::bin_dir().join("teu");
    known.extend(names_in_help(std::process::Command::new(teu).args(["build", "--help"]))?);
    let missing: Vec<&String> = known.iter().filter(|name| !rows.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "no row for {missing:?}");
    Ok(())
}

/// Nothing where the program is not installed.
pub(crate) fn names_in_help(command: &mut std::process::Command) -> Result<BTreeSet<String>> {
    let Ok(help) = command.env("DOCKER_BUILDKIT", "0").output() else {
        return Ok(BTreeSet::new());
    };
    let help = String::from_utf8(help.stdout)?;
    let words = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let is_name =
        |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    Ok(words.filter(is_name).map(str::to_owned).collect())
}
