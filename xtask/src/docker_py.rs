//! docker-py's own integration tests against a daemon of ours.
//!
//! The suite is the user's copy of docker-py's `tests` folder; nothing of it is kept here.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{output, root, run};

/// The modules that concern what this engine has.
const MODULES: &[&str] = &[
    "api_build_test.py",
    "api_client_test.py",
    "api_container_test.py",
    "api_exec_test.py",
    "api_healthcheck_test.py",
    "api_image_test.py",
    "api_network_test.py",
    "api_volume_test.py",
    "client_test.py",
    "errors_test.py",
    "models_containers_test.py",
    "models_images_test.py",
    "models_networks_test.py",
    "models_resources_test.py",
    "models_volumes_test.py",
    "regression_test.py",
];

/// Of the daemon under test.
const BRIDGE: &str = "teupy0";

/// Names that the tests use, all for one image with busybox and the users that they ask for.
const NAMES: &[&str] =
    &["busybox:latest", "alpine:latest", "alpine:3.10", "alpine:3.7", "hello-world:latest"];

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(20);

/// `--suite PATH`: docker-py's checkout. `--dev` takes a debug build.
pub(crate) fn run_suite(options: &[&str]) -> Result<()> {
    let ["--suite", suite, rest @ ..] = options else {
        bail!(
            "usage: cargo xtask e2e docker-py --suite PATH [--dev] [PYTEST-OPTION…], PATH a checkout of docker-py"
        );
    };
    let (dev, rest) = match rest {
        ["--dev", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let suite = Path::new(suite).canonicalize().with_context(|| format!("find {suite}"))?;
    if !suite.join("tests/integration").is_dir() {
        bail!("{} has no tests/integration", suite.display());
    }
    let mut build = vec!["build", "--locked", "--quiet", "--bin", "teu", "--bin", "teu-shim"];
    if !dev {
        build.push("--release");
    }
    run("cargo", &build)?;
    let dir = root().join("target/docker-py");
    for stale in ["data", "run", "registry"] {
        // Of an earlier run; missing is fine.
        let _ = std::fs::remove_dir_all(dir.join(stale));
    }
    std::fs::create_dir_all(dir.join("registry"))?;
    let venv = dir.join("venv");
    if !venv.is_dir() {
        run("python3", &["-m", "venv", &venv.to_string_lossy()])?;
        let pip = venv.join("bin/pip").to_string_lossy().into_owned();
        let packages = ["docker", "paramiko", "pytest", "pytest-timeout", "websocket-client"];
        run(&pip, &[&["install", "--quiet"], &packages[..]].concat())?;
    }
    let mut hub = Hub::start(&dir.join("registry"))?;
    let built = if dev { "target/debug/teu" } else { "target/release/teu" };
    let result = Daemon::start(&root().join(built), &dir, hub.as_ref()).and_then(|daemon| {
        daemon.prepare(hub.as_ref())?;
        judge(&daemon.socket, &suite, &venv, rest)
    });
    if let Some(hub) = &mut hub {
        hub.process.kill()?;
        hub.process.wait()?;
    }
    result
}

/// Stands in for Docker Hub, as its mirror, so that tests can pull.
pub(crate) struct Hub {
    process: Child,
    address: String,
}

impl Hub {
    /// `None`, and the tests that pull fail, where no `docker-registry` is installed.
    fn start(dir: &Path) -> Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             http: {{addr: '{address}'}}\nlog: {{level: error, accesslog: {{disabled: true}}}}\n",
            dir.display()
        );
        std::fs::write(&config, text)?;
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = spawned else {
            println!("docker-registry is not installed: tests that pull will fail");
            return Ok(None);
        };
        let hub = Self { process, address };
        until("the registry", || TcpStream::connect(&hub.address).is_ok())?;
        Ok(Some(hub))
    }
}

/// The daemon under test; it goes with all its containers and its bridge.
pub(crate) struct Daemon {
    process: Child,
    teu: String,
    socket: String,
    data_root: PathBuf,
}

impl Daemon {
    pub(crate) fn start(teu: &Path, dir: &Path, hub: Option<&Hub>) -> Result<Self> {
        let socket = format!("unix://{}", dir.join("sock").display());
        let mut command = Command::new(teu);
        command
            .args(["daemon", "--bridge", BRIDGE, "-H", &socket, "--data-root"])
            .arg(dir.join("data"))
            .arg("--exec-root")
            .arg(dir.join("run"))
            .arg("--pidfile")
            .arg(dir.join("pid"));
        if let Some(hub) = hub {
            command.args(["--registry-mirror", &format!("http://{}", hub.address)]);
        }
        let log = std::fs::File::create(dir.join("log"))?;
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let data_root = dir.join("data").canonicalize().unwrap_or_else(|_| dir.join("data"));
        let teu = teu.to_string_lossy().into_owned();
        let daemon = Self { process, teu, socket, data_root };
        until("the daemon", || daemon.ask(&["ps"]).is_ok())?;
        Ok(daemon)
    }

    pub(crate) fn ask(&self, args: &[&str]) -> Result<String> {
        output(&self.teu, &[&["-H", &self.socket], args].concat())
    }

    /// Makes the images that the tests name, here and at the stand-in for Docker Hub.
    fn prepare(&self, hub: Option<&Hub>) -> Result<()> {
        let (teu, socket) = (&self.teu, &self.socket);
        let script = format!(
            "set -e; d=$(mktemp -d); trap 'rm -rf $d' EXIT; chmod 755 $d; cd $d; \
             mkdir -p bin home mnt root tmp var/opt; chmod 1777 tmp; mkdir etc; \
             cp \"$(command -v busybox)\" bin/busybox; \
             tar -c bin | '{teu}' -H {socket} import -c 'CMD [\"busybox\", \"true\"]' - hello-world; \
             for a in $(busybox --list | grep -vx busybox); do ln -s busybox bin/$a; done; \
             for u in root:0 default:1000 postgres:70; do \
               echo \"${{u%:*}}:x:${{u#*:}}:${{u#*:}}::/home:/bin/sh\" >> etc/passwd; \
               echo \"${{u%:*}}:x:${{u#*:}}:\" >> etc/group; done; \
             tar -c . | '{teu}' -H {socket} import -c 'CMD [\"sh\"]' - busybox:latest"
        );
        run("sh", &["-c", &script])?;
        for name in NAMES {
            if name.starts_with("alpine") {
                self.ask(&["tag", "busybox:latest", name])?;
            }
            if let Some(hub) = hub {
                let remote = format!("{}/library/{name}", hub.address);
                self.ask(&["tag", name, &remote])?;
                self.ask(&["push", "-q", &remote])?;
                self.ask(&["rmi", &remote])?;
            }
        }
        Ok(())
    }
}

impl Drop for Daemon {
    /// Best effort: the tests' outcome is what counts.
    fn drop(&mut self) {
        let left = self.ask(&["ps", "-aq"]).unwrap_or_default();
        let left: Vec<&str> = left.split_whitespace().collect();
        if !left.is_empty() {
            let _ = self.ask(&[&["rm", "-f", "-v"], &left[..]].concat());
        }
        let left = self.ask(&["network", "ls", "-q", "-f", "type=custom"]).unwrap_or_default();
        let left: Vec<&str> = left.split_whitespace().collect();
        if !left.is_empty() {
            let _ = self.ask(&[&["network", "rm"], &left[..]].concat());
        }
        let _ = output("kill", &[&self.process.id().to_string()]);
        let _ = self.process.wait();
        // The networks of a daemon that answered no more are known by their bridges' alias.
        let links = output("ip", &["-o", "link", "show", "type", "bridge"]).unwrap_or_default();
        let alias = format!("alias teu:{}", self.data_root.display());
        let ours = links.lines().filter(|line| line.trim_end().ends_with(&alias));
        for name in ours.filter_map(|line| line.split(": ").nth(1)) {
            let _ = output("ip", &["link", "delete", name]);
        }
        let _ = output("nft", &["delete", "table", "inet", &format!("teu-{BRIDGE}")]);
    }
}

fn until(what: &str, ready: impl Fn() -> bool) -> Result<()> {
    let start = Instant::now();
    while !ready() {
        if start.elapsed() > READY {
            bail!("{what} does not answer; its log is in target/docker-py");
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(())
}

fn judge(socket: &str, suite: &Path, venv: &Path, rest: &[&str]) -> Result<()> {
    let status = Command::new(venv.join("bin/python"))
        .args(["-m", "pytest", "-q", "--timeout=60", "-p", "no:cacheprovider", "-rf"])
        .args(MODULES.iter().map(|module| format!("tests/integration/{module}")))
        .args(rest)
        .current_dir(suite)
        .env("DOCKER_HOST", socket)
        .status()?;
    if !status.success() {
        bail!("docker-py's tests ended with {status}; the known ones are in docs/deviations.md");
    }
    Ok(())
}
