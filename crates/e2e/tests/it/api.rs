//! What clients of the API other than the command lines rely on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{DEADLINE, Program};
use serde_json::Value;

use crate::{World, with};

/// Sends a request and returns the answer's status and what followed its head.
fn post(world: &World, path: &str, body: &str, headers: &str) -> Result<(u16, Vec<u8>)> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         {headers}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = e2e::http::raw_unix(&world.host.socket(), request.as_bytes())?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("a head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, answer[end + 4..].to_vec()))
}

/// Makes an exec in container `up`, starts it attached and returns its id and its bytes.
fn exec(world: &World, create: &str, start: &str) -> Result<(String, Vec<u8>)> {
    let (status, body) = post(world, "/containers/up/exec", create, "Connection: close")?;
    ensure!(status == 201, "{status} {}", String::from_utf8_lossy(&body));
    let made: Value = serde_json::from_slice(&body)?;
    let id = made["Id"].as_str().context("an id")?.to_owned();
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp";
    let (status, bytes) = post(world, &format!("/exec/{id}/start"), start, upgrade)?;
    ensure!(status == 101, "{status} {}", String::from_utf8_lossy(&bytes));
    Ok((id, bytes))
}

#[test]
fn the_start_of_an_exec_decides_whether_its_stream_has_frames() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&["run", "-d", "--name", "up", "busybox", "sleep", "600"])?;
        let create =
            r#"{"Cmd":["echo","hi"],"AttachStdout":true,"Tty":true,"detachKeys":"ctrl-p"}"#;
        let (_, framed) = exec(world, create, r#"{"Tty":false}"#)?;
        ensure!(framed == b"\x01\0\0\0\0\0\0\x04hi\r\n", "{framed:?}");
        let (_, raw) = exec(world, create, r#"{"Tty":true}"#)?;
        ensure!(raw == b"hi\r\n", "{raw:?}");
        Ok(())
    })
}

#[test]
fn what_keeps_an_exec_from_starting_is_told_in_its_stream() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&["run", "-d", "--name", "up", "busybox", "sleep", "600"])?;
        let create = r#"{"Cmd":["true"],"AttachStdout":true,"User":"nobody-here"}"#;
        let (id, bytes) = exec(world, create, r#"{"Tty":true}"#)?;
        let text = String::from_utf8_lossy(&bytes);
        ensure!(text.contains("unable to find user nobody-here"), "{text:?}");
        let shown = e2e::http::get_unix(&world.host.socket(), &format!("/exec/{id}/json"))?;
        let shown: Value = serde_json::from_str(&shown)?;
        ensure!(shown["ExitCode"] == 126, "{shown}");
        let again = post(world, &format!("/exec/{id}/start"), "{}", "Connection: close")?;
        ensure!(again.0 == 409, "{again:?}");
        Ok(())
    })
}

#[test]
fn detaching_from_an_exec_does_not_wait_for_it() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&["run", "-d", "--name", "up", "busybox", "sleep", "600"])?;
        let args = ["exec", "-it", "--detach-keys", "ctrl-p", "up", "sh", "-c", "echo up; cat"];
        let mut pty = world.client.terminal(&args)?;
        pty.expect("up", DEADLINE)?;
        pty.send("\u{10}")?;
        pty.finish(Duration::from_secs(20))?;
        Ok(())
    })
}

#[test]
fn waiting_ends_with_a_run_even_if_another_follows() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&[
            "run",
            "-d",
            "--name",
            "up",
            "--restart",
            "always",
            "busybox",
            "sleep",
            "1",
        ])?;
        let code = world.client.run(&["wait", "up"])?;
        ensure!(code == "0\n", "{code:?}");
        Ok(())
    })
}

#[test]
fn log_options_are_taken_as_docker_takes_them() -> Result<()> {
    with(Program::Teu, |world| {
        world.client.run(&["run", "--name", "up", "--log-opt", "max-file=9", "busybox", "true"])?;
        let format = "{{json .HostConfig.LogConfig}}";
        let shown: Value =
            serde_json::from_str(&world.client.run(&["inspect", "-f", format, "up"])?)?;
        ensure!(shown["Config"] == serde_json::json!({"max-file": "9"}), "{shown}");
        let unknown = world.client.try_run(&["run", "--log-driver", "asdf", "busybox", "true"])?;
        let message = "error looking up logging plugin asdf: plugin \"asdf\" not found\n";
        ensure!(unknown.stderr.contains(message), "{unknown:?}");
        Ok(())
    })
}

#[test]
fn a_volume_can_be_mounted_in_part() -> Result<()> {
    with(Program::Teu, |world| {
        let make = "mkdir /v/sub; echo part > /v/sub/file; ln -s / /v/out; mkdir /v/etc";
        world.client.run(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", make])?;
        let part = |path: &str| {
            let mount = format!("type=volume,src=vol,dst=/mnt,volume-subpath={path}");
            world.client.run(&["run", "--rm", "--mount", &mount, "busybox", "ls", "/mnt"])
        };
        ensure!(part("sub")? == "file\n");
        ensure!(part("out/etc")?.is_empty(), "a link led out of the volume");
        Ok(())
    })
}

#[test]
fn a_load_that_fails_says_so_in_its_stream() -> Result<()> {
    with(Program::Teu, |world| {
        let (status, body) = post(world, "/images/load", "abc", "Connection: close")?;
        let body = String::from_utf8_lossy(&body).into_owned();
        ensure!(status == 200 && body.contains("\"errorDetail\""), "{status} {body}");
        Ok(())
    })
}
