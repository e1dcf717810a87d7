use std::net::{IpAddr, Ipv4Addr};

use domain::base::iana::{Class, Rcode as LibRcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ToName as _, Ttl};
use domain::rdata::{A, AllRecordData, Cname, Ptr, Soa};
use proptest::prelude::*;

use super::*;

type Builder = domain::base::message_builder::AdditionalBuilder<Vec<u8>>;

fn query(name: &str, kind: Rtype, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((Name::<Vec<u8>>::from_chars(name.chars()).unwrap(), kind)).unwrap();
    let mut builder: Builder = builder.additional();
    if let Some((bytes, dnssec)) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(bytes);
                opt.set_dnssec_ok(dnssec);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

fn parsed(name: &str, kind: Rtype) -> Query {
    Query::parse(&query(name, kind, None)).unwrap()
}

#[test]
fn queries_are_read_as_others_write_them() {
    let query = Query::parse(&query("WeB.MyNet", Rtype::AAAA, Some((4096, true)))).unwrap();
    assert_eq!((query.id, query.kind(), query.class()), (0x1234, kind::AAAA, CLASS_IN));
    assert_eq!(query.name().as_deref(), Some("web.mynet"));
    assert_eq!(query.udp_limit(), 4096);
    assert_eq!(query.edns, Some(Edns { udp_bytes: 4096, dnssec: true }));
    assert_eq!(parsed("x", Rtype::A).udp_limit(), 512);
    assert_eq!(parsed(".", Rtype::NS).name().as_deref(), Some(""));
}

#[test]
fn what_is_no_query_is_refused_or_dropped() {
    let good = query("web", Rtype::A, None);
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        Query::parse(&packet)
    };
    assert_eq!(Query::parse(&good[..11]), Err(Refusal::Silent));
    assert_eq!(with(2, 0x81), Err(Refusal::Silent));
    let refused = |parsed: Result<Query, Refusal>| match parsed {
        Err(Refusal::Answer(bytes)) => (bytes[0], bytes[1], bytes[3] & 0xf),
        other => panic!("{other:?}"),
    };
    // NOTIFY; no question; a pointer in it; a label beyond the packet.
    assert_eq!(refused(with(2, 0x20)), (0x12, 0x34, 4));
    assert_eq!(refused(with(5, 0)), (0x12, 0x34, 1));
    assert_eq!(refused(with(12, 0xc0)), (0x12, 0x34, 1));
    assert_eq!(refused(with(12, 60)), (0x12, 0x34, 1));
    assert_eq!(refused(Query::parse(&good[..good.len() - 1])), (0x12, 0x34, 1));
}

#[test]
fn answers_of_ours_are_read_by_others() {
    let asked = Query::parse(&query("WEB", Rtype::A, Some((1232, false)))).unwrap();
    let data = [[172, 18, 0, 2], [172, 18, 0, 3]].map(|ip| Data::Address(IpAddr::from(ip)));
    let answer = Message::from_octets(asked.answer(Rcode::OK, 5, &data, 512)).unwrap();
    assert_eq!(answer.header().id(), 0x1234);
    assert!(answer.header().qr() && answer.header().ra() && answer.header().rd());
    assert_eq!(answer.sole_question().unwrap().qname().to_string(), "WEB");
    let records: Vec<_> = answer.answer().unwrap().limit_to::<A>().map(Result::unwrap).collect();
    let addresses: Vec<_> = records.iter().map(|record| record.data().addr()).collect();
    assert_eq!(addresses, [Ipv4Addr::new(172, 18, 0, 2), Ipv4Addr::new(172, 18, 0, 3)]);
    assert!(records.iter().all(|record| record.ttl() == Ttl::from_secs(5)));
    assert!(answer.opt().is_some());

    let asked = parsed("2.0.18.172.in-addr.arpa", Rtype::PTR);
    let data = [Data::Name("web.mynet".to_owned())];
    let answer = Message::from_octets(asked.answer(Rcode::OK, 5, &data, 512)).unwrap();
    let record = answer.answer().unwrap().limit_to::<Ptr<_>>().next().unwrap().unwrap();
    assert_eq!(record.data().ptrdname().to_string(), "web.mynet");

    let nothing = parsed("web", Rtype::AAAA).answer(Rcode::OK, 5, &[], 512);
    let nothing = Message::from_octets(nothing).unwrap();
    assert_eq!(
        (nothing.header().rcode(), nothing.header_counts().ancount()),
        (LibRcode::NOERROR, 0)
    );
}

#[test]
fn a_long_answer_is_cut_at_a_record_and_says_so() {
    let data: Vec<_> = (0..200).map(|last| Data::Address(IpAddr::from([10, 0, 0, last]))).collect();
    let asked = Query::parse(&query("many", Rtype::A, Some((1400, false)))).unwrap();
    for limit in [512, 1400] {
        let bytes = asked.answer(Rcode::OK, 5, &data, limit);
        assert!(bytes.len() <= limit && bytes.len() > limit - 16, "{}", bytes.len());
        let answer = Message::from_octets(bytes).unwrap();
        assert!(answer.header().tc());
        let count = answer.answer().unwrap().limit_to::<A>().map(Result::unwrap).count();
        assert_eq!(count, usize::from(answer.header_counts().ancount()));
        assert!(answer.opt().is_some());
    }
    let whole = Message::from_octets(asked.answer(Rcode::OK, 5, &data, 65535)).unwrap();
    assert_eq!((whole.header().tc(), whole.header_counts().ancount()), (false, 200));
}

/// An upstream's answer to `query`, with an alias, two addresses and compression.
fn upstream_answer(packet: &[u8]) -> Vec<u8> {
    let asked = Message::from_octets(packet).unwrap();
    let builder =
        MessageBuilder::from_target(domain::base::message_builder::TreeCompressor::new(vec![]))
            .unwrap();
    let mut answer = builder.start_answer(&asked, LibRcode::NOERROR).unwrap();
    let owner: Name<Vec<u8>> = asked.sole_question().unwrap().qname().to_name();
    let host = Name::<Vec<u8>>::from_chars("host.example.com".chars()).unwrap();
    answer.push((&owner, Class::IN, Ttl::from_secs(300), Cname::new(&host))).unwrap();
    for last in [1, 2] {
        answer
            .push((&host, Class::IN, Ttl::from_secs(60), A::from_octets(192, 0, 2, last)))
            .unwrap();
    }
    let mut additional = answer.additional();
    if asked.opt().is_some() {
        additional
            .opt(|opt| {
                opt.set_udp_payload_size(4096);
                Ok(())
            })
            .unwrap();
    }
    additional.finish().into_target()
}

#[test]
fn answers_of_others_are_passed_on_with_their_age() {
    let first = Query::parse(&query("www.Example.com", Rtype::A, Some((1232, false)))).unwrap();
    let forwarded = first.forwarded(0xbeef);
    let asked = Message::from_octets(&forwarded).unwrap();
    assert_eq!((asked.header().id(), asked.header().rd()), (0xbeef, true));
    assert_eq!(asked.sole_question().unwrap().qname().to_string(), "www.Example.com");
    let bytes = upstream_answer(&forwarded);
    let answer = Answer::parse(&bytes, &first, 0xbeef).unwrap();
    assert_eq!((answer.ttl, answer.rcode, answer.truncated), (60, Rcode::OK, false));

    // Another client spells it otherwise and comes later.
    let mut packet = query("WWW.example.COM", Rtype::A, Some((1232, false)));
    packet[0] = 0x77;
    let second = Query::parse(&packet).unwrap();
    assert_eq!(first.key(), second.key());
    let passed = Message::from_octets(second.pass_on(&answer, 40, 1232)).unwrap();
    assert_eq!(passed.header().id(), 0x7734);
    assert_eq!(passed.sole_question().unwrap().qname().to_string(), "WWW.example.COM");
    let ttls: Vec<_> =
        passed.answer().unwrap().map(|record| record.unwrap().ttl().as_secs()).collect();
    assert_eq!(ttls, [260, 20, 20]);
    let old = Message::from_octets(second.pass_on(&answer, 400, 1232)).unwrap();
    assert!(old.answer().unwrap().all(|record| record.unwrap().ttl().as_secs() == 0));
    let cut = Message::from_octets(second.pass_on(&answer, 0, 60)).unwrap();
    assert!(cut.header().tc() && cut.opt().is_some());
    assert_eq!(cut.header_counts().ancount(), 0);
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let query = parsed("www.example.com", Rtype::A);
    let bytes = upstream_answer(&query.forwarded(7));
    assert!(Answer::parse(&bytes, &query, 7).is_some());
    assert!(Answer::parse(&bytes, &query, 8).is_none());
    assert!(Answer::parse(&bytes, &parsed("www.example.org", Rtype::A), 7).is_none());
    assert!(Answer::parse(&bytes, &parsed("www.example.com", Rtype::AAAA), 7).is_none());
    assert!(Answer::parse(&query.forwarded(7), &query, 7).is_none());
    assert!(Answer::parse(&bytes[..bytes.len() - 1], &query, 7).is_none());
    // The same, but said to be cut: then it counts.
    let mut cut = bytes[..bytes.len() - 1].to_vec();
    cut[2] |= 0x02;
    assert!(Answer::parse(&cut, &query, 7).unwrap().truncated);
}

#[test]
fn nothing_is_kept_as_long_as_its_zone_says() {
    let query = parsed("nosuch.example.com", Rtype::A);
    let forwarded = query.forwarded(7);
    let asked = Message::from_octets(&forwarded).unwrap();
    let answer = MessageBuilder::new_vec().start_answer(&asked, LibRcode::NXDOMAIN).unwrap();
    let bare = answer.clone().finish();
    assert_eq!(Answer::parse(&bare, &query, 7).unwrap().ttl, 0);
    let mut authority = answer.authority();
    let zone = Name::<Vec<u8>>::from_chars("example.com".chars()).unwrap();
    let [a, b, c, minimum] = [3600, 600, 86400, 30].map(Ttl::from_secs);
    let soa = Soa::new(zone.clone(), zone.clone(), 1.into(), a, b, c, minimum);
    authority.push((zone, Class::IN, Ttl::from_secs(900), soa)).unwrap();
    let answer = Answer::parse(&authority.finish(), &query, 7).unwrap();
    assert_eq!((answer.ttl, answer.rcode), (30, Rcode::NO_SUCH_NAME));
}

#[test]
fn reversed_addresses_are_read() {
    for (name, ip) in [
        ("2.0.18.172.in-addr.arpa", Some("172.18.0.2")),
        ("02.0.18.172.in-addr.arpa", None),
        ("0.18.172.in-addr.arpa", None),
        ("1.2.0.18.172.in-addr.arpa", None),
        ("256.0.18.172.in-addr.arpa", None),
        ("web", None),
        (
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            Some("fd00::1"),
        ),
        ("1.0.ip6.arpa", None),
    ] {
        assert_eq!(reversed(name), ip.map(|ip| ip.parse().unwrap()), "{name}");
    }
}

proptest! {
    #[test]
    fn no_packet_is_too_strange(packet in prop::collection::vec(any::<u8>(), 0..600), id: u16) {
        if let Ok(query) = Query::parse(&packet) {
            let _ = (query.name(), query.key(), query.kind(), query.class());
            let forwarded = query.forwarded(id);
            // What we pass on, others can read.
            let asked = Message::from_octets(&forwarded).unwrap();
            prop_assert!(asked.sole_question().is_ok());
        }
        let query = Query::parse(&query("web.example.com", Rtype::A, None)).unwrap();
        if let Some(answer) = Answer::parse(&packet, &query, id) {
            let _ = query.pass_on(&answer, 9, 512);
        }
    }

    /// Bytes that look right for long: every prefix and every single change of a good answer.
    #[test]
    fn no_answer_is_too_strange(at in 0_usize..200, byte: u8, length in 0_usize..200) {
        let query = Query::parse(&query("web.example.com", Rtype::A, Some((1232, true)))).unwrap();
        let mut bytes = upstream_answer(&query.forwarded(1));
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len().min(length.max(1)));
        if let Some(answer) = Answer::parse(&bytes, &query, 1) {
            let passed = query.pass_on(&answer, 3, 1232);
            prop_assert_eq!(passed.len(), bytes.len());
        }
    }

    #[test]
    fn names_are_the_same_to_both(labels in prop::collection::vec("[a-zA-Z0-9_-]{1,63}", 1..4)) {
        let name = labels.join(".");
        prop_assume!(name.len() < 250);
        let asked = parsed(&name, Rtype::PTR);
        prop_assert_eq!(asked.name().unwrap(), name.to_ascii_lowercase());
        let bytes = asked.answer(Rcode::OK, 1, &[Data::Name(name.clone())], 65535);
        let answer = Message::from_octets(bytes).unwrap();
        let record = answer.answer().unwrap().limit_to::<Ptr<_>>().next().unwrap().unwrap();
        prop_assert_eq!(record.data().ptrdname().to_string(), name);
        let all = answer.answer().unwrap().map(|record| {
            record.unwrap().into_any_record::<AllRecordData<_, _>>().is_ok()
        });
        prop_assert!(all.into_iter().all(|is_good| is_good));
    }
}
