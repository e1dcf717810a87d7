//! A container of busybox in a temporary directory, run by the real shim.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runtime::shim::client::{self, ClientError};
use runtime::shim::protocol::{
    ExecExit, ExecRequest, ExecStarted, ExitInfo, Failure, LogConfig, LogDriver, Reply, Request,
    Rootfs, RuntimeConfig, SOCKET_FILE, ShimConfig, Started, Stdin, Streams, VERSION, frame,
};
use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";
pub(crate) const CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Tells, with a printed reason, whether a test can run here.
pub(crate) fn can_run() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return false;
    }
    if !Path::new(BUSYBOX).exists() {
        eprintln!("skipped: needs {BUSYBOX} (package busybox-static)");
        return false;
    }
    true
}

/// A container to be.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) directory: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) spec: Value,
    pub(crate) config: ShimConfig,
    shim: Option<Child>,
}

impl Container {
    pub(crate) fn new(args: &[&str]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("teu-it-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&id);
        let bundle = directory.join("bundle");
        for name in ["bundle", "lower/bin", "lower/etc", "lower/tmp", "upper", "work", "container"]
        {
            std::fs::create_dir_all(directory.join(name)).unwrap();
        }
        let lower = directory.join("lower");
        std::fs::copy(BUSYBOX, lower.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
        std::fs::write(lower.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        std::fs::set_permissions(lower.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        let config = ShimConfig {
            version: VERSION,
            container_id: id.clone(),
            container_dir: directory.join("container"),
            rootfs: Some(Rootfs {
                lowers: vec![lower],
                upper: directory.join("upper"),
                work: directory.join("work"),
                mount_options: Vec::new(),
            }),
            stdin: Stdin::default(),
            console_size: None,
            log: LogConfig {
                driver: LogDriver::JsonFile,
                path: directory.join("container/json.log"),
                ..LogConfig::default()
            },
            runtime: RuntimeConfig::Builtin,
            seccomp_bpf: None,
            cgroup: PathBuf::from(format!("/{id}")),
            drain_timeout_ms: 2_000,
        };
        Self { spec: spec(args), directory, bundle, config, shim: None }
    }

    pub(crate) fn set_terminal(&mut self) {
        self.spec["process"]["terminal"] = json!(true);
        self.config.stdin.open = true;
    }

    /// Starts it with the shim making the socket.
    pub(crate) fn start(&mut self) -> Result<Started, Failure> {
        self.start_with(Stdio::null())
    }

    /// Starts it with the given standard input of the shim.
    pub(crate) fn start_with(&mut self, stdin: Stdio) -> Result<Started, Failure> {
        let write = |name: &str, text: Vec<u8>| std::fs::write(self.bundle.join(name), text);
        write("config.json", serde_json::to_vec(&self.spec).unwrap()).unwrap();
        write("shim.json", serde_json::to_vec(&self.config).unwrap()).unwrap();
        let mut shim = Command::new(env!("CARGO_BIN_EXE_teu-shim"))
            .arg("--bundle")
            .arg(&self.bundle)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.shim = Some(shim);
        let reply: Reply<Started> = serde_json::from_str(&line).unwrap();
        reply.into_result()
    }

    pub(crate) fn shim_pid(&self) -> u32 {
        self.shim.as_ref().unwrap().id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.bundle.join(SOCKET_FILE)
    }

    pub(crate) fn request<T: serde::de::DeserializeOwned>(
        &self,
        request: &Request,
    ) -> Result<T, ClientError> {
        client::request(self.socket(), request).map(|(reply, _)| reply)
    }

    /// Waits for the end and gives what the shim wrote about it.
    pub(crate) fn wait(&mut self) -> ExitInfo {
        // Whether asked in time or not, the shim ends and the file is there.
        let _ = self.request::<ExitInfo>(&Request::Wait);
        let status = self.shim.take().unwrap().wait().unwrap();
        assert!(status.success(), "{status}");
        let bytes = std::fs::read(self.config.container_dir.join("exit.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Starts, waits, and gives exit code and what was logged.
    pub(crate) fn run(&mut self) -> (i32, String) {
        self.start().unwrap();
        let exit = self.wait();
        assert_eq!(exit.warnings, Vec::<String>::new());
        (exit.exit_code, self.logged())
    }

    /// Both streams' text out of the log.
    pub(crate) fn logged(&self) -> String {
        let text = std::fs::read_to_string(&self.config.log.path).unwrap();
        let logs = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        logs.map(|log| log["log"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it has logged that.
    pub(crate) fn until_logged(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.logged().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.logged());
            std::thread::yield_now();
        }
    }

    /// An exec of `args` as init runs, ready to be changed.
    pub(crate) fn exec_request(&self, exec_id: &str, args: &[&str]) -> ExecRequest {
        let mut process = self.spec["process"].clone();
        process["args"] = json!(args);
        process["terminal"] = json!(false);
        ExecRequest {
            exec_id: exec_id.to_owned(),
            process: serde_json::from_value(process).unwrap(),
            streams: Streams { stdin: false, stdout: true, stderr: true },
            detach: false,
            console_size: None,
            unconfined: false,
        }
    }

    /// Runs an exec to its end: exit code and output.
    pub(crate) fn exec(&self, exec_id: &str, args: &[&str]) -> Result<(i32, String), ClientError> {
        let request = Request::Exec(Box::new(self.exec_request(exec_id, args)));
        let (_, connection) = client::request::<ExecStarted>(self.socket(), &request)?;
        let output = read_frames(connection);
        let wait = Request::ExecWait { exec_id: exec_id.to_owned() };
        let exit: ExecExit = self.request(&wait)?;
        Ok((exit.exit_code, output))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut shim) = self.shim.take() {
            let _ = self.request::<Value>(&Request::Kill { signal: 9, all: true });
            let _ = shim.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Reads every frame's payload until the stream ends.
pub(crate) fn read_frames(mut connection: BufReader<UnixStream>) -> String {
    let mut decoder = frame::Decoder::default();
    let mut output = Vec::new();
    let mut buffer = [0_u8; 4096];
    connection.get_ref().set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    loop {
        let length = connection.read(&mut buffer).unwrap();
        if length == 0 {
            return String::from_utf8_lossy(&output).into_owned();
        }
        decoder.push(&buffer[..length]);
        while let Some((_, payload)) = decoder.next_frame().unwrap() {
            output.extend_from_slice(payload);
        }
    }
}

fn spec(args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "teu-test",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPS, "effective": CAPS, "permitted": CAPS
            }
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]}
        ],
        "linux": {
            "namespaces": [
                {"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"},
                {"type": "ipc"}, {"type": "cgroup"}
            ],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": [
                "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                "/sys/firmware"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

const APPLETS: [&str; 41] = [
    "sh", "true", "false", "echo", "cat", "ls", "sleep", "id", "env", "grep", "mount", "umount",
    "touch", "rm", "mkdir", "stat", "readlink", "hostname", "dd", "tty", "stty", "ps", "kill",
    "head", "tail", "wc", "seq", "yes", "chmod", "mknod", "ln", "sed", "awk", "sort", "od", "test",
    "pwd", "date", "ip", "nsenter", "unshare",
];
