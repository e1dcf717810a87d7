//! The data of containers: logs, files, volumes, images made of them, statistics, health.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::archive::{ByteStream, PutOptions};
use engine::container::{
    ContainerConfig, HealthConfig, HealthStatus, IpcMode, MountSpec, MountType, RemoveOptions,
    StopOptions, WaitCondition,
};
use engine::event::EventRange;
use engine::filter::Filters;
use engine::image_ops::{CommitOptions, ImageRemoveOptions};
use engine::info::DiskUsageParts;
use engine::logs::{Follow, LogOptions};
use engine::stats::StatsMode;
use engine::volume::{VolumeRemoveOptions, VolumeRequest};
use engine::{Engine, ErrorKind};
use futures_util::{StreamExt, TryStreamExt};
use images::Reference;

use crate::lab::{Lab, request, run};

async fn start(engine: &Engine, request: engine::container::CreateRequest) -> String {
    let id = engine.container_create(request).await.unwrap().id.to_string();
    engine.container_start(&id).await.unwrap();
    id
}

async fn remove(engine: &Engine, id: &str) {
    let options = RemoveOptions { force: true, volumes: true, link: false };
    engine.container_remove(id, options).await.unwrap();
}

fn body(bytes: Vec<u8>) -> ByteStream {
    futures_util::stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

/// An archive of one file.
fn tar_of(name: &str, content: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    archive.into_inner().unwrap()
}

async fn files(stream: ByteStream) -> Vec<(String, String)> {
    let bytes: Vec<Bytes> = stream.try_collect().await.unwrap();
    let bytes = bytes.concat();
    let mut files = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        if !name.ends_with("busybox") {
            entry.read_to_end(&mut content).unwrap();
        }
        files.push((name, String::from_utf8_lossy(&content).into_owned()));
    }
    files.sort();
    files
}

#[test]
fn logs_are_followed_to_the_end_of_the_container() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let mut talk = request(&["sh", "-c", "echo one; echo two >&2; cat; echo three"]);
        talk.config.open_stdin = true;
        let id = start(&engine, talk).await;
        let options = LogOptions::default();
        let mut logs = engine.container_logs(&id, options, Follow::UntilStopped).await.unwrap();
        for expected in ["one\n", "two\n"] {
            let line = logs.lines.next().await.unwrap().unwrap();
            assert_eq!(line.message, expected);
        }
        engine
            .container_stop(&id, StopOptions { timeout_secs: Some(0), ..StopOptions::default() })
            .await
            .unwrap();
        assert!(logs.lines.next().await.is_none());
        let tail = LogOptions { tail: Some(1), ..options };
        let logs = engine.container_logs(&id, tail, Follow::No).await.unwrap();
        let lines: Vec<_> = logs.lines.try_collect().await.unwrap();
        assert_eq!(lines.len(), 1);
        remove(&engine, &id).await;
    });
    lab.assert_clean();
}

#[test]
fn files_are_copied_both_ways_running_and_stopped() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let mut sleeper = request(&["sleep", "1000"]);
        sleeper.host_config.binds = vec!["data:/data".to_owned()];
        sleeper.config.user = "web".to_owned();
        let id = engine.container_create(sleeper).await.unwrap().id.to_string();
        let put = |path: &'static str, archive: Vec<u8>, options| {
            let (engine, id) = (engine.clone(), id.clone());
            async move { engine.container_archive_put(&id, path, options, body(archive)).await }
        };
        let plain = PutOptions::default();
        let owned = PutOptions { copy_uid_gid: true, ..plain };
        // Never started: root and volume are there all the same.
        put("/etc", tar_of("before", "1"), plain).await.unwrap();
        put("/data", tar_of("before", "2"), plain).await.unwrap();
        engine.container_start(&id).await.unwrap();
        put("/data/", tar_of("sub/while", "3"), owned).await.unwrap();
        let (stat, stream) = engine.container_archive_get(&id, "/data/sub/while").await.unwrap();
        assert_eq!((stat.name.as_str(), stat.size), ("while", 1));
        assert_eq!(files(stream).await, [("while".to_owned(), "3".to_owned())]);
        let missing = engine.container_archive_get(&id, "/nothing").await.err().unwrap();
        assert_eq!(
            missing.to_string(),
            format!("Could not find the file /nothing in container {id}")
        );
        let error = put("/nothing", tar_of("x", ""), plain).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = put("/etc/motd", tar_of("x", ""), plain).await.unwrap_err();
        assert_eq!(error.to_string(), "extraction point is not a directory");
        assert!(engine.container_archive_stat(&id, "/proc/self").await.is_err());
        let (_, whole) = engine.container_archive_get(&id, "/").await.unwrap();
        assert!(files(whole).await.iter().all(|(name, _)| !name.contains("proc/self")));
        engine
            .container_stop(&id, StopOptions { timeout_secs: Some(0), ..StopOptions::default() })
            .await
            .unwrap();
        let (_, stream) = engine.container_archive_get(&id, "/data").await.unwrap();
        let found = files(stream).await;
        assert_eq!(found.iter().filter(|(name, _)| name.ends_with("before")).count(), 1);
        let stat = engine.container_archive_stat(&id, "/bin/sh").await.unwrap();
        assert_eq!(stat.link_target, "/bin/busybox");

        // What is in the volume is neither exported nor a change.
        let exported = files(engine.container_export(&id).await.unwrap()).await;
        let has = |name: &str| exported.iter().any(|(other, _)| other == name);
        assert!(has("etc/before") && has("bin/busybox") && !has("data/before"));
        let changes = engine.container_changes(&id).await.unwrap();
        let changed: Vec<_> = changes.iter().map(|change| change.path.to_str().unwrap()).collect();
        assert!(
            changed.contains(&"/etc/before") && !changed.contains(&"/data/before"),
            "{changed:?}"
        );
        remove(&engine, &id).await;
        engine.volume_remove("data", VolumeRemoveOptions::default()).await.unwrap();
    });
    lab.assert_clean();
}

#[test]
fn volumes_are_kept_while_they_are_used() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let named = VolumeRequest { name: "kept".to_owned(), ..VolumeRequest::default() };
        engine.volume_create(named).await.unwrap();
        let mut user = request(&["sh", "-c", "cat /etc2/motd; echo new > /etc2/new"]);
        user.host_config.binds = vec!["/anonymous".to_owned()];
        user.host_config.mounts = vec![MountSpec {
            kind: MountType::Volume,
            source: "kept".to_owned(),
            target: "/etc2".to_owned(),
            ..MountSpec::default()
        }];
        let id = engine.container_create(user.clone()).await.unwrap().id.to_string();
        let error = engine.volume_remove("kept", VolumeRemoveOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(error.to_string(), format!("remove kept: volume is in use - [{id}]"));
        let used = Filters::from_iter([("dangling", "false")]);
        assert_eq!(engine.volume_list(used).await.unwrap().len(), 2);
        remove(&engine, &id).await;
        assert_eq!(
            engine.volume_list(Filters::new()).await.unwrap().len(),
            1,
            "anonymous ones leave"
        );
        // The image's content fills an empty volume.
        let mut reader = request(&["ls", "/etc"]);
        reader.host_config.binds = vec!["etc:/etc".to_owned()];
        let said = run(&engine, reader).await;
        assert!(said.stdout.contains("motd"), "{said:?}");
        assert!(engine.volume_prune(Filters::new()).await.unwrap().deleted.is_empty());
        let all = Filters::from_iter([("all", "true")]);
        assert_eq!(engine.volume_prune(all).await.unwrap().deleted, ["etc", "kept"]);
    });
    lab.assert_clean();
}

#[test]
fn a_container_becomes_an_image_that_it_keeps() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let id = start(&engine, request(&["sh", "-c", "echo hi > /made; sleep 1000"])).await;
        let options = CommitOptions {
            reference: Some(Reference::parse("made:v1").unwrap()),
            changes: vec!["CMD [\"cat\", \"/made\"]".into(), "ENV A=\"b c\"".into()],
            config: ContainerConfig { user: "0:0".into(), ..ContainerConfig::default() },
            pause: true,
            ..CommitOptions::default()
        };
        let bad = CommitOptions { changes: vec!["RUN x".into()], ..options.clone() };
        let error = engine.commit(&id, bad).await.unwrap_err();
        assert_eq!(error.to_string(), "RUN is not a valid change command");
        // Written by the container before it is frozen.
        loop {
            if engine.container_archive_stat(&id, "/made").await.is_ok_and(|stat| stat.size == 3) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let image = engine.commit(&id, options).await.unwrap();
        assert_eq!(engine.images().inspect(&image).unwrap().config.config.user, "0:0");
        let status = engine.container_inspect(&id).await.unwrap().record.state.status;
        assert_eq!(status, engine::container::Status::Running);
        remove(&engine, &id).await;
        let mut of_image = request(&[]);
        of_image.config.image = "made:v1".to_owned();
        of_image.config.cmd = None;
        assert_eq!(run(&engine, of_image.clone()).await.stdout, "hi\n");
        let id = engine.container_create(of_image).await.unwrap().id.to_string();
        let error =
            engine.image_remove("made:v1", ImageRemoveOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("unable to remove repository reference"), "{error}");
        assert!(error.to_string().contains(&id[..12]), "{error}");
        remove(&engine, &id).await;

        let saved = engine.image_save(vec!["made:v1".to_owned()]).await.unwrap();
        let saved: Vec<Bytes> = saved.try_collect().await.unwrap();
        engine.image_remove("made:v1", ImageRemoveOptions::default()).await.unwrap();
        engine.image_load(body(saved.concat()), Arc::new(|_| {})).await.unwrap();
        let images = engine.images().clone();
        let again = tokio::task::spawn_blocking(move || images.resolve("made:v1"));
        assert_eq!(again.await.unwrap().unwrap(), image);
    });
    lab.assert_clean();
}

#[test]
fn a_running_container_is_measured_and_listed() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let id = start(&engine, request(&["sleep", "1000"])).await;
        let mut stats = engine.container_stats(&id, StatsMode::OneShot).await.unwrap();
        let sample = stats.next().await.unwrap();
        assert!(sample.read_at.is_some() && sample.cpu.system_nanos > 0);
        assert!(sample.pids.current == 1 && sample.memory.usage_bytes > 0, "{sample:?}");
        assert!(stats.next().await.is_none());
        let stats = engine.container_stats(&id, StatsMode::Once).await.unwrap();
        let samples: Vec<_> = stats.collect().await;
        assert!(samples.len() == 1 && samples[0].previous_cpu.system_nanos > 0);
        let top = engine.container_top(&id, "-o pid,args").await.unwrap();
        assert_eq!((top.processes.len(), top.processes[0][1].as_str()), (1, "sleep 1000"));
        let info = engine.info().await.unwrap();
        assert_eq!((info.containers, info.containers_running, info.images), (1, 1, 1));
        let usage = engine.disk_usage(DiskUsageParts::default()).await.unwrap();
        assert!(usage.layers_size > 0 && usage.images[0].1 == 1 && usage.containers.len() == 1);
        engine.container_kill(&id, None).await.unwrap();
        let wait = engine.container_wait(&id, WaitCondition::NotRunning).await.unwrap();
        wait.await;
        let error = engine.container_top(&id, "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let pruned = engine.container_prune(Filters::new()).await.unwrap();
        assert_eq!(pruned.deleted, [id]);
    });
    lab.assert_clean();
}

#[test]
fn health_follows_the_probes() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let health = Filters::from_iter([("event", "health_status")]);
        let mut events = engine.events(health, EventRange::default()).unwrap();
        let mut probed = request(&["sleep", "1000"]);
        probed.config.healthcheck = Some(HealthConfig {
            test: vec!["CMD-SHELL".into(), "echo probed; cat /tmp/sick && exit 1; exit 0".into()],
            interval_nanos: 50_000_000,
            retries: 2,
            ..HealthConfig::default()
        });
        let id = start(&engine, probed).await;
        let next = events.next().await.unwrap();
        assert_eq!(next.action, "health_status: healthy");
        let archive = body(tar_of("sick", "yes"));
        engine.container_archive_put(&id, "/tmp", PutOptions::default(), archive).await.unwrap();
        assert_eq!(events.next().await.unwrap().action, "health_status: unhealthy");
        let state = engine.container_inspect(&id).await.unwrap().record.state.clone();
        let health = state.health.unwrap();
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert!(health.failing_streak >= 2 && health.log.len() <= 5);
        assert_eq!(health.log.back().unwrap().output, "probed\nyes");
        remove(&engine, &id).await;

        // A probe that does not come to an end is killed and counts.
        let mut stuck = request(&["sleep", "1000"]);
        stuck.config.healthcheck = Some(HealthConfig {
            test: vec!["CMD".into(), "sleep".into(), "999".into()],
            interval_nanos: 10_000_000,
            timeout_nanos: 100_000_000,
            retries: 1,
            ..HealthConfig::default()
        });
        let id = start(&engine, stuck).await;
        assert_eq!(events.next().await.unwrap().action, "health_status: unhealthy");
        let state = engine.container_inspect(&id).await.unwrap().record.state.clone();
        let last = state.health.unwrap().log.pop_front().unwrap();
        assert_eq!(
            (last.exit_code, last.output.as_str()),
            (-1, "Health check exceeded timeout (100ms)")
        );
        assert!(
            last.end.duration_since(last.start) >= Duration::from_millis(100).try_into().unwrap()
        );
        remove(&engine, &id).await;
    });
    lab.assert_clean();
}

#[test]
fn an_image_is_mounted_read_only() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let spec = |target: &str, subpath: Option<&str>| MountSpec {
            kind: MountType::Image,
            source: request(&[]).config.image,
            target: target.to_owned(),
            image_subpath: subpath.map(str::to_owned),
            ..MountSpec::default()
        };
        let script = "ls /whole/etc /part; cat /file >/dev/null; touch /whole/x /part/x";
        let mut reader = request(&["sh", "-c", script]);
        reader.host_config.mounts =
            vec![spec("/whole", None), spec("/part", Some("etc")), spec("/file", Some("etc/motd"))];
        let said = run(&engine, reader).await;
        assert_eq!(said.stdout.matches("motd").count(), 2, "{said:?}");
        assert_eq!(said.stderr.matches("Read-only file system").count(), 2, "{said:?}");
        let mut absent = request(&["true"]);
        absent.host_config.mounts = vec![MountSpec { source: "none".into(), ..spec("/x", None) }];
        let error = engine.container_create(absent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
    });
    lab.assert_clean();
}

#[test]
fn shared_memory_has_its_size_and_is_seen_by_who_joins() {
    let Some(lab) = Lab::new() else { return };
    lab.run(|engine| async move {
        let mut donor = request(&["sh", "-c", "echo secret > /dev/shm/x; exec sleep 1000"]);
        donor.host_config.ipc_mode = IpcMode::Shareable;
        donor.host_config.shm_size_bytes = 4 << 20;
        let id = start(&engine, donor).await;
        let script = "until [ -s /dev/shm/x ]; do :; done; cat /dev/shm/x; \
                      dd if=/dev/zero of=/dev/shm/big bs=1048576 count=8";
        let mut joining = request(&["sh", "-c", script]);
        joining.host_config.ipc_mode = IpcMode::Container(id.clone());
        let said = run(&engine, joining).await;
        assert_eq!(said.stdout, "secret\n", "{said:?}");
        assert!(said.stderr.contains("No space left on device"), "{said:?}");
        remove(&engine, &id).await;
    });
    lab.assert_clean();
}
