//! Several hosts on one wire: network namespaces, each with an address of its own, joined by a bridge
//! in one more namespace. All are gone when it is dropped.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

use crate::host::HostOptions;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The wire and the places on it.
#[derive(Debug)]
pub struct Wire {
    prefix: String,
    places: usize,
}

impl Wire {
    /// Lays a wire to `places` hosts.
    pub fn new(places: usize) -> Result<Self> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let wire = Self { prefix: format!("teu-{}-{number}-", std::process::id()), places };
        wire.lay()?;
        Ok(wire)
    }

    fn lay(&self) -> Result<()> {
        let switch = self.namespace_of_switch();
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "wire", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "wire", "up"])?;
        for place in 0..self.places {
            let own = self.namespace(place);
            let port = format!("port{place}");
            ip(&["netns", "add", &own])?;
            ip(&[
                "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0",
                "netns", &own,
            ])?;
            ip(&["-n", &switch, "link", "set", &port, "master", "wire", "up"])?;
            ip(&["-n", &own, "link", "set", "lo", "up"])?;
            let address = format!("{}/24", self.address(place));
            ip(&["-n", &own, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &own, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// The name of a host's network namespace, as `ip netns` knows it.
    pub fn namespace(&self, place: usize) -> String {
        format!("{}{place}", self.prefix)
    }

    /// The address of a host.
    pub fn address(&self, place: usize) -> Ipv4Addr {
        let last = u8::try_from(place + 1).expect("a test has few hosts");
        Ipv4Addr::new(192, 0, 2, last)
    }

    /// What a daemon in this place is started with.
    pub fn options(&self, place: usize) -> HostOptions {
        HostOptions {
            namespace: Some(self.namespace(place)),
            hostname: Some(format!("host{place}")),
            ..HostOptions::default()
        }
    }

    /// Pulls a host's plug, or puts it in again.
    pub fn set_plugged(&self, place: usize, is_plugged: bool) -> Result<()> {
        let state = if is_plugged { "up" } else { "down" };
        ip(&["-n", &self.namespace_of_switch(), "link", "set", &format!("port{place}"), state])
    }

    /// A command that runs on one of the hosts.
    pub fn command(&self, place: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(place))).arg("--").arg(program);
        command
    }

    fn namespace_of_switch(&self) -> String {
        format!("{}s", self.prefix)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let places = (0..self.places).map(|place| self.namespace(place));
        for namespace in places.chain([self.namespace_of_switch()]) {
            // One that could not be made is not there.
            let _ = ip(&["netns", "del", &namespace]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let ran = Command::new("ip").args(args).output()?;
    let told = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "ip {}: {told}", args.join(" "));
    Ok(())
}
