//! `info`.

use std::fmt::Write as _;

use docker_api::Request;
use serde_json::Value as Json;

use crate::grammar::{Call, Outcome};
use crate::template::Format;
use crate::units::{binary_size, human_duration};

/// `info [OPTIONS]`
pub(crate) async fn info(call: Call<'_>) -> Outcome {
    let format = match call.flags.text("format") {
        "" => None,
        "json" => Some(None),
        template => Some(Some(Format::parse(template)?)),
    };
    let client = call.cli.client().await?;
    let bytes = client.call(Request::get("/info")).await?.bytes().await?;
    let info: Json = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    match format {
        Some(None) => println!("{}", String::from_utf8_lossy(&bytes).trim()),
        Some(Some(format)) => println!("{}", format.render(&info)?),
        None => {
            let context = call.cli.context_name().unwrap_or_else(|| "default".to_owned());
            print!("{}", describe(&info, &context));
            for warning in
                info["Warnings"].as_array().into_iter().flatten().filter_map(Json::as_str)
            {
                eprintln!("{warning}");
            }
        }
    }
    Ok(0)
}

/// Lines of `name: value`; what the daemon does not say is left out.
struct Lines(String);

impl Lines {
    fn add(&mut self, indent: usize, name: &str, value: &Json) {
        let text = match value {
            Json::Null => return,
            Json::String(s) if s.is_empty() => return,
            Json::String(s) => s.clone(),
            other => other.to_string(),
        };
        let _ = writeln!(self.0, "{:indent$}{name}: {text}", ""); // a String takes every write
    }

    fn heading(&mut self, indent: usize, name: &str) {
        let _ = writeln!(self.0, "{:indent$}{name}:", "");
    }

    fn words(&mut self, indent: usize, name: &str, list: &Json) {
        let words: Vec<&str> =
            list.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        if !words.is_empty() {
            self.add(indent, name, &Json::from(words.join(" ")));
        }
    }
}

fn describe(info: &Json, context: &str) -> String {
    let mut out = Lines(String::new());
    out.heading(0, "Client");
    out.add(1, "Version", &Json::from(env!("CARGO_PKG_VERSION")));
    out.add(1, "Context", &Json::from(context));
    out.add(1, "Debug Mode", &Json::from(false));
    out.0.push('\n');
    out.heading(0, "Server");
    out.add(1, "Containers", &info["Containers"]);
    out.add(2, "Running", &info["ContainersRunning"]);
    out.add(2, "Paused", &info["ContainersPaused"]);
    out.add(2, "Stopped", &info["ContainersStopped"]);
    out.add(1, "Images", &info["Images"]);
    out.add(1, "Server Version", &info["ServerVersion"]);
    out.add(1, "Storage Driver", &info["Driver"]);
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        out.add(2, pair[0].as_str().unwrap_or_default(), &pair[1]);
    }
    out.add(1, "Logging Driver", &info["LoggingDriver"]);
    out.add(1, "Cgroup Driver", &info["CgroupDriver"]);
    out.add(1, "Cgroup Version", &info["CgroupVersion"]);
    out.heading(1, "Plugins");
    for (title, key) in [("Volume", "Volume"), ("Network", "Network"), ("Log", "Log")] {
        out.words(2, title, &info["Plugins"][key]);
    }
    swarm(&mut out, &info["Swarm"]);
    let runtimes: Vec<&str> = info["Runtimes"]
        .as_object()
        .into_iter()
        .flat_map(|r| r.keys())
        .map(String::as_str)
        .collect();
    out.add(1, "Runtimes", &Json::from(runtimes.join(" ")));
    out.add(1, "Default Runtime", &info["DefaultRuntime"]);
    out.add(1, "Init Binary", &info["InitBinary"]);
    machine(&mut out, info);
    out.0
}

/// This host's part in a swarm.
fn swarm(out: &mut Lines, part: &Json) {
    out.add(1, "Swarm", &part["LocalNodeState"]);
    if matches!(part["LocalNodeState"].as_str(), None | Some("inactive" | "locked")) {
        return;
    }
    out.add(2, "NodeID", &part["NodeID"]);
    out.add(2, "Error", &part["Error"]);
    out.add(2, "Is Manager", &part["ControlAvailable"]);
    let cluster = &part["Cluster"];
    if cluster.is_object() {
        out.add(2, "ClusterID", &cluster["ID"]);
        out.add(2, "Managers", &part["Managers"]);
        out.add(2, "Nodes", &part["Nodes"]);
        out.words(2, "Default Address Pool", &cluster["DefaultAddrPool"]);
        out.add(2, "SubnetSize", &cluster["SubnetSize"]);
        out.add(2, "Data Path Port", &cluster["DataPathPort"]);
        let spec = &cluster["Spec"];
        let time =
            |nanos: &Json| Json::from(human_duration(nanos.as_i64().unwrap_or(0) / 1_000_000_000));
        out.heading(2, "Orchestration");
        let limit = &spec["Orchestration"]["TaskHistoryRetentionLimit"];
        out.add(3, "Task History Retention Limit", limit);
        out.heading(2, "Dispatcher");
        out.add(3, "Heartbeat Period", &time(&spec["Dispatcher"]["HeartbeatPeriod"]));
        out.heading(2, "CA Configuration");
        out.add(3, "Expiry Duration", &time(&spec["CAConfig"]["NodeCertExpiry"]));
        out.add(2, "Autolock Managers", &spec["EncryptionConfig"]["AutoLockManagers"]);
        out.add(2, "Root Rotation In Progress", &cluster["RootRotationInProgress"]);
    }
    out.add(2, "Node Address", &part["NodeAddr"]);
    let managers = part["RemoteManagers"].as_array().into_iter().flatten();
    let mut managers = managers.filter_map(|manager| manager["Addr"].as_str()).peekable();
    if managers.peek().is_some() {
        out.heading(2, "Manager Addresses");
    }
    for address in managers {
        let _ = writeln!(out.0, "   {address}");
    }
}

fn machine(out: &mut Lines, info: &Json) {
    let options = info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let mut options = options.peekable();
    if options.peek().is_some() {
        out.heading(1, "Security Options");
    }
    for option in options {
        let mut parts = option.split(',').filter_map(|part| part.split_once('='));
        let name = parts.next().map_or(option, |(_, name)| name);
        let _ = writeln!(out.0, "  {name}");
        for (key, value) in parts {
            let key = if key == "profile" { "Profile" } else { key };
            out.add(3, key, &Json::from(value));
        }
    }
    out.add(1, "Kernel Version", &info["KernelVersion"]);
    out.add(1, "Operating System", &info["OperatingSystem"]);
    out.add(1, "OSType", &info["OSType"]);
    out.add(1, "Architecture", &info["Architecture"]);
    out.add(1, "CPUs", &info["NCPU"]);
    out.add(1, "Total Memory", &Json::from(binary_size(info["MemTotal"].as_i64().unwrap_or(0))));
    out.add(1, "Name", &info["Name"]);
    out.add(1, "ID", &info["ID"]);
    out.add(1, "Docker Root Dir", &info["DockerRootDir"]);
    out.add(1, "Debug Mode", &info["Debug"]);
    out.add(1, "HTTP Proxy", &info["HttpProxy"]);
    out.add(1, "HTTPS Proxy", &info["HttpsProxy"]);
    out.add(1, "No Proxy", &info["NoProxy"]);
    for label in info["Labels"].as_array().into_iter().flatten().filter_map(Json::as_str).take(1) {
        out.heading(1, "Labels");
        let _ = writeln!(out.0, "  {label}");
    }
    out.add(1, "Experimental", &info["ExperimentalBuild"]);
    let insecure = info["RegistryConfig"]["InsecureRegistryCIDRs"].as_array().into_iter().flatten();
    let mut insecure = insecure.filter_map(Json::as_str).peekable();
    if insecure.peek().is_some() {
        out.heading(1, "Insecure Registries");
    }
    for network in insecure {
        let _ = writeln!(out.0, "  {network}");
    }
    let mirrors =
        info["RegistryConfig"]["Mirrors"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let mut mirrors = mirrors.peekable();
    if mirrors.peek().is_some() {
        out.heading(1, "Registry Mirrors");
    }
    for mirror in mirrors {
        let _ = writeln!(out.0, "  {mirror}");
    }
    out.add(1, "Live Restore Enabled", &info["LiveRestoreEnabled"]);
}
