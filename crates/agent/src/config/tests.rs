use flags::{Parsed, parse};

use super::*;

fn resolved(line: &[&str]) -> Result<Config> {
    let dir = tempfile::tempdir().expect("a directory");
    let work_dir = format!("--work_dir={}", dir.path().display());
    let known = line.iter().any(|flag| flag.starts_with("--master="));
    let master = (!known).then_some("--master=127.0.0.1:5050");
    let args = master.into_iter().chain([&*work_dir]);
    let args = args.chain(line.iter().copied()).map(str::to_owned);
    match parse(options::TABLE, args, []).expect("known flags") {
        Parsed::Run(values) => Config::new(values),
        other => panic!("{other:?}"),
    }
}

fn config(line: &[&str]) -> Config {
    resolved(line).expect("good flags")
}

#[test]
fn an_agent_listens_at_one_address_and_tells_another() {
    let plain = config(&["--ip=127.0.0.2", "--port=6051"]);
    assert_eq!(plain.listen, plain.address);
    assert_eq!(plain.pid(), "slave(1)@127.0.0.2:6051");
    let told = config(&["--ip=127.0.0.2", "--advertise_ip=10.1.2.3", "--advertise_port=99"]);
    assert_eq!(told.listen.to_string(), "127.0.0.2:5051");
    assert_eq!(told.pid(), "slave(1)@10.1.2.3:99");
    assert_eq!(told.info.port, Some(99));
    assert_eq!(told.host_ip().to_string(), "127.0.0.2", "an executor cannot listen at the other");
    let all = config(&["--ip=0.0.0.0"]);
    assert_eq!(all.listen.to_string(), "0.0.0.0:5051");
    assert_eq!(all.pid(), "slave(1)@127.0.0.1:5051", "the way to the master");
    assert_eq!(all.host_ip().to_string(), "127.0.0.1");
    let asked = config(&["--ip_discovery_command=echo ' 127.0.0.3 '", "--no-hostname_lookup"]);
    assert_eq!(asked.listen.to_string(), "127.0.0.3:5051");
    assert_eq!(asked.info.hostname, "127.0.0.3");
    assert_eq!(config(&["--no-hostname_lookup", "--hostname=h"]).info.hostname, "h");
}

#[test]
fn what_flags_say_is_what_the_agent_works_with() {
    let plain = config(&[]);
    assert_eq!(plain.fetch.cache_dir, plain.work_dir.join("fetch"));
    assert_eq!((plain.fetch.cache_bytes, plain.max_completed_executors), (2 << 30, 150));
    assert!(plain.strict && !plain.limit_swap && plain.environment.is_empty());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("resources");
    let json = r#"[{"name": "cpus", "type": "SCALAR", "scalar": {"value": 24}}]"#;
    std::fs::write(&file, json).expect("a file");
    let given = config(&[
        &format!("--resources={}", file.display()),
        r#"--executor_environment_variables={"A": "b"}"#,
        r#"--domain={"fault_domain": {"region": {"name": "r"}, "zone": {"name": "z"}}}"#,
        "--fetcher_cache_dir=/c",
        "--frameworks_home=/h",
        "--gc_disk_headroom=0.25",
        "--disk_watch_interval=3secs",
        "--max_completed_executors_per_framework=2",
        "--no-strict",
        "--authenticate_http_readonly",
        "--http_credentials=alice s3cret",
        "--credential=bob s3cret",
        "--authentication_timeout_max=9secs",
    ]);
    assert_eq!(given.info.resources[0].scalar.map(|s| s.value), Some(24.0));
    assert_eq!(given.environment.get("A").map(String::as_str), Some("b"));
    let domain = given.info.domain.expect("a domain").fault_domain.expect("of faults");
    assert_eq!((domain.region.name.as_str(), domain.zone.name.as_str()), ("r", "z"));
    assert_eq!(given.fetch.cache_dir.parent(), Some(Path::new("/c")), "one of its own in it");
    assert_eq!(given.fetch.home.as_deref(), Some(Path::new("/h")));
    assert!((given.collection.headroom - 0.25).abs() < 1e-9);
    assert_eq!(given.collection.interval, Duration::from_secs(3));
    assert_eq!(given.max_completed_executors, 2);
    assert!(!given.strict);
    let denied = given.authentication.admit(Some(Realm::ReadOnly), None, 0).expect_err("denied");
    assert_eq!(denied.challenge, "Basic realm=\"mesos-agent-readonly\"");
    let credential = given.credential.expect("a credential");
    assert_eq!((&*credential.principal, &*credential.secret), ("bob", "s3cret"));
    assert_eq!(given.times.authentication.timeout_max, Duration::from_secs(9));
    for secret in ["http_credentials", "credential"] {
        assert_eq!(given.flags[secret], "(not shown)");
    }
}

#[test]
fn executors_are_asked_for_tokens_and_others_for_what_the_flags_say() {
    let key = "--jwt_secret_key=k3y";
    // Tokens may be given out before they are asked for.
    let plain = config(&[key]);
    assert!(plain.executor_key.is_some() && plain.authentication.asking.is_empty());
    assert_eq!(plain.flags["jwt_secret_key"], "(not shown)");
    let challenge = |line: &[&str], realm| {
        let denied = config(line).authentication.admit(Some(realm), None, 0).expect_err("denied");
        denied.challenge
    };
    let executors = "--authenticate_http_executors";
    let bearer = "Bearer realm=\"mesos-agent-executor\"";
    assert_eq!(challenge(&[executors, key], Realm::Executor), bearer);
    let both = [executors, key, "--http_credentials=a b", "--authenticate_http_readwrite"];
    let expected = format!("Basic realm=\"mesos-agent-executor\",{bearer}");
    assert_eq!(challenge(&both, Realm::Executor), expected);
    assert!(challenge(&both, Realm::ReadWrite).contains("Bearer"), "executors call there too");
    let tokens = ["--http_authenticators=jwt", key, "--authenticate_http_readonly"];
    assert_eq!(challenge(&tokens, Realm::ReadOnly), "Bearer realm=\"mesos-agent-readonly\"");
}

#[test]
fn bad_values_name_their_flag() {
    let cases: [(&[&str], &str); 26] = [
        (&["--port=0"], "flag '--port': 0 is no port"),
        (&["--http_heartbeat_interval=0ns"], "'0ns' is no interval"),
        (&["--disk_watch_interval=0secs"], "'0secs' is no interval"),
        (&["--ip=127.0.0.1", "--ip_discovery_command=true"], "exclude each other"),
        (&["--ip_discovery_command=exit 3"], "'exit 3' ended with exit status: 3"),
        (&["--ip_discovery_command=echo x"], "printed 'x', which is no address"),
        (&["--resources=/does/not/exist"], "cannot read /does/not/exist"),
        (&["--executor_environment_variables={\"A\": 1}"], "no JSON object of texts"),
        (&["--fetcher_cache_dir=relative"], "'relative' is no absolute path"),
        (&["--fetcher_cache_size=1000"], "no size"),
        (&["--gc_disk_headroom=1.5"], "a number between 0.0 and 1.0"),
        (&["--default_container_dns={\"docker\": 1}"], "'docker' is no list"),
        (&["--authenticate_http_readonly"], "'--http_credentials': it says who is let in"),
        (&["--master=zk:///p"], "flag '--master': it names no server"),
        (&["--master=:5050"], "flag '--master': ':5050' is neither host:port nor zk://"),
        (&["--master=h:99999"], "flag '--master': 'h:99999' is neither host:port nor zk://"),
        (&["--default_role=/x"], "'--default_role': Role '/x' cannot start with a slash"),
        (&["--domain={}"], "'--domain': it has no 'fault_domain'"),
        (&["--credential=a"], "'--credential': it is neither JSON nor one principal"),
        (&["--authentication_timeout_max=1secs"], "longer than --authentication_timeout_max"),
        (&["--authenticate_http_executors"], "'--jwt_secret_key': it signs the tokens"),
        (&["--authenticate_http_executors", "--http_authenticators=basic"], "add jwt"),
        (&["--http_authenticators=basic,mine"], "'mine' is not available: there are basic and jwt"),
        (&["--jwt_secret_key=/does/not/exist"], "'--jwt_secret_key': cannot read"),
        (&["--firewall_rules=[]"], "'--firewall_rules': the rules are no JSON object"),
        (&["--http_credentials=a b"], "add --authenticate_http_readonly or"),
    ];
    for (line, text) in cases {
        let told = format!("{:#}", resolved(line).expect_err("a bad flag"));
        assert!(told.contains(text), "{told}");
    }
}
