//! Images: commit, tag, remove, save, load, a real registry.

use anyhow::{Result, ensure};
use e2e::Registry;

use crate::{World, with};

both_clients!(
    commit_in_all_its_options,
    tags_and_removal,
    listing_options,
    save_and_load_keep_ids,
    history_tells_the_layers,
    push_and_pull_through_a_registry,
    df_counts,
);

fn commit_in_all_its_options(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "--name",
        "cc",
        "-e",
        "KEPT=1",
        "busybox",
        "sh",
        "-c",
        "echo x > /x",
    ])?;
    let id = world.client.run(&[
        "commit",
        "-a",
        "Someone",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/x\"]",
        "-c",
        "ENV ADDED=\"two words\"",
        "-c",
        "LABEL a=b",
        "-c",
        "WORKDIR /tmp",
        "-c",
        "EXPOSE 80",
        "-c",
        "USER user",
        "cc",
        "made:v1",
    ])?;
    let image = world.client.run(&["image", "inspect", "made:v1"])?;
    let image: serde_json::Value = serde_json::from_str(&image)?;
    let image = &image[0];
    ensure!(image["Id"] == id.trim(), "{image}");
    ensure!(image["Author"] == "Someone" && image["Comment"] == "why", "{image}");
    ensure!(image["Config"]["Cmd"] == serde_json::json!(["cat", "/x"]), "{image}");
    ensure!(image["Config"]["Labels"]["a"] == "b" && image["Config"]["User"] == "user", "{image}");
    ensure!(world.client.run(&["run", "--rm", "made:v1"])? == "x\n");
    let env =
        world.client.run(&["run", "--rm", "made:v1", "sh", "-c", "echo $KEPT $ADDED $PWD"])?;
    ensure!(env == "1 two words /tmp\n", "{env:?}");
    let bad = world.client.try_run(&["commit", "-c", "RUN ls", "cc"])?;
    ensure!(bad.code == 1 && bad.stderr.contains("is not a valid change command"), "{bad:?}");
    Ok(())
}

fn tags_and_removal(world: &World) -> Result<()> {
    world.client.run(&["tag", "busybox", "other/name:1"])?;
    let id = world.client.run(&["images", "-q", "--no-trunc", "busybox"])?;
    let refused = world.client.try_run(&["rmi", id.trim()])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("referenced in multiple repositories"),
        "{refused:?}"
    );
    ensure!(world.client.run(&["rmi", "other/name:1"])? == "Untagged: other/name:1\n");
    world.client.run(&["create", "--name", "cc", "busybox"])?;
    let refused = world.client.try_run(&["rmi", "busybox"])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("is using its referenced image"),
        "{refused:?}"
    );
    world.client.run(&["rm", "cc"])?;
    let removed = world.client.run(&["rmi", "busybox"])?;
    ensure!(
        removed.contains("Untagged: busybox:latest") && removed.contains("Deleted: sha256:"),
        "{removed}"
    );
    ensure!(world.client.run(&["images", "-q"])?.is_empty());
    let layers = world.host.data_root().join("layers");
    ensure!(std::fs::read_dir(&layers)?.next().is_none(), "{layers:?} is not empty");
    Ok(())
}

fn listing_options(world: &World) -> Result<()> {
    let table = world.client.run(&["images"])?;
    let mut lines = table.lines();
    ensure!(
        lines.next().is_some_and(|l| l.split_whitespace().eq([
            "REPOSITORY",
            "TAG",
            "IMAGE",
            "ID",
            "CREATED",
            "SIZE"
        ])),
        "{table}"
    );
    ensure!(lines.next().is_some_and(|l| l.starts_with("busybox      latest ")), "{table}");
    world.client.run(&["tag", "busybox", "lib/box:2"])?;
    for (filter, count) in [("reference=lib/*", 1), ("dangling=true", 0), ("since=busybox", 0)] {
        let found = world.client.run(&["images", "-q", "--filter", filter])?;
        ensure!(found.lines().count() == count, "{filter}: {found:?}");
    }
    let ids = world.client.run(&["images", "-q", "--no-trunc"])?;
    ensure!(ids.lines().all(|id| id.len() == 71), "{ids:?}");
    ensure!(world.client.run(&["images", "--digests"])?.contains("DIGEST"));
    Ok(())
}

fn save_and_load_keep_ids(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "--name",
        "cc",
        "busybox",
        "sh",
        "-c",
        "echo x > /x; rm /etc/group",
    ])?;
    let id = world.client.run(&["commit", "cc", "made:v1"])?;
    world.client.run(&["rm", "cc"])?;
    let tar = world.host.scratch().join("images.tar").display().to_string();
    world.client.run(&["save", "-o", &tar, "made:v1", "busybox"])?;
    world.client.run(&["rmi", "made:v1", "busybox"])?;
    let loaded = world.client.run(&["load", "-i", &tar])?;
    ensure!(
        loaded.contains("Loaded image: made:v1") && loaded.contains("Loaded image: busybox:latest"),
        "{loaded}"
    );
    ensure!(world.client.run(&["images", "-q", "--no-trunc", "made:v1"])? == id);
    let ran = world.client.run(&[
        "run",
        "--rm",
        "made:v1",
        "sh",
        "-c",
        "cat /x; ls /etc/group 2>&1; true",
    ])?;
    ensure!(ran.starts_with("x\nls: "), "{ran:?}");
    Ok(())
}

fn history_tells_the_layers(world: &World) -> Result<()> {
    world.client.run(&["run", "--name", "cc", "busybox", "touch", "/x"])?;
    world.client.run(&["commit", "-m", "a touch", "cc", "made:v1"])?;
    let told =
        world.client.run(&["history", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:v1"])?;
    ensure!(told.lines().next() == Some("touch /x|a touch"), "{told:?}");
    ensure!(told.lines().count() == 2, "{told:?}");
    Ok(())
}

fn push_and_pull_through_a_registry(world: &World) -> Result<()> {
    let registry = Registry::start(world.host.scratch())?;
    let name = format!("127.0.0.1:{}/team/box:1", registry.port());
    world.client.run(&["tag", "busybox", &name])?;
    let pushed = world.client.run(&["push", &name])?;
    ensure!(pushed.contains("digest: sha256:"), "{pushed}");
    let id = world.client.run(&["images", "-q", "--no-trunc", "busybox"])?;
    world.client.run(&["rmi", "busybox", &name])?;
    let pulled = world.client.run(&["pull", &name])?;
    ensure!(pulled.contains(&format!("Status: Downloaded newer image for {name}")), "{pulled}");
    ensure!(world.client.run(&["images", "-q", "--no-trunc", &name])? == id, "the id changed");
    let again = world.client.run(&["pull", &name])?;
    ensure!(again.contains("Image is up to date"), "{again}");
    ensure!(world.client.run(&["run", "--rm", &name, "echo", "pulled"])? == "pulled\n");
    let missing =
        world.client.try_run(&["pull", &format!("127.0.0.1:{}/no/such", registry.port())])?;
    ensure!(missing.code == 1 && missing.stderr.contains("not found"), "{missing:?}");
    // All tags of a repository, there and back.
    let repository = name.trim_end_matches(":1");
    let second = format!("{repository}:2");
    world.client.run(&["tag", &name, &second])?;
    world.client.run(&["push", "-a", repository])?;
    world.client.run(&["rmi", &name, &second])?;
    world.client.run(&["pull", "-a", repository])?;
    let tags = world.client.run(&["images", "--format", "{{.Tag}}", repository])?;
    let tags: std::collections::BTreeSet<&str> = tags.lines().collect();
    ensure!(tags == ["1", "2"].into(), "{tags:?}");
    Ok(())
}

fn df_counts(world: &World) -> Result<()> {
    let fill = "head -c 3000000 /dev/zero > /own; head -c 2000000 /dev/zero > /v/vol; sleep 600";
    world.client.run(&["run", "-d", "--name", "cc", "-v", "vv:/v", "busybox", "sh", "-c", fill])?;
    e2e::eventually("the files are written", || {
        world.client.run(&["exec", "cc", "sh", "-c", "[ $(wc -c < /v/vol) = 2000000 ]"])
    })?;
    let df =
        world.client.run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"])?;
    ensure!(
        df.contains("Images 1 1")
            && df.contains("Containers 1 1")
            && df.contains("Local Volumes 1 1"),
        "{df}"
    );
    let verbose = world.client.run(&["system", "df", "-v"])?;
    let has = |size: &str, name: &str| {
        verbose.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.contains(&size) && words.contains(&name)
        })
    };
    ensure!(has("3MB", "cc") && has("2MB", "vv"), "{verbose}");
    let get = |path: &str| -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&e2e::http::get_unix(&world.host.socket(), path)?)?)
    };
    let all = get("/v1.51/system/df")?;
    let (image, container, volume) = (&all["Images"][0], &all["Containers"][0], &all["Volumes"][0]);
    ensure!(image["Containers"] == 1 && image["Size"] == all["LayersSize"], "{image}");
    ensure!(image["SharedSize"] == 0, "{image}");
    ensure!(container["SizeRw"] == 3_000_000, "{container}");
    let size = image["Size"].as_i64().unwrap_or_default() + 3_000_000;
    ensure!(container["SizeRootFs"] == size, "{container} beside {image}");
    let usage = serde_json::json!({"RefCount": 1, "Size": 2_000_000});
    ensure!(volume["Name"] == "vv" && volume["UsageData"] == usage, "{volume}");
    ensure!(all["BuildCache"].is_array(), "{all}");
    // What was not asked for is there, and empty.
    let volumes = get("/v1.51/system/df?type=volume")?;
    ensure!(volumes["Volumes"] == all["Volumes"], "{volumes}");
    for name in ["Images", "Containers", "BuildCache"] {
        ensure!(volumes.get(name).is_some_and(serde_json::Value::is_null), "{name}: {volumes}");
    }
    ensure!(volumes["LayersSize"] == 0, "{volumes}");
    Ok(())
}
