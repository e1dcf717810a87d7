//! start, stop, restart, kill, pause, wait, restart policies, health.

use anyhow::{Result, ensure};
use e2e::eventually;

use crate::{World, with};

both_clients!(
    stop_is_graceful_then_forced,
    kill_sends_the_signal,
    pause_freezes,
    restart_and_wait,
    restart_of_one_that_removes_itself,
    restart_policy_counts,
    always_restarts_until_stopped,
    health_is_checked,
    prune_removes_what_is_stopped,
    top_and_stats,
    events_tell_the_story,
    the_daemon_tells_about_itself,
);

fn state(world: &World, template: &str) -> Result<String> {
    Ok(world.client.run(&["inspect", "-f", template, "cc"])?.trim().to_owned())
}

fn stop_is_graceful_then_forced(world: &World) -> Result<()> {
    let script = "trap 'exit 11' TERM; echo ready; while :; do sleep 0.05; done";
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sh", "-c", script])?;
    eventually("the trap is set", || {
        ensure!(world.client.run(&["logs", "cc"])? == "ready\n");
        Ok(())
    })?;
    ensure!(world.client.run(&["stop", "cc"])? == "cc\n");
    ensure!(state(world, "{{.State.Status}} {{.State.ExitCode}}")? == "exited 11");
    world.client.run(&["stop", "cc"])?;
    world.client.run(&["rm", "cc"])?;
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    world.client.run(&["stop", "-t", "0", "cc"])?;
    ensure!(state(world, "{{.State.ExitCode}} {{.State.OOMKilled}}")? == "137 false");
    Ok(())
}

fn kill_sends_the_signal(world: &World) -> Result<()> {
    let script = "trap 'echo got-hup' HUP; echo ready; while :; do sleep 0.05; done";
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sh", "-c", script])?;
    let logs = |text: &str| {
        eventually("the log has it", || {
            ensure!(world.client.run(&["logs", "cc"])?.contains(text));
            Ok(())
        })
    };
    logs("ready")?;
    world.client.run(&["kill", "-s", "HUP", "cc"])?;
    logs("got-hup")?;
    world.client.run(&["kill", "cc"])?;
    eventually("it ends", || {
        ensure!(state(world, "{{.State.Status}} {{.State.ExitCode}}")? == "exited 137");
        Ok(())
    })?;
    let again = world.client.try_run(&["kill", "cc"])?;
    ensure!(again.code == 1 && again.stderr.contains("is not running"), "{again:?}");
    Ok(())
}

fn pause_freezes(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    world.client.run(&["pause", "cc"])?;
    ensure!(state(world, "{{.State.Status}} {{.State.Paused}}")? == "paused true");
    let listed = world.client.run(&["ps", "--format", "{{.Status}}"])?;
    ensure!(listed.contains("(Paused)"), "{listed:?}");
    let refused = world.client.try_run(&["exec", "cc", "true"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("is paused"), "{refused:?}");
    world.client.run(&["unpause", "cc"])?;
    world.client.run(&["exec", "cc", "true"])?;
    let refused = world.client.try_run(&["unpause", "cc"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("is not paused"), "{refused:?}");
    Ok(())
}

fn restart_and_wait(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 600",
    ])?;
    let first = state(world, "{{.State.Pid}}")?;
    world.client.run(&["restart", "-t", "0", "cc"])?;
    ensure!(state(world, "{{.State.Pid}}")? != first);
    let mut waiting = world.client.terminal(&["wait", "cc"])?;
    world.client.run(&["kill", "cc"])?;
    waiting.expect("137", e2e::DEADLINE)?;
    ensure!(world.client.run(&["wait", "cc"])? == "137\n");
    world.client.run(&["start", "cc"])?;
    world.client.run(&["start", "cc"])?;
    ensure!(state(world, "{{.State.Running}}")? == "true");
    Ok(())
}

/// What it wrote is there after a restart, and nothing of it after a stop.
fn restart_of_one_that_removes_itself(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--rm", "--name", "cc", "busybox", "sleep", "600"])?;
    world.client.run(&["exec", "cc", "sh", "-c", "echo kept > /file"])?;
    for _ in 0..2 {
        world.client.run(&["restart", "-t", "0", "cc"])?;
        ensure!(world.client.run(&["exec", "cc", "cat", "/file"])? == "kept\n");
    }
    world.client.run(&["stop", "-t", "0", "cc"])?;
    eventually("it is gone", || {
        ensure!(world.client.run(&["ps", "-aq"])?.is_empty());
        Ok(())
    })
}

fn restart_policy_counts(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "--restart",
        "on-failure:2",
        "busybox",
        "false",
    ])?;
    eventually("two restarts, then the end", || {
        let state = state(world, "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}")?;
        ensure!(state == "2 exited 1", "{state}");
        Ok(())
    })
}

fn always_restarts_until_stopped(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "--restart",
        "always",
        "busybox",
        "sleep",
        "0.1",
    ])?;
    eventually("it restarts", || {
        ensure!(state(world, "{{.RestartCount}}")?.parse::<u32>()? >= 1);
        Ok(())
    })?;
    world.client.run(&["stop", "-t", "0", "cc"])?;
    ensure!(state(world, "{{.State.Running}} {{.State.Restarting}}")? == "false false");
    Ok(())
}

fn health_is_checked(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "--health-cmd",
        "test -e /well",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "600",
    ])?;
    let becomes = |status: &str| {
        eventually("the health changes", || {
            let now = state(world, "{{.State.Health.Status}}")?;
            ensure!(now == status, "{now}");
            Ok(())
        })
    };
    becomes("unhealthy")?;
    world.client.run(&["exec", "cc", "touch", "/well"])?;
    becomes("healthy")?;
    let listed =
        world.client.run(&["ps", "--format", "{{.Status}}", "--filter", "health=healthy"])?;
    ensure!(listed.contains("(healthy)"), "{listed:?}");
    Ok(())
}

fn prune_removes_what_is_stopped(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "keep", "busybox", "sleep", "600"])?;
    world.client.run(&["run", "--name", "drop", "busybox", "true"])?;
    let pruned = world.client.run(&["container", "prune", "-f"])?;
    ensure!(pruned.contains("Total reclaimed space"), "{pruned}");
    ensure!(world.client.run(&["ps", "-a", "--format", "{{.Names}}"])? == "keep\n");
    Ok(())
}

fn top_and_stats(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sh", "-c", "sleep 600 & wait"])?;
    eventually("both processes are listed", || {
        let top = world.client.run(&["top", "cc"])?;
        ensure!(top.starts_with("UID") && top.lines().count() == 3, "{top}");
        Ok(())
    })?;
    let pids = world.client.run(&["top", "cc", "-o", "pid,comm"])?;
    ensure!(pids.contains("sleep"), "{pids}");
    let stats = world.client.run(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.PIDs}} {{.MemUsage}}",
    ])?;
    ensure!(stats.starts_with("cc 2 ") && stats.contains("iB / "), "{stats:?}");
    Ok(())
}

fn events_tell_the_story(world: &World) -> Result<()> {
    world.client.run(&["run", "--rm", "--name", "cc", "busybox", "true"])?;
    // Clients send the end of the span in whole seconds.
    eventually("the story is told", || {
        let mut command = vec!["events", "--since", "1h", "--until", "0s"];
        command.extend(["--filter", "container=cc", "--format", "{{.Action}}"]);
        let told = world.client.run(&command)?;
        let actions: Vec<&str> = told.lines().collect();
        for action in ["create", "start", "die", "destroy"] {
            ensure!(actions.contains(&action), "{action} is missing: {actions:?}");
        }
        Ok(())
    })
}

fn the_daemon_tells_about_itself(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    world.client.run(&["create", "busybox"])?;
    let version = "{{.Server.Os}} {{.Server.APIVersion}} {{.Server.Version}}";
    let version = world.client.run(&["version", "--format", version])?;
    ensure!(version.starts_with("linux 1.") && version.contains(char::is_numeric), "{version}");
    let counts = "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}}";
    let counts = world.client.run(&["info", "--format", counts])?;
    ensure!(counts.trim() == "2 1 1 1", "{counts}");
    let names = "{{.Driver}} {{.LoggingDriver}} {{.DefaultRuntime}} {{.DockerRootDir}} {{.NCPU}}";
    let names = world.client.run(&["info", "--format", names])?;
    let cpus = std::thread::available_parallelism()?;
    let root = world.host.data_root();
    let wanted = format!("overlay2 json-file teu {} {cpus}", root.display());
    ensure!(names.trim() == wanted, "{names}");
    let text = world.client.run(&["info"])?;
    for line in ["Storage Driver: overlay2", "Cgroup Driver: cgroupfs", "Swarm: inactive"] {
        ensure!(text.contains(line), "no {line:?} in {text}");
    }
    Ok(())
}
