//! What is broken on purpose is named.

use network::{Finding, Level};

use crate::lab::{Container, Init, Lab, Process, run};

fn problems(findings: Vec<Finding>) -> Vec<String> {
    let problems = findings.into_iter().filter(|finding| finding.level == Level::Problem);
    problems.map(|finding| finding.text).collect()
}

#[test]
fn a_healthy_host_has_no_problem_and_a_sick_one_is_told() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    assert_eq!(problems(network.examine_host()), [] as [&str; 0]);
    assert_eq!(problems(network.examine_network("bridge").unwrap()), [] as [&str; 0]);

    run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=0"]);
    run("nft", &["add", "table", "ip", "filter"]);
    let chain = "{ type filter hook forward priority 0; policy drop; }";
    run("nft", &["add", "chain", "ip", "filter", "FORWARD", chain]);
    run("nft", &["flush", "chain", "inet", "teu", "forward"]);
    run("ip", &["link", "set", "teu0", "down"]);
    run("ip", &["route", "add", "172.16.0.0/12", "via", "198.51.100.2"]);
    let found = problems(network.examine_host()).join("; ");
    for text in ["ip_forward is 0", "table inet teu are not what", "FORWARD of table ip filter"] {
        assert!(found.contains(text), "{found}");
    }
    run("nft", &["add", "table", "inet", "firewalld"]);
    run("nft", &["add", "chain", "inet", "firewalld", "filter_FORWARD"]);
    let told = network.examine_host();
    let about = |finding: &Finding| finding.text.contains("--add-interface=teu0 lets them out");
    assert!(told.iter().any(|it| it.level == Level::Note && about(it)), "{told:?}");
    let found = problems(network.examine_network("bridge").unwrap()).join("; ");
    for text in ["bridge teu0 is down", "clashes with 172.16.0.0/12, which is reached by wan0"] {
        assert!(found.contains(text), "{found}");
    }
}

#[test]
fn a_containers_trouble_is_told_from_both_ends() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let container = Container::start(&network, "c1", &["8080:80"]);
    let init = Init::start(&network, "c1");
    let pid = init.live("c1").pid;
    let examine = || problems(network.examine_container("c1", "web", pid));
    assert_eq!(examine(), ["nobody in it listens on 80/tcp, published as 8080"]);
    let server = container.listen(80);
    assert_eq!(examine(), [] as [&str; 0]);

    container.run("ip", &["route", "del", "default"]);
    run("ip", &["link", "set", container.endpoint.host_interface.as_deref().unwrap(), "nomaster"]);
    let found = examine().join("; ");
    for text in ["default route is missing", "is not a port of teu0"] {
        assert!(found.contains(text), "{found}");
    }
    container.run("ip", &["address", "flush", "dev", "eth0"]);
    assert!(examine().join("; ").contains("eth0 has lost the address 172.17.0.2"));
    container.run("ip", &["link", "delete", "eth0"]);
    let found = examine().join("; ");
    assert!(found.contains("interface eth0 in network bridge is missing"), "{found}");
    drop(server);
}

#[test]
fn a_published_port_that_another_process_has_is_named() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.open();
    let container = Container::start(&network, "c1", &["8080:80"]);
    let init = Init::start(&network, "c1");
    let live = init.live("c1");
    let server = container.listen(80);
    // While no daemon runs, and no shim keeps it.
    drop(network);
    let thief = Process::start("busybox", &["nc", "-l", "-p", "8080"]);
    // 8080 in the kernel's spelling.
    let tables = ["tcp", "tcp6"].map(|table| format!("/proc/thread-self/net/{table}"));
    let listens = |table: &String| std::fs::read_to_string(table).unwrap().contains(":1F90 ");
    crate::lab::until("it listens", || tables.iter().any(listens));
    let network = lab.open();
    network.reconcile(std::slice::from_ref(&live)).unwrap();
    let found = problems(network.examine_container("c1", "web", live.pid));
    let [text] = found.as_slice() else { panic!("{found:?}") };
    let named = format!("8080/tcp is also bound by process busybox, pid {}", thief.id());
    assert!(text.contains(&named), "{text}");
    drop(server);
}
