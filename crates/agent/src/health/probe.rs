//! One probe: a command in the container, or a connection from inside its network namespace.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use docker_api::TlsFiles;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use mesos_api::v1::CommandInfo;
use mesos_api::v1::network_info::Protocol;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::LinkNameSpaceType;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use crate::docker::{Engine, signal_exec, variables};
use crate::identity::User;

/// Of a process that exits, in the flags of proc(5)'s stat.
const PF_EXITING: u64 = 4;

/// A connection to a port of the same namespace is made at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is probed.
#[derive(Clone)]
pub(crate) enum Target<'a> {
    Container {
        engine: &'a Engine,
        name: &'a str,
        pid: u32,
    },
    /// A process on the host's network.
    Process {
        pid: u32,
        sandbox: PathBuf,
        environment: Vec<(String, String)>,
        user: Option<User>,
    },
}

impl Target<'_> {
    /// Whether it has ended, or is just doing so: an init takes whatever runs in its container along
    /// before it can be waited for.
    pub(super) fn is_ending(&self) -> bool {
        let (Self::Container { pid, .. } | Self::Process { pid, .. }) = self;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything.
        let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6));
        flags.and_then(|flags| flags.parse().ok()).is_none_or(|flags: u64| flags & PF_EXITING != 0)
    }
}

/// How it is probed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probe<'a> {
    Command(&'a CommandInfo),
    Http { protocol: Protocol, port: u32, path: &'a str, tls: bool },
    Tcp { protocol: Protocol, port: u32 },
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Exited(i64),
    Answered(u16),
    Connected,
}

/// Why nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It took longer than it may; a command has been killed.
    Late(Duration),
    Failed(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late(timeout) => write!(f, "no answer within {timeout:?}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Probes once.
pub(super) async fn probe(
    probe: Probe<'_>,
    target: &Target<'_>,
    timeout: Duration,
) -> Result<Outcome, Failure> {
    let failed = Failure::Failed;
    let late = |_| Failure::Late(timeout);
    match probe {
        Probe::Command(command) => self::command(command, target, timeout).await,
        Probe::Http { protocol, port, path, tls } => {
            let answer = http(target, protocol, port, path, tls);
            let status = tokio::time::timeout(timeout, answer).await.map_err(late)?;
            status.map(Outcome::Answered).map_err(failed)
        }
        Probe::Tcp { protocol, port } => {
            let connect = connect(target, protocol, port);
            let stream = tokio::time::timeout(timeout, connect).await.map_err(late)?;
            stream.map(|_| Outcome::Connected).map_err(failed)
        }
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

async fn command(
    command: &CommandInfo,
    target: &Target<'_>,
    timeout: Duration,
) -> Result<Outcome, Failure> {
    let words = words(command);
    let own: Vec<(String, String)> =
        variables(Some(command)).map_err(Failure::Failed)?.into_iter().collect();
    let code = match target {
        Target::Container { engine, name, pid } => {
            let failed = |e: docker_api::Error| Failure::Failed(e.message());
            let id = engine.exec(name, &words, &own).await.map_err(failed)?;
            match tokio::time::timeout(timeout, engine.run_exec(&id)).await {
                Ok(code) => code.map_err(failed)?,
                Err(_) => {
                    signal_exec(engine, &id, *pid, Signal::KILL.as_raw()).await;
                    return Err(Failure::Late(timeout));
                }
            }
        }
        Target::Process { sandbox, environment, user, .. } => {
            let variables = environment.iter().cloned().chain(own);
            let mut process = tokio::process::Command::new(&words[0]);
            process
                .args(&words[1..])
                .env_clear()
                .envs(variables)
                .current_dir(sandbox)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0);
            if let Some(user) = user {
                process.uid(user.uid).gid(user.gid);
            }
            run(process, timeout).await?
        }
    };
    Ok(Outcome::Exited(code))
}

/// Runs a process that leads a group; what is not over in time is killed, its children too.
async fn run(mut process: tokio::process::Command, timeout: Duration) -> Result<i64, Failure> {
    /// Also when nobody waits any more: the task has ended.
    struct Group(Option<Pid>);
    impl Drop for Group {
        fn drop(&mut self) {
            if let Some(leader) = self.0 {
                let _ = kill_process_group(leader, Signal::KILL); // it may have ended
            }
        }
    }
    let failed = |e: std::io::Error| Failure::Failed(format!("cannot run the command: {e}"));
    let mut child = process.spawn().map_err(failed)?;
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let mut group = Group(pid);
    match tokio::time::timeout(timeout, child.wait()).await {
        Ok(status) => {
            // Reaped: the number may be another's soon.
            group.0 = None;
            Ok(status.map_err(failed)?.code().map_or(-1, i64::from))
        }
        Err(_) => Err(Failure::Late(timeout)),
    }
}

/// Asks a port; returns the status of its answer.
async fn http(
    target: &Target<'_>,
    protocol: Protocol,
    port: u32,
    path: &str,
    tls: bool,
) -> Result<u16, String> {
    let stream = connect(target, protocol, port).await?;
    if !tls {
        return ask(stream, port, path).await;
    }
    let ip = stream.peer_addr().map_err(|e| format!("cannot connect to port {port}: {e}"))?.ip();
    let connecting = connector().connect(ip.into(), stream);
    let stream = connecting.await.map_err(|e| format!("no TLS with port {port}: {e}"))?;
    ask(stream, port, path).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    port: u32,
    path: &str,
) -> Result<u16, String> {
    let failed = |e: hyper::Error| format!("no HTTP answer from port {port}: {e}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let request = hyper::Request::get(&path)
        .header(hyper::header::HOST, format!("localhost:{port}"))
        .header(hyper::header::USER_AGENT, "teu-agent")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("'{path}' is no path: {e}"))?;
    tokio::pin!(connection);
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.map_err(failed)?;
            answer.await
        }
    };
    Ok(answer.map_err(failed)?.status().as_u16())
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

/// TLS with whatever certificate there is. Whoever listens on a port of the task is the task: as in
/// Mesos, nobody vouches for it, and an expired or self-made one is fine.
fn connector() -> TlsConnector {
    let config = TlsFiles::default().load().expect("there are no files that could be bad");
    Arc::new(config).into()
}

#[cfg(test)]
mod tests {
    use rustix::process::WaitIdOptions;

    use super::*;

    #[test]
    fn a_process_is_ending_once_it_exits_and_when_it_is_gone() {
        let mut child =
            std::process::Command::new("cat").stdin(Stdio::piped()).spawn().expect("a process");
        let target = Target::Process {
            pid: child.id(),
            sandbox: PathBuf::new(),
            environment: Vec::new(),
            user: None,
        };
        assert!(!target.is_ending(), "it waits for its input");
        drop(child.stdin.take());
        // Until it has ended; it is left to be waited for.
        let pid = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(pid, options).expect("its end");
        assert!(target.is_ending());
        child.wait().expect("its end");
        assert!(target.is_ending());
    }
}
