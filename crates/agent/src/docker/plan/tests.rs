use mesos_api::v1::container_info::docker_info::PortMapping;
use mesos_api::v1::environment::Variable;
use mesos_api::v1::value::{Range, Ranges, Scalar};
use mesos_api::v1::{
    Environment, ExecutorInfo, FrameworkInfo, NetworkInfo, Parameter, TaskInfo, container_info,
};

use super::*;

fn resource(name: &str, value: f64) -> Resource {
    let scalar = Some(Scalar { value });
    Resource { name: name.to_owned(), scalar, ..Resource::default() }
}

fn port_range(begin: u64, end: u64) -> Resource {
    let ranges = Some(Ranges { range: vec![Range { begin, end }] });
    Resource { name: "ports".to_owned(), ranges, ..Resource::default() }
}

fn docker_container(image: &str, network: Network) -> ContainerInfo {
    let mut docker = DockerInfo { image: image.to_owned(), ..DockerInfo::default() };
    docker.set_network(network);
    let mut container = ContainerInfo { docker: Some(docker), ..ContainerInfo::default() };
    container.set_type(container_info::Type::Docker);
    container
}

fn argv(value: &str, arguments: &[&str]) -> CommandInfo {
    CommandInfo {
        shell: Some(false),
        value: Some(value.to_owned()).filter(|v| !v.is_empty()),
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        ..CommandInfo::default()
    }
}

fn shell(value: &str) -> CommandInfo {
    CommandInfo { value: Some(value.to_owned()), ..CommandInfo::default() }
}

fn launch(container: ContainerInfo, command: CommandInfo) -> Launch {
    let task = TaskInfo {
        container: Some(container.into()),
        command: Some(command),
        ..TaskInfo::default()
    };
    Launch {
        framework_id: "f".into(),
        executor_id: "e".into(),
        container_id: "c724".into(),
        framework: FrameworkInfo::default(),
        executor: ExecutorInfo::default(),
        task: Some(task),
        resources: vec![resource("cpus", 0.1), resource("mem", 32.0)],
        role: "*".to_owned(),
        group: None,
    }
}

static NO_DEFAULTS: BTreeMap<String, String> = BTreeMap::new();

fn around() -> Surroundings<'static> {
    static NO_DNS: std::sync::LazyLock<DefaultDns> = std::sync::LazyLock::new(DefaultDns::default);
    Surroundings {
        sandbox: Path::new("/sb"),
        cfs: false,
        host_memory: 1 << 34,
        persistent: Vec::new(),
        shared: BTreeMap::new(),
        defaults: &NO_DEFAULTS,
        environment: BTreeMap::new(),
        dns: &NO_DNS,
        user: None,
        directory: None,
    }
}

fn planned(launch: &Launch) -> String {
    words(launch, &around()).expect("a good task").join(" ")
}

fn refused(launch: &Launch) -> String {
    words(launch, &around()).expect_err("a bad task")
}

#[test]
fn the_walkthroughs_task() {
    let task =
        launch(docker_container("mydocker:v4", Network::Host), argv("/bin/bash", &["/run.sh"]));
    assert_eq!(
        planned(&task),
        "--cpu-shares 102 --memory 33554432 -v /sb:/mnt/mesos/sandbox --net host \
         --name mesos-c724 mydocker:v4 /bin/bash /run.sh"
    );
}

#[test]
fn everything_in_mesos_order() {
    let mut container = docker_container("busybox", Network::Bridge);
    container.hostname = Some("h1".to_owned());
    let volume = |host: Option<&str>, target: &str, mode: volume::Mode| {
        let mut volume = Volume {
            container_path: target.to_owned(),
            host_path: host.map(str::to_owned),
            ..Volume::default()
        };
        volume.set_mode(mode);
        volume
    };
    let mut named = volume(None, "/vol", volume::Mode::Rw);
    let mut from = volume::Source {
        docker_volume: Some(source::DockerVolume {
            driver: Some("rexray".to_owned()),
            name: "v1".to_owned(),
            driver_options: None,
        }),
        ..volume::Source::default()
    };
    from.set_type(source::Type::DockerVolume);
    named.source = Some(from);
    container.volumes = vec![
        volume(Some("/tmp"), "/data", volume::Mode::Ro),
        volume(Some("/var/tmp"), "rel", volume::Mode::Rw),
        named,
    ];
    let docker = container.docker.as_mut().expect("a docker container");
    docker.privileged = Some(true);
    docker.port_mappings = vec![PortMapping {
        host_port: 31000,
        container_port: 80,
        protocol: Some("TCP".to_owned()),
    }];
    docker.parameters = [("ulimit", "nofile=1024"), ("label", "a=b")]
        .map(|(key, value)| Parameter { key: key.to_owned(), value: value.to_owned() })
        .to_vec();
    let mut command = shell("echo hi && sleep 5");
    let variable =
        Variable { name: "FOO".to_owned(), value: Some("b ar".to_owned()), ..Variable::default() };
    command.environment = Some(Environment { variables: vec![variable] });
    let mut task = launch(container, command);
    task.resources = vec![
        resource("cpus", 0.25),
        resource("cpus", 0.1),
        resource("mem", 96.0),
        port_range(31000, 31001),
    ];
    assert_eq!(
        planned(&task),
        "--privileged --cpu-shares 358 --memory 100663296 -e FOO=b ar -v /tmp:/data:ro \
         -v /var/tmp:/mnt/mesos/sandbox/rel:rw -v v1:/vol:rw -v /sb:/mnt/mesos/sandbox \
         --volume-driver=rexray --net bridge --hostname h1 -p 31000:80/tcp --entrypoint /bin/sh \
         --name mesos-c724 --ulimit=nofile=1024 --label=a=b busybox -c echo hi && sleep 5"
    );
}

#[test]
fn commands_in_all_forms() {
    let image = || docker_container("i", Network::Host);
    let tail = |command: CommandInfo| {
        planned(&launch(image(), command)).split_once("mesos-c724 ").expect("a name").1.to_owned()
    };
    assert_eq!(tail(argv("", &[])), "i");
    assert_eq!(tail(argv("", &["a", "b"])), "i a b");
    assert_eq!(tail(argv("run", &["a"])), "i run a");
    assert_eq!(tail(shell("x y")), "i -c x y");
    let bare = CommandInfo { shell: Some(true), ..CommandInfo::default() };
    assert_eq!(refused(&launch(image(), bare)), "Shell specified but no command value provided");
}

#[test]
fn limits_above_requests() {
    let mut task = launch(docker_container("i", Network::Host), argv("x", &[]));
    let limits = &mut task.task.as_mut().expect("a task").limits;
    limits.insert("cpus".to_owned(), Scalar { value: 0.5 });
    limits.insert("mem".to_owned(), Scalar { value: 64.0 });
    assert!(planned(&task).starts_with(
        "--cpu-shares 102 --cpu-quota 50000 --memory-reservation 33554432 --memory 67108864 \
         --oom-score-adj 999 -v"
    ));
    let limits = &mut task.task.as_mut().expect("a task").limits;
    for name in ["cpus", "mem"] {
        limits.insert(name.to_owned(), Scalar { value: f64::INFINITY });
    }
    assert!(
        planned(&task)
            .starts_with("--cpu-shares 102 --memory-reservation 33554432 --oom-score-adj 999 -v")
    );
    let cfs = Surroundings { cfs: true, ..around() };
    let plain = launch(docker_container("i", Network::Host), argv("x", &[]));
    let words = words(&plain, &cfs).expect("a good task").join(" ");
    assert!(words.starts_with("--cpu-shares 102 --cpu-quota 10000 --memory"), "{words}");
}

#[test]
fn networks() {
    let mut user = docker_container("i", Network::User);
    assert!(refused(&launch(user.clone(), argv("x", &[]))).contains("No network info"));
    let net = NetworkInfo { name: Some("mynet".to_owned()), ..NetworkInfo::default() };
    user.network_infos = vec![net.clone()];
    assert!(planned(&launch(user.clone(), argv("x", &[]))).contains("--net mynet --name"));
    user.network_infos.push(net);
    assert_eq!(
        refused(&launch(user.clone(), argv("x", &[]))),
        "Only a single network can be defined in Docker run"
    );
    let docker = user.docker.as_mut().expect("a docker container");
    docker.parameters = vec![Parameter { key: "network".to_owned(), value: "other".to_owned() }];
    let line = planned(&launch(user, argv("x", &[])));
    assert!(line.contains("--net other --name") && !line.contains("--network="), "{line}");
}

#[test]
fn what_cannot_be_is_refused() {
    let mut host = docker_container("i", Network::Host);
    host.hostname = Some("h".to_owned());
    assert_eq!(
        refused(&launch(host, argv("x", &[]))),
        "Unable to set hostname with host network mode"
    );
    let mut bridge = docker_container("i", Network::Bridge);
    bridge.docker.as_mut().expect("docker").port_mappings =
        vec![PortMapping { host_port: 80, container_port: 80, protocol: None }];
    assert_eq!(
        refused(&launch(bridge.clone(), argv("x", &[]))),
        "Port [80] not included in resources"
    );
    bridge.docker.as_mut().expect("docker").set_network(Network::Host);
    assert!(refused(&launch(bridge, argv("x", &[]))).starts_with("Port mappings are only"));
    for (source, target, part) in [
        (Some("a"), "b", "are relative"),
        (None, "/b", "Host path or volume source is required"),
        (Some("/a/../b"), "/b", "leads out of the sandbox"),
        (Some("/a:b"), "/b", "contains a colon"),
    ] {
        let mut container = docker_container("i", Network::Host);
        let volume = Volume {
            container_path: target.to_owned(),
            host_path: source.map(str::to_owned),
            ..Volume::default()
        };
        container.volumes = vec![volume];
        let error = refused(&launch(container, argv("x", &[])));
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_line_can_be_pasted() {
    let words = ["-e", "A=b c", "img", "it's"].map(str::to_owned);
    assert_eq!(
        line("docker", "unix:///x.sock", &words),
        "docker -H unix:///x.sock run -e 'A=b c' img 'it'\\''s'"
    );
}

fn unified(image: &str) -> ContainerInfo {
    let mut named = mesos_api::v1::Image {
        docker: Some(mesos_api::v1::image::Docker { name: image.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    named.set_type(mesos_api::v1::image::Type::Docker);
    let mesos = Some(container_info::MesosInfo { image: Some(named) });
    let mut container = ContainerInfo { mesos, ..ContainerInfo::default() };
    container.set_type(container_info::Type::Mesos);
    container
}

#[test]
fn an_image_of_the_unified_containerizer_runs_what_its_command_says() {
    let first = "--cpu-shares 102 --memory 33554432 -v /sb:/mnt/mesos/sandbox --net host";
    let check = |command: CommandInfo, rest: &str| {
        assert_eq!(planned(&launch(unified("busybox"), command)), format!("{first} {rest}"));
    };
    check(shell("echo hi"), "--entrypoint /bin/sh --name mesos-c724 busybox -c echo hi");
    // The first argument is the program's own name, which Mesos takes from there.
    check(
        argv("/bin/echo", &["echo", "hi"]),
        "--entrypoint /bin/echo --name mesos-c724 busybox hi",
    );
    check(argv("", &["hi"]), "--name mesos-c724 busybox hi");
    let around =
        Surroundings { user: Some(User { uid: 7, gid: 8 }), directory: Some(SANDBOX), ..around() };
    let line = words(&launch(unified("busybox"), shell("x")), &around).expect("good").join(" ");
    assert!(line.contains("--workdir /mnt/mesos/sandbox"), "{line}");
    assert!(line.contains("--user=7:8"), "{line}");
}

#[test]
fn what_a_unified_container_asks_for_is_given_or_refused() {
    let mut container = unified("busybox");
    container.network_infos =
        vec![NetworkInfo { name: Some("web".to_owned()), ..NetworkInfo::default() }];
    let mut limit = mesos_api::v1::r_limit_info::RLimit {
        soft: Some(10),
        hard: Some(20),
        ..Default::default()
    };
    limit.set_type(mesos_api::v1::r_limit_info::r_limit::Type::RlmtNofile);
    container.rlimit_info = Some(mesos_api::v1::RLimitInfo { rlimits: vec![limit] });
    let mut own = mesos_api::v1::CapabilityInfo::default();
    own.push_capabilities(mesos_api::v1::capability_info::Capability::NetRaw);
    container.linux_info =
        Some(mesos_api::v1::LinuxInfo { effective_capabilities: Some(own), ..Default::default() });
    let line = planned(&launch(container.clone(), shell("x")));
    for part in ["--net web", "--ulimit=nofile=10:20", "--cap-drop=ALL", "--cap-add=NET_RAW"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    container.tty_info = Some(mesos_api::v1::TtyInfo::default());
    assert!(refused(&launch(container, shell("x"))).contains("'tty_info'"));
    // What the tasks of a group share is the host's network.
    let mut grouped = launch(unified("busybox"), shell("x"));
    grouped.group = Some(Vec::new());
    assert!(words(&grouped, &around()).is_ok());
    let mut outer = ContainerInfo::default();
    outer.set_type(container_info::Type::Mesos);
    outer.network_infos = vec![NetworkInfo::default()];
    grouped.executor.container = Some(outer.into());
    assert!(refused(&grouped).contains("on the host's network"));
}

#[test]
fn what_the_agent_gives_every_container_is_the_least_that_counts() {
    let mut command = shell("true");
    let variable = |name: &str| Variable {
        name: name.to_owned(),
        value: Some("task".to_owned()),
        ..Variable::default()
    };
    command.environment = Some(Environment { variables: vec![variable("A"), variable("B")] });
    let mut task = launch(docker_container("busybox", Network::Bridge), command);
    let text = |value: &str| value.to_owned();
    let defaults = [("A", "default"), ("Z", "default")];
    let defaults = defaults.map(|(name, value)| (text(name), text(value))).into();
    let dns = r#"{"docker": [{"network_mode": "BRIDGE", "dns": {"nameservers": ["10.0.0.1"]}}]}"#;
    let dns = DefaultDns::parse(dns).expect("good JSON");
    let around = Surroundings {
        defaults: &defaults,
        environment: BTreeMap::from([(text("B"), text("agent"))]),
        dns: &dns,
        ..around()
    };
    let line = words(&task, &around).expect("a good task").join(" ");
    assert!(line.contains(" -e A=task -e B=agent -e Z=default "), "{line}");
    assert!(line.contains(" --net bridge --dns 10.0.0.1 --entrypoint "), "{line}");
    let parameter = Parameter { key: text("dns"), value: text("10.0.0.2") };
    let container = task.task.as_mut().and_then(|task| task.container.as_mut());
    let docker = container.and_then(|container| container.docker.as_mut()).expect("docker");
    docker.parameters = vec![parameter];
    let line = words(&task, &around).expect("a good task").join(" ");
    assert!(line.contains(" --dns=10.0.0.2 ") && !line.contains("10.0.0.1"), "{line}");
}
