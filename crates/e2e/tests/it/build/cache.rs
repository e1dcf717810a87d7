//! What builds leave for the next ones: how it is shown, and how it goes.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Files, World, built, in_image, with};

both_clients!(the_cache_is_shown_and_pruned);

fn disk_usage(world: &World, kind: &str) -> Result<Value> {
    let path = format!("/system/df?type={kind}");
    Ok(serde_json::from_str(&e2e::http::get_unix(&world.host.socket(), &path)?)?)
}

fn the_cache_is_shown_and_pruned(world: &World) -> Result<()> {
    let dockerfile = "FROM busybox\n\
        RUN --mount=type=cache,target=/c,id=k head -c 100000 /dev/zero > /c/n\n\
        RUN head -c 300000 /dev/zero > /kept\n";
    let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
    built(world, &files, &["-t", "kept"])?;
    files.write("Dockerfile", "FROM busybox\nRUN head -c 200000 /dev/zero > /gone\n")?;
    built(world, &files, &["-t", "gone"])?;
    world.client.run(&["rmi", "gone"])?;
    let usage = disk_usage(world, "build-cache")?;
    ensure!(usage["Images"].is_null(), "{usage}");
    let rows = usage["BuildCache"].as_array().cloned().unwrap_or_default();
    let row = |text: &str| {
        rows.iter()
            .find(|row| row["Description"].as_str().is_some_and(|d| d.contains(text)))
            .cloned()
    };
    let (kept, gone, mount) = (row("/kept"), row("/gone"), row("cached mount"));
    let (Some(kept), Some(gone), Some(mount)) = (kept, gone, mount) else {
        anyhow::bail!("{usage}");
    };
    ensure!(kept["Shared"] == true && gone["Shared"] == false, "{usage}");
    ensure!(mount["Type"] == "exec.cachemount" && gone["Type"] == "regular", "{usage}");
    ensure!(gone["Size"].as_i64() >= Some(200_000), "{usage}");
    ensure!(gone["UsageCount"] == 0 && gone["LastUsedAt"].is_string(), "{usage}");
    let df = world.client.run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])?;
    ensure!(df.contains("Build Cache 3"), "{df}");
    ensure!(disk_usage(world, "image")?["BuildCache"].is_null());

    // Nothing is so old, and nothing of that kind is there.
    for filter in ["until=1h", "type=source.local"] {
        let pruned = world.client.run(&["builder", "prune", "-f", "--filter", filter])?;
        ensure!(
            pruned.contains("Total reclaimed space: 0B") || pruned.contains("Total:"),
            "{pruned}"
        );
    }
    let pruned = world.client.run(&["builder", "prune", "-f"])?;
    ensure!(pruned.contains(gone["ID"].as_str().unwrap_or("?")), "{pruned}");
    let left = disk_usage(world, "build-cache")?;
    ensure!(left["BuildCache"].as_array().map(Vec::len) == Some(1), "{left}");
    world.client.run(&["builder", "prune", "-af"])?;
    let left = disk_usage(world, "build-cache")?;
    ensure!(left["BuildCache"].as_array().is_some_and(Vec::is_empty), "{left}");
    if world.client.run(&["--version"])?.starts_with("Teu") {
        files.write("Dockerfile", "FROM busybox\nRUN echo again > /again\n")?;
        built(world, &files, &[])?;
        let pruned = world.client.run(&["system", "prune", "-f"])?;
        for title in ["Deleted Images:", "Deleted build cache objects:"] {
            ensure!(pruned.contains(title), "{pruned}");
        }
    }
    // What images have stays.
    ensure!(in_image(world, "kept", "wc -c < /kept")? == "300000\n");
    Ok(())
}

#[test]
fn steps_go_out_and_come_back() -> Result<()> {
    with(e2e::Program::Teu, |world| {
        let dockerfile = "FROM busybox AS one\nRUN --mount=type=tmpfs,target=/t cat \
            /proc/sys/kernel/random/uuid > /u\nFROM busybox\nCOPY --from=one /u /v\nENV A=1\n\
            RUN cat /proc/sys/kernel/random/uuid > /w\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
        let cache = world.host.scratch().join("cache");
        let to = format!("type=local,dest={},mode=max", cache.display());
        let from = format!("type=local,src={}", cache.display());
        let forget = || {
            world.client.run(&["rmi", "a"])?;
            world.client.run(&["builder", "prune", "-af"])
        };
        built(world, &files, &["-t", "a", "--cache-to", &to])?;
        let first = in_image(world, "a", "cat /v /w")?;
        let id = world.client.run(&["images", "-q", "--no-trunc", "a"])?;
        forget()?;
        let told = built(world, &files, &["-t", "a", "--cache-from", &from])?;
        ensure!(in_image(world, "a", "cat /v /w")? == first, "{told}");
        ensure!(world.client.run(&["images", "-q", "--no-trunc", "a"])? == id, "the id changed");
        // A second build adds to the directory; layers are not sent again.
        let layers = || -> Result<Vec<_>> {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(cache.join("layers"))? {
                let entry = entry?;
                found.push((entry.file_name(), entry.metadata()?.modified()?));
            }
            found.sort();
            Ok(found)
        };
        let before = layers()?;
        files.write("Dockerfile", &format!("{dockerfile}RUN echo more > /more\n"))?;
        built(world, &files, &["-t", "a", "--cache-to", &to])?;
        let after = layers()?;
        ensure!(after.len() == before.len() + 1, "{after:?}");
        ensure!(before.iter().all(|layer| after.contains(layer)), "{before:?} {after:?}");
        // What is not what it says is refused.
        forget()?;
        for (name, _) in &after {
            std::fs::write(cache.join("layers").join(name), [0; 1024])?;
        }
        let ran = super::build(world, &files, &["--cache-from", &from])?;
        ensure!(ran.code != 0 && ran.stderr.contains("the digest of its content is"), "{ran:?}");
        // None there is no reason to stop.
        let told = built(world, &files, &["-t", "a", "--cache-from", "type=local,src=/none"])?;
        ensure!(told.contains("no build cache is there"), "{told}");
        super::nothing_is_left(world)
    })
}

#[test]
fn a_registry_keeps_steps() -> Result<()> {
    with(e2e::Program::Teu, |world| {
        let registry = e2e::Registry::start(world.host.scratch())?;
        let name = format!("127.0.0.1:{}/cache:1", registry.port());
        let dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /u\nENV A=1\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile)])?;
        let location = format!("type=registry,ref={name}");
        built(world, &files, &["-t", "a", "--cache-to", &location])?;
        let first = in_image(world, "a", "cat /u")?;
        ensure!(world.client.run(&["images", "-q", &name])?.is_empty(), "the name stays");
        world.client.run(&["rmi", "a"])?;
        world.client.run(&["builder", "prune", "-af"])?;
        built(world, &files, &["-t", "a", "--cache-from", &location])?;
        ensure!(in_image(world, "a", "cat /u")? == first, "the step was done again");
        let location = format!("type=registry,ref=127.0.0.1:{}/none", registry.port());
        let told = built(world, &files, &["-t", "a", "--cache-from", &location])?;
        ensure!(told.contains("cache-from"), "{told}");
        Ok(())
    })
}

#[test]
fn steps_are_found_again_by_what_went_into_them() -> Result<()> {
    with(e2e::Program::Teu, |world| {
        let registry = e2e::Registry::start(world.host.scratch())?;
        let dockerfile = "FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /u\n\
            FROM busybox\nCOPY a /a\n\
            RUN --mount=type=tmpfs,target=/t cat /proc/sys/kernel/random/uuid > /w\n\
            COPY --from=one /u /v\n";
        let files = Files::new(world, "ctx", &[("Dockerfile", dockerfile), ("a", "1")])?;
        let id = || world.client.run(&["images", "-q", "--no-trunc", "a"]);
        for (kind, to) in [("max", ",mode=max"), ("min", ""), ("inline", "")] {
            let name = format!("127.0.0.1:{}/{kind}:1", registry.port());
            let from = format!("type=registry,ref={name}");
            let inline = ["-t", &name, "--cache-to", "type=inline"];
            let location = format!("{from}{to}");
            let pushed = ["--cache-to", &location];
            let args = if kind == "inline" { &inline[..] } else { &pushed[..] };
            let told = built(world, &files, &[&["-t", "a", "--no-cache"], args].concat())?;
            if kind == "inline" {
                world.client.run(&["push", &name])?;
                world.client.run(&["rmi", &name])?;
            }
            let (first, made) = (in_image(world, "a", "cat /a /v /w")?, id()?);
            world.client.run(&["rmi", "a"])?;
            world.client.run(&["builder", "prune", "-af"])?;
            let told = told + &built(world, &files, &["-t", "a", "--cache-from", &from])?;
            // The other stage is done again without its steps; what was copied from it stays.
            ensure!(in_image(world, "a", "cat /a /v /w")? == first, "{kind}: {told}");
            let same = id()? == made;
            // It tells of its steps no longer.
            ensure!(same == (kind != "inline"), "{kind}: {told}");
            let names = world.client.run(&["images", "--format", "{{.Repository}}"])?;
            ensure!(!names.contains(kind) && !names.contains("none"), "{kind}: {names}");
            files.write("a", kind)?;
            built(world, &files, &["-t", "a", "--cache-from", &from])?;
            ensure!(in_image(world, "a", "cat /a /v /w")? != first, "{kind}: another file");
            files.write("a", "1")?;
            world.client.run(&["rmi", "a"])?;
            world.client.run(&["image", "prune", "-f"])?;
            world.client.run(&["builder", "prune", "-af"])?;
        }
        super::nothing_is_left(world)
    })
}

#[test]
fn what_is_too_much_goes_by_itself() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("daemon.json");
    std::fs::write(&config, r#"{"builder": {"gc": {"defaultKeepStorage": "100kB"}}}"#)?;
    let flags = vec!["--config-file".to_owned(), config.display().to_string()];
    let host = e2e::Host::start_with(e2e::HostOptions { flags, ..Default::default() })?;
    host.load_busybox()?;
    let world = World { client: host.client(e2e::Program::Teu), host };
    let dockerfile = "FROM busybox\nRUN head -c 300000 /dev/zero > /big\n";
    let files = Files::new(&world, "ctx", &[("Dockerfile", dockerfile)])?;
    built(&world, &files, &["-t", "b"])?;
    e2e::eventually("the cache is within its bounds", || {
        let usage = disk_usage(&world, "build-cache")?;
        ensure!(usage["BuildCache"].as_array().is_some_and(Vec::is_empty), "{usage}");
        Ok(())
    })?;
    ensure!(in_image(&world, "b", "wc -c < /big")? == "300000\n");
    Ok(())
}
