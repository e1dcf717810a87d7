//! Containers that operators and executors launch through the agent's operator API, inside of others
//! and by themselves.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::{Cluster, eventually};
use serde_json::{Value as Json, json};

use super::sessions::{Tasks, about, ask, inside, sleeps};
use super::world;

const SIGTERM: i32 = 15;

/// A call of one of both names.
fn launch(kind: &str, id: &Json, script: &str) -> Json {
    json!({
        "type": kind,
        kind.to_lowercase(): {"container_id": id, "command": {"value": script}},
    })
}

fn launch_container(id: &Json, script: &str) -> Json {
    launch("LAUNCH_CONTAINER", id, script)
}

fn succeeds(agent: SocketAddr, call: &Json) -> Result<()> {
    let (status, text) = ask(agent, call)?;
    ensure!(status == 200, "{call}: {status}: {text}");
    Ok(())
}

/// What is told of the end, by that name of the call.
fn end(agent: SocketAddr, kind: &str, id: &Json) -> Result<Json> {
    let (status, text) = ask(agent, &about(kind, id))?;
    ensure!(status == 200, "{status}: {text}");
    let answer: Json = serde_json::from_str(&text)?;
    ensure!(answer["type"] == kind, "{answer}");
    Ok(answer[kind.to_lowercase()].clone())
}

fn exit_status(agent: SocketAddr, id: &Json) -> Result<Json> {
    Ok(end(agent, "WAIT_CONTAINER", id)?["exit_status"].clone())
}

fn kill(id: &Json, signal: i32) -> Json {
    json!({"type": "KILL_CONTAINER", "kill_container": {"container_id": id, "signal": signal}})
}

fn listed(agent: SocketAddr, show: &Json) -> Result<Vec<Json>> {
    let (status, text) = ask(agent, &json!({"type": "GET_CONTAINERS", "get_containers": show}))?;
    ensure!(status == 200, "{status}: {text}");
    let answer: Json = serde_json::from_str(&text)?;
    Ok(answer["get_containers"]["containers"].as_array().cloned().unwrap_or_default())
}

fn find(containers: &[Json], id: &Json) -> Option<Json> {
    containers.iter().find(|one| one["container_id"] == *id).cloned()
}

/// The sandbox of a task.
fn sandbox(cluster: &Cluster, container: &Json) -> Result<PathBuf> {
    let id = container["value"].as_str().context("no id")?;
    let found = std::process::Command::new("find")
        .arg(cluster.agent_work_dir().join("slaves"))
        .args(["-path", &format!("*/runs/{id}")])
        .output()?;
    let path = String::from_utf8(found.stdout)?;
    ensure!(path.lines().count() == 1, "{path:?}");
    Ok(PathBuf::from(path.trim()))
}

fn read_file(agent: SocketAddr, path: &str) -> Result<(u16, String)> {
    let call = json!({"type": "READ_FILE", "read_file": {"path": path, "offset": 0}});
    let (status, text) = ask(agent, &call)?;
    if status != 200 {
        return Ok((status, text));
    }
    let answer: Json = serde_json::from_str(&text)?;
    let data = answer["read_file"]["data"].as_str().unwrap_or_default();
    Ok((status, String::from_utf8(BASE64_STANDARD.decode(data)?)?))
}

#[test]
fn a_container_runs_inside_of_a_task_and_tells_how_it_ended() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    for (task, older) in [(&tasks.process, true), (&tasks.container, false)] {
        let of = |verb: &str| match older {
            true => format!("{verb}_NESTED_CONTAINER"),
            false => format!("{verb}_CONTAINER"),
        };
        let id = inside(task, "n1");
        let script = "pwd; echo $MESOS_SANDBOX; ls stdout; exit 3";
        succeeds(agent, &launch(&of("LAUNCH"), &id, script))?;
        ensure!(end(agent, &of("WAIT"), &id)? == json!({"exit_status": 3 << 8}));
        ensure!(ask(agent, &about(&of("KILL"), &id))?.0 == 404, "it has ended");

        let outer = sandbox(&tasks.cluster, task)?;
        let path = outer.join("containers/n1/stdout").display().to_string();
        let (status, output) = read_file(agent, &path)?;
        let lines: Vec<&str> = output.lines().collect();
        ensure!(status == 200 && lines.len() == 3 && lines[0] == lines[1], "{status}: {output}");

        // Its name is free again; what is there of it is removed by hand.
        succeeds(agent, &launch(&of("LAUNCH"), &id, "exit 4"))?;
        ensure!(end(agent, &of("WAIT"), &id)?["exit_status"] == 4 << 8);
        ensure!(ask(agent, &about(&of("REMOVE"), &id))? == (200, String::new()));
        let (status, text) = ask(agent, &about(&of("WAIT"), &id))?;
        ensure!(status == 404 && text.ends_with("cannot be found"), "{status}: {text}");
        ensure!(read_file(agent, &path)?.0 == 404, "its sandbox is there");
    }
    Ok(())
}

#[test]
fn containers_inside_of_tasks_outlive_the_agent_and_not_what_is_around_them() -> Result<()> {
    let Some(mut tasks) = Tasks::start()? else { return Ok(()) };
    let (process, container) = (tasks.process.clone(), tasks.container.clone());
    let rows = [(&process, "7101", "7102", "7103"), (&container, "7201", "7202", "7203")];
    for (task, first, second, third) in &rows {
        let agent = tasks.agent();
        let (child, other) = (inside(task, "child"), inside(task, "other"));
        let grandchild = inside(&child, "grandchild");
        let trap = format!("trap 'exit 5' TERM; sleep {first} & wait");
        for (id, script) in [
            (&child, trap.as_str()),
            (&grandchild, &format!("exec sleep {second}")),
            (&other, &format!("exec sleep {third}")),
        ] {
            succeeds(agent, &launch_container(id, script))?;
        }
        ensure!(ask(agent, &launch_container(&child, "true"))? == (202, String::new()));
        let (status, text) = ask(agent, &about("REMOVE_CONTAINER", &child))?;
        ensure!(status == 500 && text.contains("has not terminated"), "{status}: {text}");
        let shown = listed(agent, &json!({"show_nested": true}))?;
        let shown = find(&shown, &child).context("it is not listed")?;
        ensure!(shown["container_status"]["executor_pid"].as_u64().is_some(), "{shown}");
        ensure!(shown["framework_id"]["value"] == tasks.scheduler.id(), "{shown}");
        ensure!(find(&listed(agent, &json!({}))?, &child).is_none(), "nobody has asked for it");
    }
    tasks.cluster.kill_agent()?;
    tasks.cluster.start_agent()?;
    let agent = tasks.agent();
    for (task, _, second, _) in &rows {
        let child = inside(task, "child");
        let grandchild = inside(&child, "grandchild");
        let shown = listed(agent, &json!({"show_nested": true}))?;
        ensure!(find(&shown, &grandchild).is_some(), "it is forgotten: {shown:?}");
        ensure!(ask(agent, &launch_container(&grandchild, "true"))?.0 == 202);
        succeeds(agent, &about("KILL_CONTAINER", &grandchild))?;
        ensure!(exit_status(agent, &grandchild)? == 9, "not by the signal");
        ensure!(!sleeps(second)?, "it goes on");
        succeeds(agent, &kill(&child, SIGTERM))?;
        ensure!(exit_status(agent, &child)? == 5 << 8, "it had no chance");
    }
    // How they ended is known to the next agent as well.
    tasks.cluster.kill_agent()?;
    tasks.cluster.start_agent()?;
    let agent = tasks.agent();
    for (task, _, _, third) in &rows {
        ensure!(exit_status(agent, &inside(task, "child"))? == 5 << 8);
        ensure!(sleeps(third)?, "the other has ended");
    }
    for id in tasks.ids.clone() {
        tasks.scheduler.kill(&id)?;
    }
    let mut killed = 0;
    while killed < rows.len() {
        let update = tasks.scheduler.update()?;
        killed += usize::from(update["state"] == "TASK_KILLED");
    }
    for (task, _, _, third) in &rows {
        ensure!(!sleeps(third)?, "it outlives its task");
        eventually("it is forgotten with its task", || {
            let (status, text) = ask(agent, &about("WAIT_CONTAINER", &inside(task, "child")))?;
            ensure!(status == 404, "{status}: {text}");
            Ok(())
        })?;
    }
    eventually("nothing is left in the engine", || {
        let left = tasks.cluster.host().docker().run(&["ps", "-aq", "--filter", "name=other"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
}

#[test]
fn a_container_inside_of_one_of_the_engines_has_its_network_and_image_or_its_own() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    let network = |id: &Json, container: Option<Json>| -> Result<String> {
        let mut call = launch_container(id, "readlink /proc/self/ns/net; cat /proc/1/comm");
        if let Some(container) = container {
            call["launch_container"]["container"] = container;
        }
        succeeds(agent, &call)?;
        ensure!(exit_status(agent, id)? == 0);
        let parent = sandbox(&tasks.cluster, &id["parent"])?;
        let name = id["value"].as_str().context("no name")?;
        Ok(std::fs::read_to_string(parent.join("containers").join(name).join("stdout"))?)
    };
    let image = json!({"type": "DOCKER", "docker": {"name": "busybox"}});
    let image = json!({"type": "MESOS", "mesos": {"image": image}});
    // The tasks are on the host's network, and so is what is inside of them.
    let host = std::fs::read_link("/proc/self/ns/net")?.display().to_string();
    for (task, name) in [(&tasks.process, "own"), (&tasks.container, "own")] {
        let output = network(&inside(task, name), Some(image.clone()))?;
        ensure!(output.starts_with(&host) && output.lines().count() == 2, "{host}: {output}");
    }
    let output = network(&inside(&tasks.container, "inherited"), None)?;
    ensure!(output.starts_with(&host), "{host}: {output}");
    Ok(())
}

/// Ids of this host's containers, which other tests run beside.
fn unique(name: &str) -> Json {
    json!({"value": format!("{name}-{}", std::process::id())})
}

#[test]
fn a_container_runs_by_itself_until_it_is_removed() -> Result<()> {
    let Some((mut cluster, _)) = world()? else { return Ok(()) };
    let image = json!({"type": "DOCKER", "docker": {"name": "busybox"}});
    let image = json!({"type": "MESOS", "mesos": {"image": image}});
    let rows = [(unique("process"), Json::Null, "7301"), (unique("image"), image, "7302")];
    let resources = json!([
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
    ]);
    let agent = cluster.agent();
    for (id, container, seconds) in &rows {
        let mut call = launch_container(id, &format!("echo here; exec sleep {seconds}"));
        call["launch_container"]["container"] = container.clone();
        call["launch_container"]["resources"] = resources.clone();
        succeeds(agent, &call)?;
        ensure!(ask(agent, &call)?.0 == 202, "there is one of that name");
        let shown = listed(agent, &json!({"show_standalone": true}))?;
        let shown = find(&shown, id).context("it is not listed")?;
        ensure!(shown["framework_id"].is_null(), "{shown}");
        let limit = &shown["resource_statistics"]["mem_limit_bytes"];
        ensure!(limit.as_u64() == Some(32 << 20), "{shown}");
        ensure!(find(&listed(agent, &json!({"show_nested": true}))?, id).is_none());
        succeeds(agent, &launch_container(&inside(id, "in"), &format!("exec sleep {seconds}0")))?;
        let name = id["value"].as_str().context("no name")?;
        let output = cluster.agent_work_dir().join("containers").join(name).join("stdout");
        eventually("its output is in its sandbox", || {
            ensure!(std::fs::read_to_string(&output)? == "here\n");
            Ok(())
        })?;
    }
    cluster.kill_agent()?;
    cluster.start_agent()?;
    for (id, _, seconds) in &rows {
        let both = json!({"show_standalone": true, "show_nested": true});
        let shown = listed(agent, &both)?;
        ensure!(find(&shown, id).is_some() && find(&shown, &inside(id, "in")).is_some());
        succeeds(agent, &about("KILL_CONTAINER", id))?;
        ensure!(exit_status(agent, id)? == 9);
        ensure!(!sleeps(&format!("{seconds}0"))?, "what is inside of it goes on");
        ensure!(exit_status(agent, &inside(id, "in"))? == 9);
        let name = id["value"].as_str().context("no name")?;
        let sandbox = cluster.agent_work_dir().join("containers").join(name);
        ensure!(sandbox.join("containers/in/stdout").exists());
        ensure!(ask(agent, &about("REMOVE_CONTAINER", id))? == (200, String::new()));
        ensure!(ask(agent, &about("WAIT_CONTAINER", id))?.0 == 404);
        ensure!(!sandbox.exists(), "its sandbox is there");
    }
    for (id, container, _) in &rows {
        let mut call = launch_container(id, "a=x; while true; do a=$a$a; done");
        call["launch_container"]["container"] = container.clone();
        call["launch_container"]["resources"] = resources.clone();
        succeeds(agent, &call)?;
        let end = end(agent, "WAIT_CONTAINER", id)?;
        ensure!(end["exit_status"] == 9 && end["state"] == "TASK_FAILED", "{end}");
        ensure!(end["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY", "{end}");
        succeeds(agent, &about("REMOVE_CONTAINER", id))?;
    }
    let left = std::fs::read_dir(cluster.agent_work_dir().join("containers"))?.count();
    ensure!(left == 0, "{left} sandboxes are left");
    let left = std::fs::read_dir(cluster.agent_work_dir().join("meta/containers"))?.count();
    ensure!(left == 0, "{left} records are left");
    Ok(())
}

#[test]
fn the_container_of_a_task_is_waited_for_and_killed_like_any_other() -> Result<()> {
    let Some(mut tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    let calls = [kill(&tasks.process, SIGTERM), about("KILL_CONTAINER", &tasks.container)];
    for ((task, call), status) in
        [&tasks.process, &tasks.container].into_iter().zip(calls).zip([15, 9])
    {
        let refused = ask(agent, &about("REMOVE_CONTAINER", task))?;
        ensure!(refused == (500, "Nested container has not terminated yet".to_owned()));
        succeeds(agent, &call)?;
        // It is there until its framework has acknowledged its end.
        ensure!(end(agent, "WAIT_CONTAINER", task)? == json!({"exit_status": status}));
        ensure!(ask(agent, &call)?.0 == 404, "it has ended");
    }
    let mut failed = 0;
    while failed < tasks.ids.len() {
        failed += usize::from(tasks.scheduler.update()?["state"] == "TASK_FAILED");
    }
    for task in [&tasks.process, &tasks.container] {
        eventually("it is forgotten", || {
            let (status, text) = ask(agent, &about("WAIT_CONTAINER", task))?;
            ensure!(status == 404 && text.ends_with("cannot be found"), "{status}: {text}");
            Ok(())
        })?;
        ensure!(ask(agent, &about("REMOVE_CONTAINER", task))?.0 == 500, "there is no such root");
    }
    Ok(())
}

#[test]
fn what_cannot_be_launched_is_refused_and_leaves_nothing() -> Result<()> {
    let Some(tasks) = Tasks::start()? else { return Ok(()) };
    let agent = tasks.agent();
    let id = inside(&tasks.process, "x");
    let with = |id: &Json, field: &str, value: Json| {
        let mut call = launch_container(id, "true");
        call["launch_container"][field] = value;
        call
    };
    let docker = json!({"type": "DOCKER", "docker": {"image": "busybox"}});
    let terminal = json!({"type": "MESOS", "tty_info": {}});
    let cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}});
    let mut reserved = cpus.clone();
    reserved["reservations"] = json!([{"type": "STATIC", "role": "web"}]);
    let missing = json!({"value": "true", "uris": [{"value": "/there/is/no/such/file"}]});
    let shared = json!({"type": "MESOS", "linux_info": {"share_cgroups": true}});
    let twice = inside(&id, "y");
    let alone = unique("alone");
    let mut nobody = launch_container(&id, "true");
    nobody["launch_container"]["command"]["user"] = json!("nobody-of-that-name");
    // Somebody else's container has the name that this would have.
    let theirs = format!("mesos-{}", alone["value"].as_str().context("no name")?);
    let host = tasks.cluster.host().docker();
    host.run(&["run", "-d", "--name", &theirs, "busybox", "sleep", "1000"])?;
    let image = json!({"type": "DOCKER", "docker": {"name": "busybox"}});
    let image = json!({"type": "MESOS", "mesos": {"image": image}});
    for (call, expected) in [
        (launch_container(&inside(&json!({"value": "no"}), "x"), "true"), "Parent container no"),
        (launch("LAUNCH_NESTED_CONTAINER", &alone, "true"), "container_id.parent' to be present"),
        (with(&id, "container", docker), "The provided ContainerInfo is not supported"),
        (with(&id, "container", terminal), "has no terminal of its own"),
        (with(&id, "command", missing), "no/such/file"),
        (with(&id, "resources", json!([cpus.clone()])), "share_cgroups"),
        (with(&twice, "resources", json!([cpus])), "second level or greater"),
        (with(&alone, "resources", json!([reserved])), "must be unreserved"),
        (with(&alone, "container", shared), "without a parent cannot set 'share_cgroups'"),
        (with(&alone, "container", image), "already in use"),
        (
            with(&alone, "command", json!({"shell": false, "value": "no-such-program"})),
            "cannot run",
        ),
        (nobody, "there is no user 'nobody-of-that-name'"),
    ] {
        let (status, text) = ask(agent, &call)?;
        ensure!(status == 400 && text.contains(expected), "{call}: {status}: {text}");
    }
    for (call, expected) in [
        (about("WAIT_CONTAINER", &id), 404),
        (about("KILL_CONTAINER", &id), 404),
        (about("KILL_CONTAINER", &alone), 404),
        (about("REMOVE_NESTED_CONTAINER", &id), 200),
        (about("REMOVE_CONTAINER", &alone), 500),
        (about("REMOVE_CONTAINER", &inside(&alone, "x")), 500),
    ] {
        let (status, text) = ask(agent, &call)?;
        ensure!(status == expected, "{call}: {status}: {text}");
        let root =
            format!("Root container {} not found", alone["value"].as_str().unwrap_or_default());
        ensure!(status != 500 || text == root, "{call}: {text}");
    }
    let running = host.run(&["ps", "-q", "--filter", &format!("name={theirs}")])?;
    ensure!(!running.trim().is_empty(), "somebody else's container is gone");
    ensure!(ask(agent, &launch_container(&tasks.process, "true"))?.0 == 202, "it is a task's");
    succeeds(agent, &launch_container(&id, "exec sleep 1000"))?;
    let (status, text) = ask(agent, &kill(&id, 1000))?;
    ensure!(status == 500 && text.contains("Unable to send signal"), "{status}: {text}");
    let (status, text) = ask(agent, &about("ATTACH_CONTAINER_OUTPUT", &id))?;
    ensure!(status == 500 && text.contains("I/O switchboard"), "{status}: {text}");
    let left = std::fs::read_dir(tasks.cluster.agent_work_dir().join("meta/containers"))?.count();
    ensure!(left == 1, "{left} records");
    Ok(())
}
