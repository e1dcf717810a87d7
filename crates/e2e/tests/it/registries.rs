//! What comes from other machines beside pulled layers: downloads, search, credentials of helpers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use e2e::{Host, HostOptions, Program, Ran, Registry, Web};

use crate::security::archive::Archive;
use crate::security::{noise, stored};
use crate::{World, with};

both_clients!(
    import_downloads_an_address,
    search_asks_the_registry_that_the_term_names,
    helpers_keep_the_credentials,
);

fn import_downloads_an_address(world: &World) -> Result<()> {
    let tar = Archive::default().file("greeting", b"ahoy\n").end();
    let web = Web::start(vec![
        ("/layer.tar", "200 OK", tar),
        ("/rubbish", "200 OK", b"this is no archive at all".to_vec()),
    ])?;
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", web.port());
    let told = world.client.run(&["import", "-m", "from afar", &at("/layer.tar"), "web:1"])?;
    ensure!(told.contains(&format!("Downloading from {}", at("/layer.tar"))), "{told}");
    ensure!(told.contains("sha256:"), "{told}");
    let out = world.host.scratch().join("out");
    world.client.run(&["create", "--name", "cc", "web:1", "/none"])?;
    world.client.run(&["cp", "cc:/greeting", &out.display().to_string()])?;
    ensure!(std::fs::read_to_string(&out)? == "ahoy\n");
    let comment = world.client.run(&["history", "--format", "{{.Comment}}", "web:1"])?;
    ensure!(comment.contains("from afar"), "{comment}");
    for (url, why) in [
        (at("/nothing"), "404 Not Found"),
        (at("/rubbish"), "archive"),
        ("http://127.0.0.1:1/x".to_owned(), "refused"),
    ] {
        let ran = world.client.try_run(&["import", &url, "bad:1"])?;
        ensure!(ran.code == 1 && ran.stderr.contains(why), "{url}: {ran:?}");
    }
    ensure!(world.client.run(&["images", "-q", "bad"])?.is_empty());
    Ok(())
}

fn search_asks_the_registry_that_the_term_names(world: &World) -> Result<()> {
    let reply = br#"{"num_results": 2, "query": "box", "results": [
        {"name": "box", "description": "a box", "star_count": 12, "is_official": true},
        {"name": "me/box", "description": "mine", "star_count": 1, "is_official": false}]}"#;
    let web = Web::start(vec![
        ("/v2/", "200 OK", b"{}".to_vec()),
        ("/v1/_ping", "200 OK", b"{}".to_vec()),
        ("/v1/search?q=box&n=25", "200 OK", reply.to_vec()),
    ])?;
    let term = format!("127.0.0.1:{}/box", web.port());
    let found = world.client.run(&["search", "--format", "{{.Name}} {{.StarCount}}", &term])?;
    ensure!(found == "box 12\nme/box 1\n", "{found:?}");
    let args = ["search", "-f", "stars=3", "--format", "{{.Name}}", &term];
    ensure!(world.client.run(&args)? == "box\n");
    let args = ["search", "-f", "is-official=false", "--format", "{{.Name}}", &term];
    ensure!(world.client.run(&args)? == "me/box\n");
    let ran = world.client.try_run(&["search", "--limit", "101", &term])?;
    ensure!(ran.code == 1 && ran.stderr.contains("outside the range of [1, 100]"), "{ran:?}");
    let ran = world.client.try_run(&["search", &format!("127.0.0.1:{}/other", web.port())])?;
    ensure!(ran.code == 1 && ran.stderr.contains("404"), "{ran:?}");
    let ran = world.client.try_run(&["search", "http://127.0.0.1/box"])?;
    ensure!(ran.code == 1 && ran.stderr.contains("must not include a scheme"), "{ran:?}");
    Ok(())
}

/// A credential helper that keeps one secret in a file, as the protocol of those programs has it.
const HELPER: &str = r#"#!/bin/sh
dir=$(dirname "$0")
echo "$1" >>"$dir/asked"
case $1 in
get) read server; [ -f "$dir/secret" ] || { echo "credentials not found in native keychain"; exit 1; }
     cat "$dir/secret" ;;
store) cat >"$dir/secret" ;;
erase) rm -f "$dir/secret" ;;
list) echo '{}' ;;
esac
"#;

/// `sailor` and `harbour`, as htpasswd(1) writes them.
const USERS: &str = "sailor:$2b$04$WnHdkeH1dnTM8tYOIHxM/OvybKmWN/Qsc1ypbC2x.77tKeYDjV2Pq\n";

fn helpers_keep_the_credentials(world: &World) -> Result<()> {
    let users = world.host.scratch().join("users");
    std::fs::write(&users, USERS)?;
    let registry = Registry::start_with_users(world.host.scratch(), &users)?;
    let server = format!("127.0.0.1:{}", registry.port());
    let programs = world.host.scratch().join("helpers");
    std::fs::create_dir(&programs)?;
    let helper = programs.join("docker-credential-quay");
    std::fs::write(&helper, HELPER)?;
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755))?;
    let config = world.host.scratch().join("config/config.json");
    std::fs::write(&config, r#"{"credsStore": "quay"}"#)?;
    let run =
        |args: &[&str], input: &[u8]| -> Result<Ran> { with_path(world, &programs, args, input) };
    let image = format!("{server}/box:1");
    world.client.run(&["tag", "busybox", &image])?;
    let denied = run(&["push", &image], b"")?;
    ensure!(denied.code == 1, "{denied:?}");
    let wrong = run(&["login", "-u", "sailor", "--password-stdin", &server], b"reef")?;
    ensure!(wrong.code == 1 && !programs.join("secret").exists(), "{wrong:?}");
    let login = run(&["login", "-u", "sailor", "--password-stdin", &server], b"harbour")?;
    ensure!(login.code == 0 && login.stdout.contains("Login Succeeded"), "{login:?}");
    let kept = std::fs::read_to_string(programs.join("secret"))?;
    ensure!(kept.contains("sailor") && kept.contains("harbour"), "{kept}");
    let written = std::fs::read_to_string(&config)?;
    ensure!(!written.contains("harbour") && !written.contains("c2FpbG9y"), "{written}");
    let pushed = run(&["push", &image], b"")?;
    ensure!(pushed.code == 0 && pushed.stdout.contains("digest: sha256:"), "{pushed:?}");
    world.client.run(&["rmi", &image])?;
    ensure!(run(&["pull", &image], b"")?.code == 0);
    ensure!(run(&["logout", &server], b"")?.code == 0);
    ensure!(!programs.join("secret").exists(), "logout left the secret");
    ensure!(run(&["pull", &image], b"")?.code == 1, "pulled without credentials");
    Ok(())
}

fn with_path(world: &World, programs: &Path, args: &[&str], input: &[u8]) -> Result<Ran> {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH")?);
    world.client.clone().with_env("PATH", &path).try_run_with_input(args, input)
}

/// A layer that does not fit is told as such and leaves the disk as it was.
#[test]
fn a_pull_onto_a_full_disk_is_told_and_left_clean() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let ample = Host::start()?;
    ample.load_busybox()?;
    let registry = Registry::start(ample.scratch())?;
    let name = |tag: &str| format!("127.0.0.1:{}/{tag}:1", registry.port());
    let big = Archive::default().file("big", &noise(40 << 20)).end();
    ample.teu().try_run_with_input(&["import", "-", &name("big")], &big)?.ok()?;
    ample.teu().run(&["tag", "busybox", &name("small")])?;
    for tag in ["big", "small"] {
        ample.teu().run(&["push", &name(tag)])?;
    }
    let options = HostOptions { data_size: Some("28m".into()), ..HostOptions::default() };
    let host = Host::start_with(options)?;
    let root = format!("/proc/{}/root", host.daemon_pid().unwrap_or_default());
    let data = Path::new(&root).join(host.data_root().strip_prefix("/")?);
    let before = stored(&data)?;
    for program in [Program::Teu, Program::Docker] {
        let ran = host.client(program).try_run(&["pull", &name("big")])?;
        ensure!(ran.code == 1 && ran.stderr.to_lowercase().contains("no space"), "{ran:?}");
    }
    ensure!(host.teu().run(&["images", "-aq"])?.is_empty());
    e2e::eventually("nothing is left", || {
        let after = stored(&data)?;
        ensure!(after == before, "{after:?}, before {before:?}");
        Ok(())
    })?;
    host.teu().run(&["pull", &name("small")])?;
    ensure!(host.teu().run(&["run", "--rm", &name("small"), "echo", "fine"])? == "fine\n");
    Ok(())
}
