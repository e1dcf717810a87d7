//! What only hosts with the v2 hierarchy alone have: its files, its device program, its rules.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::shim::protocol::{Empty, Request};
use serde_json::{Value, json};

use crate::harness::{Container, can_run};

/// A block device that need not be backed by anything to be throttled.
const BLOCK_DEVICE: &str = "/dev/loop0";

fn is_unified() -> bool {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("skipped: needs a host with cgroup v2 alone");
        return false;
    }
    can_run()
}

fn block_device() -> Option<(u32, u32)> {
    let Ok(device) = rustix::fs::stat(BLOCK_DEVICE) else {
        eprintln!("skipped: needs {BLOCK_DEVICE}");
        return None;
    };
    Some((rustix::fs::major(device.st_rdev), rustix::fs::minor(device.st_rdev)))
}

fn directory(container: &Container) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(container.config.cgroup.strip_prefix("/").unwrap())
}

fn assert_files(container: &Container, expected: &[(&str, &str)]) {
    let directory = directory(container);
    for (file, value) in expected {
        let found = std::fs::read_to_string(directory.join(file)).unwrap();
        assert_eq!(found.trim_end(), *value, "{file}");
    }
}

fn update(container: &Container, resources: Value) {
    let resources = Box::new(serde_json::from_value(resources).unwrap());
    container.request::<Empty>(&Request::Update { resources }).unwrap();
}

fn kill(mut container: Container) {
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    container.wait();
    assert!(!directory(&container).exists());
}

#[test]
fn limits_are_written_and_updated() {
    if !is_unified() {
        return;
    }
    let mut container = Container::new(&["sleep", "600"]);
    let resources = &mut container.spec["linux"]["resources"];
    resources["memory"] =
        json!({"limit": 67_108_864, "swap": 100_663_296, "reservation": 33_554_432});
    resources["pids"] = json!({"limit": 50});
    resources["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"});
    resources["blockIO"] = json!({"weight": 505});
    resources["unified"] = json!({"memory.high": "50331648"});
    container.start().unwrap();
    assert_files(
        &container,
        &[
            ("memory.max", "67108864"),
            ("memory.swap.max", "33554432"),
            ("memory.low", "33554432"),
            ("memory.high", "50331648"),
            ("pids.max", "50"),
            ("cpu.weight", "59"),
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "0"),
        ],
    );
    update(
        &container,
        json!({
            "memory": {"limit": 134_217_728, "swap": -1},
            "pids": {"limit": -1},
            "cpu": {"shares": 1024, "quota": 20_000}
        }),
    );
    assert_files(
        &container,
        &[
            ("memory.max", "134217728"),
            ("memory.swap.max", "max"),
            ("memory.low", "33554432"),
            ("pids.max", "max"),
            ("cpu.weight", "100"),
            ("cpu.max", "20000 100000"),
        ],
    );
    update(&container, json!({"cpu": {"quota": -1}, "memory": {"limit": -1, "swap": -1}}));
    assert_files(&container, &[("cpu.max", "max 100000"), ("memory.max", "max")]);
    kill(container);
}

#[test]
fn block_devices_are_weighed_and_throttled() {
    let Some((major, minor)) = block_device().filter(|_| is_unified()) else { return };
    let mut container = Container::new(&["sleep", "600"]);
    let limit = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    container.spec["linux"]["resources"]["blockIO"] = json!({
        "weight": 505,
        "throttleReadBpsDevice": limit(1_048_576),
        "throttleWriteIOPSDevice": limit(100)
    });
    container.start().unwrap();
    let expected = format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=100");
    assert_files(&container, &[("io.weight", "default 5000"), ("io.max", &expected)]);
    kill(container);
}

#[test]
fn the_device_program_allows_what_is_listed_and_nothing_else() {
    if !is_unified() || block_device().is_none() {
        return;
    }
    // Loop devices: no capability is asked for beside the cgroup's permission.
    let script = "test -e /tmp/one || mknod /tmp/one b 7 0; test -e /tmp/two || mknod /tmp/two b 7 1; \
                  (exec 3</tmp/one) && echo may read; (exec 3<>/tmp/one) || echo may not write; \
                  (exec 3</tmp/two) || echo not the other; (echo x >/dev/null) && echo null";
    let expected = ["may read", "may not write", "not the other", "null"];
    let mut container = Container::new(&["sleep", "600"]);
    container.spec["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "b", "major": 7, "minor": 0, "access": "r"}
    ]);
    container.start().unwrap();
    let (_, output) = container.exec("e", &["sh", "-c", script]).unwrap();
    assert!(expected.iter().all(|line| output.contains(&format!("{line}\n"))), "{output}");
    // Other limits leave the program alone.
    update(&container, json!({"pids": {"limit": 20}}));
    let (_, output) = container.exec("f", &["sh", "-c", script]).unwrap();
    assert!(expected.iter().all(|line| output.contains(&format!("{line}\n"))), "{output}");
    kill(container);
}

#[test]
fn all_devices_are_allowed_when_the_list_says_so() {
    if !is_unified() || block_device().is_none() {
        return;
    }
    let script = "mknod /tmp/two b 7 1; (exec 3<>/tmp/two) && echo open";
    let mut container = Container::new(&["sh", "-c", script]);
    container.spec["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    assert_eq!(container.run(), (0, "open\n".to_owned()));
}

#[test]
fn a_child_beyond_memory_max_is_counted_though_init_lives_on() {
    if !is_unified() {
        return;
    }
    let script = "exec 2>/dev/null; sh -c 'tail /dev/zero'; echo $?; grep -c '^oom_kill [1-9]' \
                  /sys/fs/cgroup/memory.events";
    let mut container = Container::new(&["sh", "-c", script]);
    container.spec["linux"]["resources"]["memory"] =
        json!({"limit": 16_777_216, "swap": 16_777_216});
    container.start().unwrap();
    let exit = container.wait();
    assert_eq!((exit.exit_code, exit.oom_killed), (0, true), "{exit:?}");
    assert!(container.logged().ends_with("137\n1\n"), "{}", container.logged());
}

#[test]
fn init_and_exec_see_their_cgroup_as_the_root() {
    if !is_unified() {
        return;
    }
    let script = "cat /proc/self/cgroup; echo 1 2>/dev/null >/sys/fs/cgroup/pids.max || echo held";
    let mut container =
        Container::new(&["sh", "-c", &format!("{script}; touch /tmp/shown; sleep 600")]);
    container.start().unwrap();
    container.exec("w", &["sh", "-c", "until test -e /tmp/shown; do :; done"]).unwrap();
    let (_, output) = container.exec("e", &["sh", "-c", script]).unwrap();
    assert_eq!(output, "0::/\nheld\n");
    container.request::<Empty>(&Request::Pause).unwrap();
    let events = std::fs::read_to_string(directory(&container).join("cgroup.events")).unwrap();
    assert!(events.contains("frozen 1"), "{events}");
    container.request::<Empty>(&Request::Resume).unwrap();
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    container.wait();
    assert_eq!(container.logged(), output);
}

/// No process may be beside children that have controllers: exec then joins init where it went.
#[test]
fn exec_finds_a_place_where_controllers_were_handed_down() {
    if !is_unified() {
        return;
    }
    let script = "cd /sys/fs/cgroup && mkdir inner && echo 1 >inner/cgroup.procs && \
                  echo +pids >cgroup.subtree_control && exec sleep 600";
    let mut container = Container::new(&["sh", "-c", script]);
    for mount in container.spec["mounts"].as_array_mut().unwrap() {
        if mount["type"] == "cgroup" {
            mount["options"] = json!(["rw", "nosuid", "noexec", "nodev"]);
        }
    }
    container.start().unwrap();
    // Not by an exec: one in the cgroup itself would keep init from handing anything down.
    let file = directory(&container).join("cgroup.subtree_control");
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::read_to_string(&file).unwrap() != "pids\n" {
        assert!(Instant::now() < deadline, "{}", container.logged());
        std::thread::yield_now();
    }
    let (code, output) = container.exec("f", &["cat", "/proc/self/cgroup"]).unwrap();
    assert_eq!((code, output.as_str()), (0, "0::/inner\n"));
    kill(container);
}
