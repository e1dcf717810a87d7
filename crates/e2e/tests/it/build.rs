//! Building images: with `teu build`, and with the docker command's classic builder.

mod cache;
mod checks;
mod inputs;
pub(crate) mod options;
mod remote;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use e2e::Ran;

use crate::{World, with};

both_clients!(
    a_dockerfile_becomes_an_image,
    unchanged_steps_are_not_done_again,
    steps_are_taken_from_an_image,
    stages_copy_from_each_other,
    a_failing_command_tells_its_code_and_leaves_nothing,
    mistakes_point_at_their_place,
);

/// A directory with files in it.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new(world: &World, name: &str, files: &[(&str, &str)]) -> Result<Self> {
        let dir = world.host.scratch().join(name);
        for (path, content) in files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&dir))?;
            std::fs::write(path, content)?;
        }
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, path: &str, content: &str) -> Result<()> {
        Ok(std::fs::write(self.0.join(path), content)?)
    }
}

/// Builds; both clients print what happens, one on stdout, the other on stderr.
pub(crate) fn build(world: &World, files: &Files, args: &[&str]) -> Result<Ran> {
    let mut all = vec!["build"];
    all.extend(args);
    let path = files.path().display().to_string();
    all.push(&path);
    world.client.try_run(&all)
}

pub(crate) fn built(world: &World, files: &Files, args: &[&str]) -> Result<String> {
    let ran = build(world, files, args)?;
    let told = format!("{}{}", ran.stdout, ran.stderr);
    ran.ok()?;
    Ok(told)
}

pub(crate) fn in_image(world: &World, image: &str, script: &str) -> Result<String> {
    world.client.run(&["run", "--rm", image, "sh", "-c", script])
}

/// What a build must not leave: its files, its containers.
pub(crate) fn nothing_is_left(world: &World) -> Result<()> {
    let running = world.host.data_root().join("builder/running");
    let left: Vec<_> =
        std::fs::read_dir(&running).map(|dirs| dirs.flatten().collect()).unwrap_or_default();
    ensure!(left.is_empty(), "{left:?}");
    let containers = world.client.run(&["ps", "-aq"])?;
    ensure!(containers.is_empty(), "{containers}");
    let staged = std::fs::read_dir(world.host.data_root().join("layers"))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".staging"))
        .count();
    ensure!(staged == 0, "{staged} layers are left half made");
    Ok(())
}

fn a_dockerfile_becomes_an_image(world: &World) -> Result<()> {
    let dockerfile = r#"# comment
FROM busybox
ARG GREETING=hello
ENV NAME="two words" \
    OTHER=$GREETING
WORKDIR /app/here
COPY a.txt dir sub/
RUN echo "$GREETING $NAME" > out && chmod 1777 /app
LABEL one=1 two="a b"
EXPOSE 80 90-91/udp
VOLUME /data
USER user
STOPSIGNAL SIGINT
HEALTHCHECK --interval=1m CMD true
ENTRYPOINT ["cat"]
CMD ["/app/here/out"]
"#;
    let files = Files::new(
        world,
        "ctx",
        &[("Dockerfile", dockerfile), ("a.txt", "a\n"), ("dir/b.txt", "b\n"), ("dir/c/d", "d\n")],
    )?;
    built(world, &files, &["-t", "made:v1", "--build-arg", "GREETING=hi", "--label", "three=3"])?;
    ensure!(world.client.run(&["run", "--rm", "made:v1"])? == "hi two words\n");
    let look = "ls sub; cat sub/a.txt sub/c/d; stat -c %a /app /tmp; id -un; env | grep OTHER";
    let seen = world.client.run(&["run", "--rm", "--entrypoint", "sh", "made:v1", "-c", look])?;
    ensure!(seen == "a.txt\nb.txt\nc\na\nd\n1777\n1777\nuser\nOTHER=hi\n", "{seen}");
    let image = world.client.run(&["image", "inspect", "made:v1"])?;
    let image: serde_json::Value = serde_json::from_str(&image)?;
    let config = &image[0]["Config"];
    ensure!(config["Labels"]["two"] == "a b" && config["Labels"]["three"] == "3", "{config}");
    ensure!(config["ExposedPorts"]["91/udp"].is_object(), "{config}");
    ensure!(config["Volumes"]["/data"].is_object(), "{config}");
    ensure!(config["StopSignal"] == "SIGINT" && config["WorkingDir"] == "/app/here", "{config}");
    ensure!(config["Healthcheck"]["Interval"] == 60_000_000_000_i64, "{config}");
    let history =
        world.client.run(&["history", "--format", "{{.CreatedBy}}", "--no-trunc", "made:v1"])?;
    ensure!(history.contains("COPY a.txt dir /app/here/sub/"), "{history}");
    nothing_is_left(world)
}

fn unchanged_steps_are_not_done_again(world: &World) -> Result<()> {
    let dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /first\nCOPY a /a\nRUN cat /proc/sys/kernel/random/uuid > /second\n";
    let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile), ("a", "1")])?;
    let look = "cat /first /second";
    built(world, &files, &["-t", "c"])?;
    let first = in_image(world, "c", look)?;
    let id = world.client.run(&["images", "-q", "--no-trunc", "c"])?;
    built(world, &files, &["-t", "c"])?;
    ensure!(world.client.run(&["images", "-q", "--no-trunc", "c"])? == id, "the id changed");
    // Another time is no other file.
    let file = std::fs::File::options().write(true).open(files.path().join("a"))?;
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
    built(world, &files, &["-t", "c"])?;
    ensure!(in_image(world, "c", look)? == first);
    files.write("a", "2")?;
    built(world, &files, &["-t", "c"])?;
    let second = in_image(world, "c", look)?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    ensure!(lines(&first)[0] == lines(&second)[0], "{first} {second}");
    ensure!(lines(&first)[1] != lines(&second)[1], "{first} {second}");
    built(world, &files, &["-t", "c", "--no-cache"])?;
    ensure!(lines(&in_image(world, "c", look)?)[0] != lines(&first)[0]);
    Ok(())
}

pub(crate) fn forget_steps(world: &World) -> Result<()> {
    let request = b"POST /build/prune?all=1 HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
    let answer = e2e::http::raw_unix(&world.host.socket(), request)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn steps_are_taken_from_an_image(world: &World) -> Result<()> {
    let dockerfile = "FROM busybox\nENV A=1\nRUN cat /proc/sys/kernel/random/uuid > /first\n\
        WORKDIR /w/d\nCOPY a to/\nRUN cat /proc/sys/kernel/random/uuid > /second\n";
    let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile), ("a", "1")])?;
    let look = "cat /first /second";
    built(world, &files, &["-t", "one"])?;
    let first = in_image(world, "one", look)?;
    forget_steps(world)?;
    built(world, &files, &["-t", "two", "--cache-from", "one"])?;
    ensure!(in_image(world, "two", look)? == first, "the steps were done again");
    let id = |name| world.client.run(&["images", "-q", "--no-trunc", name]);
    ensure!(id("one")? == id("two")?, "the id changed");
    forget_steps(world)?;
    files.write("a", "2")?;
    built(world, &files, &["-t", "three", "--cache-from", "one"])?;
    let third = in_image(world, "three", look)?;
    ensure!(third.lines().next() == first.lines().next(), "{first} {third}");
    ensure!(third.lines().nth(1) != first.lines().nth(1), "another file was taken for the same");
    forget_steps(world)?;
    let told = built(world, &files, &["-t", "four", "--cache-from", "nowhere"])?;
    ensure!(told.contains("cache-from nowhere: no such image"), "{told}");
    let fourth = in_image(world, "four", look)?;
    ensure!(fourth.lines().next() != first.lines().next(), "{first} {fourth}");
    Ok(())
}

fn stages_copy_from_each_other(world: &World) -> Result<()> {
    let dockerfile = "FROM busybox AS one\nRUN mkdir /out && echo 1 > /out/f && chown 5:6 /out/f\n\
        FROM busybox AS unused\nRUN false\n\
        FROM busybox AS two\nRUN echo 2 > /two\n\
        FROM busybox\nCOPY --from=one /out /in\nCOPY --from=two --chown=user:extra /two /in/\n\
        COPY --from=busybox /etc/passwd /pw\n";
    let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
    built(world, &files, &["-t", "m"])?;
    let seen =
        in_image(world, "m", "cat /in/f /in/two; stat -c %u:%g /in/f /in/two; head -c4 /pw")?;
    ensure!(seen == "1\n2\n5:6\n1000:1001\nroot", "{seen}");
    built(world, &files, &["-t", "t", "--target", "two"])?;
    ensure!(in_image(world, "t", "cat /two; ls /in 2>/dev/null; true")? == "2\n");
    nothing_is_left(world)
}

fn a_failing_command_tells_its_code_and_leaves_nothing(world: &World) -> Result<()> {
    let dockerfile = "FROM busybox\nRUN echo before > /before\nRUN echo said; exit 7\n";
    let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
    let ran = build(world, &files, &["-t", "f"])?;
    let told = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.code != 0, "{ran:?}");
    for part in ["said", "returned a non-zero code: 7", "Dockerfile:3:1"] {
        ensure!(told.contains(part), "{told}");
    }
    ensure!(world.client.run(&["images", "-q", "f"])?.is_empty());
    nothing_is_left(world)?;
    files.write("Dockerfile", "FROM busybox\nRUN echo before > /before\nRUN echo after > /x\n")?;
    let told = built(world, &files, &["-t", "f"])?;
    ensure!(told.contains("CACHED") || told.contains("Using cache"), "{told}");
    ensure!(in_image(world, "f", "cat /x")? == "after\n");
    Ok(())
}

fn mistakes_point_at_their_place(world: &World) -> Result<()> {
    for (dockerfile, parts) in [
        ("FORM busybox\n", ["unknown instruction: FORM", "did you mean FROM"]),
        ("FROM busybox\nCOPY none /x\n", ["none: file does not exist", "Dockerfile:2:6"]),
        ("FROM busybox\nCOPY ../../etc/passwd /x\n", ["file does not exist", "Dockerfile:2:6"]),
        ("FROM busybox\nRUN --mont=a b\n", ["unknown flag: --mont", "Dockerfile:2:5"]),
        ("FROM busybox AS a\nCOPY --from=a / /\n", ["circular dependency", "Dockerfile:2:6"]),
    ] {
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
        let ran = build(world, &files, &[])?;
        ensure!(ran.code != 0, "{dockerfile}: {ran:?}");
        for part in parts {
            ensure!(ran.stderr.contains(part), "{dockerfile}: {ran:?}");
        }
    }
    nothing_is_left(world)
}
