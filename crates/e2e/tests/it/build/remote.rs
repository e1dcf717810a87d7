//! Contexts and files that the daemon fetches: by HTTP, and from Git repositories.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::Web;
use sha2::{Digest as _, Sha256};

use super::{Files, World, build, built, in_image, nothing_is_left, with};

both_clients!(
    files_are_added_by_address,
    what_is_known_by_its_checksum_is_fetched_once,
    archives_are_unpacked_whatever_their_compression,
);

fn files_are_added_by_address(world: &World) -> Result<()> {
    let tar = Command::new("tar").args(["-c", "/etc/hostname"]).output()?.stdout;
    let dated = "200 OK\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT";
    let web = Web::start(vec![
        ("/dir/file.txt?x=1", dated, b"fetched\n".to_vec()),
        ("/a.tar", "200 OK", tar),
        ("/", "200 OK", b"root\n".to_vec()),
    ])?;
    let at = format!("http://127.0.0.1:{}", web.port());
    let sum = "sha256:57b7a49bd4abb3f7b6a0fb85a25f6f8cc3dbcb2c3ae5a8b7fbb0ae7bcbb1fd2c";
    let dockerfile = format!(
        "FROM busybox\nADD {at}/dir/file.txt?x=1 /into/\nADD --chmod=0755 --chown=1000 {at}/ /named\n\
         ADD {at}/a.tar /plain/\nADD --unpack {at}/a.tar /unpacked/\n"
    );
    let files = Files::new(world, "ctx", &[("Dockerfile", &dockerfile)])?;
    built(world, &files, &["-t", "a"])?;
    let look = "cat /into/file.txt /named; stat -c '%a %u %Y' /into/file.txt; stat -c '%a %u' /named; \
        ls /plain /unpacked";
    let seen = in_image(world, "a", look)?;
    let expected = "fetched\nroot\n600 0 1445412480\n755 1000\n/plain:\na.tar\n\n/unpacked:\netc\n";
    ensure!(seen == expected, "{seen}");
    for (line, part) in [
        (format!("ADD --checksum={sum} {at}/dir/file.txt?x=1 /f"), "digest mismatch"),
        (format!("ADD --checksum=md5:0 {at}/dir/file.txt?x=1 /f"), "invalid checksum"),
        (format!("ADD --checksum={sum} Dockerfile /f"), "checksum can only be used"),
        (format!("ADD {at}/none /f"), "404"),
        (format!("ADD {at}/ /dir/"), "cannot determine filename"),
    ] {
        files.write("Dockerfile", &format!("FROM busybox\n{line}\n"))?;
        let ran = build(world, &files, &[])?;
        ensure!(ran.code != 0 && ran.stderr.contains(part), "{line}: {ran:?}");
        ensure!(ran.stderr.contains("Dockerfile:2:"), "{line}: {ran:?}");
    }
    nothing_is_left(world)
}

fn archives_are_unpacked_whatever_their_compression(world: &World) -> Result<()> {
    let files = Files::new(world, "ctx", &[("in", "content\n")])?;
    let mut dockerfile = "FROM busybox\n".to_owned();
    for (name, flag) in [("a.tar", ""), ("b.tgz", "z"), ("c", "j"), ("d.tar.xz", "J")] {
        let status = Command::new("tar")
            .args([&format!("-c{flag}f"), name, "in"])
            .current_dir(files.path())
            .status()?;
        ensure!(status.success(), "{name}");
        dockerfile.push_str(&format!("ADD {name} /{flag}/\n"));
    }
    files.write("Dockerfile", &dockerfile)?;
    built(world, &files, &["-t", "u"])?;
    let seen = in_image(world, "u", "cat /in /z/in /j/in /J/in")?;
    ensure!(seen == "content\n".repeat(4), "{seen}");
    Ok(())
}

/// Serves one file once; then nobody listens any more.
fn once(body: &'static [u8]) -> Result<(String, std::thread::JoinHandle<std::io::Result<()>>)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/file", listener.local_addr()?);
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body)
    });
    Ok((url, thread))
}

fn what_is_known_by_its_checksum_is_fetched_once(world: &World) -> Result<()> {
    let body = b"known\n";
    let sum: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let (url, served) = once(body)?;
    let dockerfile = format!("FROM busybox\nADD --checksum=sha256:{sum} {url} /f\n");
    let files = Files::new(world, "ctx", &[("Dockerfile", &dockerfile)])?;
    built(world, &files, &["-t", "a"])?;
    served.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    built(world, &files, &["-t", "b"])?;
    ensure!(in_image(world, "b", "cat /f")? == "known\n");
    ensure!(build(world, &files, &["--no-cache"])?.code != 0, "nobody serves it any more");
    nothing_is_left(world)
}

/// git, serving the repositories below a directory.
struct GitDaemon {
    child: Child,
    port: u16,
}

impl GitDaemon {
    fn start(base: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("git")
            .args(["daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", base.display()))
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start git daemon")?;
        let started = Self { child, port };
        e2e::eventually("git serves", || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)?)
        })?;
        Ok(started)
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        // The one that serves is its child.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        let _ = self.child.wait();
    }
}

#[test]
fn repositories_are_contexts_and_sources() -> Result<()> {
    with(e2e::Program::Teu, |world| {
        let files = Files::new(
            world,
            "repo.git",
            &[
                ("sub/Dockerfile", "FROM busybox\nCOPY . /c/\nCOPY --from=more /top /\n"),
                ("sub/.dockerignore", "no\n"),
                ("sub/yes", ""),
                ("sub/no", ""),
                ("top", "first\n"),
            ],
        )?;
        let script = "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm x \
            && git branch side && echo second > top && git -c user.name=a -c user.email=a@b \
            commit -qam y && git rev-parse side";
        let made = Command::new("sh").args(["-c", script]).current_dir(files.path()).output()?;
        ensure!(made.status.success(), "{made:?}");
        let commit = String::from_utf8(made.stdout)?.trim().to_owned();
        let daemon = GitDaemon::start(world.host.scratch())?;
        let at = format!("git://127.0.0.1:{}/repo.git", daemon.port);
        let url = format!("{at}#side:sub");
        world.client.run(&["build", "-t", "g", "--build-context", &format!("more={at}"), &url])?;
        let seen = in_image(world, "g", "ls -A /c && cat /top")?;
        ensure!(seen == ".dockerignore\nDockerfile\nyes\nsecond\n", "{seen}");
        let short = &commit[..10];
        let dockerfile = format!(
            "FROM busybox\nADD {at}#side /s/\nADD {at}#{short}:sub /short/\n\
             ADD --keep-git-dir --checksum={commit} {at}#side /k/\n"
        );
        let files = Files::new(world, "ctx", &[("Dockerfile", &dockerfile)])?;
        built(world, &files, &["-t", "h"])?;
        let seen =
            in_image(world, "h", "ls -A /s /short; cat /s/top; test -d /k/.git && echo kept")?;
        ensure!(
            seen == "/s:\nsub\ntop\n\n/short:\n.dockerignore\nDockerfile\nno\nyes\nfirst\nkept\n",
            "{seen}"
        );
        for (url, part) in [
            (format!("{at}#none"), "none"),
            (format!("{at}#side:nowhere"), "there is no directory"),
            (format!("{at}x"), "git fetch"),
        ] {
            let ran = world.client.try_run(&["build", &url])?;
            ensure!(ran.code != 0 && ran.stderr.contains(part), "{url}: {ran:?}");
        }
        nothing_is_left(world)
    })
}

/// Serves the files of a directory to those who send this header, on the loopback until the process
/// ends.
fn guarded(directory: std::path::PathBuf, header: &'static str) -> Result<u16> {
    use std::io::{BufRead as _, BufReader};
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let path = first.split([' ', '?']).nth(1).unwrap_or_default();
            let known = headers.iter().any(|line| line.eq_ignore_ascii_case(header));
            let found = std::fs::read(directory.join(path.trim_start_matches('/')));
            let (status, body) = match (known, found) {
                (false, _) => ("401 Unauthorized", Vec::new()),
                (true, Ok(body)) => ("200 OK", body),
                (true, Err(_)) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // A client that leaves early is its own affair.
            let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
        }
    });
    Ok(port)
}

#[test]
fn private_repositories_are_opened_by_secrets() -> Result<()> {
    with(e2e::Program::Teu, |world| {
        let made = [("Dockerfile", "FROM busybox\nCOPY private /p\n"), ("private", "seen\n")];
        let files = Files::new(world, "repo", &made)?;
        let script = "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm x \
            && git clone -q --bare . ../served.git && git -C ../served.git update-server-info";
        let made = Command::new("sh").args(["-c", script]).current_dir(files.path()).output()?;
        ensure!(made.status.success(), "{made:?}");
        let served = world.host.scratch().to_owned();
        // x-access-token:very-private
        let header = "Authorization: basic eC1hY2Nlc3MtdG9rZW46dmVyeS1wcml2YXRl";
        let port = guarded(served, header)?;
        let url = format!("http://127.0.0.1:{port}/served.git");
        let refused = world.client.try_run(&["build", &url])?;
        ensure!(refused.code != 0, "{refused:?}");
        let token = world.host.scratch().join("token");
        std::fs::write(&token, "very-private\n")?;
        let secret = format!("id=GIT_AUTH_TOKEN,src={}", token.display());
        world.client.run(&["build", "-t", "p", "--secret", &secret, &url])?;
        ensure!(in_image(world, "p", "cat /p")? == "seen\n");
        // As a source of ADD; the secret of another host opens nothing.
        let dockerfile = format!("FROM busybox\nADD {url} /r/\n");
        let files = Files::new(world, "ctx", &[("Dockerfile", &dockerfile)])?;
        let other = format!("id=GIT_AUTH_TOKEN.example.org,src={}", token.display());
        ensure!(build(world, &files, &["--secret", &other])?.code != 0);
        let own = format!("id=GIT_AUTH_TOKEN.127.0.0.1:{port},src={}", token.display());
        built(world, &files, &["-t", "a", "--secret", &own])?;
        ensure!(in_image(world, "a", "cat /r/private")? == "seen\n");
        nothing_is_left(world)
    })
}

/// An SSH server that lets one key in.
struct Sshd {
    child: Child,
    port: u16,
    /// The server's key, as clients note it.
    public: String,
}

impl Sshd {
    /// Makes a key for users, `user`, and one of its own in a directory.
    fn start(dir: &Path) -> Result<Self> {
        for name in ["user", "host"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(dir.join(name));
            ensure!(keygen.status()?.success(), "no key {name}");
        }
        // Where it goes to be without rights, on a host that has not started one yet.
        std::fs::create_dir_all("/run/sshd")?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", "/dev/null", "-o", "ListenAddress=127.0.0.1", "-o"])
            .arg(format!("Port={port}"))
            .arg("-o")
            .arg(format!("HostKey={}", dir.join("host").display()))
            .arg("-o")
            .arg(format!("AuthorizedKeysFile={}", dir.join("user.pub").display()))
            .args(["-o", "StrictModes=no", "-o", "PidFile=none", "-o", "PermitRootLogin=yes"])
            .stderr(Stdio::null())
            .spawn()
            .context("start sshd (package openssh-server)")?;
        let public = std::fs::read_to_string(dir.join("host.pub"))?;
        let sshd = Self { child, port, public };
        e2e::eventually("sshd listens", || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)?)
        })?;
        Ok(sshd)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_agent_opens_repositories_over_ssh() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let sshd = Sshd::start(dir.path())?;
    let made = dir.path().join("repo");
    std::fs::create_dir(&made)?;
    std::fs::write(made.join("Dockerfile"), "FROM busybox\nCOPY private /p\n")?;
    std::fs::write(made.join("private"), "by ssh\n")?;
    let script = "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm x";
    ensure!(Command::new("sh").args(["-c", script]).current_dir(&made).status()?.success());
    let socket = dir.path().join("agent");
    let mut agent = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).spawn()?;
    let built = (|| {
        e2e::eventually("the agent listens", || {
            ensure!(socket.exists());
            Ok(())
        })?;
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(dir.path().join("user")).env("SSH_AUTH_SOCK", &socket);
        ensure!(add.status()?.success(), "no key for the agent");
        over_ssh(&sshd, &made, &socket)
    })();
    // It may have ended by itself.
    let _ = agent.kill();
    agent.wait()?;
    built
}

fn over_ssh(sshd: &Sshd, repository: &Path, agent: &Path) -> Result<()> {
    let url = format!("ssh://root@127.0.0.1:{}{}", sshd.port, repository.display());
    let ssh = format!("default={}", agent.display());
    let world = |known_hosts| -> Result<World> {
        let options = e2e::HostOptions { known_hosts: Some(known_hosts), ..Default::default() };
        let host = e2e::Host::start_with(options)?;
        host.load_busybox()?;
        Ok(World { client: host.client(e2e::Program::Teu), host })
    };
    let stranger = world(String::new())?;
    let ran = stranger.client.try_run(&["build", "--ssh", &ssh, &url])?;
    ensure!(ran.code != 0 && ran.stderr.contains("ssh-keyscan"), "{ran:?}");
    let friend = world(format!("[127.0.0.1]:{} {}", sshd.port, sshd.public))?;
    friend.client.run(&["build", "-t", "s", "--ssh", &ssh, &url])?;
    ensure!(in_image(&friend, "s", "cat /p")? == "by ssh\n");
    let dockerfile = format!("FROM busybox\nADD {url} /r/\n");
    let files = Files::new(&friend, "ctx", &[("Dockerfile", &dockerfile)])?;
    built(&friend, &files, &["-t", "a", "--ssh", &ssh])?;
    ensure!(in_image(&friend, "a", "cat /r/private")? == "by ssh\n");
    let ran = build(&friend, &files, &["--no-cache"])?;
    ensure!(ran.code != 0 && ran.stderr.contains("Permission denied"), "{ran:?}");
    nothing_is_left(&friend)
}

#[test]
fn contexts_are_fetched_by_address() -> Result<()> {
    with(e2e::Program::Teu, |world| {
        let files = Files::new(
            world,
            "far",
            &[("Other", "FROM busybox\nCOPY a /a\n"), ("a", "a\n"), ("Dockerfile", "FROM none\n")],
        )?;
        let tar = Command::new("tar").args(["-cz", "."]).current_dir(files.path()).output()?;
        let web = Web::start(vec![
            ("/ctx.tar.gz", "200 OK", tar.stdout),
            ("/Dockerfile.x", "200 OK", b"FROM busybox\nRUN echo far > /far\n".to_vec()),
        ])?;
        let at = format!("http://127.0.0.1:{}", web.port());
        world.client.run(&["build", "-t", "t", "-f", "Other", &format!("{at}/ctx.tar.gz")])?;
        ensure!(in_image(world, "t", "cat /a")? == "a\n");
        world.client.run(&["build", "-t", "d", &format!("{at}/Dockerfile.x")])?;
        ensure!(in_image(world, "d", "cat /far")? == "far\n");
        let ran = world.client.try_run(&["build", &format!("{at}/none")])?;
        ensure!(ran.code != 0 && ran.stderr.contains("404"), "{ran:?}");
        nothing_is_left(world)
    })
}
