//! Names for the container: sockets at 127.0.0.11 in its network, and whoever answers there.
//!
//! The sockets are made before the program runs, so that its first query finds them; the process
//! that answers (this program with `--resolve BUNDLE`, crate `resolver`) is started by the first
//! query, ends when it is not needed, and is started again. It is a process of its own because it
//! reads what the container and the world send it: whatever becomes of it, the container goes on.
//!
//! Clients ask at port 53, which is the container's to bind. So the sockets have other ports, and
//! two stateless rules in the container's network rewrite those of queries and answers:
//!
//! ```text
//! output, before connection tracking: daddr 127.0.0.11, dport 53    -> dport PORT
//! output, after connection tracking:  saddr 127.0.0.11, sport PORT  -> sport 53
//! ```
//! so that whoever tracks connections there sees one port in both directions. The table is owned
//! by the shim's netlink socket: `nft flush ruleset` in the container leaves it, and it ends with
//! the shim.

use std::ffi::CString;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use linux::netlink::nft::{BaseChain, Batch, ChainKind, Expression, Hook, Nftables, Transport};
use linux::process::{self, CloneArgs, Exit, Pidfd};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::protocol::Failure;
use crate::failure::During;

const TABLE: &str = "teu-names";
const PORT: u16 = 53;
/// Before and after connection tracking, which is at -200.
const BEFORE: i32 = -300;
const AFTER: i32 = -150;
/// How long a resolver that ended badly stays away.
const PAUSE: Duration = Duration::from_secs(1);

/// The container's side of names.
#[derive(Debug)]
pub(super) struct Names {
    bundle: CString,
    network: OwnedFd,
    udp: UdpSocket,
    tcp: TcpListener,
    /// Holds the table.
    _nftables: Nftables,
    resolver: Option<(u32, Pidfd)>,
    not_before: Option<Instant>,
}

impl Names {
    /// Makes sockets and rules in `network`.
    pub(super) fn open(bundle: &Path, network: OwnedFd) -> Result<Self, Failure> {
        let what = || "answer names at 127.0.0.11 in the container's network".to_owned();
        let bundle =
            CString::new(bundle.as_os_str().as_bytes()).map_err(io::Error::from).during(what)?;
        let (udp, tcp, nftables) = inside(network.as_fd(), listen).during(what)?;
        let resolver = None;
        Ok(Self { bundle, network, udp, tcp, _nftables: nftables, resolver, not_before: None })
    }

    /// The descriptors at which queries wait for somebody to be started.
    pub(super) fn waiting_at(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let is_unattended = self.resolver.is_none() && self.not_before.is_none();
        [self.udp.as_fd(), self.tcp.as_fd()].into_iter().filter(move |_| is_unattended)
    }

    /// When queries count again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.not_before
    }

    /// Does what the passage of time has made due.
    pub(super) fn settle(&mut self) {
        if self.not_before.is_some_and(|at| at <= Instant::now()) {
            self.not_before = None;
        }
    }

    /// A query has come.
    pub(super) fn wake(&mut self) {
        if self.resolver.is_some() {
            return;
        }
        match self.start() {
            Ok(resolver) => self.resolver = Some(resolver),
            Err(error) => {
                eprintln!("start the resolver: {error}");
                self.not_before = Some(Instant::now() + PAUSE);
            }
        }
    }

    fn start(&self) -> io::Result<(u32, Pidfd)> {
        let arguments = [c"teu-shim".to_owned(), c"--resolve".to_owned(), self.bundle.clone()];
        process::clone_process(&CloneArgs::default(), || {
            let network = Some(LinkNameSpaceType::Network);
            let ready = rustix::stdio::dup2_stdin(&self.udp)
                .and_then(|()| rustix::stdio::dup2_stdout(&self.tcp))
                .and_then(|()| move_into_link_name_space(self.network.as_fd(), network));
            if ready.is_ok() {
                let _ = process::execute(c"/proc/self/exe", &arguments, &[]);
            }
            1
        })
    }

    /// Takes note of a child's end, if it was the resolver.
    pub(super) fn child_ended(&mut self, pid: u32, exit: Exit) -> bool {
        let is_it = self.resolver.as_ref().is_some_and(|(resolver, _)| *resolver == pid);
        if is_it {
            self.resolver = None;
            if exit != Exit::Code(0) {
                self.not_before = Some(Instant::now() + PAUSE);
            }
        }
        is_it
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some((_, resolver)) = &self.resolver {
            // It would see the shim's end by itself, but the network should go now.
            let _ = resolver.kill();
        }
    }
}

/// The network that the container is to run in, if it exists already.
pub(super) fn network_of(spec: &Spec) -> Result<Option<OwnedFd>, Failure> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let path = namespaces
        .into_iter()
        .flatten()
        .find(|namespace| namespace.typ() == LinuxNamespaceType::Network)
        .and_then(|namespace| namespace.path().as_ref());
    path.map(|path| open_network(path)).transpose()
}

/// Opens a network namespace by its file.
pub(super) fn open_network(path: &Path) -> Result<OwnedFd, Failure> {
    let file = std::fs::File::open(path).during(|| format!("open {}", path.display()))?;
    Ok(file.into())
}

/// Does `work` in another network. The shim has one thread, which comes back.
fn inside<T>(network: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let home: OwnedFd = std::fs::File::open("/proc/self/ns/net")?.into();
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(network, kind)?;
    let done = work();
    move_into_link_name_space(home.as_fd(), kind)?;
    done
}

fn listen() -> io::Result<(UdpSocket, TcpListener, Nftables)> {
    let udp = UdpSocket::bind((resolver::ADDRESS, 0))?;
    let tcp = TcpListener::bind((resolver::ADDRESS, 0))?;
    let ports =
        [(Transport::Udp, udp.local_addr()?.port()), (Transport::Tcp, tcp.local_addr()?.port())];
    let mut nftables = Nftables::open()?;
    nftables.commit(&rules(ports))?;
    Ok((udp, tcp, nftables))
}

fn rules(ports: [(Transport, u16); 2]) -> Batch {
    let mut batch = Batch::new(TABLE);
    batch.add_own_table();
    for (chain, priority) in [("queries", BEFORE), ("answers", AFTER)] {
        let base = BaseChain { kind: ChainKind::Filter, hook: Hook::Output, priority };
        batch.add_chain(chain, Some(base));
    }
    let here = resolver::ADDRESS;
    for (protocol, port) in ports {
        let query = [
            Expression::is_ipv4(),
            Expression::destination(here, 32),
            Expression::protocol(protocol),
            Expression::destination_port(PORT),
            Expression::set_destination_port(protocol, port),
        ];
        batch.add_rule("queries", query.concat());
        let answer = [
            Expression::is_ipv4(),
            Expression::source(here, 32),
            Expression::protocol(protocol),
            Expression::source_port(port),
            Expression::set_source_port(protocol, PORT),
        ];
        batch.add_rule("answers", answer.concat());
    }
    batch
}

/// Answers queries for the container in `bundle`, in whose network this process is; gives the exit
/// code. Standard input and output are the sockets.
pub fn resolve(bundle: &Path) -> u8 {
    // Its own session: signals meant for the shim's group are not for it.
    let _ = rustix::process::setsid();
    let served = sockets().and_then(|sockets| resolver::serve(bundle, sockets));
    match served {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("resolve names for {}: {error}", bundle.display());
            1
        }
    }
}

fn sockets() -> io::Result<resolver::Sockets> {
    let udp = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let tcp = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = super::start::open_null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    // The shim is where the daemon was that started it.
    let shim = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
    let host = std::fs::File::open(format!("/proc/{}/ns/net", shim.as_raw_pid()))?.into();
    Ok(resolver::Sockets { udp, tcp, host })
}
