//! Identifiers as newtypes: cheap to clone, ordered, and impossible to mix up.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }
    };
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// The order is that of the rank: length and ending first, not that of the texts.
        #[derive(Clone)]
        pub struct $name {
            rank: Rank,
            text: Arc<str>,
        }

        text!($name);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self { rank: Rank::of(text), text: text.into() }
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.rank.cmp(&other.rank).then_with(|| {
                    if Arc::ptr_eq(&self.text, &other.text) {
                        return Ordering::Equal;
                    }
                    self.text.cmp(&other.text)
                })
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.rank == other.rank
                    && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.text.hash(state);
            }
        }
    };
}

/// What identifiers are compared by first: their lengths, then their last seven bytes. The
/// identifiers that one master gives, or one framework, begin alike and differ at the end: with this
/// beside the text the text itself is hardly ever looked at, and numbers at the end are in their own
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64);

impl Rank {
    fn of(text: &str) -> Self {
        // All that are longer than this are of one length here: the text decides then.
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let mut bytes = [length, 0, 0, 0, 0, 0, 0, 0];
        for (to, byte) in bytes.iter_mut().rev().zip(text.bytes().rev().take(7)) {
            *to = byte;
        }
        Self(u64::from_be_bytes(bytes))
    }
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
/// A role or a path of roles: `web`, `eng/web`, `*`. In the order of the text: a role is before all
/// below it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role {
    text: Arc<str>,
}

text!(Role);

impl From<&str> for Role {
    fn from(text: &str) -> Self {
        // Most resources are of this one: its text is made once.
        static STAR: LazyLock<Role> = LazyLock::new(|| Role { text: "*".into() });
        if text == "*" { STAR.clone() } else { Self { text: text.into() } }
    }
}

impl Borrow<str> for Role {
    fn borrow(&self) -> &str {
        &self.text
    }
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

    /// The outermost container around it, or itself.
    #[must_use]
    pub fn root(&self) -> Self {
        self.split().map_or_else(|| self.clone(), |(parent, _)| parent.root())
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

#[cfg(test)]
mod tests;
