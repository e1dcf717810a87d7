use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;

/// A forwarder in a world of its own time, with upstreams 1, 2, 3.
struct World {
    forwarder: Forwarder,
    now: Instant,
    output: Vec<Output>,
    upstreams: Vec<Upstream>,
}

fn upstream(last: u8) -> Upstream {
    Upstream { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), on_host: false }
}

fn client(port: u16) -> Client {
    Client::Udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

fn query(name: &str) -> Query {
    let mut packet = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    Query::parse(&packet).unwrap()
}

/// What an upstream says.
#[derive(Clone, Copy)]
enum Says {
    Address,
    NoSuchName,
    Refused,
}

fn answer(question: &[u8], says: Says) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80;
    match says {
        Says::Address => {
            bytes[7] = 1;
            bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        }
        Says::NoSuchName => bytes[3] |= 3,
        Says::Refused => bytes[3] |= 5,
    }
    bytes
}

impl World {
    fn new(count: u8) -> Self {
        let upstreams = (1..=count).map(upstream).collect();
        let forwarder = Forwarder::new(|| 0x5a5a);
        Self { forwarder, now: Instant::now(), output: Vec::new(), upstreams }
    }

    fn ask(&mut self, port: u16, name: &str) {
        let (now, output) = (self.now, &mut self.output);
        self.forwarder.ask(now, client(port), query(name), &self.upstreams, output);
    }

    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(due) = self.forwarder.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.forwarder.tick(self.now, &mut self.output);
        }
        self.now = end;
    }

    /// Attempts and whom they are for, since the last look.
    fn asked(&mut self) -> Vec<(u64, u8, Vec<u8>)> {
        let mut asked = Vec::new();
        self.output.retain(|output| match output {
            Output::Ask { attempt, upstream, bytes, .. } => {
                let IpAddr::V4(ip) = upstream.address else { panic!() };
                asked.push((*attempt, ip.octets()[3], bytes.clone()));
                false
            }
            Output::Forget { .. } => false,
            Output::Reply { .. } => true,
        });
        asked
    }

    fn whom(&mut self) -> Vec<u8> {
        self.asked().into_iter().map(|(_, whom, _)| whom).collect()
    }

    fn says(&mut self, (attempt, _, question): &(u64, u8, Vec<u8>), says: Says) {
        let bytes = answer(question, says);
        self.forwarder.answer(self.now, *attempt, &bytes, &mut self.output);
    }

    /// Ports of clients that got a reply, with its code.
    fn replies(&mut self) -> Vec<(u16, u8)> {
        let mut replies = Vec::new();
        self.output.retain(|output| match output {
            Output::Reply { client: Client::Udp(address), bytes } => {
                replies.push((address.port(), bytes[3] & 0xf));
                false
            }
            _ => true,
        });
        replies
    }

    fn is_at_rest(&self) -> bool {
        self.forwarder.flights.is_empty()
            && self.forwarder.by_key.is_empty()
            && self.forwarder.attempts.is_empty()
    }
}

#[test]
fn the_first_is_asked_and_his_answer_is_the_answer() {
    let mut world = World::new(3);
    world.ask(1, "a.example");
    let asked = world.asked();
    assert_eq!(asked.len(), 1);
    world.says(&asked[0], Says::Address);
    assert_eq!(world.replies(), [(1, 0)]);
    assert!(world.is_at_rest());
    assert_eq!(world.forwarder.due(), None);
}

#[test]
fn a_dead_first_one_costs_the_first_question_only() {
    let mut world = World::new(2);
    world.ask(1, "a.example");
    world.pass(150);
    assert_eq!(world.whom(), [1]);
    world.pass(100);
    let asked = world.asked();
    assert_eq!(asked[0].1, 2);
    world.says(&asked[0], Says::Address);
    assert_eq!(world.replies(), [(1, 0)]);
    // He is known to be dead once he has had his time.
    world.pass(2000);
    assert!(world.is_at_rest());
    world.ask(2, "b.example");
    let asked = world.asked();
    assert_eq!(asked.iter().map(|it| it.1).collect::<Vec<_>>(), [2]);
    world.says(&asked[0], Says::Address);
    // Later he is tried beside the other, and when he answers he is the first again.
    world.pass(6000);
    world.ask(3, "c.example");
    let asked = world.asked();
    assert_eq!(asked.iter().map(|it| it.1).collect::<Vec<_>>(), [2, 1]);
    world.says(&asked[1], Says::Address);
    world.ask(4, "d.example");
    assert_eq!(world.whom(), [1]);
}

#[test]
fn who_cannot_be_reached_is_passed_over_at_once() {
    let mut world = World::new(2);
    world.ask(1, "a.example");
    let asked = world.asked();
    world.forwarder.failed(world.now, asked[0].0, &mut world.output);
    let asked = world.asked();
    assert_eq!(asked[0].1, 2);
    world.forwarder.failed(world.now, asked[0].0, &mut world.output);
    assert_eq!(world.replies(), [(1, 2)]);
    assert!(world.is_at_rest());
}

#[test]
fn a_refusal_is_given_when_nobody_has_better() {
    let mut world = World::new(2);
    world.ask(1, "a.example");
    let asked = world.asked();
    world.says(&asked[0], Says::Refused);
    let asked = world.asked();
    world.says(&asked[0], Says::Refused);
    assert_eq!(world.replies(), [(1, 5)]);
    world.ask(1, "a.example");
    let asked = world.asked();
    assert_eq!(asked[0].1, 1);
    world.says(&asked[0], Says::Refused);
    let asked = world.asked();
    world.says(&asked[0], Says::Address);
    assert_eq!(world.replies(), [(1, 0)]);
}

#[test]
fn a_later_ones_no_waits_for_the_earlier() {
    let mut world = World::new(2);
    world.ask(1, "intranet.corp");
    let first = world.asked();
    world.pass(250);
    let second = world.asked();
    world.says(&second[0], Says::NoSuchName);
    assert_eq!(world.replies(), []);
    world.says(&first[0], Says::Address);
    assert_eq!(world.replies(), [(1, 0)]);

    // But not for ever.
    world.ask(2, "nosuch.corp");
    world.asked();
    world.pass(250);
    let second = world.asked();
    world.says(&second[0], Says::NoSuchName);
    world.pass(700);
    assert_eq!(world.replies(), []);
    world.pass(100);
    assert_eq!(world.replies(), [(2, 3)]);

    // The first one's own no is enough.
    world.pass(5000);
    world.upstreams.push(upstream(3));
    world.forwarder.silent.clear();
    world.ask(3, "nosuch.corp");
    let first = world.asked();
    world.pass(250);
    world.says(&first[0], Says::NoSuchName);
    assert_eq!(world.replies(), [(3, 3)]);
}

#[test]
fn silence_ends_in_failure_before_the_client_gives_up() {
    let mut world = World::new(1);
    world.ask(1, "a.example");
    world.pass(4400);
    assert_eq!(world.whom(), [1, 1, 1]);
    assert_eq!(world.replies(), []);
    world.pass(100);
    assert_eq!(world.replies(), [(1, 2)]);
    world.pass(2000);
    assert!(world.is_at_rest());
}

#[test]
fn one_question_is_asked_once_for_all_who_ask_it() {
    let mut world = World::new(1);
    for port in 1..=3 {
        world.ask(port, if port == 2 { "A.example" } else { "a.EXAMPLE" });
    }
    let asked = world.asked();
    assert_eq!(asked.len(), 1);
    world.says(&asked[0], Says::Address);
    assert_eq!(world.replies(), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn forged_answers_change_nothing() {
    let mut world = World::new(1);
    world.ask(1, "a.example");
    let asked = world.asked();
    let (attempt, whom, mut question) = asked[0].clone();
    question[0] ^= 1;
    world.says(&(attempt, whom, question.clone()), Says::Address);
    world.says(&(attempt + 1, whom, question), Says::Address);
    assert_eq!(world.replies(), []);
    world.says(&asked[0], Says::Address);
    assert_eq!(world.replies(), [(1, 0)]);
}

#[test]
fn a_flood_of_questions_is_refused_not_queued() {
    let mut world = World::new(1);
    for number in 0..600 {
        world.ask(number, &format!("x{number}.example"));
    }
    assert_eq!(world.asked().len(), FLIGHTS_MAX);
    assert_eq!(world.replies().len(), 600 - FLIGHTS_MAX);
    world.pass(10_000);
    assert_eq!(world.replies().len(), FLIGHTS_MAX);
    assert!(world.is_at_rest());
}
