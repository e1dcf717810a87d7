//! Clients that mean no good, and texts that are more than they seem.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{DEADLINE, Host};
use serde_json::{Value, json};

use super::{memory_is_bounded, with_host};

fn connect(host: &Host, request: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(host.socket())?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

#[test]
fn readers_that_never_read_hold_up_nobody() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        let flood = "while :; do head -c 100000 /dev/zero | tr '\\0' x; echo; done";
        teu.run(&[
            "run",
            "-d",
            "--name",
            "loud",
            "--log-opt",
            "max-size=10m",
            "busybox",
            "sh",
            "-c",
            flood,
        ])?;
        teu.run(&["run", "-d", "--name", "quiet", "busybox", "sleep", "600"])?;
        let mut held = Vec::new();
        for _ in 0..10 {
            for (method, path) in [
                ("GET", "/containers/loud/logs?follow=1&stdout=1"),
                ("POST", "/containers/loud/attach?stream=1&stdout=1"),
                ("GET", "/events"),
                ("GET", "/containers/loud/stats"),
                ("GET", "/containers/loud/export"),
            ] {
                let request = format!("{method} /v1.45{path} HTTP/1.1\r\nHost: x\r\n\r\n");
                let mut stream = connect(host, &request)?;
                // Its answer has begun before it stops reading.
                let mut status = [0; 12];
                stream.read_exact(&mut status)?;
                ensure!(&status[9..] == b"200" || &status[9..] == b"101", "{path}: {status:?}");
                held.push(stream);
            }
        }
        for _ in 0..5 {
            ensure!(teu.run(&["exec", "quiet", "echo", "fine"])? == "fine\n");
            ensure!(teu.run(&["run", "--rm", "busybox", "echo", "fine"])? == "fine\n");
        }
        let listed = teu.run(&["ps", "-q"])?;
        ensure!(listed.lines().count() == 2, "{listed}");
        teu.run(&["rm", "-f", "loud"])?;
        memory_is_bounded(host)?;
        drop(held);
        Ok(())
    })
}

#[test]
fn idle_and_endless_requests_hold_up_nobody() -> Result<()> {
    with_host(|host| {
        let idle: Vec<UnixStream> =
            (0..300).map(|_| connect(host, "")).collect::<Result<_, _>>()?;
        let mut endless = connect(host, "GET /_ping HTTP/1.1\r\n")?;
        let line = format!("X-{}: y\r\n", "x".repeat(4096));
        let cut_off = (0..20_000).any(|_| endless.write_all(line.as_bytes()).is_err());
        ensure!(cut_off, "80 MB of header were taken");
        let mut endless = connect(
            host,
            "POST /v1.45/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
        let cut_off = (0..200).any(|_| endless.write_all(chunk.as_bytes()).is_err());
        ensure!(cut_off, "200 MB of body were taken");
        host.teu().run(&["run", "--rm", "busybox", "true"])?;
        memory_is_bounded(host)?;
        drop(idle);
        Ok(())
    })
}

fn post(host: &Host, path: &str, body: &Value) -> Result<(u16, String)> {
    let body = body.to_string();
    let request = format!(
        "POST /v1.45{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = connect(host, &request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, answer))
}

/// No text of a client becomes a line of hosts, resolv.conf or passwd, a path, or a second
/// argument.
#[test]
fn texts_cannot_smuggle_lines_and_paths() -> Result<()> {
    with_host(|host| {
        let bad = |key: &str, value: Value| json!({"Image": "busybox", key: value});
        let bad_host =
            |key: &str, value: Value| json!({"Image": "busybox", "HostConfig": {key: value}});
        for body in [
            bad("Hostname", "a\n1.2.3.4 bank".into()),
            bad("Hostname", "a\0b".into()),
            bad("Domainname", "a\nb".into()),
            bad("Env", json!(["A=b\0c"])),
            bad("Cmd", json!(["a\0b"])),
            bad("WorkingDir", "/a\0b".into()),
            bad("User", "a\0b".into()),
            bad("StopSignal", "9\n".into()),
            bad_host("ExtraHosts", json!(["a\n1.2.3.4 bank:1.1.1.1"])),
            bad_host("ExtraHosts", json!(["a:1.1.1.1\n1.2.3.4 bank"])),
            bad_host("Dns", json!(["1.1.1.1\nnameserver 6.6.6.6"])),
            bad_host("DnsSearch", json!(["a\nnameserver 6.6.6.6"])),
            bad_host("DnsOptions", json!(["a\nnameserver 6.6.6.6"])),
            bad_host("Binds", json!(["../../etc:/x"])),
            bad_host("Binds", json!(["vol:/x\0y"])),
            bad_host("CgroupParent", "../../../etc".into()),
            bad_host("NetworkMode", "container:../../x".into()),
            bad_host("Sysctls", json!({"../../core_pattern": "x"})),
            bad_host("Sysctls", json!({"kernel.core_pattern": "|/x"})),
            bad_host("SecurityOpt", json!(["seccomp=/etc/shadow"])),
            bad_host("LogConfig", json!({"Type": "../x"})),
            bad_host("Runtime", "../../bin/sh".into()),
        ] {
            let (mut status, mut answer) = post(host, "/containers/create?name=box", &body)?;
            if status == 201 {
                // What needs the host's state to be judged is refused at the start.
                (status, answer) = post(host, "/containers/box/start", &Value::Null)?;
                host.teu().run(&["rm", "-f", "box"])?;
            }
            ensure!((400..500).contains(&status), "{body}: {answer}");
            let text = answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim_end();
            ensure!(!text.contains(char::is_control), "{body}: {answer}");
        }
        for (path, body) in [
            ("/volumes/create", json!({"Name": "../x"})),
            ("/volumes/create", json!({"Name": "a\nb"})),
            ("/volumes/create", json!({"Name": "x", "Driver": "../x"})),
            ("/images/busybox/tag?repo=../../x", json!({})),
            ("/images/busybox/tag?repo=a%0ab", json!({})),
            ("/images/busybox/tag?repo=x&tag=%2e%2e%2fx", json!({})),
            ("/images/create?fromImage=a%0d%0ab", json!({})),
        ] {
            let (status, answer) = post(host, path, &body)?;
            ensure!((400..500).contains(&status), "{path} {body}: {answer}");
        }
        let left = host.teu().run(&["ps", "-aq"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// The daemon is not kept from ending by those who hold its connections.
#[test]
fn clients_that_hold_on_do_not_keep_the_daemon() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = Host::start()?;
    let held = ["", "GET /events HTTP/1.1\r\nHost: x\r\n\r\n", "GET /_pi"]
        .into_iter()
        .map(|request| connect(&host, request))
        .collect::<Result<Vec<_>>>()?;
    let begun = std::time::Instant::now();
    host.stop_daemon()?;
    ensure!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(held);
    Ok(())
}
