//! What an image hands on to those that are built on it, and what its own lines change.

use anyhow::{Context as _, Result, ensure};
use e2e::Program;
use serde_json::{Value, json};

use super::{made, refused};
use crate::build::{in_image, nothing_is_left};
use crate::{World, with};

fn config(world: &World, image: &str) -> Result<Value> {
    let shown = world.client.run(&["image", "inspect", image])?;
    let shown: Value = serde_json::from_str(&shown)?;
    Ok(shown.get(0).context("an image")?["Config"].clone())
}

#[test]
fn triggers_fire_in_the_next_build_only() -> Result<()> {
    with(Program::Teu, |world| {
        let base = "FROM busybox\nWORKDIR /w\nONBUILD ARG A=default\nONBUILD COPY f here/\n\
            ONBUILD RUN echo $A > ran && echo fired\nONBUILD ENV SEEN=$A\n\
            ONBUILD COPY <<e /inline\ninline $A\ne\n\
            ONBUILD COPY --from=helper /made /from-helper\n\
            ONBUILD RUN --mount=from=helper,target=/h cp /h/made /from-mount\n";
        made(world, base, &[], &[])?;
        let seen = in_image(world, "t", "ls /w; ls / | grep -c inline; true")?;
        ensure!(seen == "0\n", "a trigger fired at once: {seen}");
        ensure!(config(world, "t")?["OnBuild"].as_array().map(Vec::len) == Some(7));
        world.client.run(&["tag", "t", "onbuild"])?;
        let helper = "FROM busybox AS helper\nRUN echo helped > /made\n";
        let child = format!("{helper}FROM onbuild\nRUN cat ran here/f /inline > all\n");
        let told = made(world, &child, &[("f", "file\n")], &["--build-arg", "A=given"])?;
        ensure!(told.contains("fired"), "{told}");
        let look = "cat /w/all /from-helper /from-mount; echo $SEEN";
        let seen = in_image(world, "t", look)?;
        ensure!(seen == "given\nfile\ninline given\nhelped\nhelped\ngiven\n", "{seen}");
        ensure!(config(world, "t")?["OnBuild"].is_null(), "triggers are handed on");
        world.client.run(&["tag", "t", "child"])?;
        made(world, "FROM child\nRUN cat all\n", &[], &[])?;
        // Also by way of a stage.
        let staged = format!("{helper}FROM onbuild AS base\nFROM base\nRUN test -e ran\n");
        made(world, &staged, &[("f", "")], &[])?;
        let told = refused(world, "FROM onbuild\n", &[("f", "")], &[])?;
        ensure!(told.contains("helper") && told.contains("Dockerfile:1:6"), "{told}");
        nothing_is_left(world)
    })
}

const BASE: &str = r#"FROM busybox
ENV A=1 B="two words" C='$A' D=\$A
ENV OLD the rest  of it
LABEL keep=1 change=1 "with space"="x y" multi="a\
b"
WORKDIR /base
WORKDIR rel
USER user
EXPOSE 80/tcp
VOLUME ["/v 1", "/v2"]
STOPSIGNAL INT
HEALTHCHECK --interval=10s --timeout=2s --start-period=3s --start-interval=1s --retries=4 CMD ["true", "x"]
ENTRYPOINT ["/bin/echo", "entry"]
CMD ["cmd"]
"#;

#[test]
fn configuration_is_handed_on_until_it_is_changed() -> Result<()> {
    with(Program::Teu, |world| {
        made(world, BASE, &[], &[])?;
        let seen = config(world, "t")?;
        let env = seen["Env"].as_array().context("Env")?.clone();
        for entry in ["A=1", "B=two words", "C=$A", "D=$A", "OLD=the rest  of it"] {
            ensure!(env.contains(&json!(entry)), "{entry}: {env:?}");
        }
        ensure!(
            seen["Labels"]
                == json!({"keep": "1", "change": "1", "with space": "x y", "multi": "ab"}),
            "{}",
            seen["Labels"]
        );
        ensure!(seen["WorkingDir"] == "/base/rel" && seen["User"] == "user", "{seen}");
        ensure!(seen["Volumes"] == json!({"/v 1": {}, "/v2": {}}), "{seen}");
        let health = json!({"Test": ["CMD", "true", "x"], "Interval": 10_000_000_000_u64,
            "Timeout": 2_000_000_000_u64, "StartPeriod": 3_000_000_000_u64,
            "StartInterval": 1_000_000_000_u64, "Retries": 4});
        ensure!(seen["Healthcheck"] == health, "{}", seen["Healthcheck"]);
        ensure!(world.client.run(&["run", "--rm", "t"])? == "entry cmd\n");
        world.client.run(&["tag", "t", "base"])?;

        let child = "FROM base\nARG TO=2\nENV A=${TO}0 PORT=90\nLABEL change=$A\nEXPOSE $PORT\n\
            USER root\nWORKDIR ..\nRUN test \"$PWD $(id -u)\" = '/base 0'\nHEALTHCHECK NONE\n\
            STOPSIGNAL SIGUSR1\nENTRYPOINT [\"/bin/echo\", \"child\"]\n\
            ONBUILD RUN true\n";
        made(world, child, &[], &["--label", "change=3"])?;
        let seen = config(world, "t")?;
        ensure!(seen["Labels"]["change"] == "3" && seen["Labels"]["keep"] == "1", "{seen}");
        ensure!(seen["ExposedPorts"] == json!({"80/tcp": {}, "90/tcp": {}}), "{seen}");
        ensure!(seen["Healthcheck"]["Test"] == json!(["NONE"]), "{seen}");
        ensure!(seen["StopSignal"] == "SIGUSR1" && seen["WorkingDir"] == "/base", "{seen}");
        ensure!(seen["Env"].as_array().is_some_and(|env| env.contains(&json!("A=20"))), "{seen}");
        // An entrypoint of its own takes the inherited command away.
        ensure!(world.client.run(&["run", "--rm", "t"])? == "child\n");
        Ok(())
    })
}

#[test]
fn the_shell_form_goes_to_the_shell_that_was_said() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = r#"FROM busybox
RUN test "$0" = /bin/sh
SHELL ["/bin/busybox", "sh", "-e", "-c"]
RUN false; echo not reached > /reached || true
"#;
        let told = refused(world, dockerfile, &[], &[])?;
        ensure!(told.contains("Dockerfile:4:1"), "{told}");
        let dockerfile = r#"FROM busybox
SHELL ["/bin/busybox", "sh", "-x", "-c"]
RUN ["/bin/sh", "-c", "echo $0 > /exec"]
RUN echo $- > /flags
CMD echo of the shell form
HEALTHCHECK CMD echo ok
"#;
        made(world, dockerfile, &[], &[])?;
        let seen = in_image(world, "t", "cat /exec; grep -c x /flags")?;
        ensure!(seen == "/bin/sh\n1\n", "{seen}");
        let seen = config(world, "t")?;
        ensure!(seen["Cmd"] == json!(["/bin/busybox", "sh", "-x", "-c", "echo of the shell form"]));
        ensure!(seen["Shell"] == json!(["/bin/busybox", "sh", "-x", "-c"]), "{seen}");
        world.client.run(&["tag", "t", "shelled"])?;
        made(world, "FROM shelled\nRUN echo $- > /flags\n", &[], &[])?;
        ensure!(in_image(world, "t", "grep -c x /flags")? == "1\n", "SHELL is not handed on");
        Ok(())
    })
}

#[test]
fn arguments_and_directives_act_as_documented() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = r#"# syntax=docker/dockerfile:1.7-labs
# escape=`
# check=skip=all
ARG BASE=busybox
ARG UNUSED=x
FROM ${BASE} AS one
ARG BASE
ARG A=${BASE:-none}-${B:+b} `
    C="d e"
ENV D=back\slash
RUN test "$A $C" = "busybox- d e" && test "$D" = 'back\slash' && test -z "$UNUSED" && `
    test "$HTTP_PROXY" = http"://"p
FROM one
RUN test -z "$A" && test "$D" = 'back\slash'
ARG TARGETARCH
ARG TARGETPLATFORM
RUN test -n "$TARGETARCH" && test "$TARGETPLATFORM" = linux/$TARGETARCH
"#;
        let told = made(
            world,
            dockerfile,
            &[],
            // One that the environment does not have is none, and takes no default away.
            &["--build-arg", "HTTP_PROXY=http://p", "--build-arg", "NOBODY=1", "--build-arg", "C"],
        )?;
        ensure!(told.contains("[NOBODY] were not consumed"), "{told}");
        // Proxies are neither in the history nor in the environment.
        let history = world.client.run(&["history", "--no-trunc", "t"])?;
        ensure!(!history.contains("http://p"), "{history}");
        ensure!(in_image(world, "t", "echo $HTTP_PROXY")? == "\n");
        let told = refused(world, "# escape=x\nFROM busybox\n", &[], &[])?;
        ensure!(told.contains("invalid escape token"), "{told}");
        let told = refused(world, "ARG V\nFROM $V\n", &[], &[])?;
        ensure!(told.contains("should not be blank"), "{told}");
        Ok(())
    })
}

#[test]
fn every_base_has_a_path_to_put_something_before() -> Result<()> {
    with(Program::Teu, |world| {
        let bare = world.client.run(&["inspect", "busybox"])?;
        ensure!(!bare.contains("PATH="), "the base has one of its own: {bare}");
        let lines = "FROM busybox AS one\nENV PATH=/own:$PATH\nRUN ls / > /listed\n\
            FROM scratch\nENV PATH=/own:$PATH\nCOPY --from=one /listed /\n";
        let default = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        for target in ["one", "1"] {
            made(world, lines, &[], &["--target", target])?;
            let env = world.client.run(&["inspect", "-f", "{{json .Config.Env}}", "t"])?;
            ensure!(env == format!("[\"PATH=/own:{default}\"]\n"), "{target}: {env}");
        }
        // The image itself is not another one by it.
        let id = |name| world.client.run(&["images", "-q", "--no-trunc", name]);
        made(world, "FROM busybox\n", &[], &[])?;
        ensure!(id("t")? == id("busybox")?, "FROM alone makes another image");
        Ok(())
    })
}
