//! Several stages: which are built, in which order, and what they take from each other.

use anyhow::{Result, ensure};
use e2e::Program;

use super::{made, refused};
use crate::build::{in_image, nothing_is_left};
use crate::with;

#[test]
fn only_stages_that_are_needed_are_built() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox AS base\nRUN echo base > /base\n\
            FROM nowhere.invalid/none AS unreachable\nRUN false\n\
            FROM base AS Mid\nRUN echo mid > /mid\n\
            FROM base AS broken\nRUN exit 8\n\
            FROM scratch\nCOPY --from=mid /mid /base /\nCOPY --from=2 /mid /by-number\n\
            COPY --from=busybox /bin/busybox /bin/sh\nCMD [\"/bin/sh\"]\n";
        let told = made(world, dockerfile, &[], &[])?;
        ensure!(!told.contains("exit 8") && !told.contains("nowhere"), "{told}");
        let seen = in_image(world, "t", "echo /*; read a < /by-number; echo $a")?;
        ensure!(seen == "/base /bin /by-number /dev /etc /mid /proc /sys\nmid\n", "{seen}");
        for (target, code) in [("mid", 0), ("MID", 0), ("2", 0), ("broken", 8)] {
            let ran = super::make(world, dockerfile, &[], &["--target", target])?;
            ensure!((ran.code != 0) == (code != 0), "{target}: {ran:?}");
        }
        let told = refused(world, dockerfile, &[], &["--target", "mif"])?;
        ensure!(told.contains("target stage") && told.contains("did you mean mid?"), "{told}");
        nothing_is_left(world)
    })
}

#[test]
fn a_failing_stage_ends_the_others() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox AS one\nRUN sleep 3600\n\
            FROM busybox AS two\nRUN echo it is me; exit 5\n\
            FROM busybox\nCOPY --from=one /etc/passwd /1\nCOPY --from=two /etc/passwd /2\n";
        let told = refused(world, dockerfile, &[], &[])?;
        ensure!(told.contains("non-zero code: 5") && told.contains("it is me"), "{told}");
        nothing_is_left(world)
    })
}

#[test]
fn mistakes_between_stages_are_told() -> Result<()> {
    with(Program::Teu, |world| {
        for (dockerfile, part) in [
            ("FROM busybox AS a\nCOPY --from=a /x /y\n", "circular dependency"),
            ("FROM busybox AS a\nCOPY --from=b /x /y\nFROM a AS b\n", "begins on line 3"),
            (
                "FROM busybox\nRUN --mount=from=b,target=/x true\nFROM busybox AS b\n",
                "begins on line 3",
            ),
            (
                "FROM busybox AS a\nFROM busybox\nCOPY --from=A /none /y\n",
                "none: file does not exist",
            ),
            (
                "FROM busybox AS builder\nFROM busybox\nCOPY --from=bulider /x /y\n",
                "did you mean the stage builder?",
            ),
            ("FROM busybox AS 1a\n", "invalid name for build stage"),
            ("FROM busybox AS\n", "one or three arguments"),
            ("FROM Busybox\n", "must be lowercase"),
            ("FROM --platform=windows/amd64 busybox\n", "windows/amd64"),
            ("FROM nowhere.invalid/x:1\n", "nowhere.invalid"),
            ("FROM busybox\nFROM\n", "one or three arguments"),
        ] {
            // The mistake is not in the last stage, which is the one that is built.
            let target: &[&str] = if part.starts_with("begins") { &["--target", "0"] } else { &[] };
            let told = refused(world, dockerfile, &[], target)?;
            ensure!(told.contains(part) && told.contains("Dockerfile:"), "{dockerfile}: {told}");
        }
        nothing_is_left(world)
    })
}

#[test]
fn stages_go_on_until_they_need_another() -> Result<()> {
    with(Program::Teu, |world| {
        // Each waits for the other in a command of its own before one copies from the other.
        let wait = |own: &str, other: &str| {
            format!(
                "RUN --mount=type=cache,id=meet,target=/m touch /m/{own}; i=0; \
                 until test -e /m/{other}; do i=$((i+1)); test $i -lt 200 || exit 9; sleep 0.1; done\n"
            )
        };
        let dockerfile = format!(
            "FROM busybox AS one\n{}RUN echo made > /f\nFROM busybox\n{}COPY --from=one /f /f\n",
            wait("a", "b"),
            wait("b", "a")
        );
        made(world, &dockerfile, &[], &[])?;
        ensure!(in_image(world, "t", "cat /f")? == "made\n");
        nothing_is_left(world)
    })
}
