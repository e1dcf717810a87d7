//! Bad luck and bad input: each build fails with its reason, leaves nothing, and the next one works.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Host, HostOptions, Program, eventually, is_root};

use super::{made, refused};
use crate::build::{Files, forget_steps, in_image, nothing_is_left};
use crate::{World, with};

fn next_works(world: &World) -> Result<()> {
    made(world, "FROM busybox\nRUN echo next > /f\n", &[], &["--no-cache"])?;
    ensure!(in_image(world, "t", "cat /f")? == "next\n");
    nothing_is_left(world)
}

#[test]
fn a_full_disk_is_told_and_given_back() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let options = HostOptions { data_size: Some("24m".to_owned()), ..HostOptions::default() };
    let host = Host::start_with(options)?;
    host.load_busybox()?;
    let world = World { client: host.client(Program::Teu), host };
    let big = "x".repeat(30 << 20);
    // The command sees it, the layer does not fit, the context does not fit.
    let lines = "FROM busybox\nRUN dd if=/dev/zero of=/x bs=1M count=40\n";
    let told = refused(&world, lines, &[], &[])?;
    ensure!(told.contains("No space left on device"), "{told}");
    let lines = "FROM busybox\nRUN dd if=/dev/urandom of=/x bs=1M count=9\n\
        FROM scratch\nCOPY --from=0 /x /y\nCOPY --from=0 /x /z\n";
    let told = refused(&world, lines, &[], &[])?;
    ensure!(told.to_lowercase().contains("no space left on device"), "{told}");
    let told = refused(&world, "FROM busybox\n", &[("big", &big)], &[])?;
    ensure!(told.to_lowercase().contains("no space left on device"), "{told}");
    forget_steps(&world)?;
    made(&world, "FROM busybox\nRUN echo next > /f\n", &[], &["--no-cache"])?;
    ensure!(in_image(&world, "t", "cat /f")? == "next\n");
    Ok(())
}

/// Starts a build that stays in its RUN, and waits until it is there.
fn stuck(world: &World, name: &str) -> Result<std::process::Child> {
    let lines = "FROM busybox AS one\nRUN sleep 3601\nFROM busybox\nRUN sleep 3602\n\
        COPY --from=one /etc/passwd /pw\n";
    let files = Files::new(world, name, &[("Dockerfile", lines)])?;
    let path = files.path().display().to_string();
    let mut command = world.client.command(&["build", &path]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    eventually("both commands run", || {
        let running = world.client.run(&["ps", "-q"])?;
        ensure!(running.lines().count() == 2, "{running}");
        Ok(())
    })?;
    Ok(child)
}

#[test]
fn a_client_that_goes_takes_its_build_with_it() -> Result<()> {
    with(Program::Teu, |world| {
        for signal in ["KILL", "INT"] {
            let mut child = stuck(world, signal)?;
            let pid = child.id().to_string();
            let kill = std::process::Command::new("kill").args(["-s", signal, &pid]).status()?;
            ensure!(kill.success());
            child.wait()?;
            eventually("the build is gone", || nothing_is_left(world))?;
        }
        // In the middle of its context.
        let mut stream = UnixStream::connect(world.host.socket())?;
        let head = "POST /build HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n\
            Transfer-Encoding: chunked\r\n\r\n200\r\n";
        stream.write_all(head.as_bytes())?;
        stream.write_all(&[0; 100])?;
        drop(stream);
        eventually("the build is gone", || nothing_is_left(world))?;
        next_works(world)
    })
}

#[test]
fn a_killed_daemon_leaves_no_build_behind() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    let mut world = World { client: host.client(Program::Teu), host };
    let mut child = stuck(&world, "ctx")?;
    world.host.kill_daemon()?;
    ensure!(!child.wait()?.success(), "the client saw a success");
    world.host.start_daemon()?;
    eventually("the build is gone", || nothing_is_left(&world))?;
    next_works(&world)
}

/// Kills the daemon as soon as a build has begun so many steps, and looks after each time at what is left.
#[test]
fn a_daemon_that_is_killed_at_any_step_leaves_nothing() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    let mut world = World { client: host.client(Program::Teu), host };
    let lines = "FROM busybox AS one\nWORKDIR /w\nCOPY many many/\nRUN cp -r many more && sync\n\
        FROM busybox\nCOPY --from=one /w /w\nRUN --mount=from=one,source=/w,target=/m ls /m/more > /l\n\
        RUN echo done > /done\n";
    let files = Files::new(&world, "ctx", &[("Dockerfile", lines)])?;
    std::fs::create_dir(files.path().join("many"))?;
    for number in 0..400 {
        files.write(&format!("many/{number}"), &format!("{number}\n"))?;
    }
    let path = files.path().display().to_string();
    for steps in 1..=8 {
        let args = ["build", "--no-cache", "--progress", "rawjson", &path];
        let mut child =
            world.client.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let told = std::io::BufReader::new(child.stdout.take().context("stdout is piped")?);
        let begun = told.lines().map_while(Result::ok).filter(|line| line.contains("\"started\""));
        let begun = begun.take(steps).count();
        ensure!(begun == steps, "the build ended before step {steps}");
        world.host.kill_daemon()?;
        child.wait()?;
        world.host.start_daemon()?;
        eventually("the build is gone", || nothing_is_left(&world))
            .with_context(|| format!("killed in step {steps}"))?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let root = world.host.data_root().display().to_string();
        ensure!(!mounts.contains(&root), "a mount is left after step {steps}: {mounts}");
    }
    world.client.run(&["build", "-t", "t", &path])?;
    ensure!(in_image(&world, "t", "cat /w/more/399 /done; wc -l < /l")? == "399\ndone\n400\n");
    next_works(&world)
}

/// The most memory that a process had since it was last asked to forget that, in KiB.
fn peak_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmHWM")?.parse()?)
}

#[test]
fn large_contexts_and_layers_go_through_the_daemon_in_pieces() -> Result<()> {
    with(Program::Teu, |world| {
        const LARGE: u64 = 200 << 20;
        let lines = "FROM busybox AS one\nCOPY large many /d/\nRUN cp /d/large /copied\n\
            FROM busybox\nCOPY --from=one /copied /d/large /to/\n\
            RUN cmp /to/large /to/copied && ls /to | wc -l\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", lines), ("many/0", "")])?;
        // Without blocks on the disk; what matters is what is sent.
        let large = std::fs::File::create(files.path().join("large"))?;
        large.set_len(LARGE)?;
        for number in 0..2000 {
            files.write(&format!("many/{number}"), "x")?;
        }
        let pid = world.host.daemon_pid().context("the daemon runs")?;
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        let before = peak_kib(pid)?;
        crate::build::built(world, &files, &["-t", "t"])?;
        let grown = peak_kib(pid)?.saturating_sub(before);
        ensure!(grown < LARGE / 2 / 1024, "the daemon took {grown} KiB more");
        nothing_is_left(world)
    })
}

#[test]
fn links_in_contexts_end_somewhere() -> Result<()> {
    with(Program::Teu, |world| {
        let scratch = world.host.scratch();
        std::fs::write(scratch.join("Outside"), "FROM busybox\nCOPY a /outside\n")?;
        let build = |script: &str, args: &[&str]| {
            let dir = tempfile::Builder::new().prefix("links").tempdir_in(scratch)?;
            let script = format!("echo a > a && {script}");
            let mut command = std::process::Command::new("sh");
            ensure!(command.args(["-ec", &script]).current_dir(dir.path()).status()?.success());
            let path = dir.path().display().to_string();
            world.client.try_run(&[&["build", "-t", "t"], args, &[path.as_str()]].concat())
        };
        let good = |script: &str, look: &str, wanted: &str| -> Result<()> {
            build(script, &[])?.ok().with_context(|| script.to_owned())?;
            let seen = in_image(world, "t", look)?;
            ensure!(seen == wanted, "{script}: {seen}");
            Ok(())
        };
        let from = "printf 'FROM busybox\\nCOPY . /c/\\n'";
        // The Dockerfile and the list of what is left out may be links of the user's.
        good(&format!("{from} > real && ln -s real Dockerfile"), "cat /c/a", "a\n")?;
        good("ln -s ../Outside Dockerfile", "cat /outside", "a\n")?;
        good(
            &format!("{from} > Dockerfile && echo a > no && ln -s no .dockerignore"),
            "ls /c",
            "Dockerfile\nno\n",
        )?;
        good(&format!("{from} > Dockerfile && ln -s none .dockerignore"), "cat /c/a", "a\n")?;
        // A way round, a loop, a way out: copied as links, none is followed.
        good(
            &format!(
                "{from} > Dockerfile && mkdir -p d/e && ln -s .. d/e/up && ln -s . d/self && ln -s l l \
                 && ln -s / root"
            ),
            "cd /c && for l in d/e/up d/self l root; do readlink $l; done",
            "..\n.\nl\n/\n",
        )?;
        // In the image a link of the image's is followed within the image.
        good(
            "printf 'FROM busybox\\nRUN mkdir /real && ln -s ../../../real /ln && ln -s /ln /ln2\\n\
             COPY a /ln2/x/\\n' > Dockerfile",
            "cat /real/x/a",
            "a\n",
        )?;
        for (script, part) in [
            ("ln -s none Dockerfile", "Dockerfile"),
            ("ln -s Dockerfile Dockerfile", "Dockerfile"),
            ("printf 'FROM busybox\\nCOPY l /x\\n' > Dockerfile && ln -s l l", "symbolic links"),
            (
                "printf 'FROM busybox\\nRUN ln -s l /l\\nCOPY a /l/\\n' > Dockerfile",
                "symbolic links",
            ),
            (
                "printf 'FROM busybox\\nCOPY d /x\\n' > Dockerfile && ln -s none d",
                "d: file does not exist",
            ),
            (
                "printf 'FROM busybox\\n' > Dockerfile && ln -s .dockerignore .dockerignore",
                ".dockerignore",
            ),
        ] {
            let ran = build(script, &[])?;
            let told = told_of(&ran);
            ensure!(ran.code != 0 && told.contains(part), "{script}: {told}");
        }
        // Names that lead to each other are images in the end, and end there.
        let round = [
            "--build-context",
            "one=docker-image://two",
            "--build-context",
            "two=docker-image://one",
        ];
        let ran = build("printf 'FROM one\\n' > Dockerfile", &round)?;
        ensure!(ran.code != 0 && told_of(&ran).contains("two"), "{ran:?}");
        nothing_is_left(world)
    })
}

fn told_of(ran: &e2e::Ran) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

/// Posts a body as context and reads the answer.
fn post(world: &World, query: &str, body: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(world.host.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let head = format!(
        "POST /build?{query} HTTP/1.0\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    // It may have had enough before it has all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context(query.to_owned())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn archive(world: &World, script: &str) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir_in(world.host.scratch())?;
    let script = format!("{script} && tar -cf - .");
    let output =
        std::process::Command::new("sh").args(["-ec", &script]).current_dir(dir.path()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

#[test]
fn a_refusal_takes_the_context_off_the_connection() -> Result<()> {
    with(Program::Teu, |world| {
        // More than a socket holds: who answers and closes has the sender see a broken pipe.
        let body = vec![0; 8 << 20];
        for query in ["securityopt=%5B%22a%3Db%22%5D", "memory=x", "t=UPPER"] {
            let mut stream = UnixStream::connect(world.host.socket())?;
            let head = format!(
                "POST /build?{query} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
                 Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body).with_context(|| format!("send the context of {query}"))?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            ensure!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
        }
        nothing_is_left(world)
    })
}

#[test]
fn contexts_that_are_none_are_refused() -> Result<()> {
    with(Program::Teu, |world| {
        let good = archive(world, "printf 'FROM busybox\\nCOPY . /x\\n' > Dockerfile")?;
        let with = |script: &str| archive(world, script);
        for (query, body, part) in [
            ("", b"not a tar at all".to_vec(), "archive"),
            ("", Vec::new(), "Cannot locate specified Dockerfile: Dockerfile"),
            ("", vec![0; 1024], "Cannot locate specified Dockerfile: Dockerfile"),
            ("", good[..700].to_vec(), ""),
            ("", vec![0x1f, 0x8b, 8, 0, 1, 2, 3], ""),
            ("dockerfile=none", good.clone(), "none"),
            ("dockerfile=../../etc/passwd", good.clone(), "etc/passwd"),
            ("dockerfile=/etc/passwd", good.clone(), "etc/passwd"),
            ("", with("mkdir Dockerfile")?, "Dockerfile"),
            ("", with("ln -s /etc/passwd Dockerfile")?, "Dockerfile"),
            ("", with("ln -s Dockerfile Dockerfile")?, "Dockerfile"),
            ("", with("mkfifo Dockerfile")?, "Dockerfile"),
            ("", with("printf 'FROM \\377\\376' > Dockerfile")?, "UTF-8"),
            ("", with("printf 'FROM a\\0b\\n' > Dockerfile")?, "FROM"),
            ("", with(": > Dockerfile")?, "empty"),
            ("", with("yes '# x' | head -c 20000000 > Dockerfile")?, "Dockerfile"),
            ("buildargs=x", good.clone(), "buildargs"),
            ("buildargs=[1]", good.clone(), "buildargs"),
            ("labels=x", good.clone(), "labels"),
            ("ulimits=x", good.clone(), "ulimits"),
            ("memory=x", good.clone(), "memory"),
            ("memory=1", with("printf 'FROM busybox\\nRUN true\\n' > Dockerfile")?, "6MB"),
            ("t=a/UPPER", good.clone(), "lowercase"),
            ("t=a%40sha256:00", good.clone(), ""),
            (
                "networkmode=container:none",
                with("printf 'FROM busybox\\nRUN true\\n' > Dockerfile")?,
                "none",
            ),
            ("target=none", good.clone(), "target stage"),
            ("cachefrom=x", good.clone(), "cachefrom"),
            ("remote=ftp://x/y", good.clone(), ""),
            ("platform=weird", with("printf 'FROM nowhere.invalid/x\\n' > Dockerfile")?, ""),
        ] {
            let answer = post(world, query, &body)?;
            let refused = answer.starts_with("HTTP/1.0 4")
                || answer.contains("errorDetail")
                || answer.starts_with("HTTP/1.0 500");
            ensure!(refused && answer.contains(part), "{query} {part}: {answer}");
            ensure!(!answer.contains("root:x"), "{query}: a file of the host: {answer}");
        }
        let answer = post(world, "t=good", &good)?;
        ensure!(answer.contains("Successfully built"), "{answer}");
        next_works(world)
    })
}
