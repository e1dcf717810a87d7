//! `/explain`: why a framework gets no offers, and why a task did not start, in words.

use mesos_api::json::Writer;

use super::Server;
use super::forms::Fields;
use super::legacy::member;
use super::reply::{self, Response};
use crate::explain::{Answer, Question};

/// Answers a question about frameworks and tasks.
pub(super) async fn answer(server: &Server, query: &Fields) -> Response {
    let question = Question {
        framework: query.get("framework_id").map(Into::into),
        task: query.get("task_id").map(Into::into),
    };
    match server.handle.explain(question).await {
        Ok(answer) => reply::jsonp(write(&answer), query.get("jsonp")),
        Err(gone) => reply::ending(gone),
    }
}

fn write(answer: &Answer) -> String {
    let mut to = Writer::new();
    to.begin_object();
    to.array("frameworks", |to| {
        for (name, framework) in &answer.frameworks {
            to.begin_object();
            member(to, "id", framework.framework_id.as_str());
            member(to, "name", name);
            count(to, "offers", framework.offers_out);
            to.array("roles", |to| {
                for (role, explanation) in &framework.roles {
                    to.begin_object();
                    member(to, "role", role.as_str());
                    count(to, "offerable", explanation.offerable);
                    to.array("obstacles", |to| {
                        for (obstacle, agents) in &explanation.obstacles {
                            to.begin_object();
                            count(to, "agents", *agents);
                            member(to, "why", &obstacle.to_string());
                            to.end_object();
                        }
                    });
                    to.end_object();
                }
            });
            to.array("reasons", |to| framework.sentences.iter().for_each(|it| to.string(it)));
            to.end_object();
        }
    });
    to.array("tasks", |to| {
        for (framework, task) in &answer.tasks {
            to.begin_object();
            member(to, "framework_id", framework.as_str());
            member(to, "id", task.task_id.as_str());
            if let Some(state) = task.state {
                member(to, "state", state.as_str_name());
            }
            member(to, "why", &task.sentences.join(" "));
            to.end_object();
        }
    });
    to.end_object();
    to.into_string()
}

fn count(to: &mut Writer, name: &str, value: usize) {
    to.name(name);
    to.u64(value as u64);
}
