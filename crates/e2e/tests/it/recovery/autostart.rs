//! `teu run` on a machine where no daemon runs.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::bin_dir;

/// A machine of its own as far as the default paths and the network go. It ends with everything
/// in it when the first process does.
fn alone(script: &str) -> Result<Output> {
    let setup = "set -e
for dir in /run/teu /var/lib/teu /var/log/teu /etc/teu; do
    mkdir -p $dir; mount -t tmpfs tmpfs $dir
done
ip link set lo up
export DOCKER_CONFIG=/run/teu/client; unset DOCKER_HOST
end() { for id in $(teu ps -aq); do teu rm -f -v $id > /dev/null; done; kill $(cat /run/teu.pid /run/teu/*.pid 2> /dev/null); }
daemons() { for d in /proc/[0-9]*; do tr '\\0' ' ' < $d/cmdline 2> /dev/null | grep -x 'teu daemon ' || true; done | wc -l; }
";
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"])
        .arg(format!("{setup}{script}"))
        .env("PATH", format!("{}:{path}", bin_dir().display()))
        .stdin(Stdio::null())
        .output()
        .context("unshare")
}

/// Makes an image without a network or another image.
const IMAGE: &str = "mkdir /run/teu/root /run/teu/root/bin
cp /bin/busybox /run/teu/root/bin/sh
tar -C /run/teu/root -c . | teu import - box > /dev/null
";

#[test]
fn the_first_command_starts_the_daemon() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let output = alone(&format!(
        "{IMAGE}
test $(daemons) = 1
teu run --rm box sh -c 'echo from a container'
teu run -d --name cc box sh -c 'read line' > /dev/null
# It is nobody's child and has a session of its own: it outlives the terminal.
pid=$(cat /run/teu/teu.pid 2> /dev/null || cat /run/teu.pid)
set -- $(cat /proc/$pid/stat)
test $6 = $pid; echo session
grep -q . /var/log/teu/daemon.log; echo log
end"
    ))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(told == "from a container\nsession\nlog\n", "{told}{said}");
    Ok(())
}

#[test]
fn commands_at_the_same_time_start_one_daemon() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let output = alone(
        "for i in 1 2 3 4 5; do teu ps > /run/teu/out.$i 2>&1 & pids=\"$pids $!\"; done
for pid in $pids; do wait $pid || echo failed; done
cat /run/teu/out.* | sort -u | cut -c1-12
echo $(daemons) daemons
grep -c 'daemon ready' /var/log/teu/daemon.log
grep -c 'in use by another' /var/log/teu/daemon.log
end",
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(told.starts_with("CONTAINER ID\n1 daemons\n1\n0\n"), "{told}{said}");
    Ok(())
}

#[test]
fn a_daemon_that_does_not_start_is_explained() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let output = alone(
        "echo '{\"bip\": \"nonsense\"}' > /etc/teu/daemon.json
teu ps && exit 1
rm /etc/teu/daemon.json
rm -r /var/lib/teu/* 2> /dev/null || true
mount -t tmpfs -o ro tmpfs /var/lib/teu
teu ps && exit 1
teu version > /dev/null || echo failed; daemons",
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{said}");
    ensure!(said.contains("nonsense") && said.contains("/var/log/teu/daemon.log"), "{said}");
    ensure!(said.contains("/var/lib/teu") && said.contains("Read-only file system"), "{said}");
    ensure!(output.stdout.ends_with(b"failed\n0\n"), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
