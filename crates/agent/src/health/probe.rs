//! One probe: a command in the container, or a connection from inside its network namespace.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use mesos_api::v1::network_info::Protocol;
use mesos_api::v1::{CommandInfo, HealthCheck, health_check};
use rustix::thread::LinkNameSpaceType;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::docker::{Engine, variables};

/// A connection to a port of the same namespace is made at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is probed.
pub(crate) enum Target<'a> {
    Container {
        engine: &'a Engine,
        name: &'a str,
        pid: u32,
    },
    /// A process on the host's network.
    Process {
        sandbox: PathBuf,
        environment: Vec<(String, String)>,
    },
}

/// Probes once; the error says why it is not well.
pub(super) async fn probe(check: &HealthCheck, target: &Target<'_>) -> Result<(), String> {
    match (check.r#type(), &check.command, &check.http, &check.tcp) {
        (health_check::Type::Command, Some(command), ..) => self::command(command, target).await,
        (health_check::Type::Http, _, Some(http), _) => self::http(http, target).await,
        (health_check::Type::Tcp, .., Some(tcp)) => {
            connect(target, tcp.protocol(), tcp.port).await.map(drop)
        }
        _ => Err("there is nothing to check".to_owned()),
    }
}

fn words(command: &CommandInfo) -> Vec<String> {
    let value = command.value().to_owned();
    if command.shell() {
        vec!["/bin/sh".to_owned(), "-c".to_owned(), value]
    } else {
        std::iter::once(value).chain(command.arguments.iter().cloned()).collect()
    }
}

async fn command(command: &CommandInfo, target: &Target<'_>) -> Result<(), String> {
    let words = words(command);
    let own: Vec<(String, String)> = variables(Some(command))?.into_iter().collect();
    let code = match target {
        Target::Container { engine, name, .. } => {
            engine.exec(name, &words, &own).await.map_err(|e| e.message())?
        }
        Target::Process { sandbox, environment } => {
            let mut process = tokio::process::Command::new(&words[0]);
            process
                .args(&words[1..])
                .env_clear()
                .envs(environment.iter().cloned())
                .envs(own)
                .current_dir(sandbox)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true);
            let status =
                process.status().await.map_err(|e| format!("cannot run {}: {e}", words[0]))?;
            status.code().map_or(-1, i64::from)
        }
    };
    if code == 0 { Ok(()) } else { Err(format!("the command exited with status {code}")) }
}

async fn http(check: &health_check::HttpCheckInfo, target: &Target<'_>) -> Result<(), String> {
    let stream = connect(target, check.protocol(), check.port).await?;
    let failed = |e: hyper::Error| format!("no HTTP answer from port {}: {e}", check.port);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let path = check.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let request = hyper::Request::get(&path)
        .header(hyper::header::HOST, format!("localhost:{}", check.port))
        .header(hyper::header::USER_AGENT, "teu-agent")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("'{path}' is no path: {e}"))?;
    let status = {
        tokio::pin!(connection);
        let answer = sender.send_request(request);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended.map_err(failed)?;
                answer.await
            }
        }
        .map_err(failed)?
        .status()
        .as_u16()
    };
    let wanted = if check.statuses.is_empty() {
        (200..400).contains(&status)
    } else {
        check.statuses.contains(&u32::from(status))
    };
    if wanted { Ok(()) } else { Err(format!("port {} answered {status}", check.port)) }
}

/// Connects to a port on the target's own loopback.
async fn connect(target: &Target<'_>, protocol: Protocol, port: u32) -> Result<TcpStream, String> {
    let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
    let ip: IpAddr = match protocol {
        Protocol::IPv4 => Ipv4Addr::LOCALHOST.into(),
        Protocol::IPv6 => Ipv6Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(ip, port);
    let failed = |e: std::io::Error| format!("cannot connect to port {port}: {e}");
    match target {
        Target::Process { .. } => TcpStream::connect(address).await.map_err(failed),
        Target::Container { pid, .. } => {
            let stream = inside(*pid, address).await.map_err(failed)?;
            stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).map_err(failed)
        }
    }
}

/// Connects on a thread of its own, which enters the namespace and ends: no other ever sees it.
async fn inside(pid: u32, address: SocketAddr) -> std::io::Result<std::net::TcpStream> {
    let (reply, answered) = oneshot::channel();
    let work = move || {
        let connect = || {
            let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
            rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(LinkNameSpaceType::Network),
            )?;
            std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
        };
        let _ = reply.send(connect()); // a probe that timed out does not listen
    };
    std::thread::Builder::new().name("probe".to_owned()).spawn(work)?;
    answered.await.unwrap_or_else(|_| Err(std::io::Error::other("the probe's thread ended")))
}
