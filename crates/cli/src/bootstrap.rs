//! `bootstrap`: a base image out of a distribution's packages.
//!
//! debootstrap installs into a temporary directory, in a mount namespace of
//! its own, so that nothing it mounts outlives it. The tree is cleaned, and
//! streamed as a tar to the daemon's import.

mod sources;
mod suite;
mod tree;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use docker_api::{Client, Request, encode_path};
use indicatif::ProgressBar;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use sources::Sources;
use suite::{Distribution, Target};

use crate::failure::Failure;
use crate::grammar::{Call, Outcome};
use crate::image::progress::{Progress, To, style};
use crate::pipe;
use crate::tarball;
use crate::terminal;

const VARIANTS: [&str; 3] = ["minbase", "buildd", "standard"];

/// `bootstrap [OPTIONS] NAME:SUITE`
pub(crate) async fn command(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let target = Target::parse(&call.args[0])?;
    let variant = flags.get("variant").unwrap_or("minbase");
    if !VARIANTS.contains(&variant) {
        return Err(
            format!("unknown variant {variant:?}: must be one of {}", VARIANTS.join(", ")).into()
        );
    }
    let sources = Sources::choose(&target, flags.get("mirror"), Path::new("/etc/apt"));
    let mut packages = flags.split("include");
    if sources.needs_certificates() && !packages.iter().any(|package| package == "ca-certificates")
    {
        packages.push("ca-certificates".to_owned());
    }
    let client = call.cli.client().await?;
    if exists(client, &target).await? && !flags.on("force") {
        println!("{} exists already; use --force to make it anew", target.reference());
        return Ok(0);
    }
    let debootstrap = find_debootstrap(&target)?;
    let directory = temporary_directory()?;
    let root = directory.path().join("root");
    println!("Making {} from {} {}", target.reference(), sources.mirror, target.suite);
    let plan = Plan { target: &target, sources: &sources, variant, packages: &packages };
    install(&debootstrap, &root, &plan).await?;
    let newest = tree::release_date(&root);
    tree::finish(&root, &sources).map_err(|e| format!("cannot finish the tree: {e}"))?;
    import(client, &root, newest, &plan).await?;
    directory.close().map_err(|e| format!("cannot remove the temporary directory: {e}"))?;
    println!("Status: Made {}", target.reference());
    Ok(0)
}

/// What to install, from where.
struct Plan<'a> {
    target: &'a Target,
    sources: &'a Sources,
    variant: &'a str,
    packages: &'a [String],
}

async fn exists(client: &Client, target: &Target) -> Result<bool, Failure> {
    let path = format!("/images/{}/json", encode_path(&target.reference()));
    match client.call(Request::get(path)).await {
        Ok(response) => {
            response.bytes().await?;
            Ok(true)
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn find_debootstrap(target: &Target) -> Result<PathBuf, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err("bootstrap installs packages into a directory, which only root can do".into());
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&search).collect();
    directories.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let Some(program) =
        directories.iter().map(|dir| dir.join("debootstrap")).find(|path| path.is_file())
    else {
        return Err("debootstrap is not installed: run 'apt-get install debootstrap' first".into());
    };
    let keyring = format!("/usr/share/keyrings/{}-archive-keyring.gpg", target.distribution.name());
    if !Path::new(&keyring).exists() {
        let package = match target.distribution {
            Distribution::Debian => "debian-archive-keyring",
            Distribution::Ubuntu => "ubuntu-keyring",
        };
        return Err(format!("{keyring} is missing: run 'apt-get install {package}' first").into());
    }
    Ok(program)
}

/// Makes the directory to install into; /tmp is often too small or mounted nodev.
fn temporary_directory() -> Result<tempfile::TempDir, Failure> {
    let parent =
        std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    tempfile::Builder::new()
        .prefix("teu-bootstrap-")
        .tempdir_in(&parent)
        .map_err(|e| format!("cannot make a directory in {}: {e}", parent.display()).into())
}

async fn install(debootstrap: &Path, root: &Path, plan: &Plan<'_>) -> Result<(), Failure> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(debootstrap);
    if plan.variant != "standard" {
        command.arg(format!("--variant={}", plan.variant));
    }
    command.arg(format!("--components={}", plan.sources.components.join(",")));
    command.arg(format!(
        "--keyring=/usr/share/keyrings/{}-archive-keyring.gpg",
        plan.target.distribution.name()
    ));
    if !plan.packages.is_empty() {
        command.arg(format!("--include={}", plan.packages.join(",")));
    }
    command.arg(plan.target.suite).arg(root).arg(&plan.sources.mirror);
    if let Some(script) = stand_in_script(plan.target) {
        command.arg(script);
    }
    command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cannot run debootstrap: {e}"))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("cannot read what debootstrap says".into());
    };
    let mut steps = Steps::new();
    let mut said = Vec::new();
    let (mut out, mut err) = (BufReader::new(stdout).lines(), BufReader::new(stderr).lines());
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let line = tokio::select! {
            line = out.next_line(), if out_open => { out_open = matches!(line, Ok(Some(_))); line }
            line = err.next_line(), if err_open => { err_open = matches!(line, Ok(Some(_))); line }
            _ = tokio::signal::ctrl_c() => {
                // The same signal ends debootstrap, which tidies up behind itself.
                let _ = child.wait().await;
                return Err(Failure::with_code(130, "interrupted"));
            }
        };
        if let Ok(Some(line)) = line {
            steps.show(&line);
            said.push(line);
        }
    }
    let status = child.wait().await?;
    steps.end();
    if status.success() {
        return Ok(());
    }
    let log = std::fs::read_to_string(root.join("debootstrap/debootstrap.log")).unwrap_or_default();
    let tail =
        |lines: Vec<&str>, count: usize| lines[lines.len().saturating_sub(count)..].join("\n  ");
    let mut text = format!(
        "debootstrap failed ({status}):\n  {}",
        tail(said.iter().map(String::as_str).collect(), 5)
    );
    if !log.trim().is_empty() {
        text.push_str("\nits log ends with:\n  ");
        text.push_str(&tail(log.lines().collect(), 10));
    }
    Err(text.into())
}

/// A debootstrap older than a suite installs it by the script of an earlier one.
fn stand_in_script(target: &Target) -> Option<String> {
    let scripts = Path::new("/usr/share/debootstrap/scripts");
    if scripts.join(target.suite).exists() {
        return None;
    }
    let stand_in = match target.distribution {
        Distribution::Debian => "sid",
        Distribution::Ubuntu => "gutsy",
    };
    Some(scripts.join(stand_in).to_string_lossy().into_owned())
}

/// Shows which step debootstrap is at.
struct Steps {
    bar: Option<ProgressBar>,
    step: String,
    count: u32,
    /// Which of the long steps were announced without a terminal.
    said: [bool; 4],
}

impl Steps {
    fn new() -> Self {
        let bar = terminal::stdout_is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {msg}"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, step: String::new(), count: 0, said: [false; 4] }
    }

    /// Takes a line such as `I: Retrieving libc6 2.36-9`.
    fn show(&mut self, line: &str) {
        let Some(text) = line.strip_prefix("I: ").or_else(|| line.strip_prefix("W: ")) else {
            return;
        };
        let (step, detail) = match text.split_once(' ') {
            Some((step, detail)) if step.ends_with("ing") => (step, detail.trim_end_matches("...")),
            _ => return,
        };
        if step == self.step {
            self.count += 1;
        } else {
            self.end_step();
            step.clone_into(&mut self.step);
            self.count = 1;
            let shown = ["Retrieving", "Extracting", "Unpacking", "Configuring"]
                .iter()
                .position(|s| *s == step);
            if let Some(index) = shown
                && self.bar.is_none()
                && !std::mem::replace(&mut self.said[index], true)
            {
                println!("{step} packages");
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "{step} {} ({})",
                detail.split(' ').next().unwrap_or_default(),
                self.count
            ));
        }
    }

    fn end_step(&self) {
        if let Some(bar) = &self.bar
            && self.count > 1
        {
            bar.println(format!("{}: {} packages", self.step, self.count));
        }
    }

    fn end(&self) {
        self.end_step();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn import(
    client: &Client,
    root: &Path,
    newest: Option<u64>,
    plan: &Plan<'_>,
) -> Result<(), Failure> {
    let (mut pipe, stream) = pipe::to_stream();
    let root = root.to_owned();
    let counter = pipe.counter();
    let writer = tokio::task::spawn_blocking(move || {
        if let Err(error) = tarball::write_tree(&root, newest, &mut pipe) {
            pipe.fail(error);
        }
    });
    let shell = match plan.target.distribution {
        Distribution::Debian => "CMD [\"bash\"]",
        Distribution::Ubuntu => "CMD [\"/bin/bash\"]",
    };
    let distribution = plan.target.distribution.name();
    let message =
        format!("Bootstrapped {distribution} {} from {}", plan.target.suite, plan.sources.mirror);
    let request = Request::post("/images/create")
        .query("fromSrc", "-")
        .query("repo", &plan.target.name)
        .query("tag", &plan.target.tag)
        .query("message", message)
        .query("changes", shell)
        .stream("application/x-tar", stream);
    let sent = show_bytes(client.call(request), &counter).await;
    writer.await.map_err(|e| format!("the tar writer broke: {e}"))?;
    Progress::new(To::Stdout).follow(sent?, |_| {}).await
}

/// Waits for an answer while a bar on the terminal shows what has been sent.
async fn show_bytes<T>(answer: impl Future<Output = T>, sent: &AtomicU64) -> T {
    if !terminal::stdout_is_terminal() {
        return answer.await;
    }
    let bar = ProgressBar::new_spinner();
    bar.set_style(style("{spinner} Importing {bytes} ({bytes_per_sec})"));
    let mut ticks = tokio::time::interval(Duration::from_millis(120));
    tokio::pin!(answer);
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            _ = ticks.tick() => bar.set_position(sent.load(Ordering::Relaxed)),
        }
    };
    bar.finish_and_clear();
    answer
}
