//! One daemon with roots, socket and bridge of its own, gone without trace when dropped.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, Program};
use crate::leftovers::Marks;
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
    /// The network namespace that it runs in, by the name that `ip netns` knows; made by the test.
    pub namespace: Option<String>,
    /// The name of its host, for the daemon and its shims only.
    pub hostname: Option<String>,
    /// A directory in the place of systemd's `/run/systemd/journal`, for the daemon and its shims only.
    pub journal: Option<PathBuf>,
}

/// A running daemon. Dropping it removes its containers, stops it and deletes its roots; it panics, and
/// so fails the test, where anything is left on the machine then.
#[derive(Debug)]
pub struct Host {
    dir: tempfile::TempDir,
    bridge: String,
    options: HostOptions,
    daemon: Option<Child>,
    programs: PathBuf,
    /// Of containers that its daemon does not know.
    foreign_ids: BTreeSet<String>,
    /// What its rules were about when there were no containers yet.
    first_elements: Vec<String>,
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
        let mut host = Self {
            dir,
            bridge,
            options,
            daemon: None,
            programs: bin_dir(),
            foreign_ids: BTreeSet::new(),
            first_elements: Vec::new(),
        };
        host.start_daemon()?;
        host.first_elements = crate::leftovers::elements(&host.bridge);
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
        let mut command = self.in_its_place(&mounts);
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

    /// The program, with the namespaces that the options ask for around it.
    fn in_its_place(&self, mounts: &[String]) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(namespace) = &self.options.namespace {
            words.extend([
                "nsenter".to_owned(),
                format!("--net=/run/netns/{namespace}"),
                "--".to_owned(),
            ]);
        }
        let mut script = mounts.to_vec();
        if let Some(name) = &self.options.hostname {
            script.push(format!("hostname {name}"));
        }
        if !script.is_empty() {
            words.push("unshare".to_owned());
            words.extend((!mounts.is_empty()).then(|| "-m".to_owned()));
            words.extend(self.options.hostname.iter().map(|_| "-u".to_owned()));
            let script = format!("{} && exec \"$@\"", script.join(" && "));
            words.extend(["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]);
        }
        let program = self.programs.join("teu");
        let Some((first, rest)) = words.split_first() else { return Command::new(program) };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
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
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- daemon log ---\n{}", self.daemon_log());
        }
        let left = self.clean_up();
        if left.is_empty() {
            return;
        }
        let told = format!("a test has left on this machine:\n{}", left.join("\n"));
        // A test that has failed keeps its own message.
        assert!(failed, "{told}\n--- daemon log ---\n{}", self.daemon_log());
        eprintln!("{told}");
    }
}

/// Taking everything away again, and looking whether it is gone.
impl Host {
    /// Removes what a test may leave to its daemon; returns what went wrong or is there all the same.
    fn clean_up(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let mut tried =
            |what: Result<()>| left.extend(what.err().map(|error| format!("{error:#}")));
        // A test may also have killed it by its pid.
        if self.daemon.as_mut().is_none_or(|daemon| !matches!(daemon.try_wait(), Ok(None))) {
            tried(self.start_daemon());
        }
        let ids = self.ids_of_containers();
        tried(self.remove_all());
        let directory = self.dir.path().to_owned();
        let marks = Marks { directory: &directory, ids: &ids };
        let of_daemon = self.daemon_pid();
        tried(eventually("nothing is left but the daemon", || {
            let processes = marks.processes();
            let others = processes.iter().filter(|process| Some(process.id()) != of_daemon);
            let mut left: Vec<String> = others.map(ToString::to_string).collect();
            left.extend(marks.mounts_and_cgroups());
            left.extend(crate::links::of_containers(&self.bridge));
            let mut elements = crate::leftovers::elements(&self.bridge);
            for first in &self.first_elements {
                elements.iter().position(|own| own == first).map(|at| elements.swap_remove(at));
            }
            left.extend(elements);
            let bridges = crate::links::of_data_root(&self.data_root());
            let others = bridges.iter().filter(|name| **name != self.bridge);
            left.extend(others.map(|name| format!("bridge {name}")));
            ensure!(left.is_empty(), "{}", left.join("\n"));
            Ok(())
        }));
        tried(self.stop_daemon());
        // A daemon leaves its bridge and its rules to the next one, for the containers that go on.
        for bridge in crate::links::of_data_root(&self.data_root()) {
            tried(done(Command::new("ip").args(["link", "del", &bridge])));
        }
        for table in crate::leftovers::tables(&self.bridge) {
            tried(done(Command::new("nft").args(["delete", "table"]).args(table.split(' '))));
        }
        for process in marks.processes() {
            tried(Err(anyhow!("{process}")));
        }
        tried(std::fs::remove_dir_all(&directory).context("remove the test's directory"));
        left
    }

    /// Names containers of which nothing may be left either.
    pub(crate) fn expect_gone(&mut self, ids: impl IntoIterator<Item = String>) {
        self.foreign_ids.extend(ids);
    }

    /// All that there ever were.
    fn ids_of_containers(&self) -> BTreeSet<String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let until = now.map(|now| now.as_secs() + 1).unwrap_or_default().to_string();
        let events = ["events", "--since", "1", "--until", &until, "--filter", "type=container"];
        let told = self.teu().run(&[&events[..], &["--format", "{{.Actor.ID}}"]].concat());
        // A daemon that does not answer is told of where its containers are removed.
        let told = told.unwrap_or_default();
        // Pruning is an event of no container.
        let ids = told.lines().filter(|id| id.len() == 64);
        ids.chain(self.foreign_ids.iter().map(String::as_str)).map(str::to_owned).collect()
    }

    fn remove_all(&self) -> Result<()> {
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-f", "-v"][..]),
            (&["network", "ls", "-q", "-f", "type=custom"], &["network", "rm"]),
        ] {
            eventually("the daemon removes all", || {
                let ids = self.teu().run(list)?;
                let ids: Vec<&str> = ids.split_whitespace().collect();
                if ids.is_empty() {
                    return Ok(());
                }
                let ran = self.teu().try_run(&[remove, &ids].concat())?;
                bail!("{ids:?} were there: {ran:?}")
            })?;
        }
        Ok(())
    }
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
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
