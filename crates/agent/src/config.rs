//! The agent's configuration, resolved from its flags: no option is left open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::agent::AuthenticationTimes;
use cluster::id::Role;
use docker_api::Host;

use endpoints::authentication::{self, Authentication, Credential, Realm};
use endpoints::firewall::Firewall;
use endpoints::jwt::Key;
use flags::Values;
use flags::units::{bytes, duration, number};
use mesos_api::v1::AgentInfo;

use crate::credentials::Credentials;
use crate::docker::DefaultDns;
use crate::whereabouts::Whereabouts;
use crate::{options, resources};

/// What asks who comes.
const REALMS: [(&str, Realm); 3] = [
    ("authenticate_http_executors", Realm::Executor),
    ("authenticate_http_readonly", Realm::ReadOnly),
    ("authenticate_http_readwrite", Realm::ReadWrite),
];

/// Flags whose values are not shown, unless they are paths.
const SECRETS: [&str; 4] = ["credential", "http_credentials", "jwt_secret_key", "docker_config"];

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
    pub(crate) master: Whereabouts,
    /// Where the agent listens.
    pub(crate) listen: SocketAddr,
    /// Where masters and executors find it.
    pub(crate) address: SocketAddr,
    pub(crate) info: AgentInfo,
    pub(crate) work_dir: PathBuf,
    pub(crate) containerizers: Vec<Containerizer>,
    pub(crate) docker: Engine,
    pub(crate) cfs: bool,
    pub(crate) limit_swap: bool,
    /// Variables of every task and executor, unless its command has them.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) fetch: Fetch,
    pub(crate) recover: Recover,
    /// Records that cannot be read keep the agent from starting.
    pub(crate) strict: bool,
    pub(crate) reconfiguration: Reconfiguration,
    pub(crate) switch_user: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) collection: Collection,
    pub(crate) max_completed_executors: usize,
    pub(crate) times: Times,
    pub(crate) authentication: Authentication,
    /// Which endpoints answer nobody.
    pub(crate) firewall: Firewall,
    /// What the tokens of executors are signed with; none if they get none.
    pub(crate) executor_key: Option<Key>,
    /// What the master is shown who this is with.
    pub(crate) credential: Option<Credential>,
    /// Where others keep the agent's log.
    pub(crate) log_file: Option<PathBuf>,
    /// As endpoints show them.
    pub(crate) flags: BTreeMap<&'static str, String>,
}

/// What URIs are fetched with.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    /// Of this agent alone.
    pub(crate) cache_dir: PathBuf,
    pub(crate) cache_bytes: u64,
    pub(crate) stall_timeout: Duration,
    /// Where relative URIs are.
    pub(crate) home: Option<PathBuf>,
}

/// When sandboxes of what has ended go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Collection {
    pub(crate) delay: Duration,
    pub(crate) headroom: f64,
    pub(crate) interval: Duration,
}

/// How long things may take.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    pub(crate) registration_backoff: Duration,
    pub(crate) authentication: AuthenticationTimes,
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
    pub(crate) credentials: Credentials,
    pub(crate) kill_orphans: bool,
    pub(crate) stop_timeout: Duration,
    pub(crate) remove_delay: Duration,
    pub(crate) dns: DefaultDns,
}

impl Config {
    /// Resolves flags.
    ///
    /// # Errors
    /// Names the flag that cannot be used.
    pub(crate) fn new(flags: Values) -> Result<Self> {
        options::check(&flags)?;
        let patience = flags.need("zk_session_timeout", duration)?;
        let master = Whereabouts::parse(flags.required("master")?, patience)?;
        let work_dir = PathBuf::from(flags.required("work_dir")?);
        std::fs::create_dir_all(&work_dir)
            .with_context(|| format!("flag '--work_dir': cannot create {}", work_dir.display()))?;
        let work_dir = std::fs::canonicalize(&work_dir)
            .with_context(|| format!("flag '--work_dir': {}", work_dir.display()))?;
        let listen = SocketAddr::new(listen_ip(&flags, &master)?, port(&flags, "port")?);
        let told = match flags.read("advertise_ip", str::parse::<IpAddr>)? {
            Some(ip) => ip,
            // All of the host's addresses are none that anybody could be told.
            None if listen.ip().is_unspecified() => reachable_from(&master, "advertise_ip")?,
            None => listen.ip(),
        };
        let address = SocketAddr::new(
            told,
            match flags.get("advertise_port") {
                Some(_) => port(&flags, "advertise_port")?,
                None => listen.port(),
            },
        );
        Ok(Self {
            listen,
            address,
            info: agent_info(&flags, &work_dir, address)?,
            containerizers: containerizers(flags.text("containerizers"))?,
            docker: Engine::new(&flags)?,
            cfs: flags.on("cgroups_enable_cfs"),
            limit_swap: flags.on("cgroups_limit_swap"),
            environment: flags
                .read("executor_environment_variables", variables)?
                .unwrap_or_default(),
            fetch: Fetch::new(&flags, &work_dir)?,
            recover: choice(
                &flags,
                "recover",
                &[("reconnect", Recover::Reconnect), ("cleanup", Recover::Cleanup)],
            )?,
            strict: flags.on("strict"),
            reconfiguration: choice(
                &flags,
                "reconfiguration_policy",
                &[("equal", Reconfiguration::Equal), ("additive", Reconfiguration::Additive)],
            )?,
            switch_user: flags.on("switch_user"),
            heartbeat: flags.need("http_heartbeat_interval", interval)?,
            collection: Collection::new(&flags)?,
            max_completed_executors: flags.need("max_completed_executors_per_framework", number)?,
            times: Times::new(&flags)?,
            authentication: who_may_speak(&flags)?,
            firewall: flags.read("firewall_rules", Firewall::given)?.unwrap_or_default(),
            executor_key: flags.read("jwt_secret_key", Key::given)?,
            credential: flags.read("credential", Credential::given)?,
            log_file: flags.get("external_log_file").map(PathBuf::from),
            flags: shown(&flags, &master),
            master,
            work_dir,
        })
    }

    /// An address that processes on the host's network can listen at as the agent does.
    pub(crate) fn host_ip(&self) -> IpAddr {
        let ip = self.listen.ip();
        if ip.is_unspecified() { self.address.ip() } else { ip }
    }

    /// Where messages to this agent go.
    pub(crate) fn pid(&self) -> String {
        format!("slave(1)@{}", self.address)
    }
}

impl Fetch {
    fn new(flags: &Values, work_dir: &Path) -> Result<Self> {
        let cache_dir = match flags.get("fetcher_cache_dir") {
            // Agents of one host may have the same parent directory; each has its own work_dir.
            Some(parent) => {
                let own = crate::layout::component(&work_dir.display().to_string());
                absolute("fetcher_cache_dir", parent)?.join(own)
            }
            None => work_dir.join("fetch"),
        };
        let home = flags.get("frameworks_home").filter(|home| !home.is_empty());
        let home = home.map(|home| absolute("frameworks_home", home)).transpose()?;
        Ok(Self {
            cache_dir,
            cache_bytes: flags.need("fetcher_cache_size", bytes)?,
            stall_timeout: flags.need("fetcher_stall_timeout", duration)?,
            home,
        })
    }
}

impl Collection {
    fn new(flags: &Values) -> Result<Self> {
        let share = |text: &str| match text.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(format!("'{text}' is no share: a number between 0.0 and 1.0")),
        };
        Ok(Self {
            delay: flags.need("gc_delay", duration)?,
            headroom: flags.need("gc_disk_headroom", share)?,
            interval: flags.need("disk_watch_interval", interval)?,
        })
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
            authentication: authentication(flags)?,
            executor_registration: flags.need("executor_registration_timeout", duration)?,
            executor_reregistration,
            executor_shutdown_grace: flags.need("executor_shutdown_grace_period", duration)?,
            recovery: flags.need("recovery_timeout", duration)?,
        })
    }
}

/// Who is asked at the agent's port, and for what.
fn who_may_speak(flags: &Values) -> Result<Authentication> {
    let credentials = authentication::Credentials::of_flag(flags, "http_credentials")?;
    let key = flags.read("jwt_secret_key", Key::given)?;
    let on = REALMS.iter().filter(|(switch, _)| flags.on(switch));
    let asking: BTreeSet<Realm> = on.map(|(_, realm)| *realm).collect();
    let executors = asking.contains(&Realm::Executor);
    if asking.is_empty() && credentials.is_some() {
        bail!(
            "flag '--http_credentials': nothing asks for them: add --authenticate_http_readonly or \
             --authenticate_http_readwrite"
        );
    }
    let named = match flags.get("http_authenticators") {
        Some(names) => names.split(',').collect(),
        // As with Mesos; but for secrets only where there are any.
        None if executors && credentials.is_none() && asking.len() == 1 => vec!["jwt"],
        None if executors => vec!["basic", "jwt"],
        None => vec!["basic"],
    };
    if let Some(other) = named.iter().find(|name| !["basic", "jwt"].contains(name)) {
        bail!("flag '--http_authenticators': '{other}' is not available: there are basic and jwt");
    }
    let (basic, jwt) = (named.contains(&"basic"), named.contains(&"jwt"));
    if executors && !jwt {
        bail!("flag '--http_authenticators': executors prove who they are with tokens: add jwt");
    }
    if !asking.is_empty() && jwt && key.is_none() {
        bail!("flag '--jwt_secret_key': it signs the tokens that are asked for, and is needed");
    }
    if !asking.is_empty() && basic && credentials.is_none() {
        bail!(
            "flag '--http_credentials': it says who is let in, and is needed where that is asked"
        );
    }
    Ok(Authentication {
        process: "agent",
        credentials: credentials.filter(|_| basic),
        key: key.filter(|_| jwt),
        asking,
    })
}

fn authentication(flags: &Values) -> Result<AuthenticationTimes> {
    let times = AuthenticationTimes {
        backoff_factor: flags.need("authentication_backoff_factor", duration)?,
        timeout_min: flags.need("authentication_timeout_min", interval)?,
        timeout_max: flags.need("authentication_timeout_max", interval)?,
    };
    if times.timeout_min > times.timeout_max {
        bail!(
            "flag '--authentication_timeout_min': it is longer than --authentication_timeout_max"
        );
    }
    Ok(times)
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
            credentials: match flags.get("docker_config") {
                Some(text) => Credentials::parse(text).context("flag '--docker_config'")?,
                None => Credentials::None,
            },
            kill_orphans: flags.on("docker_kill_orphans"),
            stop_timeout: flags.need("docker_stop_timeout", duration)?,
            remove_delay: flags.need("docker_remove_delay", duration)?,
            dns: flags.read("default_container_dns", DefaultDns::parse)?.unwrap_or_default(),
        })
    }
}

fn agent_info(flags: &Values, work_dir: &Path, address: SocketAddr) -> Result<AgentInfo> {
    let role = flags
        .need("default_role", |text| cluster::role::validate(text).map(|()| Role::from(text)))?;
    let hostname = match flags.get("hostname") {
        Some(name) => name.to_owned(),
        None if flags.on("hostname_lookup") => host_name(),
        None => address.ip().to_string(),
    };
    let resources = content(flags.text("resources"))
        .and_then(|text| resources::offered(&text, &role, work_dir))
        .map_err(|e| anyhow::anyhow!("flag '--resources': {e}"))?;
    let domain = flags.read("domain", endpoints::domain::given)?;
    Ok(AgentInfo {
        hostname,
        port: Some(i32::from(address.port())),
        resources,
        attributes: resources::attributes(flags.text("attributes"))
            .map_err(|e| anyhow::anyhow!("flag '--attributes': {e}"))?,
        // Mesos' own agents have said so since 0.23: everything is checkpointed.
        checkpoint: Some(true),
        domain,
        ..AgentInfo::default()
    })
}

/// A value, or that of the file which it names.
fn content(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).map_err(|error| format!("cannot read {text}: {error}"))
}

fn absolute(name: &str, path: &str) -> Result<PathBuf> {
    if !path.starts_with('/') {
        bail!("flag '--{name}': '{path}' is no absolute path");
    }
    Ok(PathBuf::from(path))
}

/// A time after which something is done again.
fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("'{text}' is no interval: it has to be longer")),
        interval => Ok(interval),
    }
}

/// A port that masters and executors find again: none of the kernel's choice.
fn port(flags: &Values, name: &str) -> Result<u16> {
    match flags.need(name, number)? {
        0 => bail!("flag '--{name}': 0 is no port that others could find the agent at"),
        port => Ok(port),
    }
}

/// The flags as they may be read by all.
fn shown(flags: &Values, master: &Whereabouts) -> BTreeMap<&'static str, String> {
    let mut shown = authentication::shown(flags, &SECRETS);
    shown.insert("master", master.to_string());
    shown
}

fn listen_ip(flags: &Values, master: &Whereabouts) -> Result<IpAddr> {
    match (flags.read("ip", str::parse::<IpAddr>)?, flags.get("ip_discovery_command")) {
        (Some(_), Some(_)) => bail!("flags '--ip' and '--ip_discovery_command' exclude each other"),
        (Some(ip), None) => Ok(ip),
        (None, Some(command)) => {
            discovered(command).with_context(|| "flag '--ip_discovery_command'".to_owned())
        }
        (None, None) => reachable_from(master, "ip"),
    }
}

fn reachable_from(master: &Whereabouts, flag: &str) -> Result<IpAddr> {
    address_towards(master).with_context(|| {
        format!("cannot tell which address the master at {master} can reach; give --{flag}")
    })
}

/// The address that a command prints.
fn discovered(command: &str) -> Result<IpAddr> {
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run '{command}'"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("'{command}' ended with {}: {}", output.status, said.trim());
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let printed = printed.trim();
    printed.parse().with_context(|| format!("'{command}' printed '{printed}', which is no address"))
}

/// Variables as a JSON object of texts.
fn variables(text: &str) -> Result<BTreeMap<String, String>, String> {
    let all: BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| format!("it is no JSON object of texts: {error}"))?;
    match all.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        Some(bad) => Err(format!("'{bad}' is no name for an environment variable")),
        None => Ok(all),
    }
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
fn address_towards(master: &Whereabouts) -> Result<IpAddr> {
    let target = master.towards()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests;
