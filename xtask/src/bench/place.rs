//! Network namespaces that play hosts and neighbours, and the wires between them.

use std::process::{Child, Command, Stdio};

use anyhow::{Result, bail};

use super::until;
use crate::output;

/// A network of its own, as long as this is not dropped.
pub(super) struct Place {
    holder: Child,
}

impl Place {
    pub(super) fn new() -> Result<Self> {
        let holder = Command::new("unshare")
            .args(["-n", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let place = Self { holder };
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let namespace = format!("/proc/{}/ns/net", place.pid());
        until(|| match std::fs::read_link(&namespace)? == own {
            true => bail!("unshare has not made a network"),
            false => Ok(()),
        })?;
        place.run("ip", &["link", "set", "lo", "up"])?;
        Ok(place)
    }

    /// Wires `eth0` here, with the first address, to a new interface there, with the second.
    pub(super) fn wire(&self, own: &str, there: &Self, interface: &str, other: &str) -> Result<()> {
        let peer = there.pid();
        self.run(
            "ip",
            &["link", "add", "eth0", "type", "veth", "peer", "name", interface, "netns", &peer],
        )?;
        for (place, name, address) in [(self, "eth0", own), (there, interface, other)] {
            place.run("ip", &["address", "add", &format!("{address}/30"), "dev", name])?;
            place.run("ip", &["link", "set", name, "up"])?;
        }
        Ok(())
    }

    /// A command that will run there.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid(), "-n", program]);
        command
    }

    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output("nsenter", &[&["-t", &self.pid(), "-n", program], arguments].concat())
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Ends of wires go with it, and take the other ends along.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
