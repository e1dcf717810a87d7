//! `task kill`: takes the place of the task's framework, kills the task, ends the framework.

use std::time::Duration;

use scheduler::{Builder, Event, Framework, FrameworkId, TaskId};
use serde_json::Value as Json;

use super::{LABEL, find, is_terminal, text};
use crate::cluster::{View, list, master_of};
use crate::failure::Failure;
use crate::grammar::{Call, Outcome};

/// For the task to end, its own grace period included.
const DEADLINE: Duration = Duration::from_secs(120);

/// `task kill [OPTIONS] TASK [TASK...]`
pub(crate) async fn kill(call: Call<'_>) -> Outcome {
    let master = master_of(&call.flags);
    let mut view = View::new(&master)?;
    let mut failures = Vec::new();
    for id in &call.args {
        match kill_one(&mut view, &master, id).await {
            Ok(killed) => println!("{killed}"),
            Err(failure) => failures.push(failure.text),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.join("\n").into()) }
}

async fn kill_one(view: &mut View, master: &str, id: &str) -> Result<String, Failure> {
    let task = find(view, id).await?;
    let id = text(&task, "id").to_owned();
    let framework_id = FrameworkId::from(text(&task, "framework_id"));
    let state = view.get("/frameworks").await?;
    let all = ["frameworks", "completed_frameworks"].map(|name| list(&state, name)).concat();
    let framework = all.iter().find(|framework| framework["id"] == framework_id.value.as_str());
    let framework = framework.ok_or_else(|| format!("the framework of task {id} is unknown"))?;
    if !is_ours(framework) {
        return Err(format!(
            "task {id} belongs to the framework {} ({framework_id}), not to 'teu task run': \
             ask that framework to kill it",
            text(framework, "name"),
        )
        .into());
    }
    if list(&state, "completed_frameworks").iter().any(|f| f["id"] == framework["id"]) {
        return Ok(id);
    }
    let ended = is_terminal(text(&task, "state"));
    let taking = take_over(master, framework, framework_id, TaskId::from(id.as_str()), ended);
    match tokio::time::timeout(DEADLINE, taking).await {
        Ok(outcome) => outcome.map(|()| id),
        Err(_) => Err(format!("task {id} did not end within {} s", DEADLINE.as_secs()).into()),
    }
}

/// Whether a framework, as a master shows it, was made by `task run`.
fn is_ours(framework: &Json) -> bool {
    list(framework, "labels").iter().any(|label| label["key"] == LABEL)
}

async fn take_over(
    master: &str,
    shown: &Json,
    framework_id: FrameworkId,
    task: TaskId,
    ended: bool,
) -> Result<(), Failure> {
    let framework = Framework::new(text(shown, "name"))
        .user(text(shown, "user"))
        .label(LABEL, "1")
        .id(&framework_id);
    let (scheduler, mut events) = Builder::new(master, framework).subscribe()?;
    while let Some(event) = events.next().await? {
        match event {
            Event::Subscribed(_) if ended => scheduler.teardown().await?,
            Event::Subscribed(_) => scheduler.kill(&task, None).await?,
            Event::Offers(offers) => {
                let ids = offers.iter().map(scheduler::Offer::id);
                scheduler.decline(ids, DEADLINE).await?;
            }
            Event::Update(update) if *update.task_id() == task && update.is_terminal() => {
                scheduler.teardown().await?;
            }
            Event::Disconnected { cause } => return Err(cause.into()),
            _ => {}
        }
    }
    Ok(())
}
