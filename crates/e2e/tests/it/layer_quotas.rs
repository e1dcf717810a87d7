//! `--storage-opt size=`, on a file system that counts by project.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, HostOptions};

/// A block device made of a file.
pub(crate) struct Disk(pub(crate) String);

impl Disk {
    /// Makes one of a file that nobody else uses.
    pub(crate) fn of_file(image: &Path) -> Result<Self> {
        // Another test may take the device between the two steps.
        let script = r#"for turn in 1 2 3 4 5 6 7 8 9; do
            d=$(losetup -f) && losetup "$d" "$0" && echo "$d" && exit
        done; exit 1"#;
        Ok(Self(output(Command::new("sh").args(["-c", script]).arg(image))?))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Detached when the last mount of it is gone.
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Makes a disk of ext4 with project quotas; `None`, with a printed reason, where the kernel
/// cannot mount it.
fn with_quotas(dir: &Path) -> Result<Option<Disk>> {
    let image = dir.join("data.ext4");
    std::fs::File::create(&image)?.set_len(128 << 20)?;
    let features = "has_journal,extent,quota,project";
    let make = ["-q", "-F", "-I", "256", "-O", features];
    output(Command::new("mkfs.ext4").args(make).arg(&image))?;
    let disk = Disk::of_file(&image)?;
    let place = dir.join("try");
    std::fs::create_dir(&place)?;
    let script = r#"mount -t ext4 -o prjquota "$0" "$1""#;
    let mounted = Command::new("unshare")
        .args(["-m", "sh", "-c", script, &disk.0])
        .arg(&place)
        .stderr(Stdio::null())
        .status()?;
    if !mounted.success() {
        eprintln!("skipped: this kernel has no quotas on ext4; `cargo xtask vm-test` runs it");
        return Ok(None);
    }
    Ok(Some(disk))
}

/// A daemon with its data root on such a disk, which outlives it.
fn host_on_disk(dir: &Path) -> Result<Option<(Disk, Host)>> {
    let Some(disk) = with_quotas(dir)? else { return Ok(None) };
    let data_device = Some(disk.0.clone().into());
    let host = Host::start_with(HostOptions { data_device, ..HostOptions::default() })?;
    host.load_busybox()?;
    Ok(Some((disk, host)))
}

/// What a shell in a container says; writing beyond a limit is part of what it may do.
fn sh(teu: &Client, name: &str, script: &str) -> Result<String> {
    Ok(teu.try_run(&["exec", name, "sh", "-c", script])?.stdout.trim().to_owned())
}

const FILL: &str = "dd if=/dev/zero of=/big bs=64k count=320 2>/dev/null; du -k /big | cut -f1";

#[test]
fn a_layer_holds_what_it_may_and_no_more() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let Some((_disk, mut host)) = host_on_disk(dir.path())? else { return Ok(()) };
    let teu = host.teu();
    let start = |name: &str, size: &str| {
        let opt = format!("size={size}");
        let args = ["run", "-d", "--name", name, "--storage-opt", &opt, "busybox", "sleep", "6000"];
        teu.run(&args)
    };
    let kib = |text: String| text.parse::<u64>().with_context(|| text.clone());

    // Each has its own limit, and one without has none.
    start("small", "4m")?;
    start("large", "8m")?;
    teu.run(&["run", "-d", "--name", "free", "busybox", "sleep", "6000"])?;
    for (name, least, most) in [("small", 3500, 4096), ("large", 7500, 8192)] {
        let wrote = kib(sh(&teu, name, FILL)?)?;
        ensure!((least..=most).contains(&wrote), "{name} wrote {wrote} KiB");
    }
    ensure!(kib(sh(&teu, "free", FILL)?)? >= 20_480);
    let size = kib(sh(&teu, "small", "df -k / | tail -1 | awk '{print $2}'")?)?;
    ensure!(size == 4096, "df shows {size} KiB");
    let shown = teu.run(&["inspect", "-f", "{{json .HostConfig.StorageOpt}}", "small"])?;
    ensure!(shown.trim() == r#"{"size":"4m"}"#, "{shown}");

    // It holds over a restart of the daemon and of the container.
    host.stop_daemon()?;
    host.start_daemon()?;
    teu.run(&["restart", "-t", "0", "small"])?;
    sh(&teu, "small", "rm /big")?;
    let wrote = kib(sh(&teu, "small", FILL)?)?;
    ensure!((3500..=4096).contains(&wrote), "after a restart it wrote {wrote} KiB");

    // A new one does not inherit what a removed one took, or might take.
    teu.run(&["rm", "-f", "small"])?;
    start("next", "6m")?;
    let wrote = kib(sh(&teu, "next", FILL)?)?;
    ensure!((5500..=6144).contains(&wrote), "the next one wrote {wrote} KiB");
    let refused = teu.try_run(&["run", "--storage-opt", "size=lots", "busybox", "true"])?;
    ensure!(refused.code != 0 && refused.stderr.contains("invalid size: 'lots'"), "{refused:?}");
    Ok(())
}

/// The project of a container's own layer, as the file system has it.
fn project(host: &Host, name: &str) -> Result<String> {
    let id = host.teu().run(&["inspect", "-f", "{{.Id}}", name])?;
    let upper = host.data_root().join("rw").join(id.trim()).join("upper");
    let daemon = host.daemon_pid().context("a daemon")?;
    // Mounted where the daemon is, and nowhere else.
    let seen = format!("/proc/{daemon}/root{}", upper.display());
    let shown = output(Command::new("lsattr").args(["-pd", &seen]))?;
    Ok(shown.split_whitespace().next().context(shown.clone())?.to_owned())
}

#[test]
fn a_limit_without_a_layer_is_lifted() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let Some((disk, mut host)) = host_on_disk(dir.path())? else { return Ok(()) };
    let teu = host.teu();
    let create = |name: &str| {
        let words = ["create", "--name", name, "--storage-opt", "size=4m", "busybox"];
        teu.run(&words)
    };
    let id = create("first")?;
    create("second")?;
    let (first, second) = (project(&host, "first")?, project(&host, "second")?);
    ensure!(first != second, "both have {first}");
    host.kill_daemon()?;
    // As a daemon leaves it that dies between the two steps of a removal.
    let script = "mount -t ext4 -o prjquota $0 $1 && rm -r $1/rw/$2";
    let mut remove = Command::new("unshare");
    remove.args(["-m", "sh", "-c", script, &disk.0]).arg(dir.path().join("try")).arg(id.trim());
    output(&mut remove)?;
    host.start_daemon()?;
    ensure!(host.daemon_log().contains("quota that nothing had any more is lifted"));
    create("third")?;
    let third = project(&host, "third")?;
    ensure!(third == first, "{third} instead of {first}, which is free again");
    ensure!(project(&host, "second")? == second);
    Ok(())
}
