//! The daemon is killed again and again while it is busy; then everything is accounted for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, Registry, eventually};
use rustix::process::Signal;

use super::neighbour::Neighbour;
use super::traces::{Traces, no_container_left_anything};
use super::{becomes, host, inspect, signal};

const KILLS: u32 = 16;
/// Where addresses have to be given out by hand to be kept.
const SUBNET: &str = "10.213.77.0/24";
const ADDRESS: &str = "10.213.77.77";
/// Longest time between a daemon's start and its kill.
const LONGEST_MS: u64 = 700;

#[test]
fn nothing_is_lost_or_left_by_kills_under_load() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    let registry = Registry::start(host.scratch())?;
    let image = format!("127.0.0.1:{}/box:1", registry.port());
    push_another(&teu, &image)?;
    let before = Traces::of(&host)?;
    start_lasting(&teu)?;
    let port = published(&teu, "server")?;
    let neighbour = Neighbour::new()?;
    let stop = AtomicBool::new(false);
    let (client, stopping, far) = (&teu, &stop, &neighbour);
    std::thread::scope(|scope| -> Result<()> {
        let near = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let asking = [
            scope.spawn(move || ask(near, stopping)),
            scope.spawn(move || far.enter().and_then(|()| ask((far.host, port).into(), stopping))),
        ];
        for worker in 0..2 {
            scope.spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    work(client, worker)
                }
            });
        }
        scope.spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                move_images(client, &image)
            }
        });
        let killed = kill_repeatedly(&mut host);
        stop.store(true, Ordering::Relaxed);
        for asking in asking {
            let answered = asking.join().expect("it does not panic")?;
            eprintln!("{answered} requests were answered");
            ensure!(answered > 20, "only {answered} requests were answered");
        }
        killed
    })?;
    lasting_went_on(&teu)?;
    remove_everything(&teu)?;
    before.come_back(&host)?;
    eprintln!("{} containers left nothing", no_container_left_anything(&host)?);
    Ok(())
}

/// Pushes an image with a layer of its own and removes it here.
fn push_another(teu: &Client, image: &str) -> Result<()> {
    teu.run(&[
        "run",
        "--name",
        "made",
        "busybox",
        "sh",
        "-c",
        "head -c 3000000 /dev/urandom > /x",
    ])?;
    teu.run(&["commit", "made", image])?;
    teu.run(&["push", image])?;
    teu.run(&["rm", "made"])?;
    teu.run(&["rmi", image]).map(drop)
}

/// Containers that are there all the time, each with something that must go on.
fn start_lasting(teu: &Client) -> Result<()> {
    let start = |name: &str, options: &[&str], command: &str| {
        let args = [&["run", "-d", "--name", name], options, &["busybox", "sh", "-c", command]];
        teu.run(&args.concat())
    };
    teu.run(&["network", "create", "--subnet", SUBNET, "lasting"])?;
    let network = ["-p", "80", "--network", "lasting", "--ip", ADDRESS];
    start("server", &network, "echo page > /index.html; httpd -f -h /")?;
    let ask = "while :; do nslookup -type=a server >/dev/null && echo x >> /found || \
               echo x >> /lost; usleep 20000; done";
    start("asker", &["--network", "lasting"], ask)?;
    let count = "i=0; while :; do echo $i; echo $i > /last; i=$((i+1)); usleep 5000; done";
    start("logger", &[], count)?;
    start("always", &["--restart", "always"], "sleep 600")?;
    let health = ["--health-cmd", "echo x >> /checks", "--health-interval", "200ms"];
    start("healthy", &health, "sleep 600").map(drop)
}

fn published(teu: &Client, name: &str) -> Result<u16> {
    let shown = teu.run(&["port", name])?;
    let first = shown.lines().next().and_then(|line| line.rsplit(':').next());
    Ok(first.context("a port")?.parse()?)
}

/// Asks until told to stop; one request that is not answered is an error.
fn ask(address: SocketAddr, stop: &AtomicBool) -> Result<u32> {
    eventually("the server is up", || e2e::http::get(address))?;
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let page =
            e2e::http::get(address).with_context(|| format!("request {answered} to {address}"))?;
        ensure!(page == "page\n", "{page:?}");
        answered += 1;
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Ok(answered)
}

/// What a killed daemon answers does not matter; what it leaves is judged later.
fn work(teu: &Client, worker: u32) {
    let short = ["run", "--rm", "-p", "9", "-v", "/v", "-v", "/etc", "busybox", "true"];
    let (label, network) = (format!("w={worker}"), format!("net{worker}"));
    let _ = teu.try_run(&["network", "create", &network]);
    let options = ["-p", "9", "-v", "/v", "-l", &label, "--network", &network];
    let long = [&["run", "-d"], &options[..], &["busybox", "sleep", "600"]].concat();
    let _ = teu.try_run(&short);
    let Ok(ran) = teu.try_run(&long) else { return };
    let id = ran.stdout.trim();
    if id.len() == 64 {
        let _ = teu.try_run(&["exec", id, "true"]);
        let _ = teu.try_run(&["network", "connect", "lasting", id]);
        let _ = teu.try_run(&["network", "disconnect", &network, id]);
        let image = format!("committed:{worker}");
        let _ = teu.try_run(&["commit", id, &image]);
        let _ = teu.try_run(&["rm", "-f", "-v", id]);
        let _ = teu.try_run(&["rmi", &image]);
    }
    let _ = teu.try_run(&["network", "rm", &network]);
}

fn move_images(teu: &Client, image: &str) {
    let _ = teu.try_run(&["pull", image]);
    let _ = teu.try_run(&["rmi", image]);
}

fn kill_repeatedly(host: &mut Host) -> Result<()> {
    let teu = host.teu();
    // Reproduced by putting the printed number here.
    let mut seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut longest = Duration::ZERO;
    for round in 0..KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Duration::from_millis((seed >> 33) % LONGEST_MS);
        std::thread::park_timeout(pause);
        let victim = inspect(&teu, "always", "{{.State.Pid}}")?;
        host.kill_daemon()?;
        if round % 5 == 4 {
            signal(victim.parse()?, Signal::KILL)?;
        }
        let start = Instant::now();
        host.start_daemon()?;
        eprintln!("kill {round} after {pause:?}: answers again after {:?}", start.elapsed());
        longest = longest.max(start.elapsed());
        becomes(&teu, "always", "{{.State.Status}}", "running")?;
        teu.run(&["exec", "server", "true"])?;
    }
    eprintln!("at most {longest:?}");
    Ok(())
}

fn lasting_went_on(teu: &Client) -> Result<()> {
    for name in ["server", "asker", "logger", "healthy"] {
        let told = inspect(teu, name, "{{.State.Status}} {{.RestartCount}}")?;
        ensure!(told == "running 0", "{name}: {told}");
    }
    let found = teu.run(&["exec", "asker", "sh", "-c", "wc -c < /found; cat /lost || true"])?;
    let found: usize = found.trim().parse().context(format!("no name was lost: {found:?}"))?;
    eprintln!("a name was found {} times", found / 2);
    ensure!(found > 20, "names resolve while no daemon runs");
    // Its address is its own, whoever else comes while it is down.
    let address = "{{.NetworkSettings.Networks.lasting.IPAddress}}";
    teu.run(&["restart", "-t", "0", "server"])?;
    ensure!(inspect(teu, "server", address)? == ADDRESS);
    becomes(teu, "healthy", "{{.State.Health.Status}}", "healthy")?;
    let checks = || -> Result<usize> { Ok(teu.run(&["exec", "healthy", "cat", "/checks"])?.len()) };
    let now = checks()?;
    eventually("checks go on", || {
        ensure!(checks()? > now + 2);
        Ok(())
    })?;
    // Empty for the moment between the shell's opening and its writing.
    let written: u64 = eventually("the last number is written", || {
        Ok(teu.run(&["exec", "logger", "cat", "/last"])?.trim().parse()?)
    })?;
    teu.run(&["stop", "-t", "0", "logger"])?;
    let log = teu.run(&["logs", "logger"])?;
    for (expected, line) in log.lines().enumerate() {
        ensure!(line == expected.to_string(), "line {expected} is {line:?}");
    }
    let lines = u64::try_from(log.lines().count())?;
    eprintln!("{lines} lines were logged");
    ensure!(lines > written, "{lines} lines of {written}");
    Ok(())
}

fn remove_everything(teu: &Client) -> Result<()> {
    let ids = teu.run(&["ps", "-aq"])?;
    teu.run(&[vec!["rm", "-f", "-v"], ids.split_whitespace().collect()].concat())?;
    let networks = teu.run(&["network", "ls", "-q", "-f", "type=custom"])?;
    teu.run(&[vec!["network", "rm"], networks.split_whitespace().collect()].concat())?;
    let images = teu.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    for image in
        images.lines().filter(|image| !image.starts_with("busybox:") && !image.starts_with('<'))
    {
        teu.run(&["rmi", image])?;
    }
    teu.run(&["image", "prune", "-f"]).map(drop)
}

#[test]
fn thirty_containers_are_there_at_once_again() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..10 {
                    teu.run(&["run", "-d", "-p", "7", "busybox", "sleep", "600"]).unwrap();
                }
            });
        }
    });
    for _ in 0..3 {
        host.kill_daemon()?;
        let start = Instant::now();
        host.start_daemon()?;
        eprintln!("answers after {:?} with thirty containers", start.elapsed());
        ensure!(teu.run(&["ps", "-q"])?.lines().count() == 30);
    }
    Ok(())
}
