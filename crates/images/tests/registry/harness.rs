//! A store, a client, and what they said; and a real registry.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use images::registry::{
    AuthConfig, PullOptions, Pulled, PushOptions, PushedImage, Registry, RegistryConfig,
    RegistryError, Timeouts,
};
use images::{Progress, Reference, Store};

/// A store in a directory of its own, with a client that waits little.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub registry: Registry,
    pub messages: Mutex<Vec<Progress>>,
}

pub fn config() -> RegistryConfig {
    RegistryConfig {
        certs_dirs: Vec::new(),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(20),
            retry: Duration::from_millis(2),
            retry_after: Duration::from_secs(60),
        },
        ..RegistryConfig::default()
    }
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: RegistryConfig) -> Self {
        Self::at(tempfile::tempdir().unwrap(), config)
    }

    pub fn at(dir: tempfile::TempDir, config: RegistryConfig) -> Self {
        let store = Store::open(dir.path()).unwrap();
        let registry = Registry::new(store.clone(), config);
        Self { dir, store, registry, messages: Mutex::default() }
    }

    /// Opens the same directory anew, as a restarted daemon does.
    pub fn restarted(self) -> Self {
        let Self { dir, store, registry, .. } = self;
        let config = registry.config().clone();
        drop((store, registry));
        Self::at(dir, config)
    }

    pub async fn pull(&self, name: &str) -> Result<Vec<Pulled>, RegistryError> {
        self.pull_with(name, &PullOptions::default()).await
    }

    pub async fn pull_with(
        &self,
        name: &str,
        options: &PullOptions,
    ) -> Result<Vec<Pulled>, RegistryError> {
        let reference = Reference::parse(name).unwrap();
        self.registry
            .pull(&reference, options, &|message| self.messages.lock().unwrap().push(message))
            .await
    }

    pub async fn push(
        &self,
        name: &str,
        auth: AuthConfig,
    ) -> Result<Vec<PushedImage>, RegistryError> {
        let reference = Reference::parse(name).unwrap();
        let options = PushOptions { auth, all_tags: false };
        self.registry
            .push(&reference, &options, &|message| self.messages.lock().unwrap().push(message))
            .await
    }

    pub fn tag(&self, id: &images::ImageId, name: &str) {
        self.store.tag(id, &Reference::parse(name).unwrap()).unwrap();
    }

    /// Takes the messages so far, as lines `id: status`, without counts.
    pub fn lines(&self) -> Vec<String> {
        let messages = std::mem::take(&mut *self.messages.lock().unwrap());
        messages
            .into_iter()
            .map(|message| match message {
                Progress::Status { status, id: Some(id) } => format!("{id}: {status}"),
                Progress::Status { status, id: None } => status,
                Progress::Layer { id, state } => format!("{id}: {}", state.status()),
                Progress::Pushed { tag, digest, size } => format!("aux {tag} {digest} {size}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    /// Reads a file of an image.
    pub fn file(&self, id: &images::ImageId, path: &str) -> Option<Vec<u8>> {
        let dirs = self.store.layer_chain(id).unwrap();
        dirs.iter().find_map(|dir| std::fs::read(dir.join(path)).ok())
    }
}

pub fn credentials(username: &str, password: &str) -> AuthConfig {
    AuthConfig { username: username.into(), password: password.into(), ..AuthConfig::default() }
}

/// Whether layers can be unpacked; prints why not.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: unpacking layers needs root");
    }
    root
}

/// Debian's docker-registry on a free port.
pub struct DockerRegistry {
    process: Child,
    pub address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl DockerRegistry {
    /// Starts one; `htpasswd` is the content of a password file. `None`, with a printed reason, if it is not
    /// installed.
    pub fn start(htpasswd: Option<&str>) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut auth = String::new();
        if let Some(htpasswd) = htpasswd {
            let file = dir.path().join("htpasswd");
            std::fs::write(&file, htpasswd).unwrap();
            auth = format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.display());
        }
        Self::on(dir, IpAddr::from([127, 0, 0, 1]), &auth)
    }

    /// Starts one on a free port of an address; `http_and_auth` continues the `http` section.
    pub fn on(dir: tempfile::TempDir, ip: IpAddr, http_and_auth: &str) -> Option<Self> {
        for _ in 0..5 {
            let address = free_address(ip);
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
                 delete: {{enabled: true}}\nhttp:\n  addr: {address}\n{http_and_auth}",
                dir.path().join("data").display()
            );
            let file = dir.path().join("config.yml");
            std::fs::write(&file, config).unwrap();
            let started = Command::new("docker-registry")
                .arg("serve")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let Ok(mut process) = started else {
                eprintln!("skipped: docker-registry is not installed");
                return None;
            };
            if listens(&mut process, address) {
                return Some(Self { process, address, _dir: dir });
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("docker-registry does not start");
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

fn free_address(ip: IpAddr) -> SocketAddr {
    std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Waits until the process listens, or has ended because another took the port first.
fn listens(process: &mut Child, address: SocketAddr) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    false
}

/// Runs skopeo without certificate checks. `None`, with a printed reason, if it is not installed.
pub fn skopeo(args: &[&str]) -> Option<String> {
    let output = match Command::new("skopeo").args(args).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: skopeo: {error}");
            return None;
        }
    };
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "skopeo {args:?}: {out}{err}");
    Some(out.into_owned())
}

/// Counts the files below a directory whose path contains `part`.
pub fn files_below(dir: &Path, part: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                files_below(&path, part)
            } else {
                usize::from(path.to_string_lossy().contains(part))
            }
        })
        .sum()
}
