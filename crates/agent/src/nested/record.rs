//! What is on disk of the operator API's containers.
//!
//! ```text
//! meta/containers/C/call              what runs: Mesos' message
//!                   launch.json       where, and for whom; there before it starts
//!                   termination.json  how it ended
//! ```

use std::fs;
use std::io;
use std::path::PathBuf;

use cluster::id::ContainerId;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::container::Termination;
use super::plan::Plan;
use crate::identity::User;
use crate::process::replace;

const VERSION: u32 = 1;
const CALL: &str = "call";
const LAUNCH: &str = "launch.json";
const TERMINATION: &str = "termination.json";

/// The records.
#[derive(Debug)]
pub(super) struct Records {
    root: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    sandbox: PathBuf,
    outer: Option<PathBuf>,
    /// User and group ids.
    user: Option<(u32, u32)>,
    framework: String,
    executor: String,
}

impl Records {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn directory(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    pub(super) fn write(&self, id: &ContainerId, plan: &Plan) -> io::Result<()> {
        let written = Written {
            version: VERSION,
            sandbox: plan.sandbox.clone(),
            outer: plan.outer.clone(),
            user: plan.user.map(|user| (user.uid, user.gid)),
            framework: plan.framework.to_string(),
            executor: plan.executor.to_string(),
        };
        let directory = self.directory(id);
        fs::create_dir_all(&directory)?;
        match fs::remove_file(directory.join(TERMINATION)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        replace(&directory.join(CALL), &plan.call.encode_to_vec())?;
        replace(&directory.join(LAUNCH), &serde_json::to_vec(&written)?)
    }

    /// Writes how one ended, unless it has been forgotten meanwhile.
    pub(super) fn end(&self, id: &ContainerId, how: &Termination) {
        let directory = self.directory(id);
        let written = serde_json::to_vec(how).map_err(io::Error::from);
        let written = written.and_then(|how| replace(&directory.join(TERMINATION), &how));
        if let Err(error) = written
            && directory.exists()
        {
            tracing::error!(container_id = %id, %error, "cannot write down how a container ended");
        }
    }

    /// All there are, those around others first.
    pub(super) fn read(&self) -> Vec<(ContainerId, Plan, Option<Termination>)> {
        let Ok(listing) = fs::read_dir(&self.root) else { return Vec::new() };
        let mut all = Vec::new();
        for entry in listing.filter_map(Result::ok) {
            let id = ContainerId::from(entry.file_name().to_string_lossy().into_owned());
            match read(&entry.path()) {
                Ok((plan, termination)) => all.push((id, plan, termination)),
                Err(error) => {
                    // Of one that was not written whole nothing has been started.
                    tracing::warn!(container_id = %id, %error, "a record is not read");
                    self.remove(&id);
                }
            }
        }
        all.sort_by_key(|(id, ..)| id.as_str().len());
        all
    }

    pub(super) fn remove(&self, id: &ContainerId) {
        let _ = fs::remove_dir_all(self.directory(id)); // it may never have been written
    }

    pub(super) fn clear(&self) {
        let _ = fs::remove_dir_all(&self.root); // there may be none
    }
}

fn read(directory: &std::path::Path) -> io::Result<(Plan, Option<Termination>)> {
    let written: Written = serde_json::from_slice(&fs::read(directory.join(LAUNCH))?)?;
    if written.version != VERSION {
        return Err(io::Error::other(format!("its version is {}", written.version)));
    }
    let call = fs::read(directory.join(CALL))?;
    let plan = Plan {
        call: mesos_api::decode(&call).map_err(io::Error::other)?,
        sandbox: written.sandbox,
        outer: written.outer,
        user: written.user.map(|(uid, gid)| User { uid, gid }),
        framework: written.framework.into(),
        executor: written.executor.into(),
    };
    match fs::read(directory.join(TERMINATION)) {
        Ok(how) => Ok((plan, Some(serde_json::from_slice(&how)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((plan, None)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesos_api::v1::CommandInfo;
    use mesos_api::v1::agent::call::LaunchContainer;

    #[test]
    fn what_was_written_is_found_and_what_is_half_written_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let records = Records::new(dir.path().join("containers"));
        assert!(records.read().is_empty());
        let command = CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() };
        let plan = Plan {
            call: LaunchContainer { command: Some(command), ..LaunchContainer::default() },
            sandbox: "/w/x".into(),
            outer: Some("/w".into()),
            user: Some(User { uid: 1, gid: 2 }),
            framework: "F".into(),
            executor: "E".into(),
        };
        for id in ["c.d", "c"] {
            records.write(&ContainerId::from(id), &plan).expect("written");
        }
        let how = Termination { status: Some(9), out_of_memory: true, message: None };
        records.end(&ContainerId::from("c.d"), &how);
        records.end(&ContainerId::from("forgotten"), &how);
        fs::create_dir(dir.path().join("containers/cut")).expect("a directory");
        let read = records.read();
        let expected = [
            (ContainerId::from("c"), plan.clone(), None),
            (ContainerId::from("c.d"), plan.clone(), Some(how)),
        ];
        assert_eq!(read, expected);
        // Launched anew it has not ended.
        records.write(&ContainerId::from("c.d"), &plan).expect("written");
        assert_eq!(records.read()[1].2, None);
        records.remove(&ContainerId::from("c.d"));
        assert_eq!(records.read().len(), 1);
    }
}
