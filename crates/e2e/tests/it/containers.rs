//! `run` and what it leaves: output, exit codes, environment, identity, limits.

use anyhow::{Result, ensure};

use crate::{World, with};

both_clients!(
    output_and_exit_code_come_through,
    exit_codes_name_the_failure,
    standard_input_reaches_the_process,
    environment_user_and_directory,
    names_and_listing,
    inspect_formats,
    limits_reach_the_cgroup,
    process_is_confined,
    host_namespaces_on_request,
    labels_and_filters,
    read_only_root_keeps_its_writable_places,
    capabilities_follow_the_flags,
    init_reaps_and_forwards,
    ulimits_and_sysctls,
);

fn output_and_exit_code_come_through(world: &World) -> Result<()> {
    let ran = world.client.try_run(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ])?;
    ensure!(ran.code == 7 && ran.stdout == "out\n" && ran.stderr == "err\n", "{ran:?}");
    ensure!(world.client.run(&["ps", "-aq"])?.is_empty(), "--rm left a container");
    Ok(())
}

fn exit_codes_name_the_failure(world: &World) -> Result<()> {
    for (args, code, text) in [
        (&["run", "busybox", "nonexistent"][..], 127, "executable file not found in $PATH"),
        (&["run", "busybox", "/nonexistent"], 127, "no such file or directory"),
        (&["run", "busybox", "/etc/passwd"], 126, "permission denied"),
        (&["run", "busybox", "/etc"], 126, ""),
        (
            &["run", "--device=/dev/nothing", "busybox", "true"],
            127,
            "gathering device information while adding custom device \"/dev/nothing\": no such file",
        ),
        (&["run", "--no-such-flag", "busybox"], 125, "unknown flag: --no-such-flag"),
        (&["run", "--pull=never", "no.such/image"], 125, "No such image: no.such/image:latest"),
        (&["run", "busybox", "sh", "-c", "kill -TERM $$"], 0, ""),
        (&["run", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, ""),
    ] {
        let ran = world.client.try_run(args)?;
        ensure!(ran.code == code && ran.stderr.contains(text), "{args:?}: {ran:?}");
    }
    let listed =
        world.client.run(&["ps", "-a", "--format", "{{.Status}}", "-f", "status=created"])?;
    ensure!(listed.lines().count() == 5, "a failed start leaves `created`: {listed:?}");
    Ok(())
}

fn standard_input_reaches_the_process(world: &World) -> Result<()> {
    let text: Vec<u8> = (0..300_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let ran = world.client.try_run_with_input(&["run", "-i", "--rm", "busybox", "cat"], &text)?;
    ensure!(ran.code == 0 && ran.stdout.as_bytes() == text, "{} bytes back", ran.stdout.len());
    Ok(())
}

fn environment_user_and_directory(world: &World) -> Result<()> {
    let ran = world.client.run(&[
        "run",
        "--rm",
        "-e",
        "COLOUR=blue",
        "--env",
        "EMPTY=",
        "-w",
        "/deep/dir",
        "-u",
        "user",
        "--group-add",
        "1001",
        "-h",
        "ship",
        "busybox",
        "sh",
        "-c",
        "echo $COLOUR:$EMPTY:$PWD:$(id -u):$(id -g):$(id -G):$(hostname):$HOSTNAME:$PATH",
    ])?;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    ensure!(ran == format!("blue::/deep/dir:1000:1000:1000 1001:ship:ship:{path}\n"), "{ran:?}");
    let ran = world.client.run(&["run", "--rm", "-u", "77:88", "busybox", "id"])?;
    ensure!(ran.starts_with("uid=77 gid=88"), "{ran:?}");
    let ran = world.client.try_run(&["run", "--rm", "-u", "nosuch", "busybox", "id"])?;
    ensure!(ran.code == 125 || ran.code == 126, "{ran:?}");
    ensure!(ran.stderr.contains("unable to find user nosuch"), "{ran:?}");
    Ok(())
}

fn names_and_listing(world: &World) -> Result<()> {
    let id = world.client.run(&["run", "-d", "--name", "one", "busybox", "sleep", "600"])?;
    ensure!(id.trim().len() == 64, "{id:?}");
    let taken = world.client.try_run(&["create", "--name", "one", "busybox"])?;
    let expected = format!(
        "The container name \"/one\" is already in use by container \"{}\". You have to remove \
         (or rename) that container to be able to reuse that name.",
        id.trim()
    );
    ensure!(taken.code != 0 && taken.stderr.contains(&expected), "{taken:?}");
    world.client.run(&["rename", "one", "two"])?;
    let listed =
        world.client.run(&["ps", "--format", "{{.ID}} {{.Names}} {{.State}} {{.Command}}"])?;
    ensure!(listed == format!("{} two running \"sleep 600\"\n", &id[..12]), "{listed:?}");
    let table = world.client.run(&["ps"])?;
    ensure!(table.starts_with("CONTAINER ID   IMAGE"), "{table}");
    let by_prefix = world.client.run(&["inspect", "-f", "{{.Name}}", &id[..8]])?;
    ensure!(by_prefix == "/two\n", "{by_prefix:?}");
    let refused = world.client.try_run(&["rm", "two"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("container is running"), "{refused:?}");
    world.client.run(&["rm", "-f", "two"])?;
    let gone = world.client.try_run(&["inspect", "two"])?;
    ensure!(gone.code == 1 && gone.stderr.contains("o such object: two"), "{gone:?}");
    Ok(())
}

fn inspect_formats(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sleep",
        "600",
    ])?;
    let pid = world.client.run(&["inspect", "-f", "{{.State.Pid}}", "cc"])?;
    let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()))?;
    ensure!(cmdline == "sleep\x00600\x00", "{cmdline:?}");
    let json: serde_json::Value =
        serde_json::from_str(&world.client.run(&["inspect", "--size", "cc"])?)?;
    let json = &json[0];
    ensure!(json["State"]["Status"] == "running", "{json}");
    ensure!(json["HostConfig"]["NetworkMode"] == "bridge", "{json}");
    ensure!(json["SizeRootFs"].as_u64() > Some(500_000), "{}", json["SizeRootFs"]);
    ensure!(json["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].is_string(), "{json}");
    let port = world.client.run(&["port", "cc", "80/tcp"])?;
    ensure!(port.starts_with("127.0.0.1:"), "{port:?}");
    Ok(())
}

fn limits_reach_the_cgroup(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "cc",
        "-m",
        "64m",
        "--cpu-shares",
        "512",
        "--cpus",
        "0.5",
        "--pids-limit",
        "20",
        "--cpuset-cpus",
        "0",
        "busybox",
        "sleep",
        "600",
    ])?;
    let pid = world.client.run(&["inspect", "-f", "{{.State.Pid}}", "cc"])?;
    let cgroup = Cgroup::of(pid.trim())?;
    for (old, new, value) in [
        ("memory/memory.limit_in_bytes", "memory.max", "67108864"),
        ("cpu/cpu.cfs_quota_us", "cpu.max", "50000"),
        ("pids/pids.max", "pids.max", "20"),
        ("cpuset/cpuset.cpus", "cpuset.cpus", "0"),
        ("cpu/cpu.shares", "cpu.weight", if cgroup.unified() { "59" } else { "512" }),
    ] {
        let shown = cgroup.read(old, new)?;
        ensure!(shown.split(' ').next() == Some(value), "{old}, {new}: {shown:?}");
    }
    world.client.run(&[
        "update",
        "--pids-limit",
        "30",
        "--memory",
        "80m",
        "--memory-swap",
        "160m",
        "cc",
    ])?;
    ensure!(cgroup.read("pids/pids.max", "pids.max")? == "30");
    ensure!(cgroup.read("memory/memory.limit_in_bytes", "memory.max")? == "83886080");
    world.client.run(&["rm", "-f", "cc"])?;
    ensure!(cgroup.read("pids/pids.max", "pids.max").is_err(), "the cgroup is left over");
    Ok(())
}

/// Where a process' limits are: a folder per v1 controller, or one folder of v2.
pub(crate) struct Cgroup(String);

impl Cgroup {
    pub(crate) fn of(pid: &str) -> Result<Self> {
        Ok(Self(std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?))
    }

    pub(crate) fn unified(&self) -> bool {
        self.0.lines().count() == 1
    }

    /// Reads `controller/file` of v1 or `file` of v2.
    pub(crate) fn read(&self, old: &str, new: &str) -> Result<String> {
        let (controller, file) = old.split_once('/').unwrap_or_default();
        let wanted = if self.unified() { "0::".to_owned() } else { format!(":{controller}:") };
        let line = self.0.lines().find(|line| line.contains(&wanted)).unwrap_or_default();
        let group = line.rsplit(':').next().unwrap_or_default();
        let path = if self.unified() {
            format!("/sys/fs/cgroup{group}/{new}")
        } else {
            format!("/sys/fs/cgroup/{controller}{group}/{file}")
        };
        Ok(std::fs::read_to_string(path)?.trim().to_owned())
    }
}

fn process_is_confined(world: &World) -> Result<()> {
    let status = world.client.run(&["run", "--rm", "busybox", "cat", "/proc/self/status"])?;
    for line in
        ["CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "Seccomp:\t2", "NoNewPrivs:\t0"]
    {
        ensure!(status.contains(line), "{line} is not in {status}");
    }
    let script = "echo $$; ls /proc/self/fd | wc -l; cat /proc/keys 2>/dev/null | wc -c; \
                  (echo 1 > /proc/sys/kernel/panic) 2>&1 | grep -c -i 'read-only'; \
                  (mount -t tmpfs x /mnt) 2>&1 | grep -c -i -e permitted -e denied; \
                  test -e /.dockerenv && echo marked";
    let ran = world.client.run(&["run", "--rm", "busybox", "sh", "-c", script])?;
    ensure!(ran == "1\n4\n0\n1\n1\nmarked\n", "{ran:?}");
    Ok(())
}

fn host_namespaces_on_request(world: &World) -> Result<()> {
    let ran = world.client.run(&[
        "run",
        "--rm",
        "--net=host",
        "--pid=host",
        "--uts=host",
        "--ipc=host",
        "busybox",
        "sh",
        "-c",
        "for n in net pid uts ipc; do readlink /proc/self/ns/$n; done",
    ])?;
    for (shown, name) in ran.lines().zip(["net", "pid", "uts", "ipc"]) {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}"))?;
        ensure!(own.to_string_lossy() == shown, "{name}: {shown} is not the host's");
    }
    world.client.run(&["run", "-d", "--name", "donor", "busybox", "sleep", "600"])?;
    let pid = world.client.run(&["inspect", "-f", "{{.State.Pid}}", "donor"])?;
    let donor = std::fs::read_link(format!("/proc/{}/ns/net", pid.trim()))?;
    let ran = world.client.run(&[
        "run",
        "--rm",
        "--net=container:donor",
        "busybox",
        "readlink",
        "/proc/self/ns/net",
    ])?;
    ensure!(donor.to_string_lossy() == ran.trim(), "{ran:?}");
    Ok(())
}

fn labels_and_filters(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "-d",
        "--name",
        "aa",
        "-l",
        "tier=front",
        "busybox",
        "sleep",
        "600",
    ])?;
    world.client.run(&["run", "--name", "bb", "-l", "tier=back", "busybox", "false"]).err();
    for (filter, expected) in [
        ("label=tier", "aa bb"),
        ("label=tier=front", "aa"),
        ("status=exited", "bb"),
        ("exited=1", "bb"),
        ("name=aa", "aa"),
        ("ancestor=busybox", "aa bb"),
        ("since=aa", "bb"),
        ("before=bb", "aa"),
    ] {
        let listed =
            world.client.run(&["ps", "-a", "--format", "{{.Names}}", "--filter", filter])?;
        let mut names: Vec<&str> = listed.split_whitespace().collect();
        names.sort_unstable();
        ensure!(names.join(" ") == expected, "{filter}: {names:?}");
    }
    let unknown = world.client.try_run(&["ps", "--filter", "colour=red"])?;
    ensure!(unknown.code == 1 && unknown.stderr.contains("invalid filter 'colour'"), "{unknown:?}");
    Ok(())
}

fn read_only_root_keeps_its_writable_places(world: &World) -> Result<()> {
    let script = "touch /x 2>&1; touch /dev/shm/x && echo shm; touch /t/x && echo tmpfs; touch /v/x && echo volume";
    let ran = world.client.run(&[
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/t",
        "-v",
        "/v",
        "busybox",
        "sh",
        "-c",
        script,
    ])?;
    ensure!(ran == "touch: /x: Read-only file system\nshm\ntmpfs\nvolume\n", "{ran:?}");
    Ok(())
}

fn capabilities_follow_the_flags(world: &World) -> Result<()> {
    let effective = |flags: &[&str]| -> Result<u64> {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["busybox", "grep", "CapEff", "/proc/self/status"]);
        let shown = world.client.run(&args)?;
        Ok(u64::from_str_radix(shown.trim_start_matches("CapEff:").trim(), 16)?)
    };
    ensure!(effective(&["--cap-drop=ALL"])? == 0);
    ensure!(effective(&["--cap-drop=ALL", "--cap-add=net_admin"])? == 1 << 12);
    ensure!(effective(&["--cap-add=SYS_ADMIN"])? == 0xa804_25fb | 1 << 21);
    let own = std::fs::read_to_string("/proc/self/status")?;
    let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    ensure!(effective(&["--privileged"])? == u64::from_str_radix(bounding.trim(), 16)?);
    ensure!(effective(&["-u", "user"])? == 0);
    let unknown = world.client.try_run(&["run", "--cap-add=FLY", "busybox"])?;
    ensure!(unknown.code == 125 && unknown.stderr.contains("FLY"), "{unknown:?}");
    Ok(())
}

fn init_reaps_and_forwards(world: &World) -> Result<()> {
    let ran = world.client.run(&[
        "run",
        "--rm",
        "--init",
        "busybox",
        "sh",
        "-c",
        "cat /proc/1/comm | grep -c -v sh; echo $$",
    ])?;
    ensure!(ran.starts_with("1\n") && ran.trim().lines().last() != Some("1"), "{ran:?}");
    Ok(())
}

fn ulimits_and_sysctls(world: &World) -> Result<()> {
    let ran = world.client.run(&[
        "run", "--rm", "--ulimit", "nofile=100:200", "--sysctl", "net.ipv4.ip_default_ttl=77",
        "--shm-size", "8m", "busybox", "sh", "-c",
        "ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_default_ttl; df -k /dev/shm | tail -1 | awk '{print $2}'",
    ])?;
    ensure!(ran == "100\n200\n77\n8192\n", "{ran:?}");
    let bad =
        world.client.try_run(&["run", "--rm", "--sysctl", "kernel.panic=1", "busybox", "true"])?;
    ensure!(bad.code == 125 && bad.stderr.contains("kernel.panic"), "{bad:?}");
    Ok(())
}
