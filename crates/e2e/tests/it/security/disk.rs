//! A data root without space.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::{Host, HostOptions, Ran};

use super::archive::{Archive, saved_layer};
use super::{noise, stored};

const SPACE: &str = "28m";

#[test]
fn a_full_disk_is_told_and_left_clean() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let options = HostOptions { data_size: Some(SPACE.into()), ..HostOptions::default() };
    let host = Host::start_with(options)?;
    host.load_busybox()?;
    let teu = host.teu();
    // The file system is in the daemon's mount namespace only.
    let root = PathBuf::from(format!("/proc/{}/root", host.daemon_pid().context("a daemon")?));
    let data = root.join(host.data_root().strip_prefix("/")?);
    teu.run(&["run", "-d", "--name", "up", "busybox", "sleep", "600"])?;
    teu.run(&[
        "create",
        "--name",
        "changed",
        "busybox",
        "sh",
        "-c",
        "head -c 9000000 /dev/zero >/big",
    ])?;
    teu.run(&["start", "-a", "changed"])?;
    let before = (teu.run(&["images", "-aq"])?, stored(&data)?);
    let big = Archive::default().file("big", &noise(40 << 20)).end();
    let half = noise(10 << 20);
    let failed = |ran: &Ran| {
        ensure!(ran.code != 0 && ran.stderr.to_lowercase().contains("no space"), "{ran:?}");
        e2e::eventually("nothing is left", || {
            let after = (teu.run(&["images", "-aq"])?, stored(&data)?);
            ensure!(after == before, "{after:?}, before {before:?}");
            Ok(())
        })
    };
    failed(&teu.try_run_with_input(&["import", "-", "big:1"], &big)?)?;
    failed(&teu.try_run_with_input(&["load"], &saved_layer(&big))?)?;
    let ballast = data.join("ballast");
    std::fs::write(&ballast, &half[..8 << 20])?;
    failed(&teu.try_run(&["commit", "changed", "big:1"])?)?;
    let file = host.scratch().join("file");
    std::fs::write(&file, &big)?;
    let ran = teu.try_run(&["cp", &file.display().to_string(), "up:/file"])?;
    ensure!(ran.code != 0 && ran.stderr.to_lowercase().contains("no space"), "{ran:?}");
    // Not one byte more: what needs none goes on, the rest says why not.
    let mut filled = std::fs::File::options().append(true).open(&ballast)?;
    while std::io::Write::write(&mut filled, &half).is_ok_and(|written| written > 0) {}
    drop(filled);
    ensure!(teu.run(&["exec", "up", "echo", "alive"])? == "alive\n");
    for number in 0..20 {
        let tag = format!("{}:{number}", "long/".repeat(40) + "name");
        for args in [&["tag", "busybox", &tag][..], &["volume", "create", &format!("v{number}")]] {
            let ran = teu.try_run(args)?;
            ensure!(ran.code == 0 || ran.stderr.to_lowercase().contains("no space"), "{ran:?}");
        }
        let ran = teu.try_run(&["rename", "up", "renamed"])?;
        ensure!(ran.code == 0, "{ran:?}");
        teu.run(&["rename", "renamed", "up"])?;
    }
    let ran = teu.try_run(&["run", "--rm", "--name", "late", "busybox", "true"])?;
    ensure!(ran.code == 0 || ran.stderr.to_lowercase().contains("no space"), "{ran:?}");
    ensure!(teu.run(&["ps", "-aq"])?.lines().count() == 2);
    ensure!(teu.run(&["images", "busybox", "-q"])?.lines().count() == 1);
    // What takes space away can be removed.
    teu.run(&["rm", "changed"])?;
    std::fs::remove_file(&ballast)?;
    // Space is back, and with it everything.
    teu.run(&["exec", "up", "rm", "-f", "/file"])?;
    teu.run(&["tag", "busybox", "late:1"])?;
    teu.run(&["run", "--rm", "--name", "fine", "busybox", "true"])?;
    teu.run(&["rm", "-f", "up"])?;
    let small = Archive::default().file("small", b"x").end();
    teu.try_run_with_input(&["import", "-", "small:1"], &small)?.ok()?;
    Ok(())
}
