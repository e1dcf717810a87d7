//! A ZooKeeper server of Debian's package, alone and in memory as far as it goes.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::wait::eventually;

/// A running server; ended when dropped.
#[derive(Debug)]
pub struct ZooKeeper {
    port: u16,
    child: Child,
}

impl ZooKeeper {
    /// Starts one with its files in `dir`, and waits until it takes connections. Sessions may be
    /// as short as half a second.
    pub fn start(dir: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (config, data, log) = (dir.join("zoo.cfg"), dir.join("data"), dir.join("log"));
        let text = format!(
            "tickTime=250\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\n",
            data.display()
        );
        std::fs::write(&config, text)?;
        let output = File::create(&log)?;
        let mut command = Command::new("java");
        command.args([
            "-Xmx64m",
            "-Dzookeeper.forceSync=no",
            "-cp",
            "/usr/share/java/zookeeper.jar",
        ]);
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(&config);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("start ZooKeeper; is Debian's zookeeper installed?")?;
        let mut started = Self { port, child };
        eventually("ZooKeeper takes connections", || {
            if let Some(status) = started.child.try_wait()? {
                bail!("it ended with {status}: {}", std::fs::read_to_string(&log)?);
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop)?)
        })?;
        Ok(started)
    }

    /// `zk://USER:PASSWORD@127.0.0.1:PORT/PATH`
    pub fn address(&self, credential: &str, path: &str) -> String {
        format!("zk://{credential}@127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        // Either fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
