//! A host with one uplink, and a neighbour on the wire.
//!
//! The test's thread *is* on the host: its sockets, the tools it runs and the `Network` it opens
//! live in a namespace that ends with the test.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use linux::namespace::in_namespace;
use linux::netlink::make_network_namespace;
use network::{Cidr, Config, Endpoint, EndpointRequest, Live, Network, PortRequest, Protocol};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Long enough for any answer on a loaded machine.
const ANSWER: Duration = Duration::from_secs(5);
/// How long silence has to last to count as a drop; the kernel repeats a SYN after one second.
const SILENCE: Duration = Duration::from_millis(1200);

pub(crate) struct Lab {
    pub(crate) outside: OwnedFd,
    directory: tempfile::TempDir,
}

impl Lab {
    /// `None`, with the reason printed, where namespaces cannot be made.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let (host, ()) = make_network_namespace(|| Ok(())).unwrap();
        let (outside, ()) = make_network_namespace(|| Ok(())).unwrap();
        move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let lab = Self { outside, directory: tempfile::tempdir().unwrap() };
        let peer = lab.outside_path();
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", &peer]);
        run("ip", &["address", "add", "198.51.100.1/24", "dev", "wan0"]);
        run("ip", &["link", "set", "wan0", "up"]);
        lab.run_outside("ip", &["address", "add", "198.51.100.2/24", "dev", "eth0"]);
        lab.run_outside("ip", &["link", "set", "eth0", "up"]);
        Some(lab)
    }

    fn outside_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.outside.as_raw_fd())
    }

    pub(crate) fn run_outside(&self, tool: &str, arguments: &[&str]) -> String {
        let namespace = format!("--net={}", self.outside_path());
        run("nsenter", &[&[namespace.as_str(), tool], arguments].concat())
    }

    /// Makes the host one without br_netfilter: rules see nothing of what passes between the ports
    /// of a bridge, and nobody can ask for it.
    pub(crate) fn forget_bridge_filter(&self) {
        const CLONE_NEWNS: u64 = 0x0002_0000;
        const SETTINGS: &str = "/proc/sys/net/bridge";
        if !Path::new(SETTINGS).exists() {
            return;
        }
        for tables in ["iptables", "ip6tables", "arptables"] {
            std::fs::write(format!("{SETTINGS}/bridge-nf-call-{tables}"), "0").unwrap();
        }
        linux::namespace::unshare(CLONE_NEWNS).unwrap();
        run("mount", &["--make-rprivate", "/"]);
        run("mount", &["-t", "tmpfs", "none", SETTINGS]);
    }

    /// The directory that holds the data-root and the exec-root.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn config(&self) -> Config {
        let path = self.root();
        Config {
            ready_sandboxes: 1,
            watch: false,
            ..Config::new(path.join("data"), path.join("exec"))
        }
    }

    pub(crate) fn open(&self) -> Network {
        Network::open(self.config()).unwrap()
    }
}

/// A container as far as networks go: a namespace.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) namespace: OwnedFd,
}

impl Container {
    /// Starts one in the default network with these ports, in the words of `-p`.
    pub(crate) fn start(network: &Network, id: &str, ports: &[&str]) -> Self {
        Self::try_start(network, id, ports).unwrap()
    }

    pub(crate) fn try_start(
        network: &Network,
        id: &str,
        ports: &[&str],
    ) -> Result<Self, network::Error> {
        let sandbox = network.create_sandbox(id)?;
        let namespace = std::fs::File::open(&sandbox.netns_path).unwrap().into();
        let endpoint = network.connect(id, "bridge", &request(id, ports))?;
        links_carry();
        Ok(Self { id: id.to_owned(), endpoint, namespace })
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.endpoint.ip.unwrap()
    }

    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        listen(&self.namespace, port)
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let path = format!("--net=/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd());
        run("nsenter", &[&[path.as_str(), tool], arguments].concat())
    }
}

/// The process that keeps a container's namespace after its network's owner is gone.
pub(crate) struct Init(Child);

impl Init {
    pub(crate) fn start(network: &Network, id: &str) -> Self {
        let path = format!("--net={}", network.sandbox(id).unwrap().netns_path.display());
        let child = Command::new("nsenter").args([&path, "sleep", "600"]).spawn().unwrap();
        // It has entered when it runs what it was told to.
        let deadline = Instant::now() + ANSWER;
        let comm = format!("/proc/{}/comm", child.id());
        while std::fs::read_to_string(&comm).unwrap().trim_end() != "sleep" {
            assert!(Instant::now() < deadline, "nsenter does not start");
            std::thread::yield_now();
        }
        Self(child)
    }

    pub(crate) fn live(&self, id: &str) -> Live {
        Live { container_id: id.to_owned(), pid: self.0.id() }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A process of the host, until it is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(tool: &str, arguments: &[&str]) -> Self {
        Self(Command::new(tool).args(arguments).spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + ANSWER;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// Waits until the kernel has made every link ready that was raised: it does so later, and drops
/// what passes in between, a datagram that nobody repeats among it.
pub(crate) fn links_carry() {
    until("links are ready", || {
        let links = run("ip", &["-o", "link", "show"]);
        let rising = |line: &str| line.contains("LOWER_UP") && line.contains("state DOWN");
        !links.lines().any(rising)
    });
}

pub(crate) fn request(name: &str, ports: &[&str]) -> EndpointRequest {
    EndpointRequest {
        container_name: format!("name-of-{name}"),
        ports: ports.iter().map(|port| port_request(port)).collect(),
        ..EndpointRequest::default()
    }
}

/// Reads `[ip:][host[-host]:]container[/protocol]`, an address of IPv6 in brackets.
pub(crate) fn port_request(text: &str) -> PortRequest {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (ip6, ports) = match ports.strip_prefix('[').and_then(|text| text.split_once("]:")) {
        Some((ip, rest)) => (Some(ip), rest),
        None => (None, ports),
    };
    let mut parts: Vec<&str> = ip6.into_iter().collect();
    parts.extend(ports.split(':'));
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    let (host_ip, host_ports, container) = match parts.as_slice() {
        [container] => (None, None, container),
        [host, container] => (None, Some(range(host)), container),
        [ip, host, container] => (Some(ip.parse().unwrap()), Some(range(host)), container),
        _ => panic!("not a port: {text}"),
    };
    PortRequest {
        container_port: container.parse().unwrap(),
        protocol: protocol.parse::<Protocol>().unwrap(),
        host_ip,
        host_ports,
    }
}

pub(crate) fn listen(namespace: &OwnedFd, port: u16) -> TcpListener {
    in_namespace(namespace.as_fd(), || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .unwrap()
        .unwrap()
}

pub(crate) fn udp(namespace: &OwnedFd, port: u16) -> UdpSocket {
    let socket = in_namespace(namespace.as_fd(), || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
        .unwrap()
        .unwrap();
    socket.set_read_timeout(Some(ANSWER)).unwrap();
    socket
}

pub(crate) fn connect_from(namespace: &OwnedFd, ip: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let to = SocketAddr::V4(SocketAddrV4::new(ip, port));
    in_namespace(namespace.as_fd(), || TcpStream::connect_timeout(&to, ANSWER)).unwrap()
}

/// Whether a connection attempt gets no answer at all, or an immediate refusal.
pub(crate) fn is_unreachable(namespace: &OwnedFd, ip: Ipv4Addr, port: u16) -> bool {
    let to = SocketAddr::V4(SocketAddrV4::new(ip, port));
    in_namespace(namespace.as_fd(), || TcpStream::connect_timeout(&to, SILENCE)).unwrap().is_err()
}

/// Accepts the connection that `client` made, checks that bytes pass both ways, and answers whom
/// the server saw.
pub(crate) fn peer_of(server: &TcpListener, mut client: TcpStream) -> IpAddr {
    let (mut accepted, peer) = server.accept().unwrap();
    for stream in [&client, &accepted] {
        stream.set_read_timeout(Some(ANSWER)).unwrap();
    }
    let mut byte = [0];
    client.write_all(b"?").unwrap();
    accepted.read_exact(&mut byte).unwrap();
    accepted.write_all(b"!").unwrap();
    client.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
    peer.ip()
}

pub(crate) fn connect(ip: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::V4(SocketAddrV4::new(ip, port)), ANSWER)
}

/// Runs a tool on the host and answers its output; panics when it fails.
pub(crate) fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// Everything of ours on the host, as `ip` and `nft` show it.
pub(crate) fn leftovers() -> (usize, String) {
    let veths = run("ip", &["-o", "link", "show", "master", "teu0"]).lines().count();
    (veths, run("nft", &["-s", "list", "maps"]))
}
