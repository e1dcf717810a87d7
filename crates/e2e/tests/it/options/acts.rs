//! What a container of one script cannot show: options of the client, of ends, of ports.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use e2e::{DEADLINE, Registry, eventually};

use crate::World;

/// Runs a container to its end, which leaves nothing.
pub(super) fn once(world: &World, args: &[&str], script: &str) -> Result<String> {
    let mut words = vec!["run", "--rm"];
    words.extend(args);
    words.extend(["busybox", "sh", "-c", script]);
    world.client.run(&words)
}

pub(super) fn remove(world: &World, name: &str) -> Result<()> {
    world.client.run(&["rm", "-f", "-v", name]).map(drop)
}

pub(super) fn shows(world: &World, name: &str, template: &str) -> Result<String> {
    Ok(world.client.run(&["inspect", "-f", template, name])?.trim().to_owned())
}

pub(super) fn attach(world: &World) -> Result<()> {
    let args = ["run", "--rm", "-a", "stderr", "busybox", "sh", "-c", "echo out; echo err >&2"];
    let ran = world.client.try_run(&args)?;
    ensure!(ran.stdout.is_empty() && ran.stderr == "err\n", "{ran:?}");
    Ok(())
}

pub(super) fn cgroup_parent(world: &World) -> Result<()> {
    let args =
        ["run", "-d", "--name", "cc", "--cgroup-parent", "/harbour", "busybox", "sleep", "600"];
    let id = world.client.run(&args)?;
    let pid = shows(world, "cc", "{{.State.Pid}}")?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let wanted = format!(":/harbour/{}", id.trim());
    ensure!(groups.lines().any(|line| line.ends_with(&wanted)), "{groups}");
    remove(world, "cc")
}

pub(super) fn cidfile(world: &World) -> Result<()> {
    let path = world.host.scratch().join("cid");
    let file = path.display().to_string();
    once(world, &["--cidfile", &file], "true")?;
    let id = std::fs::read_to_string(&path)?;
    ensure!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    let again = world.client.try_run(&["run", "--rm", "--cidfile", &file, "busybox", "true"])?;
    let told = "container ID file found, make sure the other container isn't running or delete";
    ensure!(again.code == 125 && again.stderr.contains(told), "{again:?}");
    std::fs::remove_file(&path)?;
    let failed =
        world.client.try_run(&["run", "--cidfile", &file, "--cpus", "999", "busybox", "true"])?;
    ensure!(failed.code == 125 && !path.exists(), "{failed:?}");
    Ok(())
}

pub(super) fn detach(world: &World) -> Result<()> {
    let id = world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    ensure!(shows(world, "cc", "{{.Id}} {{.State.Running}}")? == format!("{} true", id.trim()));
    remove(world, "cc")
}

pub(super) fn detach_keys(world: &World) -> Result<()> {
    let args = ["run", "-it", "--name", "cc", "--detach-keys", "ctrl-a,x", "busybox", "sh"];
    let mut pty = world.client.terminal(&args)?;
    pty.expect("/ # ", DEADLINE)?;
    pty.send("\x01x")?;
    let (status, _) = pty.finish(DEADLINE)?;
    ensure!(status.success(), "{status}");
    ensure!(shows(world, "cc", "{{.State.Running}}")? == "true");
    remove(world, "cc")
}

/// A device that a file of the Container Device Interface describes.
pub(super) fn cdi(world: &World) -> Result<()> {
    let device = ["run", "--rm", "--device", "example.com/none=such", "busybox", "true"];
    let told = world.client.try_run(&device)?;
    let wanted = "CDI device injection failed: unresolvable CDI devices example.com/none=such";
    ensure!(told.code == 125 && told.stderr.contains(wanted), "{told:?}");
    let script = "echo $SAIL; head -c 2 /dev/sail | wc -c; test -s /etc/sail && echo mounted; \
                  (echo x >/dev/sail) 2>/dev/null || echo refused";
    let said = once(world, &["--device", "example.com/sail=main"], script)?;
    ensure!(said == "main\n2\nmounted\nrefused\n", "{said:?}");
    Ok(())
}

/// Docker's command line does not know it; the API's field is `Healthcheck.OnFailure`.
pub(super) fn health_on_failure(world: &World) -> Result<()> {
    let teu = world.host.teu();
    let checked = |action: &str, policy: &str| -> Result<()> {
        let args = [
            "run",
            "-d",
            "--name",
            "cc",
            "--health-cmd",
            "test ! -e /ill",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
            "--health-on-failure",
            action,
            "--restart",
            policy,
            "busybox",
            "sh",
            "-c",
            "rm -f /ill; trap 'exit 3' TERM; while :; do sleep 0.05; done",
        ];
        teu.run(&args)?;
        ensure!(shows(world, "cc", "{{.Config.Healthcheck.OnFailure}}")? == action);
        teu.run(&["exec", "-d", "cc", "touch", "/ill"]).map(drop)
    };
    let becomes = |wanted: &str| {
        eventually(wanted, || {
            let found =
                shows(world, "cc", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}")?;
            ensure!(found == wanted, "{found}");
            Ok(())
        })?;
        remove(world, "cc")
    };
    checked("stop", "always")?;
    becomes("exited 3 0")?;
    checked("kill", "no")?;
    becomes("exited 137 0")?;
    checked("kill", "always")?;
    becomes("running 0 1")?;
    checked("restart", "no")?;
    let before = shows(world, "cc", "{{.State.StartedAt}}")?;
    eventually("it was started again", || {
        ensure!(
            shows(world, "cc", "{{.State.StartedAt}} {{.State.Running}}")?
                != format!("{before} true")
        );
        Ok(())
    })?;
    becomes("running 0 0")?;
    let bad =
        teu.try_run(&["create", "--health-cmd", "true", "--health-on-failure", "sail", "busybox"])?;
    ensure!(bad.code == 1 && bad.stderr.contains("invalid health action 'sail'"), "{bad:?}");
    Ok(())
}

pub(super) fn entrypoint(world: &World) -> Result<()> {
    let args = ["run", "--rm", "--entrypoint", "echo", "busybox", "just", "this"];
    ensure!(world.client.run(&args)? == "just this\n");
    let reset =
        world.client.try_run(&["create", "--entrypoint", "", "--name", "cc", "busybox", "ls"])?;
    ensure!(reset.code == 0, "{reset:?}");
    remove(world, "cc")
}

pub(super) fn health(world: &World) -> Result<()> {
    let args = [
        "run",
        "-d",
        "--name",
        "cc",
        "--health-cmd",
        "test ! -e /ill || (echo too ill; false)",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "600",
    ];
    world.client.run(&args)?;
    let becomes = |wanted: &str| {
        eventually(wanted, || {
            let found = shows(world, "cc", "{{.State.Health.Status}}")?;
            ensure!(found == wanted, "{found}");
            Ok(())
        })
    };
    becomes("healthy")?;
    world.client.run(&["exec", "cc", "touch", "/ill"])?;
    becomes("unhealthy")?;
    let last = shows(world, "cc", "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}")?;
    ensure!(last.contains("1 too ill"), "{last}");
    remove(world, "cc")
}

pub(super) fn help(world: &World) -> Result<()> {
    let help = world.client.run(&["run", "--help"])?;
    ensure!(help.contains("--health-timeout") && help.contains("--hostname"), "{help}");
    Ok(())
}

pub(super) fn interactive(world: &World) -> Result<()> {
    let ran =
        world.client.try_run_with_input(&["run", "-i", "--rm", "busybox", "cat"], b"typed\n")?;
    ensure!(ran.stdout == "typed\n", "{ran:?}");
    ensure!(once(world, &[], "cat; echo nothing came")? == "nothing came\n");
    Ok(())
}

pub(super) fn ipc(world: &World) -> Result<()> {
    world.client.run(&["exec", "donor", "touch", "/dev/shm/flag"])?;
    ensure!(once(world, &["--ipc", "container:donor"], "ls /dev/shm")? == "flag\n");
    ensure!(once(world, &["--ipc", "private"], "ls /dev/shm")?.is_empty());
    ensure!(
        once(world, &["--ipc", "none"], "ls -d /dev/shm 2>/dev/null || echo none")? == "none\n"
    );
    let host = std::fs::read_link("/proc/self/ns/ipc")?;
    let shown = once(world, &["--ipc", "host"], "readlink /proc/self/ns/ipc")?;
    ensure!(shown.trim() == host.display().to_string(), "{shown}");
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    let ran = world.client.try_run(&["run", "--rm", "--ipc", "container:cc", "busybox", "true"])?;
    ensure!(ran.stderr.contains("non-shareable IPC"), "{ran:?}");
    remove(world, "cc")
}

pub(super) fn name(world: &World) -> Result<()> {
    let id = world.client.run(&["create", "--name", "my_own.name-1", "busybox"])?;
    let again = world.client.try_run(&["create", "--name", "my_own.name-1", "busybox"])?;
    let told = format!(
        "The container name \"/my_own.name-1\" is already in use by container \"{}\"",
        id.trim()
    );
    ensure!(again.code != 0 && again.stderr.contains(&told), "{again:?}");
    remove(world, "my_own.name-1")
}

pub(super) fn network_host(world: &World) -> Result<()> {
    let host = std::fs::read_link("/proc/self/ns/net")?;
    let shown = once(world, &["--network", "host"], "readlink /proc/self/ns/net")?;
    ensure!(shown.trim() == host.display().to_string(), "{shown}");
    let ran = world.client.try_run(&[
        "run",
        "--rm",
        "--network",
        "host",
        "-p",
        "80",
        "busybox",
        "true",
    ])?;
    let told = "Published ports are discarded when using host network mode";
    ensure!(ran.code == 0 && ran.stderr.contains(told), "{ran:?}");
    Ok(())
}

pub(super) fn network_container(world: &World) -> Result<()> {
    let hosts = world.client.run(&["exec", "donor", "cat", "/etc/hosts"])?;
    let sleep = ["run", "-d", "--name", "joined", "--network", "container:donor", "busybox"];
    world.client.run(&[&sleep[..], &["sleep", "600"]].concat())?;
    // Who joins one that has joined another sees what that sees.
    let shown = once(world, &["--network", "container:joined"], "cat /etc/hosts")?;
    ensure!(shown == hosts, "{shown}");
    Ok(())
}

pub(super) fn pid_host(world: &World) -> Result<()> {
    let host = std::fs::read_link("/proc/self/ns/pid")?;
    let shown = once(world, &["--pid", "host"], "readlink /proc/self/ns/pid")?;
    ensure!(shown.trim() == host.display().to_string(), "{shown}");
    Ok(())
}

pub(super) fn uts_host(world: &World) -> Result<()> {
    let host = std::fs::read_link("/proc/self/ns/uts")?;
    let shown = once(world, &["--uts", "host"], "readlink /proc/self/ns/uts")?;
    ensure!(shown.trim() == host.display().to_string(), "{shown}");
    Ok(())
}

pub(super) fn platform(world: &World) -> Result<()> {
    let own = shows(world, "donor", "{{.Platform}}")?;
    ensure!(own == "linux", "{own}");
    let arch =
        world.client.run(&["image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", "busybox"])?;
    ensure!(once(world, &["--platform", arch.trim()], "echo fits")? == "fits\n");
    let args = ["run", "--rm", "--pull", "never", "--platform", "linux/s390x", "busybox", "true"];
    let ran = world.client.try_run(&args)?;
    ensure!(ran.code == 125 && ran.stderr.contains("s390x"), "{ran:?}");
    Ok(())
}

/// A page server on a port of the container.
const SERVE: &str = "mkdir -p /www; echo ahoy >/www/index.html; exec httpd -f -p 8080 -h /www";

fn page(port: u16) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the page comes", || {
        let page = e2e::http::get(address)?;
        ensure!(page == "ahoy\n", "{page:?}");
        Ok(())
    })
}

pub(super) fn publish(world: &World) -> Result<()> {
    let args = ["run", "-d", "--name", "cc", "-p", "127.0.0.1::8080", "busybox", "sh", "-c", SERVE];
    world.client.run(&args)?;
    let bound = world.client.run(&["port", "cc", "8080/tcp"])?;
    let port = bound.trim().strip_prefix("127.0.0.1:").context(bound.clone())?;
    page(port.parse()?)?;
    let taken = format!("127.0.0.1:{port}:8080");
    let ran = world.client.try_run(&["run", "--rm", "-p", &taken, "busybox", "true"])?;
    ensure!(ran.code == 125 && ran.stderr.contains("port is already allocated"), "{ran:?}");
    remove(world, "cc")
}

pub(super) fn publish_all(world: &World) -> Result<()> {
    let args =
        ["run", "-d", "--name", "cc", "--expose", "8080", "-P", "busybox", "sh", "-c", SERVE];
    world.client.run(&args)?;
    let bound = world.client.run(&["port", "cc", "8080/tcp"])?;
    let port = bound.lines().next().and_then(|line| line.strip_prefix("0.0.0.0:"));
    page(port.context(bound.clone())?.parse()?)?;
    remove(world, "cc")
}

pub(super) fn pull(world: &World) -> Result<()> {
    let ran = world.client.try_run(&["run", "--pull", "never", "no.such/image"])?;
    ensure!(
        ran.code == 125 && ran.stderr.contains("No such image: no.such/image:latest"),
        "{ran:?}"
    );
    let ran = world.client.try_run(&[
        "run",
        "--rm",
        "--pull",
        "always",
        "127.0.0.1:1/busybox",
        "true",
    ])?;
    ensure!(ran.code == 125 && ran.stderr.contains("127.0.0.1:1"), "{ran:?}");
    Ok(())
}

pub(super) fn quiet(world: &World) -> Result<()> {
    let registry = Registry::start(world.host.scratch())?;
    let name = format!("127.0.0.1:{}/box:1", registry.port());
    world.client.run(&["tag", "busybox", &name])?;
    world.client.run(&["push", "-q", &name])?;
    world.client.run(&["rmi", &name])?;
    let ran = world.client.try_run(&["run", "--rm", "-q", &name, "echo", "only this"])?;
    ensure!(ran.stdout == "only this\n" && !ran.stderr.contains("Pull"), "{ran:?}");
    world.client.run(&["rmi", &name]).map(drop)
}

pub(super) fn restart(world: &World) -> Result<()> {
    let args = [
        "run",
        "-d",
        "--name",
        "cc",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo again; exit 3",
    ];
    world.client.run(&args)?;
    eventually("it gives up", || {
        let state = shows(world, "cc", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}")?;
        ensure!(state == "exited 3 2", "{state}");
        Ok(())
    })?;
    ensure!(world.client.run(&["logs", "cc"])? == "again\nagain\nagain\n");
    ensure!(
        shows(
            world,
            "cc",
            "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
        )? == "on-failure 2"
    );
    let both = world.client.try_run(&["run", "--rm", "--restart", "always", "busybox", "true"])?;
    let told = "conflicting options: cannot specify both --restart and --rm";
    ensure!(both.code == 125 && both.stderr.contains(told), "{both:?}");
    remove(world, "cc")
}

pub(super) fn rm(world: &World) -> Result<()> {
    let before = world.client.run(&["volume", "ls", "-q"])?;
    world.client.run(&["run", "--rm", "--name", "cc", "-v", "/v", "busybox", "true"])?;
    ensure!(world.client.run(&["ps", "-aq", "-f", "name=^cc$"])?.is_empty());
    let after = world.client.run(&["volume", "ls", "-q"])?;
    ensure!(after == before, "{after} instead of {before}");
    Ok(())
}

pub(super) fn runtime(world: &World) -> Result<()> {
    if !std::path::Path::new("/usr/sbin/runc").exists() {
        eprintln!("skipped: --runtime runc needs runc");
        return Ok(());
    }
    world.client.run(&["run", "--name", "cc", "--runtime", "runc", "busybox", "true"])?;
    ensure!(shows(world, "cc", "{{.HostConfig.Runtime}}")? == "runc");
    remove(world, "cc")
}

pub(super) fn security(world: &World) -> Result<()> {
    let unconfined = [
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
        "--security-opt",
        "label=disable",
    ];
    ensure!(once(world, &unconfined, "grep Seccomp: /proc/self/status | cut -f2")? == "0\n");
    let open = ["--security-opt", "systempaths=unconfined"];
    ensure!(
        once(world, &open, "grep -c -e ' /proc/kcore ' -e ' /proc/sys ' /proc/mounts; true")?
            == "0\n"
    );
    let labelled = ["create", "--name", "cc", "--security-opt", "label=type:x", "busybox"];
    let warned = world.client.try_run(&labelled)?;
    let told = "WARNING: SELinux labels are not supported";
    ensure!(warned.code == 0 && warned.stderr.contains(told), "{warned:?}");
    remove(world, "cc")?;
    let cgroups = ["--security-opt", "writable-cgroups=true"];
    let script = "mkdir $(ls -d /sys/fs/cgroup/memory 2>/dev/null || echo /sys/fs/cgroup)/below && echo made";
    ensure!(once(world, &cgroups, script)? == "made\n");
    Ok(())
}

pub(super) fn sig_proxy(world: &World) -> Result<()> {
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let args = ["run", "--name", "cc", "busybox", "sh", "-c", script];
    let mut command = world.client.command(&args);
    let mut client = command.stdout(std::process::Stdio::piped()).spawn()?;
    let mut output = std::io::BufReader::new(client.stdout.take().context("a pipe")?);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line)?;
    ensure!(line == "ready\n", "{line:?}");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&client),
        rustix::process::Signal::TERM,
    )?;
    let status = eventually("the client ends", || client.try_wait()?.context("it runs"))?;
    ensure!(status.code() == Some(5), "{status}");
    remove(world, "cc")
}

pub(super) fn stop_signal(world: &World) -> Result<()> {
    let script = "trap 'exit 6' USR1; echo ready; while :; do sleep 0.05; done";
    let args =
        ["run", "-d", "--name", "cc", "--stop-signal", "USR1", "busybox", "sh", "-c", script];
    world.client.run(&args)?;
    eventually("it is ready", || {
        ensure!(world.client.run(&["logs", "cc"])? == "ready\n");
        Ok(())
    })?;
    world.client.run(&["stop", "cc"])?;
    ensure!(shows(world, "cc", "{{.State.ExitCode}}")? == "6");
    remove(world, "cc")
}

pub(super) fn stop_timeout(world: &World) -> Result<()> {
    let args = [
        "run",
        "-d",
        "--name",
        "cc",
        "--stop-timeout",
        "0",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 1; done",
    ];
    world.client.run(&args)?;
    world.client.run(&["stop", "cc"])?;
    ensure!(shows(world, "cc", "{{.State.ExitCode}}")? == "137");
    remove(world, "cc")
}

pub(super) fn storage_opt(world: &World) -> Result<()> {
    let told = world.client.try_run(&["create", "--storage-opt", "size=1g", "busybox"])?;
    ensure!(told.code != 0 && told.stderr.contains("pquota"), "{told:?}");
    Ok(())
}

pub(super) fn api_socket(world: &World) -> Result<()> {
    let config = world.host.scratch().join("config/config.json");
    let before = std::fs::read(&config).ok();
    // c2FpbG9yOmhhcmJvdXI= is sailor:harbour.
    std::fs::write(&config, r#"{"auths": {"quay.example": {"auth": "c2FpbG9yOmhhcmJvdXI="}}}"#)?;
    let script =
        "ls -l /var/run/docker.sock | cut -c1; echo $DOCKER_CONFIG; cat $DOCKER_CONFIG/config.json";
    let args = ["run", "--rm", "--use-api-socket", "busybox", "sh", "-c", script];
    let said = world.client.run(&args);
    match before {
        Some(before) => std::fs::write(&config, before)?,
        None => std::fs::remove_file(&config)?,
    }
    let said = said?;
    ensure!(said.starts_with("s\n/run/secrets/docker\n"), "{said}");
    ensure!(said.contains("quay.example") && said.contains("c2FpbG9yOmhhcmJvdXI="), "{said}");
    Ok(())
}
