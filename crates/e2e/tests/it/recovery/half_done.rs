//! The daemon dies in the middle of something long: nothing of it shows, the next try works.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{Host, Registry, eventually};

use super::host;
use super::traces::Traces;

/// Moments of an operation at which the daemon is killed.
const MOMENTS_MS: [u64; 4] = [15, 60, 150, 400];
/// What commit, load and pull move; nothing that a compressor makes small.
const LAYER_BYTES: u64 = 24_000_000;

/// Starts a command, kills the daemon `after_ms` later, and starts another one.
fn cut_off(host: &mut Host, after_ms: u64, args: &[&str]) -> Result<()> {
    let mut command = host.teu().command(args);
    let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::park_timeout(Duration::from_millis(after_ms));
    host.kill_daemon()?;
    client.wait()?;
    host.start_daemon()
}

/// A container named `made` whose writable layer holds a big file.
fn make_big(host: &Host) -> Result<()> {
    let fill = format!("head -c {LAYER_BYTES} /dev/urandom > /x");
    host.teu().run(&["run", "--name", "made", "busybox", "sh", "-c", &fill]).map(drop)
}

fn is_whole(host: &Host, image: &str) -> Result<()> {
    let size = host.teu().run(&["run", "--rm", image, "stat", "-c", "%s", "/x"])?;
    ensure!(size.trim() == LAYER_BYTES.to_string(), "{size}");
    Ok(())
}

/// Whole, or not there at all and nothing of it; then it is taken away again.
fn all_or_nothing(host: &Host, image: &str, before: &Traces) -> Result<()> {
    let teu = host.teu();
    if teu.run(&["images", "-q", image])?.is_empty() {
        eprintln!("{image} was undone");
    } else {
        eprintln!("{image} was done");
        is_whole(host, image)?;
        teu.run(&["rmi", image])?;
    }
    before.come_back(host)?;
    let df = teu.run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])?;
    ensure!(df.contains("Images 1\n"), "{df}");
    Ok(())
}

#[test]
fn commits_are_done_or_undone() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    make_big(&host)?;
    let before = Traces::of(&host)?;
    for moment in MOMENTS_MS {
        cut_off(&mut host, moment, &["commit", "made", "big:1"])?;
        all_or_nothing(&host, "big:1", &before)?;
    }
    host.teu().run(&["commit", "made", "big:1"])?;
    is_whole(&host, "big:1")
}

#[test]
fn loads_are_done_or_undone() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    make_big(&host)?;
    let teu = host.teu();
    let archive = host.scratch().join("big.tar").display().to_string();
    teu.run(&["commit", "made", "big:1"])?;
    teu.run(&["save", "-o", &archive, "big:1"])?;
    teu.run(&["rm", "made"])?;
    teu.run(&["rmi", "big:1"])?;
    let before = Traces::of(&host)?;
    for moment in MOMENTS_MS {
        cut_off(&mut host, moment, &["load", "-i", &archive])?;
        all_or_nothing(&host, "big:1", &before)?;
    }
    teu.run(&["load", "-i", &archive])?;
    is_whole(&host, "big:1")
}

#[test]
fn volumes_are_filled_to_the_end() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    let fill = "mkdir /data; cd /data; for d in $(seq 20); do mkdir $d; for f in $(seq 50); do echo $f > $d/$f; done; done";
    teu.run(&["run", "--name", "made", "busybox", "sh", "-c", fill])?;
    teu.run(&["commit", "made", "full:1"])?;
    teu.run(&["rm", "made"])?;
    for moment in MOMENTS_MS {
        let run = ["run", "--rm", "-v", "vol:/data", "full:1", "true"];
        cut_off(&mut host, moment, &run)?;
        let count = ["run", "--rm", "-v", "vol:/data", "full:1", "sh", "-c"];
        let count = teu.run(&[&count[..], &["cat /data/*/* | wc -l"]].concat())?;
        ensure!(count.trim() == "1000", "{count} files after a kill at {moment} ms");
        for id in teu.run(&["ps", "-aq"])?.split_whitespace() {
            teu.run(&["rm", "-f", "-v", id])?;
        }
        teu.run(&["volume", "rm", "vol"])?;
    }
    Ok(())
}

#[test]
fn removals_are_completed_or_undone() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    let before = Traces::of(&host)?;
    let fill = "mkdir /data; cd /data; for d in $(seq 60); do mkdir $d; for f in $(seq 60); do echo $f > $d/$f; done; done; sleep 600";
    for moment in [20, 60] {
        teu.run(&["run", "-d", "--name", "made", "-v", "/v", "busybox", "sh", "-c", fill])?;
        eventually("it is filled", || teu.run(&["exec", "made", "test", "-e", "/data/60/60"]))?;
        let start = Instant::now();
        cut_off(&mut host, moment, &["rm", "-f", "-v", "made"])?;
        eprintln!("killed after {moment} ms, answers again after {:?}", start.elapsed());
        if !teu.run(&["ps", "-aq"])?.is_empty() {
            eprintln!("undone at {moment} ms");
            // Recovery may be completing it at this moment.
            let _ = teu.try_run(&["rm", "-f", "-v", "made"])?;
        }
        let start = Instant::now();
        before.come_back(&host)?;
        eprintln!("nothing is left {:?} later", start.elapsed());
    }
    Ok(())
}

/// Stands before a registry; passes bytes on, slowly if told so, and counts those to the client.
struct Proxy {
    port: u16,
    passed: Arc<AtomicU64>,
    slow: Arc<AtomicBool>,
}

impl Proxy {
    fn start(registry: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (passed, slow) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let (counter, brake) = (Arc::clone(&passed), Arc::clone(&slow));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", registry)) else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let nobody = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
                std::thread::spawn(move || pass(from, to, &nobody.0, &nobody.1));
                let (counter, brake) = (Arc::clone(&counter), Arc::clone(&brake));
                std::thread::spawn(move || pass(server, client, &counter, &brake));
            }
        });
        Ok(Self { port, passed, slow })
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64, slow: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        counter.fetch_add(count as u64, Ordering::Relaxed);
        if slow.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    // The other side may have closed already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_pull_goes_on_where_the_last_daemon_died() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    make_big(&host)?;
    let registry = Registry::start(host.scratch())?;
    let pushed = format!("127.0.0.1:{}/big:1", registry.port());
    teu.run(&["commit", "made", &pushed])?;
    teu.run(&["push", &pushed])?;
    teu.run(&["rm", "made"])?;
    teu.run(&["rmi", &pushed])?;
    let before = Traces::of(&host)?;
    let proxy = Proxy::start(registry.port())?;
    let image = format!("127.0.0.1:{}/big:1", proxy.port);
    let mut client =
        teu.command(&["pull", &image]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    eventually("a part came", || {
        ensure!(proxy.passed.load(Ordering::Relaxed) > LAYER_BYTES / 3);
        Ok(())
    })?;
    host.kill_daemon()?;
    client.wait()?;
    let kept: u64 = std::fs::read_dir(host.data_root().join("content/ingest"))?
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    host.start_daemon()?;
    ensure!(teu.run(&["images", "-q", &image])?.is_empty(), "half an image shows");
    proxy.slow.store(false, Ordering::Relaxed);
    proxy.passed.store(0, Ordering::Relaxed);
    teu.run(&["pull", &image])?;
    let came = proxy.passed.load(Ordering::Relaxed);
    eprintln!("{kept} bytes were kept, {came} came after the restart");
    ensure!(kept > LAYER_BYTES / 4 && came < LAYER_BYTES - kept + 200_000, "{kept} {came}");
    is_whole(&host, &image)?;
    teu.run(&["rmi", &image])?;
    before.come_back(&host)
}
