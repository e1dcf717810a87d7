//! Tasks of a cluster, for people without a framework.
//!
//! Every task that `run` starts is the only one of a framework of its own, which carries the label
//! `teu.task`. So nothing is kept on this host: whoever asks the master for the task learns the
//! framework, may take its place, and kill the task, from anywhere.

mod kill;
mod list;
mod logs;
mod run;

pub(crate) use kill::kill;
pub(crate) use list::list;
pub(crate) use logs::logs;
pub(crate) use run::{CPUS, DISK, MEMORY, NETWORK, ROLE, WAIT, run};

use serde_json::Value as Json;

use crate::cluster::View;
use crate::failure::Failure;

/// The label of frameworks that were made for one task.
const LABEL: &str = "teu.task";

/// Finds a task by its id, or by the start of one that no other shares.
async fn find(view: &mut View, id: &str) -> Result<Json, Failure> {
    let tasks = view.tasks().await?;
    let fits = |task: &&Json| task["id"].as_str().is_some_and(|known| known.starts_with(id));
    let found: Vec<&Json> = tasks.iter().filter(fits).collect();
    let exact = found.iter().find(|task| task["id"] == id);
    match (exact, found.as_slice()) {
        (Some(task), _) | (None, [task]) => Ok((*task).clone()),
        (None, []) => Err(format!(
            "the master at {} knows no task {id}; 'teu task ls --all' lists those it knows",
            view.address()
        )
        .into()),
        (None, _) => {
            Err(format!("{} tasks begin with {id}: give more of the id", found.len()).into())
        }
    }
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_default()
}

/// Whether a task in that state will never run again.
fn is_terminal(state: &str) -> bool {
    matches!(
        state,
        "TASK_FINISHED"
            | "TASK_FAILED"
            | "TASK_KILLED"
            | "TASK_ERROR"
            | "TASK_LOST"
            | "TASK_DROPPED"
            | "TASK_GONE"
            | "TASK_GONE_BY_OPERATOR"
    )
}
