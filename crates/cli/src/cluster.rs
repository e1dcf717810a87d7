//! Clusters: looking at one, and running a small one.

mod status;
mod up;
mod view;

pub(crate) use status::status;
pub(crate) use up::{AGENT_PORT, IP, PORT, WORK_DIR, end_with_parent, up};
pub(crate) use view::{Agent, View, list, master_of};
