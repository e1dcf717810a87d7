//! Probes one container as long as it exists.
//!
//! The monitor keeps nothing of its own: when to probe next follows from the record, so a new
//! daemon goes on where the old one ended.

use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{HealthCheck, OUTPUT_BYTES, TIMED_OUT, output};
use crate::container::handle::Container;
use crate::container::{
    ContainerId, ContainerRecord, HealthAction, HealthResult, HealthStatus, Status, StopOptions,
    exit, publish,
};
use crate::exec::{ExecConfig, ExecStartOptions};
use crate::{Engine, Result};

/// How long starting a probe may take, whatever its timeout is.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Probes a container until it is removed or the engine ends. Returns at once for one without a
/// health check.
pub(crate) async fn watch(engine: Engine, container: Container) {
    let config = container.record().config.clone();
    let Some(check) = HealthCheck::new(config.healthcheck.as_ref(), config.shell.as_deref()) else {
        return;
    };
    let stopping = engine.inner.stopping.clone();
    tokio::select! {
        () = stopping.cancelled() => {}
        () = probe_on_time(&engine, &container, &check) => {}
    }
}

async fn probe_on_time(engine: &Engine, container: &Container, check: &HealthCheck) {
    let mut published = container.watch();
    loop {
        let now = published.borrow_and_update().clone();
        if now.removed {
            return;
        }
        let state = &now.record.state;
        // A paused container cannot answer.
        let due = (state.status == Status::Running).then_some(state.started_at).flatten();
        let Some(started_at) = due else {
            if published.changed().await.is_err() {
                return;
            }
            continue;
        };
        let health = state.health.clone().unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(check.delay(&health, started_at, Timestamp::now())) => {}
            changed = published.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let result = probe(engine, &container.id, check).await;
        // Of this run still, or of no interest.
        let record = container.record();
        if record.state.status != Status::Running || record.state.started_at != Some(started_at) {
            continue;
        }
        let mut health = record.state.health.clone().unwrap_or_default();
        let before = health.status;
        check.judge(&mut health, result, started_at);
        let after = health.status;
        if let Err(error) = engine.container_set_health(&container.id, Some(health)).await {
            tracing::debug!(container_id = %container.id, %error, "health not recorded");
            return;
        }
        if before != after {
            let action = format!("health_status: {after}");
            publish::event(&engine.inner.events, &record, action);
            if after == HealthStatus::Unhealthy {
                act(engine, &record).await;
            }
        }
    }
}

/// Does what the container's configuration wants of an unhealthy one.
async fn act(engine: &Engine, record: &ContainerRecord) {
    let check = record.config.healthcheck.as_ref();
    let action = check.map(|check| check.on_failure).unwrap_or_default();
    let name = record.id.as_str();
    let done = match action {
        HealthAction::None => return,
        HealthAction::Kill => {
            // Past the owner, for whom a kill that somebody asked for is no end to restart from.
            if let Ok(pid) = u32::try_from(record.state.pid) {
                exit::kill_process(pid, record.state.pid_start_ticks);
            }
            Ok(())
        }
        HealthAction::Restart => engine.container_restart(name, StopOptions::default()).await,
        HealthAction::Stop => engine.container_stop(name, StopOptions::default()).await,
    };
    match done {
        Ok(()) => {
            tracing::info!(container_id = %record.id, %action, "unhealthy container acted on")
        }
        Err(error) => {
            tracing::warn!(container_id = %record.id, %action, %error, "unhealthy container not acted on");
        }
    }
}

async fn probe(engine: &Engine, container: &ContainerId, check: &HealthCheck) -> HealthResult {
    let start = Timestamp::now();
    let (exit_code, output) = match run(engine, container, check).await {
        Ok(result) => result,
        Err(error) => (TIMED_OUT, error.to_string()),
    };
    HealthResult { start, end: Timestamp::now().max(start), exit_code, output }
}

async fn run(
    engine: &Engine,
    container: &ContainerId,
    check: &HealthCheck,
) -> Result<(i32, String)> {
    let config = ExecConfig {
        cmd: check.command.clone(),
        attach_stdout: true,
        attach_stderr: true,
        ..ExecConfig::default()
    };
    let id = engine.exec_create(container.as_str(), config).await?;
    let start = engine.exec_start(&id, ExecStartOptions::default());
    let attached = match tokio::time::timeout(START_DEADLINE, start).await {
        Ok(attached) => attached?,
        Err(_) => return Ok((TIMED_OUT, "Health check did not start in time".to_owned())),
    };
    let mut written = Vec::new();
    let finished = tokio::time::timeout(check.timeout, async {
        if let Some(attached) = attached {
            read_frames(attached.reader, &mut written).await;
        }
        engine.exec_wait(&id).await
    });
    match finished.await {
        Ok(exit_code) => Ok((exit_code?, output(&written))),
        Err(_) => {
            engine.exec_kill(&id).await?;
            let timeout = go_duration(check.timeout);
            let mut text = format!("Health check exceeded timeout ({timeout})");
            if !written.is_empty() {
                text = format!("{text}: {}", output(&written));
            }
            Ok((TIMED_OUT, text))
        }
    }
}

/// Reads the payload of Docker's frames; keeps the beginning and drops the rest, so that a probe
/// that writes without end neither fills the memory nor blocks.
async fn read_frames(mut reader: impl AsyncRead + Unpin, written: &mut Vec<u8>) {
    let mut header = [0; 8];
    let mut block = vec![0; 8 << 10];
    while reader.read_exact(&mut header).await.is_ok() {
        let mut left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        while left > 0 {
            let wanted = left.min(block.len());
            let size = match reader.read(&mut block[..wanted]).await {
                Ok(0) | Err(_) => return,
                Ok(size) => size,
            };
            // One byte more than is kept tells that there was more.
            let room = (OUTPUT_BYTES + 1).saturating_sub(written.len());
            written.extend_from_slice(&block[..size.min(room)]);
            left -= size;
        }
    }
}

/// `1m30s`, `5s`, `500ms`.
fn go_duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    if secs == 0 {
        return format!("{}ms", duration.as_millis());
    }
    let mut text = String::new();
    if secs >= 3600 {
        text.push_str(&format!("{}h", secs / 3600));
    }
    if secs >= 60 {
        text.push_str(&format!("{}m", secs / 60 % 60));
    }
    match duration.subsec_millis() {
        0 => text.push_str(&format!("{}s", secs % 60)),
        millis => text.push_str(&format!("{}.{millis:03}s", secs % 60)),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let text = |millis| go_duration(Duration::from_millis(millis));
        assert_eq!([text(500), text(5000), text(90_000)], ["500ms", "5s", "1m30s"]);
        assert_eq!([text(3_600_000), text(1500)], ["1h0m0s", "1.500s"]);
    }

    #[tokio::test]
    async fn endless_output_is_cut() {
        let mut stream = Vec::new();
        for _ in 0..100 {
            stream.extend_from_slice(&[1, 0, 0, 0, 0, 0, 1, 0]);
            stream.extend_from_slice(&[b'x'; 256]);
        }
        stream.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
        let mut written = Vec::new();
        read_frames(&stream[..], &mut written).await;
        assert_eq!(written.len(), OUTPUT_BYTES + 1);
        assert!(output(&written).ends_with("x..."));
    }
}
