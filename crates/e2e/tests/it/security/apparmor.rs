//! AppArmor profiles: the default one, users' own, and none. Debian's kernel in `cargo xtask vm-test`
//! enforces them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host};

use super::with_host;

/// What a profile of the user's forbids: one file.
const OWN: &str = "profile teu-e2e-own flags=(attach_disconnected,mediate_deleted) {
  capability, file, network, umount, signal, ptrace,
  deny /tmp/forbidden w,
}
";

/// Whether this kernel enforces profiles and the host can load them.
fn is_enforced() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|enabled| enabled.starts_with('Y'))
        && ["/sbin", "/usr/sbin"]
            .iter()
            .any(|dir| std::path::Path::new(dir).join("apparmor_parser").exists())
}

/// Gives the kernel a profile, or takes it away with `--remove`.
fn parser(action: &str, text: &str) -> Result<()> {
    let mut command = Command::new("apparmor_parser");
    let mut child = command.args([action, "--skip-cache"]).stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    std::io::Write::write_all(&mut input, text.as_bytes())?;
    drop(input);
    let status = child.wait()?;
    ensure!(status.success(), "apparmor_parser {action}: {status}");
    Ok(())
}

/// The profile of a container's first process, as the kernel tells the host.
fn confinement(teu: &Client, name: &str) -> Result<String> {
    let pid = teu.run(&["inspect", "-f", "{{.State.Pid}}", name])?;
    Ok(std::fs::read_to_string(format!("/proc/{}/attr/current", pid.trim()))?.trim().to_owned())
}

fn start(host: &Host, name: &str, options: &[&str]) -> Result<()> {
    let words = [&["run", "-d", "--name", name], options, &["busybox", "sleep", "6000"]].concat();
    host.teu().run(&words).map(drop)
}

const SHOWN: &str = "{{.AppArmorProfile}}";

#[test]
fn containers_have_the_default_profile_whatever_their_capabilities() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        let info = teu.run(&["info", "-f", "{{json .SecurityOptions}}"])?;
        ensure!(info.contains("name=apparmor") == is_enforced(), "{info}");
        if !is_enforced() {
            let named = ["--security-opt", "apparmor=teu-e2e-own", "busybox"];
            let refused = teu.try_run(&[&["create"], &named[..]].concat())?;
            let told = "AppArmor profile teu-e2e-own cannot be applied";
            ensure!(refused.code != 0 && refused.stderr.contains(told), "{refused:?}");
            eprintln!("skipped: this kernel enforces no profiles; `cargo xtask vm-test` has one");
            return Ok(());
        }
        // Everything else is open, so that what is denied is denied by the profile.
        let open = [
            "--cap-add",
            "SYS_ADMIN",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "systempaths=unconfined",
        ];
        start(host, "cc", &open)?;
        start(host, "free", &[&open[..], &["--security-opt", "apparmor=unconfined"]].concat())?;
        for runtime in ["teu", "runc"] {
            start(host, runtime, &["--runtime", runtime])?;
            ensure!(confinement(&teu, runtime)? == "teu-default (enforce)", "{runtime}");
            let said = teu.run(&["exec", runtime, "cat", "/proc/self/attr/current"])?;
            ensure!(said.trim() == "teu-default (enforce)", "{runtime}: {said:?}");
        }
        ensure!(confinement(&teu, "free")? == "unconfined");
        ensure!(teu.run(&["inspect", "-f", SHOWN, "cc", "free"])? == "teu-default\nunconfined\n");
        // "h" only lists the commands there are.
        let script = "for act in 'echo h >/proc/sysrq-trigger' 'mount -t tmpfs x /tmp' \
                      'head -c 1 /proc/kcore' 'echo 0 >/proc/sys/kernel/printk_delay' \
                      'echo $(cat /proc/sys/kernel/shmmni) >/proc/sys/kernel/shmmni' \
                      'ls /sys/kernel/security/apparmor' 'umount /tmp'; do \
                      sh -c \"$act\" >/dev/null 2>&1 && echo done || echo denied; done";
        let tried = |name| -> Result<String> {
            let said = teu.run(&["exec", name, "sh", "-c", script])?;
            Ok(said.lines().collect::<Vec<_>>().join(" "))
        };
        let confined = tried("cc")?;
        ensure!(confined == "denied denied denied denied done denied denied", "{confined}");
        let free = tried("free")?;
        ensure!(free.starts_with("done done ") && free.ends_with(" done"), "{free}");
        start(host, "all", &["--privileged"])?;
        ensure!(confinement(&teu, "all")? == "unconfined");
        Ok(())
    })
}

#[test]
fn users_name_profiles_that_are_loaded() -> Result<()> {
    with_host(|host| {
        if !is_enforced() {
            eprintln!("skipped: this kernel enforces no profiles; `cargo xtask vm-test` has one");
            return Ok(());
        }
        let teu = host.teu();
        let own = ["--security-opt", "apparmor=teu-e2e-own"];
        let refused = teu.try_run(&[&["run", "--rm"], &own[..], &["busybox", "true"]].concat())?;
        let told = "AppArmor profile teu-e2e-own is not loaded";
        ensure!(refused.code == 125 && refused.stderr.contains(told), "{refused:?}");
        parser("--replace", OWN)?;
        start(host, "cc", &own)?;
        ensure!(confinement(&teu, "cc")? == "teu-e2e-own (enforce)");
        let script =
            "touch /tmp/forbidden 2>/dev/null || echo denied; touch /tmp/other && echo done";
        ensure!(teu.run(&["exec", "cc", "sh", "-c", script])? == "denied\ndone\n");
        // It is kept, and a privileged container has the one that it names.
        teu.run(&["restart", "-t", "0", "cc"])?;
        ensure!(confinement(&teu, "cc")? == "teu-e2e-own (enforce)");
        start(host, "all", &[&own[..], &["--privileged"]].concat())?;
        ensure!(confinement(&teu, "all")? == "teu-e2e-own (enforce)");
        let shown = teu.run(&["inspect", "-f", SHOWN, "cc"])?;
        ensure!(shown == "teu-e2e-own\n", "{shown:?}");
        teu.run(&["rm", "-f", "cc", "all"])?;
        parser("--remove", OWN)
    })
}
