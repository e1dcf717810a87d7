//! The life of containers: create, start, streams, exit codes, stop, restart, removal.

use engine::ErrorKind;
use engine::container::{
    AttachOptions, CgroupnsMode, NetworkMode, RemoveOptions, RestartPolicy, RestartPolicyName,
    Status, StopOptions, WaitCondition,
};
use engine::exec::{ExecConfig, ExecStartOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, Outcome, demultiplex, request, run};

fn outcome(stdout: &str, stderr: &str, exit_code: i32) -> Outcome {
    Outcome { stdout: stdout.to_owned(), stderr: stderr.to_owned(), exit_code }
}

#[test]
fn a_process_runs_speaks_and_leaves_its_code_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let script = "echo out; echo err >&2; exit 7";
        let said = run(&engine, request(&["sh", "-c", script])).await;
        assert_eq!(said, outcome("out\n", "err\n", 7));
        let said = run(&engine, request(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"])).await;
        assert_eq!(said, outcome("", "Killed\n", 137));
        let mut web = request(&["sh", "-c", "id -u; id -g; id -G; echo $HOME; echo $HOSTNAME"]);
        web.config.user = "web".to_owned();
        web.config.hostname = "box".to_owned();
        assert_eq!(run(&engine, web).await, outcome("33\n44\n44 55\n/srv\nbox\n", "", 0));
    });
    lab.assert_clean();
}

#[test]
fn commands_that_cannot_be_started_leave_docker_s_codes() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let rows = [
            ("nosuch", 127, "executable file not found in $PATH"),
            ("/no/such", 127, "no such file or directory"),
            ("/etc/motd", 126, "permission denied"),
            ("/etc", 126, "is a directory"),
        ];
        for (command, code, words) in rows {
            let id = engine.container_create(request(&[command])).await.unwrap().id.to_string();
            let wait = engine.container_wait(&id, WaitCondition::NextExit).await.unwrap();
            let error = engine.container_start(&id).await.unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(words) || (code == 126 && text.contains("permission denied")),
                "{command}: {text}"
            );
            assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{command}");
            assert_eq!(wait.await.exit_code, code, "{command}");
            let state = engine.container_inspect(&id).await.unwrap().record.state.clone();
            assert_eq!((state.status, state.exit_code), (Status::Created, code), "{command}");
            engine.container_remove(&id, RemoveOptions::default()).await.unwrap();
        }
    });
    lab.assert_clean();
}

#[test]
fn standard_input_reaches_the_process_and_ends() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let mut cat = request(&["cat"]);
        cat.config.open_stdin = true;
        cat.config.stdin_once = true;
        cat.host_config.auto_remove = true;
        let id = engine.container_create(cat).await.unwrap().id.to_string();
        let options =
            AttachOptions { stdin: true, stdout: true, stderr: true, ..AttachOptions::default() };
        let mut stream = engine.container_attach(&id, options).await.unwrap();
        let gone = engine.container_wait(&id, WaitCondition::Removed).await.unwrap();
        engine.container_start(&id).await.unwrap();
        stream.writer.write_all(b"hello\n").await.unwrap();
        stream.writer.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        stream.reader.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(demultiplex(&bytes).0, "hello\n");
        assert_eq!(gone.await.exit_code, 0);
        let error = engine.container_inspect(&id).await.unwrap_err();
        assert_eq!(error.to_string(), format!("No such container: {id}"));
    });
    lab.assert_clean();
}

#[test]
fn stop_kill_pause_and_restart_follow_the_policy() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let script = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
        let mut looping = request(&["sh", "-c", script]);
        looping.name = Some("loop".to_owned());
        engine.container_create(looping.clone()).await.unwrap();
        let taken = engine.container_create(looping).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Conflict);
        assert!(
            taken.to_string().starts_with(
                "Conflict. The container name \"/loop\" is already in use by container"
            )
        );
        engine.container_start("loop").await.unwrap();
        let again = engine.container_start("loop").await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotModified);
        engine.container_pause("loop").await.unwrap();
        let status = engine.container_inspect("loop").await.unwrap().record.state.status;
        assert_eq!(status, Status::Paused);
        engine.container_unpause("loop").await.unwrap();
        let busy = engine.container_remove("loop", RemoveOptions::default()).await.unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Conflict);

        let before = engine.container_inspect("loop").await.unwrap().record.state.pid;
        engine.container_restart("loop", StopOptions::default()).await.unwrap();
        let after = engine.container_inspect("loop").await.unwrap().record.state.pid;
        assert_ne!(before, after);
        engine.container_stop("loop", StopOptions::default()).await.unwrap();
        let state = engine.container_inspect("loop").await.unwrap().record.state.clone();
        assert_eq!((state.status, state.exit_code), (Status::Exited, 3));
        let idle = engine.container_stop("loop", StopOptions::default()).await.unwrap_err();
        assert_eq!(idle.kind(), ErrorKind::NotModified);
        engine.container_rename("loop", "round").await.unwrap();
        engine.container_start("round").await.unwrap();
        engine.container_kill("round", None).await.unwrap();
        let state = engine.container_inspect("round").await.unwrap().record.state.clone();
        assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
        engine.container_start("round").await.unwrap();
        let force = RemoveOptions { force: true, ..RemoveOptions::default() };
        engine.container_remove("round", force).await.unwrap();
    });
    lab.assert_clean();
}

#[test]
fn restart_policies_start_again_until_told_otherwise() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let mut failing = request(&["sh", "-c", "exit 5"]);
        failing.host_config.restart_policy =
            RestartPolicy { name: RestartPolicyName::OnFailure, maximum_retry_count: 2 };
        let id = engine.container_create(failing).await.unwrap().id.to_string();
        engine.container_start(&id).await.unwrap();
        let state = loop {
            // Ends with each run, or at once after the last.
            let wait = engine.container_wait(&id, WaitCondition::NotRunning).await.unwrap();
            assert_eq!(wait.await.exit_code, 5);
            let state = engine.container_inspect(&id).await.unwrap().record.state.clone();
            if state.status == Status::Exited {
                break state;
            }
        };
        assert_eq!(state.restart_count, 2);
        engine.container_remove(&id, RemoveOptions::default()).await.unwrap();

        let mut always = request(&["sh", "-c", "exit 0"]);
        always.host_config.restart_policy =
            RestartPolicy { name: RestartPolicyName::Always, maximum_retry_count: 0 };
        let id = engine.container_create(always).await.unwrap().id.to_string();
        engine.container_start(&id).await.unwrap();
        for _ in 0..3 {
            engine.container_wait(&id, WaitCondition::NextExit).await.unwrap().await;
        }
        engine.container_stop(&id, StopOptions::default()).await.unwrap();
        let status = engine.container_inspect(&id).await.unwrap().record.state.status;
        assert_eq!(status, Status::Exited);
        engine.container_remove(&id, RemoveOptions::default()).await.unwrap();
    });
    lab.assert_clean();
}

#[test]
fn execs_run_in_the_container_and_leave_their_code() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let id = engine.container_create(request(&["sleep", "1000"])).await.unwrap().id.to_string();
        let exec = |words: &[&str]| ExecConfig {
            cmd: words.iter().map(|word| (*word).to_owned()).collect(),
            attach_stdout: true,
            attach_stderr: true,
            ..ExecConfig::default()
        };
        let idle = engine.exec_create(&id, exec(&["true"])).await.unwrap_err();
        assert_eq!(idle.kind(), ErrorKind::Conflict);
        engine.container_start(&id).await.unwrap();
        for (words, said, code) in [
            (vec!["sh", "-c", "echo hi; exit 4"], "hi\n", 4),
            (vec!["nosuch"], "executable file not found in $PATH", 127),
        ] {
            let exec_id = engine.exec_create(&id, exec(&words)).await.unwrap();
            let options = ExecStartOptions::default();
            let mut stream = engine.exec_start(&exec_id, options).await.unwrap().unwrap();
            let mut bytes = Vec::new();
            stream.reader.read_to_end(&mut bytes).await.unwrap();
            assert!(demultiplex(&bytes).0.contains(said), "{words:?}: {bytes:?}");
            assert_eq!(engine.exec_wait(&exec_id).await.unwrap(), code);
            let again = engine.exec_start(&exec_id, ExecStartOptions::default()).await;
            assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
        }
        let force = RemoveOptions { force: true, ..RemoveOptions::default() };
        engine.container_remove(&id, force).await.unwrap();
    });
    lab.assert_clean();
}

#[test]
fn defaults_are_told_and_a_network_may_come_after_create() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let id = engine.container_create(request(&["true"])).await.unwrap().id.to_string();
        let record = engine.container_inspect(&id).await.unwrap().record;
        let has = |paths: &Option<Vec<String>>, path: &str| {
            paths.as_ref().unwrap().iter().any(|other| other == path)
        };
        assert!(has(&record.host_config.masked_paths, "/proc/kcore"));
        assert!(has(&record.host_config.readonly_paths, "/proc/sys"));
        assert_ne!(record.host_config.cgroupns_mode, CgroupnsMode::Unset);
        engine.container_remove(&id, RemoveOptions::default()).await.unwrap();

        let mut late = request(&["true"]);
        late.host_config.privileged = true;
        late.host_config.network_mode = NetworkMode::User("late".to_owned());
        let id = engine.container_create(late).await.unwrap().id.to_string();
        let record = engine.container_inspect(&id).await.unwrap().record;
        assert_eq!(record.host_config.masked_paths, None);
        let error = engine.container_start(&id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("network late not found"), "{error}");
        engine.container_remove(&id, RemoveOptions::default()).await.unwrap();
    });
    lab.assert_clean();
}
