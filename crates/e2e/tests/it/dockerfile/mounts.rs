//! RUN with --mount, --network and --security.

use anyhow::{Result, ensure};
use e2e::Program;

use super::{made, refused};
use crate::build::{in_image, nothing_is_left};
use crate::with;

const BINDS: &str = r#"FROM busybox AS src
RUN mkdir -p /d/sub && echo one > /d/a && echo two > /d/sub/b && chown 7:8 /d/a
FROM busybox
WORKDIR /w
RUN --mount=target=/ctx set -e; test "$(cat /ctx/dir/f)" = ctx; if touch /ctx/new; then exit 1; fi
RUN --mount=type=bind,source=dir,target=rel,rw set -e; cat rel/f; echo changed > rel/f; touch rel/new; test "$(cat /w/rel/f)" = changed
RUN --mount=type=bind,source=dir,target=rel set -e; test "$(cat rel/f)" = ctx; test ! -e rel/new
RUN --mount=type=bind,source=dir/f,target=/one test "$(cat /one)" = ctx
RUN --mount=type=bind,source=dir/f,target=/one,rw=true echo more >> /one && test "$(wc -l < /one)" = 2
RUN --mount=type=bind,from=src,source=/d,target=/s test "$(stat -c %u:%g /s/a)" = 7:8 && test "$(cat /s/sub/b)" = two
RUN --mount=type=bind,from=src,target=/s,rw echo x > /s/d/a && rm /s/d/sub/b
RUN --mount=type=bind,from=src,target=/s test "$(cat /s/d/a /s/d/sub/b)" = "$(printf 'one\ntwo')"
RUN --mount=type=bind,from=0,source=/d/a,target=/s test "$(cat /s)" = one
RUN --mount=from=busybox,source=/etc/passwd,target=/pw grep -q root /pw
RUN --mount=type=tmpfs,target=/t,size=1m set -e; df -k /t | grep -q ' 1024 '; grep -q ' /t tmpfs ' /proc/mounts; echo x > /t/f
RUN --mount=type=bind,source=dir,target=/both/a --mount=type=tmpfs,target=/both/b test -f /both/a/f && test -z "$(ls /both/b)"
RUN mkdir /kept && touch /kept/file
RUN --mount=type=tmpfs,target=/kept test -z "$(ls /kept)"
"#;

#[test]
fn binds_bring_files_in_and_leave_no_trace() -> Result<()> {
    with(Program::Teu, |world| {
        made(world, BINDS, &[("dir/f", "ctx\n")], &[])?;
        let seen =
            in_image(world, "t", "ls -d /ctx /one /s /pw /t /both 2>/dev/null; ls /w /kept")?;
        ensure!(seen == "/kept:\nfile\n\n/w:\n", "{seen:?}");
        nothing_is_left(world)
    })
}

#[test]
fn what_a_bind_shows_counts_for_the_cache() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox\n\
            RUN --mount=source=seen,target=/s cat /proc/sys/kernel/random/uuid > /id\n";
        let id = |files: &[(&str, &str)]| -> Result<String> {
            made(world, dockerfile, files, &[])?;
            in_image(world, "t", "cat /id")
        };
        let first = id(&[("seen/f", "1"), ("other", "1")])?;
        ensure!(id(&[("seen/f", "1"), ("other", "2")])? == first, "a file that it does not show");
        ensure!(id(&[("seen/f", "2"), ("other", "2")])? != first, "a file that it shows");
        ensure!(id(&[("seen/f", "1"), ("other", "3")])? == first, "it was known already");
        Ok(())
    })
}

#[test]
fn cache_mounts_are_kept_between_builds() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox AS seed\nRUN mkdir /seed && echo seeded > /seed/f\n\
            FROM busybox\nARG N\n\
            RUN --mount=type=cache,target=/c,uid=7,gid=8,mode=0710 \
              stat -c %u:%g:%a /c | grep -qx 7:8:710 && echo $N >> /c/log && cp /c/log /log\n\
            RUN --mount=type=cache,id=other,target=/c test ! -e /c/log && touch /c/log\n\
            RUN --mount=type=cache,id=ro,target=/c,ro if touch /c/x; then exit 1; fi\n\
            RUN --mount=type=cache,id=seeded,from=seed,source=/seed,target=/c \
              grep -q seeded /c/f && echo added >> /c/f\n";
        for (number, args) in [("1", ""), ("2", ""), ("3", "--no-cache")] {
            let number = format!("N={number}");
            let mut all = vec!["--build-arg", number.as_str()];
            all.extend(Some(args).filter(|args| !args.is_empty()));
            // Of another id: it finds its own file the second time.
            let dockerfile = match number.as_str() {
                "N=1" => dockerfile.to_owned(),
                _ => dockerfile.replace("test ! -e /c/log", "test -e /c/log"),
            };
            made(world, &dockerfile, &[], &all)?;
        }
        let seen = in_image(world, "t", "cat /log; ls -d /c 2>/dev/null; true")?;
        ensure!(seen == "1\n2\n3\n", "{seen}");
        let look = "FROM busybox\nRUN --mount=type=cache,id=seeded,target=/c cp /c/f /f\n";
        made(world, look, &[], &[])?;
        ensure!(in_image(world, "t", "cat /f")? == "seeded\nadded\nadded\nadded\n");
        nothing_is_left(world)
    })
}

/// Waits until the other stage was here, too; a name on both sides tells whom to wait for.
fn meet(own: &str, other: &str) -> String {
    format!(
        "touch /meet/{own}; i=0; until test -e /meet/{other}; do i=$((i+1)); test $i -lt 200 || exit 9; sleep 0.1; done"
    )
}

#[test]
fn stages_share_cache_mounts_as_they_ask_for() -> Result<()> {
    with(Program::Teu, |world| {
        let stage = |name: &str, own: &str, other: &str| {
            format!(
                "FROM busybox AS {name}\n\
                 RUN --mount=type=cache,id=meet,target=/meet --mount=type=cache,id=p,target=/p,sharing=private \
                   touch /p/{own} && {} && test \"$(ls /p)\" = {own}\n\
                 RUN --mount=type=cache,id=l,target=/l,sharing=locked \
                   mkdir /l/busy && sleep 0.3 && rmdir /l/busy && echo {own} > /done\n",
                meet(own, other)
            )
        };
        let dockerfile = format!(
            "{}{}FROM busybox\nCOPY --from=one /done /1\nCOPY --from=two /done /2\n",
            stage("one", "a", "b"),
            stage("two", "b", "a"),
        );
        made(world, &dockerfile, &[], &[])?;
        ensure!(in_image(world, "t", "cat /1 /2")? == "a\nb\n");
        nothing_is_left(world)
    })
}

#[test]
fn a_run_has_the_network_that_it_asks_for() -> Result<()> {
    with(Program::Teu, |world| {
        let bridge = world.host.bridge();
        let dockerfile = format!(
            "FROM busybox\n\
             RUN test \"$(ls /sys/class/net | grep -c eth0)\" = 1\n\
             RUN --network=default test -e /sys/class/net/eth0\n\
             RUN --network=none test \"$(ls /sys/class/net)\" = lo\n\
             RUN --network=host test -e /sys/class/net/{bridge}\n\
             RUN --security=sandbox test \"$(grep CapEff /proc/self/status | tr -d '[:space:]')\" != CapEff:000001ffffffffff\n"
        );
        made(world, &dockerfile, &[], &[])?;
        let none = "FROM busybox\nRUN test \"$(ls /sys/class/net)\" = lo\n\
            RUN --network=default test \"$(ls /sys/class/net)\" = lo\n";
        made(world, none, &[], &["--network", "none"])?;
        for (line, part) in [
            ("RUN --security=insecure true", "security.insecure is not allowed"),
            ("RUN --network=what true", "unsupported network mode"),
            ("RUN --mount=type=bind,from=nowhere,target=/a,source=/x true", "nowhere"),
            ("RUN --mount=type=bind,source=none,target=/a true", "not found"),
            ("RUN --mount=type=bind,source=../../etc,target=/a true", "not found"),
            ("RUN --mount=type=what,target=/a true", "unsupported mount type"),
            ("RUN --mount=type=cache,taget=/a true", "did you mean target?"),
        ] {
            let told = refused(world, &format!("FROM busybox\n{line}\n"), &[], &[])?;
            ensure!(told.contains(part) && told.contains("Dockerfile:2:"), "{line}: {told}");
        }
        nothing_is_left(world)
    })
}
