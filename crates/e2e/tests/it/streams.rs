//! attach, exec, logs, terminals: everything that flows.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::DEADLINE;

use crate::{World, with};

both_clients!(
    logs_in_all_their_options,
    logs_follow_until_the_end,
    exec_in_all_its_options,
    exec_exit_codes,
    attach_and_detach_keys,
    terminal_has_size_and_signals,
    terminal_of_exec,
    ctrl_c_ends_a_container_without_terminal,
    a_command_ends_with_its_reader,
);

fn a_command_ends_with_its_reader(world: &World) -> Result<()> {
    world.client.run(&["run", "--name", "cc", "busybox", "echo", "x"])?;
    for args in [&["--help"][..], &["ps", "-a"], &["logs", "cc"], &["inspect", "cc"]] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = world.client.command(args).stdout(writer).stderr(Stdio::piped()).output()?;
        // By the signal, or as a shell would tell of it.
        let status = output.status;
        let is_by_signal = status.signal() == Some(13) || status.code() == Some(128 + 13);
        ensure!(is_by_signal && output.stderr.is_empty(), "{args:?}: {output:?}");
    }
    Ok(())
}

fn logs_in_all_their_options(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "--name",
        "cc",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; done; echo e >&2",
    ])?;
    let all = world.client.try_run(&["logs", "cc"])?;
    ensure!(all.stdout == "1\n2\n3\n" && all.stderr == "e\n", "{all:?}");
    ensure!(world.client.run(&["logs", "--tail", "2", "cc"])?.lines().count() <= 2);
    let stamped = world.client.run(&["logs", "-t", "cc"])?;
    let (time, text) =
        stamped.lines().next().unwrap_or_default().split_once(' ').unwrap_or_default();
    ensure!(text == "1" && time.ends_with('Z') && time.contains('T'), "{stamped:?}");
    ensure!(world.client.run(&["logs", "--since", "2100-01-01T00:00:00Z", "cc"])?.is_empty());
    ensure!(world.client.run(&["logs", "--until", "2000-01-01T00:00:00Z", "cc"])?.is_empty());
    ensure!(world.client.run(&["logs", "--since", "1h", "cc"])? == "1\n2\n3\n");
    let path = world.client.run(&["inspect", "-f", "{{.LogPath}}", "cc"])?;
    let first = std::fs::read_to_string(path.trim())?;
    let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap_or_default())?;
    ensure!(first["log"] == "1\n" && first["stream"] == "stdout", "{first}");
    Ok(())
}

fn logs_follow_until_the_end(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "busybox",
        "sh",
        "-c",
        "echo first; until [ -e /go ]; do sleep 0.05; done; echo last",
    ])?;
    let mut follow = world.client.terminal(&["logs", "-f", "cc"])?;
    follow.expect("first", DEADLINE)?;
    // The container may end before `touch` does, and end it.
    world.client.run(&["exec", "-d", "cc", "touch", "/go"])?;
    follow.expect("last", DEADLINE)?;
    ensure!(follow.finish(DEADLINE)?.0.success());
    Ok(())
}

fn exec_in_all_its_options(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    let ran = world.client.run(&[
        "exec",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "-u",
        "user",
        "cc",
        "sh",
        "-c",
        "echo $A $PWD $(id -u); grep Seccomp: /proc/self/status",
    ])?;
    ensure!(ran == "b /tmp 1000\nSeccomp:\t2\n", "{ran:?}");
    let ran =
        world.client.try_run_with_input(&["exec", "-i", "cc", "tr", "a-z", "A-Z"], b"loud")?;
    ensure!(ran.stdout == "LOUD", "{ran:?}");
    world.client.run(&["exec", "-d", "cc", "touch", "/detached"])?;
    e2e::eventually("the detached exec ran", || {
        world.client.run(&["exec", "cc", "ls", "/detached"])
    })?;
    Ok(())
}

fn exec_exit_codes(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    for (args, code) in [
        (&["exec", "cc", "sh", "-c", "exit 5"][..], 5),
        (&["exec", "cc", "nonexistent"], 127),
        (&["exec", "cc", "/etc/passwd"], 126),
        (&["exec", "cc", "sh", "-c", "kill -9 $$"], 137),
        (&["exec", "nosuch", "true"], 1),
    ] {
        let ran = world.client.try_run(args)?;
        ensure!(ran.code == code, "{args:?}: {ran:?}");
    }
    world.client.run(&["stop", "-t", "0", "cc"])?;
    let stopped = world.client.try_run(&["exec", "cc", "true"])?;
    ensure!(stopped.code == 1 && stopped.stderr.contains("is not running"), "{stopped:?}");
    Ok(())
}

fn attach_and_detach_keys(world: &World) -> Result<()> {
    let mut pty = world.client.terminal(&["run", "-it", "--name", "cc", "busybox", "sh"])?;
    pty.expect("/ # ", DEADLINE)?;
    pty.send("\x10\x11")?;
    let (status, _) = pty.finish(DEADLINE)?;
    ensure!(status.success(), "detaching ended with {status}");
    let running = world.client.run(&["inspect", "-f", "{{.State.Running}}", "cc"])?;
    ensure!(running == "true\n", "{running}");
    let mut pty = world.client.terminal(&["attach", "--detach-keys", "ctrl-a,x", "cc"])?;
    pty.send_line("echo to''gether")?;
    pty.expect("together", DEADLINE)?;
    pty.send("\x01x")?;
    let (status, shown) = pty.finish(DEADLINE)?;
    ensure!(status.code() == Some(1) && shown.contains("read escape sequence"), "{status} {shown}");
    let mut pty = world.client.terminal(&["exec", "-it", "cc", "sh"])?;
    pty.send_line("echo mo''re")?;
    pty.expect("more", DEADLINE)?;
    pty.send("\x10\x11")?;
    let (status, shown) = pty.finish(DEADLINE)?;
    ensure!(status.code() == Some(1) && shown.contains("read escape sequence"), "{status} {shown}");
    let running = world.client.run(&["inspect", "-f", "{{.State.Running}}", "cc"])?;
    ensure!(running == "true\n", "{running}");
    let mut pty = world.client.terminal(&["attach", "cc"])?;
    pty.send_line("exit 9")?;
    let (status, _) = pty.finish(DEADLINE)?;
    ensure!(status.code() == Some(9), "{status}");
    let mut pty = world.client.terminal(&["start", "-ai", "cc"])?;
    pty.send_line("echo ag''ain")?;
    pty.expect("again", DEADLINE)?;
    pty.send_line("exit 4")?;
    ensure!(pty.finish(DEADLINE)?.0.code() == Some(4));
    Ok(())
}

fn terminal_has_size_and_signals(world: &World) -> Result<()> {
    let mut pty = world.client.terminal(&["run", "-it", "--rm", "busybox", "sh"])?;
    pty.expect("/ # ", DEADLINE)?;
    pty.send_line("stty size; tty; echo $TERM")?;
    pty.expect("24 80", DEADLINE)?;
    pty.expect("/dev/pts/0", DEADLINE)?;
    pty.expect("xterm", DEADLINE)?;
    pty.send_line("trap 'stty size' WINCH; echo re''ady")?;
    pty.expect("ready", DEADLINE)?;
    pty.resize(50, 132)?;
    e2e::eventually("the new size arrives", || {
        pty.send_line("stty size")?;
        pty.expect("50 132", Duration::from_secs(1))
    })?;
    // What is typed before the prompt stands is shown twice, in parts.
    pty.expect("/ # ", DEADLINE)?;
    pty.send("sleep 600\r")?;
    pty.expect("sleep 600", DEADLINE)?;
    // Ctrl-C until the shell is back: the sleep may not have started yet.
    e2e::eventually("Ctrl-C ends the sleep", || {
        pty.send("\x03")?;
        pty.expect("/ # ", Duration::from_secs(1))
    })?;
    pty.send_line("exit 3")?;
    ensure!(pty.finish(DEADLINE)?.0.code() == Some(3));
    Ok(())
}

fn terminal_of_exec(world: &World) -> Result<()> {
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    let mut pty = world.client.terminal(&["exec", "-it", "cc", "sh"])?;
    pty.expect("/ # ", DEADLINE)?;
    pty.send_line("stty size; exit 6")?;
    pty.expect("24 80", DEADLINE)?;
    ensure!(pty.finish(DEADLINE)?.0.code() == Some(6));
    Ok(())
}

fn ctrl_c_ends_a_container_without_terminal(world: &World) -> Result<()> {
    let script = "trap 'echo interrupted; exit 42' INT; echo ready; while :; do sleep 0.05; done";
    let mut pty = world.client.terminal(&["run", "--rm", "busybox", "sh", "-c", script])?;
    pty.expect("ready", DEADLINE)?;
    pty.send("\x03")?;
    pty.expect("interrupted", DEADLINE)?;
    ensure!(pty.finish(DEADLINE)?.0.code() == Some(42));
    Ok(())
}
