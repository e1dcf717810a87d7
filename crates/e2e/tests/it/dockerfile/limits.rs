//! What `build` gives the containers of its RUNs.

use anyhow::{Result, ensure};

use super::made;
use crate::build::nothing_is_left;
use crate::{World, with};

both_clients!(limits_and_names_reach_the_commands, names_of_the_result_are_all_given);

fn limits_and_names_reach_the_commands(world: &World) -> Result<()> {
    // Both kinds of cgroups; what a kernel does not offer is not there to be looked at.
    let dockerfile = r#"FROM busybox
RUN test "$(ulimit -Sn) $(ulimit -Hn)" = "100 200"
RUN df -k /dev/shm | grep -q ' 32768 '
RUN grep -qE '^1.2.3.4[[:space:]]+one$' /etc/hosts && grep -qE '^::5[[:space:]]+two$' /etc/hosts
RUN set -e; cd /sys/fs/cgroup; \
    if test -e memory.max; then \
      test "$(cat memory.max)" = 67108864; test "$(cat cpu.max)" = "50000 100000"; \
      test "$(cat cpuset.cpus)" = 0; test "$(cat memory.swap.max)" = 0; \
    else \
      test "$(cat memory/memory.limit_in_bytes)" = 67108864; test "$(cat cpu/cpu.shares)" = 512; \
      test "$(cat cpu/cpu.cfs_quota_us) $(cat cpu/cpu.cfs_period_us)" = "50000 100000"; \
      test "$(cat cpuset/cpuset.cpus)" = 0; \
    fi
RUN echo $$ && grep -q /of-a-build/ /proc/1/cgroup || test "$(cat /proc/1/cgroup)" = 0::/
"#;
    let args = [
        "--ulimit=nofile=100:200",
        "--shm-size=32m",
        "--add-host=one:1.2.3.4",
        "--add-host=two:::5",
        "--memory=64m",
        "--memory-swap=64m",
        "--cpu-shares=512",
        "--cpu-period=100000",
        "--cpu-quota=50000",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--cgroup-parent=/of-a-build",
    ];
    made(world, dockerfile, &[], &args)?;
    nothing_is_left(world)
}

fn names_of_the_result_are_all_given(world: &World) -> Result<()> {
    let iidfile = world.host.scratch().join("iid");
    let iid = iidfile.display().to_string();
    let args =
        ["-t", "two:x", "-t", "reg.example/three", "--label", "a=b c", "-q", "--iidfile", &iid];
    let dockerfile = "FROM busybox\nRUN echo not shown; echo nor this >&2\n";
    let ran = super::make(world, dockerfile, &[], &args)?;
    let id = ran.ok()?;
    ensure!(id.starts_with("sha256:") && id.lines().count() == 1, "{id:?}");
    // The docker command ends the line in the file, too, when it is quiet.
    ensure!(std::fs::read_to_string(&iidfile)?.trim() == id.trim(), "{id}");
    for name in ["t", "two:x", "reg.example/three:latest"] {
        let shown = ["image", "inspect", "-f", "{{.Id}} {{index .Config.Labels \"a\"}}", name];
        ensure!(world.client.run(&shown)? == format!("{} b c\n", id.trim()), "{name}");
    }
    Ok(())
}
