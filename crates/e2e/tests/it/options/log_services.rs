//! Log drivers judged by the real services: rsyslog and systemd's journal.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Client, Host, HostOptions, eventually};
use serde_json::Value;

/// A service of the test's own.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself, which is fine too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_missing(program: &str) -> bool {
    let missing = !Path::new(program).exists();
    if missing {
        eprintln!("skipped: no {program}");
    }
    missing
}

/// Runs a container that says something on each stream.
fn speak(teu: &Client, name: &str, driver: &str, options: &[&str], script: &str) -> Result<()> {
    let mut args = vec!["run", "--name", name, "--log-driver", driver, "-l", "tier=front"];
    options.iter().for_each(|option| args.extend(["--log-opt", option]));
    args.extend(["busybox", "sh", "-c", script]);
    teu.run(&args).map(drop)
}

const SPEAK: &str = "echo out of $0; echo err >&2";

const RSYSLOG: &str = r#"module(load="imuxsock" SysSock.Use="off")
module(load="imtcp")
input(type="imuxsock" Socket="DIR/socket")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="DIR/port")
template(name="fields" type="string" string="%programname%|%syslogfacility-text%|%syslogseverity-text%|%msg:::drop-last-lf%\n")
*.* action(type="omfile" file="DIR/out" template="fields")
"#;

#[test]
fn rsyslog_understands_every_format() -> Result<()> {
    const PROGRAM: &str = "/usr/sbin/rsyslogd";
    if !e2e::is_root() || is_missing(PROGRAM) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let place = dir.path().display().to_string();
    std::fs::write(at("conf"), RSYSLOG.replace("DIR", &place))?;
    let mut command = Command::new(PROGRAM);
    command.arg("-n").arg("-f").arg(at("conf")).arg("-i").arg(at("pid"));
    let _service = Service(command.stderr(Stdio::null()).spawn()?);
    let port = eventually("rsyslog listens", || {
        let port = std::fs::read_to_string(at("port"))?;
        ensure!(!port.is_empty() && at("socket").exists());
        Ok(port)
    })?;
    let host = Host::start()?;
    host.load_busybox()?;
    let tcp = format!("syslog-address=tcp://127.0.0.1:{port}");
    let unix = format!("syslog-address=unixgram://{}", at("socket").display());
    let ways: [(&str, &str, &[&str]); 5] = [
        ("old", &unix, &[]),
        ("old-tcp", &tcp, &["syslog-format=rfc3164"]),
        ("new", &tcp, &["syslog-format=rfc5424"]),
        ("micro", &tcp, &["syslog-format=rfc5424micro"]),
        ("buffered", &tcp, &["syslog-format=rfc5424", "mode=non-blocking"]),
    ];
    for (name, address, more) in ways {
        let mut options = vec![address, "syslog-facility=local3", "tag={{.Name}}"];
        options.extend(more);
        speak(&host.teu(), name, "syslog", &options, SPEAK)?;
        eventually(&format!("rsyslog has the lines of {name}"), || {
            let out = std::fs::read_to_string(at("out"))?;
            for (severity, text) in [("info", "out of sh"), ("err", "err")] {
                let wanted = [name, "local3", severity, text];
                let has = out
                    .lines()
                    .any(|line| line.split('|').map(str::trim).eq(wanted.iter().copied()));
                ensure!(has, "no {wanted:?} in {out:?}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// systemd's journal at `<dir>/journal`, keeping what it gets in `<dir>/log`.
fn journald(program: &str, dir: &Path) -> Result<Service> {
    for name in ["journal", "log", "none"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    // In namespaces of its own, so that this host's journal, if it has one, is left alone.
    let script = "mkdir -p /run/systemd /run/log && mount -t tmpfs tmpfs /run/systemd && \
        mkdir /run/systemd/journal && mount --bind $1/journal /run/systemd/journal && \
        mount --bind $1/log /run/log && mkdir -p /run/log/journal && \
        if [ -d /var/log/journal ]; then mount --bind $1/none /var/log/journal; fi && exec $0";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, program]).arg(dir);
    Ok(Service(command.stderr(Stdio::null()).spawn()?))
}

/// Waits for an entry with this message.
fn entry(log: &Path, message: &str) -> Result<Value> {
    eventually(&format!("the journal has {message:?}"), || {
        let mut command = Command::new("journalctl");
        command.arg("--directory").arg(log).args(["--output", "json", "--no-pager", "--all"]);
        let shown = command.output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let mut entries = shown.lines().filter_map(|line| serde_json::from_str(line).ok());
        entries
            .find(|entry: &Value| entry["MESSAGE"].as_str().is_some_and(|m| m.starts_with(message)))
            .context("not yet")
    })
}

#[test]
fn the_journal_keeps_what_containers_say() -> Result<()> {
    const PROGRAM: &str = "/lib/systemd/systemd-journald";
    if !e2e::is_root() || is_missing(PROGRAM) || is_missing("/usr/bin/journalctl") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let socket: PathBuf = dir.path().join("journal/socket");
    let start = || -> Result<Service> {
        let service = journald(PROGRAM, dir.path())?;
        eventually("the journal listens", || Ok(std::fs::metadata(&socket).map(drop)?))?;
        Ok(service)
    };
    let service = start()?;
    let journal = Some(dir.path().join("journal"));
    let host = Host::start_with(HostOptions { journal, ..HostOptions::default() })?;
    host.load_busybox()?;
    let teu = host.teu();
    let log = dir.path().join("log/journal");
    let long = format!("{SPEAK}; head -c 20000 /dev/zero | tr '\\0' x; echo");
    speak(&teu, "cc", "journald", &["labels=tier", "tag={{.Name}}/1"], &long)?;
    let id = teu.run(&["inspect", "-f", "{{.Id}}", "cc"])?;
    let id = id.trim();
    for (message, priority) in [("out of sh", "6"), ("err", "3")] {
        let entry = entry(&log, message)?;
        for (field, wanted) in [
            ("PRIORITY", priority),
            ("CONTAINER_NAME", "cc"),
            ("CONTAINER_ID", &id[..12]),
            ("CONTAINER_ID_FULL", id),
            ("CONTAINER_TAG", "cc/1"),
            ("SYSLOG_IDENTIFIER", "cc/1"),
            ("IMAGE_NAME", "busybox"),
            ("TIER", "front"),
        ] {
            ensure!(entry[field] == wanted, "{field} is not {wanted:?} in {entry}");
        }
    }
    let part = entry(&log, "xxx")?;
    ensure!(part["CONTAINER_PARTIAL_MESSAGE"] == "true", "{part}");
    // A journal that was away for a while is found again.
    drop(service);
    std::fs::remove_file(&socket)?;
    let _service = start()?;
    speak(&teu, "again", "journald", &[], "echo once more")?;
    ensure!(entry(&log, "once more")?["CONTAINER_NAME"] == "again");
    Ok(())
}
