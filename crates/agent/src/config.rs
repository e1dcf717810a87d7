//! The agent's configuration, resolved from its flags: no option is left open.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::id::Role;
use docker_api::Host;
use flags::Values;
use flags::units::{duration, number};
use mesos_api::v1::AgentInfo;

use crate::resources;

/// Executors may not keep the agent from recovering for longer.
const LONGEST_REREGISTRATION: Duration = Duration::from_secs(15);

/// Who starts containers, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Containerizer {
    Docker,
    Mesos,
}

/// What to do with what an earlier agent has left running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recover {
    Reconnect,
    Cleanup,
}

/// Which changes of the configuration an agent may have and keep its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconfiguration {
    Equal,
    Additive,
}

/// Everything that was decided before the start.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) master: String,
    pub(crate) address: SocketAddr,
    pub(crate) info: AgentInfo,
    pub(crate) work_dir: PathBuf,
    pub(crate) containerizers: Vec<Containerizer>,
    pub(crate) docker: Engine,
    pub(crate) cfs: bool,
    pub(crate) recover: Recover,
    pub(crate) reconfiguration: Reconfiguration,
    pub(crate) switch_user: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) gc_delay: Duration,
    pub(crate) times: Times,
    pub(crate) flags: Values,
}

/// How long things may take.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    pub(crate) registration_backoff: Duration,
    pub(crate) executor_registration: Duration,
    pub(crate) executor_reregistration: Duration,
    pub(crate) executor_shutdown_grace: Duration,
    pub(crate) recovery: Duration,
}

/// The Docker-compatible engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) program: String,
    pub(crate) host: Host,
    pub(crate) config_dir: Option<PathBuf>,
    pub(crate) kill_orphans: bool,
    pub(crate) stop_timeout: Duration,
    pub(crate) remove_delay: Duration,
}

impl Config {
    /// Resolves flags.
    ///
    /// # Errors
    /// Names the flag that cannot be used.
    pub(crate) fn new(flags: Values) -> Result<Self> {
        let master = flags.required("master")?.to_owned();
        if master.contains("://") {
            bail!("flag '--master': '{master}' is no host:port; ZooKeeper is not supported");
        }
        let work_dir = PathBuf::from(flags.required("work_dir")?);
        std::fs::create_dir_all(&work_dir)
            .with_context(|| format!("flag '--work_dir': cannot create {}", work_dir.display()))?;
        let work_dir = std::fs::canonicalize(&work_dir)
            .with_context(|| format!("flag '--work_dir': {}", work_dir.display()))?;
        let port: u16 = flags.need("port", number)?;
        let ip = match flags.read("ip", str::parse::<IpAddr>)? {
            Some(ip) => ip,
            None => address_towards(&master).with_context(|| {
                format!("cannot tell which address the master at {master} can reach; give --ip")
            })?,
        };
        let sandbox = flags.text("sandbox_directory");
        if sandbox != crate::docker::SANDBOX {
            bail!("flag '--sandbox_directory': only {} is possible", crate::docker::SANDBOX);
        }
        let times = Times::new(&flags)?;
        Ok(Self {
            address: SocketAddr::new(ip, port),
            info: agent_info(&flags, &work_dir, port)?,
            containerizers: containerizers(flags.text("containerizers"))?,
            docker: Engine::new(&flags)?,
            cfs: flags.on("cgroups_enable_cfs"),
            recover: choice(
                &flags,
                "recover",
                &[("reconnect", Recover::Reconnect), ("cleanup", Recover::Cleanup)],
            )?,
            reconfiguration: choice(
                &flags,
                "reconfiguration_policy",
                &[("equal", Reconfiguration::Equal), ("additive", Reconfiguration::Additive)],
            )?,
            switch_user: flags.on("switch_user"),
            heartbeat: flags.need("http_heartbeat_interval", duration)?,
            gc_delay: flags.need("gc_delay", duration)?,
            times,
            master,
            work_dir,
            flags,
        })
    }

    /// Where messages to this agent go.
    pub(crate) fn pid(&self) -> String {
        format!("slave(1)@{}", self.address)
    }
}

impl Times {
    fn new(flags: &Values) -> Result<Self> {
        let executor_reregistration = flags.need("executor_reregistration_timeout", duration)?;
        if executor_reregistration > LONGEST_REREGISTRATION {
            bail!("flag '--executor_reregistration_timeout': 15secs at most");
        }
        Ok(Self {
            registration_backoff: flags.need("registration_backoff_factor", duration)?,
            executor_registration: flags.need("executor_registration_timeout", duration)?,
            executor_reregistration,
            executor_shutdown_grace: flags.need("executor_shutdown_grace_period", duration)?,
            recovery: flags.need("recovery_timeout", duration)?,
        })
    }
}

impl Engine {
    fn new(flags: &Values) -> Result<Self> {
        let socket = flags.text("docker_socket");
        let host = if socket.contains("://") {
            Host::parse(socket, false)
                .with_context(|| format!("flag '--docker_socket': {socket}"))?
        } else {
            Host::Unix(PathBuf::from(socket))
        };
        Ok(Self {
            program: flags.text("docker").to_owned(),
            host,
            config_dir: flags.get("docker_config").map(PathBuf::from),
            kill_orphans: flags.on("docker_kill_orphans"),
            stop_timeout: flags.need("docker_stop_timeout", duration)?,
            remove_delay: flags.need("docker_remove_delay", duration)?,
        })
    }
}

fn agent_info(flags: &Values, work_dir: &std::path::Path, port: u16) -> Result<AgentInfo> {
    let role = Role::from(flags.text("default_role"));
    let hostname = match flags.get("hostname") {
        Some(name) => name.to_owned(),
        None => host_name(),
    };
    Ok(AgentInfo {
        hostname,
        port: Some(i32::from(port)),
        resources: resources::offered(flags.text("resources"), &role, work_dir)
            .map_err(|e| anyhow::anyhow!("flag '--resources': {e}"))?,
        attributes: resources::attributes(flags.text("attributes"))
            .map_err(|e| anyhow::anyhow!("flag '--attributes': {e}"))?,
        // Mesos' own agents have said so since 0.23: everything is checkpointed.
        checkpoint: Some(true),
        ..AgentInfo::default()
    })
}

fn containerizers(text: &str) -> Result<Vec<Containerizer>> {
    let mut all = Vec::new();
    for name in text.split(',').map(str::trim) {
        let one = match name {
            "docker" => Containerizer::Docker,
            "mesos" => Containerizer::Mesos,
            other => {
                bail!("flag '--containerizers': '{other}' is none; there are docker and mesos")
            }
        };
        if all.contains(&one) {
            bail!("flag '--containerizers': {name} is named twice");
        }
        all.push(one);
    }
    Ok(all)
}

fn choice<T: Copy>(flags: &Values, name: &str, choices: &[(&str, T)]) -> Result<T> {
    let text = flags.text(name);
    match choices.iter().find(|(choice, _)| *choice == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            bail!("flag '--{name}': '{text}' is none of {}", names.join(", "))
        }
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The address that packets to the master leave from; nothing is sent.
fn address_towards(master: &str) -> Result<IpAddr> {
    let target = resolve(master)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// Looks a `host:port` up; libprocess addresses are IPv4.
pub(crate) fn resolve(master: &str) -> Result<SocketAddr> {
    let master = master.strip_prefix("master@").unwrap_or(master);
    let with_port;
    let text = if master.contains(':') {
        master
    } else {
        with_port = format!("{master}:5050");
        &with_port
    };
    let mut found = text.to_socket_addrs().with_context(|| format!("cannot look up {text}"))?;
    found.find(SocketAddr::is_ipv4).with_context(|| format!("{text} has no IPv4 address"))
}
