//! Advice about Dockerfiles, files that builds write, and what is left when one is cut off.

use std::process::Stdio;

use anyhow::{Result, ensure};
use e2e::Program;

use super::{Files, World, build, built, in_image, nothing_is_left, with};

both_clients!(the_same_time_gives_the_same_image, a_build_ends_with_its_client);

#[test]
fn advice_is_given() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox\nCOPY skipped /\nLABEL a=$NOBODY\nCMD echo\n";
        let parts = [("Dockerfile", dockerfile), (".dockerignore", "skipped\n")];
        let files = Files::new(world, "ctx", &parts)?;
        let ran = build(world, &files, &["--check"])?;
        ensure!(ran.code == 1, "{ran:?}");
        for part in [
            "JSONArgsRecommended: Dockerfile:4:1",
            "CopyIgnoredFile: Dockerfile:2:6",
            "UndefinedVar: Dockerfile:3:1",
            "3 warnings have been found",
        ] {
            ensure!(ran.stderr.contains(part), "{ran:?}");
        }
        files.write("Dockerfile", "FROM busybox\nCMD echo\n")?;
        ensure!(built(world, &files, &["-t", "x"])?.contains("JSONArgsRecommended"));
        let strict = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true"];
        ensure!(build(world, &files, &strict)?.code == 1);
        files.write(
            "Dockerfile",
            "# check=skip=JSONArgsRecommended;error=true\nFROM busybox\nCMD echo\n",
        )?;
        built(world, &files, &["-t", "x"])?;
        ensure!(built(world, &files, &["--check"])?.contains("no warnings found"));
        files.write("Dockerfile", "FROM busybox\nRAN x\n")?;
        let ran = build(world, &files, &["--check"])?;
        ensure!(ran.code == 1 && ran.stderr.contains("did you mean RUN"), "{ran:?}");
        Ok(())
    })
}

#[test]
fn files_tell_of_the_image() -> Result<()> {
    with(Program::Teu, |world| {
        let files = Files::new(world, "ctx", &[("Dockerfile", "FROM busybox\nRUN echo x > /x\n")])?;
        let path = |name: &str| world.host.scratch().join(name).display().to_string();
        let (iid, metadata) = (path("iid"), path("metadata"));
        let oci = format!("type=oci,dest={}", path("oci.tar"));
        let local = format!("type=local,dest={}", path("out"));
        let tar = format!("type=tar,dest={}", path("tar"));
        let args = ["-t", "m:1", "--iidfile", &iid, "--metadata-file", &metadata, "--load"];
        let outputs = ["-o", &oci, "-o", &local, "-o", &tar];
        built(world, &files, &[&args[..], &outputs].concat())?;
        let id = world.client.run(&["images", "-q", "--no-trunc", "m:1"])?;
        ensure!(std::fs::read_to_string(&iid)? == id.trim());
        let metadata: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(metadata)?)?;
        ensure!(metadata["containerimage.config.digest"] == id.trim(), "{metadata}");
        ensure!(metadata["image.name"] == "m:1", "{metadata}");
        ensure!(std::fs::read_to_string(format!("{}/x", path("out")))? == "x\n");
        for (archive, name) in [("oci.tar", "oci-layout"), ("tar", "x")] {
            let listed =
                std::process::Command::new("tar").args(["-tf", &path(archive)]).output()?;
            let listed = String::from_utf8(listed.stdout)?;
            ensure!(listed.lines().any(|line| line.trim_start_matches("./") == name), "{listed}");
        }
        let raw = world.client.run(&[
            "build",
            "--progress",
            "rawjson",
            &files.path().display().to_string(),
        ])?;
        let first: serde_json::Value = serde_json::from_str(raw.lines().next().unwrap_or("?"))?;
        ensure!(first["event"]["type"] == "started", "{raw}");
        nothing_is_left(world)
    })
}

fn the_same_time_gives_the_same_image(world: &World) -> Result<()> {
    let dockerfile = "FROM busybox\nARG SOURCE_DATE_EPOCH\nWORKDIR /a/b\nCOPY f .\n\
        RUN echo x > y && mkdir d\nCMD [\"sh\"]\n";
    let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile), ("f", "f")])?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let epoch = "SOURCE_DATE_EPOCH=1000000000";
        built(world, &files, &["-t", "r", "--no-cache", "--build-arg", epoch])?;
        ids.push(world.client.run(&["images", "-q", "--no-trunc", "r"])?);
        // Another time of the files does not count either.
        let file = std::fs::File::options().write(true).open(files.path().join("f"))?;
        file.set_modified(std::time::SystemTime::now())?;
    }
    ensure!(ids[0] == ids[1], "{ids:?}");
    let created = world.client.run(&["image", "inspect", "-f", "{{.Created}}", "r"])?;
    ensure!(created.starts_with("2001-09-09T01:46:40"), "{created}");
    ensure!(in_image(world, "r", "stat -c %Y /a/b/y /a/b/d /a/b/f | sort -u")? == "1000000000\n");
    Ok(())
}

/// A build whose command runs and does not end by itself.
fn endless(world: &World) -> Result<std::process::Child> {
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c sleep 600\n";
    let files = Files::new(world, "endless", &[("Dockerfile", dockerfile)])?;
    let mut command = world.client.command(&["build", &files.path().display().to_string()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    e2e::eventually("the command runs", || {
        ensure!(!world.host.teu().run(&["ps", "-q"])?.is_empty(), "no container");
        Ok(())
    })?;
    Ok(child)
}

fn a_build_ends_with_its_client(world: &World) -> Result<()> {
    let mut client = endless(world)?;
    client.kill()?;
    client.wait()?;
    e2e::eventually("the build's things go", || nothing_is_left(world))
}

#[test]
fn a_killed_daemon_leaves_nothing_of_a_build() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let mut world = World::new(Program::Teu)?;
    let mut client = endless(&world)?;
    world.host.kill_daemon()?;
    client.wait()?;
    world.host.start_daemon()?;
    e2e::eventually("the build's things go", || nothing_is_left(&world))?;
    let private = std::fs::read_dir(world.host.exec_root())?.flatten();
    let private = private.filter(|e| e.file_name().to_string_lossy().starts_with("build-"));
    ensure!(private.count() == 0, "a build's directory is left");
    // The next build has the cache mount, and everything else.
    let files = Files::new(
        &world,
        "next",
        &[("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c echo ok > /ok\n")],
    )?;
    built(&world, &files, &["-t", "n"])?;
    ensure!(in_image(&world, "n", "cat /ok")? == "ok\n");
    Ok(())
}

#[test]
fn a_terminal_shows_steps_as_they_go() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox\nRUN echo said && echo x > /x\nRUN cat /x\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
        let path = files.path().display().to_string();
        for mark in ["", "\u{1b}[36mCACHED\u{1b}[0m "] {
            let pty = world.client.terminal(&["build", "-t", "p", "--progress", "tty", &path])?;
            let (status, shown) = pty.finish(e2e::DEADLINE)?;
            ensure!(status.success(), "{shown}");
            let step = format!("=> {mark}[stage-0 2/3] RUN echo said");
            ensure!(shown.contains(&step), "{shown}");
            ensure!(shown.contains("naming to p:latest"), "{shown}");
        }
        files.write("Dockerfile", "FROM busybox\nRUN echo before the end; exit 3\n")?;
        let pty = world.client.terminal(&["build", &path])?;
        let (status, shown) = pty.finish(e2e::DEADLINE)?;
        ensure!(status.code() == Some(1), "{status} {shown}");
        // The last lines are shown again, as the steps' own lines are gone by then.
        for part in ["before the end", "returned a non-zero code: 3", "Dockerfile:2:1"] {
            ensure!(shown.contains(part), "{shown}");
        }
        let ran = build(world, &files, &["--progress", "tty"])?;
        ensure!(ran.code == 1 && ran.stderr.contains("no terminal"), "{ran:?}");
        let ran = build(world, &files, &["--progress", "what"])?;
        ensure!(ran.code == 1 && ran.stderr.contains("invalid progress"), "{ran:?}");
        nothing_is_left(world)
    })
}
