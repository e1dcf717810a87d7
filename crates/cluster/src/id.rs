//! Identifiers as newtypes: cheap to clone, ordered, and impossible to mix up.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Names a framework: `<master id>-0001`, or whatever a framework brought along.
    FrameworkId
}
id! {
    /// Names an agent: `<master id>-S0`.
    AgentId
}
id! {
    /// Names a task among those of its framework; chosen by the framework.
    TaskId
}
id! {
    /// Names an executor among those of its framework on one agent.
    ExecutorId
}
id! {
    /// Names one run of an executor, and the container it is in: a UUID. One inside of another is
    /// `<the other's>.<its own>`.
    ContainerId
}
id! {
    /// Names an offer: `<master id>-O0`.
    OfferId
}
id! {
    /// A role or a path of roles: `web`, `eng/web`, `*`.
    Role
}

impl ContainerId {
    /// Names a container inside of this one.
    #[must_use]
    pub fn child(&self, own: &str) -> Self {
        Self::from(format!("{self}.{own}"))
    }

    /// The container that it is inside of, and its own name there.
    pub fn split(&self) -> Option<(Self, &str)> {
        let (parent, own) = self.as_str().rsplit_once('.')?;
        Some((Self::from(parent), own))
    }

    /// As messages have it.
    pub fn to_wire(&self) -> mesos_api::v1::ContainerId {
        match self.split() {
            Some((parent, own)) => mesos_api::v1::ContainerId {
                value: own.to_owned(),
                parent: Some(Box::new(parent.to_wire())),
            },
            None => self.as_str().into(),
        }
    }
}

impl Role {
    /// The role of whoever names none.
    pub fn star() -> Self {
        Self::from("*")
    }
}

macro_rules! from_message {
    ($($name:ident),*) => {$(
        impl From<&mesos_api::v1::$name> for $name {
            fn from(message: &mesos_api::v1::$name) -> Self {
                Self::from(message.value.as_str())
            }
        }

        impl From<&$name> for mesos_api::v1::$name {
            fn from(id: &$name) -> Self {
                Self { value: id.as_str().to_owned() }
            }
        }
    )*};
}

from_message!(FrameworkId, AgentId, TaskId, ExecutorId, OfferId);
