//! Start, output, input, signals, exec, exit.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use runtime::shim::client::{self, ClientError};
use runtime::shim::protocol::{
    Attached, Empty, ExecStarted, FailureKind, Pids, Request, State, Streams, frame,
};
use serde_json::json;

use crate::harness::{Container, can_run, read_frames};

const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true };

#[test]
fn a_container_runs_logs_and_leaves_its_exit_code() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sh", "-c", "echo out; echo err >&2; hostname; exit 7"]);
    let (code, log) = container.run();
    assert_eq!(code, 7);
    for line in ["out\n", "err\n", "teu-test\n"] {
        assert!(log.contains(line), "{log}");
    }
    assert!(!container.socket().exists());
    // The upper directory is the container's, and no mount is left on the host.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&container.config.container_id), "{mounts}");
}

#[test]
fn failures_to_start_have_kinds_and_leave_nothing() {
    if !can_run() {
        return;
    }
    let cases = [
        ("foo", FailureKind::NotFound, "exec: \"foo\": executable file not found in $PATH"),
        ("/x", FailureKind::NotFound, "exec: \"/x\": stat /x: no such file or directory"),
        ("/etc/passwd", FailureKind::Permission, "exec: \"/etc/passwd\": permission denied"),
        ("/etc", FailureKind::IsDirectory, "exec: \"/etc\": is a directory"),
    ];
    for (program, kind, text) in cases {
        let mut container = Container::new(&[program]);
        let failure = container.start().unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(text), "{failure}");
        assert!(!container.socket().exists());
        assert!(!container.config.container_dir.join("exit.json").exists());
        let cgroup = container.config.cgroup.strip_prefix("/").unwrap();
        let leftovers = ["memory", "unified", ""]
            .map(|it| std::path::Path::new("/sys/fs/cgroup").join(it).join(cgroup).exists());
        assert_eq!(leftovers, [false; 3]);
    }
}

#[test]
fn signals_end_it_with_128_plus_n() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sleep", "600"]);
    let started = container.start().unwrap();
    let state: State = container.request(&Request::State).unwrap();
    assert_eq!((state.pid, state.exit), (started.pid, None));
    let Pids { pids } = container.request(&Request::Pids).unwrap();
    assert_eq!(pids, [started.pid]);
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    let exit = container.wait();
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (137, Some(9), false));
    assert!(exit.finished_at_ns >= exit.started_at_ns);
}

#[test]
fn a_client_attached_before_the_start_sees_every_byte() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sh", "-c", "seq 1 20000; cat"]);
    container.config.stdin.open = true;
    container.config.stdin.once = true;
    let listener = UnixListener::bind(container.socket()).unwrap();
    let mut early = UnixStream::connect(container.socket()).unwrap();
    let mut line = serde_json::to_vec(&Request::Attach(ALL)).unwrap();
    line.push(b'\n');
    frame::encode(frame::Stream::Stdin, b"typed\n", &mut line);
    frame::encode(frame::Stream::Stdin, b"", &mut line);
    early.write_all(&line).unwrap();
    container.start_with(Stdio::from(OwnedFd::from(listener))).unwrap();
    let mut early = BufReader::new(early);
    let mut reply = String::new();
    early.read_line(&mut reply).unwrap();
    assert_eq!(reply, "{\"ok\":{\"tty\":false}}\n");
    let output = read_frames(early);
    let expected: String =
        (1..=20000).map(|n| format!("{n}\n")).chain(["typed\n".into()]).collect();
    assert!(output == expected, "{} bytes", output.len());
    assert_eq!(container.wait().exit_code, 0);
    assert!(container.logged() == expected);
}

#[test]
fn a_terminal_is_controlling_sized_and_the_console() {
    if !can_run() {
        return;
    }
    let script =
        "tty; stty size; ls -l /dev/console /dev/ptmx; read line; echo got $line; stty size";
    let mut container = Container::new(&["sh", "-c", script]);
    container.set_terminal();
    container.config.console_size =
        Some(runtime::shim::protocol::ConsoleSize { rows: 31, cols: 77 });
    container.start().unwrap();
    let (attached, mut connection) =
        client::request::<Attached>(container.socket(), &Request::Attach(ALL)).unwrap();
    assert!(attached.tty);
    container.until_logged("ptmx");
    let resize = Request::Resize { exec_id: None, rows: 40, cols: 100 };
    container.request::<Empty>(&resize).unwrap();
    let mut frames = Vec::new();
    frame::encode(frame::Stream::Stdin, b"hello\n", &mut frames);
    connection.get_mut().write_all(&frames).unwrap();
    let output = read_frames(connection);
    assert!(output.contains("got hello\r\n40 100"), "{output:?}");
    assert_eq!(container.wait().exit_code, 0);
    let log = container.logged();
    assert!(log.contains("/dev/pts/0\r\n31 77\r\n"), "{log:?}");
    assert!(log.contains("/dev/ptmx -> pts/ptmx"), "{log}");
}

#[test]
fn execs_run_inside_with_their_own_exit_codes() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sleep", "600"]);
    container.start().unwrap();
    let (code, output) =
        container.exec("one", &["sh", "-c", "hostname; echo $$ >/tmp/x; ps; exit 3"]).unwrap();
    assert_eq!(code, 3);
    assert!(output.starts_with("teu-test\n") && output.contains("sleep 600"), "{output}");

    match container.exec("two", &["nope"]) {
        Err(ClientError::Failure(failure)) => {
            assert_eq!(failure.kind, FailureKind::NotFound);
            assert!(failure.message.contains("executable file not found in $PATH"));
        }
        other => panic!("{other:?}"),
    }
    // A failed exec's id is free again.
    assert_eq!(container.exec("two", &["true"]).unwrap().0, 0);

    let mut request = container.exec_request("three", &["sh", "-c", "tty; cat /proc/self/cgroup"]);
    request.process.set_terminal(Some(true));
    let (_, connection) =
        client::request::<ExecStarted>(container.socket(), &Request::Exec(Box::new(request)))
            .unwrap();
    let output = read_frames(connection);
    assert!(output.starts_with("/dev/pts/0\r\n"), "{output}");
    // Its cgroup is the container's, which is the root of its cgroup namespace.
    assert!(output.lines().skip(1).all(|line| line.trim_end().ends_with(":/")), "{output}");

    let mut request = container.exec_request("four", &["cat"]);
    request.streams.stdin = true;
    let (_, mut connection) =
        client::request::<ExecStarted>(container.socket(), &Request::Exec(Box::new(request)))
            .unwrap();
    let mut frames = Vec::new();
    frame::encode(frame::Stream::Stdin, b"through", &mut frames);
    frame::encode(frame::Stream::Stdin, b"", &mut frames);
    connection.get_mut().write_all(&frames).unwrap();
    assert_eq!(read_frames(connection), "through");

    container.request::<Empty>(&Request::Kill { signal: 15, all: true }).unwrap();
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    container.wait();
}

#[test]
fn a_paused_container_stands_still_and_can_be_killed() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sleep", "600"]);
    container.start().unwrap();
    container.request::<Empty>(&Request::Pause).unwrap();
    assert!(container.request::<State>(&Request::State).unwrap().paused);
    container.request::<Empty>(&Request::Resume).unwrap();
    container.request::<Empty>(&Request::Pause).unwrap();
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    assert_eq!(container.wait().exit_code, 137);
}

#[test]
fn limits_change_while_it_runs() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sleep", "600"]);
    container.spec["linux"]["resources"]["memory"] = json!({"limit": 33_554_432});
    container.start().unwrap();
    let resources =
        serde_json::from_value(json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 9}}));
    let update = Request::Update { resources: Box::new(resources.unwrap()) };
    container.request::<Empty>(&update).unwrap();
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max \
                  /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null";
    let (_, output) = container.exec("e", &["sh", "-c", script]).unwrap();
    assert_eq!(output, "67108864\n9\n");
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    container.wait();
}

#[test]
fn nonsense_is_answered_and_slow_clients_cost_nothing() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sleep", "600"]);
    container.start().unwrap();
    let idle = UnixStream::connect(container.socket()).unwrap();
    let mut nonsense = UnixStream::connect(container.socket()).unwrap();
    nonsense.write_all(b"{\"op\":\"fly\"}\n").unwrap();
    let mut reply = String::new();
    nonsense.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("invalid_request"), "{reply}");
    assert!(container.request::<State>(&Request::State).is_ok());
    drop(idle);
    container.request::<Empty>(&Request::Kill { signal: 9, all: false }).unwrap();
    container.wait();
}

#[test]
fn memory_beyond_the_limit_is_told_as_out_of_memory() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sh", "-c", "tail /dev/zero"]);
    container.spec["linux"]["resources"]["memory"] =
        json!({"limit": 16_777_216, "swap": 16_777_216});
    container.start().unwrap();
    let exit = container.wait();
    assert!(exit.oom_killed, "{exit:?}");
    assert_eq!(exit.exit_code, 137);
}

#[test]
fn a_stuck_log_does_not_hold_up_a_container_that_may_lose_output() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["sleep", "100"]);
    container.config.log.buffer_bytes = Some(64 << 10);
    container.start().unwrap();
    let shim = container.shim_pid();
    let children = std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
    let is_helper = |pid: &&str| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        words.split(|byte| *byte == 0).any(|word| word == b"--log")
    };
    let helper: u32 = children.split_whitespace().find(is_helper).unwrap().parse().unwrap();
    let helper = linux::process::Pidfd::open(helper).unwrap();
    helper.send_signal(libc::SIGSTOP).unwrap();
    // Much more than pipe and buffer hold, while nobody reads.
    let (code, output) =
        container.exec("flood", &["sh", "-c", "seq 100000 299999 > /proc/1/fd/1"]).unwrap();
    assert_eq!((code, output.as_str()), (0, ""));
    helper.send_signal(libc::SIGCONT).unwrap();
    container.request::<Empty>(&Request::Kill { signal: libc::SIGKILL, all: false }).unwrap();
    container.wait();
    let logged = container.logged();
    let numbers: Vec<u32> = logged.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers.first(), Some(&100_000));
    assert!(numbers.len() > 1000 && numbers.len() < 100_000, "{}", numbers.len());
    assert!(numbers.is_sorted() && numbers.iter().all(|number| *number < 300_000));
}
