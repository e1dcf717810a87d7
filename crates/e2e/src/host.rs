//! One daemon with roots, socket and bridge of its own, gone without trace when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, Program};
use crate::wait::eventually;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Whether the tests may make namespaces and mounts; prints why not.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Where the product's binaries are: `TEU_BIN_DIR`, else beside the test's own build.
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("TEU_BIN_DIR") {
        return PathBuf::from(dir);
    }
    let exe = std::env::current_exe().expect("a running test has an executable");
    exe.ancestors()
        .find(|dir| dir.join("teu-shim").is_file())
        .map_or_else(|| exe.with_file_name(""), Path::to_owned)
}

/// What a test wants different from the default daemon.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// More flags for `teu daemon`.
    pub flags: Vec<String>,
    /// Size of a memory file system of its own for the data root, as tmpfs takes it. It is in the
    /// daemon's mount namespace only, and gone with it.
    pub data_size: Option<String>,
    /// A block device with ext4 for the data root, mounted with project quotas where `data_size` is.
    pub data_device: Option<PathBuf>,
    /// Lines in the place of `/etc/subuid` and `/etc/subgid`, for the daemon only.
    pub subordinate_ids: Option<String>,
    /// Lines in the place of `/etc/ssh/ssh_known_hosts`, for the daemon only, with all of that directory.
    pub known_hosts: Option<String>,
    /// A directory in the place of systemd's `/run/systemd/journal`, for the daemon and its shims only.
    pub journal: Option<PathBuf>,
}

/// A running daemon. Dropping it removes its containers, stops it and deletes its roots.
#[derive(Debug)]
pub struct Host {
    dir: tempfile::TempDir,
    bridge: String,
    options: HostOptions,
    daemon: Option<Child>,
    programs: PathBuf,
}

impl Host {
    /// Starts a daemon with the default options.
    pub fn start() -> Result<Self> {
        Self::start_with(HostOptions::default())
    }

    /// Starts a daemon.
    pub fn start_with(options: HostOptions) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("teu-e2e-").tempdir()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("te{:x}n{number}", std::process::id());
        std::fs::create_dir(dir.path().join("config"))?;
        let mut host = Self { dir, bridge, options, daemon: None, programs: bin_dir() };
        host.start_daemon()?;
        Ok(host)
    }

    /// Starts the daemon again after [`Host::kill_daemon`] or [`Host::stop_daemon`].
    pub fn start_daemon(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.daemon_command();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        self.daemon = Some(child);
        eventually("the daemon answers", || {
            if let Some(status) = self.daemon.as_mut().and_then(|d| d.try_wait().ok().flatten()) {
                bail!("the daemon ended with {status}: {}", self.daemon_log());
            }
            crate::http::get_unix(&self.socket(), "/_ping").map(drop)
        })
    }

    /// The daemon's command line, for tests that start a second one.
    pub fn daemon_command(&self) -> Command {
        let mut mounts = Vec::new();
        if let Some(size) = &self.options.data_size {
            let root = self.data_root().display().to_string();
            mounts.push(format!("mkdir -p {root} && mount -t tmpfs -o size={size} tmpfs {root}"));
        }
        if let Some(device) = &self.options.data_device {
            let (device, root) = (device.display(), self.data_root().display().to_string());
            mounts.push(format!("mkdir -p {root} && mount -t ext4 -o prjquota {device} {root}"));
        }
        if let Some(lines) = &self.options.subordinate_ids {
            let file = self.dir.path().join("subordinate-ids");
            mounts.push(format!(
                "printf '{lines}' >{0} && mount --bind {0} /etc/subuid && mount --bind {0} /etc/subgid",
                file.display()
            ));
        }
        if let Some(lines) = &self.options.known_hosts {
            let place = "/etc/ssh";
            mounts.push(format!(
                "mount -t tmpfs tmpfs {place} && printf '%s' '{lines}' >{place}/ssh_known_hosts"
            ));
        }
        if let Some(journal) = &self.options.journal {
            let place = "/run/systemd";
            mounts.push(format!(
                "mkdir -p {place} && mount -t tmpfs tmpfs {place} && mkdir {place}/journal && \
                 mount --bind {} {place}/journal",
                journal.display()
            ));
        }
        let mut command = Command::new(self.programs.join("teu"));
        if !mounts.is_empty() {
            command = Command::new("unshare");
            let script = format!("{} && exec \"$@\"", mounts.join(" && "));
            command.args(["-m", "sh", "-c", &script, "sh"]).arg(self.programs.join("teu"));
        }
        command
            .arg("daemon")
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("--pidfile")
            .arg(self.dir.path().join("teu.pid"))
            .arg("-H")
            .arg(self.address())
            .args(["--bridge", &self.bridge])
            .args(&self.options.flags);
        command
    }

    /// Daemons started from now on are the `teu` in `dir`, as after an upgrade.
    pub fn use_programs_of(&mut self, dir: &Path) {
        self.programs = dir.to_owned();
    }

    /// kill -9.
    pub fn kill_daemon(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// SIGTERM and wait for the end.
    pub fn stop_daemon(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        let pid = Pid::from_child(&daemon);
        kill_process(pid, Signal::TERM)?;
        let status = eventually("the daemon ends after SIGTERM", || {
            daemon.try_wait()?.context("still running")
        })?;
        if !status.success() {
            bail!("the daemon ended with {status}: {}", self.daemon_log());
        }
        Ok(())
    }

    /// Gives the running daemon up: it is the caller's to end and to wait for.
    pub fn take_daemon(&mut self) -> Result<Child> {
        self.daemon.take().context("no daemon runs")
    }

    /// The daemon's pid.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Our own command line, pointed here.
    pub fn teu(&self) -> Client {
        self.client(Program::Teu)
    }

    /// The stock docker command line, pointed here.
    pub fn docker(&self) -> Client {
        self.client(Program::Docker)
    }

    /// Either command line, pointed here.
    pub fn client(&self, program: Program) -> Client {
        Client::new(program, self.address(), self.dir.path().join("config"))
    }

    /// Our own command line, pointed at another address.
    pub fn client_of(&self, address: &str) -> Client {
        self.client_at(Program::Teu, address)
    }

    /// Either command line, pointed at another address.
    pub fn client_at(&self, program: Program, address: &str) -> Client {
        Client::new(program, address.to_owned(), self.dir.path().join("config"))
    }

    /// `unix://…`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("teu.sock")
    }

    /// --data-root.
    pub fn data_root(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// --exec-root.
    pub fn exec_root(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The default bridge's interface name.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Everything the daemon logged.
    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }

    /// A busybox image named `busybox:latest`, made from the host's static binary.
    pub fn load_busybox(&self) -> Result<()> {
        let tar = busybox_tar()?;
        self.teu()
            .try_run_with_input(&["import", "-c", "CMD [\"sh\"]", "-", "busybox:latest"], &tar)?
            .ok()?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- daemon log ---\n{}", self.daemon_log());
        }
        // Best effort: a failed test must not hide its own message behind a failing clean-up.
        // A test may also have killed it by its pid.
        if self.daemon.as_mut().is_none_or(|daemon| !matches!(daemon.try_wait(), Ok(None))) {
            let _ = self.start_daemon();
        }
        if let Ok(ids) = self.teu().run(&["ps", "-aq"]) {
            let mut args = vec!["rm", "-f", "-v"];
            args.extend(ids.split_whitespace());
            if args.len() > 3 {
                let _ = self.teu().try_run(&args);
            }
        }
        if let Ok(ids) = self.teu().run(&["network", "ls", "-q", "-f", "type=custom"]) {
            let mut args = vec!["network", "rm"];
            args.extend(ids.split_whitespace());
            if args.len() > 2 {
                let _ = self.teu().try_run(&args);
            }
        }
        let _ = self.stop_daemon();
        // Also those of networks that a daemon which could not be started again had.
        for bridge in crate::links::of_data_root(&self.data_root()) {
            let _ =
                Command::new("ip").args(["link", "del", &bridge]).stderr(Stdio::null()).status();
        }
        if let Ok(tables) = Command::new("nft").args(["list", "tables"]).output() {
            for line in String::from_utf8_lossy(&tables.stdout).lines() {
                if line.split('-').chain(line.split(' ')).any(|word| word == self.bridge) {
                    let words: Vec<&str> = line.split(' ').skip(1).collect();
                    let _ = Command::new("nft").args(["delete", "table"]).args(words).status();
                }
            }
        }
    }
}

pub(crate) fn busybox_tar() -> Result<Vec<u8>> {
    let root = tempfile::tempdir()?;
    let sh = r#"set -e
mkdir -p bin etc tmp root home proc sys dev var/log
chmod 1777 tmp
cp /bin/busybox bin/busybox
for a in $(bin/busybox --list | grep -vx busybox); do ln -s busybox bin/$a; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/home:/bin/sh\n' > etc/passwd
printf 'root:x:0:\nuser:x:1000:\nextra:x:1001:user\n' > etc/group
tar -c --numeric-owner --owner=0 --group=0 ."#;
    let output = Command::new("sh").arg("-c").arg(sh).current_dir(root.path()).output()?;
    if !output.status.success() {
        bail!("make a busybox image: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}
