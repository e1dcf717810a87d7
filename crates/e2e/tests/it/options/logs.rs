//! Log drivers and their options: the services are listeners here that speak the protocols.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

use anyhow::{Context, Result, ensure};
use e2e::{Host, HostOptions, eventually};

use crate::World;

/// Says a line on each stream and a long one.
const SPEAK: &str = "echo out; echo err >&2; head -c 20000 /dev/zero | tr '\\0' x; echo";

pub(super) fn drivers(world: &World) -> Result<()> {
    none(world)?;
    local(world)?;
    syslog(world)?;
    gelf(world)?;
    fluentd(world)?;
    unreachable(world)
}

/// Runs a container to its end with a log driver and its options.
fn speak(world: &World, driver: &str, options: &[&str]) -> Result<()> {
    let mut args = vec!["run", "--name", "cc", "--log-driver", driver];
    options.iter().for_each(|option| args.extend(["--log-opt", option]));
    args.extend(["-l", "tier=front", "busybox", "sh", "-c", SPEAK]);
    world.client.run(&args)?;
    let logged = world.client.try_run(&["logs", "cc"])?;
    ensure!(logged.stdout.starts_with("out\n") && logged.stderr == "err\n", "{driver}: {logged:?}");
    world.client.run(&["rm", "cc"]).map(drop)
}

fn none(world: &World) -> Result<()> {
    let ran = world.client.run(&[
        "run",
        "--name",
        "cc",
        "--log-driver",
        "none",
        "busybox",
        "echo",
        "x",
    ])?;
    ensure!(ran == "x\n", "{ran:?}");
    let told = world.client.try_run(&["logs", "cc"])?;
    ensure!(told.code == 1 && told.stderr.contains("does not support reading"), "{told:?}");
    world.client.run(&["rm", "cc"]).map(drop)
}

fn local(world: &World) -> Result<()> {
    speak(world, "local", &["max-size=10k", "max-file=2", "compress=false"])?;
    let ran = world.client.try_run(&[
        "create",
        "--log-driver",
        "local",
        "--log-opt",
        "tag=x",
        "busybox",
    ])?;
    ensure!(ran.stderr.contains("unknown log opt 'tag' for log driver local"), "{ran:?}");
    Ok(())
}

/// Takes datagrams until all of `wanted` came in one of them each.
fn receive(
    mut next: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
    wanted: &[&str],
) -> Result<String> {
    let mut seen = String::new();
    let mut buffer = vec![0; 64 << 10];
    while !wanted.iter().all(|wanted| seen.contains(wanted)) {
        let length = next(&mut buffer).with_context(|| format!("{wanted:?} in {seen:?}"))?;
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    Ok(seen)
}

fn syslog(world: &World) -> Result<()> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    server.set_read_timeout(Some(e2e::DEADLINE))?;
    let address = format!("syslog-address=udp://{}", server.local_addr()?);
    speak(
        world,
        "syslog",
        &[&address, "syslog-facility=local3", "syslog-format=rfc5424", "tag={{.Name}}"],
    )?;
    // local3 is 19: 19 * 8 + 6 for output, + 3 for errors.
    let long = "x".repeat(16_384);
    let wanted = ["<158>1 ", "<155>1 ", " cc - out\n", " cc - err\n", &long];
    receive(|buffer| server.recv(buffer), &wanted)?;

    let path = world.host.scratch().join("syslog");
    let server = UnixDatagram::bind(&path)?;
    server.set_read_timeout(Some(e2e::DEADLINE))?;
    let address = format!("syslog-address=unixgram://{}", path.display());
    speak(world, "syslog", &[&address, "mode=non-blocking", "cache-max-size=1m"])?;
    receive(|buffer| server.recv(buffer), &["]: out\n", "]: err\n"])?;
    std::fs::remove_file(&path)?;

    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("syslog-address=tcp://{}", server.local_addr()?);
    let heard = std::thread::spawn(move || -> std::io::Result<String> {
        // The first connection only looks whether somebody is there.
        drop(server.accept()?);
        let mut text = String::new();
        server.accept()?.0.read_to_string(&mut text)?;
        Ok(text)
    });
    speak(world, "syslog", &[&address, "syslog-format=rfc3164"])?;
    let text = heard.join().expect("the listener does not panic")?;
    ensure!(text.contains("]: out\n") && text.contains("]: err\n"), "{text}");
    Ok(())
}

fn gelf(world: &World) -> Result<()> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    server.set_read_timeout(Some(e2e::DEADLINE))?;
    let address = format!("gelf-address=udp://{}", server.local_addr()?);
    speak(world, "gelf", &[&address, "gelf-compression-type=zlib", "labels=tier"])?;
    let mut buffer = vec![0; 64 << 10];
    let length = server.recv(&mut buffer)?;
    let mut text = String::new();
    flate2::read::ZlibDecoder::new(&buffer[..length]).read_to_string(&mut text)?;
    let told: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text)?;
    ensure!(
        told["version"] == "1.1" && told["_container_name"] == "cc" && told["_tier"] == "front",
        "{text}"
    );
    ensure!(told["short_message"] == "out" || told["short_message"] == "err", "{text}");
    Ok(())
}

fn fluentd(world: &World) -> Result<()> {
    let path = world.host.scratch().join("fluentd");
    let server = UnixListener::bind(&path)?;
    let address = format!("fluentd-address=unix://{}", path.display());
    let heard = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
        drop(server.accept()?);
        let mut bytes = Vec::new();
        server.accept()?.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    speak(world, "fluentd", &[&address, "tag=ship", "env=HOME"])?;
    let bytes = heard.join().expect("the listener does not panic")?;
    ensure!(bytes.starts_with(b"\x93\xa4ship\xce"), "{bytes:?}");
    let text = String::from_utf8_lossy(&bytes);
    for part in ["\u{3}log\u{3}out", "container_name", "/cc"] {
        let part = part.replace('\u{3}', "");
        ensure!(text.contains(&part) || text.contains("log\u{fffd}out"), "{part} in {text}");
    }
    std::fs::remove_file(&path)?;
    Ok(())
}

/// Nobody there: the start says so, and with `fluentd-async` it does not mind.
fn unreachable(world: &World) -> Result<()> {
    let args = [
        "run",
        "--rm",
        "--log-driver",
        "syslog",
        "--log-opt",
        "syslog-address=tcp://127.0.0.1:1",
        "busybox",
        "true",
    ];
    let ran = world.client.try_run(&args)?;
    let told = ["failed to initialize logging driver", "tcp://127.0.0.1:1", "refused"];
    ensure!(ran.code == 125 && told.iter().all(|told| ran.stderr.contains(told)), "{ran:?}");
    let args = [
        "run",
        "--rm",
        "--log-driver",
        "fluentd",
        "--log-opt",
        "fluentd-address=127.0.0.1:1",
        "--log-opt",
        "fluentd-async=true",
        "busybox",
        "echo",
        "x",
    ];
    ensure!(world.client.run(&args)? == "x\n");
    let args = [
        "run",
        "--name",
        "cc",
        "--log-driver",
        "fluentd",
        "--log-opt",
        "fluentd-async=true",
        "--log-opt",
        "cache-disabled=true",
        "busybox",
        "true",
    ];
    world.client.run(&args)?;
    let told = world.client.try_run(&["logs", "cc"])?;
    ensure!(told.code == 1 && told.stderr.contains("does not support reading"), "{told:?}");
    world.client.run(&["rm", "cc"]).map(drop)
}

/// A service that takes its time makes the container wait, and nobody else: the shim still answers.
#[test]
fn a_slow_service_holds_up_its_container_alone() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    let teu = host.teu();
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("syslog-address=tcp://{}", server.local_addr()?);
    let script = "i=0; while [ $i -lt 3000 ]; do echo $i $(head -c 2000 /dev/zero | tr '\\0' x); i=$((i+1)); done; touch /done; sleep 600";
    let args = [
        "run",
        "-d",
        "--name",
        "cc",
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "busybox",
        "sh",
        "-c",
        script,
    ];
    teu.run(&args)?;
    drop(server.accept()?);
    let (mut stream, _) = server.accept()?;
    // Buffers on the way take some hundred KiB of the six MiB, and the rest waits.
    let mut first = [0; 1];
    stream.read_exact(&mut first)?;
    ensure!(teu.run(&["exec", "cc", "echo", "alive"])? == "alive\n");
    ensure!(teu.try_run(&["exec", "cc", "test", "-e", "/done"])?.code == 1, "it did not wait");
    let reader = std::thread::spawn(move || -> std::io::Result<usize> {
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().count())
    });
    eventually("it goes on when the service does", || {
        teu.run(&["exec", "cc", "test", "-e", "/done"]).map(drop)
    })?;
    teu.run(&["stop", "-t", "0", "cc"])?;
    let lines = reader.join().expect("the reader does not panic")?;
    ensure!(lines == 3000, "{lines} lines came");
    ensure!(teu.run(&["logs", "cc"])?.lines().count() == 3000);
    Ok(())
}

/// The journal's socket is at one place for all, so this daemon has that place to itself.
#[test]
fn the_journal_gets_lines_with_fields() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let journal = tempfile::tempdir()?;
    let server = UnixDatagram::bind(journal.path().join("socket"))?;
    server.set_read_timeout(Some(e2e::DEADLINE))?;
    let options =
        HostOptions { journal: Some(journal.path().to_owned()), ..HostOptions::default() };
    let host = Host::start_with(options)?;
    host.load_busybox()?;
    let args = [
        "run",
        "--name",
        "cc",
        "--log-driver",
        "journald",
        "--log-opt",
        "labels=tier",
        "-l",
        "tier=front",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2",
    ];
    host.teu().run(&args)?;
    let wanted = [
        "MESSAGE=out\nPRIORITY=6\n",
        "MESSAGE=err\nPRIORITY=3\n",
        "CONTAINER_NAME=cc\n",
        "TIER=front\n",
        "IMAGE_NAME=busybox\n",
    ];
    receive(|buffer| server.recv(buffer), &wanted)?;
    ensure!(host.teu().run(&["logs", "cc"])?.contains("out\n"));
    Ok(())
}

pub(super) fn options(world: &World) -> Result<()> {
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done";
    let args = [
        "run",
        "--name",
        "cc",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
        "--log-opt",
        "labels=tier",
        "--log-opt",
        "env=COLOUR",
        "--log-opt",
        "tag={{.Name}}/x",
        "-l",
        "tier=front",
        "-e",
        "COLOUR=blue",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    world.client.run(&args)?;
    let path = world.client.run(&["inspect", "-f", "{{.LogPath}}", "cc"])?;
    for number in ["", ".1", ".2"] {
        let text = std::fs::read_to_string(format!("{}{number}", path.trim()))?;
        // A file is full when the next line would begin beyond its size.
        ensure!(text.len() < 20_200, "{} bytes", text.len());
        let attrs = r#""attrs":{"COLOUR":"blue","tag":"/cc/x","tier":"front"}"#;
        let plain = attrs.replace("/cc/x", "cc/x");
        ensure!(text.contains(attrs) || text.contains(&plain), "{}", &text[..200]);
    }
    ensure!(!std::path::Path::new(&format!("{}.3", path.trim())).exists());
    let last = world.client.run(&["logs", "-n", "1", "cc"])?;
    ensure!(last == "line 1999\n", "{last:?}");
    world.client.run(&["rm", "cc"]).map(drop)
}
