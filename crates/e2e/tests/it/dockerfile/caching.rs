//! When a step is done again, and when it is not.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use e2e::{Host, Program, is_root};

use crate::build::{Files, built};
use crate::{World, with};

/// An image that is another one every time it is really built.
const LINES: &str = "FROM busybox\nARG USED=1\nCOPY --chmod=644 one /one\nCOPY d /d\n\
    RUN echo $USED; cat /proc/sys/kernel/random/uuid > /id\n";

fn id(world: &World, files: &Files, args: &[&str]) -> Result<String> {
    Ok(built(world, files, &[&["-q"], args].concat())?.trim().to_owned())
}

#[test]
fn a_step_is_the_same_if_all_that_counts_is() -> Result<()> {
    with(Program::Teu, |world| {
        let mut all = vec![("Dockerfile", LINES), ("one", "1"), ("d/f", "f"), ("other", "1")];
        let files = Files::new(world, "ctx", &all)?;
        let first = id(world, &files, &[])?;
        let same = |what: &str, args: &[&str]| -> Result<()> {
            let now = id(world, &files, args)?;
            ensure!(now == first, "{what}: was built again");
            Ok(())
        };
        let other = |what: &str, args: &[&str]| -> Result<()> {
            let now = id(world, &files, args)?;
            ensure!(now != first, "{what}: was not built again");
            Ok(())
        };
        same("nothing changed", &[])?;
        files.write("other", "2")?;
        same("a file that is not copied", &[])?;
        files.write("Dockerfile", &LINES.replace("COPY d ", "# a comment\nCOPY    d   "))?;
        same("the form of the Dockerfile", &[])?;
        files.write("Dockerfile", LINES)?;
        same("the default that it has", &["--build-arg", "USED=1"])?;
        same("an argument nobody declares", &["--build-arg", "UNUSED=2"])?;
        same("labels of the result", &["--label", "a=b"]).err();
        other("an argument", &["--build-arg", "USED=2"])?;
        other("no cache", &["--no-cache"])?;
        // That build is now the newest of the same steps.
        let first = id(world, &files, &[])?;
        let f = files.path().join("d/f");
        let mode = |mode| std::fs::set_permissions(&f, std::fs::Permissions::from_mode(mode));
        mode(0o755)?;
        ensure!(id(world, &files, &[])? != first, "the mode counts");
        mode(0o644)?;
        ensure!(id(world, &files, &[])? == first, "it is known from before");
        let one = files.path().join("one");
        std::fs::set_permissions(&one, std::fs::Permissions::from_mode(0o600))?;
        ensure!(id(world, &files, &[])? != first, "the mode in the context counts");
        std::fs::set_permissions(&one, std::fs::Permissions::from_mode(0o644))?;
        std::os::unix::fs::chown(&f, Some(7), Some(8))?;
        ensure!(id(world, &files, &[])? == first, "owners in a context are nobody's business");
        std::fs::rename(&f, files.path().join("d/g"))?;
        ensure!(id(world, &files, &[])? != first, "the name counts");
        std::fs::rename(files.path().join("d/g"), &f)?;
        // Another directory with the same files, sent in another way.
        all.reverse();
        let again = Files::new(world, "elsewhere", &all)?;
        ensure!(id(world, &again, &[])? == first, "the context is another one");
        let mut tar = std::process::Command::new("tar");
        let tar =
            tar.arg("-C").arg(again.path()).args(["-cf", "-", "other", "d", "one", "Dockerfile"]);
        let ran = world.client.try_run_with_input(&["build", "-q", "-"], &tar.output()?.stdout)?;
        ensure!(ran.ok()?.trim() == first, "an archive with the same files");
        Ok(())
    })
}

#[test]
fn results_of_stages_count_and_not_how_they_came_to_be() -> Result<()> {
    with(Program::Teu, |world| {
        let lines = "FROM busybox AS one\nCOPY in /in\nRUN cut -c1 /in > /out\n\
            FROM busybox\nCOPY --from=one /out /out\nRUN cat /proc/sys/kernel/random/uuid > /id\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", lines), ("in", "ab")])?;
        let first = id(world, &files, &[])?;
        files.write("in", "ac")?;
        ensure!(id(world, &files, &[])? == first, "the same result of another stage");
        files.write("in", "bc")?;
        ensure!(id(world, &files, &[])? != first, "another result");
        // The base is another one under the same name.
        files.write("Dockerfile", "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /id\n")?;
        world.client.run(&["tag", "busybox", "base"])?;
        let first = id(world, &files, &[])?;
        world.client.run(&["tag", &first, "base"])?;
        let second = id(world, &files, &[])?;
        ensure!(second != first);
        world.client.run(&["tag", "busybox", "base"])?;
        ensure!(id(world, &files, &[])? == first, "the base is as it was");
        Ok(())
    })
}

#[test]
fn the_same_time_makes_the_same_image() -> Result<()> {
    with(Program::Teu, |world| {
        let lines =
            "FROM busybox\nENV A=1\nWORKDIR /w\nCOPY d .\nRUN echo made > made; mkdir -p x/y\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", lines), ("d/f", "f")])?;
        let epoch = ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
        let first = id(world, &files, &epoch)?;
        std::fs::File::open(files.path().join("d/f"))?.set_modified(std::time::SystemTime::now())?;
        ensure!(id(world, &files, &epoch)? == first, "two builds, two images");
        let shown = world.client.run(&["image", "inspect", "-f", "{{.Created}}", &first])?;
        ensure!(shown.starts_with("2023-11-14T22:13:20"), "{shown}");
        let newer = ["-q", "--build-arg", "SOURCE_DATE_EPOCH=x"];
        let ran = crate::build::build(world, &files, &newer)?;
        ensure!(ran.code != 0 && ran.stderr.contains("SOURCE_DATE_EPOCH=x"), "{ran:?}");
        Ok(())
    })
}

#[test]
fn the_same_time_makes_the_same_image_everywhere() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let world = || -> Result<World> {
        let host = Host::start()?;
        Ok(World { client: host.client(Program::Teu), host })
    };
    let (one, other) = (world()?, world()?);
    one.host.load_busybox()?;
    let base = one.host.scratch().join("base.tar").display().to_string();
    one.client.run(&["save", "-o", &base, "busybox"])?;
    other.client.run(&["load", "-i", &base])?;
    let lines = "FROM busybox AS made\nWORKDIR /w\nCOPY d .\n\
        RUN mkdir -p x/y && echo made > x/y/f && ln -s f x/y/l && ln x/y/f x/h && rm /etc/group && \
          touch -d '2001-01-01 00:00:00' old && mkfifo pipe && chown -R user x\n\
        ADD a.tar /unpacked/\n\
        FROM busybox\nENV A=1\nCOPY --from=made --chown=7:8 /w /w\nCOPY --link d /linked/\n\
        RUN --mount=from=made,target=/m cp -r /m/unpacked /again\nVOLUME /v\n";
    let ids = [&one, &other].map(|world| -> Result<String> {
        let files = Files::new(world, "ctx", &[("Dockerfile", lines), ("d/f", "f"), ("d/g", "g")])?;
        let path = files.path();
        let packed = std::process::Command::new("tar")
            .args(["-cf", "a.tar", "--mtime=2002-02-02", "d"])
            .current_dir(path)
            .status()?;
        ensure!(packed.success());
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-t", "t"];
        let output = ["-o", "type=image,rewrite-timestamp=true"];
        built(world, &files, &[&epoch[..], &output].concat())?;
        world.client.run(&["images", "-q", "--no-trunc", "t"])
    });
    let [one, other] = ids;
    let (one, other) = (one?, other?);
    ensure!(one == other && one.starts_with("sha256:"), "{one:?} is not {other:?}");
    Ok(())
}

#[test]
fn builds_side_by_side_and_restarts_keep_the_cache_right() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    let mut world = World { client: host.client(Program::Teu), host };
    let all = [("Dockerfile", LINES), ("one", "1"), ("d/f", "f")];
    let files = Files::new(&world, "ctx", &all)?;
    let ids = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(|| id(&world, &files, &[]))).collect();
        builds.into_iter().map(|build| build.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    let first = id(&world, &files, &[])?;
    ensure!(ids.contains(&first), "{first}: {ids:?}");
    world.host.stop_daemon()?;
    world.host.start_daemon()?;
    ensure!(id(&world, &files, &[])? == first, "the cache went with the daemon");
    crate::build::nothing_is_left(&world)
}
