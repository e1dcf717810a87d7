//! Where things are below `work_dir`.
//!
//! ```text
//! meta/boot_id
//! meta/resources/resources.info                 reservations and persistent volumes
//! meta/slaves/latest -> S
//! meta/slaves/S/slave.info
//! meta/slaves/S/frameworks/F/framework.info, framework.pid
//! …/executors/E/executor.info, executor_generated_for_command_task
//! …/executors/E/runs/C/tasks/T/task.info, task.updates, task.killing, task.container
//! meta/containers/C                             what the operator API has launched, and how it ended
//! meta/removed/…                                over, and being deleted
//! slaves/S/frameworks/F/executors/E/runs/C      the sandbox; runs/latest -> C
//! …/runs/C/containers/D                         that of a container inside of C, whose id is C.D
//! …/runs/C/tasks/T -> ../containers/D           and of which task it is
//! containers/C                                  the sandbox of one that is in no other
//! volumes/roles/R/ID                            persistent volumes
//! volumes/removed/…                             destroyed, and being deleted
//! processes/C                                   a process of the mesos containerizer
//! fetch/N                                       the fetcher's cache, emptied at each start
//! docker/links/C -> a sandbox whose path has a colon
//! ```

use std::path::{Path, PathBuf};

use cluster::id::{ContainerId, ExecutorId, FrameworkId, TaskId};

/// The tree of one agent id.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    work_dir: PathBuf,
}

/// An identifier as one component of a path: what would lead elsewhere is escaped.
pub(crate) fn component(id: &str) -> String {
    match id {
        "" => "%".to_owned(),
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => id.replace('%', "%25").replace('/', "%2F").replace('\0', "%00"),
    }
}

/// One run of an executor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) framework: &'a FrameworkId,
    pub(crate) executor: &'a ExecutorId,
    pub(crate) container: &'a ContainerId,
}

impl Layout {
    pub(crate) fn new(work_dir: &Path) -> Self {
        Self { work_dir: work_dir.to_owned() }
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.work_dir.join("meta")
    }

    pub(crate) fn boot_id(&self) -> PathBuf {
        self.meta().join("boot_id")
    }

    pub(crate) fn resources(&self) -> PathBuf {
        self.meta().join("resources").join("resources.info")
    }

    pub(crate) fn removed(&self) -> PathBuf {
        self.meta().join("removed")
    }

    pub(crate) fn latest(&self) -> PathBuf {
        self.meta().join("slaves").join("latest")
    }

    pub(crate) fn agent(&self, id: &str) -> PathBuf {
        self.meta().join("slaves").join(component(id))
    }

    pub(crate) fn framework(&self, agent: &str, framework: &FrameworkId) -> PathBuf {
        self.agent(agent).join("frameworks").join(component(framework.as_str()))
    }

    pub(crate) fn executor(
        &self,
        agent: &str,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> PathBuf {
        self.framework(agent, framework).join("executors").join(component(executor.as_str()))
    }

    pub(crate) fn run(&self, agent: &str, run: Run<'_>) -> PathBuf {
        self.executor(agent, run.framework, run.executor).join("runs").join(run.container.as_str())
    }

    pub(crate) fn task(&self, agent: &str, run: Run<'_>, task: &TaskId) -> PathBuf {
        self.run(agent, run).join("tasks").join(component(task.as_str()))
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.work_dir.join("slaves")
    }

    pub(crate) fn sandbox(&self, agent: &str, run: Run<'_>) -> PathBuf {
        if let Some((outer, own)) = run.container.split() {
            let outer = self.sandbox(agent, Run { container: &outer, ..run });
            return outer.join("containers").join(own);
        }
        self.sandboxes()
            .join(component(agent))
            .join("frameworks")
            .join(component(run.framework.as_str()))
            .join("executors")
            .join(component(run.executor.as_str()))
            .join("runs")
            .join(run.container.as_str())
    }

    /// The sandbox of a container that the operator API has launched inside of no other.
    pub(crate) fn standalone_sandbox(&self, container: &ContainerId) -> PathBuf {
        self.work_dir.join("containers").join(container.as_str())
    }

    /// The records of what the operator API has launched.
    pub(crate) fn nested(&self) -> PathBuf {
        self.meta().join("containers")
    }

    pub(crate) fn volume(&self, role: &str, id: &str) -> PathBuf {
        let roles = self.work_dir.join("volumes").join("roles");
        roles.join(component(role)).join(component(id))
    }

    /// Where volumes are while they are being deleted.
    pub(crate) fn removed_volumes(&self) -> PathBuf {
        self.work_dir.join("volumes").join("removed")
    }

    pub(crate) fn processes(&self) -> PathBuf {
        self.work_dir.join("processes")
    }

    pub(crate) fn link(&self, container: &ContainerId) -> PathBuf {
        self.work_dir.join("docker").join("links").join(container.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_directory() {
        for (id, expected) in
            [("a b", "a b"), ("..", "%2E%2E"), ("../x", "..%2Fx"), ("", "%"), ("a%2Fb", "a%252Fb")]
        {
            assert_eq!(component(id), expected);
        }
    }

    #[test]
    fn a_container_inside_of_another_has_its_sandbox_there() {
        let (framework, executor) = (FrameworkId::from("F"), ExecutorId::from("E"));
        let container = ContainerId::from("C").child("D");
        let run = Run { framework: &framework, executor: &executor, container: &container };
        let sandbox = Layout::new(Path::new("/w")).sandbox("S", run);
        let expected = "/w/slaves/S/frameworks/F/executors/E/runs/C/containers/D";
        assert_eq!(sandbox, Path::new(expected));
    }
}
