//! Names: queries from inside the container's network, answered while no daemon is there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::A;
use linux::process::Pidfd;
use resolver::{NameEntry, NetworkNames, RESOLVER_FILE, ResolverConfig, write_atomically};
use runtime::shim::protocol::{Empty, Request};
use serde_json::json;

use crate::harness::{Container, can_run};

const PATIENCE: Duration = Duration::from_secs(20);

/// A container in a network of its own, with names.
struct Named {
    container: Container,
    network: OwnedFd,
    names: NetworkNames,
}

impl Named {
    fn new(args: &[&str]) -> Self {
        let make = || linux::netlink::make_network_namespace(linux::namespace::loopback_up);
        let (network, ()) = std::thread::spawn(make).join().unwrap().unwrap();
        let mut container = Container::new(args);
        let path = format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
        container.spec["linux"]["namespaces"][1] = json!({"type": "network", "path": path});
        std::fs::write(
            container.directory.join("lower/etc/resolv.conf"),
            "nameserver 127.0.0.11\noptions ndots:0\n",
        )
        .unwrap();
        let names = NetworkNames::new("n1", "mynet");
        let named = Self { container, network, names };
        named.write_names();
        named.write_config(&["127.0.0.2"]);
        named
    }

    fn write_names(&self) {
        write_atomically(&self.container.directory.join("names.json"), &self.names).unwrap();
    }

    fn write_config(&self, upstreams: &[&str]) {
        let config = ResolverConfig {
            version: ResolverConfig::VERSION,
            container_id: self.container.config.container_id.clone(),
            networks: vec![self.container.directory.join("names.json")],
            upstreams: upstreams.iter().map(|ip| ip.parse().unwrap()).collect(),
            forward: true,
            forward_single_labels: true,
        };
        write_atomically(&self.container.bundle.join(RESOLVER_FILE), &config).unwrap();
    }

    fn add(&mut self, name: &str, aliases: &[&str], ip: [u8; 4]) {
        self.names.entries.push(NameEntry {
            container_id: format!("{:064x}", self.names.entries.len()),
            name: name.to_owned(),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            ipv4: Some(Ipv4Addr::from(ip)),
            ..NameEntry::default()
        });
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        linux::namespace::in_namespace(self.network.as_fd(), work).unwrap()
    }

    /// Asks as a program in the container would.
    fn ask(&self, name: &str) -> Message<Vec<u8>> {
        self.inside(|| {
            let socket = client();
            socket.send(&query(name)).unwrap();
            receive(&socket)
        })
    }

    fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        addresses(&self.ask(name))
    }

    /// The pid of the process that answers.
    fn resolver(&self) -> u32 {
        let shim = self.container.shim_pid();
        let children =
            std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
        let is_resolver = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(9).any(|part| part == b"--resolve"))
        };
        children.split_whitespace().map(|pid| pid.parse().unwrap()).find(is_resolver).unwrap()
    }
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect("127.0.0.11:53").unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Message<Vec<u8>> {
    let mut buffer = vec![0; 65535];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    Message::from_octets(buffer).unwrap()
}

fn query(name: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(4242);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((Name::<Vec<u8>>::from_chars(name.chars()).unwrap(), Rtype::A)).unwrap();
    builder.finish()
}

fn addresses(answer: &Message<Vec<u8>>) -> Vec<Ipv4Addr> {
    assert_eq!(answer.header().id(), 4242);
    let records = answer.answer().unwrap().limit_to::<A>();
    records.map(|record| record.unwrap().data().addr()).collect()
}

#[test]
fn names_resolve_whatever_becomes_of_who_answers() {
    if !can_run() {
        return;
    }
    let mut named = Named::new(&["sleep", "600"]);
    named.add("web", &["www"], [172, 18, 0, 2]);
    named.write_names();
    named.container.start().unwrap();
    // Nobody has asked yet, and nobody is there to answer.
    for name in ["web", "WWW", "web.mynet", "000000000000"] {
        assert_eq!(named.addresses(name), [Ipv4Addr::new(172, 18, 0, 2)], "{name}");
    }
    let first = named.resolver();
    Pidfd::open(first).unwrap().kill().unwrap();
    named.add("late", &[], [172, 18, 0, 3]);
    named.write_names();
    assert_eq!(named.addresses("late"), [Ipv4Addr::new(172, 18, 0, 3)]);
    assert_ne!(named.resolver(), first);
    // A container sees nothing of it, and its port 53 is its own.
    let (code, output) =
        named.container.exec("e1", &["busybox", "nslookup", "-type=a", "late"]).unwrap();
    assert!(code == 0 && output.contains("172.18.0.3"), "{code} {output}");
    named.inside(|| drop(UdpSocket::bind("0.0.0.0:53").unwrap()));

    let resolver = Pidfd::open(named.resolver()).unwrap();
    named.container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    named.container.wait();
    assert!(has_ended(&resolver));
}

fn has_ended(process: &Pidfd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) == Ok(1)
}

#[test]
fn a_running_container_gets_names_when_asked_to() {
    if !can_run() {
        return;
    }
    let mut named = Named::new(&["sleep", "600"]);
    let config = named.container.bundle.join(RESOLVER_FILE);
    std::fs::remove_file(&config).unwrap();
    named.container.start().unwrap();
    let refused = named.inside(|| {
        let socket = client();
        socket.send(&query("web")).unwrap();
        socket.recv(&mut [0; 512]).unwrap_err()
    });
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    named.add("web", &[], [172, 18, 0, 2]);
    named.write_names();
    named.write_config(&[]);
    for _ in 0..2 {
        named.container.request::<Empty>(&Request::ServeNames).unwrap();
    }
    assert_eq!(named.addresses("web"), [Ipv4Addr::new(172, 18, 0, 2)]);
}

#[test]
fn a_thousand_names_fit_and_long_answers_come_over_tcp() {
    if !can_run() {
        return;
    }
    let mut named = Named::new(&["sleep", "600"]);
    for number in 0..1000_u16 {
        let [high, low] = number.to_be_bytes();
        named.add(&format!("c{number}"), &["all"], [10, 1, high, low]);
    }
    named.write_names();
    named.container.start().unwrap();
    for number in [0_u16, 1, 500, 999] {
        let [high, low] = number.to_be_bytes();
        assert_eq!(named.addresses(&format!("c{number}")), [Ipv4Addr::new(10, 1, high, low)]);
    }
    let short = named.ask("all");
    assert!(short.header().tc() && short.as_slice().len() <= 512);
    let long = named.inside(|| {
        let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let query = query("all");
        // Two at once, the second in pieces.
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        let both = [&length, query.as_slice(), &length, query.as_slice()].concat();
        let (first, second) = both.split_at(both.len() - 5);
        stream.write_all(first).unwrap();
        let mut answers = Vec::new();
        for rest in [second, &[]] {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            answers.push(Message::from_octets(answer).unwrap());
            stream.write_all(rest).unwrap();
        }
        answers
    });
    assert_eq!(long.iter().map(|it| addresses(it).len()).collect::<Vec<_>>(), [1000, 1000]);
    assert_ne!(addresses(&long[0]), addresses(&long[1]));
}

#[test]
fn other_names_are_asked_of_whoever_answers() {
    if !can_run() {
        return;
    }
    let mut named = Named::new(&["sleep", "600"]);
    // Nobody is at the first address; at the second, nobody ever answers.
    named.write_config(&["127.0.0.9", "127.0.0.3", "127.0.0.2"]);
    let (good, mute) = named.inside(|| {
        let bind = |ip: &str| UdpSocket::bind((ip, 53)).unwrap();
        (bind("127.0.0.2"), bind("127.0.0.3"))
    });
    named.container.start().unwrap();
    let upstream = std::thread::spawn(move || {
        good.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 1024];
        let (length, from) = good.recv_from(&mut buffer).unwrap();
        let asked = Message::from_octets(&buffer[..length]).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&asked, Rcode::NOERROR).unwrap();
        let question = asked.sole_question().unwrap();
        answer.push((question.qname(), 60, A::from_octets(192, 0, 2, 7))).unwrap();
        good.send_to(&answer.finish(), from).unwrap();
    });
    assert_eq!(named.addresses("www.example.com"), [Ipv4Addr::new(192, 0, 2, 7)]);
    upstream.join().unwrap();
    // From now on the answer is kept: nobody is there to give it again.
    assert_eq!(named.addresses("www.EXAMPLE.com"), [Ipv4Addr::new(192, 0, 2, 7)]);
    drop(mute);
    let failed = named.ask("other.example.com");
    assert_eq!(failed.header().rcode(), Rcode::SERVFAIL);
}

#[test]
fn the_hosts_own_resolver_is_asked_in_the_hosts_network() {
    if !can_run() {
        return;
    }
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut named = Named::new(&["sleep", "600"]);
    named.write_config(&[]);
    named.container.start().unwrap();
    named.add("web", &[], [172, 18, 0, 2]);
    named.write_names();
    // Whatever the host's is, and whether it can be reached from a network without a way out: ours
    // are not delayed, others are answered in time.
    let answer = named.inside(|| {
        let socket = client();
        socket.send(&query("nosuch.invalid")).unwrap();
        socket.send(&query("web")).unwrap();
        let first = receive(&socket);
        let second = receive(&socket);
        [first, second]
    });
    let found: Vec<_> = answer.iter().flat_map(addresses).collect();
    assert_eq!(found, [Ipv4Addr::new(172, 18, 0, 2)], "{host}");
    let pid = named.resolver();
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(network(&pid.to_string()), network("self"));
    // It has no right that its user id does not give, in any of its threads.
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{status}");
        }
    }
}
