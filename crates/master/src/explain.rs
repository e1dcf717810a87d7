//! Which explanations a question asks for. The words are the core's.

use cluster::id::{FrameworkId, TaskId};
use cluster::master::{FrameworkExplanation, Master, TaskExplanation};
use mesos_api::v1::{Task, TaskState};

/// How many tasks are explained if nobody asks for a certain one.
const TASKS_MAX: usize = 100;

/// What is to be explained; nothing said means everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) framework: Option<FrameworkId>,
    pub(crate) task: Option<TaskId>,
}

/// The explanations.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// With the frameworks' names.
    pub(crate) frameworks: Vec<(String, FrameworkExplanation)>,
    pub(crate) tasks: Vec<(FrameworkId, TaskExplanation)>,
}

/// Answers a question.
pub(crate) fn answer(core: &Master, question: &Question) -> Answer {
    let mut answer = Answer::default();
    let asked = |id: &FrameworkId| question.framework.as_ref().is_none_or(|asked| asked == id);
    for framework in core.snapshot().frameworks.iter().filter(|framework| asked(&framework.id)) {
        let id = &framework.id;
        if let Some(explained) = core.explain_framework(id) {
            answer.frameworks.push((framework.info.name.clone(), explained));
        }
        // Of what runs there is nothing to explain.
        let live = framework.tasks.iter().filter(|task| task.state() != TaskState::TaskRunning);
        let past = framework.completed_tasks.iter().rev().filter(|task| did_not_start(task));
        let refused = framework.refused_tasks.iter().rev();
        let tasks = refused.chain(live).chain(past).map(|task| &task.task_id);
        let tasks: Vec<TaskId> = match &question.task {
            Some(task) => vec![task.clone()],
            None => tasks.take(TASKS_MAX).map(TaskId::from).collect(),
        };
        let explained = tasks.iter().filter_map(|task| core.explain_task(id, task));
        let known = explained.filter(|task| question.framework.is_some() || task.state.is_some());
        answer.tasks.extend(known.map(|task| (id.clone(), task)));
    }
    answer
}

/// Whether a task ended without having run, although nobody killed it.
fn did_not_start(task: &Task) -> bool {
    let asked_for = matches!(task.state(), TaskState::TaskFinished | TaskState::TaskKilled);
    !asked_for && task.statuses.iter().all(|status| status.state() != TaskState::TaskRunning)
}
