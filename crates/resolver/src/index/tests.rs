use super::*;

fn entry(name: &str, last: u8) -> NameEntry {
    NameEntry {
        container_id: format!("{last:064x}"),
        name: name.to_owned(),
        ipv4: Some(Ipv4Addr::new(172, 18, 0, last)),
        ..NameEntry::default()
    }
}

fn names(entries: Vec<NameEntry>) -> NetworkNames {
    NetworkNames { entries, ..NetworkNames::new("n1", "MyNet") }
}

fn last_octets(found: Option<Found>) -> Option<Vec<u8>> {
    found.map(|found| found.ipv4.iter().map(|ip| ip.octets()[3]).collect())
}

#[test]
fn a_container_is_found_by_every_name_it_has() {
    let mut web = entry("Web", 2);
    web.container_id = format!("abcdef012345{:052}", 0);
    web.hostname = Some("www".to_owned());
    web.aliases = vec!["db.example.com".to_owned(), "front.".to_owned(), String::new()];
    let index = NetworkIndex::new(&names(vec![web, entry("other", 3)]), "");
    for name in ["web", "abcdef012345", "www", "db.example.com", "front", "web.mynet", "www.mynet"]
    {
        assert_eq!(last_octets(index.find(name)), Some(vec![2]), "{name}");
    }
    for name in ["we", "webb", "abcdef01234", "", "mynet", ".mynet", "web.mynet.mynet"] {
        assert_eq!(index.find(name), None, "{name}");
    }
}

#[test]
fn an_alias_of_several_leads_to_all() {
    let entries = (2..5).map(|last| NameEntry {
        aliases: vec!["app".to_owned(), "app".to_owned()],
        ..entry(&format!("app{last}"), last)
    });
    let index = NetworkIndex::new(&names(entries.collect()), "");
    assert_eq!(last_octets(index.find("app")), Some(vec![2, 3, 4]));
    assert_eq!(last_octets(index.find("app3")), Some(vec![3]));
}

#[test]
fn a_name_without_such_an_address_is_a_name_nevertheless() {
    let index = NetworkIndex::new(&names(vec![entry("web", 2)]), "");
    let found = index.find("web").unwrap();
    assert!(found.ipv6.is_empty() && !found.ipv4.is_empty());
}

#[test]
fn links_are_seen_by_their_owner_alone_and_first() {
    let mut linker = entry("linker", 2);
    linker.links.insert("Db".to_owned(), entry("", 4).container_id);
    linker.links.insert("gone".to_owned(), "nobody".to_owned());
    // Of a container that did not exist when the link was made.
    linker.links.insert("later".to_owned(), "Postgres".to_owned());
    let own = linker.container_id.clone();
    let names = names(vec![linker, entry("db", 3), entry("postgres", 4)]);
    assert_eq!(last_octets(NetworkIndex::new(&names, &own).find("db")), Some(vec![4]));
    assert_eq!(last_octets(NetworkIndex::new(&names, &own).find("db.mynet")), Some(vec![4]));
    assert_eq!(last_octets(NetworkIndex::new(&names, &own).find("later")), Some(vec![4]));
    assert_eq!(NetworkIndex::new(&names, &own).find("gone"), None);
    assert_eq!(last_octets(NetworkIndex::new(&names, "x").find("db")), Some(vec![3]));
}

#[test]
fn addresses_lead_to_full_names() {
    let web = NameEntry { ipv6: Some("fd00::2".parse().unwrap()), ..entry("web", 2) };
    let index = NetworkIndex::new(&names(vec![web]), "");
    for ip in ["172.18.0.2", "fd00::2"] {
        assert_eq!(index.name_of(ip.parse().unwrap()).as_deref(), Some("web.mynet"));
    }
    assert_eq!(index.name_of("172.18.0.3".parse().unwrap()), None);
}
