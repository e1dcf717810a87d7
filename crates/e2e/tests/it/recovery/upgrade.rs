//! A newer daemon takes over what an older one started.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::bin_dir;

use super::{becomes, host, inspect, shim_of};

#[test]
fn containers_go_on_under_a_daemon_from_elsewhere() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = host()?;
    let teu = host.teu();
    teu.run(&["run", "-d", "-i", "--name", "cat", "busybox", "cat"])?;
    teu.run(&["run", "-d", "-it", "--name", "shell", "busybox", "sh"])?;
    let stops = "trap 'exit 9' TERM; while :; do sleep 0.05; done";
    teu.run(&["run", "-d", "--name", "stops", "busybox", "sh", "-c", stops])?;
    teu.run(&["network", "create", "kept"])?;
    let serve = "echo page > /index.html; httpd -f -h /";
    let publish = ["-p", "127.0.0.1::80", "--network", "kept"];
    let web = [&["run", "-d", "--name", "web"], &publish[..], &["busybox", "sh", "-c", serve]];
    teu.run(&web.concat())?;
    let port = teu.run(&["port", "web", "80"])?;
    let port: SocketAddr = port.trim().parse()?;
    let names = ["cat", "shell", "stops", "web"];
    let before = names.map(|name| inspect(&teu, name, "{{.State.Pid}} {{.State.StartedAt}}"));
    let shims = names.map(|name| shim_of(&teu, name));
    host.stop_daemon()?;
    let new = host.scratch().join("new");
    std::fs::create_dir(&new)?;
    for program in ["teu", "teu-shim"] {
        std::fs::copy(bin_dir().join(program), new.join(program))?;
    }
    host.use_programs_of(&new);
    host.start_daemon()?;
    for ((name, before), shim) in names.iter().zip(before).zip(shims) {
        let now = inspect(&teu, name, "{{.State.Pid}} {{.State.StartedAt}}")?;
        ensure!(now == before?, "{name} was touched: {now}");
        ensure!(shim_of(&teu, name)? == shim?, "{name} has another shim");
    }
    ensure!(e2e::http::get(port)? == "page\n", "its port answers");
    // What was made before and what comes after are neighbours.
    let args = ["run", "--rm", "--network", "kept", "busybox", "nslookup", "-type=a", "web"];
    let address = inspect(&teu, "web", "{{.NetworkSettings.Networks.kept.IPAddress}}")?;
    ensure!(teu.run(&args)?.contains(&address), "its name resolves");
    ensure!(std::net::TcpListener::bind(port).is_err(), "its port stays taken");
    ensure!(teu.run(&["exec", "cat", "echo", "here"])? == "here\n");
    ensure!(teu.try_run_with_input(&["exec", "-i", "cat", "cat"], b"in")?.ok()? == "in");
    let mut pty = teu.terminal(&["attach", "shell"])?;
    pty.send_line("echo do''ne")?;
    pty.expect("done", Duration::from_secs(30))?;
    pty.send_line("exit 4")?;
    ensure!(pty.finish(Duration::from_secs(30))?.0.code() == Some(4));
    teu.run(&["stop", "stops"])?;
    becomes(&teu, "stops", "{{.State.ExitCode}}", "9")?;
    // A start now uses the new shim.
    teu.run(&["start", "stops"])?;
    let program = std::fs::metadata(format!("/proc/{}/exe", shim_of(&teu, "stops")?))?;
    ensure!(program.ino() == new.join("teu-shim").metadata()?.ino(), "the old shim was started");
    Ok(())
}
