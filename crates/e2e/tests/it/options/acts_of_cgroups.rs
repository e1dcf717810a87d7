//! Limits that need something of the kernel that not every host has.

use std::path::Path;

use anyhow::{Result, ensure};

use super::acts::{once, remove};
use crate::World;
use crate::layer_quotas::Disk;

/// A file of the container's cgroup, of either version; nothing where there is none.
fn file(world: &World, old: &str, new: &str) -> Result<String> {
    let script = format!("cat /sys/fs/cgroup/{old} || cat /sys/fs/cgroup/{new}");
    let shown = world.client.try_run(&["exec", "cc", "sh", "-c", &script])?;
    Ok(shown.stdout.trim().to_owned())
}

/// A disk that is the test's own can be given to BFQ, if the kernel has it.
pub(super) fn weight_of_device(world: &World) -> Result<()> {
    let image = world.host.scratch().join("weighed");
    std::fs::File::create(&image)?.set_len(1 << 20)?;
    let disk = Disk::of_file(&image)?;
    let name = disk.0.trim_start_matches("/dev/");
    let queue = format!("/sys/block/{name}/queue/scheduler");
    let number = std::fs::read_to_string(format!("/sys/block/{name}/dev"))?.trim().to_owned();
    let weight = format!("{}:400", disk.0);
    let args = ["run", "-d", "--name", "cc", "--blkio-weight-device", &weight];
    let args = [&args[..], &["busybox", "sleep", "600"]].concat();
    std::fs::write(&queue, "none")?;
    if Path::new("/sys/fs/cgroup/blkio").exists() {
        let refused = world.client.try_run(&args)?;
        let told = format!("BFQ does not schedule device {number}");
        ensure!(refused.code == 125 && refused.stderr.contains(&told), "{refused:?}");
        remove(world, "cc")?;
    }
    if std::fs::write(&queue, "bfq").is_err() {
        eprintln!("no weight of a device is looked at: this kernel has no BFQ");
        return Ok(());
    }
    world.client.run(&args)?;
    for _ in 0..2 {
        let shown = file(world, "blkio/blkio.bfq.weight_device", "io.bfq.weight")?;
        ensure!(shown.lines().any(|line| line == format!("{number} 400")), "{shown}");
        world.client.run(&["restart", "-t", "0", "cc"])?;
    }
    remove(world, "cc")?;
    Ok(std::fs::write(&queue, "none")?)
}

pub(super) fn realtime_period(world: &World) -> Result<()> {
    let args = ["--cpu-rt-period", "900000"];
    if Path::new("/sys/fs/cgroup/cpu/cpu.rt_period_us").exists() {
        let shown = once(world, &args, "cat /sys/fs/cgroup/cpu/cpu.rt_period_us")?;
        ensure!(shown == "900000\n", "{shown:?}");
        return Ok(());
    }
    let refused = world.client.try_run(&[&["create"], &args[..], &["busybox"]].concat())?;
    let told = "kernel does not support CPU real-time scheduler";
    ensure!(refused.code != 0 && refused.stderr.contains(told), "{refused:?}");
    Ok(())
}
