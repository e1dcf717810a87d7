//! `task logs`, and the same while `task run` waits: reads the files in the task's sandbox through
//! its agent.

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value as Json;

use super::{find, is_terminal, text};
use crate::cluster::{Agent, View, list, master_of};
use crate::failure::Failure;
use crate::grammar::{Call, Outcome};

/// Files can only be asked for: nobody says when they grow.
pub(super) const PAUSE: Duration = Duration::from_millis(300);

/// `task logs [OPTIONS] TASK`
pub(crate) async fn logs(call: Call<'_>) -> Outcome {
    let mut view = View::new(&master_of(&call.flags))?;
    let task = find(&mut view, &call.args[0]).await?;
    let id = text(&task, "id").to_owned();
    let mut logs = Logs::open(&mut view, text(&task, "slave_id"), &id).await?;
    logs.print().await?;
    let mut ended = !call.flags.on("follow");
    while !ended {
        tokio::time::sleep(PAUSE).await;
        // Asked first, so that what was printed before the end is read after it.
        ended = is_terminal(text(&find(&mut view, &id).await?, "state"));
        logs.print().await?;
    }
    Ok(0)
}

/// A task's output, as far as it was read.
#[derive(Debug)]
pub(super) struct Logs {
    agent: Agent,
    directory: String,
    /// Bytes read of `stdout` and `stderr`.
    offsets: [u64; 2],
}

impl Logs {
    /// Finds the task's sandbox on its agent.
    pub(super) async fn open(view: &mut View, agent: &str, task: &str) -> Result<Self, Failure> {
        let mut agent = view.agent(agent).await?;
        let state = agent.state().await?;
        let directory = sandbox(&state, task)
            .ok_or_else(|| format!("the agent no longer knows the sandbox of task {task}"))?;
        Ok(Self { agent, directory, offsets: [0; 2] })
    }

    /// Prints what has come since.
    pub(super) async fn print(&mut self) -> Result<(), Failure> {
        for (index, name) in ["stdout", "stderr"].into_iter().enumerate() {
            let path = format!("{}/{name}", self.directory);
            loop {
                let data = self.agent.read(&path, self.offsets[index]).await?;
                if data.is_empty() {
                    break;
                }
                self.offsets[index] += data.len() as u64;
                match index {
                    0 => std::io::stdout().write_all(data.as_bytes())?,
                    _ => std::io::stderr().write_all(data.as_bytes())?,
                }
            }
        }
        std::io::stdout().flush()?;
        Ok(())
    }
}

/// The directory of the executor that runs, or ran, the task, or, where an executor has a container
/// for each of its tasks, the task's own.
fn sandbox(state: &Json, task: &str) -> Option<String> {
    let frameworks = ["frameworks", "completed_frameworks"].map(|name| list(state, name)).concat();
    let executors = frameworks.iter().flat_map(|framework| {
        ["executors", "completed_executors"].map(|name| list(framework, name)).concat()
    });
    let runs = |executor: &Json| {
        executor["id"] == task
            || ["tasks", "queued_tasks", "completed_tasks"]
                .iter()
                .any(|name| list(executor, name).iter().any(|known| known["id"] == task))
    };
    let executor = executors.into_iter().find(runs)?;
    let directory = executor["directory"].as_str()?;
    Some(match executor["type"].as_str() {
        Some("DEFAULT") => format!("{directory}/tasks/{}", task.replace('%', "%25")),
        _ => directory.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sandbox_is_that_of_the_executor_with_the_task() {
        let state = json!({
            "frameworks": [{"executors": [
                {"id": "e1", "directory": "/s/1", "tasks": [{"id": "a"}]},
                {"id": "e2", "directory": "/s/3", "type": "DEFAULT", "completed_tasks": [{"id": "d"}]},
            ]}],
            "completed_frameworks": [{"completed_executors": [
                {"id": "b", "directory": "/s/2", "completed_tasks": []}]}],
        });
        assert_eq!(sandbox(&state, "a").as_deref(), Some("/s/1"));
        assert_eq!(sandbox(&state, "b").as_deref(), Some("/s/2"));
        assert_eq!(sandbox(&state, "c"), None);
        let own = "/s/3/tasks/d";
        assert_eq!(sandbox(&state, "d").as_deref(), Some(own), "each has a container of its own");
    }
}
