//! Hooks that files of the Container Device Interface bring.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use e2e::{Host, HostOptions};

#[test]
fn hooks_of_devices_run() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let devices = tempfile::tempdir()?;
    let log = devices.path().join("log");
    let program = devices.path().join("hook");
    // Finds the container's root by the state on its input, as vendors' programs do.
    let script = format!(
        "#!/bin/sh\nstate=$(cat)\nbundle=$(echo \"$state\" | sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/')\n\
         echo $1 $SAIL >>{}\n[ $1 != createContainer ] || echo hoisted >$bundle/rootfs/sail\n\
         [ $1 != refuse ] || {{ echo becalmed >&2; exit 3; }}\n",
        log.display()
    );
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    let hook = |name: &str, word: &str| {
        format!(
            r#"{{"hookName": "{name}", "path": "{}", "args": ["hook", "{word}"],
                "env": ["SAIL=main", "PATH=/usr/bin:/bin"]}}"#,
            program.display()
        )
    };
    let all = ["createRuntime", "createContainer", "poststart", "poststop"];
    let all: Vec<String> = all.iter().map(|name| hook(name, name)).collect();
    let text = format!(
        r#"{{"cdiVersion": "0.6.0", "kind": "example.com/sail", "devices": [
            {{"name": "main", "containerEdits": {{"hooks": [{}]}}}},
            {{"name": "torn", "containerEdits": {{"hooks": [{}]}}}},
            {{"name": "odd", "containerEdits": {{"hooks": [{}]}}}}]}}"#,
        all.join(","),
        hook("createRuntime", "refuse"),
        hook("midnight", "never"),
    );
    std::fs::write(devices.path().join("sail.json"), text)?;
    let flags = vec!["--cdi-spec-dir".to_owned(), devices.path().display().to_string()];
    let subordinate_ids = Some("teu:1000000:200000\\n".to_owned());
    let host = Host::start_with(HostOptions { flags, subordinate_ids, ..HostOptions::default() })?;
    host.load_busybox()?;
    let teu = host.teu();
    for runtime in ["teu", "runc"] {
        let _ = std::fs::remove_file(&log);
        let device = "example.com/sail=main";
        let words =
            ["run", "--rm", "--runtime", runtime, "--device", device, "busybox", "cat", "/sail"];
        let said = teu.run(&words)?;
        ensure!(said == "hoisted\n", "{runtime}: {said:?}");
        let ran = std::fs::read_to_string(&log)?;
        let wanted = "createRuntime main\ncreateContainer main\npoststart main\npoststop main\n";
        ensure!(ran == wanted, "{runtime}: {ran}");
        for (device, told) in [("torn", "becalmed"), ("odd", "invalid hook name \"midnight\"")] {
            let device = format!("example.com/sail={device}");
            let words =
                ["run", "--rm", "--runtime", runtime, "--device", &device, "busybox", "true"];
            let refused = teu.try_run(&words)?;
            ensure!(refused.code != 0 && refused.stderr.contains(told), "{runtime}: {refused:?}");
        }
    }
    let device = ["--device", "example.com/sail=main", "busybox", "true"];
    let refused = teu.try_run(&[&["run", "--rm", "--userns", "auto"], &device[..]].concat())?;
    let told =
        "createContainer hooks do not work in a user namespace: take the host's (--userns host)";
    ensure!(refused.code != 0 && refused.stderr.contains(told), "{refused:?}");
    Ok(())
}
