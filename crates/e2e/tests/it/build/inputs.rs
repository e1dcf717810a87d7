//! What `teu build` is given besides the main context: secrets, agents, further contexts.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::Program;

use super::{Files, World, build, built, in_image, nothing_is_left, with};

#[test]
fn secrets_are_seen_and_not_kept() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox\n\
            RUN --mount=type=secret,id=tok,required stat -c '%a %u' /run/secrets/tok > /mode; \
            md5sum < /run/secrets/tok > /sum\n\
            RUN --mount=type=secret,id=tok,target=/etc/t,mode=0440,uid=1000 stat -c '%a %u' /etc/t >> /mode\n\
            RUN --mount=type=secret,id=tok,env=TOK echo ${#TOK} > /len; test ! -e /run/secrets/tok\n\
            SHELL [\"/bin/busybox\", \"env\"]\n\
            RUN --mount=type=secret,id=var,env=VAR [\"sh\", \"-c\", \"printf %s \\\"$VAR\\\" | wc -c > /exec\"]\n\
            SHELL [\"/bin/sh\", \"-c\"]\n\
            RUN --mount=type=secret,id=var,target=/v wc -c < /v >> /len; echo new\n\
            RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
        let path = world.host.scratch().join("tok");
        std::fs::write(&path, "very-secret-value")?;
        let secret = format!("id=tok,src={}", path.display());
        let args = ["build", "-t", "s", "--secret", &secret, "--secret", "id=var,env=HIDDEN"];
        let client = world.host.teu().with_env("HIDDEN", "other-secret-value");
        let dir = files.path().display().to_string();
        client.run(&[&args[..], &[&dir]].concat())?;
        let seen = in_image(
            world,
            "s",
            "cat /mode /len /exec; ls /run/secrets /etc/t /v 2>/dev/null; true",
        )?;
        ensure!(seen == "400 0\n440 1000\n17\n18\n18\n", "{seen}");
        // Neither in a layer nor in any record, nor in the history.
        for value in ["very-secret-value", "other-secret-value"] {
            let mut grep = Command::new("grep");
            grep.args(["-rla", value]).args([world.host.data_root(), world.host.exec_root()]);
            let found = grep.output()?;
            ensure!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
        }
        // Another value is no other step.
        std::fs::write(&path, "changed")?;
        let told = built(
            world,
            &files,
            &["--secret", &secret, "--secret", &format!("id=var,src={}", path.display())],
        )?;
        ensure!(!told.contains("0.0 new") && told.matches("CACHED").count() == 8, "{told}");
        let missing = build(world, &files, &["--no-cache"])?;
        ensure!(missing.code != 0, "{missing:?}");
        for part in ["secret tok: not found", "--secret id=tok", "Dockerfile:2:1"] {
            ensure!(missing.stderr.contains(part), "{missing:?}");
        }
        let wrong = build(world, &files, &["--secret", "id=tok,src=/none"])?;
        ensure!(wrong.code != 0 && wrong.stderr.contains("/none"), "{wrong:?}");
        nothing_is_left(world)
    })
}

/// A program of this host with its libraries, below `root`.
fn copy_program(program: &str, root: &std::path::Path) -> Result<()> {
    let script = "for f in $1 $(ldd $1 | grep -o '/[^ ]*'); do \
        mkdir -p $2$(dirname $f) && cp -L $f $2$f; done";
    let args = ["-ec", script, "sh", program, &root.display().to_string()];
    ensure!(Command::new("sh").args(args).status()?.success(), "{program} cannot be copied");
    Ok(())
}

#[test]
fn an_agent_is_reached_from_run() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox\nCOPY root /\n\
            RUN --mount=type=ssh,mode=0666 stat -c %a $SSH_AUTH_SOCK > /mode && ssh-add -L > /keys\n\
            RUN --mount=type=ssh test -z \"$SSH_AUTH_SOCK\" || cmp /keys /keys\n\
            RUN test -z \"$SSH_AUTH_SOCK\"\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
        copy_program("/usr/bin/ssh-add", &files.path().join("root"))?;
        let scratch = world.host.scratch();
        let (socket, key) = (scratch.join("agent"), scratch.join("key"));
        let mut agent = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).spawn()?;
        let args = format!(
            "ssh-keygen -q -t ed25519 -N '' -C of-the-test -f {key} && SSH_AUTH_SOCK={socket} ssh-add -q {key}",
            key = key.display(),
            socket = socket.display()
        );
        let added = e2e::eventually("the agent listens", || {
            ensure!(socket.exists());
            Ok(())
        })
        .and_then(|()| Ok(Command::new("sh").args(["-c", &args]).status()?.success()));
        let ran =
            build(world, &files, &["-t", "k", "--ssh", &format!("default={}", socket.display())]);
        let seen = in_image(world, "k", "cat /mode /keys; ls /run/buildkit 2>/dev/null; true");
        let _ = agent.kill(); // It may have ended by itself.
        agent.wait()?;
        ensure!(added?, "no key for the agent");
        ran?.ok()?;
        let seen = seen?;
        ensure!(
            seen.starts_with("666\nssh-ed25519 ") && seen.ends_with(" of-the-test\n"),
            "{seen}"
        );
        // Without one the mount is left out; required it is an error.
        files.write("Dockerfile", "FROM busybox\nRUN --mount=type=ssh,required true\n")?;
        let ran = build(world, &files, &[])?;
        ensure!(ran.code != 0 && ran.stderr.contains("build with --ssh default"), "{ran:?}");
        let ran = build(world, &files, &["--ssh", &format!("default={}", key.display())])?;
        ensure!(ran.code != 0 && ran.stderr.contains("ssh-add"), "{ran:?}");
        nothing_is_left(world)
    })
}

#[test]
fn contexts_have_names() -> Result<()> {
    with(Program::Teu, |world| {
        let ignored = [("o", "other\n"), ("no", ""), (".dockerignore", "no\n")];
        let other = Files::new(world, "other", &ignored)?;
        let dockerfile = "FROM base AS made\nCOPY --from=more . /more/\nCOPY a /a\n\
            RUN --mount=from=more,target=/m cp /m/o /mounted\n\
            FROM nowhere/at/all:1\nCOPY --from=made /more /more\nCOPY --from=made /a /mounted /\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile), ("a", "a\n")])?;
        let more = format!("more={}", other.path().display());
        let image = "docker-image://busybox";
        let (base, last) = (format!("base={image}"), format!("nowhere/at/all:1={image}"));
        let mut contexts = vec!["-t", "n"];
        contexts.extend([&more, &base, &last].iter().flat_map(|c| ["--build-context", c]));
        built(world, &files, &contexts)?;
        let look = "cd /more && ls -A && cat o /a /mounted";
        let seen = in_image(world, "n", look)?;
        ensure!(seen == ".dockerignore\no\nother\na\nother\n", "{seen}");
        other.write("o", "changed\n")?;
        built(world, &files, &contexts)?;
        ensure!(in_image(world, "n", "cat /more/o")? == "changed\n");
        // Files are a base as well.
        let dockerfile = "FROM more AS files\nFROM busybox\nCOPY --from=files / /f/\n";
        files.write("Dockerfile", dockerfile)?;
        built(world, &files, &["-t", "f", "--build-context", &more])?;
        ensure!(in_image(world, "f", "cat /f/o; ls -A /f | wc -l")? == "changed\n2\n");
        let missing = build(world, &files, &["--build-context", "more=/none"])?;
        ensure!(missing.code != 0 && missing.stderr.contains("/none"), "{missing:?}");
        let left = std::fs::read_dir(world.host.data_root().join("builder/inputs"));
        ensure!(left.context("inputs")?.next().is_none(), "a context is left");
        nothing_is_left(world)
    })
}

#[test]
fn bad_inputs_are_refused() -> Result<()> {
    with(Program::Teu, |world| {
        let ask = |path: &str, body: &str| -> Result<String> {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: \
                 application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = e2e::http::raw_unix(&world.host.socket(), request.as_bytes())?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let large = "x".repeat((500 << 10) + 1);
        for (path, body, part) in [
            ("/build/inputs", "", "missing parameter: kind"),
            ("/build/inputs?kind=secret", large.as_str(), "larger than"),
            ("/build/inputs?kind=context", "no archive at all", "\"message\""),
            ("/build/inputs?kind=cache", "", "this is no build cache"),
            ("/build/cache", "", "no steps are named"),
            ("/build/cache", r#"{"Keys": ["../../etc/passwd"]}"#, "is no key of a step"),
            ("/build/cache", r#"{"Keys": [], "Known": ["sha256:x"]}"#, "\"message\""),
            ("/build/cache", r#"{"Keys": 1}"#, "invalid JSON"),
            ("/build?secret=a=none", "", "was sent ahead"),
            ("/build?secret=a", "", "want name=value"),
            ("/build?buildcontext=a", "", "want name=value"),
            ("/build?remote=ftp://x", "", "cannot be fetched"),
            ("/build/prune?filters={%22inuse%22:[%22perhaps%22]}", "", "want true or false"),
        ] {
            let answer = ask(path, body)?;
            ensure!(answer.contains(part), "{path} {body:.60}: {answer}");
            ensure!(!answer.starts_with("HTTP/1.1 500"), "{path}: {answer}");
        }
        let left = std::fs::read_dir(world.host.data_root().join("builder/inputs"));
        ensure!(left.map(Iterator::count).unwrap_or(0) == 0, "an input is left");
        nothing_is_left(world)
    })
}

#[test]
fn devices_come_into_the_commands_that_ask_for_them() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let device = |name: &str| {
        format!(
            r#"{{"name": "{name}", "containerEdits": {{"env": ["SAIL_{name}=1"],
                "deviceNodes": [{{"path": "/dev/{name}", "hostPath": "/dev/null"}}]}}}}"#
        )
    };
    let text = format!(
        r#"{{"cdiVersion": "0.6.0", "kind": "example.com/sail", "devices": [{}, {}]}}"#,
        device("jib"),
        device("main")
    );
    std::fs::write(dir.path().join("sail.json"), text)?;
    let flags = vec!["--cdi-spec-dir".to_owned(), dir.path().display().to_string()];
    let host = e2e::Host::start_with(e2e::HostOptions { flags, ..Default::default() })?;
    host.load_busybox()?;
    let world = World { client: host.client(Program::Teu), host };
    let dockerfile = "FROM busybox\n\
        RUN --device=example.com/sail=main,required test $SAIL_main = 1 && test -c /dev/main && \
        echo x > /dev/main && test ! -e /dev/jib\n\
        RUN --device=example.com/sail test -c /dev/jib && test ! -e /dev/main\n\
        RUN --device=example.com/sail=* test -c /dev/jib && test -c /dev/main\n\
        RUN --device=example.com/oar=left test ! -e /dev/main\n\
        RUN test -z \"$SAIL_main\" && test ! -e /dev/main\n";
    let files = Files::new(&world, "ctx", &[("Dockerfile", dockerfile)])?;
    let ran = build(&world, &files, &[])?;
    for part in ["is requested by the build but not allowed", "--allow device=", "Dockerfile:2:1"] {
        ensure!(ran.code != 0 && ran.stderr.contains(part), "{ran:?}");
    }
    built(&world, &files, &["-t", "d", "--allow", "device"])?;
    let own = "FROM busybox\nRUN --device=example.com/oar=left,required true\n";
    files.write("Dockerfile", own)?;
    let ran = build(&world, &files, &["--allow", "device=example.com/oar"])?;
    ensure!(ran.code != 0 && ran.stderr.contains("is not registered"), "{ran:?}");
    nothing_is_left(&world)
}

#[test]
fn run_may_do_more_where_that_is_granted() -> Result<()> {
    with(Program::Teu, |world| {
        let dockerfile = "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status > /c\n\
            RUN grep CapEff /proc/self/status > /d\nRUN --network=none ls /sys/class/net > /n\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
        let ran = build(world, &files, &[])?;
        ensure!(ran.code != 0 && ran.stderr.contains("--allow security.insecure"), "{ran:?}");
        built(world, &files, &["-t", "i", "--allow", "security.insecure"])?;
        let seen = in_image(world, "i", "cmp -s /c /d && echo same; cat /n")?;
        ensure!(seen == "lo\n", "{seen}");
        Ok(())
    })
}
