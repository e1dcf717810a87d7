//! Curves and parsers, and one real cgroup.

use super::*;
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
};

#[test]
fn shares_follow_the_current_curve() {
    for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(shares_to_weight(shares), weight, "{shares}");
    }
    assert!((3..262_144).step_by(97).all(|s| shares_to_weight(s) <= shares_to_weight(s + 97)));
}

#[test]
fn io_weights_span_the_range() {
    assert_eq!(blkio::weight_to_io_weight(10), 1);
    assert_eq!(blkio::weight_to_io_weight(1000), 10_000);
}

#[test]
fn statistics_of_block_devices_are_parsed() {
    let v1 = stats::blkio_v1("254:0 Read 8192\n254:0 Write 0\nTotal 8192\n");
    assert_eq!((v1.len(), v1[0].value), (2, 8192));
    let v2 = stats::io_v2("254:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0\n");
    let found: Vec<_> = v2.iter().map(|entry| (entry.operation.as_str(), entry.value)).collect();
    assert_eq!(found, [("read", 4096), ("write", 512)]);
}

#[test]
fn paths_cannot_leave_the_hierarchy() {
    for path in ["/", "", "/a/../../b"] {
        assert!(Cgroup::new(Hierarchies::default(), Path::new(path)).is_err(), "{path}");
    }
}

#[test]
fn a_cgroup_is_made_limited_and_removed_with_its_processes() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let Ok(hierarchies) = Hierarchies::detect() else {
        eprintln!("skipped: no cgroup file system");
        return;
    };
    let path = format!("/teu-test-{}/inner", std::process::id());
    let cgroup = Cgroup::new(hierarchies.clone(), Path::new(&path)).unwrap();
    cgroup.create().unwrap();
    let memory = LinuxMemoryBuilder::default().limit(64 << 20).swap(64 << 20).build().unwrap();
    let resources = LinuxResourcesBuilder::default()
        .memory(memory)
        .cpu(LinuxCpuBuilder::default().shares(512_u64).quota(50_000).build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(20).build().unwrap())
        .build()
        .unwrap();
    cgroup.apply(&resources).unwrap();
    let stats = cgroup.stats();
    assert_eq!((stats.memory_limit_bytes, stats.pids_limit), (Some(64 << 20), Some(20)));

    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let directories = cgroup.v1_directories().map(|(_, d)| d).chain(cgroup.unified_directory());
    for directory in directories {
        std::fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    assert_eq!(cgroup.pids().unwrap(), [child.id()]);
    cgroup.freeze().unwrap();
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
    child.wait().unwrap();
    let parent = format!("/teu-test-{}", std::process::id());
    Cgroup::new(hierarchies, Path::new(&parent)).unwrap().remove().unwrap();
}
