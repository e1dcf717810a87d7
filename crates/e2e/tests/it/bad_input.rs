//! Wrong, hostile and unlucky input: a clear answer, nothing left behind.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Host, is_root};

use crate::{World, with};

both_clients!(names_and_references, truncated_and_lying_archives, unreachable_registry);

fn names_and_references(world: &World) -> Result<()> {
    for (args, text) in [
        (&["run", "lib/UPPER", "true"][..], "must be lowercase"),
        (&["run", "bad::ref", "true"], "invalid reference format"),
        (&["create", "--name", "a\nb", "busybox"], "Invalid container name"),
        (&["create", "--name", "-x", "busybox"], "Invalid container name"),
        (&["create", "-m", "1m", "busybox"], "Minimum memory limit allowed is 6MB"),
        (&["create", "--restart", "sometimes", "busybox"], "restart"),
        (&["create", "-w", "relative", "busybox"], "needs to be an absolute path"),
        (&["run", "--rm", "--network", "nosuch", "busybox"], "network nosuch not found"),
        (&["run", "--log-opt", "mode=loud", "busybox"], "logging mode not supported: loud"),
        (&["stop", "nosuch"], "No such container: nosuch"),
        (&["tag", "busybox", "Bad/Name"], ""),
        (&["create", "--add-host", "evil\nhost:1.2.3.4", "busybox"], ""),
        (&["create", "-h", "bad\nname", "busybox"], ""),
    ] {
        let ran = world.client.try_run(args)?;
        ensure!(ran.code != 0 && ran.stderr.contains(text), "{args:?}: {ran:?}");
    }
    let left = world.client.run(&["ps", "-aq"])?;
    ensure!(left.lines().count() <= 1, "containers are left: {left:?}");
    Ok(())
}

fn truncated_and_lying_archives(world: &World) -> Result<()> {
    let before = world.client.run(&["images", "-aq"])?;
    for body in [&b"not a tar at all"[..], &[0x1f, 0x8b, 8, 0, 1, 2, 3][..], &[b'x'; 700][..]] {
        let ran = world.client.try_run_with_input(&["import", "-", "bad:1"], body)?;
        ensure!(ran.code != 0, "import took {body:?}: {ran:?}");
        let ran = world.client.try_run_with_input(&["load"], body)?;
        ensure!(ran.code != 0, "load took {body:?}: {ran:?}");
    }
    let tar = world.host.scratch().join("saved.tar");
    world.client.run(&["save", "-o", &tar.display().to_string(), "busybox"])?;
    let whole = std::fs::read(&tar)?;
    for part in [whole.len() / 3, whole.len() / 2] {
        let ran = world.client.try_run_with_input(&["load"], &whole[..part])?;
        ensure!(ran.code != 0, "load took {part} bytes of {}: {ran:?}", whole.len());
    }
    ensure!(world.client.run(&["images", "-aq"])? == before, "images are left");
    Ok(())
}

fn unreachable_registry(world: &World) -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let name = format!("127.0.0.1:{port}/x/y:1");
    let ran = world.client.try_run(&["pull", &name])?;
    ensure!(ran.code == 1 && ran.stderr.contains(&format!("127.0.0.1:{port}")), "{ran:?}");
    ensure!(ran.stderr.contains("refused"), "{ran:?}");
    Ok(())
}

#[test]
fn hostile_requests_get_4xx_and_cost_nothing() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    let socket = host.socket();
    let post = |path: &str, body: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = e2e::http::raw_unix(&socket, request.as_bytes())?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status: u16 = answer.split(' ').nth(1).context("a status")?.parse()?;
        Ok::<_, anyhow::Error>((status, answer))
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (path, body) in [
        ("/v1.45/containers/create", "{"),
        ("/v1.45/containers/create", "[]"),
        ("/v1.45/containers/create", "{\"Image\": 7}"),
        (
            "/v1.45/containers/create",
            "{\"Image\":\"busybox\",\"HostConfig\":{\"Memory\":\"lots\"}}",
        ),
        ("/v1.45/containers/create", "{\"Image\":\"busybox\",\"Hostname\":\"a\\nb\"}"),
        ("/v1.45/containers/create?name=a%0ab", "{\"Image\":\"busybox\"}"),
        ("/v1.45/containers/create?name=../../x", "{\"Image\":\"busybox\"}"),
        ("/v1.45/containers/create", &deep),
        ("/v9.99/containers/create", "{}"),
        ("/v1.45/containers/../../etc/start", ""),
        ("/v1.45/nosuch", ""),
    ] {
        let (status, answer) = post(path, body)?;
        ensure!((400..500).contains(&status), "{path}: {answer}");
    }
    let huge = UnixStream::connect(&socket)?;
    huge.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut huge = huge;
    write!(
        huge,
        "POST /v1.45/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    )?;
    let chunk = vec![b' '; 1 << 20];
    // The server may close early, which ends the writing; a 4xx is what counts.
    for _ in 0..64 {
        if huge.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    if huge.read_exact(&mut answer).is_ok() {
        ensure!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    let idle: Vec<UnixStream> =
        (0..200).map(|_| UnixStream::connect(&socket)).collect::<Result<_, _>>()?;
    host.teu().run(&["run", "--rm", "busybox", "true"])?;
    let status = std::fs::read_to_string(format!(
        "/proc/{}/status",
        host.daemon_pid().context("a daemon")?
    ))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u64 = rss.trim().trim_end_matches(" kB").parse()?;
    ensure!(kib < 200_000, "the daemon grew to {kib} KiB");
    drop(idle);
    Ok(())
}
