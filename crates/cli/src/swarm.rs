//! The swarm that the daemon's host is a member of.

use docker_api::{Client, Request};
use serde_json::{Value as Json, json};

use crate::cli::program;
use crate::failure::Failure;
use crate::grammar::{Call, Outcome, Values};
use crate::units::parse_duration_nanos;

/// What clients add where the daemon cannot choose an address.
const NO_ADDRESS: [&str; 2] =
    ["could not choose an IP address to advertise", "could not find the system's IP address"];

/// `swarm init [OPTIONS]`
pub(crate) async fn init(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let mut spec = json!({"EncryptionConfig": {"AutoLockManagers": flags.on("autolock")}});
    apply(flags, &mut spec)?;
    let body = json!({
        "ListenAddr": flags.text_or("listen-addr", "0.0.0.0:2377"),
        "AdvertiseAddr": flags.text("advertise-addr"),
        "DataPathAddr": flags.text("data-path-addr"),
        "DataPathPort": flags.int("data-path-port").unwrap_or(0),
        "DefaultAddrPool": flags.split("default-addr-pool"),
        "SubnetSize": flags.int("default-addr-pool-mask-length").unwrap_or(24),
        "ForceNewCluster": flags.on("force-new-cluster"),
        "AutoLockManagers": flags.on("autolock"),
        "Availability": availability(flags)?,
        "Spec": spec,
    });
    let client = call.cli.client().await?;
    let sent = async {
        client.call(Request::post("/swarm/init").json(&body)).await?.json::<String>().await
    };
    let id = sent.await.map_err(|error| {
        let mut failure = Failure::from(error);
        if NO_ADDRESS.iter().any(|text| failure.text.contains(text)) {
            failure.text.push_str(" - specify one with --advertise-addr");
        }
        failure
    })?;
    println!("Swarm initialized: current node ({id}) is now a manager.\n");
    print_join_command(client, "worker").await?;
    println!(
        "To add a manager to this swarm, run '{} swarm join-token manager' and follow the \
         instructions.\n",
        program()
    );
    Ok(0)
}

/// `swarm join [OPTIONS] HOST:PORT`
pub(crate) async fn join(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let body = json!({
        "ListenAddr": flags.text_or("listen-addr", "0.0.0.0:2377"),
        "AdvertiseAddr": flags.text("advertise-addr"),
        "DataPathAddr": flags.text("data-path-addr"),
        "RemoteAddrs": [call.args[0]],
        "JoinToken": flags.text("token"),
        "Availability": availability(flags)?,
    });
    let client = call.cli.client().await?;
    client.call(Request::post("/swarm/join").json(&body)).await?.bytes().await?;
    let info = part(client).await?;
    let role = if info["ControlAvailable"] == true { "manager" } else { "worker" };
    println!("This node joined a swarm as a {role}.");
    Ok(0)
}

/// `swarm leave [OPTIONS]`
pub(crate) async fn leave(call: Call<'_>) -> Outcome {
    let request = Request::post("/swarm/leave").query_flag("force", call.flags.on("force"));
    call.cli.client().await?.call(request).await?.bytes().await?;
    println!("Node left the swarm.");
    Ok(0)
}

/// `swarm join-token [OPTIONS] (worker|manager)`
pub(crate) async fn join_token(call: Call<'_>) -> Outcome {
    let role = call.args[0].as_str();
    let flag = match role {
        "worker" => "rotateWorkerToken",
        "manager" => "rotateManagerToken",
        other => return Err(format!("unknown role {other}").into()),
    };
    let client = call.cli.client().await?;
    let is_quiet = call.flags.on("quiet");
    if call.flags.on("rotate") {
        let swarm = get(client, "/swarm").await?;
        update_with(client, &swarm, &swarm["Spec"], Some(flag)).await?;
        if !is_quiet {
            println!("Successfully rotated {role} join token.\n");
        }
    }
    if is_quiet {
        println!("{}", token(client, role).await?);
    } else {
        print_join_command(client, role).await?;
    }
    Ok(0)
}

/// `swarm update [OPTIONS]`
pub(crate) async fn update(call: Call<'_>) -> Outcome {
    const ALL: [&str; 7] = [
        "autolock",
        "cert-expiry",
        "dispatcher-heartbeat",
        "external-ca",
        "max-snapshots",
        "snapshot-interval",
        "task-history-limit",
    ];
    if !ALL.into_iter().any(|name| call.flags.given(name)) {
        return Err(format!("{}: nothing to change: see '{} --help'", program(), call.path).into());
    }
    let client = call.cli.client().await?;
    let swarm = get(client, "/swarm").await?;
    let mut spec = swarm["Spec"].clone();
    apply(&call.flags, &mut spec)?;
    if call.flags.given("autolock") {
        spec["EncryptionConfig"]["AutoLockManagers"] = json!(call.flags.on("autolock"));
    }
    update_with(client, &swarm, &spec, None).await?;
    println!("Swarm updated.");
    Ok(0)
}

/// `swarm ca [OPTIONS]`
pub(crate) async fn ca(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let client = call.cli.client().await?;
    let swarm = get(client, "/swarm").await?;
    if !flags.on("rotate") {
        for name in ["ca-cert", "ca-key", "cert-expiry", "external-ca"] {
            if flags.given(name) {
                return Err(format!(
                    "`--{name}` flag requires the `--rotate` flag to update the CA"
                )
                .into());
            }
        }
        println!("{}", swarm["TLSInfo"]["TrustRoot"].as_str().unwrap_or_default().trim());
        return Ok(0);
    }
    let mut spec = swarm["Spec"].clone();
    apply(flags, &mut spec)?;
    for (name, key) in [("ca-cert", "SigningCACert"), ("ca-key", "SigningCAKey")] {
        if let Some(path) = flags.get(name) {
            let text = std::fs::read_to_string(path).map_err(|e| format!("open {path}: {e}"))?;
            spec["CAConfig"][key] = json!(text);
        }
    }
    let count = spec["CAConfig"]["ForceRotate"].as_u64().unwrap_or(0) + 1;
    spec["CAConfig"]["ForceRotate"] = json!(count);
    update_with(client, &swarm, &spec, None).await?;
    Ok(0)
}

/// `swarm unlock`: no manager of ours is ever locked.
pub(crate) async fn unlock(call: Call<'_>) -> Outcome {
    let part = part(call.cli.client().await?).await?;
    match part["LocalNodeState"].as_str() {
        Some("inactive") => Err("Error: This node is not part of a swarm".into()),
        Some("locked") => {
            Err(format!("unlock this manager with its own client, not with {}", program()).into())
        }
        _ => Err("Error: swarm is not locked".into()),
    }
}

/// `swarm unlock-key [OPTIONS]`
pub(crate) async fn unlock_key(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    if call.flags.on("rotate") {
        let swarm = get(client, "/swarm").await?;
        if swarm["Spec"]["EncryptionConfig"]["AutoLockManagers"] != true {
            return Err("cannot rotate because autolock is not turned on".into());
        }
        update_with(client, &swarm, &swarm["Spec"], Some("rotateManagerUnlockKey")).await?;
    }
    let answer = get(client, "/swarm/unlockkey").await?;
    match answer["UnlockKey"].as_str().unwrap_or_default() {
        "" => Err("no unlock key is set".into()),
        key => {
            println!("{key}");
            Ok(0)
        }
    }
}

/// Asks for this host's part in a swarm.
pub(crate) async fn part(client: &Client) -> Result<Json, Failure> {
    Ok(get(client, "/info").await?["Swarm"].clone())
}

async fn get(client: &Client, path: &str) -> Result<Json, Failure> {
    Ok(client.call(Request::get(path)).await?.json().await?)
}

async fn update_with(
    client: &Client,
    swarm: &Json,
    spec: &Json,
    rotate: Option<&'static str>,
) -> Result<(), Failure> {
    let version = swarm["Version"]["Index"].to_string();
    let mut request = Request::post("/swarm/update").query_some("version", Some(version));
    if let Some(flag) = rotate {
        request = request.query_flag(flag, true);
    }
    client.call(request.json(spec)).await?.bytes().await?;
    Ok(())
}

async fn token(client: &Client, role: &str) -> Result<String, Failure> {
    let swarm = get(client, "/swarm").await?;
    let key = if role == "worker" { "Worker" } else { "Manager" };
    Ok(swarm["JoinTokens"][key].as_str().unwrap_or_default().to_owned())
}

async fn print_join_command(client: &Client, role: &str) -> Result<(), Failure> {
    // A host that is no manager says so here.
    let token = token(client, role).await?;
    let part = part(client).await?;
    let id = part["NodeID"].as_str().unwrap_or_default();
    let node = get(client, &format!("/nodes/{id}")).await?;
    let address = node["ManagerStatus"]["Addr"].as_str().unwrap_or_default();
    println!(
        "To add a {role} to this swarm, run the following command:\n\n    {} swarm join --token \
         {token} {address}\n",
        program()
    );
    Ok(())
}

/// Reads `--availability`.
pub(crate) fn availability(flags: &Values) -> Result<&str, Failure> {
    match flags.text_or("availability", "active") {
        known @ ("active" | "pause" | "drain") => Ok(known),
        other => Err(format!(
            "invalid availability {other:?}, only active, pause and drain are supported"
        )
        .into()),
    }
}

/// Enters what the flags say into a swarm's specification.
fn apply(flags: &Values, spec: &mut Json) -> Result<(), Failure> {
    for (flag, part, key) in [
        ("task-history-limit", "Orchestration", "TaskHistoryRetentionLimit"),
        ("max-snapshots", "Raft", "KeepOldSnapshots"),
        ("snapshot-interval", "Raft", "SnapshotInterval"),
    ] {
        if let Some(value) = flags.int(flag) {
            spec[part][key] = json!(value);
        }
    }
    for (flag, part, key) in [
        ("dispatcher-heartbeat", "Dispatcher", "HeartbeatPeriod"),
        ("cert-expiry", "CAConfig", "NodeCertExpiry"),
    ] {
        if let Some(value) = flags.get(flag) {
            spec[part][key] = json!(parse_duration_nanos(value)?);
        }
    }
    let external = flags.all("external-ca");
    if !external.is_empty() {
        let all = external.iter().map(|text| external_ca(text)).collect::<Result<Vec<_>, _>>()?;
        spec["CAConfig"]["ExternalCAs"] = json!(all);
    }
    Ok(())
}

/// Reads `protocol=cfssl,url=https://…[,KEY=VALUE]`.
fn external_ca(text: &str) -> Result<Json, Failure> {
    let (mut protocol, mut url) = (None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("protocol", "cfssl")) => protocol = Some("cfssl"),
            Some(("protocol", other)) => {
                return Err(format!("unrecognized external CA protocol {other}").into());
            }
            Some(("url", value)) => url = Some(value),
            Some(_) => {}
            None => {
                return Err(format!("invalid field '{field}' must be a key=value pair").into());
            }
        }
    }
    match (protocol, url) {
        (None, _) => Err("the external-ca option needs a protocol= parameter".into()),
        (_, None) => Err("the external-ca option needs a url= parameter".into()),
        (Some(protocol), Some(url)) => Ok(json!({"Protocol": protocol, "URL": url})),
    }
}
