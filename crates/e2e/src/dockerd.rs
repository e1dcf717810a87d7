//! A stock dockerd with roots and socket of its own, to show that what drives ours drives it too.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, Program};
use crate::host::busybox_tar;
use crate::wait::eventually;

/// A running dockerd; stopped, and its roots deleted, when dropped.
#[derive(Debug)]
pub struct Dockerd {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Dockerd {
    /// Starts one that touches neither links nor rules of the host: its containers have the host's
    /// network or none.
    pub fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("teu-dockerd-").tempdir()?;
        std::fs::create_dir(dir.path().join("config"))?;
        let mut dockerd = Self { dir, child: None };
        let log = File::create(dockerd.log_path())?;
        let path = |name: &str| dockerd.dir.path().join(name);
        let mut command = Command::new("dockerd");
        command
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false", "-H"])
            .arg(dockerd.address())
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("run"))
            .arg("--pidfile")
            .arg(path("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().context("start dockerd (package docker.io)")?;
        dockerd.child = Some(child);
        eventually("dockerd answers", || {
            if let Some(status) = dockerd.child.as_mut().and_then(|c| c.try_wait().ok().flatten()) {
                bail!("dockerd ended with {status}: {}", dockerd.log());
            }
            crate::http::get_unix(&dockerd.socket(), "/_ping").map(drop)
        })?;
        Ok(dockerd)
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// The stock command line, pointed here.
    pub fn docker(&self) -> Client {
        Client::new(Program::Docker, self.address(), self.dir.path().join("config"))
    }

    /// An image `busybox:latest`.
    pub fn load_busybox(&self) -> Result<()> {
        let words = ["import", "-c", "CMD [\"sh\"]", "-", "busybox:latest"];
        self.docker().try_run_with_input(&words, &busybox_tar()?)?.ok()?;
        Ok(())
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- dockerd log ---\n{}", self.log());
        }
        if let Ok(ids) = self.docker().run(&["ps", "-aq"]) {
            for id in ids.split_whitespace() {
                let _ = self.docker().try_run(&["rm", "-f", id]); // tried again by nobody
            }
        }
        let Some(mut child) = self.child.take() else { return };
        let _ = kill_process(Pid::from_child(&child), Signal::TERM); // fails if it has ended
        if eventually("dockerd ends", || child.try_wait()?.context("still running")).is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // What it leaves mounted would keep its directory.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let inside = self.dir.path().to_string_lossy().into_owned();
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in mounted.filter(|place| place.starts_with(&inside)) {
            let _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}
