//! `teu network doctor`: a host in order, and one thing after the other broken.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Program, eventually};

use crate::{World, with};

#[test]
fn the_doctor_names_what_is_broken() -> Result<()> {
    with(Program::Teu, broken_things_are_named)
}

fn examine(world: &World, name: &str) -> Result<(i32, String)> {
    let ran = world.client.try_run(&["network", "doctor", name])?;
    Ok((ran.code, format!("{}{}", ran.stdout, ran.stderr)))
}

fn broken_things_are_named(world: &World) -> Result<()> {
    let client = &world.client;
    client.run(&["network", "create", "clinic"])?;
    let server = "httpd -f -p 80 -h /";
    client.run(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "clinic",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sh",
        "-c",
        server,
    ])?;
    // Name servers of this machine may well be out of reach; all else is in order.
    let said = eventually("the server listens", || {
        let (_, said) = examine(world, "web")?;
        ensure!(said.contains("somebody in it listens on 80/tcp"), "{said}");
        Ok(said)
    })?;
    for text in ["network clinic", "names of neighbours resolve at 127.0.0.11", "its way out is"] {
        ensure!(said.contains(text), "{said}");
    }
    let problems = said.lines().filter(|line| line.contains("PROBLEM"));
    ensure!(problems.clone().all(|line| line.contains("name server")), "{said}");

    let pid = client.run(&["inspect", "-f", "{{.State.Pid}}", "web"])?;
    let inside = |args: &[&str]| -> Result<()> {
        let status = Command::new("nsenter").args(["-t", pid.trim(), "-n"]).args(args).status()?;
        ensure!(status.success(), "{args:?}");
        Ok(())
    };
    inside(&["ip", "route", "del", "default"])?;
    let (code, said) = examine(world, "clinic")?;
    ensure!(code == 1 && said.contains("its default route is missing"), "{said}");
    // What it says to do helps.
    let remedy = said.lines().find_map(|line| line.trim().strip_prefix("-> nsenter"));
    let remedy = format!("nsenter{}", remedy.context("a remedy")?);
    ensure!(Command::new("sh").args(["-c", &remedy]).status()?.success(), "{remedy}");
    let (_, said) = examine(world, "web")?;
    ensure!(said.contains("its way out is"), "{said}");

    client.run(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "--dns",
        "127.0.0.9",
        "--network",
        "clinic",
        "-p",
        "127.0.0.1::81",
        "busybox",
        "sleep",
        "600",
    ])?;
    let (code, said) = examine(world, "deaf")?;
    ensure!(code == 1, "{said}");
    for text in ["nobody in it listens on 81/tcp", "name server 127.0.0.9 does not answer"] {
        ensure!(said.contains(text), "{said}");
    }
    client.run(&["stop", "-t", "0", "deaf"])?;
    let (code, said) = examine(world, "deaf")?;
    ensure!(said.contains("does not run (it is exited)") && code == 0, "{said}");
    let (code, said) = examine(world, "nobody")?;
    ensure!(code == 1 && said.contains("No such container or network: nobody"), "{said}");
    Ok(())
}
