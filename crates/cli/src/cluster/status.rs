//! `cluster status`: who is there, and what stands in whose way, in words.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::view::{View, list, master_of};
use crate::grammar::{Call, Outcome};
use crate::table::align;

/// Agents shown one by one; those that need a look come first.
const AGENTS_MAX: usize = 20;
const MIN_WIDTH: usize = 8;
const PADDING: usize = 2;

/// `cluster status [OPTIONS]`
pub(crate) async fn status(call: Call<'_>) -> Outcome {
    let mut view = View::new(&master_of(&call.flags))?;
    let state = view.get("/state").await?;
    // The original has no such endpoint: everything else can be told of it all the same.
    let explained = view.get("/explain").await;
    let explanation = explained.as_ref().ok();
    print!("{}", render(view.address(), &state, explanation));
    if explanation.is_none() {
        println!("\nThis master does not explain itself (it has no /explain).");
    }
    Ok(0)
}

/// Writes the whole answer.
fn render(address: &str, state: &Json, explanation: Option<&Json>) -> String {
    let mut text = String::new();
    let name = state["cluster"].as_str().map(|name| format!(" of cluster {name}"));
    let version = state["version"].as_str().unwrap_or("?");
    let id = state["id"].as_str().unwrap_or("?");
    // Writing to a string does not fail.
    let _ =
        writeln!(text, "Master {address}{}, version {version}, id {id}", name.unwrap_or_default());
    agents(&mut text, state);
    frameworks(&mut text, state, explanation);
    tasks(&mut text, state, explanation);
    text
}

fn agents(text: &mut String, state: &Json) {
    let mut agents = list(state, "slaves");
    agents.sort_by_key(|agent| agent["active"] == true && agent["deactivated"] != true);
    let away = state["unreachable_slaves"].as_u64().unwrap_or(0);
    let _ = write!(text, "\nAgents: {}", agents.len());
    let _ = if away > 0 { writeln!(text, ", and {away} unreachable") } else { writeln!(text) };
    if agents.is_empty() {
        let _ = writeln!(
            text,
            "  There are none, so nobody gets offers: start one with 'teu agent --master=…'."
        );
        return;
    }
    let mut lines = vec!["  HOST\tID\tCPUS\tMEM MB\tSTATE".to_owned()];
    for agent in agents.iter().take(AGENTS_MAX) {
        let used = |name: &str| {
            let number = |of: &str| agent[of][name].as_f64().unwrap_or(0.0);
            format!("{}/{}", number("used_resources"), number("resources"))
        };
        let word = match (agent["active"].as_bool(), agent["deactivated"].as_bool()) {
            (_, Some(true)) => "deactivated",
            (Some(false), _) => "disconnected",
            _ => "active",
        };
        let host = agent["hostname"].as_str().unwrap_or("?");
        let id = agent["id"].as_str().unwrap_or("?");
        lines.push(format!("  {host}\t{id}\t{}\t{}\t{word}", used("cpus"), used("mem")));
    }
    text.push_str(&align(&lines, MIN_WIDTH, PADDING));
    if agents.len() > AGENTS_MAX {
        let more = agents.len() - AGENTS_MAX;
        let _ = writeln!(text, "  and {more} more");
    }
}

fn frameworks(text: &mut String, state: &Json, explanation: Option<&Json>) {
    let frameworks = list(state, "frameworks");
    let _ = writeln!(text, "\nFrameworks: {}", frameworks.len());
    for framework in &frameworks {
        let id = framework["id"].as_str().unwrap_or("?");
        let name = framework["name"].as_str().unwrap_or("?");
        let word = match (framework["connected"].as_bool(), framework["active"].as_bool()) {
            (Some(false), _) => "disconnected",
            (_, Some(false)) => "inactive",
            _ => "active",
        };
        let tasks = list(framework, "tasks").len();
        let offers = list(framework, "offers").len();
        let _ = writeln!(text, "  {name} ({id}): {word}, tasks: {tasks}, offers held: {offers}");
        let about = explanation.map(|all| list(all, "frameworks")).unwrap_or_default();
        for explained in about.iter().filter(|explained| explained["id"] == id) {
            obstacles(text, explained);
        }
    }
}

fn obstacles(text: &mut String, framework: &Json) {
    let reasons = list(framework, "reasons");
    for reason in &reasons {
        let _ = writeln!(text, "    {}", reason.as_str().unwrap_or_default());
    }
    // The sentences tell the roles' numbers as well.
    if !reasons.is_empty() {
        return;
    }
    for role in list(framework, "roles") {
        let name = role["role"].as_str().unwrap_or("?");
        let offerable = role["offerable"].as_u64().unwrap_or(0);
        let _ = writeln!(text, "    role {name}: {offerable} agents would be offered next");
        for obstacle in list(&role, "obstacles") {
            let agents = obstacle["agents"].as_u64().unwrap_or(0);
            let why = obstacle["why"].as_str().unwrap_or_default();
            let _ = writeln!(text, "      {agents} not: {why}");
        }
    }
}

/// Tasks that do not run, with the reason.
fn tasks(text: &mut String, state: &Json, explanation: Option<&Json>) {
    let mut running = 0;
    let mut others = Vec::new();
    for framework in list(state, "frameworks") {
        for task in list(&framework, "tasks") {
            match task["state"].as_str() {
                Some("TASK_RUNNING") => running += 1,
                _ => others.push(task),
            }
        }
    }
    let explained = explanation.map(|all| list(all, "tasks")).unwrap_or_default();
    others.retain(|task| !explained.iter().any(|e| e["id"] == task["id"]));
    let not = others.len() + explained.len();
    let _ = writeln!(text, "\nTasks: {running} running, {not} not");
    for task in &others {
        let latest = list(task, "statuses");
        let message = latest.last().and_then(|status| status["message"].as_str());
        line(text, task, message.unwrap_or_default());
    }
    for task in &explained {
        line(text, task, task["why"].as_str().unwrap_or_default());
    }
}

fn line(text: &mut String, task: &Json, why: &str) {
    let id = task["id"].as_str().unwrap_or("?");
    let state = task["state"].as_str().unwrap_or("?");
    let said = match why {
        "" => state.to_owned(),
        // The last update tells the state itself.
        why if why.starts_with(state) => why.to_owned(),
        why => format!("{state}: {why}"),
    };
    let _ = writeln!(text, "  {id} {said}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_cluster_says_what_to_do() {
        let state = json!({"version": "1.11.0", "id": "m", "slaves": [], "frameworks": []});
        let text = render("h:5050", &state, None);
        assert!(text.contains("Master h:5050, version 1.11.0, id m"), "{text}");
        assert!(text.contains("start one with 'teu agent"), "{text}");
    }

    #[test]
    fn obstacles_stand_below_their_framework() {
        let state = json!({
            "version": "1.11.0", "id": "m", "cluster": "lab",
            "slaves": [{"hostname": "a1", "id": "m-S0", "active": true,
                        "resources": {"cpus": 4.0, "mem": 1024.0},
                        "used_resources": {"cpus": 0.5, "mem": 32.0}}],
            "frameworks": [{"id": "m-0000", "name": "web", "connected": true, "active": true,
                            "tasks": [{"id": "t1", "state": "TASK_STAGING", "statuses": []},
                                      {"id": "t2", "state": "TASK_FAILED", "statuses": []}]}],
        });
        let explanation = json!({
            "frameworks": [{"id": "m-0000", "roles": [{"role": "*", "offerable": 0, "obstacles":
                [{"agents": 1, "why": "the framework declined it"}]}]}],
            "tasks": [{"id": "t1", "state": "TASK_STAGING", "why": "the image is being pulled"},
                      {"id": "t2", "state": "TASK_FAILED", "why": "TASK_FAILED: no such image"}],
        });
        expect_test::expect![[r"
            Master h:5050 of cluster lab, version 1.11.0, id m

            Agents: 1
              HOST  ID      CPUS    MEM MB   STATE
              a1    m-S0    0.5/4   32/1024  active

            Frameworks: 1
              web (m-0000): active, tasks: 2, offers held: 0
                role *: 0 agents would be offered next
                  1 not: the framework declined it

            Tasks: 0 running, 2 not
              t1 TASK_STAGING: the image is being pulled
              t2 TASK_FAILED: no such image
        "]]
        .assert_eq(&render("h:5050", &state, Some(&explanation)));
    }
}
