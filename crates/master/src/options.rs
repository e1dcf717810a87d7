//! What the command line means: addresses, limits, and the configuration of the core.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ::flags::units::duration;
use ::flags::{Error, Parsed, Values};
use cluster::id::Role;
use cluster::master::Config;
use cluster::resources::{Quantities, Scalar};
use endpoints::authentication::{Authentication, Credentials, Realm, shown};
use endpoints::firewall::Firewall;
use endpoints::version::PROTOCOL_VERSION;
use mesos_api::v1;

use crate::authenticator::Rules;
use crate::limits;
use crate::whitelist::Whitelist;

/// Short beside everything a framework waits for, and long beside one allocation.
const ALLOCATION_PAUSE: Duration = Duration::from_millis(20);

/// What asks for credentials over HTTP.
const REALMS: [(&str, Realm); 3] = [
    ("authenticate_http_frameworks", Realm::Scheduler),
    ("authenticate_http_readonly", Realm::ReadOnly),
    ("authenticate_http_readwrite", Realm::ReadWrite),
];

/// The resolved command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddrV4,
    /// Where the registry is; none keeps it in memory.
    pub work_dir: Option<PathBuf>,
    /// The configuration of the core.
    pub core: Config,
    /// `--external_log_file`: where others keep this master's log.
    pub external_log_file: Option<PathBuf>,
    /// `--cluster`
    pub cluster: Option<String>,
    /// `--max_operator_event_stream_subscribers`
    pub max_subscribers: usize,
    /// `--publish_per_framework_metrics`
    pub per_framework_metrics: bool,
    /// Who may speak over HTTP.
    pub(crate) authentication: Authentication,
    /// What agents and drivers prove over libprocess.
    pub(crate) rules: Rules,
    /// How fast drivers may speak.
    pub(crate) limits: limits::Config,
    /// Which endpoints answer nobody.
    pub(crate) firewall: Firewall,
    /// Whose agents are offered; none: everybody's.
    pub(crate) whitelist: Option<Whitelist>,
    /// Where masters stand for election.
    pub(crate) zk: Option<Zk>,
    /// What is logged.
    pub level: tracing::Level,
    /// All flags as given, for `/flags`.
    pub flags: BTreeMap<&'static str, String>,
}

/// Where this master stands for election.
#[derive(Debug, Clone)]
pub(crate) struct Zk {
    pub(crate) address: election::Address,
    pub(crate) session_timeout: Duration,
}

impl Zk {
    fn given(values: &Values) -> Result<Option<Self>, Error> {
        let session_timeout = values.need("zk_session_timeout", some_time)?;
        let address =
            values.read("zk", |text| text.parse().map_err(say::<election::AddressError>))?;
        Ok(address.map(|address| Self { address, session_timeout }))
    }
}

fn say<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

impl Options {
    /// Reads a command line (without the program's name) that asks for nothing but a master, for
    /// programs that are more than one.
    ///
    /// # Errors
    /// Names the flag and what is wrong with it.
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        match ::flags::parse(crate::flags::TABLE, args, [])? {
            Parsed::Run(values) => Self::resolve(&values, crate::uuid::random(), rand::random()),
            Parsed::Help | Parsed::Version => {
                Err(invalid("help", "it has no place here".to_owned()))
            }
        }
    }

    /// Reads the values of a command line. `id` is the master's, new at each start.
    ///
    /// # Errors
    /// Names the flag and what is wrong with it.
    pub fn resolve(values: &Values, id: String, seed: u64) -> Result<Self, Error> {
        refuse(values)?;
        let ip = values.read("ip", parse::<Ipv4Addr>)?;
        let port = values.need("port", parse::<u16>)?;
        let hostname = machine_name();
        let advertised = match values.read("advertise_ip", parse::<Ipv4Addr>)? {
            Some(ip) => ip,
            None => ip.filter(|ip| !ip.is_unspecified()).unwrap_or_else(|| address_of(&hostname)),
        };
        let hostname = match values.get("hostname") {
            Some(name) => name.to_owned(),
            None if values.on("hostname_lookup") => hostname,
            None => advertised.to_string(),
        };
        let told_port = values.read("advertise_port", parse::<u16>)?.unwrap_or(port);
        let domain = values.read("domain", endpoints::domain::given)?;
        let info = master_info(id, SocketAddrV4::new(advertised, told_port), hostname, domain);
        let (authentication, rules) = who_may_speak(values)?;
        // Mesos' word for all hosts.
        let whitelist = values.get("whitelist").filter(|path| *path != "*");
        let whitelist = whitelist.map(Whitelist::read).transpose();
        let whitelist = whitelist.map_err(|message| invalid("whitelist", message))?;
        let hosts = whitelist.as_ref().map(|it| it.hosts.clone());
        let zk = Zk::given(values)?;
        Ok(Self {
            listen: SocketAddrV4::new(ip.unwrap_or(Ipv4Addr::UNSPECIFIED), port),
            work_dir: (values.text("registry") != "in_memory")
                .then(|| PathBuf::from(values.text("work_dir"))),
            core: core(values, Config { seed, whitelist: hosts, ..Config::new(info) })?,
            external_log_file: values.get("external_log_file").map(PathBuf::from),
            cluster: values.get("cluster").map(str::to_owned),
            max_subscribers: values.need("max_operator_event_stream_subscribers", parse)?,
            per_framework_metrics: values.on("publish_per_framework_metrics"),
            authentication,
            rules,
            limits: values.read("rate_limits", limits::Config::given)?.unwrap_or_default(),
            firewall: values.read("firewall_rules", Firewall::given)?.unwrap_or_default(),
            whitelist,
            flags: flags(values, zk.as_ref()),
            zk,
            level: level(values)?,
        })
    }

    /// Tells the core at which port it is reached, once a socket with a port of the kernel's
    /// choice is bound.
    pub(crate) fn settle_port(&mut self, port: u16) {
        self.listen.set_port(port);
        let info = &mut self.core.info;
        if info.port != 0 {
            return;
        }
        info.port = u32::from(port);
        if let Some(address) = &mut info.address {
            address.port = i32::from(port);
        }
        let ip = Ipv4Addr::from(info.ip.to_le_bytes());
        info.pid = Some(format!("master@{ip}:{port}"));
    }
}

/// The flags as they may be read by all.
fn flags(values: &Values, zk: Option<&Zk>) -> BTreeMap<&'static str, String> {
    let mut flags = shown(values, &["credentials"]);
    if let Some(zk) = zk {
        flags.insert("zk", zk.address.to_string());
    }
    flags
}

/// What has to be proved over HTTP, and over libprocess. Credentials that nothing asks for are those
/// of drivers that prove themselves all the same.
fn who_may_speak(values: &Values) -> Result<(Authentication, Rules), Error> {
    let credentials = Credentials::of_flag(values, "credentials")?;
    let on = REALMS.iter().filter(|(switch, _)| values.on(switch));
    let asking: BTreeSet<Realm> = on.map(|(_, realm)| *realm).collect();
    let (agents, frameworks) =
        (values.on("authenticate_agents"), values.on("authenticate_frameworks"));
    if credentials.is_none() && (agents || frameworks || !asking.is_empty()) {
        let text = "it says who is let in, and is needed where that is asked";
        return Err(invalid("credentials", text.to_owned()));
    }
    let rules = Rules {
        credentials: credentials.clone().unwrap_or_default(),
        agents,
        frameworks,
        timeout: values.need("authentication_v0_timeout", duration)?,
    };
    Ok((Authentication { process: "master", credentials, key: None, asking }, rules))
}

fn core(values: &Values, base: Config) -> Result<Config, Error> {
    Ok(Config {
        allocation_pause: ALLOCATION_PAUSE,
        allocation_interval: values.need("allocation_interval", duration)?,
        min_allocatable: values.need("min_allocatable_resources", |text| {
            text.split('|').filter(|one| !one.is_empty()).map(amounts).collect()
        })?,
        filter_gpu_resources: values.on("filter_gpu_resources"),
        fair_sharing_excluded: list(values, "fair_sharing_excluded_resource_names")
            .map(Arc::from)
            .collect(),
        offer_timeout: values.read("offer_timeout", some_time)?,
        agent_ping_timeout: values.need("agent_ping_timeout", ping_timeout)?,
        max_agent_ping_timeouts: values.need("max_agent_ping_timeouts", |text| {
            match parse(text)? {
                0 => Err("an agent must miss 1 ping at least to be away".to_owned()),
                count => Ok(count),
            }
        })?,
        agent_reregister_timeout: values.need("agent_reregister_timeout", duration)?,
        agent_removal_interval: values.read("agent_removal_rate_limit", rate)?,
        roles: values.read("roles", |_| list(values, "roles").map(role).collect())?,
        weights: values.read("weights", weights)?.unwrap_or_default(),
        max_completed_frameworks: values.need("max_completed_frameworks", parse)?,
        max_completed_tasks_per_framework: values
            .need("max_completed_tasks_per_framework", parse)?,
        max_unreachable_tasks_per_framework: values
            .need("max_unreachable_tasks_per_framework", parse)?,
        max_executors_per_agent: values.read("max_executors_per_agent", parse)?,
        registry_gc_interval: values.need("registry_gc_interval", duration)?,
        registry_max_agent_age: values.need("registry_max_agent_age", duration)?,
        registry_max_agent_count: values.need("registry_max_agent_count", parse)?,
        require_agent_domain: values.on("require_agent_domain"),
        ..base
    })
}

/// Refuses values that are known and mean something this master does not do.
fn refuse(values: &Values) -> Result<(), Error> {
    let only: &[(&str, &[&str], &str)] = &[
        ("registry", &["replicated_log", "in_memory"], "it is replicated_log or in_memory"),
        ("quorum", &["1"], "one master leads, and its registry is on disk: leave it at 1"),
        ("allocator", &["hierarchical", "HierarchicalDRF"], "hierarchical is the only allocator"),
        ("role_sorter", &["drf"], "drf is the only order"),
        ("framework_sorter", &["drf"], "drf is the only order"),
        ("authenticators", &["crammd5"], "crammd5 is the only one"),
        ("http_authenticators", &["basic"], "basic is the only one"),
        ("http_framework_authenticators", &["basic"], "basic is the only one"),
        ("root_submissions", &["true"], "agents decide as whom tasks run"),
    ];
    for (name, allowed, message) in only {
        let value = values.text(name);
        if !allowed.contains(&value) {
            return Err(invalid(name, format!("'{value}' is not available: {message}")));
        }
    }
    Ok(())
}

fn invalid(name: &str, message: String) -> Error {
    Error::Invalid { name: name.to_owned(), message }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| format!("'{text}': {error}"))
}

fn list<'a>(values: &'a Values, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    values.text(name).split(',').map(str::trim).filter(|one| !one.is_empty())
}

/// `cpus:0.01;mem:32`
fn amounts(text: &str) -> Result<Quantities, String> {
    text.split(';')
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .map(|one| {
            let (name, amount) = one
                .split_once(':')
                .ok_or_else(|| format!("'{one}' is not of the form name:amount"))?;
            let amount: f64 = parse(amount)?;
            if !amount.is_finite() || amount < 0.0 {
                return Err(format!("the amount of '{name}' must not be negative"));
            }
            Ok((Arc::from(name), Scalar::from_f64(amount)))
        })
        .collect()
}

fn role(text: &str) -> Result<Role, String> {
    cluster::role::validate(text).map_err(|error| error.to_string())?;
    Ok(Role::from(text))
}

/// A time in which something can happen.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("'{text}' is no time at all")),
        time => Ok(time),
    }
}

/// As Mesos bounds it.
fn ping_timeout(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(15 * 60);
    duration(text).and_then(|it| {
        bounds
            .contains(&it)
            .then_some(it)
            .ok_or_else(|| format!("'{text}' is not between 1secs and 15mins"))
    })
}

/// `role=weight,role=weight`
fn weights(text: &str) -> Result<BTreeMap<Role, f64>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .map(|one| {
            let (role, weight) = one
                .split_once('=')
                .ok_or_else(|| format!("'{one}' is not of the form role=weight"))?;
            let weight: f64 = parse(weight)?;
            if !weight.is_finite() || weight <= 0.0 {
                return Err(format!("the weight of '{role}' must be positive"));
            }
            Ok((self::role(role)?, weight))
        })
        .collect()
}

/// `1/10mins` is one in ten minutes.
fn rate(text: &str) -> Result<Duration, String> {
    let refuse = || format!("'{text}' is not of the form number/duration, such as 1/10mins");
    let (count, span) = text.split_once('/').ok_or_else(refuse)?;
    let count: u32 = count.parse().ok().filter(|count| *count > 0).ok_or_else(refuse)?;
    Ok(some_time(span)? / count)
}

fn level(values: &Values) -> Result<tracing::Level, Error> {
    match values.text("logging_level") {
        _ if values.on("quiet") => Ok(tracing::Level::WARN),
        "INFO" => Ok(tracing::Level::INFO),
        "WARNING" => Ok(tracing::Level::WARN),
        "ERROR" => Ok(tracing::Level::ERROR),
        other => {
            let message = format!("'{other}' is none of INFO, WARNING, ERROR");
            Err(invalid("logging_level", message))
        }
    }
}

fn master_info(
    id: String,
    address: SocketAddrV4,
    hostname: String,
    domain: Option<v1::DomainInfo>,
) -> v1::MasterInfo {
    use v1::master_info::Capability;
    use v1::master_info::capability::Type;

    let capabilities = [Type::AgentUpdate, Type::AgentDraining, Type::QuotaV2];
    v1::MasterInfo {
        id,
        ip: u32::from_le_bytes(address.ip().octets()),
        port: u32::from(address.port()),
        pid: Some(format!("master@{address}")),
        hostname: Some(hostname.clone()),
        version: Some(PROTOCOL_VERSION.to_owned()),
        address: Some(v1::Address {
            hostname: Some(hostname),
            ip: Some(address.ip().to_string()),
            port: i32::from(address.port()),
        }),
        domain,
        capabilities: capabilities
            .into_iter()
            .map(|kind| Capability { r#type: Some(kind.into()) })
            .collect(),
    }
}

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The address that others reach the machine at, by its name; else only itself does.
fn address_of(hostname: &str) -> Ipv4Addr {
    let found = (hostname, 0).to_socket_addrs().ok().and_then(|mut found| {
        found.find_map(|address| match address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    });
    found.unwrap_or(Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests;
