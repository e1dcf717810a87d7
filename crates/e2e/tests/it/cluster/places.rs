//! Where a container is: its network, its ports and addresses, what is mounted into it.

use std::io::Read as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use e2e::{Cluster, ClusterOptions, Scheduler, busybox, eventually, is_root, resources};
use serde_json::{Value as Json, json};

fn output(cluster: &Cluster, scheduler: &Scheduler, task: &str) -> Result<String> {
    let path = format!("/frameworks/{}/executors/{task}/runs/latest/stdout", scheduler.id());
    e2e::http::get_path(cluster.agent(), &format!("/files/download?path={path}"))
}

/// An offer with ports, and the first of them: what a task has just left is offered without.
fn offer_of_ports(scheduler: &mut Scheduler) -> Result<(Json, u64)> {
    loop {
        let offer = scheduler.offer()?;
        if let Ok(port) = first_port(&offer) {
            return Ok((offer, port));
        }
    }
}

fn first_port(offer: &Json) -> Result<u64> {
    let all = offer["resources"].as_array().context("no resources")?;
    let ports = all.iter().find(|resource| resource["name"] == "ports").context("no ports")?;
    ports["ranges"]["range"][0]["begin"].as_u64().context("no range")
}

#[test]
fn a_container_has_the_network_that_its_task_asks_for() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    let host = cluster.host();
    host.load_busybox()?;
    host.docker().run(&["network", "create", "--subnet", "10.213.7.0/24", "blue"])?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let short = json!({"grace_period": {"nanoseconds": 0}});

    // No network: no address, not the agent's.
    let show = "ip -o -4 addr | grep -v 127.0.0.1 | awk '{print $4}'; hostname; exec sleep 1000";
    let mut none = busybox("NONE", show);
    none["container"]["hostname"] = json!("island");
    // A network of the engine's, by name.
    let mut user = busybox("USER", show);
    user["container"]["network_infos"] = json!([{"name": "blue"}]);
    user["container"]["hostname"] = json!("isle");
    let expected = [(none, Json::Null, "island\n"), (user, json!("blue"), "isle\n")];
    for (mut task, network, hostname) in expected {
        task["kill_policy"] = short.clone();
        let id = scheduler.launch(&[task])?.remove(0);
        let updates = scheduler.until(&id, "TASK_RUNNING")?;
        let infos = &updates.last().context("no update")?["container_status"]["network_infos"];
        ensure!(infos[0]["name"] == network, "{infos}");
        let address = infos[0]["ip_addresses"][0]["ip_address"].as_str();
        let addresses = address.map(|address| format!("{address}/24\n")).unwrap_or_default();
        ensure!(address.is_none_or(|address| address.starts_with("10.213.7.")), "{infos}");
        ensure!(network.is_null() != address.is_some(), "{infos}");
        eventually("the container shows the same", || {
            let seen = output(&cluster, &scheduler, &id)?;
            ensure!(seen == format!("{addresses}{hostname}"), "{seen:?}");
            Ok(())
        })?;
        let statuses = e2e::http::get_path(cluster.agent(), "/containers")?;
        ensure!(address.is_none_or(|address| statuses.contains(address)), "{statuses}");
        scheduler.kill(&id)?;
        scheduler.until(&id, "TASK_KILLED")?;
    }

    // Ports of the offer, published on the bridge.
    let (offer, port) = offer_of_ports(&mut scheduler)?;
    let mut mapped = busybox("BRIDGE", "echo answer | nc -l -p 80; exec sleep 1000");
    mapped["kill_policy"] = short;
    mapped["container"]["docker"]["port_mappings"] =
        json!([{"host_port": port, "container_port": 80, "protocol": "TCP"}]);
    let mut wanted = resources(0.1, 32.0);
    let range = json!({"range": [{"begin": port, "end": port}]});
    let ports = json!({"name": "ports", "type": "RANGES", "ranges": range});
    wanted.as_array_mut().context("a list")?.push(ports);
    mapped["resources"] = wanted;
    let id = scheduler.launch_on(&offer, Vec::new(), &[mapped])?.remove(0);
    scheduler.until(&id, "TASK_RUNNING")?;
    eventually("the mapped port answers", || {
        let mut answer = String::new();
        let port = u16::try_from(port)?;
        TcpStream::connect(("127.0.0.1", port))?.read_to_string(&mut answer)?;
        ensure!(answer == "answer\n", "{answer:?}");
        Ok(())
    })?;
    scheduler.kill(&id)?;
    scheduler.until(&id, "TASK_KILLED")?;

    // What the engine or Mesos' rules refuse.
    let mut unknown = busybox("USER", "true");
    unknown["container"]["network_infos"] = json!([{"name": "green"}]);
    let mut named = busybox("HOST", "true");
    named["container"]["hostname"] = json!("h");
    let refused = [(unknown, "green"), (named, "Unable to set hostname with host network mode")];
    for (task, text) in refused {
        let id = scheduler.launch(&[task])?.remove(0);
        let updates = scheduler.until(&id, "TASK_FAILED")?;
        let message = updates.last().and_then(|u| u["message"].as_str()).unwrap_or_default();
        ensure!(message.contains(text), "{message}");
    }
    Ok(())
}

#[test]
fn volumes_are_mounted_as_the_task_asks() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    cluster.host().load_busybox()?;
    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let shared = cluster.host().scratch().join("shared");
    std::fs::create_dir(&shared)?;
    std::fs::write(shared.join("in"), "from the host\n")?;
    let volume = |host: &str, container: &str, mode: &str| json!({"host_path": host, "container_path": container, "mode": mode});
    let path = shared.display().to_string();
    let script = "cat /data/in; touch /data/x 2>/dev/null || echo read-only; \
                  cat inside/in; echo out > inside/out; echo kept > /named/file; \
                  echo own > /own/file; dd if=/dev/zero2 bs=4 count=1 2>/dev/null | wc -c; ulimit -n";
    let mut task = busybox("HOST", &format!("cd $MESOS_SANDBOX; {script}"));
    let named = json!({"type": "DOCKER_VOLUME", "docker_volume": {"name": "v1"}});
    task["container"]["volumes"] = json!([
        volume(&path, "/data", "RO"),
        volume(&path, "inside", "RW"),
        volume("own", "/own", "RW"),
        {"container_path": "/named", "mode": "RW", "source": named},
    ]);
    task["container"]["docker"]["parameters"] = json!([
        {"key": "device", "value": "/dev/zero:/dev/zero2:r"},
        {"key": "ulimit", "value": "nofile=1234"},
    ]);
    let id = scheduler.launch(&[task])?.remove(0);
    scheduler.until(&id, "TASK_FINISHED")?;
    let printed = output(&cluster, &scheduler, &id)?;
    ensure!(printed == "from the host\nread-only\nfrom the host\n4\n1234\n", "{printed:?}");
    ensure!(std::fs::read_to_string(shared.join("out"))? == "out\n");
    let own = format!("/frameworks/{}/executors/{id}/runs/latest/own/file", scheduler.id());
    let own = e2e::http::get_path(cluster.agent(), &format!("/files/download?path={own}"))?;
    ensure!(own == "own\n", "a relative host path is in the sandbox: {own:?}");
    // The engine's volume outlives its container.
    let read = ["run", "--rm", "-v", "v1:/v", "busybox", "cat", "/v/file"];
    ensure!(cluster.host().docker().run(&read)? == "kept\n");
    cluster.host().docker().run(&["volume", "rm", "v1"])?;

    let driven = |driver: &str| {
        json!({"container_path": "/v", "mode": "RW", "source": {"type": "DOCKER_VOLUME",
            "docker_volume": {"name": "v2", "driver": driver}}})
    };
    for (volumes, text) in [
        (json!([driven("nosuch")]), "nosuch"),
        (json!([driven("a"), driven("b")]), "Only one volume driver is supported"),
        (json!([volume("a", "b", "RW")]), "relative"),
    ] {
        let mut task = busybox("HOST", "true");
        task["container"]["volumes"] = volumes;
        let id = scheduler.launch(&[task])?.remove(0);
        let updates = scheduler.until(&id, "TASK_FAILED")?;
        let message = updates.last().and_then(|u| u["message"].as_str()).unwrap_or_default();
        ensure!(message.contains(text), "{message}");
    }
    Ok(())
}

#[test]
fn a_persistent_volume_lives_from_create_to_destroy() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let agent_flags = vec!["--resources=cpus:4;mem:4096;disk(db):256;disk:256".to_owned()];
    let options = ClusterOptions { agent_flags, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(options)?;
    cluster.host().load_busybox()?;
    let info = json!({"roles": ["db"], "capabilities":
        [{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}]});
    let mut scheduler = Scheduler::subscribe_with(cluster.master(), info)?;
    let directory = cluster.agent_work_dir().join("volumes/roles/db/v1");

    let offer = scheduler.offer()?;
    let all = offer["resources"].as_array().context("no resources")?;
    let disk = all.iter().find(|r| r["name"] == "disk" && r["reservations"][0]["role"] == "db");
    let mut volume = disk.with_context(|| format!("no reserved disk: {all:?}"))?.clone();
    volume["scalar"]["value"] = json!(64.0);
    volume["disk"] = json!({"persistence": {"id": "v1"},
        "volume": {"container_path": "data", "mode": "RW"}});
    let create = json!({"type": "CREATE", "create": {"volumes": [volume]}});
    let scalar = |name: &str, value: f64| {
        json!({"name": name, "type": "SCALAR", "scalar": {"value": value},
            "allocation_info": {"role": "db"}})
    };
    let task = |container: Json, script: &str| {
        let mut task = json!({"command": {"value": script}});
        if !container.is_null() {
            task["container"] = container;
        }
        task["resources"] = json!([scalar("cpus", 0.1), scalar("mem", 32.0), volume]);
        task
    };
    let docker = json!({"type": "DOCKER", "docker": {"image": "busybox"}});
    let writes = task(docker.clone(), "echo one >> $MESOS_SANDBOX/data/log");
    let id = scheduler.launch_on(&offer, vec![create], &[writes])?.remove(0);
    scheduler.until(&id, "TASK_FINISHED")?;
    ensure!(std::fs::read_to_string(directory.join("log"))? == "one\n");

    // It is there for the next task, also one without a container, and after the agent's restart.
    cluster.kill_agent()?;
    cluster.start_agent()?;
    for (container, expected) in [(Json::Null, "one\ntwo\n"), (docker, "one\ntwo\ntwo\n")] {
        let script = "cd $MESOS_SANDBOX; echo two >> data/log; cat data/log";
        let id = loop {
            // The first offers after the restart may be without it.
            let offer = scheduler.offer()?;
            let has_it = offer["resources"].as_array().is_some_and(|all| {
                all.iter().any(|resource| resource["disk"]["persistence"]["id"] == "v1")
            });
            if has_it {
                let task = task(container, script);
                break scheduler.launch_on(&offer, Vec::new(), &[task])?.remove(0);
            }
            scheduler.launch_on(&offer, Vec::new(), &[])?;
        };
        scheduler.until(&id, "TASK_FINISHED")?;
        let printed = output(&cluster, &scheduler, &id)?;
        ensure!(printed == expected, "{printed:?}");
    }

    let destroy = json!({"type": "DESTROY", "destroy": {"volumes": [volume]}});
    loop {
        let offer = scheduler.offer()?;
        let has_it = offer["resources"].as_array().is_some_and(|all| {
            all.iter().any(|resource| resource["disk"]["persistence"]["id"] == "v1")
        });
        let operations = if has_it { vec![destroy.clone()] } else { Vec::new() };
        scheduler.launch_on(&offer, operations, &[])?;
        if has_it {
            break;
        }
    }
    eventually("the directory is gone with the volume", || {
        ensure!(!directory.exists(), "{} is there", directory.display());
        let removed = cluster.agent_work_dir().join("volumes/removed");
        ensure!(std::fs::read_dir(&removed)?.next().is_none(), "something is left aside");
        Ok(())
    })
}
