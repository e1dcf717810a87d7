//! Links in text: what is read, and what the other container is told.

use super::*;

#[test]
fn links_are_read_in_every_spelling() {
    for (text, parsed) in [
        ("db", Some(("db", "db"))),
        ("db:store", Some(("db", "store"))),
        ("/db:/web/store", Some(("db", "store"))),
        ("6e5cdeb2d300:a", Some(("6e5cdeb2d300", "a"))),
        ("", None),
        (":", None),
        ("db:", None),
        (":a", None),
        ("db:a:b", None),
        ("db:a b", None),
        ("db:a\nb", None),
    ] {
        assert_eq!(parse(text).ok(), parsed, "{text:?}");
    }
}

fn target(ports: &[&str], env: &[&str]) -> Target {
    let config = ContainerConfig {
        env: env.iter().map(|&entry| entry.to_owned()).collect(),
        hostname: "db-host".to_owned(),
        ..ContainerConfig::default()
    };
    Target {
        alias: "my-db".to_owned(),
        name: "db".to_owned(),
        config: Arc::new(config),
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        address: "172.17.0.2".parse().unwrap(),
    }
}

#[test]
fn a_line_has_alias_host_name_and_name() {
    let mut target = target(&[], &[]);
    assert_eq!(target.line().names, ["my-db", "db-host", "db"]);
    target.alias = "db".to_owned();
    assert_eq!(target.line().names, ["db", "db-host"]);
}

#[test]
fn variables_are_those_of_docker() {
    let target = target(&["53/udp", "5432/tcp"], &["USER=me", "PATH=/bin", "HOME=/", "BARE"]);
    assert_eq!(
        variables("web", &target),
        [
            "MY_DB_PORT=udp://172.17.0.2:53",
            "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
            "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
            "MY_DB_PORT_53_UDP_PORT=53",
            "MY_DB_PORT_53_UDP_PROTO=udp",
            "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
            "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
            "MY_DB_PORT_5432_TCP_PORT=5432",
            "MY_DB_PORT_5432_TCP_PROTO=tcp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_USER=me",
        ]
    );
}

#[test]
fn ports_in_a_row_have_a_start_and_an_end() {
    let variables = variables("web", &target(&["80/tcp", "81/tcp", "82/tcp", "90/tcp"], &[]));
    assert_eq!(
        variables[1..5],
        [
            "MY_DB_PORT_80_TCP_START=tcp://172.17.0.2:80",
            "MY_DB_PORT_80_TCP_PORT_START=80",
            "MY_DB_PORT_82_TCP_END=tcp://172.17.0.2:82",
            "MY_DB_PORT_80_TCP_PORT_END=82",
        ]
    );
}
