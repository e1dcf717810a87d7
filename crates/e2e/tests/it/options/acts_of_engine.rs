//! What the engine and the network do with options, where inspect alone would only repeat them.

use anyhow::{Context, Result, ensure};
use e2e::eventually;

use super::acts::{once, remove, shows};
use crate::World;

/// Runs `look` with a user-defined network whose subnets are `10.231.N.0/24` and `fd00:231:N::/64`,
/// where N is this process's own: tests of other processes may run at the same time.
fn with_network(world: &World, look: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let number = (std::process::id() % 200 + 10).to_string();
    let (v4, v6) = (format!("10.231.{number}.0/24"), format!("fd00:231:{number}::/64"));
    let made = ["network", "create", "--ipv6", "--subnet", &v4, "--subnet", &v6, "harbour"];
    world.client.run(&made)?;
    let looked = look(&number);
    // The first error is the one to tell.
    let removed = world.client.run(&["network", "rm", "harbour"]);
    looked.and(removed.map(drop))
}

pub(super) fn addresses(world: &World) -> Result<()> {
    with_network(world, |number| {
        let (v4, v6) = (format!("10.231.{number}.77"), format!("fd00:231:{number}::77"));
        let args = ["--net", "harbour", "--ip", &v4, "--ip6", &v6];
        let seen = once(world, &args, "ip -o addr show eth0")?;
        ensure!(seen.contains(&format!("inet {v4}/24")), "{seen}");
        ensure!(seen.contains(&format!("inet6 {v6}/64")), "{seen}");
        let outside = ["run", "--rm", "--net", "harbour", "--ip", "10.9.9.9", "busybox", "true"];
        let told = world.client.try_run(&outside)?;
        ensure!(told.code != 0 && told.stderr.contains("10.9.9.9"), "{told:?}");
        Ok(())
    })
}

pub(super) fn aliases(world: &World) -> Result<()> {
    with_network(world, |_| {
        let args = ["run", "-d", "--name", "cc", "--net", "harbour", "--network-alias", "db"];
        let more = ["--net-alias", "store", "busybox", "sleep", "600"];
        world.client.run(&[&args[..], &more[..]].concat())?;
        for name in ["db", "store", "cc"] {
            once(world, &["--net", "harbour"], &format!("ping -c 1 -W 5 {name}"))?;
        }
        remove(world, "cc")
    })
}

/// Starts `cc` with a health check and waits until a template of inspect shows what is wanted.
fn checked(world: &World, options: &[&str], template: &str, wanted: &str) -> Result<String> {
    let mut args = vec!["run", "-d", "--name", "cc"];
    args.extend(options);
    args.extend(["busybox", "sleep", "600"]);
    world.client.run(&args)?;
    eventually(wanted, || {
        let found = shows(world, "cc", template)?;
        ensure!(found.contains(wanted), "{found}");
        Ok(found)
    })
}

const HEALTH: &str = "{{.State.Health.Status}} {{.State.Health.FailingStreak}} {{len \
                      .State.Health.Log}} {{range .State.Health.Log}}{{.Output}}{{end}}";

pub(super) fn health_retries(world: &World) -> Result<()> {
    let options = ["--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "3"];
    let found = checked(world, &options, HEALTH, "unhealthy ")?;
    let streak = found.split(' ').nth(1).context("a number")?.parse::<u32>()?;
    ensure!(streak >= 3, "unhealthy after {streak}");
    remove(world, "cc")
}

pub(super) fn health_timeout(world: &World) -> Result<()> {
    let options = [
        "--health-cmd",
        "sleep 600",
        "--health-timeout",
        "200ms",
        "--health-interval",
        "100ms",
        "--health-retries",
        "1",
    ];
    let found = checked(world, &options, HEALTH, "unhealthy ")?;
    ensure!(found.contains("Health check exceeded timeout (200ms)"), "{found}");
    remove(world, "cc")
}

/// The checks come at the start's pace, not at that of an hour, and none of them counts.
pub(super) fn health_start(world: &World) -> Result<()> {
    let options = [
        "--health-cmd",
        "false",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "100ms",
        "--health-interval",
        "1h",
        "--health-retries",
        "1",
    ];
    // The log keeps five.
    checked(world, &options, HEALTH, "starting 0 5")?;
    remove(world, "cc")
}

pub(super) fn annotation(world: &World) -> Result<()> {
    let args = ["run", "-d", "--name", "cc", "--annotation", "org.example.note=yes"];
    let id = world.client.run(&[&args[..], &["busybox", "sleep", "600"]].concat())?;
    let config = find(&world.host.exec_root(), id.trim())?;
    let config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(config)?)?;
    ensure!(config["annotations"]["org.example.note"] == "yes", "{}", config["annotations"]);
    remove(world, "cc")
}

/// The OCI runtime's configuration of a container, somewhere below `root`.
fn find(root: &std::path::Path, id: &str) -> Result<std::path::PathBuf> {
    let shown = std::process::Command::new("find")
        .arg(root)
        .args(["-path", &format!("*{id}*"), "-name", "config.json"])
        .output()?;
    let shown = String::from_utf8(shown.stdout)?;
    Ok(shown.lines().next().with_context(|| format!("no bundle of {id}"))?.into())
}

pub(super) fn labels(world: &World) -> Result<()> {
    let args = ["run", "-d", "--name", "cc", "--label", "tier=front", "--label", "bare"];
    world.client.run(&[&args[..], &["busybox", "sleep", "600"]].concat())?;
    let listed = |filter: &str| {
        world.client.run(&["ps", "--filter", filter, "--format", "{{.Names}} {{.Label \"tier\"}}"])
    };
    ensure!(listed("label=tier=front")? == "cc front\n" && listed("label=bare")? == "cc front\n");
    ensure!(listed("label=tier=back")?.is_empty());
    remove(world, "cc")
}

pub(super) fn labels_of_a_file(world: &World) -> Result<()> {
    let file = world.host.scratch().join("files/labels").display().to_string();
    let args = ["run", "-d", "--name", "cc", "--label-file", &file, "busybox", "sleep", "600"];
    world.client.run(&args)?;
    let args = ["ps", "--filter", "label=from.file=yes", "--format", "{{.Names}}"];
    ensure!(world.client.run(&args)? == "cc\n");
    remove(world, "cc")
}

/// The image's check is there without the option, and not with it.
pub(super) fn no_healthcheck(world: &World) -> Result<()> {
    world.client.run(&["create", "--name", "cc", "busybox"])?;
    let change = "HEALTHCHECK --interval=100ms CMD true";
    world.client.run(&["commit", "-c", change, "cc", "checked"])?;
    remove(world, "cc")?;
    for (options, wanted) in [(&[][..], "true"), (&["--no-healthcheck"], "false")] {
        let args = [&["run", "-d", "--name", "cc"], options, &["checked", "sleep", "600"]].concat();
        world.client.run(&args)?;
        let shown = shows(world, "cc", "{{if .State.Health}}true{{else}}false{{end}}")?;
        ensure!(shown == wanted, "{options:?}: {shown}");
        remove(world, "cc")?;
    }
    world.client.run(&["rmi", "checked"]).map(drop)
}
