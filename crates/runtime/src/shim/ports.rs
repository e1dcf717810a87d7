//! Host ports that the container publishes, kept bound while no daemon does it.
//!
//! A published port is a rule, which would silently shadow a process that binds the port. No packet
//! ever reaches these sockets; that they are there is all that they do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt;

use super::protocol::HeldPort;

#[derive(Debug, Default)]
pub(super) struct Ports(Vec<(HeldPort, OwnedFd)>);

impl Ports {
    /// Keeps exactly `ports`: of those that are held already the sockets, and of those that came.
    /// Answers those of which there is none.
    pub(super) fn keep(&mut self, ports: &[HeldPort], came: Vec<OwnedFd>) -> BTreeSet<HeldPort> {
        let mut wanted: BTreeSet<HeldPort> = ports.iter().copied().collect();
        self.0.retain(|(port, _)| wanted.remove(port));
        for socket in came {
            // What was not asked for closes here.
            if let Some(port) = port_of(&socket).filter(|port| wanted.remove(port)) {
                self.0.push((port, socket));
            }
        }
        wanted
    }

    /// Lets all of them go.
    pub(super) fn release(&mut self) {
        self.0 = Vec::new();
    }
}

fn port_of(socket: &OwnedFd) -> Option<HeldPort> {
    let address = SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()?;
    let protocol = sockopt::socket_protocol(socket).ok()??;
    let protocol = u8::try_from(protocol.as_raw().get()).ok()?;
    // A scope or a flow would be none of the asker's.
    Some(HeldPort { protocol, address: SocketAddr::new(address.ip(), address.port()) })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_named_is_kept_and_nothing_else() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, two) = (bind(), bind());
        let port = |listener: &TcpListener| HeldPort {
            protocol: 6,
            address: listener.local_addr().unwrap(),
        };
        let (first, second) = (port(&one), port(&two));
        let is_free = |port: HeldPort| TcpListener::bind(port.address).is_ok();
        let mut ports = Ports::default();
        let nothing = BTreeSet::new();
        assert_eq!(ports.keep(&[first], vec![one.into(), two.into()]), nothing);
        assert!(!is_free(first) && is_free(second));
        // Named again it needs no other socket.
        assert_eq!(ports.keep(&[first, second], Vec::new()), BTreeSet::from([second]));
        let again = TcpListener::bind(second.address).unwrap().into();
        assert_eq!(ports.keep(&[first, second], vec![again]), nothing);
        assert!(!is_free(first) && !is_free(second));
        assert_eq!(ports.keep(&[second], Vec::new()), nothing);
        assert!(is_free(first) && !is_free(second));
        ports.release();
        assert!(is_free(second));
    }
}
