//! Masters, agents, frameworks and executors that prove to each other who they are.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    Client, Cluster, ClusterOptions, FrameworkProgram, Scheduler, eventually, is_root,
    python_with_pymesos, resources, test_data,
};
use serde_json::{Value as Json, json};

use super::executors::{finished, pymesos, sandbox};

/// Whom the master knows.
const CREDENTIALS: &str = r#"{"credentials":[{"principal":"alice","secret":"s3cret"}]}"#;

/// A master that demands proofs, and an agent that has one.
fn demanding(more: &[&str]) -> Result<Option<Cluster>> {
    if !is_root() {
        return Ok(None);
    }
    let credentials = format!("--credentials={CREDENTIALS}");
    let flags = ["--authenticate_agents", "--authenticate_frameworks", &credentials];
    let flags = flags.iter().chain(more);
    Cluster::start_with(ClusterOptions {
        master_flags: flags.map(|flag| (*flag).to_owned()).collect(),
        agent_flags: vec![r#"--credential={"principal":"alice","secret":"s3cret"}"#.to_owned()],
        ..ClusterOptions::default()
    })
    .map(Some)
}

#[test]
fn an_agent_proves_who_it_is_to_each_master_and_a_wrong_secret_ends_it() -> Result<()> {
    let Some(mut cluster) = demanding(&[])? else { return Ok(()) };
    let teu = Client::of_this_host().with_env("TEU_MASTER", &cluster.master().to_string());
    let ran = teu.try_run(&["task", "run", "--no-image", "echo", "proved"])?;
    ensure!(ran.code == 0 && ran.stdout == "proved\n", "{ran:?}");
    let flags = e2e::http::get_path(cluster.agent(), "/flags")?;
    ensure!(flags.contains("credential") && !flags.contains("s3cret"), "{flags}");
    let before = cluster.get("/slaves")?["slaves"][0]["id"].clone();

    // A master that is new knows nothing of what was proved to the one before.
    cluster.kill_master()?;
    cluster.start_master()?;
    eventually("the agent is back", || {
        let agents = cluster.get("/slaves")?;
        let agent = &agents["slaves"][0];
        ensure!(agent["active"] == true && agent["id"] == before, "{agents}");
        Ok(())
    })?;

    cluster.kill_agent()?;
    cluster.set_agent_flags(&["--credential=alice wrong"]);
    let said = cluster.failing_agent()?;
    ensure!(said.contains("refused authentication as principal 'alice'"), "{said}");
    ensure!(said.contains("--credential") && !said.contains("s3cret"), "{said}");

    // An agent that proves nothing waits outside, and says what may be the reason.
    cluster.drop_agent_flag("--credential=");
    cluster.launch_agent()?;
    eventually("the agent says what is missing", || {
        let said = cluster.agent_log();
        ensure!(said.contains("give this one a --credential"), "{said}");
        Ok(())
    })?;
    let agents = cluster.get("/slaves")?;
    ensure!(agents["slaves"][0]["active"] != true, "{agents}");
    cluster.kill_agent()?;
    cluster.set_agent_flags(&["--credential=alice s3cret"]);
    cluster.start_agent()
}

#[test]
fn a_framework_of_pymesos_is_served_by_its_secret_and_the_walkthroughs_is_not() -> Result<()> {
    let Some(cluster) = demanding(&["--authenticate_http_frameworks"])? else { return Ok(()) };
    let master = cluster.master().to_string();
    let python = python_with_pymesos()?;
    let start = |program: &str, args: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(test_data(program)).arg(&master).args(args);
        FrameworkProgram::start(command, cluster.host().scratch())
    };
    start("scheduler.py", &[])?.expect("Failed with HTTP 401")?;
    start("proving_scheduler.py", &["alice", "wrong"])?.expect("Failed with HTTP 401")?;
    let frameworks = cluster.get("/frameworks")?;
    ensure!(frameworks["frameworks"] == json!([]), "{frameworks}");
    ensure!(frameworks["completed_frameworks"] == json!([]), "{frameworks}");

    // To its end: what tears the framework down is sent after the task's last state is printed.
    let printed = start("proving_scheduler.py", &["alice", "s3cret"])?.finish()?;
    ensure!(printed.contains("TASK_FINISHED"), "{printed}");
    eventually("it has gone, and its principal is known", || {
        let frameworks = cluster.get("/frameworks")?;
        let past = &frameworks["completed_frameworks"][0];
        ensure!(past["name"] == "proving" && past["principal"] == "alice", "{frameworks}");
        Ok(())
    })
}

/// An executor made with pymesos that holds its task until it is told, and a task of it.
fn held(scheduler: &Scheduler, name: &str, command: &str) -> Json {
    let executor = json!({
        "type": "CUSTOM", "executor_id": {"value": name},
        "framework_id": {"value": scheduler.id()},
        "command": {"value": command}, "resources": resources(0.1, 64.0),
    });
    // In base64: "hold".
    json!({"executor": executor, "data": "aG9sZA=="})
}

#[test]
fn an_executor_shows_its_token_before_and_after_the_agents_restart() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let key = tempfile::NamedTempFile::new()?;
    std::fs::write(key.path(), "the key of this test")?;
    let mut cluster = Cluster::start_with(ClusterOptions {
        agent_flags: vec![
            "--authenticate_http_executors".to_owned(),
            format!("--jwt_secret_key={}", key.path().display()),
            r#"--firewall_rules={"disabled_endpoints": {"paths": ["/slave(1)/state"]}}"#.to_owned(),
        ],
        ..ClusterOptions::default()
    })?;
    for name in ["/state", "/slave(1)/state", "/slave%281%29/state"] {
        let refused = e2e::http::get_path(cluster.agent(), name).expect_err("let in").to_string();
        ensure!(refused.contains("403"), "{refused}");
    }
    let call = json!({"type": "SUBSCRIBE", "framework_id": {"value": "f"},
                      "executor_id": {"value": "e"}, "subscribe": {}});
    let refused = e2e::http::post_json(cluster.agent(), "/api/v1/executor", &call);
    let refused = refused.expect_err("let in").to_string();
    ensure!(refused.contains("401"), "{refused}");

    let mut scheduler = Scheduler::subscribe(cluster.master())?;
    let (command, _) = pymesos()?;
    // As pymesos comes it shows nothing, and hears why it is not let in.
    let id = scheduler.launch(&[held(&scheduler, "without", &command)])?.remove(0);
    eventually("the executor is refused", || {
        let without = sandbox(&cluster, &scheduler, "without")?;
        let said = std::fs::read_to_string(without.join("stderr"))?;
        ensure!(said.contains("Failed with HTTP 401"), "{said}");
        Ok(())
    })?;
    scheduler.kill(&id)?;

    let task = held(&scheduler, "with", &format!("{command} prove"));
    let id = scheduler.launch(&[task])?.remove(0);
    scheduler.until(&id, "TASK_RUNNING")?;
    let with = sandbox(&cluster, &scheduler, "with")?;
    cluster.kill_agent()?;
    std::fs::write(with.join("go"), "")?;
    eventually("the executor has told it, to nobody", || {
        ensure!(with.join("unheard").exists(), "it has not");
        Ok(())
    })?;
    cluster.start_agent()?;
    let updates = finished(&mut scheduler, &id)?;
    let message = updates.last().context("no update")?["message"].clone();
    ensure!(message.as_str().is_some_and(|it| it.starts_with("hold ")), "{message}");
    scheduler.teardown()
}
