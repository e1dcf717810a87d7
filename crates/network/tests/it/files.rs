//! Generated name files: text in, text out.

use network::{
    DnsOptions, ExtraHost, HostLine, HostsOptions, hostname_file, hosts_file, replace_host_line,
    resolv_conf,
};

fn resolv(host: &str, dns: &DnsOptions) -> Vec<String> {
    let text = resolv_conf(host, dns).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn resolv_conf_is_the_hosts_without_its_loopback() {
    let host = "# by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver ::1\nsearch a.example b.example\noptions edns0 trust-ad\n";
    assert_eq!(
        resolv(host, &DnsOptions::default()),
        ["nameserver 192.0.2.53", "search a.example b.example", "options edns0 trust-ad"]
    );
    assert_eq!(
        resolv("nameserver 127.0.0.1\n", &DnsOptions::default()),
        ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    );
    // A host's own oddities are no reason not to start.
    assert_eq!(
        resolv(
            "nameserver fe80::1%eth0\nnameserver 192.0.2.1\nsearch ~bad good\noptions a=b\n",
            &DnsOptions::default()
        ),
        ["nameserver 192.0.2.1", "search good"]
    );
}

#[test]
fn given_dns_settings_replace_the_hosts_one_by_one() {
    let host = "nameserver 192.0.2.53\nsearch a.example\noptions ndots:2\n";
    let dns = DnsOptions {
        servers: vec!["127.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        search: vec![".".to_owned()],
        options: vec!["timeout:1".to_owned()],
    };
    assert_eq!(
        resolv(host, &dns),
        ["nameserver 127.0.0.1", "nameserver 2001:db8::1", "options timeout:1"]
    );
}

#[test]
fn hosts_names_the_container_and_its_extra_hosts() {
    let extra = [
        ExtraHost::parse("db:192.0.2.9").unwrap(),
        ExtraHost::parse("six=[2001:db8::1]").unwrap(),
        ExtraHost::parse("up:host-gateway").unwrap(),
    ];
    let text = hosts_file(&HostsOptions {
        hostname: "web",
        domainname: "example.org",
        addresses: &["172.17.0.2".parse().unwrap()],
        extra_hosts: &extra,
        neighbours: &[HostLine {
            address: "172.17.0.3".parse().unwrap(),
            names: vec!["store".to_owned(), "db".to_owned()],
        }],
        host_gateway: Some("172.17.0.1".parse().unwrap()),
        without_ipv6: false,
    })
    .unwrap();
    assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
    assert!(
        text.ends_with(
            "192.0.2.9\tdb\n2001:db8::1\tsix\n172.17.0.1\tup\n172.17.0.3\tstore db\n172.17.0.2\tweb.example.org web\n"
        ),
        "{text}"
    );
    for (hostname, domainname, names) in [
        ("web", "", "web"),
        ("web.example.org", "", "web.example.org web"),
        ("web.dc1", "example.org", "web.dc1.example.org web.dc1 web"),
    ] {
        let addresses = ["172.17.0.2".parse().unwrap()];
        let options =
            HostsOptions { hostname, domainname, addresses: &addresses, ..HostsOptions::default() };
        let text = hosts_file(&options).unwrap();
        assert_eq!(text.lines().last(), Some(format!("172.17.0.2\t{names}").as_str()));
    }
    let without = HostsOptions { extra_hosts: &extra, ..HostsOptions::default() };
    assert!(hosts_file(&without).is_err());
    assert_eq!(hostname_file("web").unwrap(), "web\n");
}

#[test]
fn nothing_smuggles_a_line_into_a_file() {
    for name in ["", "a b", "a\nb", "a\tb", "a\u{1b}[2J", "é", "-a", ".", "a\0", &"a".repeat(65)] {
        assert!(hostname_file(name).is_err(), "{name:?}");
    }
    for host in [
        "a\nevil:192.0.2.1",
        "a b:192.0.2.1",
        ":192.0.2.1",
        "a:",
        "a",
        "a:192.0.2.1\n",
        "a:192.0.2.1 evil",
    ] {
        assert!(ExtraHost::parse(host).is_err(), "{host:?}");
    }
    for word in ["a\nnameserver 192.0.2.66", "a b", "", "a\u{7f}"] {
        let word = vec![word.to_owned()];
        let search = DnsOptions { search: word.clone(), ..DnsOptions::default() };
        assert!(resolv_conf("", &search).is_err(), "{word:?}");
        let options = DnsOptions { options: word.clone(), ..DnsOptions::default() };
        assert!(resolv_conf("", &options).is_err(), "{word:?}");
    }
}

#[test]
fn with_a_resolver_the_hosts_options_stay_but_for_ndots() {
    let host = "nameserver 10.0.0.1\nsearch corp.example\noptions timeout:1 ndots:3 edns0\n";
    let generate = |dns: &DnsOptions| network::resolv_conf_of_resolver(host, dns).unwrap();
    let text = generate(&DnsOptions::default());
    for line in ["nameserver 127.0.0.11", "search corp.example", "options timeout:1 edns0 ndots:0"]
    {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    assert!(!text.contains("10.0.0.1"), "{text}");
    let own = DnsOptions { options: vec!["ndots:2".to_owned()], ..DnsOptions::default() };
    assert!(generate(&own).ends_with("options ndots:2\n"));
}

#[test]
fn one_line_of_hosts_is_replaced_by_its_first_name() {
    let text = "127.0.0.1\tlocalhost\n#1.1.1.1 db\n172.17.0.3\tdb host\n172.17.0.4\tdb.old x db\n";
    let line = HostLine {
        address: "172.17.0.9".parse().unwrap(),
        names: vec!["db".to_owned(), "other".to_owned()],
    };
    let changed = replace_host_line(text, "db", Some(&line));
    assert_eq!(changed, text.replace("172.17.0.3\tdb host", "172.17.0.9\tdb other"));
    assert_eq!(replace_host_line(text, "db", None), text.replace("172.17.0.3\tdb host\n", ""));
    assert_eq!(replace_host_line("", "db", Some(&line)), "172.17.0.9\tdb other\n");
}
