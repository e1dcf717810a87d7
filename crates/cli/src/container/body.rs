//! From flags to the body of ContainerCreate (Engine API v1.51).

use serde_json::{Map, Value as Json, json};

use super::checks;
use super::devices;
use super::env;
use super::mounts::{Volumes, parse_mount};
use super::networks::Networks;
use super::ports::Ports;
use super::security;
use crate::config::Proxy;
use crate::grammar::Values;
use crate::terminal;
use crate::units;

/// A container to create.
#[derive(Debug)]
pub(crate) struct NewContainer {
    pub(crate) body: Json,
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    pub(crate) tty: bool,
}

/// Builds the body out of the flags, the image and its command.
///
/// # Errors
/// In Docker's words, for values and combinations that it refuses itself.
pub(crate) fn build(
    flags: &Values,
    args: &[String],
    proxy: Option<&Proxy>,
) -> Result<NewContainer, String> {
    let attach =
        |name: &str| flags.all("attach").iter().any(|value| value.eq_ignore_ascii_case(name));
    let none_named = flags.all("attach").is_empty();
    let detach = flags.on("detach");
    let attach_stdin = !detach && (attach("stdin") || (none_named && flags.on("interactive")));
    let attach_stdout = !detach && (attach("stdout") || none_named);
    let attach_stderr = !detach && (attach("stderr") || none_named);
    let ports = Ports::parse(flags.all("publish"), flags.all("expose"))?;
    let volumes = Volumes::parse(flags.all("volume"));
    let networks = Networks::parse(flags)?;
    if let Some(mac) = flags.get("mac-address").map(str::trim)
        && !checks::is_mac_address(mac)
    {
        return Err(format!("{mac} is not a valid mac address"));
    }
    let mut variables = env::variables(flags.all("env-file"), flags.all("env"))?;
    env::add_proxies(&mut variables, proxy);

    let mut config = Fields::default();
    config.text("Hostname", flags.text("hostname"));
    config.text("Domainname", flags.text("domainname"));
    config.text("User", flags.text("user"));
    config.text("WorkingDir", flags.text("workdir"));
    config.text("StopSignal", flags.text("stop-signal"));
    config.set("AttachStdin", attach_stdin);
    config.set("AttachStdout", attach_stdout);
    config.set("AttachStderr", attach_stderr);
    config.set("Tty", flags.on("tty"));
    config.set("OpenStdin", flags.on("interactive"));
    config.set("StdinOnce", flags.on("interactive") && attach_stdin);
    config.set("Env", json!(variables));
    config.set("Cmd", if args.len() > 1 { json!(args[1..]) } else { Json::Null });
    config.set("Image", json!(args[0]));
    config.set("Labels", Json::Object(env::labels(flags.all("label-file"), flags.all("label"))?));
    config.filled("ExposedPorts", ports.exposed_json());
    config.filled(
        "Volumes",
        volumes.anonymous.iter().map(|v| (v.clone(), json!({}))).collect::<Map<_, _>>(),
    );
    match flags.get("entrypoint") {
        Some("") => config.set("Entrypoint", json!([""])),
        Some(entrypoint) => config.set("Entrypoint", json!([entrypoint])),
        None => {}
    }
    if let Some(seconds) = flags.int("stop-timeout") {
        config.set("StopTimeout", seconds);
    }
    if let Some(check) = health_check(flags)? {
        config.set("Healthcheck", check);
    }
    config.set("HostConfig", host_config(flags, &ports, &volumes, &networks)?);
    config.set("NetworkingConfig", json!({"EndpointsConfig": networks.endpoints()}));
    let tty = flags.on("tty");
    Ok(NewContainer {
        body: Json::Object(config.0),
        attach_stdin,
        attach_stdout,
        attach_stderr,
        tty,
    })
}

/// A JSON object that leaves out what has its default.
#[derive(Default)]
struct Fields(Map<String, Json>);

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Json>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.set(name, value);
        }
    }

    fn number(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value != 0) {
            self.set(name, value);
        }
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.set(name, json!(values));
        }
    }

    fn filled(&mut self, name: &str, value: impl Into<Json>) {
        let value = value.into();
        if value != json!({}) && value != json!([]) {
            self.set(name, value);
        }
    }
}

fn host_config(
    flags: &Values,
    ports: &Ports,
    volumes: &Volumes,
    networks: &Networks,
) -> Result<Json, String> {
    let mut host = Fields(resources(flags)?);
    host.list("Binds", &volumes.binds);
    host.text("ContainerIDFile", flags.text("cidfile"));
    host.set("NetworkMode", networks.mode.as_str());
    host.set("PortBindings", ports.bindings_json());
    host.set("RestartPolicy", restart_policy(flags.text("restart"))?);
    host.set("AutoRemove", flags.on("rm"));
    host.text("VolumeDriver", flags.text("volume-driver"));
    host.list("VolumesFrom", flags.all("volumes-from"));
    let mounts =
        flags.all("mount").iter().map(|m| parse_mount(m)).collect::<Result<Vec<_>, _>>()?;
    host.filled("Mounts", mounts);
    if flags.on("tty")
        && let Some((rows, columns)) = terminal::size()
    {
        host.set("ConsoleSize", json!([rows, columns]));
    }
    host.filled("Annotations", pairs(flags.all("annotation")));
    host.list("CapAdd", flags.all("cap-add"));
    host.list("CapDrop", flags.all("cap-drop"));
    host.list("Dns", flags.all("dns"));
    host.list("DnsOptions", flags.all("dns-option"));
    host.list("DnsSearch", flags.all("dns-search"));
    let hosts = flags.all("add-host").iter().filter_map(|h| checks::split_host(h));
    host.list("ExtraHosts", &hosts.map(|(name, ip)| format!("{name}:{ip}")).collect::<Vec<_>>());
    host.list("GroupAdd", flags.all("group-add"));
    host.list("Links", flags.all("link"));
    host.number("OomScoreAdj", flags.int("oom-score-adj"));
    host.set("Privileged", flags.on("privileged"));
    host.set("PublishAllPorts", flags.on("publish-all"));
    host.set("ReadonlyRootfs", flags.on("read-only"));
    host.text("Runtime", flags.text("runtime"));
    host.text("Isolation", flags.text("isolation"));
    host.number("ShmSize", size(flags, "shm-size")?);
    host.filled("Sysctls", pairs(flags.all("sysctl")));
    host.filled("Tmpfs", tmpfs(flags.all("tmpfs")));
    if flags.given("init") {
        host.set("Init", flags.on("init"));
    }
    namespaces(&mut host, flags)?;
    logging(&mut host, flags)?;
    let storage = flags.all("storage-opt");
    if storage.iter().any(|option| !option.contains('=')) {
        return Err("invalid storage option".to_owned());
    }
    host.filled("StorageOpt", pairs(storage));
    let security = security::parse(flags.all("security-opt"))?;
    host.list("SecurityOpt", &security.options);
    if security.unconfined_system_paths {
        host.set("MaskedPaths", json!([]));
        host.set("ReadonlyPaths", json!([]));
    }
    Ok(Json::Object(host.0))
}

fn namespaces(host: &mut Fields, flags: &Values) -> Result<(), String> {
    let checked = |flag: &str, kind: &str, allowed: &dyn Fn(&str) -> bool| {
        let value = flags.text(flag).to_owned();
        if value.is_empty() || allowed(&value) {
            Ok(value)
        } else {
            Err(format!("--{flag}: invalid {kind} mode"))
        }
    };
    let container =
        |value: &str| value.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    host.text("PidMode", &checked("pid", "PID", &|v| v == "host" || container(v))?);
    host.text("UTSMode", &checked("uts", "UTS", &|v| v == "host")?);
    let own = |v: &str| v == "auto" || v.starts_with("auto:") || v.starts_with("map:");
    host.text("UsernsMode", &checked("userns", "USER", &|v| v == "host" || own(v))?);
    host.text("CgroupnsMode", &checked("cgroupns", "CGROUP", &|v| v == "host" || v == "private")?);
    host.text("IpcMode", flags.text("ipc"));
    Ok(())
}

fn logging(host: &mut Fields, flags: &Values) -> Result<(), String> {
    let (driver, options) = (flags.text("log-driver"), flags.all("log-opt"));
    if driver == "none" && !options.is_empty() {
        return Err("invalid logging opts for driver none".to_owned());
    }
    host.set("LogConfig", json!({"Type": driver, "Config": pairs(options)}));
    Ok(())
}

/// What `update` can change as well.
pub(crate) fn resources(flags: &Values) -> Result<Map<String, Json>, String> {
    let mut host = Fields::default();
    host.number("CpuShares", flags.int("cpu-shares"));
    host.number("CpuPeriod", flags.int("cpu-period"));
    host.number("CpuQuota", flags.int("cpu-quota"));
    host.number("CpuRealtimePeriod", flags.int("cpu-rt-period"));
    host.number("CpuRealtimeRuntime", flags.int("cpu-rt-runtime"));
    host.number("CpuCount", flags.int("cpu-count"));
    host.number("CpuPercent", flags.int("cpu-percent"));
    host.number("IOMaximumIOps", flags.int("io-maxiops"));
    host.number("IOMaximumBandwidth", size(flags, "io-maxbandwidth")?);
    host.number("NanoCpus", flags.get("cpus").map(units::parse_nano_cpus).transpose()?);
    host.number("BlkioWeight", flags.int("blkio-weight"));
    host.number("Memory", size(flags, "memory")?);
    host.number("MemoryReservation", size(flags, "memory-reservation")?);
    host.number("MemorySwap", size(flags, "memory-swap")?);
    host.text("CpusetCpus", flags.text("cpuset-cpus"));
    host.text("CpusetMems", flags.text("cpuset-mems"));
    host.text("CgroupParent", flags.text("cgroup-parent"));
    match flags.int("memory-swappiness") {
        None | Some(-1) => {}
        Some(swappiness @ 0..=100) => host.set("MemorySwappiness", swappiness),
        Some(other) => {
            return Err(format!("invalid value: {other}. Valid memory swappiness range is 0-100"));
        }
    }
    host.number("PidsLimit", flags.int("pids-limit"));
    if flags.given("oom-kill-disable") {
        host.set("OomKillDisable", flags.on("oom-kill-disable"));
    }
    block_io(&mut host, flags)?;
    let (devices, cdi) = devices::parse(flags.all("device"))?;
    host.filled("Devices", devices);
    host.list("DeviceCgroupRules", flags.all("device-cgroup-rule"));
    let mut requests =
        flags.all("gpus").iter().map(|g| devices::parse_gpus(g)).collect::<Result<Vec<_>, _>>()?;
    if !cdi.is_empty() {
        requests.push(json!({"Driver": "cdi", "DeviceIDs": cdi}));
    }
    host.filled("DeviceRequests", requests);
    let limits = flags.all("ulimit").iter().map(|limit| {
        let (name, soft, hard) = checks::parse_ulimit(limit)?;
        Ok(json!({"Name": name, "Soft": soft, "Hard": hard}))
    });
    host.filled("Ulimits", limits.collect::<Result<Vec<_>, String>>()?);
    Ok(host.0)
}

fn block_io(host: &mut Fields, flags: &Values) -> Result<(), String> {
    let weights = flags.all("blkio-weight-device").iter().map(|value| {
        let (path, weight) = checks::parse_weight(value)?;
        Ok(json!({"Path": path, "Weight": weight}))
    });
    host.filled("BlkioWeightDevice", weights.collect::<Result<Vec<_>, String>>()?);
    type Parse = fn(&str) -> Result<(&str, u64), String>;
    let rates: [(&str, &str, Parse); 4] = [
        ("device-read-bps", "BlkioDeviceReadBps", checks::parse_bps),
        ("device-write-bps", "BlkioDeviceWriteBps", checks::parse_bps),
        ("device-read-iops", "BlkioDeviceReadIOps", checks::parse_iops),
        ("device-write-iops", "BlkioDeviceWriteIOps", checks::parse_iops),
    ];
    for (flag, name, parse) in rates {
        let devices = flags.all(flag).iter().map(|value| {
            let (path, rate) = parse(value)?;
            Ok(json!({"Path": path, "Rate": rate}))
        });
        host.filled(name, devices.collect::<Result<Vec<_>, String>>()?);
    }
    Ok(())
}

fn size(flags: &Values, name: &str) -> Result<Option<i64>, String> {
    match flags.get(name) {
        None => Ok(None),
        Some("-1") => Ok(Some(-1)),
        Some(text) => units::parse_bytes(text).map(Some),
    }
}

fn pairs(values: &[String]) -> Map<String, Json> {
    let pair = |value: &String| {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        (name.to_owned(), Json::from(value))
    };
    values.iter().map(pair).collect()
}

fn tmpfs(values: &[String]) -> Map<String, Json> {
    let pair = |value: &String| {
        let (path, options) = value.split_once(':').unwrap_or((value, ""));
        (path.to_owned(), Json::from(options))
    };
    values.iter().map(pair).collect()
}

/// Parses `no`, `on-failure[:N]`, `always`, `unless-stopped`; the daemon knows the names.
pub(crate) fn restart_policy(text: &str) -> Result<Json, String> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() && !text.is_empty() {
        return Err("invalid restart policy format: no policy provided before colon".to_owned());
    }
    let count: i64 = match count {
        "" => 0,
        count => count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    let name = if name.is_empty() { "no" } else { name };
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

fn health_check(flags: &Values) -> Result<Option<Json>, String> {
    let times =
        ["health-interval", "health-timeout", "health-start-period", "health-start-interval"];
    let any = times.iter().any(|t| flags.given(t))
        || flags.given("health-cmd")
        || flags.given("health-on-failure")
        || flags.given("health-retries");
    if flags.on("no-healthcheck") {
        return if any {
            Err("--no-healthcheck conflicts with --health-* options".to_owned())
        } else {
            Ok(Some(json!({"Test": ["NONE"]})))
        };
    }
    if !any {
        return Ok(None);
    }
    let mut check = Fields::default();
    if !flags.text("health-cmd").is_empty() {
        check.set("Test", json!(["CMD-SHELL", flags.text("health-cmd")]));
    }
    for (flag, name) in
        times.into_iter().zip(["Interval", "Timeout", "StartPeriod", "StartInterval"])
    {
        let nanos = flags.get(flag).map(units::parse_duration_nanos).transpose()?;
        if nanos.is_some_and(|n| n < 0) {
            return Err(format!("--{flag} cannot be negative"));
        }
        check.number(name, nanos);
    }
    if flags.int("health-retries").is_some_and(|n| n < 0) {
        return Err("--health-retries cannot be negative".to_owned());
    }
    check.number("Retries", flags.int("health-retries"));
    check.text("OnFailure", flags.text("health-on-failure"));
    Ok(Some(Json::Object(check.0)))
}
