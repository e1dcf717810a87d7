//! `cluster up`: a whole cluster on one host, for as long as this command runs.
//!
//! Master and agent are children in process groups of their own, so that Ctrl-C reaches this
//! process alone and they are stopped one after the other: agent, master, daemon. The daemon is
//! started only if none answers. Tasks go on when the cluster is stopped; the next `cluster up`
//! with the same directory finds them again. Killed, this command takes its children with it: the
//! kernel tells each of them that its parent has ended.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal,
};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::view::{View, list};
use crate::cli;
use crate::failure::Failure;
use crate::grammar::{Call, Outcome};

// What the flags are unless given; the help shows them.
pub(crate) const IP: &str = "127.0.0.1";
pub(crate) const PORT: &str = "5050";
pub(crate) const AGENT_PORT: &str = "5051";
pub(crate) const WORK_DIR: &str = "/var/lib/teu/cluster";

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// Before the verb: this process is to end with its parent, which has that number.
const ENDS_WITH: &str = "--ends-with=";

/// Takes the word of [`ENDS_WITH`] off a command line and does what it says. A role does so itself,
/// since only the child can ask the kernel for it.
///
/// # Errors
/// When the parent has ended already.
pub(crate) fn end_with_parent(args: &mut Vec<OsString>) -> Result<(), String> {
    let word = args.get(1).and_then(|word| word.to_str()?.strip_prefix(ENDS_WITH));
    let Some(parent) = word.map(str::to_owned) else { return Ok(()) };
    args.remove(1);
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| format!("cannot ask to end with the parent process: {error}"))?;
    // It may have ended before the kernel was asked.
    let now = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_deref() == Some(&parent) {
        Ok(())
    } else {
        Err(format!("the parent process {parent} has ended"))
    }
}

/// A role that runs as a child.
#[derive(Debug)]
struct Role {
    name: &'static str,
    child: Child,
}

/// `cluster up [OPTIONS]`
pub(crate) async fn up(call: Call<'_>) -> Outcome {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut roles = Vec::new();
    let outcome = tokio::select! {
        outcome = run(&call, &mut roles) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    let stopped = stop(roles).await;
    outcome.and(stopped).map(|()| 0)
}

/// Starts everything and waits for one of them to end, which none should.
async fn run(call: &Call<'_>, roles: &mut Vec<Role>) -> Result<(), Failure> {
    let flags = &call.flags;
    let ip = flags.text_or("ip", IP);
    let port = flags.text_or("port", PORT);
    let master = format!("{ip}:{port}");
    let work_dir = flags.text_or("work-dir", WORK_DIR).trim_end_matches('/');
    if call.cli.client().await.is_err() {
        roles.push(start("daemon", &[])?);
        until(roles, "the daemon answers", async || call.cli.client().await.is_ok()).await?;
    }
    let mut words = vec![
        format!("--ip={ip}"),
        format!("--port={port}"),
        format!("--work_dir={work_dir}/master"),
    ];
    words.extend_from_slice(flags.all("master-flag"));
    roles.push(start("master", &words)?);
    until(roles, "the master answers", async || agents_at(&master).await.is_some()).await?;

    let mut words = vec![
        format!("--master={master}"),
        format!("--ip={ip}"),
        format!("--port={}", flags.text_or("agent-port", AGENT_PORT)),
        format!("--work_dir={work_dir}/agent"),
        "--containerizers=docker,mesos".to_owned(),
    ];
    let more = flags.all("agent-flag");
    let engine_given = more.iter().any(|flag| flag.starts_with("--docker_socket="));
    if !engine_given && cli::env("MESOS_DOCKER_SOCKET").is_none() {
        // That of this command, whichever that is.
        words.push(format!("--docker_socket={}", call.cli.client().await?.host()));
    }
    words.extend_from_slice(more);
    roles.push(start("agent", &words)?);
    until(roles, "the agent registers", async || agents_at(&master).await > Some(0)).await?;
    println!("The cluster is up: master at {master}, one agent. Ctrl-C stops it; tasks go on.");

    loop {
        ended(roles)?;
        tokio::time::sleep(PAUSE * 4).await;
    }
}

fn start(name: &'static str, words: &[String]) -> Result<Role, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("cannot start 'teu {name}': {error}"));
    let child = Command::new(std::env::current_exe().map_err(failed)?)
        .arg0("teu")
        .arg(format!("{ENDS_WITH}{}", getpid().as_raw_nonzero()))
        .arg(name)
        .args(words)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    Ok(Role { name, child })
}

/// Active agents of the master; `None` if it does not answer.
async fn agents_at(master: &str) -> Option<usize> {
    let state = View::new(master).ok()?.get("/slaves").await.ok()?;
    Some(list(&state, "slaves").iter().filter(|agent| agent["active"] == true).count())
}

async fn until(
    roles: &mut [Role],
    what: &str,
    mut holds: impl AsyncFnMut() -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + START_TIMEOUT;
    while !holds().await {
        ended(roles)?;
        if Instant::now() > deadline {
            let seconds = START_TIMEOUT.as_secs();
            return Err(
                format!("gave up waiting until {what} ({seconds} s); its log is above").into()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// An error if one of them has ended.
fn ended(roles: &mut [Role]) -> Result<(), Failure> {
    for role in roles {
        if let Some(status) = role.child.try_wait()? {
            let name = role.name;
            return Err(
                format!("'teu {name}' ended with {status}; its last words are above").into()
            );
        }
    }
    Ok(())
}

/// Stops them, the last started first; goes on past those that resist.
async fn stop(roles: Vec<Role>) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for mut role in roles.into_iter().rev() {
        let name = role.name;
        let Some(pid) =
            role.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        let _ = kill_process(pid, Signal::TERM); // fails only if it has ended, which is the aim
        match tokio::time::timeout(STOP_TIMEOUT, role.child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => failures.push(format!("cannot wait for 'teu {name}': {error}")),
            Err(_) => {
                let seconds = STOP_TIMEOUT.as_secs();
                failures
                    .push(format!("'teu {name}' did not end within {seconds} s and was killed"));
                let _ = role.child.kill().await; // it may have ended meanwhile
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}
