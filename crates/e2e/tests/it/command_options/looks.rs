//! What the rows look at.

use anyhow::{Context as _, Result, ensure};
use e2e::{DEADLINE, Ran, Registry, eventually};
use serde_json::Value as Json;

use crate::World;

/// The client does not know it, or says that the daemon does not.
fn refused(ran: &Ran, option: &str) -> Result<()> {
    let knows = ran.stderr.contains(&format!("unknown flag: {option}"))
        || ran.stderr.contains(&format!("\"{option}\" is only supported"));
    ensure!(ran.code != 0 && knows, "{ran:?}");
    Ok(())
}

fn helps(world: &World, command: &str, options: &[&str]) -> Result<()> {
    let help = world.client.run(&[command, "--help"])?;
    ensure!(options.iter().all(|option| help.contains(option)), "{help}");
    Ok(())
}

fn shown(world: &World, name: &str, template: &str) -> Result<String> {
    Ok(world.client.run(&["inspect", "-f", template, name])?.trim().to_owned())
}

fn create(world: &World, options: &[&str], script: &str) -> Result<()> {
    let words = [&["create", "--name", "cc"], options, &["busybox", "sh", "-c", script]].concat();
    world.client.run(&words).map(drop)
}

fn remove(world: &World, images: &[&str]) -> Result<()> {
    if !world.client.run(&["ps", "-aq"])?.is_empty() {
        world.client.run(&["rm", "-f", "cc"])?;
    }
    if images.is_empty() {
        return Ok(());
    }
    world.client.run(&[&["rmi"], images].concat()).map(drop)
}

pub(super) fn attach(world: &World) -> Result<()> {
    create(world, &[], "echo out; echo err >&2; exit 7")?;
    let ran = world.client.try_run(&["start", "--attach", "cc"])?;
    ensure!(ran.code == 7 && ran.stdout == "out\n" && ran.stderr == "err\n", "{ran:?}");
    let ran = world.client.try_run(&["start", "-a", "cc", "cc"])?;
    let told = "you cannot start and attach multiple containers at once";
    ensure!(ran.code == 1 && ran.stderr.contains(told), "{ran:?}");
    remove(world, &[])?;
    create(world, &[], "trap 'echo heard; exit 9' USR1; echo ready; while :; do sleep 0.05; done")?;
    let log = world.host.scratch().join("attached");
    let mut command = world.client.command(&["start", "-a", "cc"]);
    let mut client = command.stdout(std::fs::File::create(&log)?).spawn()?;
    eventually("it is attached", || {
        ensure!(std::fs::read_to_string(&log)?.contains("ready"));
        Ok(())
    })?;
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&client),
        rustix::process::Signal::USR1,
    )?;
    let status = client.wait()?;
    ensure!(status.code() == Some(9), "{status}");
    ensure!(std::fs::read_to_string(&log)?.contains("heard"));
    remove(world, &[])
}

fn no_checkpoint(world: &World, option: &str) -> Result<()> {
    create(world, &[], "true")?;
    refused(&world.client.try_run(&["start", option, "x", "cc"])?, option)?;
    ensure!(shown(world, "cc", "{{.State.Status}}")? == "created");
    remove(world, &[])
}

pub(super) fn checkpoint(world: &World) -> Result<()> {
    no_checkpoint(world, "--checkpoint")
}

pub(super) fn checkpoint_dir(world: &World) -> Result<()> {
    no_checkpoint(world, "--checkpoint-dir")
}

pub(super) fn detach_keys(world: &World) -> Result<()> {
    create(world, &["-it"], "echo ready; exec sh")?;
    let mut pty = world.client.terminal(&["start", "-ai", "--detach-keys", "ctrl-a,x", "cc"])?;
    pty.expect("ready", DEADLINE)?;
    pty.send("\x01x")?;
    let (status, _) = pty.finish(DEADLINE)?;
    ensure!(status.success(), "{status}");
    ensure!(shown(world, "cc", "{{.State.Running}}")? == "true");
    world.client.run(&["kill", "cc"])?;
    world.client.run(&["wait", "cc"])?;
    let ran = world.client.try_run(&["start", "-a", "--detach-keys", "no-such-key", "cc"])?;
    ensure!(ran.code == 1 && !ran.stderr.is_empty(), "{ran:?}");
    remove(world, &[])
}

pub(super) fn start_help(world: &World) -> Result<()> {
    helps(world, "start", &["--attach", "--detach-keys", "--interactive"])
}

pub(super) fn interactive(world: &World) -> Result<()> {
    create(world, &["-i"], "cat; echo end")?;
    let ran = world.client.try_run_with_input(&["start", "--interactive", "cc"], b"said\n")?;
    ensure!(ran.code == 0 && ran.stdout == "said\nend\n", "{ran:?}");
    remove(world, &[])?;
    create(world, &[], "cat; echo end")?;
    for options in [&["-a", "-i"][..], &["-a"]] {
        let words = [&["start"], options, &["cc"]].concat();
        let ran = world.client.try_run_with_input(&words, b"said\n")?;
        ensure!(ran.code == 0 && ran.stdout == "end\n", "{ran:?}");
    }
    remove(world, &[])
}

pub(super) fn author(world: &World) -> Result<()> {
    create(world, &[], "true")?;
    world.client.run(&["commit", "--author", "A. Hand <a@example.com>", "cc", "kept"])?;
    ensure!(shown(world, "kept", "{{.Author}}")? == "A. Hand <a@example.com>");
    remove(world, &["kept"])
}

pub(super) fn message(world: &World) -> Result<()> {
    create(world, &[], "true")?;
    world.client.run(&["commit", "--message", "why it is", "cc", "kept"])?;
    ensure!(shown(world, "kept", "{{.Comment}}")? == "why it is");
    let history = world.client.run(&["history", "--format", "{{.Comment}}", "kept"])?;
    ensure!(history.lines().next() == Some("why it is"), "{history}");
    remove(world, &["kept"])
}

pub(super) fn change(world: &World) -> Result<()> {
    create(world, &["-e", "OLD=1"], "true")?;
    let changes = ["--change", "ENV NEW='a b'", "-c", "CMD [\"echo\", \"hello\"]\nUSER user"];
    // An empty one beside others is no instruction, which is fine.
    world.client.run(&[&["commit", "-c", ""], &changes[..], &["cc", "kept"]].concat())?;
    let config: Json = serde_json::from_str(&shown(world, "kept", "{{json .Config}}")?)?;
    let env = config["Env"].to_string();
    ensure!(env.contains("OLD=1") && env.contains("NEW=a b"), "{config}");
    ensure!(config["Cmd"] == serde_json::json!(["echo", "hello"]), "{config}");
    ensure!(config["User"] == "user", "{config}");
    for (change, told) in [
        ("RUN true", "is not a valid change command"),
        ("ENV", "ENV requires at least one argument"),
        ("", "file with no instructions"),
        (" \n# CMD x", "file with no instructions"),
    ] {
        let ran = world.client.try_run(&["commit", "-c", change, "cc", "bad"])?;
        ensure!(ran.code == 1 && ran.stderr.contains(told), "{change:?}: {ran:?}");
    }
    ensure!(world.client.run(&["images", "-q", "bad"])?.is_empty());
    remove(world, &["kept"])
}

pub(super) fn commit_help(world: &World) -> Result<()> {
    helps(world, "commit", &["--author", "--change", "--message", "--pause"])
}

/// Commits a running container; tells whether it was frozen meanwhile.
fn is_frozen(world: &World, options: &[&str]) -> Result<bool> {
    let id = world.client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "600"])?;
    world.client.run(&[&["commit"], options, &["cc", "kept"]].concat())?;
    ensure!(shown(world, "cc", "{{.State.Status}}")? == "running");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let (until, container) = ((now.as_secs() + 1).to_string(), format!("container={}", id.trim()));
    let events = ["events", "--since", "1", "--until", &until, "--filter", &container];
    let told = world.client.run(&[&events[..], &["--format", "{{.Action}}"]].concat())?;
    let told: Vec<&str> = told.lines().collect();
    ensure!(told.contains(&"commit"), "{told:?}");
    remove(world, &["kept"])?;
    Ok(told.windows(2).any(|two| two == ["pause", "unpause"]))
}

pub(super) fn pause(world: &World) -> Result<()> {
    ensure!(is_frozen(world, &[])?, "not frozen by default");
    ensure!(is_frozen(world, &["--pause"])?, "not frozen");
    ensure!(!is_frozen(world, &["--pause=false"])?, "frozen");
    Ok(())
}

pub(super) fn no_pause(world: &World) -> Result<()> {
    if !world.client.run(&["commit", "--help"])?.contains("--no-pause") {
        let ran = world.client.try_run(&["commit", "--no-pause", "cc"])?;
        return refused(&ran, "--no-pause");
    }
    ensure!(!is_frozen(world, &["--no-pause"])?, "frozen");
    Ok(())
}

/// Lists ids, whole, with more options.
fn ids(world: &World, options: &[&str]) -> Result<Vec<String>> {
    let words = [&["images", "-q", "--no-trunc"], options].concat();
    Ok(world.client.run(&words)?.lines().map(str::to_owned).collect())
}

pub(super) fn all(world: &World) -> Result<()> {
    create(world, &[], "true")?;
    let below = world.client.run(&["commit", "cc"])?.trim().to_owned();
    remove(world, &[])?;
    world.client.run(&["create", "--name", "cc", &below])?;
    world.client.run(&["commit", "cc", "above"])?;
    ensure!(!ids(world, &[])?.contains(&below), "it is listed without the option");
    ensure!(ids(world, &["--all"])?.contains(&below), "it is not listed");
    // The one below goes with the last that stands on it.
    remove(world, &["above"])?;
    ensure!(!ids(world, &["--all"])?.contains(&below), "it is left");
    Ok(())
}

pub(super) fn digests(world: &World) -> Result<()> {
    let registry = Registry::start(world.host.scratch())?;
    let name = format!("localhost:{}/box:1", registry.port());
    world.client.run(&["tag", "busybox", &name])?;
    let pushed = world.client.run(&["push", &name])?;
    let digest = pushed.split_whitespace().find(|word| word.starts_with("sha256:"));
    let digest = digest.context("no digest")?.to_owned();
    let listed = world.client.run(&["images", "--digests"])?;
    ensure!(listed.lines().next().is_some_and(|titles| titles.contains("DIGEST")), "{listed}");
    let of_name = listed.lines().find(|line| line.contains("/box")).context("not listed")?;
    ensure!(of_name.contains(&digest), "{digest}: {listed}");
    remove(world, &[&name])
}

pub(super) fn filter(world: &World) -> Result<()> {
    create(world, &[], "true")?;
    let changes = ["-c", "LABEL deck=upper", "-c", "LABEL boat="];
    let labelled =
        world.client.run(&[&["commit"], &changes[..], &["cc", "lib/kept:2"]].concat())?;
    let dangling = world.client.run(&["commit", "-m", "no name", "cc"])?;
    let busybox = ids(world, &["busybox"])?;
    let (labelled, dangling) = (labelled.trim(), dangling.trim());
    let busybox = busybox.first().context("no busybox")?.as_str();
    for (filter, wanted) in [
        ("dangling=true", vec![dangling]),
        ("dangling=false", vec![labelled, busybox]),
        ("label=deck=upper", vec![labelled]),
        ("label=boat", vec![labelled]),
        ("label=deck=lower", vec![]),
        ("reference=lib/*", vec![labelled]),
        ("reference=*:2", vec![]),
        ("before=lib/kept:2", vec![busybox]),
        ("since=busybox", vec![labelled, dangling]),
        ("until=1990-01-01T00:00:00Z", vec![]),
        ("until=2200-01-01T00:00:00Z", vec![labelled, dangling, busybox]),
    ] {
        let mut found = ids(world, &["--filter", filter])?;
        let mut wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        found.sort();
        wanted.sort();
        ensure!(found == wanted, "{filter}: {found:?} instead of {wanted:?}");
    }
    let both = ids(world, &["-f", "dangling=false", "-f", "since=busybox"])?;
    ensure!(both == [labelled], "{both:?}");
    for (filter, told) in
        [("colour=blue", "nvalid filter 'colour"), ("dangling=maybe", "nvalid filter 'dangling=")]
    {
        let ran = world.client.try_run(&["images", "-f", filter])?;
        ensure!(ran.code == 1 && ran.stderr.contains(told), "{filter}: {ran:?}");
    }
    remove(world, &["lib/kept:2", dangling])
}

pub(super) fn format(world: &World) -> Result<()> {
    let listed = |format: &str| world.client.run(&["images", "--format", format]);
    let id = ids(world, &["busybox"])?.concat();
    let short = id.get(7..19).context("an id")?;
    ensure!(listed("{{.Repository}}:{{.Tag}} {{.ID}}")? == format!("busybox:latest {short}\n"));
    let object: Json = serde_json::from_str(&listed("json")?)?;
    ensure!(object["Repository"] == "busybox" && object["ID"] == short, "{object}");
    let table = listed("table {{.Repository}}\t{{.Tag}}")?;
    ensure!(table == "REPOSITORY   TAG\nbusybox      latest\n", "{table:?}");
    let ran = world.client.try_run(&["images", "--format", "{{.Nothing"])?;
    ensure!(ran.code != 0 && ran.stderr.to_lowercase().contains("template"), "{ran:?}");
    Ok(())
}

pub(super) fn images_help(world: &World) -> Result<()> {
    helps(world, "images", &["--all", "--digests", "--filter", "--format", "--no-trunc", "--quiet"])
}

pub(super) fn no_trunc(world: &World) -> Result<()> {
    for (options, length) in [(&["--no-trunc"][..], 71), (&[], 12)] {
        let format = ["--format", "{{.ID}}"];
        let listed = world.client.run(&[&["images"], options, &format].concat())?;
        ensure!(listed.lines().count() == 1 && listed.trim().len() == length, "{listed}");
    }
    Ok(())
}

pub(super) fn quiet(world: &World) -> Result<()> {
    world.client.run(&["tag", "busybox", "other:1"])?;
    let id = ids(world, &["busybox"])?.concat();
    let short = id.get(7..19).context("an id")?;
    ensure!(world.client.run(&["images", "--quiet"])? == format!("{short}\n{short}\n"));
    remove(world, &["other:1"])
}

pub(super) fn tree(world: &World) -> Result<()> {
    let ran = world.client.try_run(&["images", "--tree"])?;
    if ran.code != 0 {
        return refused(&ran, "--tree");
    }
    ensure!(ran.stdout.contains("busybox:latest"), "{ran:?}");
    Ok(())
}
