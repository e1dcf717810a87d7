//! A daemon that is killed at any step loses nothing that it acknowledged and leaves nothing over.
//!
//! The daemon is this test program run again: it opens an engine on the roots it is given and does
//! what its script says, one line of answer for each line of script. It is killed with SIGKILL,
//! by the test or at a named step by itself, and an engine opened on the same roots is judged.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use engine::container::{
    EndpointSettings, ListFilter, NetworkMode, RemoveOptions, Status, StopOptions, WaitCondition,
};
use engine::event::EventRange;
use engine::filter::Filters;
use engine::{Engine, ErrorKind};
use futures_util::StreamExt;

use crate::lab::{Lab, make_image, request};

const SCRIPT: &str = "TEU_TEST_DAEMON";

/// Not a test of its own: the daemon of the others.
#[test]
fn daemon_of_the_other_tests() {
    let Ok(roots) = std::env::var(SCRIPT) else { return };
    let config = Lab::config_from(&roots);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::open(config).await.unwrap();
        make_image(&engine).await;
        println!("\nready");
        for line in std::io::stdin().lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            let said = match words.as_slice() {
                ["create", name, policy, command @ ..] => {
                    let mut request = request(command);
                    request.name = Some((*name).to_owned());
                    let name = ("name".to_owned(), (*name).to_owned());
                    request.host_config.annotations.extend([name]);
                    request.host_config.restart_policy.name = policy.parse().unwrap();
                    engine.container_create(request).await.map(drop)
                }
                ["bridged", name] => {
                    let mut request = request(&["sleep", "1000"]);
                    request.name = Some((*name).to_owned());
                    request.host_config.network_mode = NetworkMode::Bridge;
                    engine.container_create(request).await.map(drop)
                }
                ["start", name] => engine.container_start(name).await,
                ["stop", name] => engine.container_stop(name, StopOptions::default()).await,
                ["remove", name] => {
                    let options = RemoveOptions { force: true, ..RemoveOptions::default() };
                    engine.container_remove(name, options).await
                }
                ["network", name] => {
                    let name = (*name).to_owned();
                    let request = network::NetworkRequest { name, ..Default::default() };
                    engine.network_create(request).await.map(drop)
                }
                ["connect", network, name] => {
                    engine.network_connect(network, name, EndpointSettings::default()).await
                }
                ["disconnect", network, name] => {
                    engine.network_disconnect(network, name, false).await
                }
                ["wait", name] => {
                    let wait =
                        engine.container_wait(name, WaitCondition::NotRunning).await.unwrap();
                    wait.await;
                    Ok(())
                }
                other => panic!("{other:?}"),
            };
            println!("\n{}", said.map_or_else(|error| format!("error {error}"), |()| "ok".into()));
        }
    });
}

struct Daemon {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(lab: &Lab, crash_at: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::daemon_of_the_other_tests", "--nocapture"])
            .env(SCRIPT, lab.roots(crash_at))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut daemon = Self { child, stdin, stdout };
        assert_eq!(daemon.answer().as_deref(), Some("ready"));
        daemon
    }

    /// `None` when the daemon died of it.
    fn ask(&mut self, line: &str) -> Option<String> {
        writeln!(self.stdin, "{line}").ok()?;
        self.answer()
    }

    fn answer(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The test harness talks in between.
            let line = line.trim();
            if line == "ok" || line == "ready" || line.starts_with("error") {
                return Some(line.to_owned());
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn containers_outlive_the_daemon_and_are_found_again() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = Daemon::start(&lab, "");
    for line in [
        "create runs no sleep 1000",
        "create always always sleep 1000",
        "create never no true",
        "start runs",
        "start always",
    ] {
        assert_eq!(daemon.ask(line).as_deref(), Some("ok"), "{line}");
    }
    daemon.kill();
    let mut daemon = Daemon::start(&lab, "");
    assert_eq!(daemon.ask("stop runs").as_deref(), Some("ok"));
    daemon.kill();
    lab.run(|engine| async move {
        let status = |name: &'static str| {
            let engine = engine.clone();
            async move { engine.container_inspect(name).await.unwrap().record.state.clone() }
        };
        assert_eq!(status("runs").await.status, Status::Exited);
        assert_eq!(status("never").await.status, Status::Created);
        let always = status("always").await;
        assert_eq!(always.status, Status::Running);
        assert!(alive(always.pid));
        remove_all(&engine).await;
    });
    lab.assert_clean();
}

#[test]
fn an_end_while_no_daemon_ran_is_known_afterwards() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = Daemon::start(&lab, "");
    assert_eq!(daemon.ask("create short no sleep 1000").as_deref(), Some("ok"));
    assert_eq!(daemon.ask("start short").as_deref(), Some("ok"));
    daemon.kill();
    // Its own SIGTERM handler is none, so the signal has to be the one that cannot be ignored.
    let pid = lab.init_pid("short");
    let pidfd = linux::process::Pidfd::open(pid).unwrap();
    pidfd.kill().unwrap();
    lab.wait_for_shims_to_end();
    lab.run(|engine| async move {
        let state = engine.container_inspect("short").await.unwrap().record.state.clone();
        assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
        assert_eq!(state.error, "");
        remove_all(&engine).await;
    });
    lab.assert_clean();
}

#[test]
fn a_second_daemon_is_refused_and_told_who_holds_the_root() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab, "");
    let pid = daemon.child.id();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(Engine::open(lab.config())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains(&format!("(process {pid})")), "{refused}");
    daemon.kill();
}

#[test]
fn every_step_can_be_the_last() {
    let Some(lab) = Lab::new() else { return };
    let steps = [
        ("create:layer", "create"),
        ("create:volumes", "create"),
        ("create:record", "create"),
        ("start:bundle", "start"),
        ("start:network", "start"),
        ("start:config", "start"),
        ("start:shim", "start"),
        ("start:ready", "start"),
        ("start:record", "start"),
        ("remove:killed", "remove"),
        ("remove:record", "remove"),
    ];
    for (step, operation) in steps {
        let mut daemon = Daemon::start(&lab, step);
        let mut died = None;
        for line in ["create it no sleep 1000", "start it", "remove it"] {
            if daemon.ask(line).is_none() {
                died = line.split(' ').next();
                break;
            }
        }
        assert_eq!(died, Some(operation), "{step}");
        daemon.child.wait().unwrap();
        lab.run(|engine| async move {
            let all = ListFilter { all: true, ..ListFilter::default() };
            for found in engine.container_list(all).await.unwrap() {
                let state = found.record.state.clone();
                match state.status {
                    Status::Running => assert!(alive(state.pid), "{step}"),
                    Status::Created | Status::Exited => {}
                    other => panic!("{step}: {other}"),
                }
                if operation == "remove" {
                    continue;
                }
                // What was begun works again.
                if state.status == Status::Running {
                    engine.container_kill("it", None).await.unwrap();
                }
                engine.container_start("it").await.unwrap();
            }
            remove_all(&engine).await;
        });
        lab.assert_clean();
    }
}

#[test]
fn connections_are_completed_by_the_next_daemon() {
    let Some(lab) = Lab::new() else { return };
    for (step, operation, connected) in [
        ("connect:record", "connect", true),
        ("connect:endpoint", "connect", true),
        ("disconnect:record", "disconnect", false),
        ("disconnect:endpoint", "disconnect", false),
    ] {
        let mut daemon = Daemon::start(&lab, step);
        let mut died = None;
        for line in
            ["network mynet", "bridged it", "start it", "connect mynet it", "disconnect mynet it"]
        {
            if daemon.ask(line).is_none() {
                died = line.split(' ').next();
                break;
            }
        }
        assert_eq!(died, Some(operation), "{step}");
        daemon.child.wait().unwrap();
        lab.run(|engine| async move {
            let found = engine.container_inspect("it").await.unwrap();
            let inside = engine.network_inspect("mynet").await.unwrap().endpoints;
            assert_eq!(inside.len(), usize::from(connected), "{step}");
            let endpoint = found.record.networks.get("mynet");
            assert_eq!(endpoint.is_some(), connected, "{step}");
            assert!(endpoint.is_none_or(|endpoint| endpoint.live.is_some()), "{step}");
            // In the container's own namespace, as the record says.
            let devices = format!("/proc/{}/net/dev", found.record.state.pid);
            let devices = std::fs::read_to_string(devices).unwrap();
            assert_eq!(devices.contains("eth1:"), connected, "{step}: {devices}");
            remove_all(&engine).await;
            engine.network_remove("mynet").await.unwrap();
        });
        lab.assert_clean();
    }
}

#[test]
fn a_restart_policy_reaches_over_the_daemon() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = Daemon::start(&lab, "");
    for line in [
        "create always always sleep 1000",
        "create unless unless-stopped sleep 1000",
        "create stopped unless-stopped sleep 1000",
        "start always",
        "start unless",
        "start stopped",
        "stop stopped",
        "stop always",
    ] {
        assert_eq!(daemon.ask(line).as_deref(), Some("ok"), "{line}");
    }
    daemon.kill();
    linux::process::Pidfd::open(lab.init_pid("unless")).unwrap().kill().unwrap();
    lab.wait_for_shims_to_end();
    lab.run(|engine| async move {
        for name in ["always", "unless"] {
            wait_for_start(&engine, name).await;
            let status = engine.container_inspect(name).await.unwrap().record.state.status;
            assert_eq!(status, Status::Running, "{name}");
        }
        let stopped = engine.container_inspect("stopped").await.unwrap().record.state.clone();
        assert_eq!(stopped.status, Status::Exited);
        remove_all(&engine).await;
    });
    lab.assert_clean();
}

async fn remove_all(engine: &Engine) {
    let all = ListFilter { all: true, ..ListFilter::default() };
    for found in engine.container_list(all).await.unwrap() {
        let options = RemoveOptions { force: true, volumes: true, link: false };
        engine.container_remove(found.record.id.as_str(), options).await.unwrap();
    }
}

/// Waits for the start event of a container, unless it runs already.
async fn wait_for_start(engine: &Engine, name: &str) {
    let since = EventRange { since_nanos: Some(0), until_nanos: None };
    let mut events = engine.events(Filters::new(), since).unwrap();
    let running = || async {
        let found = engine.container_inspect(name).await.unwrap();
        found.record.state.status == Status::Running
    };
    while !running().await {
        events.next().await.unwrap();
    }
}
