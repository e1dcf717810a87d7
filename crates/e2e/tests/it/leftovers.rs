//! The tests' own clean-up: what a test leaves on the machine fails it, and is named.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Host, is_root};

/// Drops the host, which has to say all of that.
fn is_told_of(host: Host, wanted: &[&str]) -> Result<()> {
    let told = catch_unwind(AssertUnwindSafe(|| drop(host))).err().context("nothing was told")?;
    let told = told.downcast::<String>().ok().context("something else was told")?;
    for wanted in wanted {
        ensure!(told.contains(wanted), "no {wanted:?} in {told}");
    }
    Ok(())
}

fn sh(script: &str) -> Result<()> {
    ensure!(Command::new("sh").args(["-ec", script]).status()?.success(), "{script}");
    Ok(())
}

#[test]
fn what_a_test_leaves_on_the_machine_fails_it() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    let (bridge, directory) = (host.bridge().to_owned(), host.scratch().join("seen"));
    std::fs::create_dir(&directory)?;
    let shown = directory.display();
    let mut sleeps =
        Command::new("sleep").arg("600").current_dir(&directory).stdin(Stdio::null()).spawn()?;
    sh(&format!(
        "mount -t tmpfs tmpfs {shown}
         ip link add left-{0} type veth peer name peer-{0}
         ip link set left-{0} alias teu:{bridge}:nobody
         nft add element inet teu-{bridge} routed '{{ 198.51.100.7 . tcp . 81 }}'",
        std::process::id()
    ))?;
    let interface = format!("left-{}", std::process::id());
    let wanted = ["process", "sleep 600", "mount", "seen", &interface, "198.51.100.7"];
    let told = is_told_of(host, &wanted);
    sleeps.kill()?;
    sleeps.wait()?;
    sh(&format!("umount {shown}; rmdir -p {shown} || true; ip link del {interface}"))?;
    told
}

#[test]
fn containers_and_networks_that_a_test_leaves_are_taken_away() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut host = Host::start()?;
    host.load_busybox()?;
    host.teu().run(&["network", "create", "left"])?;
    host.teu().run(&["run", "-d", "--network", "left", "-p", "81", "busybox", "sleep", "600"])?;
    let id = host.teu().run(&["run", "-d", "busybox", "sleep", "600"])?;
    let directory = host.scratch().to_owned();
    host.kill_daemon()?;
    drop(host);
    ensure!(!directory.exists());
    let left = e2e::leftovers::of_container(id.trim());
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
