//! Another machine on the wire: a network namespace behind a veth.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Result, ensure};
use e2e::eventually;

/// It is gone when dropped, interface included.
pub(super) struct Neighbour {
    holder: Child,
    /// The host's address on the wire between the two.
    pub(super) host: Ipv4Addr,
}

impl Neighbour {
    pub(super) fn new() -> Result<Self> {
        let holder =
            Command::new("unshare").args(["-n", "sleep", "600"]).stdin(Stdio::null()).spawn()?;
        let pid = holder.id();
        let [.., high, low] = pid.to_be_bytes();
        let host = Ipv4Addr::new(198, 19, high, low & 0xfc | 1);
        let own = Ipv4Addr::new(198, 19, high, low & 0xfc | 2);
        let this = Self { holder, host };
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        eventually("it has a network of its own", || {
            let its = std::fs::read_link(format!("/proc/{pid}/ns/net"))?;
            ensure!(its != ours);
            Ok(())
        })?;
        let script = format!(
            "set -e; ip link add nb{pid} type veth peer name eth0 netns {pid}
             ip addr add {host}/30 dev nb{pid}; ip link set nb{pid} up
             nsenter -t {pid} -n sh -ec 'ip addr add {own}/30 dev eth0; ip link set eth0 up
                 ip route add default via {host}'"
        );
        ensure!(Command::new("sh").args(["-c", &script]).status()?.success(), "wire a neighbour");
        Ok(this)
    }

    /// Moves the calling thread there.
    pub(super) fn enter(&self) -> Result<()> {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.holder.id()))?;
        let kind = rustix::thread::LinkNameSpaceType::Network;
        Ok(rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let name = format!("nb{}", self.holder.id());
        // The namespace's end would take the interface along too, but later.
        let _ = Command::new("ip").args(["link", "del", &name]).status();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
