//! `task ls`.

use serde_json::Value as Json;

use super::{is_terminal, text};
use crate::cluster::{View, master_of};
use crate::grammar::{Call, Outcome};
use crate::table::{Columns, Row, choose, ellipsis, render, row};

const COLUMNS: Columns = Columns(&[
    ("ID", "TASK ID"),
    ("Name", "NAME"),
    ("State", "STATE"),
    ("Cpus", "CPUS"),
    ("Mem", "MEM MB"),
    ("Agent", "AGENT"),
    ("Framework", "FRAMEWORK"),
    ("Message", "MESSAGE"),
]);
const MESSAGE_MAX: usize = 60;

/// `task ls [OPTIONS]`
pub(crate) async fn list(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let mut view = View::new(&master_of(flags))?;
    let tasks = view.tasks().await?;
    let wanted = tasks.iter().filter(|task| flags.on("all") || !is_terminal(text(task, "state")));
    let rows = wanted.map(|task| task_row(task, !flags.on("no-trunc"))).collect();
    let format = match flags.get("format") {
        None if flags.on("quiet") => "{{.ID}}",
        flag => choose(flag, "", "table {{.ID}}\t{{.Name}}\t{{.State}}\t{{.Agent}}\t{{.Message}}"),
    };
    print!("{}", render(format, &COLUMNS, rows)?);
    Ok(0)
}

fn task_row(task: &Json, trunc: bool) -> Row {
    let latest = task["statuses"].as_array().and_then(|statuses| statuses.last());
    let message = latest.map(|status| text(status, "message")).unwrap_or_default();
    row! {
        "ID": text(task, "id"),
        "Name": text(task, "name"),
        "State": text(task, "state"),
        "Cpus": task["resources"]["cpus"].to_string(),
        "Mem": task["resources"]["mem"].to_string(),
        "Agent": text(task, "slave_id"),
        "Framework": text(task, "framework_id"),
        "Message": if trunc { ellipsis(message, MESSAGE_MAX) } else { message.to_owned() },
    }
}
