//! Names as strings: what the id messages have in common.

use std::fmt;

use crate::v1::{
    AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationId, ResourceProviderId, TaskId,
};

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl From<&str> for $id {
            fn from(value: &str) -> Self {
                Self::from(value.to_owned())
            }
        }

        impl AsRef<str> for $id {
            fn as_ref(&self) -> &str {
                &self.value
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.value)
            }
        }
    )*};
}

macro_rules! flat_ids {
    ($($id:ident),*) => {$(
        impl From<String> for $id {
            fn from(value: String) -> Self {
                Self { value }
            }
        }
    )*};
}

ids!(
    AgentId,
    ContainerId,
    ExecutorId,
    FrameworkId,
    OfferId,
    OperationId,
    ResourceProviderId,
    TaskId
);
flat_ids!(AgentId, ExecutorId, FrameworkId, OfferId, OperationId, ResourceProviderId, TaskId);

impl From<String> for ContainerId {
    fn from(value: String) -> Self {
        Self { value, parent: None }
    }
}
