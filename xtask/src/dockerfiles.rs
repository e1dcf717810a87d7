//! Dockerfiles of other projects, built to the end and run.
//!
//! They are the user's copies; nothing of them is kept here. Each folder below the given one is a
//! context, and its name the image's (`@` stands for the colon of a tag). One that names another's image
//! is built after it. A file `.options` in it has further options of the build, one per line, a file
//! `.check` a script for the image's shell that must succeed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::docker_py::Daemon;
use crate::{root, run};

/// A folder that is built.
struct Folder {
    /// The image's name, and other names that its options give.
    names: Vec<String>,
    path: PathBuf,
    dockerfile: String,
    options: Vec<String>,
}

/// `DIR`: the contexts. `--dev` takes a debug build.
pub(crate) fn judge(options: &[&str]) -> Result<()> {
    let (dir, dev) = match options {
        [dir] => (dir, false),
        [dir, "--dev"] | ["--dev", dir] => (dir, true),
        _ => bail!("usage: cargo xtask e2e dockerfiles DIR [--dev], DIR a folder of contexts"),
    };
    let folders = in_order(folders(Path::new(dir))?);
    let mut build = vec!["build", "--locked", "--quiet", "--bin", "teu", "--bin", "teu-shim"];
    build.extend(Some("--release").filter(|_| !dev));
    run("cargo", &build)?;
    let built = if dev { "target/debug/teu" } else { "target/release/teu" };
    let own = root().join("target/dockerfiles");
    for stale in ["data", "run"] {
        // Of an earlier run; missing is fine.
        let _ = fs::remove_dir_all(own.join(stale));
    }
    fs::create_dir_all(&own)?;
    let daemon = Daemon::start(&root().join(built), &own, None)?;
    bases(&daemon, &own, &folders)?;
    let mut failed = Vec::new();
    for folder in &folders {
        let name = &folder.names[0];
        let start = Instant::now();
        let outcome = one(&daemon, folder);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(said) => println!("{name:<32} built and run  {seconds:>6.1} s  {said}"),
            Err(error) => {
                println!("{name:<32} FAILED         {seconds:>6.1} s\n{error:#}");
                failed.push(name.as_str());
            }
        }
    }
    if !failed.is_empty() {
        bail!("{} of {} failed: {}", failed.len(), folders.len(), failed.join(", "));
    }
    Ok(())
}

fn folders(dir: &Path) -> Result<Vec<Folder>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let options: Vec<String> = match fs::read_to_string(path.join(".options")) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        };
        let after = |option: &'static str| {
            let pairs = options.iter().zip(options.iter().skip(1));
            pairs.filter(move |(flag, _)| *flag == option).map(|(_, value)| value.clone())
        };
        let file = after("-f").next().unwrap_or_else(|| "Dockerfile".to_owned());
        let Ok(text) = fs::read_to_string(path.join(file)) else { continue };
        let own = path.file_name().unwrap_or_default().to_string_lossy().replace('@', ":");
        let names = [own].into_iter().chain(after("-t")).collect();
        found.push(Folder { names, dockerfile: with_defaults(text), path, options });
    }
    if found.is_empty() {
        bail!("{} has no folder with a Dockerfile", dir.display());
    }
    found.sort_by(|one, other| one.names.cmp(&other.names));
    Ok(found)
}

/// Puts the defaults of arguments in their places, for `FROM rust:${VERSION}`.
fn with_defaults(dockerfile: String) -> String {
    let args = dockerfile.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once('='));
    let args: Vec<(String, String)> =
        args.map(|(name, value)| (format!("${{{name}}}"), value.trim().to_owned())).collect();
    args.iter().fold(dockerfile, |text, (name, value)| text.replace(name, value))
}

/// Tells whether a Dockerfile speaks of an image by this very name: `debian:bookworm` is not
/// `debian:bookworm-slim`.
fn mentions(dockerfile: &str, name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    dockerfile
        .split(|c| !is_name(c))
        .any(|word| word.trim_start_matches("docker.io/library/") == name)
}

/// Bases before what stands on them, else by name.
fn in_order(mut pending: Vec<Folder>) -> Vec<Folder> {
    let mut ordered = Vec::new();
    while !pending.is_empty() {
        let is_ready = |folder: &Folder| {
            let others = pending.iter().filter(|other| other.path != folder.path);
            let mut names = others.flat_map(|other| &other.names);
            !names.any(|name| mentions(&folder.dockerfile, name))
        };
        // Folders that need each other are left to the build to complain of.
        let next = pending.iter().position(is_ready).unwrap_or(0);
        ordered.push(pending.remove(next));
    }
    ordered
}

/// Installs the Debian releases that the files stand on, or takes them from an earlier run.
fn bases(daemon: &Daemon, own: &Path, folders: &[Folder]) -> Result<()> {
    let froms = folders.iter().flat_map(|folder| folder.dockerfile.lines());
    let froms = froms.filter_map(|line| line.strip_prefix("FROM debian:"));
    let tags: BTreeSet<&str> = froms.filter_map(|rest| rest.split_whitespace().next()).collect();
    for tag in tags {
        let name = format!("debian:{tag}");
        if folders.iter().any(|folder| folder.names.contains(&name)) {
            continue;
        }
        let saved = own.join(format!("{tag}.tar")).to_string_lossy().into_owned();
        if Path::new(&saved).is_file() {
            daemon.ask(&["load", "-i", &saved])?;
        } else {
            daemon.ask(&["bootstrap", &name])?;
            daemon.ask(&["save", "-o", &saved, &name])?;
        }
    }
    Ok(())
}

fn one(daemon: &Daemon, folder: &Folder) -> Result<String> {
    let (name, context) = (folder.names[0].as_str(), folder.path.to_string_lossy());
    let mut build = vec!["build", "-t", name];
    let file;
    match folder.options.iter().position(|option| option == "-f") {
        // It is below the folder, wherever this program runs.
        Some(at) if at + 1 < folder.options.len() => {
            file = format!("{context}/{}", folder.options[at + 1]);
            build.extend(folder.options[..=at].iter().map(String::as_str));
            build.push(&file);
            build.extend(folder.options[at + 2..].iter().map(String::as_str));
        }
        _ => build.extend(folder.options.iter().map(String::as_str)),
    }
    build.push(&context);
    daemon.ask(&build)?;
    let Ok(check) = fs::read_to_string(folder.path.join(".check")) else {
        return Ok("(no .check)".to_owned());
    };
    let said = daemon.ask(&["run", "--rm", "--entrypoint", "/bin/sh", name, "-ec", &check])?;
    Ok(said.lines().next().unwrap_or_default().chars().take(60).collect())
}
