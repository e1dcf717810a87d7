//! Masters, agents, frameworks and executors that prove to each other who they are.

use anyhow::{Result, ensure};
use e2e::{Client, Cluster, ClusterOptions, eventually, is_root};

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
