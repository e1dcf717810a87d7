//! The reference walkthrough, with our command line and with the stock one.

use std::process::Command;

use anyhow::{Result, ensure};
use e2e::{
    Cluster, FrameworkProgram, Host, Program, Walkthrough, base_image, bin_dir, is_root,
    python_with_pymesos, test_data,
};

const PAGE: &str = "served by nginx in a container";

fn walk(program: Program) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let host = Host::start()?;
    base_image(&host.teu())?;
    let walkthrough = Walkthrough::new(host.client(program))?;
    walkthrough.make_image()?;
    let mut pages = vec![walkthrough.host_page()?, walkthrough.bridge_page()?];
    pages.extend(walkthrough.network_pages()?);
    for page in pages {
        ensure!(page.contains(PAGE), "the page is {page:?}");
    }
    walkthrough.clean_up()
}

#[test]
fn page_is_served_with_our_client() -> Result<()> {
    walk(Program::Teu)
}

#[test]
fn page_is_served_with_the_docker_client() -> Result<()> {
    walk(Program::Docker)
}

/// The last part of the walkthrough: a master, an agent, and a framework that was written for
/// Apache Mesos; then the same framework written with our SDK.
#[test]
fn mesos() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let cluster = Cluster::start()?;
    base_image(&cluster.host().teu())?;
    let walkthrough = Walkthrough::new(cluster.host().teu())?;
    walkthrough.make_image()?;
    let master = cluster.master().to_string();

    let mut pymesos = Command::new(python_with_pymesos()?);
    pymesos.arg(test_data("scheduler.py")).arg(&master);
    serve(&cluster, &walkthrough, pymesos, r#""state": "TASK_RUNNING""#)?;

    let mut sdk = Command::new(bin_dir().join("examples/nginx"));
    sdk.arg(&master);
    serve(&cluster, &walkthrough, sdk, " TASK_RUNNING")?;
    walkthrough.clean_up()
}

/// Runs a framework until its task serves the page, looks at it from all sides, ends it.
fn serve(
    cluster: &Cluster,
    walkthrough: &Walkthrough,
    framework: Command,
    running: &str,
) -> Result<()> {
    let framework = FrameworkProgram::start(framework, cluster.host().scratch())?;
    framework.expect(running)?;
    let page = walkthrough.page()?;
    ensure!(page.contains(PAGE), "the page is {page:?}");
    let task = cluster.task("mydocker", "TASK_RUNNING")?;
    ensure!(task["container"]["docker"]["network"] == "HOST", "{task}");
    let listed = cluster.host().docker().run(&["ps", "--format", "{{.Image}} {{.Names}}"])?;
    ensure!(listed.starts_with("mydocker:v4 mesos-"), "{listed:?}");
    cluster.teardown()?;
    e2e::eventually("the container is gone", || {
        let listed = cluster.host().docker().run(&["ps", "-q"])?;
        ensure!(listed.trim().is_empty(), "{listed:?}");
        Ok(())
    })
}
