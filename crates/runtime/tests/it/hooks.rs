//! Hooks of the OCI config.

use serde_json::{Value, json};

use crate::harness::{Container, can_run};

/// A hook that runs a line of shell, with the state in `$state`.
fn shell(line: &str) -> Value {
    json!({"path": "/bin/busybox", "args": ["sh", "-c", format!("state=$(cat); {line}")],
        "env": ["WORD=ahoy", "PATH=/usr/bin:/bin"]})
}

#[test]
fn hooks_run_at_their_moments_and_in_their_places() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sh", "-c", "cat /made /inside; echo $$ >/pid; exit 3"]);
    let log = container.directory.join("hooks.log");
    let note = |word: &str| shell(&format!("echo {word} $WORD \"$state\" >>{}", log.display()));
    let rootfs = container.bundle.join("rootfs").display().to_string();
    container.spec["hooks"] = json!({
        "prestart": [note("prestart")],
        "createRuntime": [note("createRuntime")],
        "createContainer": [
            note("createContainer"),
            shell(&format!("echo made >{rootfs}/made; test ! -e {rootfs}/nothing")),
        ],
        "startContainer": [shell("echo inside $(id -u) >/inside")],
        "poststart": [note("poststart"), shell("exit 4")],
        "poststop": [note("poststop")],
    });
    let started = container.start().unwrap();
    let exit = container.wait();
    assert_eq!(exit.exit_code, 3);
    assert_eq!(container.logged(), "made\ninside 0\n");
    let text = std::fs::read_to_string(&log).unwrap();
    let mut words = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ' ');
        words.push(parts.next().unwrap());
        assert_eq!(parts.next(), Some("ahoy"));
        let state: Value = serde_json::from_str(parts.next().unwrap()).unwrap();
        assert_eq!(state["id"], container.config.container_id.as_str());
        assert_eq!(state["bundle"], container.bundle.display().to_string());
        let (status, pid) = match words.last().copied().unwrap() {
            "prestart" | "createRuntime" => ("creating", u64::from(started.pid)),
            "createContainer" => ("creating", 1),
            "poststart" => ("running", u64::from(started.pid)),
            _ => ("stopped", 0),
        };
        assert_eq!((state["status"].as_str(), state["pid"].as_u64()), (Some(status), Some(pid)));
    }
    let wanted = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    assert_eq!(words, wanted);
    let warnings = exit.warnings.join("\n");
    assert!(warnings.contains("poststart hook #1: /bin/busybox: exit status: 4"), "{warnings}");
}

#[test]
fn a_hook_that_fails_ends_the_start() {
    if !can_run() {
        return;
    }
    for (list, told) in [
        ("createRuntime", "createRuntime hook #0: /bin/busybox: exit status: 5, output: no"),
        ("createContainer", "createContainer hook #0: /bin/busybox: exit status: 5, output: no"),
        ("startContainer", "startContainer hook #0: /bin/busybox: exit status: 5, output: no"),
    ] {
        let mut container = Container::new(&["true"]);
        let undone = container.directory.join("undone");
        container.spec["hooks"] = json!({
            list: [shell("echo no; exit 5")],
            "poststop": [shell(&format!("touch {}", undone.display()))],
        });
        let failure = container.start().unwrap_err();
        assert!(failure.message.contains(told), "{failure}");
        assert!(undone.exists(), "{list}");
    }
    let mut container = Container::new(&["true"]);
    let mut slow = shell("exec sleep 600");
    slow["timeout"] = json!(1);
    container.spec["hooks"] = json!({"createRuntime": [slow]});
    let failure = container.start().unwrap_err();
    assert!(failure.message.contains("hook ran past specified timeout of 1s"), "{failure}");
}
