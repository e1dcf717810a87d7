//! Containers whose ids are not the host's: `--userns` and the daemon's `--userns-remap`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Client, Host, HostOptions};

/// What the daemon finds in `/etc/subuid` and `/etc/subgid`.
const LINES: &str = "dockremap:500000:65536\\nteu:1000000:200000\\n";

fn with_ids(flags: &[&str], test: impl FnOnce(&mut Host, &Client) -> Result<()>) -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut host = Host::start_with(HostOptions {
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        subordinate_ids: Some(LINES.to_owned()),
        ..HostOptions::default()
    })?;
    host.load_busybox()?;
    let teu = host.teu();
    test(&mut host, &teu)
}

fn pid(client: &Client, name: &str) -> Result<u32> {
    let pid = client.run(&["inspect", "-f", "{{.State.Pid}}", name])?;
    pid.trim().parse().context("a pid")
}

/// The map as the kernel has it, one number after the other.
fn map(client: &Client, name: &str) -> Result<String> {
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", pid(client, name)?))?;
    Ok(map.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

fn inside(client: &Client, name: &str, script: &str) -> Result<String> {
    client.run(&["exec", name, "sh", "-c", script])
}

fn start(client: &Client, name: &str, options: &[&str]) -> Result<()> {
    let mut words = vec!["run", "-d", "--name", name];
    words.extend(options);
    words.extend(["busybox", "sleep", "6000"]);
    client.run(&words).map(drop)
}

fn owner(path: &Path) -> Result<(u32, u32)> {
    let stat = path.symlink_metadata().with_context(|| path.display().to_string())?;
    Ok((stat.uid(), stat.gid()))
}

fn tar(words: &[&str], input: &str) -> Result<String> {
    let mut child = std::process::Command::new("tar")
        .args(words)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no input")?;
    std::io::Write::write_all(&mut stdin, input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Finds a file of a container's own layer on disk.
fn in_layer(host: &Host, name: &str) -> Result<std::path::PathBuf> {
    let mut find = std::process::Command::new("find");
    let found = find.arg(host.data_root()).args(["-name", name]).output()?;
    let paths = String::from_utf8_lossy(&found.stdout).into_owned();
    paths.lines().next().map(Into::into).with_context(|| format!("no {name} on disk"))
}

#[test]
fn a_container_is_root_over_nothing_but_its_own() -> Result<()> {
    with_ids(&[], |host, teu| {
        let bound = host.scratch().join("bound");
        std::fs::create_dir(&bound)?;
        let bind = format!("{}:/bound", bound.display());
        let options =
            ["--userns", "auto", "-v", "kept:/kept", "-v", &bind, "--cap-add", "NET_ADMIN"];
        start(teu, "box", &options)?;
        start(teu, "other", &["--userns", "auto:size=1000"])?;
        ensure!(map(teu, "box")? == "0 1000000 65536", "{}", map(teu, "box")?);
        ensure!(map(teu, "other")? == "0 1065536 1000", "{}", map(teu, "other")?);
        let process = format!("/proc/{}", pid(teu, "box")?);
        ensure!(owner(Path::new(&process))? == (1_000_000, 1_000_000));
        let places = "/ /etc/hosts /kept /dev /dev/null /dev/pts /dev/shm /tmp";
        for line in inside(teu, "box", &format!("stat -c '%u:%g %n' {places}"))?.lines() {
            ensure!(line.starts_with("0:0 "), "{line}");
        }
        // Its own: files, network, host name's file. Not its own: what the host's root has.
        let said = inside(
            teu,
            "box",
            "touch /made /kept/made && chown 33:44 /made /kept/made && echo 10.1.1.1 here >>/etc/hosts \
             && ip addr add 10.9.9.9/32 dev lo && stat -c %u /bound && ! touch /bound/x 2>/dev/null \
             && cat /proc/self/uid_map | tr -s ' '",
        )?;
        ensure!(said == "65534\n 0 1000000 65536\n", "{said:?}");
        ensure!(owner(&in_layer(host, "made")?)? == (33, 44));
        ensure!(owner(&host.data_root().join("volumes/kept/_data/made"))? == (33, 44));
        // Another container sees the volume as this one does.
        start(teu, "third", &["--userns", "map:uidmapping=0:3000000:70000", "-v", "kept:/kept"])?;
        ensure!(inside(teu, "third", "stat -c %u:%g /kept/made /kept")? == "33:44\n0:0\n");
        let said =
            teu.run(&["exec", "-u", "user", "box", "sh", "-c", "id -u; touch /tmp/users"])?;
        ensure!(said.trim() == "1000", "{said:?}");
        teu.run(&["exec", "-t", "box", "tty"])?;
        // Its mounts are its own to add to, and not to take apart.
        start(teu, "admin", &["--userns", "auto:size=1000", "--cap-add", "SYS_ADMIN"])?;
        let script = "mkdir /own && mount -t tmpfs own /own && echo mounted; \
                      umount /sys 2>/dev/null || echo kept; \
                      mount -o remount,rw /sys 2>/dev/null || echo read-only";
        let said = inside(teu, "admin", script)?;
        ensure!(said == "mounted\nkept\nread-only\n", "{said:?}");
        let shown = teu.run(&["inspect", "-f", "{{.HostConfig.UsernsMode}}", "other"])?;
        ensure!(shown.trim() == "auto:size=1000", "{shown:?}");
        Ok(())
    })
}

#[test]
fn ids_come_and_go_as_the_container_sees_them() -> Result<()> {
    with_ids(&[], |host, teu| {
        start(teu, "box", &["--userns", "map:uidmapping=0:2000000:65536"])?;
        inside(teu, "box", "mkdir /d && echo x >/d/f && chown 33:44 /d/f")?;
        let file = host.scratch().join("f");
        std::fs::write(&file, "new")?;
        for state in ["running", "stopped"] {
            if state == "stopped" {
                teu.run(&["stop", "-t", "0", "box"])?;
            }
            let listed = tar(&["-tv", "--numeric-owner"], &teu.run(&["cp", "box:/d", "-"])?)?;
            ensure!(listed.contains(" 33/44 "), "{state}: {listed}");
            let directory = host.scratch().display().to_string();
            let name = format!("--transform=s/^/from-{state}\\//");
            let archive =
                tar(&["-c", "--owner=55", "--group=66", &name, "-C", &directory, "f"], "")?;
            teu.try_run_with_input(&["cp", "-", "box:/"], archive.as_bytes())?.ok()?;
            let made = in_layer(host, &format!("from-{state}"))?;
            ensure!(owner(&made)? == (0, 0) && owner(&made.join("f"))? == (55, 66), "{state}");
        }
        teu.run(&["start", "box"])?;
        let said = inside(teu, "box", "stat -c %u:%g /d/f /from-running/f /from-stopped/f")?;
        ensure!(said == "33:44\n55:66\n55:66\n", "{said:?}");
        teu.run(&["commit", "box", "kept"])?;
        let said = teu.run(&["run", "--rm", "kept", "stat", "-c", "%u:%g", "/d", "/d/f"])?;
        ensure!(said == "0:0\n33:44\n", "{said:?}");
        // An archive of all files has the owners that the container sees, and gives them to others.
        let archive = host.scratch().join("box.tar").display().to_string();
        teu.run(&["export", "-o", &archive, "box"])?;
        let listed = tar(&["-tvf", &archive, "--numeric-owner"], "")?;
        for (owner, name) in [(" 33/44 ", " d/f"), (" 55/66 ", " from-stopped/f"), (" 0/0 ", " d/")]
        {
            let line = listed.lines().find(|line| line.ends_with(name));
            ensure!(line.is_some_and(|line| line.contains(owner)), "{owner}{name}: {line:?}");
        }
        teu.run(&["import", &archive, "exported"])?;
        let words = ["--userns", "map:uidmapping=0:4000000:65536", "exported"];
        let words = [&["run", "--rm"], &words[..], &["stat", "-c", "%u:%g", "/d/f"]].concat();
        ensure!(teu.run(&words)? == "33:44\n");
        let changed = teu.run(&["diff", "box"])?;
        ensure!(changed.contains("A /d/f"), "{changed}");
        Ok(())
    })
}

#[test]
fn ids_outlast_the_daemon_and_the_run() -> Result<()> {
    with_ids(&[], |host, teu| {
        start(teu, "first", &["--userns", "auto"])?;
        start(teu, "box", &["--userns", "auto"])?;
        let before = map(teu, "box")?;
        host.kill_daemon()?;
        host.start_daemon()?;
        ensure!(inside(teu, "box", "id -u; touch /later; stat -c %u /later")? == "0\n0\n");
        teu.run(&["rm", "-f", "first"])?;
        teu.run(&["restart", "-t", "0", "box"])?;
        ensure!(map(teu, "box")? == before, "{} was {before}", map(teu, "box")?);
        ensure!(inside(teu, "box", "stat -c %u /later")? == "0\n");
        // What a removed one had is free again, and no more is given than there is.
        start(teu, "second", &["--userns", "auto"])?;
        start(teu, "third", &["--userns", "auto"])?;
        let refused = teu.try_run(&["run", "--rm", "--userns", "auto", "busybox", "true"])?;
        ensure!(refused.code == 125 && refused.stderr.contains("/etc/subuid"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn namespaces_are_shared_with_their_owner() -> Result<()> {
    with_ids(&[], |_, teu| {
        start(teu, "donor", &["--userns", "auto", "--ipc", "shareable"])?;
        for (name, option) in [
            ("of-network", ["--network", "container:donor"]),
            ("of-pid", ["--pid", "container:donor"]),
            ("of-ipc", ["--ipc", "container:donor"]),
        ] {
            start(teu, name, &option)?;
            ensure!(map(teu, name)? == map(teu, "donor")?, "{option:?}");
            let user = |name| -> Result<_> {
                Ok(std::fs::read_link(format!("/proc/{}/ns/user", pid(teu, name)?))?)
            };
            ensure!(user(name)? == user("donor")?, "{option:?}");
        }
        start(teu, "plain", &[])?;
        let words =
            ["run", "--rm", "--userns", "auto", "--net", "container:plain", "busybox", "true"];
        let refused = teu.try_run(&words)?;
        ensure!(refused.stderr.contains("host's user namespace"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn the_daemon_maps_every_container_that_does_not_say() -> Result<()> {
    with_ids(&["--userns-remap", "default"], |host, teu| {
        start(teu, "box", &["-p", "80"])?;
        ensure!(map(teu, "box")? == "0 500000 65536", "{}", map(teu, "box")?);
        start(teu, "plain", &["--userns", "host", "--privileged"])?;
        ensure!(map(teu, "plain")? == "0 0 4294967295", "{}", map(teu, "plain")?);
        let info = teu.run(&["info", "-f", "{{json .SecurityOptions}}"])?;
        ensure!(info.contains("name=userns"), "{info}");
        for (options, told) in [
            (
                &["--privileged"][..],
                "privileged mode is incompatible with user namespaces.  You must run the container \
                 in the host namespace when running privileged mode",
            ),
            (
                &["--net", "host"],
                "cannot share the host's network namespace when user namespaces are enabled",
            ),
            (
                &["--pid", "host"],
                "cannot share the host PID namespace when user namespaces are enabled",
            ),
            (&["--runtime", "runc"], "user namespaces need the builtin runtime"),
        ] {
            let mut words = vec!["run", "--rm"];
            words.extend(options);
            words.extend(["busybox", "true"]);
            let refused = teu.try_run(&words)?;
            ensure!(refused.code == 125 && refused.stderr.contains(told), "{refused:?}");
        }
        let context = host.scratch().join("context");
        std::fs::create_dir(&context)?;
        std::fs::write(context.join("f"), "f")?;
        let text = "FROM busybox\nCOPY --chown=7:8 f /f\nRUN touch /g && chown 9:9 /g && stat -c %u:%g /f\n";
        std::fs::write(context.join("Dockerfile"), text)?;
        teu.run(&["build", "-t", "made", &context.display().to_string()])?;
        for userns in [&["--userns", "host"][..], &[]] {
            let mut words = vec!["run", "--rm"];
            words.extend(userns);
            words.extend(["made", "stat", "-c", "%u:%g", "/f", "/g"]);
            ensure!(teu.run(&words)? == "7:8\n9:9\n");
        }
        let mut words = host.daemon_command();
        let bad =
            words.args(["--userns-remap", "no-such-user", "--pidfile", "/dev/null/x"]).output()?;
        if bad.status.success() {
            bail!("a daemon started: {bad:?}");
        }
        Ok(())
    })
}
