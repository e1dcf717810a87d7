use super::*;
use crate::flags::TABLE;

fn resolve(args: &[&str]) -> Result<Options, String> {
    let args = args.iter().map(|arg| (*arg).to_owned());
    let ::flags::Parsed::Run(values) =
        ::flags::parse(TABLE, args, []).map_err(|error| error.to_string())?
    else {
        return Err("not a run".to_owned());
    };
    Options::resolve(&values, "id".to_owned(), 1).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_of_mesos() {
    let options = resolve(&["--ip=127.0.0.1", "--hostname=localhost"]).unwrap();
    assert_eq!(options.core.allocation_interval, Duration::from_secs(1));
    assert_eq!(options.core.min_allocatable.len(), 2);
    assert_eq!(options.core.offer_timeout, None);
    assert_eq!(options.core.registry_max_agent_age, Duration::from_secs(14 * 24 * 3600));
    let info = &options.core.info;
    // As the original told it of itself.
    assert_eq!(info.ip, 16_777_343);
    assert_eq!(info.pid(), "master@127.0.0.1:5050");
    assert_eq!(info.hostname(), "localhost");
}

#[test]
fn what_is_advertised_differs_from_what_is_listened_on() {
    let args = ["--ip=0.0.0.0", "--advertise_ip=10.1.2.3", "--advertise_port=99", "--port=0"];
    let mut options = resolve(&args).unwrap();
    options.settle_port(4711);
    assert_eq!(options.listen, "0.0.0.0:4711".parse().unwrap());
    assert_eq!(options.core.info.pid(), "master@10.1.2.3:99");
    let mut options = resolve(&["--ip=127.0.0.1", "--port=0"]).unwrap();
    options.settle_port(4711);
    assert_eq!(options.core.info.pid(), "master@127.0.0.1:4711");
}

#[test]
fn values_are_read() {
    let options = resolve(&[
        "--roles=a,b",
        "--weights=a=2,b=0.5",
        "--agent_removal_rate_limit=2/10mins",
        "--min_allocatable_resources=cpus:1;mem:64",
        "--offer_timeout=30secs",
        "--registry=in_memory",
    ])
    .unwrap();
    assert_eq!(options.core.roles.as_ref().unwrap().len(), 2);
    assert_eq!(options.core.weights[&Role::from("b")], 0.5);
    assert_eq!(options.core.agent_removal_interval, Some(Duration::from_secs(300)));
    assert_eq!(options.core.min_allocatable.len(), 1);
    assert_eq!(options.work_dir, None);
}

#[test]
fn credentials_are_for_processes_as_well_as_for_http() {
    let options = resolve(&["--credentials=a b", "--authenticate_agents"]).unwrap();
    assert!(options.rules.agents && !options.rules.frameworks);
    assert_eq!(options.rules.credentials, Credentials::parse("a b").unwrap());
    assert_eq!(options.rules.timeout, Duration::from_secs(15));
    // Drivers may have a credential where nobody asks for it.
    let options = resolve(&["--credentials=a b", "--authentication_v0_timeout=1mins"]).unwrap();
    assert_eq!(options.rules.timeout, Duration::from_secs(60));
}

#[test]
fn a_whitelist_is_the_path_of_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a.example\n\n b.example\n").unwrap();
    for prefix in ["", "file://"] {
        let path = format!("--whitelist={prefix}{}", file.path().display());
        let options = resolve(&[&path]).unwrap();
        let hosts = options.core.whitelist.unwrap();
        assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["a.example", "b.example"]);
    }
    assert_eq!(resolve(&["--whitelist=*"]).unwrap().core.whitelist, None, "all hosts");
}

#[test]
fn what_is_not_available_is_refused_with_the_reason() {
    let cases = [
        ("--zk=zk://h", "flag '--zk': it has no path"),
        ("--quorum=2", "flag '--quorum': '2' is not available: one master leads"),
        ("--authenticate_agents", "flag '--credentials': it says who is let in"),
        ("--authenticate_frameworks", "flag '--credentials': it says who is let in"),
        ("--authenticators=mine", "'mine' is not available: crammd5 is the only one"),
        ("--authenticate_http_readonly", "flag '--credentials': it says who is let in"),
        ("--credentials=/nowhere/at/all", "cannot read /nowhere/at/all"),
        ("--http_authenticators=x", "'x' is not available: basic is the only one"),
        ("--whitelist=/nowhere/at/all", "flag '--whitelist': cannot read /nowhere/at/all"),
        ("--rate_limits={\"limits\": 1}", "flag '--rate_limits': 'limits' is no list"),
        ("--firewall_rules=[]", "flag '--firewall_rules': the rules are no JSON object"),
        ("--weights=a", "'a' is not of the form role=weight"),
        ("--weights=a=-1", "the weight of 'a' must be positive"),
        ("--agent_removal_rate_limit=1", "such as 1/10mins"),
        ("--agent_removal_rate_limit=1/0secs", "'0secs' is no time at all"),
        ("--roles=a,/b", "flag '--roles': Role '/b' cannot start with a slash"),
        ("--offer_timeout=0ns", "flag '--offer_timeout': '0ns' is no time at all"),
        ("--agent_ping_timeout=0ns", "'--agent_ping_timeout': '0ns' is not between 1secs and"),
        ("--agent_ping_timeout=16mins", "'16mins' is not between 1secs and 15mins"),
        ("--max_agent_ping_timeouts=0", "flag '--max_agent_ping_timeouts': an agent must miss"),
        ("--domain={}", "flag '--domain': it has no 'fault_domain'"),
        ("--ip=nowhere", "flag '--ip': 'nowhere'"),
        ("--rols=a", "unknown flag '--rols'; near it: --roles"),
    ];
    for (arg, expected) in cases {
        let told = resolve(&[arg]).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }
}
