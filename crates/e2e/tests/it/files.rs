//! Volumes, binds, cp, diff, export.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};

use crate::{World, with};

both_clients!(
    named_volumes_outlive_containers,
    anonymous_volumes_go_with_rm_v,
    empty_volume_takes_the_images_content,
    binds_read_only_and_writable,
    mount_syntax_and_its_errors,
    copy_in_and_out,
    copy_stays_inside_the_root,
    diff_shows_what_changed,
    export_and_import_round_trip,
    volume_commands,
);

fn named_volumes_outlive_containers(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "--rm",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo kept > /data/file",
    ])?;
    let read = world.client.run(&[
        "run",
        "--rm",
        "-v",
        "data:/other:ro",
        "busybox",
        "cat",
        "/other/file",
    ])?;
    ensure!(read == "kept\n", "{read:?}");
    let refused =
        world.client.try_run(&["run", "--rm", "-v", "data:/d:ro", "busybox", "touch", "/d/x"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("Read-only"), "{refused:?}");
    Ok(())
}

fn anonymous_volumes_go_with_rm_v(world: &World) -> Result<()> {
    world.client.run(&["create", "--name", "cc", "-v", "/data", "busybox"])?;
    ensure!(world.client.run(&["volume", "ls", "-q"])?.trim().len() == 64);
    world.client.run(&["rm", "-v", "cc"])?;
    ensure!(world.client.run(&["volume", "ls", "-q"])?.is_empty());
    world.client.run(&["run", "--rm", "-v", "/data", "busybox", "true"])?;
    ensure!(world.client.run(&["volume", "ls", "-q"])?.is_empty(), "--rm left its volume");
    Ok(())
}

fn empty_volume_takes_the_images_content(world: &World) -> Result<()> {
    let ran =
        world.client.run(&["run", "--rm", "-v", "etc:/etc", "busybox", "cat", "/etc/passwd"])?;
    ensure!(ran.contains("root:x:0:0"), "{ran:?}");
    let ran = world.client.try_run(&[
        "run",
        "--rm",
        "-v",
        "empty:/etc:nocopy",
        "busybox",
        "cat",
        "/etc/passwd",
    ])?;
    ensure!(ran.code == 1, "{ran:?}");
    Ok(())
}

fn binds_read_only_and_writable(world: &World) -> Result<()> {
    let dir = world.host.scratch().join("bind");
    let bind = format!("{}:/b", dir.display());
    world.client.run(&[
        "run",
        "--rm",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        "echo made > /b/file",
    ])?;
    ensure!(std::fs::read_to_string(dir.join("file"))? == "made\n");
    let ran = world.client.try_run(&[
        "run",
        "--rm",
        "-v",
        &format!("{bind}:ro"),
        "busybox",
        "touch",
        "/b/x",
    ])?;
    ensure!(ran.code == 1 && ran.stderr.contains("Read-only"), "{ran:?}");
    let file = format!("{}:/etc/one", dir.join("file").display());
    ensure!(
        world.client.run(&["run", "--rm", "-v", &file, "busybox", "cat", "/etc/one"])? == "made\n"
    );
    Ok(())
}

fn mount_syntax_and_its_errors(world: &World) -> Result<()> {
    let ran = world.client.run(&[
        "run",
        "--rm",
        "--mount",
        "type=tmpfs,dst=/t,tmpfs-size=1m",
        "--mount",
        "type=volume,src=vv,dst=/v",
        "busybox",
        "sh",
        "-c",
        "df -k /t | tail -1 | awk '{print $2}'; touch /v/x && echo ok",
    ])?;
    ensure!(ran == "1024\nok\n", "{ran:?}");
    for (args, text) in [
        (
            &["run", "--mount", "type=bind,src=/no/such/dir,dst=/d", "busybox"][..],
            "bind source path does not exist: /no/such/dir",
        ),
        (&["run", "-v", "/a:/d", "-v", "/b:/d", "busybox"], "Duplicate mount point: /d"),
        (&["run", "-v", "relative:path", "busybox"], "invalid"),
        (&["run", "-v", "bad/name:/d", "busybox"], "invalid"),
        (&["run", "--mount", "type=nosuch,dst=/d", "busybox"], "type"),
    ] {
        let ran = world.client.try_run(args)?;
        ensure!(ran.code == 125 && ran.stderr.contains(text), "{args:?}: {ran:?}");
    }
    Ok(())
}

fn copy_in_and_out(world: &World) -> Result<()> {
    let scratch = world.host.scratch();
    std::fs::create_dir_all(scratch.join("tree/sub"))?;
    std::fs::write(scratch.join("tree/sub/file"), "deep")?;
    let tree = scratch.join("tree").display().to_string();
    for running in [false, true] {
        let name = if running { "up" } else { "down" };
        world.client.run(&["create", "--name", name, "busybox", "sleep", "600"])?;
        if running {
            world.client.run(&["start", name])?;
        }
        world.client.run(&["cp", &tree, &format!("{name}:/tmp")])?;
        let back = scratch.join(format!("back-{name}"));
        world.client.run(&["cp", &format!("{name}:/tmp/tree/sub"), &back.display().to_string()])?;
        ensure!(std::fs::read_to_string(back.join("file"))? == "deep");
        let tar = world.client.try_run(&["cp", &format!("{name}:/etc/passwd"), "-"])?;
        ensure!(tar.stdout.contains("root:x:0:0"), "{}", tar.stderr);
        let missing = world.client.try_run(&["cp", &format!("{name}:/nosuch"), "-"])?;
        ensure!(
            missing.code == 1
                && missing.stderr.contains("Could not find the file /nosuch in container"),
            "{missing:?}"
        );
    }
    ensure!(world.client.run(&["exec", "up", "cat", "/tmp/tree/sub/file"])? == "deep");
    Ok(())
}

fn copy_stays_inside_the_root(world: &World) -> Result<()> {
    let outside = world.host.scratch().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(world.host.scratch().join("file"), "payload")?;
    let link =
        format!("ln -s {} /escape; ln -s /../../../../../../etc /up; sleep 600", outside.display());
    world.client.run(&["run", "-d", "--name", "cc", "busybox", "sh", "-c", &link])?;
    e2e::eventually("the links are made", || world.client.run(&["exec", "cc", "readlink", "/up"]))?;
    let file = world.host.scratch().join("file").display().to_string();
    // The link dangles inside the container, so there is nowhere to copy to.
    let ran = world.client.try_run(&["cp", &file, "cc:/escape/file"])?;
    ensure!(ran.code == 1, "{ran:?}");
    ensure!(std::fs::read_dir(&outside)?.next().is_none(), "cp left the container");
    world.client.run(&["cp", &file, "cc:/up/copied"])?;
    ensure!(world.client.run(&["exec", "cc", "cat", "/etc/copied"])? == "payload");
    ensure!(!std::path::Path::new("/etc/copied").exists());
    Ok(())
}

fn diff_shows_what_changed(world: &World) -> Result<()> {
    world.client.run(&[
        "run",
        "--name",
        "cc",
        "busybox",
        "sh",
        "-c",
        "echo x >> /etc/passwd; rm /etc/group; mkdir /new; touch /new/file",
    ])?;
    let diff = world.client.run(&["diff", "cc"])?;
    let lines: Vec<&str> = diff.lines().collect();
    for line in ["C /etc", "C /etc/passwd", "D /etc/group", "A /new", "A /new/file"] {
        ensure!(lines.contains(&line), "{line} is missing: {lines:?}");
    }
    ensure!(lines.len() == 5, "{lines:?}");
    Ok(())
}

fn export_and_import_round_trip(world: &World) -> Result<()> {
    world.client.run(&["run", "--name", "cc", "busybox", "sh", "-c", "echo marked > /mark"])?;
    let tar = world.host.scratch().join("c.tar").display().to_string();
    world.client.run(&["export", "-o", &tar, "cc"])?;
    let id = world.client.run(&[
        "import",
        "-c",
        "CMD [\"cat\", \"/mark\"]",
        "-m",
        "from export",
        &tar,
        "copy:one",
    ])?;
    ensure!(id.starts_with("sha256:"), "{id:?}");
    ensure!(world.client.run(&["run", "--rm", "copy:one"])? == "marked\n");
    Ok(())
}

fn volume_commands(world: &World) -> Result<()> {
    ensure!(world.client.run(&["volume", "create", "--label", "a=b", "vv"])? == "vv\n");
    let point = world.client.run(&[
        "volume",
        "inspect",
        "-f",
        "{{.Mountpoint}} {{.Driver}} {{.Labels.a}}",
        "vv",
    ])?;
    let (path, rest) = point.trim().split_once(' ').context("three fields")?;
    ensure!(rest == "local b" && std::fs::metadata(path)?.mode() & 0o777 == 0o755, "{point:?}");
    world.client.run(&["create", "--name", "cc", "-v", "vv:/v", "busybox"])?;
    let used = world.client.try_run(&["volume", "rm", "vv"])?;
    ensure!(used.code == 1 && used.stderr.contains("volume is in use"), "{used:?}");
    world.client.run(&["rm", "cc"])?;
    ensure!(world.client.run(&["volume", "ls", "-q", "-f", "dangling=true"])? == "vv\n");
    world.client.run(&["volume", "rm", "vv"])?;
    let gone = world.client.try_run(&["volume", "rm", "vv"])?;
    ensure!(gone.code == 1 && gone.stderr.contains("no such volume"), "{gone:?}");
    Ok(())
}
