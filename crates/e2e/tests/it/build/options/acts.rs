//! What the rows of the table look at that no Dockerfile can judge by itself.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use e2e::{Ran, eventually};

use crate::World;
use crate::build::{Files, build, built, forget_steps, in_image};

/// A step whose result is never the same twice.
const DRAW: &str = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /drawn\n";

fn files(world: &World, dockerfile: &str) -> Result<Files> {
    Files::new(world, "acts", &[("Dockerfile", dockerfile), ("a", "a\n")])
}

fn scratch(world: &World, name: &str) -> String {
    world.host.scratch().join(name).display().to_string()
}

fn told(ran: &Ran) -> String {
    format!("{}{}", ran.stdout, ran.stderr)
}

fn id(world: &World, name: &str) -> Result<String> {
    Ok(world.client.run(&["images", "-q", "--no-trunc", name])?.trim().to_owned())
}

fn forget(world: &World, name: &str) -> Result<()> {
    world.client.run(&["rmi", "-f", name]).map(drop)
}

pub(super) fn insecure_is_asked_for(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nRUN --security=insecure true\n")?;
    let ran = build(world, &files, &["--allow", "device"])?;
    ensure!(ran.code != 0 && ran.stderr.contains("security.insecure is not allowed"), "{ran:?}");
    Ok(())
}

pub(super) fn build_args_that_nobody_reads(world: &World) -> Result<()> {
    let files = files(world, DRAW)?;
    let unread = ["-t", "args", "--build-arg", "UNREAD=1"];
    ensure!(built(world, &files, &unread)?.contains("[UNREAD] were not consumed"));
    let first = id(world, "args")?;
    let told = built(world, &files, &["-t", "args", "--build-arg", "HTTP_PROXY=http://none:1"])?;
    ensure!(!told.contains("not consumed") && id(world, "args")? == first, "{told}");
    forget(world, "args")
}

pub(super) fn steps_go_to_a_directory(world: &World) -> Result<()> {
    let files = files(world, DRAW)?;
    let (to, from) = (scratch(world, "steps"), scratch(world, "steps"));
    let (to, from) = (format!("type=local,dest={to}"), format!("type=local,src={from}"));
    built(world, &files, &["-t", "steps", "--no-cache", "--cache-to", &to])?;
    let first = id(world, "steps")?;
    forget(world, "steps")?;
    forget_steps(world)?;
    built(world, &files, &["-t", "steps", "--cache-from", &from])?;
    ensure!(id(world, "steps")? == first, "the step was done again");
    forget(world, "steps")
}

fn checks_by(world: &World, option: &str) -> Result<()> {
    let files = files(world, "FROM busybox\nMAINTAINER nobody\n")?;
    let ran = build(world, &files, &["-t", "checked", option])?;
    ensure!(ran.code == 1 && told(&ran).contains("MaintainerDeprecated"), "{ran:?}");
    files.write("Dockerfile", "FROM busybox\nRUN false\n")?;
    let ran = build(world, &files, &["-t", "checked", option])?;
    ensure!(ran.code == 0 && told(&ran).contains("no warnings found"), "{ran:?}");
    ensure!(id(world, "checked")?.is_empty(), "there is an image");
    Ok(())
}

pub(super) fn checks(world: &World) -> Result<()> {
    checks_by(world, "--check")
}

pub(super) fn call_checks(world: &World) -> Result<()> {
    checks_by(world, "--call=check")
}

pub(super) fn call_lists(world: &World) -> Result<()> {
    let dockerfile = "# GREETING is what it says\nARG GREETING=ahoy\nFROM busybox AS base\nRUN false\n\
        # speaks greets\nFROM base AS speaks\nARG GREETING\nARG TOKEN=$GREETING-$PATH\n\
        RUN --mount=type=secret,id=key,required --mount=type=ssh echo $GREETING\nFROM base\n";
    let files = files(world, dockerfile)?;
    let listed = |call: &str, more: &[&str]| -> Result<String> {
        let ran = build(world, &files, &[&["-t", "listed", "--call", call], more].concat())?;
        ensure!(ran.code == 0, "{ran:?}");
        Ok(ran.stdout)
    };
    let targets = "TARGET    DESCRIPTION\nbase      \nspeaks    greets\n(default) \n";
    ensure!(listed("targets", &[])? == targets, "{:?}", listed("targets", &[]));
    let target = ["--target", "speaks", "--build-arg", "GREETING=hi"];
    let shown = listed("outline", &target)?;
    // PATH is the image's.
    for line in [
        "TARGET:      speaks",
        "DESCRIPTION: greets",
        "GREETING    hi",
        "SECRET   REQUIRED",
        "key      true",
        "default",
    ] {
        ensure!(shown.lines().any(|own| own.starts_with(line)), "{line:?}: {shown}");
    }
    let json = listed("outline,format=json", &target)?;
    let outline: serde_json::Value = serde_json::from_str(&json)?;
    let args = outline["args"].as_array().context("no args")?;
    ensure!(args[0]["name"] == "GREETING" && args[0]["value"] == "hi", "{json}");
    ensure!(args[0]["location"]["ranges"][0]["start"]["line"] == 7, "{json}");
    let token = args[1]["value"].as_str().context("no value")?;
    ensure!(token.starts_with("hi-/"), "{json}");
    ensure!(outline["ssh"][0]["name"] == "default", "{json}");
    ensure!(id(world, "listed")?.is_empty(), "there is an image");
    Ok(())
}

pub(super) fn cgroup_parent(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nRUN sleep 3603\n")?;
    let path = files.path().display().to_string();
    let mut command = world.client.command(&["build", "--cgroup-parent=/of-this-build", &path]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let seen = eventually("the command runs", || {
        let running = world.client.run(&["ps", "-q"])?;
        let id = running.lines().next().context("no container")?;
        let pid = world.client.run(&["inspect", "-f", "{{.State.Pid}}", id])?;
        Ok(std::fs::read_to_string(format!("/proc/{}/cgroup", pid.trim()))?)
    });
    child.kill()?;
    child.wait()?;
    eventually("the build is gone", || crate::build::nothing_is_left(world))?;
    let seen = seen?;
    ensure!(seen.lines().any(|line| line.contains(":/of-this-build/")), "{seen}");
    Ok(())
}

/// Stands between a client and the daemon, and keeps what the client says.
fn overhear(listener: &UnixListener, daemon: &std::path::Path, heard: &Arc<Mutex<Vec<u8>>>) {
    while let Ok((client, _)) = listener.accept() {
        let Ok(server) = UnixStream::connect(daemon) else { return };
        let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else { return };
        let heard = Arc::clone(heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                heard.lock().expect("no writer panics").extend(&buffer[..length]);
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            // The other side may have closed it.
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        std::thread::spawn(move || {
            let (mut from, mut to) = (server, client);
            // Either may go when it has what it wants.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

pub(super) fn compressed(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nCOPY a /a\n")?;
    let path = files.path().display().to_string();
    let socket = PathBuf::from(scratch(world, "between"));
    // Of an earlier run of this row; missing is fine.
    let _ = std::fs::remove_file(&socket);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = UnixListener::bind(&socket)?;
    let (daemon, ears) = (world.host.socket(), Arc::clone(&heard));
    std::thread::spawn(move || overhear(&listener, &daemon, &ears));
    let address = format!("unix://{}", socket.display());
    for (option, wanted) in [("--compress=false", false), ("--compress", true)] {
        heard.lock().expect("no writer panics").clear();
        let args = ["-H", &address, "build", "-t", "compressed", option, &path];
        world.client.run(&args)?;
        let heard = heard.lock().expect("no writer panics").clone();
        let has = |part: &[u8]| heard.windows(part.len()).any(|window| window == part);
        ensure!(has(b"POST ") && has(b"/build?"), "the client went another way");
        ensure!(has(&[0x1f, 0x8b, 8]) == wanted, "{option}: gzip or not");
        ensure!(has(b"COPY a /a") != wanted, "{option}: text or not");
        ensure!(in_image(world, "compressed", "cat /a")? == "a\n");
    }
    forget(world, "compressed")
}

pub(super) fn another_dockerfile(world: &World) -> Result<()> {
    let files = files(world, "FROM nowhere.invalid/none\n")?;
    let outside = PathBuf::from(scratch(world, "Outside"));
    std::fs::write(&outside, "FROM busybox\nCOPY a /outside\n")?;
    built(world, &files, &["-t", "file", "--file", &outside.display().to_string()])?;
    ensure!(in_image(world, "file", "cat /outside")? == "a\n");
    let path = files.path().display().to_string();
    let args = ["build", "-t", "file", "-f", "-", &path];
    world.client.try_run_with_input(&args, b"FROM busybox\nCOPY a /typed\n")?.ok()?;
    ensure!(in_image(world, "file", "cat /typed")? == "a\n");
    forget(world, "file")
}

fn after_a_failure(world: &World, args: &[&str]) -> Result<String> {
    let files = files(world, "FROM busybox\nRUN exit 9\n")?;
    let ran = build(world, &files, args)?;
    ensure!(ran.code != 0, "{ran:?}");
    let left = world.client.run(&["ps", "-a", "--format", "{{.ID}} {{.Status}}"])?;
    for line in left.lines() {
        let id = line.split(' ').next().unwrap_or_default();
        world.client.run(&["rm", "-f", id])?;
    }
    Ok(left)
}

pub(super) fn containers_stay(world: &World) -> Result<()> {
    let left = after_a_failure(world, &["--rm=false"])?;
    ensure!(left.lines().count() == 1 && left.contains("Exited (9)"), "{left}");
    let left = after_a_failure(world, &[])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

pub(super) fn containers_go_by_force(world: &World) -> Result<()> {
    let left = after_a_failure(world, &["--rm=false", "--force-rm"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

pub(super) fn helps(world: &World) -> Result<()> {
    let help = world.client.run(&["build", "--help"])?;
    ensure!(help.contains("--build-arg") && help.contains("--target"), "{help}");
    Ok(())
}

pub(super) fn id_in_a_file(world: &World) -> Result<()> {
    let path = scratch(world, "iid");
    let files = files(world, "FROM busybox\nRUN false\n")?;
    ensure!(build(world, &files, &["--iidfile", &path])?.code != 0);
    ensure!(!PathBuf::from(&path).exists(), "a failed build wrote an id");
    files.write("Dockerfile", "FROM busybox\nENV A=iid\n")?;
    built(world, &files, &["-t", "iid", "--iidfile", &path])?;
    ensure!(std::fs::read_to_string(&path)? == id(world, "iid")?);
    forget(world, "iid")
}

pub(super) fn labels(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nLABEL a=file b=file\n")?;
    built(world, &files, &["-t", "labels", "--label", "a=option", "--label", "bare"])?;
    let shown = world.client.run(&["inspect", "-f", "{{json .Config.Labels}}", "labels"])?;
    ensure!(shown.trim() == r#"{"a":"option","b":"file","bare":""}"#, "{shown}");
    forget(world, "labels")
}

pub(super) fn load(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nENV A=load\n")?;
    let out = format!("type=local,dest={}", scratch(world, "loaded"));
    built(world, &files, &["-t", "loaded", "-o", &out])?;
    ensure!(id(world, "loaded")?.is_empty(), "it is kept unasked");
    built(world, &files, &["-t", "loaded", "-o", &out, "--load"])?;
    ensure!(!id(world, "loaded")?.is_empty(), "it is not kept");
    forget(world, "loaded")
}

pub(super) fn metadata(world: &World) -> Result<()> {
    let path = scratch(world, "metadata.json");
    let files = files(world, "FROM busybox\nENV A=metadata\n")?;
    built(world, &files, &["-t", "told:1", "-t", "told:2", "--metadata-file", &path])?;
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    ensure!(metadata["containerimage.config.digest"] == id(world, "told:1")?, "{metadata}");
    ensure!(metadata["image.name"] == "told:1,told:2", "{metadata}");
    forget(world, "told:1")?;
    forget(world, "told:2")
}

pub(super) fn networks(world: &World) -> Result<()> {
    let bridge = world.host.bridge();
    let host = format!("FROM busybox\nRUN test -d /sys/class/net/{bridge}\n");
    built(world, &files(world, &host)?, &["--network=host"])?;
    world.client.run(&["network", "create", "--subnet=10.213.0.0/24", "of-the-build"])?;
    let own = "FROM busybox\nRUN ip -o addr show eth0 | grep -q ' 10.213.0.'\n";
    let ran = build(world, &files(world, own)?, &["--network=of-the-build"]);
    world.client.run(&["network", "rm", "of-the-build"])?;
    ran?.ok().map(drop)
}

/// What `drawn` of an image says.
fn drawn(world: &World, image: &str) -> Result<String> {
    in_image(world, image, "cat /drawn*")
}

pub(super) fn no_cache(world: &World) -> Result<()> {
    let files = files(world, DRAW)?;
    built(world, &files, &["-t", "drawn"])?;
    let first = drawn(world, "drawn")?;
    built(world, &files, &["-t", "drawn"])?;
    ensure!(drawn(world, "drawn")? == first, "the cache has no steps");
    built(world, &files, &["-t", "drawn", "--no-cache"])?;
    ensure!(drawn(world, "drawn")? != first, "the step was not done again");
    forget(world, "drawn")
}

pub(super) fn no_cache_filter(world: &World) -> Result<()> {
    let draw = "RUN cat /proc/sys/kernel/random/uuid >";
    let dockerfile = format!(
        "FROM busybox AS one\n{draw} /drawn1\nFROM busybox AS two\n{draw} /drawn2\n\
         FROM two AS three\nRUN cp /drawn2 /drawn3\n\
         FROM busybox\nCOPY --from=one /drawn1 /\nCOPY --from=two /drawn2 /\n\
         COPY --from=three /drawn3 /\n"
    );
    let files = files(world, &dockerfile)?;
    built(world, &files, &["-t", "drawn", "--no-cache"])?;
    let first = drawn(world, "drawn")?;
    built(world, &files, &["-t", "drawn", "--no-cache-filter", "Two"])?;
    let second = drawn(world, "drawn")?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (first, second) = (lines(&first), lines(&second));
    ensure!(first[0] == second[0], "the other stage was done again");
    ensure!(first[1] != second[1], "the stage was not done again");
    ensure!(second[1] == second[2], "a stage stands on the old result: {second:?}");
    let told = built(world, &files, &["-t", "drawn", "--no-cache-filter", "four,two"])?;
    ensure!(told.contains("no-cache-filter four: the Dockerfile has no such stage"), "{told}");
    forget(world, "drawn")
}

pub(super) fn outputs(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nCOPY a /made/by\n")?;
    let (dir, tar) = (scratch(world, "out"), scratch(world, "out.tar"));
    let docker = scratch(world, "docker.tar");
    built(world, &files, &["-o", &dir, "-o", &format!("type=tar,dest={tar}")])?;
    ensure!(std::fs::read_to_string(format!("{dir}/made/by"))? == "a\n");
    let listed = std::process::Command::new("tar").args(["-tf", &tar]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    ensure!(listed.lines().any(|line| line.trim_start_matches("./") == "made/by"), "{listed}");
    let path = files.path().display().to_string();
    let typed = world.client.command(&["build", "-o", "-", &path]).output()?;
    ensure!(typed.stdout.windows(7).any(|part| part == b"made/by"), "no archive on stdout");
    built(world, &files, &["-t", "out", "-o", &format!("type=docker,dest={docker}")])?;
    ensure!(id(world, "out")?.is_empty(), "it is kept unasked");
    world.client.run(&["load", "-i", &docker])?;
    ensure!(in_image(world, "out", "cat /made/by")? == "a\n");
    forget(world, "out")?;
    built(world, &files, &["-t", "one", "-o", "type=image,\"name=two,three:3\""])?;
    for name in ["one", "two", "three:3"] {
        ensure!(!id(world, name)?.is_empty(), "there is no {name}");
        forget(world, name)?;
    }
    built(world, &files, &["-t", "none", "-o", "type=cacheonly"])?;
    ensure!(id(world, "none")?.is_empty(), "it is kept unasked");
    Ok(())
}

pub(super) fn platform(world: &World) -> Result<()> {
    let own = world.client.run(&["version", "-f", "{{.Server.Os}}/{{.Server.Arch}}"])?;
    let own = own.trim();
    let lines = "FROM busybox\nARG TARGETPLATFORM TARGETOS TARGETARCH\n\
        RUN echo \"$TARGETPLATFORM $TARGETOS/$TARGETARCH\" > /platform\n";
    built(world, &files(world, lines)?, &["-t", "platform", "--platform", own])?;
    let seen = in_image(world, "platform", "cat /platform")?;
    ensure!(seen == format!("{own} {own}\n"), "{seen}");
    forget(world, "platform")
}

pub(super) fn progress(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nRUN echo shown-$((40 + 2))\n")?;
    let ran = |progress: &str| build(world, &files, &["--no-cache", "--progress", progress]);
    ensure!(ran("plain")?.stderr.contains("shown-42"));
    ensure!(ran("auto")?.stderr.contains("shown-42"));
    let raw = ran("rawjson")?;
    for line in raw.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).with_context(|| line.to_owned())?;
    }
    ensure!(raw.stdout.contains("shown-42"), "{raw:?}");
    for silent in ["none", "quiet"] {
        let ran = ran(silent)?;
        ensure!(ran.code == 0 && !told(&ran).contains("shown"), "{ran:?}");
    }
    let path = files.path().display().to_string();
    let client = world.client.clone().with_env("BUILDKIT_PROGRESS", "rawjson");
    let raw = client.run(&["build", &path])?;
    ensure!(raw.starts_with('{'), "{raw}");
    Ok(())
}

pub(super) fn pull(world: &World) -> Result<()> {
    // Nobody listens at port 1.
    world.client.run(&["tag", "busybox", "127.0.0.1:1/base"])?;
    let files = files(world, "FROM 127.0.0.1:1/base\nENV A=pull\n")?;
    built(world, &files, &[])?;
    let ran = build(world, &files, &["--pull"])?;
    ensure!(ran.code != 0 && told(&ran).contains("127.0.0.1:1"), "{ran:?}");
    forget(world, "127.0.0.1:1/base")
}

pub(super) fn push(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nENV A=push\n")?;
    let ran = build(world, &files, &["-t", "127.0.0.1:1/pushed", "--push"])?;
    ensure!(ran.code != 0 && told(&ran).contains("127.0.0.1:1"), "{ran:?}");
    forget(world, "127.0.0.1:1/pushed")
}

pub(super) fn quiet(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nRUN echo told; test ! -e /failing\n")?;
    let ran = build(world, &files, &["-q", "-t", "quiet"])?;
    ensure!(ran.code == 0 && ran.stdout.trim() == id(world, "quiet")?, "{ran:?}");
    files.write("Dockerfile", "FROM busybox\nRUN echo why; exit 3\n")?;
    let ran = build(world, &files, &["-q"])?;
    ensure!(ran.code != 0 && told(&ran).contains("why"), "{ran:?}");
    forget(world, "quiet")
}

pub(super) fn tags(world: &World) -> Result<()> {
    let files = files(world, "FROM busybox\nENV A=tags\n")?;
    built(world, &files, &["-t", "one", "--tag", "two:2", "-t", "reg.example:5000/three/x"])?;
    let one = id(world, "one:latest")?;
    for name in ["two:2", "reg.example:5000/three/x:latest", "one"] {
        ensure!(!one.is_empty() && id(world, name)? == one, "{name}");
        forget(world, name)?;
    }
    Ok(())
}

pub(super) fn target(world: &World) -> Result<()> {
    let lines = "FROM busybox AS one\nRUN echo 1 > /one\nFROM one AS two\nRUN echo 2 > /two\n";
    built(world, &files(world, lines)?, &["-t", "target", "--target=one"])?;
    ensure!(in_image(world, "target", "cat /one; ls /two 2>/dev/null; true")? == "1\n");
    forget(world, "target")
}
