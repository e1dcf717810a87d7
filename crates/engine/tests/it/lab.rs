//! A host with an engine: roots in a temporary directory, a network namespace that ends with the
//! test, an image made of the machine's busybox.

use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::container::{
    AttachOptions, ContainerConfig, CreateRequest, HostConfig, NetworkMode, RemoveOptions,
    WaitCondition,
};
use engine::{Config, Engine};
use images::{ImportRequest, Reference};
use linux::netlink::make_network_namespace;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncReadExt;

/// Long enough for anything on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    directory: tempfile::TempDir,
    cgroup: String,
    shim: PathBuf,
}

impl Lab {
    /// `None`, with the reason printed, where containers cannot be run.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: containers need root");
            return None;
        }
        let shim = std::env::current_exe().unwrap();
        let shim = shim.parent().unwrap().parent().unwrap().join("teu-shim");
        if !shim.exists() {
            println!("skipped: {} is not built", shim.display());
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            println!("skipped: no busybox-static to make an image of");
            return None;
        }
        let (host, ()) = make_network_namespace(|| Ok(())).unwrap();
        move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let cgroup = format!("/teu-test-{}", std::process::id());
        Some(Self { directory: tempfile::tempdir().unwrap(), cgroup, shim })
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn config(&self) -> Config {
        let mut config =
            Config::new(self.root().join("data"), self.root().join("exec"), self.shim.clone());
        config.cgroup_parent.clone_from(&self.cgroup);
        config
    }

    /// Runs `work` with an engine on this host, within the deadline; then shuts the engine down.
    pub(crate) fn run<F: Future<Output = ()>>(&self, work: impl FnOnce(Engine) -> F) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let engine = Engine::open(self.config()).await.unwrap();
            make_image(&engine).await;
            tokio::time::timeout(DEADLINE, work(engine.clone())).await.expect("in time");
            engine.shutdown().await;
        });
    }

    /// The configuration in one word, for a daemon in another process.
    pub(crate) fn roots(&self, crash_at: &str) -> String {
        format!("{} {} {} {crash_at}", self.root().display(), self.cgroup, self.shim.display())
    }

    /// Reads what [`Self::roots`] wrote.
    pub(crate) fn config_from(roots: &str) -> Config {
        let mut words = roots.split(' ');
        let mut word = || words.next().unwrap().to_owned();
        let (root, cgroup, shim, crash_at) = (PathBuf::from(word()), word(), word(), word());
        let mut config = Config::new(root.join("data"), root.join("exec"), shim.into());
        config.cgroup_parent = cgroup;
        config.crash_at = Some(crash_at).filter(|step| !step.is_empty());
        config
    }

    /// Process 1 of a container, while no engine is open; found by its bundle's name file.
    pub(crate) fn init_pid(&self, name: &str) -> u32 {
        let bundles = std::fs::read_dir(self.root().join("exec/containers")).unwrap();
        for bundle in bundles {
            let path = bundle.unwrap().path();
            let read = |file: &str| -> serde_json::Value {
                serde_json::from_slice(&std::fs::read(path.join(file)).unwrap()).unwrap()
            };
            if read("config.json")["annotations"]["name"] == name {
                return read("init.json")["pid"].as_u64().unwrap().try_into().unwrap();
            }
        }
        panic!("no bundle of {name}");
    }

    /// Waits until every shim that still has an exit to write has written it and gone.
    pub(crate) fn wait_for_shims_to_end(&self) {
        let bundles = std::fs::read_dir(self.root().join("exec/containers")).unwrap();
        for bundle in bundles {
            let path = bundle.unwrap().path();
            let init: serde_json::Value =
                serde_json::from_slice(&std::fs::read(path.join("init.json")).unwrap()).unwrap();
            let pid = |key: &str| u32::try_from(init[key].as_u64().unwrap()).unwrap();
            // One whose container runs stays.
            let runs = std::fs::read_to_string(format!("/proc/{}/stat", pid("pid")))
                .is_ok_and(|stat| !stat.contains(") Z"));
            if !runs && let Ok(shim) = linux::process::Pidfd::open(pid("shim_pid")) {
                let mut poll = [rustix::event::PollFd::new(&shim, rustix::event::PollFlags::IN)];
                let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
                assert_eq!(rustix::event::poll(&mut poll, Some(&limit)).unwrap(), 1);
            }
        }
    }

    /// Fails if anything of a container is left.
    pub(crate) fn assert_clean(&self) {
        let entries = |path: PathBuf| -> Vec<String> {
            let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        assert_eq!(entries(self.root().join("data/containers")), Vec::<String>::new());
        assert_eq!(entries(self.root().join("data/rw")), Vec::<String>::new());
        assert_eq!(entries(self.root().join("exec/containers")), Vec::<String>::new());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = self.root().to_str().unwrap();
        assert!(!mounts.contains(root), "a mount is left:\n{mounts}");
        for hierarchy in entries("/sys/fs/cgroup".into()) {
            let path = Path::new("/sys/fs/cgroup").join(hierarchy);
            let path = path.join(self.cgroup.trim_start_matches('/'));
            let left: Vec<_> = entries(path).into_iter().filter(|name| name.len() == 64).collect();
            assert_eq!(left, Vec::<String>::new(), "a cgroup is left");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The parent cgroups are the test's own.
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            let _ = std::fs::remove_dir(hierarchy.path().join(self.cgroup.trim_start_matches('/')));
        }
        let _ = std::fs::remove_dir(
            Path::new("/sys/fs/cgroup").join(self.cgroup.trim_start_matches('/')),
        );
    }
}

/// Imports the image that the tests run.
pub(crate) async fn make_image(engine: &Engine) {
    let images = engine.images().clone();
    let made = tokio::task::spawn_blocking(move || {
        if images.resolve("busybox").is_ok() {
            return;
        }
        let request = ImportRequest {
            tag: Some(Reference::parse("busybox:latest").unwrap()),
            ..ImportRequest::default()
        };
        images.import(archive().as_slice(), &request).unwrap();
    });
    made.await.unwrap();
}

/// A root with busybox under every name that tests use.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut directory = |path: &str, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        archive.append_data(&mut header, path, std::io::empty()).unwrap();
    };
    for path in ["bin/", "etc/", "root/", "proc/", "sys/", "dev/"] {
        directory(path, 0o755);
    }
    directory("tmp/", 0o1777);
    let mut file = |path: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).unwrap();
    };
    file("bin/busybox", 0o755, &std::fs::read("/bin/busybox").unwrap());
    file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n");
    file("etc/group", 0o644, b"root:x:0:\nweb:x:44:\nlog:x:55:web\n");
    file("etc/motd", 0o644, b"not a program\n");
    for name in ["sh", "cat", "echo", "sleep", "true", "false", "id", "ls", "env", "kill", "head"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    archive.into_inner().unwrap()
}

/// A container that runs `command` with the host's network.
pub(crate) fn request(command: &[&str]) -> CreateRequest {
    CreateRequest {
        config: ContainerConfig {
            image: "busybox".to_owned(),
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            ..ContainerConfig::default()
        },
        host_config: HostConfig { network_mode: NetworkMode::Host, ..HostConfig::default() },
        ..CreateRequest::default()
    }
}

/// What a container that ran once said and left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit_code: i32,
}

/// Attaches, starts, waits and removes, as `run --rm` does.
pub(crate) async fn run(engine: &Engine, request: CreateRequest) -> Outcome {
    let id = engine.container_create(request).await.unwrap().id.to_string();
    let options = AttachOptions { stdout: true, stderr: true, ..AttachOptions::default() };
    let mut stream = engine.container_attach(&id, options).await.unwrap();
    let wait = engine.container_wait(&id, WaitCondition::NextExit).await.unwrap();
    engine.container_start(&id).await.unwrap();
    let mut bytes = Vec::new();
    stream.reader.read_to_end(&mut bytes).await.unwrap();
    let exit_code = wait.await.exit_code;
    engine.container_remove(&id, RemoveOptions::default()).await.unwrap();
    let (stdout, stderr) = demultiplex(&bytes);
    Outcome { stdout, stderr, exit_code }
}

/// Takes Docker's frames apart.
pub(crate) fn demultiplex(mut bytes: &[u8]) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some((header, rest)) = bytes.split_at_checked(8) {
        let length = u32::from_be_bytes(header[4..8].try_into().unwrap()) as usize;
        let sink = if header[0] == 2 { &mut stderr } else { &mut stdout };
        sink.extend(&rest[..length]);
        bytes = &rest[length..];
    }
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}
