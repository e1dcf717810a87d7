//! Execs both ways.

use docker_api::models::exact;
use engine::container::TerminalSize;
use engine::exec::{ExecConfig, ExecSnapshot, ExecStartOptions};

use super::container::terminal_size;
use super::detach_keys;
use crate::error::ApiResult;

/// Reads what to run.
pub(crate) fn config(wire: exact::ExecCreate) -> ApiResult<ExecConfig> {
    Ok(ExecConfig {
        cmd: wire.cmd.0,
        env: wire.env,
        user: wire.user,
        working_dir: wire.working_dir,
        tty: wire.tty,
        privileged: wire.privileged,
        attach_stdin: wire.attach_stdin,
        attach_stdout: wire.attach_stdout,
        attach_stderr: wire.attach_stderr,
        detach_keys: detach_keys::parse(&wire.detach_keys)?,
        console_size: size(wire.console_size),
    })
}

/// Reads how to start it.
pub(crate) fn start_options(wire: exact::ExecStart) -> ExecStartOptions {
    ExecStartOptions { detach: wire.detach, tty: wire.tty, console_size: size(wire.console_size) }
}

fn size(wire: Option<[u32; 2]>) -> Option<TerminalSize> {
    terminal_size(wire?).map(|(rows, columns)| TerminalSize { rows, columns })
}

/// Converts a snapshot.
pub(crate) fn inspect(exec: ExecSnapshot) -> exact::ExecInspect {
    let mut argv = exec.config.cmd.into_iter();
    exact::ExecInspect {
        id: exec.id,
        running: exec.running,
        exit_code: exec.exit_code.map(Into::into),
        process_config: exact::ExecProcess {
            tty: exec.config.tty,
            entrypoint: argv.next().unwrap_or_default(),
            arguments: argv.collect(),
            privileged: exec.config.privileged,
            user: exec.config.user,
        },
        open_stdin: exec.config.attach_stdin,
        open_stderr: exec.config.attach_stderr,
        open_stdout: exec.config.attach_stdout,
        can_remove: exec.exit_code.is_some(),
        container_id: exec.container_id.to_string(),
        detach_keys: String::new(),
        pid: exec.pid.into(),
    }
}
