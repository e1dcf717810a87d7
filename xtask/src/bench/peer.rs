//! One engine under measurement, with roots and socket of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::place::Place;
use crate::{output, root};

/// The image every measurement uses, made from the host's static busybox.
pub(super) const IMAGE: &str = "bench:1";

pub(super) const BUSYBOX: &str = "d=$(mktemp -d) && mkdir -p $d/bin $d/tmp $d/proc $d/dev $d/sys $d/etc && cp /bin/busybox $d/bin/ && \
    for a in sh true sleep cat dd; do ln -s busybox $d/bin/$a; done && tar -C $d -cf - . && rm -rf $d";

/// An engine and the way to its command line.
pub(super) struct Peer {
    name: &'static str,
    client: Vec<String>,
    daemon: Option<Child>,
    dir: PathBuf,
    /// The network it plays the host of; `None`: this one.
    place: Option<Place>,
}

impl Peer {
    /// Those of [`Peer::installed`] that can run containers here.
    pub(super) fn all() -> Result<Vec<Self>> {
        Self::able(Self::installed()?)
    }

    /// As [`Peer::all`], each as the host of a network of its own: no packet passes the rules of
    /// two engines.
    pub(super) fn all_apart() -> Result<Vec<Self>> {
        Self::able(Self::installed_in(|| Place::new().map(Some))?)
    }

    fn able(peers: Vec<Self>) -> Result<Vec<Self>> {
        let (able, unable): (Vec<_>, Vec<_>) = peers
            .into_iter()
            .map(|peer| (peer.run(&["run", "--rm", IMAGE, "true"]).err(), peer))
            .partition(|(error, _)| error.is_none());
        for (error, mut peer) in unable {
            println!("not compared: {}", error.map(|error| error.to_string()).unwrap_or_default());
            peer.stop()?;
        }
        Ok(able.into_iter().map(|(_, peer)| peer).collect())
    }

    /// Ours first, then docker and podman where they are installed.
    pub(super) fn installed() -> Result<Vec<Self>> {
        Self::installed_in(|| Ok(None))
    }

    fn installed_in(place: impl Fn() -> Result<Option<Place>>) -> Result<Vec<Self>> {
        let programs = super::programs(&["teu", "teu-shim"])?;
        let mut peers = vec![Self::teu_in(&programs, place()?)?];
        if let Some(docker) = Self::docker_in(place()?)? {
            peers.push(docker);
        } else {
            println!("dockerd is not installed (apt-get install docker.io): not compared");
        }
        if let Some(podman) = Self::podman_in(place()?)? {
            peers.push(podman);
        } else {
            println!("podman is not installed (apt-get install podman): not compared");
        }
        for peer in &peers {
            peer.import(IMAGE, BUSYBOX)?;
        }
        Ok(peers)
    }

    /// Ours, out of that directory.
    pub(super) fn teu(programs: &Path) -> Result<Self> {
        Self::teu_in(programs, None)
    }

    fn teu_in(programs: &Path, place: Option<Place>) -> Result<Self> {
        let dir = scratch("teu")?;
        let teu = programs.join("teu").display().to_string();
        let socket = format!("unix://{}", dir.join("sock").display());
        let mut command = command_in(place.as_ref(), &teu);
        command.args(["daemon", "--bridge", "teubench0"]);
        let daemon = start_daemon(command, &socket, &dir)?;
        let client = vec![teu, "-H".into(), socket];
        let peer = Self { name: "teu", client, daemon: Some(daemon), dir, place };
        peer.wait()?;
        Ok(peer)
    }

    /// A dockerd of its own; `None` where none is installed.
    pub(super) fn docker() -> Result<Option<Self>> {
        Self::docker_in(None)
    }

    fn docker_in(place: Option<Place>) -> Result<Option<Self>> {
        if output("sh", &["-c", "command -v dockerd"]).is_err() {
            return Ok(None);
        }
        let dir = scratch("docker")?;
        let socket = format!("unix://{}", dir.join("sock").display());
        let daemon = start_daemon(command_in(place.as_ref(), "dockerd"), &socket, &dir)?;
        let client = vec!["docker".into(), "-H".into(), socket];
        let peer = Self { name: "docker", client, daemon: Some(daemon), dir, place };
        peer.wait()?;
        Ok(Some(peer))
    }

    fn podman_in(place: Option<Place>) -> Result<Option<Self>> {
        if output("sh", &["-c", "command -v podman"]).is_err() {
            return Ok(None);
        }
        let dir = scratch("podman")?;
        let mut client: Vec<String> = vec!["podman".into(), "--cgroup-manager=cgroupfs".into()];
        client.push(format!("--root={}", dir.join("data").display()));
        client.push(format!("--runroot={}", dir.join("run").display()));
        Ok(Some(Self { name: "podman", client, daemon: None, dir, place }))
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The daemon's process, if there is one.
    pub(super) fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Where its daemon listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// The network it plays the host of, where it has one of its own.
    pub(super) fn place(&self) -> Result<&Place> {
        self.place.as_ref().context("this peer is on the host")
    }

    /// A folder of this peer's own.
    pub(super) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    pub(super) fn version(&self) -> Result<String> {
        Ok(self.run(&["--version"])?.trim().to_owned())
    }

    /// Runs its command line to the end.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} {}: {}: {said}", self.name, arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Its command line, not started.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let (program, fixed) = self.client.split_first().expect("a client has a program");
        let mut command = command_in(self.place.as_ref(), program);
        command.args(fixed).args(arguments).stdin(Stdio::null());
        command
    }

    pub(super) fn remove_containers(&self) -> Result<()> {
        let ids = self.run(&["ps", "-aq"])?;
        for id in ids.split_whitespace() {
            self.run(&["rm", "-f", id])?;
        }
        Ok(())
    }

    /// Removes its containers, ends its daemon, deletes its roots.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.remove_containers()?;
        if let Some(mut daemon) = self.daemon.take() {
            let pid = daemon.id().to_string();
            crate::run("kill", &["-TERM", &pid])?;
            daemon.wait()?;
        }
        if self.name == "teu" && self.place.is_none() {
            let remove = "ip link del teubench0; nft delete table inet teu-teubench0";
            crate::run("sh", &["-c", &format!("({remove}) 2>/dev/null || true")])?;
        }
        // dockerd leaves mounts at any depth, such as its network namespaces.
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| Path::new(place).starts_with(&self.dir)) {
            crate::run("umount", &["-l", place])?;
        }
        std::fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }

    fn wait(&self) -> Result<()> {
        let start = Instant::now();
        while self.run(&["ps"]).is_err() {
            if start.elapsed() > Duration::from_secs(30) {
                let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                bail!("{} does not answer: {log}", self.name);
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Makes an image of the tar that a shell script writes.
    pub(super) fn import(&self, image: &str, script: &str) -> Result<()> {
        let mut tar = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn()?;
        let pipe = tar.stdout.take().context("tar is piped")?;
        let status =
            self.command(&["import", "-", image]).stdin(pipe).stdout(Stdio::null()).status()?;
        tar.wait()?;
        if !status.success() {
            bail!("{} import ended with {status}", self.name);
        }
        Ok(())
    }
}

/// One that was not stopped: what is measured with it has failed.
impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // Either fails only if it has ended.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn command_in(place: Option<&Place>, program: &str) -> Command {
    place.map_or_else(|| Command::new(program), |place| place.command(program))
}

fn scratch(name: &str) -> Result<PathBuf> {
    let dir = root().join("target/bench").join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Both daemons have these options.
fn start_daemon(mut daemon: Command, socket: &str, dir: &Path) -> Result<Child> {
    let started = daemon
        .args(["-H", socket, "--data-root"])
        .arg(dir.join("data"))
        .arg("--exec-root")
        .arg(dir.join("run"))
        .arg("--pidfile")
        .arg(dir.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log"))?)
        .spawn()?;
    Ok(started)
}
