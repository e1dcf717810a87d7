use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::{Rcode as LibRcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::{A, Aaaa};

use super::*;
use crate::index::NetworkIndex;
use crate::names::{NameEntry, NetworkNames};

const UDP: Client = Client::Udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000));

fn packet(name: &str, kind: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(77);
    let mut builder = builder.question();
    builder.push((Name::<Vec<u8>>::from_chars(name.chars()).unwrap(), kind)).unwrap();
    builder.finish()
}

fn core(entries: Vec<NameEntry>) -> Core {
    let names = NetworkNames { entries, ..NetworkNames::new("n1", "net1") };
    let mut core = Core::new(|| 12345);
    core.view.networks = vec![Arc::new(NetworkIndex::new(&names, "c1"))];
    core.view.upstreams = vec![Upstream { address: [10, 0, 0, 1].into(), on_host: false }];
    core.view.forward = true;
    core.view.forward_single_labels = true;
    core
}

fn web(last: u8) -> NameEntry {
    NameEntry {
        container_id: format!("{last:064}"),
        name: format!("web{last}"),
        aliases: vec!["web".to_owned()],
        ipv4: Some([172, 18, 0, last].into()),
        ..NameEntry::default()
    }
}

fn ask(core: &mut Core, name: &str, kind: Rtype) -> Message<Vec<u8>> {
    let mut output = Vec::new();
    core.query(Instant::now(), UDP, &packet(name, kind), &mut output);
    match output.as_slice() {
        [Output::Reply { client: UDP, bytes }] => Message::from_octets(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn forwards(core: &mut Core, name: &str, kind: Rtype) -> bool {
    let mut output = Vec::new();
    core.query(Instant::now(), UDP, &packet(name, kind), &mut output);
    matches!(output.as_slice(), [Output::Ask { .. }])
}

#[test]
fn names_of_ours_are_answered_by_us() {
    let mut core = core(vec![web(2), web(3)]);
    let answer = ask(&mut core, "WEB2", Rtype::A);
    let address = answer.answer().unwrap().limit_to::<A>().next().unwrap().unwrap().data().addr();
    assert_eq!(address, Ipv4Addr::new(172, 18, 0, 2));
    let answer = ask(&mut core, "web", Rtype::A);
    assert_eq!(answer.header_counts().ancount(), 2);
    let answer = ask(&mut core, "3.0.18.172.in-addr.arpa", Rtype::PTR);
    assert_eq!(answer.header_counts().ancount(), 1);
}

#[test]
fn a_name_without_such_a_record_has_none_but_exists() {
    let mut core = core(vec![web(2)]);
    for kind in [Rtype::AAAA, Rtype::MX, Rtype::TXT] {
        let answer = ask(&mut core, "web", kind);
        let (rcode, count) = (answer.header().rcode(), answer.header_counts().ancount());
        assert_eq!((rcode, count), (LibRcode::NOERROR, 0), "{kind}");
    }
    let both = NameEntry { ipv6: Some("fd00::2".parse().unwrap()), ..web(2) };
    let mut core = self::core(vec![both]);
    let answer = ask(&mut core, "web", Rtype::AAAA);
    assert_eq!(answer.answer().unwrap().limit_to::<Aaaa>().count(), 1);
    assert_eq!(ask(&mut core, "web", Rtype::ANY).header_counts().ancount(), 2);
}

#[test]
fn other_names_are_asked_elsewhere_if_at_all() {
    let mut core = core(vec![web(2)]);
    assert!(forwards(&mut core, "example.com", Rtype::A));
    assert!(forwards(&mut core, "other", Rtype::A));
    assert!(forwards(&mut core, "4.0.18.172.in-addr.arpa", Rtype::PTR));
    core.view.forward_single_labels = false;
    assert_eq!(ask(&mut core, "alone", Rtype::A).header().rcode(), LibRcode::NXDOMAIN);
    assert!(forwards(&mut core, "example.org", Rtype::A));
    assert!(forwards(&mut core, "com", Rtype::NS));
    core.view.forward = false;
    assert_eq!(ask(&mut core, "example.net", Rtype::A).header().rcode(), LibRcode::SERVFAIL);
    assert_eq!(ask(&mut core, "web", Rtype::A).header().rcode(), LibRcode::NOERROR);
}

#[test]
fn an_answer_is_kept_for_its_time_and_comes_back_older() {
    let mut core = core(vec![]);
    let (start, mut output) = (Instant::now(), Vec::new());
    core.query(start, UDP, &packet("example.com", Rtype::A), &mut output);
    let Some(Output::Ask { attempt, bytes, .. }) = output.pop() else { panic!("{output:?}") };
    let asked = Message::from_octets(bytes).unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(&asked, LibRcode::NOERROR).unwrap();
    let question = asked.sole_question().unwrap();
    answer.push((question.qname(), 30, A::from_octets(192, 0, 2, 1))).unwrap();
    core.answer(start, attempt, &answer.finish(), &mut output);
    assert_eq!(output.len(), 2);

    let mut later = |seconds| {
        let mut output = Vec::new();
        let now = start + Duration::from_secs(seconds);
        core.query(now, UDP, &packet("Example.com", Rtype::A), &mut output);
        match output.pop() {
            Some(Output::Reply { bytes, .. }) => {
                let answer = Message::from_octets(bytes).unwrap();
                Some(answer.answer().unwrap().next().unwrap().unwrap().ttl().as_secs())
            }
            _ => None,
        }
    };
    assert_eq!(later(10), Some(20));
    assert_eq!(later(31), None);
    core.upstreams_changed();
    assert_eq!(
        core.cache.get(start, &Query::parse(&packet("example.com", Rtype::A)).unwrap(), 512),
        None
    );
}

#[test]
fn everybody_gets_to_be_the_first() {
    let mut core = core((2..6).map(web).collect());
    core.random = counting;
    let firsts: std::collections::BTreeSet<_> = (0..40)
        .map(|_| {
            let answer = ask(&mut core, "web", Rtype::A);
            answer.answer().unwrap().limit_to::<A>().next().unwrap().unwrap().data().addr()
        })
        .collect();
    assert_eq!(firsts.len(), 4);
}

fn counting() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut mixed = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9);
    mixed = (mixed ^ mixed >> 16).wrapping_mul(0x85eb_ca6b);
    (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35) >> 16
}
