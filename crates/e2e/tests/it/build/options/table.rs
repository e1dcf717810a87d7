//! The table: option, effect, and what must be seen.

use anyhow::Result;

use super::acts;
use crate::World;
use Check::{Builds, Does, Refuses};

/// One option.
pub(super) struct Row {
    pub(super) option: &'static str,
    /// What it does, for the page.
    pub(super) effect: &'static str,
    /// What its [`Check::Does`] looks at, for the page.
    pub(super) seen: &'static str,
    pub(super) checks: &'static [Check],
}

pub(super) enum Check {
    /// With these options, lines after `FROM busybox` can be built.
    Builds(&'static [&'static str], &'static str),
    /// These options make a build fail with this message, or another after ` | `.
    Refuses(&'static [&'static str], &'static str),
    Does(fn(&World) -> Result<()>),
}

impl Row {
    pub(super) fn name(&self) -> &'static str {
        self.option.trim_start_matches("--")
    }

    /// Says what its [`Check::Does`] looks at.
    const fn seen(mut self, seen: &'static str) -> Self {
        self.seen = seen;
        self
    }
}

const fn row(option: &'static str, effect: &'static str, checks: &'static [Check]) -> Row {
    Row { option, effect, seen: "", checks }
}

/// Compares a limit where v1 has it, else where v2 has it.
macro_rules! limit {
    ($old:literal is $before:literal, $new:literal is $now:literal) => {
        concat!(
            "RUN cd /sys/fs/cgroup; if test -e ",
            $old,
            "; then test \"$(cat ",
            $old,
            ")\" = \"",
            $before,
            "\"; else test \"$(cat ",
            $new,
            ")\" = \"",
            $now,
            "\"; fi"
        )
    };
}

pub(super) static ROWS: &[Row] = &[
    row(
        "--add-host",
        "A line in `/etc/hosts` of `RUN`",
        &[
            Builds(
                &["--add-host=one:1.2.3.4", "--add-host=two:::5", "--add-host=gate:host-gateway"],
                "RUN cd /etc; grep -qE '^1.2.3.4.one$' hosts && grep -qE '^::5.two$' hosts && grep -qE '^[0-9.]+.gate$' hosts",
            ),
            Refuses(&["--add-host=nothing"], "bad format for add-host: \"nothing\""),
            Refuses(&["--add-host=x:1.2.3"], "invalid IP address in add-host: \"1.2.3\""),
        ],
    ),
    row(
        "--allow",
        "Grants `RUN` what it may not by default: `security.insecure`, `device`; `network.host` is granted always",
        &[
            Builds(
                &["--allow", "security.insecure,network.host"],
                "RUN --security=insecure mkdir /m && mount -t tmpfs none /m",
            ),
            Refuses(&["--allow", "anything"], "invalid entitlement"),
            Does(acts::insecure_is_asked_for),
        ],
    )
    .seen("`RUN --security=insecure` without it is refused"),
    row(
        "--annotation",
        "Refused: images are kept by their configuration, without a manifest of their own",
        &[Refuses(&["--annotation", "a=b"], "Annotations are not supported")],
    ),
    row(
        "--attest",
        "Refused unless it turns attestations off",
        &[
            Builds(&["--attest", "type=provenance,disabled=true"], "RUN true"),
            Refuses(&["--attest", "type=sbom"], "Attestation is not supported"),
        ],
    ),
    row(
        "--build-arg",
        "The value of an `ARG`; a name alone takes it from the environment",
        &[
            Builds(
                &["--build-arg", "A=1 2", "--build-arg", "TERM"],
                "ARG A=0\nARG TERM=none\nRUN test \"$A $TERM\" = '1 2 xterm'",
            ),
            Does(acts::build_args_that_nobody_reads),
        ],
    )
    .seen("one that no `ARG` takes is warned of; proxies need none and leave the cache alone"),
    row(
        "--build-context",
        "A directory, image, Git or HTTP address under a name, for `FROM`, `COPY --from` and mounts",
        &[
            Builds(
                &["--build-context", "base=docker-image://busybox"],
                "COPY --from=base /bin/busybox /b\nRUN cmp /b /bin/busybox",
            ),
            Refuses(&["--build-context", "x"], "invalid build context \"x\": want name=value"),
            Refuses(&["--build-context", "x=/does/not/exist"], "/does/not/exist"),
            Refuses(&["--build-context", "x=oci-layout:///x"], "an OCI layout becomes an image"),
        ],
    ),
    row(
        "--builder",
        "The daemon builds, and is called `default`",
        &[
            Builds(&["--builder", "default"], "RUN true"),
            Refuses(&["--builder", "other"], "no builder \"other\" found"),
        ],
    ),
    row(
        "--cache-from",
        "Takes finished steps from an image, a registry or a directory",
        &[
            Does(crate::build::steps_are_taken_from_an_image),
            Refuses(&["--cache-from", "type=gha"], "gha | invalid reference format"),
        ],
    )
    .seen("random numbers that `RUN` drew are the same again"),
    row(
        "--cache-to",
        "Gives finished steps to a registry, a directory, or the image itself",
        &[
            Does(acts::steps_go_to_a_directory),
            Refuses(&["--cache-to", "type=s3,bucket=b"], "s3"),
            Refuses(&["--cache-to", "type=local"], "dest= is missing"),
        ],
    )
    .seen("after a prune, `--cache-from` with that directory gives the same image id"),
    row(
        "--call",
        "`build`, `check` as `--check` does, `outline`: what the target takes, `targets`: which there are; \
         the last two also with `,format=json`",
        &[
            Builds(&["--call", "build"], "RUN true"),
            Does(acts::call_checks),
            Does(acts::call_lists),
            Refuses(&["--call", "prune"], "it is not offered: use build, check, outline or targets"),
            Refuses(&["--call", "check,format=json"], "check has no JSON"),
        ],
    )
    .seen(
        "`check` tells what is probably not meant; the tables and the JSON of the others name values, \
         secrets, agents and stages; nothing is built",
    ),
    row("--cgroup-parent", "The cgroup above those of `RUN`", &[Does(acts::cgroup_parent)])
        .seen("the process' line in `/proc/PID/cgroup` of the host"),
    row(
        "--check",
        "Tells what is wrong with the Dockerfile, and builds nothing",
        &[Does(acts::checks)],
    )
    .seen("advice ends it with 1, and there is no image; without advice it ends with 0"),
    row("--compress", "Sends the context with gzip", &[Does(acts::compressed)])
        .seen("the bytes on the way to the daemon"),
    row(
        "--cpu-period",
        "The scheduling period of `RUN`, in microseconds",
        &[
            Builds(
                &["--cpu-period=50000", "--cpu-quota=25000"],
                limit!("cpu/cpu.cfs_period_us" is "50000", "cpu.max" is "25000 50000"),
            ),
            Refuses(&["--cpu-period=1"], "CPU cfs period"),
        ],
    ),
    row(
        "--cpu-quota",
        "The run time of `RUN` in a period, in microseconds",
        &[
            Builds(
                &["--cpu-quota=30000"],
                limit!("cpu/cpu.cfs_quota_us" is "30000", "cpu.max" is "30000 100000"),
            ),
            Refuses(&["--cpu-quota=1"], "CPU cfs quota"),
        ],
    ),
    row(
        "--cpu-shares",
        "The weight of `RUN` among other containers",
        &[Builds(&["--cpu-shares=512"], limit!("cpu/cpu.shares" is "512", "cpu.weight" is "59"))],
    ),
    row(
        "--cpuset-cpus",
        "The CPUs of `RUN`",
        &[
            Builds(&["--cpuset-cpus=0"], limit!("cpuset/cpuset.cpus" is "0", "cpuset.cpus" is "0")),
            Refuses(&["--cpuset-cpus=4096"], "4096"),
        ],
    ),
    row(
        "--cpuset-mems",
        "The memory nodes of `RUN`",
        &[
            Builds(&["--cpuset-mems=0"], limit!("cpuset/cpuset.mems" is "0", "cpuset.mems" is "0")),
            Refuses(&["--cpuset-mems=999"], "999"),
        ],
    ),
    row(
        "--disable-content-trust",
        "Nothing: there is no content trust to be disabled",
        &[Builds(&["--disable-content-trust"], "RUN true")],
    ),
    row(
        "--file",
        "The Dockerfile: a path, also outside the context, or `-`",
        &[
            Does(acts::another_dockerfile),
            Refuses(&["--file", "/does/not/exist"], "/does/not/exist | lstat /does: no such file"),
        ],
    )
    .seen("the image of one that is not in the context, and of one on stdin"),
    row(
        "--force-rm",
        "Removes the containers of `RUN` also with `--rm=false`",
        &[Does(acts::containers_go_by_force)],
    )
    .seen("`ps -a` is empty after a command that fails"),
    row("--help", "Lists the options", &[Does(acts::helps)]).seen("the options' names"),
    row("--iidfile", "Writes the image's id to a file", &[Does(acts::id_in_a_file)])
        .seen("the file has what `images -q --no-trunc` shows; a failed build writes none"),
    row(
        "--isolation",
        "`default`; others are not Linux'",
        &[
            Builds(&["--isolation=default"], "RUN true"),
            Refuses(&["--isolation=hyperv"], "Unsupported isolation: \"hyperv\""),
        ],
    ),
    row("--label", "A label of the image", &[Does(acts::labels)])
        .seen("inspect; it goes before the Dockerfile's"),
    row("--load", "Keeps the image in the daemon, as by default", &[Does(acts::load)])
        .seen("with `-o type=local` besides, the image has its name; without `--load` it has not"),
    row(
        "--memory",
        "The memory of `RUN`",
        &[
            Builds(
                &["--memory=64m"],
                limit!("memory/memory.limit_in_bytes" is "67108864", "memory.max" is "67108864"),
            ),
            Refuses(&["--memory=1m"], "Minimum memory limit allowed is 6MB"),
        ],
    ),
    row(
        "--memory-swap",
        "Memory and swap of `RUN`; -1: no limit",
        &[
            Builds(
                &["--memory=64m", "--memory-swap=-1"],
                limit!("memory/memory.limit_in_bytes" is "67108864", "memory.swap.max" is "max"),
            ),
            Refuses(
                &["--memory=64m", "--memory-swap=32m"],
                "Minimum memoryswap limit should be larger than memory limit",
            ),
        ],
    ),
    row("--metadata-file", "Writes id and names as JSON", &[Does(acts::metadata)])
        .seen("`containerimage.config.digest` and `image.name`"),
    row(
        "--network",
        "The network of `RUN`: `default`, `none`, `host` or a network's name",
        &[
            Builds(&["--network=none"], "RUN test \"$(ls /sys/class/net)\" = lo"),
            Does(acts::networks),
            Refuses(&["--network=nowhere"], "network nowhere not found"),
        ],
    )
    .seen("with `host` the host's links are there, with a network of one's own an address of that"),
    row("--no-cache", "Does every step again", &[Does(acts::no_cache)])
        .seen("random numbers that `RUN` drew are others"),
    row(
        "--no-cache-filter",
        "Does the steps of some stages again, and of those that need them",
        &[
            Does(acts::no_cache_filter),
            Builds(&["--no-cache-filter", "none"], "RUN true"),
        ],
    )
    .seen("random numbers that their `RUN` drew are others, those of another stage the same"),
    row(
        "--output",
        "Where the result goes: `type=local|tar|oci|docker|image|registry|cacheonly`, several of them",
        &[
            Does(acts::outputs),
            Refuses(&["-o", "type=what"], "type \"what\" is unknown"),
            Refuses(&["-o", "type=local"], "needs dest=DIRECTORY"),
            Refuses(&["-o", "type=image,push=true"], "tag is needed when pushing to registry"),
            Refuses(&["-o", "type=image,compression=zstd"], "invalid field 'compression=zstd'"),
        ],
    )
    .seen("files in a directory and an archive, an archive that `load` takes, a name by `name=`"),
    row(
        "--platform",
        "The platform of base images and of `TARGETPLATFORM`",
        &[
            Does(acts::platform),
            Refuses(&["--platform=linux/amd64,linux/arm64"], "Multi-platform build is not supported"),
        ],
    )
    .seen("the value of the argument with the daemon's own platform"),
    row(
        "--progress",
        "`auto`, `plain`, `tty`, `rawjson`, `quiet` or `none`; `BUILDKIT_PROGRESS` says the same",
        &[
            Does(acts::progress),
            Refuses(&["--progress=fancy"], "invalid progress \"fancy\""),
            Refuses(&["--progress=tty"], "failed to get console"),
        ],
    )
    .seen("lines with numbers, JSON, nothing"),
    row(
        "--provenance",
        "Refused unless it says false",
        &[
            Builds(&["--provenance=false"], "RUN true"),
            Refuses(&["--provenance=mode=max"], "Attestation is not supported"),
        ],
    ),
    row("--pull", "Asks the registry for the base images", &[Does(acts::pull)])
        .seen("one that is here and whose registry is away is taken, with `--pull` it is not"),
    row(
        "--push",
        "Brings the image to its registry",
        &[Does(acts::push), Refuses(&["--push"], "tag is needed when pushing to registry")],
    )
    .seen("the registry is asked for; the error names it"),
    row("--quiet", "Prints the image's id alone", &[Does(acts::quiet)])
        .seen("one line; what a failed command wrote is shown"),
    row("--rm", "`--rm=false` keeps the containers of `RUN`", &[Does(acts::containers_stay)])
        .seen("`ps -a` shows it with its code"),
    row(
        "--sbom",
        "Refused unless it says false",
        &[
            Builds(&["--sbom=false"], "RUN true"),
            Refuses(&["--sbom=true"], "Attestation is not supported"),
        ],
    ),
    row(
        "--secret",
        "A secret for `RUN --mount=type=secret`: of a file, or of a variable",
        &[
            Builds(
                &["--secret", "id=s,env=PATH", "--secret", "id=f,src=/etc/hostname"],
                "RUN --mount=type=secret,id=s --mount=type=secret,id=f,target=/f grep -q / /run/secrets/s && test -s /f\nRUN test ! -e /f",
            ),
            Refuses(&["--secret", "id=s,src=/does/not/exist"], "/does/not/exist"),
            Refuses(&["--secret", "src=/etc/hostname"], "has no id"),
        ],
    ),
    row(
        "--security-opt",
        "Refused, as by Docker on Linux",
        &[Refuses(
            &["--security-opt", "seccomp=unconfined"],
            "does not support setting security options on build",
        )],
    ),
    row(
        "--shm-size",
        "The size of `/dev/shm` of `RUN`",
        &[
            Builds(&["--shm-size=32m"], "RUN df -k /dev/shm | grep -q ' 32768 '"),
            Refuses(&["--shm-size=x"], "invalid"),
        ],
    ),
    row(
        "--squash",
        "Refused, as by a daemon without experimental features",
        &[Refuses(
            &["--squash"],
            "squash is only supported with experimental mode | is only supported on a Docker daemon with experimental features enabled",
        )],
    ),
    row(
        "--ssh",
        "An agent for `RUN --mount=type=ssh` and Git over SSH",
        &[
            Refuses(&["--ssh", "default=/does/not/exist"], "/does/not/exist"),
            Refuses(&["--ssh", "default=/etc/hostname"], "is no agent's socket"),
        ],
    )
    .seen("the keys of an agent, listed in `RUN` (test `build::inputs`)"),
    row(
        "--tag",
        "Names of the image",
        &[
            Does(acts::tags),
            Refuses(&["--tag", "UPPER"], "must be lowercase"),
            Refuses(&["--tag", "a@sha256:0"], "invalid reference format"),
        ],
    )
    .seen("all of them have the same id"),
    row(
        "--target",
        "The stage to build",
        &[
            Does(acts::target),
            Refuses(&["--target=none"], "target stage \"none\" could not be found"),
        ],
    )
    .seen("the file of that stage, and none of a later one"),
    row(
        "--ulimit",
        "A limit of the processes of `RUN`",
        &[
            Builds(&["--ulimit=nofile=100:200"], "RUN test \"$(ulimit -Sn) $(ulimit -Hn)\" = '100 200'"),
            Refuses(&["--ulimit=nonsense=1"], "invalid ulimit type: nonsense"),
        ],
    ),
];
