//! A real registry to push to and to pull from.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::wait::eventually;

/// Debian's docker-registry on a free port of the loopback.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    /// Starts it with its storage and configuration in `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_for(dir, None)
    }

    /// The same for those only whom a file of htpasswd(1) with bcrypt lists.
    pub fn start_with_users(dir: &Path, users: &Path) -> Result<Self> {
        Self::start_for(dir, Some(users))
    }

    fn start_for(dir: &Path, users: Option<&Path>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = dir.join("registry.yml");
        let storage = dir.join("registry");
        let auth = users.map_or(String::new(), |users| {
            format!("auth: {{htpasswd: {{realm: harbour, path: {}}}}}\n", users.display())
        });
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n{auth}",
                storage.display()
            ),
        )?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry (package docker-registry)")?;
        let registry = Self { process, port };
        eventually("the registry listens", || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)?)
        })?;
        Ok(registry)
    }

    /// The port of the loopback it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself, which is fine too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
