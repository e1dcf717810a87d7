//! docker-compose (Debian's, version 1) as a judge: a project with three services on two networks,
//! brought up, scaled, looked into, and taken down without a trace.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Host, Program, is_root};

const PROJECT: &str = "version: '2.4'
services:
  web:
    image: busybox
    command: httpd -f -p 80 -h /data
    stop_signal: KILL
    networks:
      front:
        ipv4_address: 10.197.31.10
        aliases: [site]
      back: {}
    ports: ['127.0.0.1::80']
    volumes: ['pages:/data']
    depends_on: [db]
  app:
    image: busybox
    command: sleep 600
    stop_signal: KILL
    networks:
      back:
        aliases: [worker]
    volumes: ['pages:/data']
  db:
    image: busybox
    command: sleep 600
    stop_signal: KILL
    networks:
      back:
        ipv4_address: 10.197.32.20
        aliases: [database, postgres]
volumes:
  pages: {}
networks:
  front:
    ipam:
      config: [{subnet: 10.197.31.0/24, gateway: 10.197.31.1}]
  back:
    internal: true
    ipam:
      config: [{subnet: 10.197.32.0/24}]
";

struct Compose<'a> {
    host: &'a Host,
    directory: &'a Path,
}

impl Compose<'_> {
    fn run(&self, args: &[&str]) -> Result<String> {
        let output = Command::new("docker-compose")
            .args(["--no-ansi", "-p", "judge"])
            .args(args)
            .current_dir(self.directory)
            .env("DOCKER_HOST", self.host.address())
            .env("COMPOSE_HTTP_TIMEOUT", "120")
            // The command it would start instead knows fewer of a build's options.
            .env("COMPOSE_DOCKER_CLI_BUILD", "0")
            .output()
            .context("start docker-compose")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "docker-compose {args:?}: {}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Addresses that a service's container sees behind a name.
    fn look_up(&self, service: &str, name: &str) -> Result<Vec<String>> {
        let text = self.run(&["exec", "-T", service, "nslookup", "-type=a", name])?;
        let (_, answer) = text.split_once("\n\n").context("an answer")?;
        let found = answer.lines().filter_map(|line| line.strip_prefix("Address: "));
        Ok(found.map(str::to_owned).collect())
    }
}

#[test]
fn a_project_comes_up_scales_and_leaves_nothing() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    if Command::new("docker-compose").arg("--version").output().is_err() {
        eprintln!("skipped: needs docker-compose (package docker-compose)");
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    let project = tempfile::tempdir()?;
    std::fs::write(project.path().join("docker-compose.yml"), PROJECT)?;
    let compose = Compose { host: &host, directory: project.path() };

    compose.run(&["up", "-d"])?;
    judge(&compose)?;
    compose.run(&["up", "-d", "--scale", "app=3"])?;
    for name in ["app", "worker"] {
        ensure!(compose.look_up("db", name)?.len() == 3, "{name}");
    }
    compose.run(&["up", "-d", "--scale", "app=1"])?;
    ensure!(compose.look_up("db", "app")?.len() == 1);
    compose.run(&["restart", "-t", "0", "web"])?;
    judge(&compose)?;
    let shown = compose.run(&["ps"])?;
    ensure!(shown.matches("Up").count() == 3, "{shown}");

    compose.run(&["down", "-v", "-t", "0"])?;
    nothing_is_left(&host)?;
    let routes = Command::new("ip").args(["route", "show", "root", "10.197.0.0/16"]).output()?;
    ensure!(routes.stdout.is_empty(), "{}", String::from_utf8_lossy(&routes.stdout));
    Ok(())
}

fn judge(compose: &Compose<'_>) -> Result<()> {
    ensure!(compose.look_up("app", "db")? == ["10.197.32.20"]);
    ensure!(compose.look_up("app", "postgres")? == ["10.197.32.20"]);
    // In both networks; a neighbour sees the one they share.
    ensure!(compose.look_up("app", "web")?.iter().all(|ip| ip.starts_with("10.197.32.")));
    ensure!(compose.look_up("web", "site")? == ["10.197.31.10"]);
    // The volume is one for both, and the page leaves by the published port.
    compose.run(&["exec", "-T", "app", "sh", "-c", "echo from the volume > /data/index.html"])?;
    let page = compose.run(&["exec", "-T", "app", "wget", "-q", "-O", "-", "http://web/"])?;
    ensure!(page == "from the volume\n", "{page:?}");
    let published = compose.run(&["port", "web", "80"])?;
    let address = published.trim().parse()?;
    let answer = e2e::eventually("the page is published", || {
        use std::io::{Read as _, Write as _};
        let within = std::time::Duration::from_secs(2);
        let mut stream = std::net::TcpStream::connect_timeout(&address, within)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    ensure!(answer.ends_with("from the volume\n"), "{answer:?}");
    Ok(())
}

fn nothing_is_left(host: &Host) -> Result<()> {
    let teu = host.client(Program::Teu);
    ensure!(teu.run(&["ps", "-aq"])?.is_empty());
    ensure!(teu.run(&["volume", "ls", "-q"])?.is_empty());
    let networks = teu.run(&["network", "ls", "--format", "{{.Name}}"])?;
    let mut networks: Vec<_> = networks.lines().collect();
    networks.sort_unstable();
    ensure!(networks == ["bridge", "host", "none"], "{networks:?}");
    let names = host.exec_root().join("network/names");
    let names = std::fs::read_dir(&names).map_or(0, Iterator::count);
    ensure!(names == 0, "{names} files of names");
    Ok(())
}

const BUILT: &str = "version: '2.4'
services:
  app:
    build:
      context: .
      dockerfile: sub/App.df
      target: final
      args: {WHAT: given}
      labels: {made: by compose}
      extra_hosts: ['helper:10.9.8.7']
      network: none
      shm_size: 32m
    image: judged:1
";

const APP: &str = "FROM busybox AS base
ARG WHAT=default
RUN echo $WHAT > /made && grep -q '^10.9.8.7.helper' /etc/hosts && df -k /dev/shm | grep -q ' 32768 '
FROM base AS final
COPY . /src/
CMD [\"cat\", \"/made\", \"/src/file\"]
FROM base AS not-this
RUN false
";

#[test]
fn a_project_builds_its_images() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    if Command::new("docker-compose").arg("--version").output().is_err() {
        eprintln!("skipped: needs docker-compose (package docker-compose)");
        return Ok(());
    }
    let host = Host::start()?;
    host.load_busybox()?;
    let project = tempfile::tempdir()?;
    let write = |name: &str, text: &str| {
        let path = project.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(project.path()))?;
        std::fs::write(path, text)
    };
    write("docker-compose.yml", BUILT)?;
    write("sub/App.df", APP)?;
    write("file", "file\n")?;
    write("left-out", "")?;
    write(".dockerignore", "left-out\nsub\n")?;
    let compose = Compose { host: &host, directory: project.path() };
    let teu = host.client(Program::Teu);

    let told = compose.run(&["build"])?;
    ensure!(told.contains("Successfully tagged judged:1"), "{told}");
    ensure!(compose.run(&["run", "--rm", "-T", "app"])? == "given\nfile\n");
    // The client sends the Dockerfile even when it is ignored, and its directory with it.
    let files = "cd /src && find . -type f | sort";
    let seen = compose.run(&["run", "--rm", "-T", "app", "sh", "-c", files])?;
    ensure!(seen == "./.dockerignore\n./docker-compose.yml\n./file\n", "{seen}");
    let label = ["image", "inspect", "-f", "{{.Config.Labels.made}}", "judged:1"];
    ensure!(teu.run(&label)? == "by compose\n");
    let told = compose.run(&["build", "--build-arg", "WHAT=other"])?;
    ensure!(!told.contains("Using cache\n ---> Using cache"), "{told}");
    let told = compose.run(&["build"])?;
    ensure!(told.matches("Using cache").count() >= 3, "{told}");
    write("file", "changed\n")?;
    compose.run(&["up", "--build", "-d"])?;
    ensure!(compose.run(&["logs", "--no-color", "app"])?.contains("changed"));
    write("sub/App.df", &APP.replace("COPY .", "COPY none"))?;
    let refused = compose.run(&["build"]).unwrap_or_else(|error| error.to_string());
    ensure!(refused.contains("none: file does not exist"), "{refused}");
    compose.run(&["down", "-v", "-t", "0"])?;
    nothing_is_left(&host)
}
