//! What a request means in a state: act, already so, or refuse. Pure, in Docker's words.

use super::record::ContainerRecord;
use super::state::Status;
use crate::{Error, Result};

/// What somebody wants of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Stop,
    Kill,
    Pause,
    Unpause,
    Remove { force: bool },
    Rename,
    Update,
    Resize,
    Exec,
    Attach,
}

/// Decides whether `action` makes sense now.
///
/// # Errors
/// NotModified when it is so already, Conflict when it cannot be.
pub(crate) fn decide(record: &ContainerRecord, action: Action) -> Result<()> {
    use Status::{Created, Dead, Exited, Paused, Removing, Restarting, Running};
    let id = &record.id;
    let name = &record.name;
    let status = record.state.status;
    let conflict = |text: String| Err(Error::Conflict(text));
    match (action, status) {
        (Action::Remove { .. }, Removing) => {
            conflict(format!("removal of container {name} is already in progress"))
        }
        (Action::Remove { force: false }, Running) => conflict(format!(
            "cannot remove container \"/{name}\": container is running: \
             stop the container before removing or force remove"
        )),
        (Action::Remove { force: false }, Paused) => conflict(format!(
            "cannot remove container \"/{name}\": container is paused and must be unpaused first"
        )),
        (Action::Remove { force: false }, Restarting) => conflict(format!(
            "cannot remove container \"/{name}\": container is restarting: \
             stop the container before removing or force remove"
        )),
        (Action::Remove { .. }, _) => Ok(()),

        (Action::Start, Dead | Removing) => {
            conflict("container is marked for removal and cannot be started".to_owned())
        }
        (_, Dead | Removing) => {
            conflict(format!("container {id} is marked for removal and cannot be changed"))
        }

        (Action::Start, Created | Exited) => Ok(()),
        (Action::Start, Paused) => {
            conflict("cannot start a paused container, try unpause instead".to_owned())
        }
        (Action::Start, Running | Restarting) => {
            Err(Error::NotModified(format!("container {id} is already started")))
        }

        (Action::Stop, Created | Exited) => {
            Err(Error::NotModified(format!("container {id} is already stopped")))
        }
        (Action::Stop | Action::Kill, Running | Paused | Restarting) => Ok(()),
        (Action::Kill, Created | Exited) => {
            conflict(format!("cannot kill container: {name}: container {id} is not running"))
        }

        (Action::Pause, Running) | (Action::Unpause, Paused) => Ok(()),
        (Action::Pause, Paused) => conflict(format!("container {id} is already paused")),
        (Action::Unpause, _) => conflict(format!("container {id} is not paused")),
        (Action::Pause | Action::Exec | Action::Attach, Restarting) => {
            conflict(format!("container {id} is restarting, wait until the container is running"))
        }
        (Action::Attach, Created | Exited | Running) => Ok(()),
        (Action::Exec | Action::Attach, Paused) => {
            let word = if action == Action::Exec { "exec" } else { "attach" };
            conflict(format!("container {id} is paused, unpause the container before {word}"))
        }
        (Action::Exec, Running) | (Action::Resize, Running | Paused) => Ok(()),
        (Action::Pause | Action::Exec | Action::Resize, _) => {
            conflict(format!("container {id} is not running"))
        }
        (Action::Rename | Action::Update, _) => Ok(()),
    }
}
