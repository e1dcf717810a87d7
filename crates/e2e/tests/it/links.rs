//! Legacy links on the default network: names, variables and open ports for one container alone.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Client, Host, HostOptions, Program, eventually, is_root};

use crate::{World, with};

both_clients!(a_link_tells_of_the_other_container, a_link_follows_the_other_and_can_be_removed);

/// Says "ahoy" to whoever connects.
const SERVE: [&str; 4] = ["busybox", "sh", "-c", "while true; do echo ahoy | nc -l -p 5432; done"];

fn serve(client: &Client, name: &str, more: &[&str]) -> Result<()> {
    let fixed = ["run", "-d", "--name", name];
    client.run(&[&fixed[..], more, &SERVE].concat()).map(drop)
}

/// What the server says to a container that asks; it may just be between two askers.
fn greeting(client: &Client, from: &str, host: &str) -> Result<()> {
    eventually("the greeting comes", || {
        let ran = client.try_run(&["exec", from, "nc", "-w", "20", host, "5432"])?;
        ensure!(ran.stdout == "ahoy\n", "{ran:?}");
        Ok(())
    })
}

fn address(client: &Client, name: &str) -> Result<String> {
    let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    Ok(client.run(&["inspect", "-f", format, name])?.trim().to_owned())
}

/// Lines of a container's hosts file that have this name.
fn hosts(client: &Client, container: &str, name: &str) -> Result<Vec<String>> {
    let text = client.run(&["exec", container, "cat", "/etc/hosts"])?;
    let has = |line: &&str| line.split_whitespace().skip(1).any(|word| word == name);
    Ok(text.lines().filter(has).map(str::to_owned).collect())
}

fn a_link_tells_of_the_other_container(world: &World) -> Result<()> {
    let client = &world.client;
    let more = ["-h", "store-host", "-e", "ROLE=store", "--expose", "5432", "--expose", "5433"];
    serve(client, "db", &more)?;
    let ip = address(client, "db")?;
    let args = ["run", "-d", "--name", "web", "--link", "db:my-store", "busybox", "sleep", "600"];
    client.run(&args)?;
    ensure!(hosts(client, "web", "my-store")? == [format!("{ip}\tmy-store store-host db")]);
    // A link is the linker's alone.
    ensure!(hosts(client, "db", "web")?.is_empty());
    let environment = client.run(&["exec", "web", "env"])?;
    for wanted in [
        format!("MY_STORE_PORT=tcp://{ip}:5432"),
        format!("MY_STORE_PORT_5432_TCP_START=tcp://{ip}:5432"),
        format!("MY_STORE_PORT_5432_TCP_ADDR={ip}"),
        "MY_STORE_PORT_5432_TCP_PORT_END=5433".to_owned(),
        "MY_STORE_NAME=/web/my-store".to_owned(),
        "MY_STORE_ENV_ROLE=store".to_owned(),
    ] {
        ensure!(environment.lines().any(|line| line == wanted), "no {wanted} in {environment}");
    }
    greeting(client, "web", "my-store")?;
    let links = client.run(&["inspect", "-f", "{{json .HostConfig.Links}}", "web"])?;
    ensure!(links.trim() == "[\"/db:/web/my-store\"]", "{links}");
    // The other goes by that name too.
    let name = client.run(&["inspect", "-f", "{{.Name}}", "web/my-store"])?;
    ensure!(name.trim() == "/db", "{name}");
    let names = client.run(&["ps", "--no-trunc", "--format", "{{.Names}}", "-f", "name=db"])?;
    ensure!(names.trim() == "db,web/my-store", "{names}");
    Ok(())
}

fn a_link_follows_the_other_and_can_be_removed(world: &World) -> Result<()> {
    let client = &world.client;
    serve(client, "db", &["--expose", "5432"])?;
    let args = ["run", "-d", "--name", "web", "--link", "db", "busybox", "sleep", "600"];
    client.run(&args)?;
    let before = address(client, "db")?;
    client.run(&["stop", "-t", "0", "db"])?;
    let refused = client.try_run(&["run", "--rm", "--link", "db", "busybox", "true"])?;
    ensure!(refused.stderr.contains("Cannot link to a non running container: /db AS /"));
    // Somebody else takes its address meanwhile.
    client.run(&["run", "-d", "--name", "thief", "busybox", "sleep", "600"])?;
    ensure!(address(client, "thief")? == before);
    client.run(&["start", "db"])?;
    let after = address(client, "db")?;
    ensure!(after != before, "{after}");
    let line = hosts(client, "web", "db")?;
    ensure!(matches!(line.as_slice(), [line] if line.starts_with(&after)), "{line:?}");
    greeting(client, "web", "db")?;
    client.run(&["rename", "db", "store"])?;
    let links = client.run(&["inspect", "-f", "{{json .HostConfig.Links}}", "web"])?;
    ensure!(links.trim() == "[\"/store:/web/db\"]", "{links}");
    client.run(&["rm", "--link", "web/db"])?;
    ensure!(hosts(client, "web", "db")?.is_empty());
    let links = client.run(&["inspect", "-f", "{{json .HostConfig.Links}}", "web"])?;
    ensure!(links.trim() == "null", "{links}");
    let state = client.run(&["inspect", "-f", "{{.State.Running}}", "store"])?;
    ensure!(state.trim() == "true", "the link alone was to be removed");
    let refused = client.try_run(&["rm", "--link", "store"])?;
    ensure!(refused.stderr.contains("cannot remove the default link name"), "{refused:?}");
    Ok(())
}

#[test]
fn a_link_opens_ports_where_neighbours_do_not_meet() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let flags = vec!["--icc=false".to_owned()];
    let mut host = Host::start_with(HostOptions { flags, ..HostOptions::default() })?;
    host.load_busybox()?;
    let client = host.client(Program::Teu);
    serve(&client, "db", &["--restart", "always", "--expose", "5432"])?;
    let link = ["--restart", "on-failure:1", "--link", "db"];
    for (name, more) in [("web", &link[..]), ("other", &[])] {
        let fixed = ["run", "-d", "--name", name];
        client.run(&[&fixed[..], more, &["busybox", "sleep", "600"]].concat())?;
    }
    let is_closed_to = |from: &str| -> Result<()> {
        let args = ["exec", from, "nc", "-w", "2", &address(&client, "db")?, "5432"];
        let ran = client.try_run(&args)?;
        ensure!(ran.stdout.is_empty() && ran.code != 0, "{from}: {ran:?}");
        Ok(())
    };
    greeting(&client, "web", "db")?;
    is_closed_to("other")?;
    // Whoever flushes the rules, they come back.
    nft(&format!("flush table inet teu-{}", host.bridge()))?;
    greeting(&client, "web", "db")?;
    // After a boot both come back; the linked one first, or the single try of the other fails.
    let mut pids = Vec::new();
    for name in ["web", "db"] {
        pids.push(client.run(&["inspect", "-f", "{{.State.Pid}}", name])?.trim().to_owned());
    }
    host.kill_daemon()?;
    for pid in &pids {
        let pid = rustix::process::Pid::from_raw(pid.parse()?).context("a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    }
    host.start_daemon()?;
    greeting(&client, "web", "db")?;
    client.run(&["rm", "--link", "web/db"])?;
    is_closed_to("web")?;
    Ok(())
}

/// A container that comes up while the one that it is linked to moves is told by neither: the other
/// does not see it run yet, and its own file is written already.
#[test]
fn a_link_is_right_however_late_its_container_comes_up() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name);
    let (runtime, arrived, gate) = (file("slow"), file("arrived"), file("gate"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *create*) : >{}; read -r go <{};; esac\nexec runc \"$@\"\n",
        arrived.display(),
        gate.display()
    );
    std::fs::write(&runtime, script)?;
    std::fs::set_permissions(&runtime, PermissionsExt::from_mode(0o755))?;
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::from_raw_mode(0o600))?;
    let flags = vec![format!("--add-runtime=slow={}", runtime.display())];
    let host = Host::start_with(HostOptions { flags, ..HostOptions::default() })?;
    host.load_busybox()?;
    let client = host.client(Program::Teu);
    serve(&client, "db", &[])?;
    let before = address(&client, "db")?;
    let web = ["create", "--name", "web", "--runtime", "slow", "--link", "db"];
    client.run(&[&web[..], &["busybox", "sleep", "600"]].concat())?;
    std::thread::scope(|scope| {
        let start = scope.spawn(|| client.run(&["start", "web"]));
        let moved = eventually("the runtime is asked", || {
            ensure!(arrived.exists());
            Ok(())
        })
        .and_then(|()| {
            client.run(&["stop", "-t", "0", "db"])?;
            client.run(&["run", "-d", "--name", "thief", "busybox", "sleep", "600"])?;
            client.run(&["start", "db"])
        });
        // Let it go in any case, or the test hangs.
        std::fs::write(&gate, "go\n")?;
        moved?;
        start.join().map_err(|_| anyhow::anyhow!("the start panicked"))?
    })?;
    let after = address(&client, "db")?;
    ensure!(after != before, "{after}");
    let line = hosts(&client, "web", "db")?;
    ensure!(matches!(line.as_slice(), [line] if line.starts_with(&after)), "{line:?}");
    greeting(&client, "web", "db")
}

fn nft(command: &str) -> Result<()> {
    let ran = std::process::Command::new("nft").args(command.split(' ')).output()?;
    if !ran.status.success() {
        bail!("nft {command}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    Ok(())
}
