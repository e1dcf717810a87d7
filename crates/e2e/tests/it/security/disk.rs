//! A data root without space.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::{Host, HostOptions, Ran};

use super::archive::{Archive, saved_layer};
use super::stored;

const SPACE: &str = "24m";

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
    std::fs::write(&ballast, &half[..half.len() / 2])?;
    failed(&teu.try_run(&["commit", "changed", "big:1"])?)?;
    let file = host.scratch().join("file");
    std::fs::write(&file, &big)?;
    let ran = teu.try_run(&["cp", &file.display().to_string(), "up:/file"])?;
    ensure!(ran.code != 0 && ran.stderr.to_lowercase().contains("no space"), "{ran:?}");
    // Not one byte more: what needs none goes on.
    let filled = std::fs::File::options().append(true).open(&ballast)?;
    let mut filled = filled;
    while std::io::Write::write(&mut filled, &half).is_ok_and(|written| written > 0) {}
    ensure!(teu.run(&["exec", "up", "echo", "alive"])? == "alive\n");
    teu.try_run(&["create", "--name", "late", "busybox"])?;
    teu.try_run(&["run", "--name", "later", "busybox", "true"])?;
    teu.try_run(&["volume", "create", "vol"])?;
    teu.run(&["ps", "-a"])?;
    // Space is back, and with it everything.
    drop(filled);
    std::fs::remove_file(&ballast)?;
    teu.try_run(&["exec", "up", "rm", "-f", "/file"])?;
    teu.run(&["run", "--rm", "--name", "fine", "busybox", "true"])?;
    teu.run(&["rm", "-f", "up", "changed"])?;
    let small = Archive::default().file("small", b"x").end();
    teu.try_run_with_input(&["import", "-", "small:1"], &small)?.ok()?;
    Ok(())
}

/// Bytes that do not shrink when compressed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(step).collect()
}
