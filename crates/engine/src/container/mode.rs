//! The namespace modes of a container (`host`, `container:ID`, …) and how they are spelled.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Which network a container's process sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkMode {
    /// Not said, or `default`: the default bridge.
    #[default]
    Default,
    /// `bridge`
    Bridge,
    /// `host`
    Host,
    /// `none`
    None,
    /// `container:ID`
    Container(String),
    /// A user-defined network, by name or id.
    User(String),
}

/// Which System V IPC objects and `/dev/shm` a container's process sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpcMode {
    /// Not said: private.
    #[default]
    Unset,
    /// Own namespace without `/dev/shm`.
    None,
    /// Own namespace that others cannot join.
    Private,
    /// Own namespace that others can join.
    Shareable,
    /// The host's.
    Host,
    /// `container:ID`
    Container(String),
}

/// Which processes a container's process sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PidMode {
    /// Own namespace.
    #[default]
    Private,
    /// The host's.
    Host,
    /// `container:ID`
    Container(String),
}

/// Whose host name a container's process sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UtsMode {
    /// Own namespace.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// Which cgroup root a container's process sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CgroupnsMode {
    /// Not said: private on cgroup v2, host on v1.
    #[default]
    Unset,
    /// Own namespace.
    Private,
    /// The host's.
    Host,
}

impl NetworkMode {
    /// Whether the container gets an endpoint on a bridge or user-defined network.
    #[must_use]
    pub fn has_endpoint(&self) -> bool {
        matches!(self, Self::Default | Self::Bridge | Self::User(_))
    }

    /// Whether the container has a network namespace of its own.
    #[must_use]
    pub fn has_sandbox(&self) -> bool {
        !matches!(self, Self::Host | Self::Container(_))
    }

    /// The network's name for modes that name one: `bridge`, `host`, `none` or a user's.
    #[must_use]
    pub fn network_name(&self) -> Option<&str> {
        match self {
            Self::Default | Self::Bridge => Some("bridge"),
            Self::Host => Some("host"),
            Self::None => Some("none"),
            Self::User(name) => Some(name),
            Self::Container(_) => None,
        }
    }
}

impl FromStr for NetworkMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "" | "default" => Self::Default,
            "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            other => match other.strip_prefix("container:") {
                Some("") => {
                    return Err(Error::InvalidParameter(
                        "invalid container format container:<name|id>".to_owned(),
                    ));
                }
                Some(id) => Self::Container(id.to_owned()),
                None => Self::User(other.to_owned()),
            },
        })
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(id) => write!(f, "container:{id}"),
            Self::User(name) => f.write_str(name),
        }
    }
}

impl FromStr for IpcMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "" => Self::Unset,
            "none" => Self::None,
            "private" => Self::Private,
            "shareable" => Self::Shareable,
            "host" => Self::Host,
            other => match other.strip_prefix("container:") {
                Some(id) if !id.is_empty() => Self::Container(id.to_owned()),
                _ => return Err(Error::InvalidParameter(format!("invalid IPC mode: {other}"))),
            },
        })
    }
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::None => f.write_str("none"),
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "container:{id}"),
        }
    }
}

impl FromStr for PidMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "" | "private" => Self::Private,
            "host" => Self::Host,
            other => match other.strip_prefix("container:") {
                Some(id) if !id.is_empty() => Self::Container(id.to_owned()),
                _ => return Err(Error::InvalidParameter(format!("invalid PID mode: {other}"))),
            },
        })
    }
}

impl fmt::Display for PidMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => Ok(()),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "container:{id}"),
        }
    }
}

impl FromStr for UtsMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            other => Err(Error::InvalidParameter(format!("invalid UTS mode: {other}"))),
        }
    }
}

impl fmt::Display for UtsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Host { "host" } else { "" })
    }
}

impl FromStr for CgroupnsMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "" => Ok(Self::Unset),
            "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            other => {
                Err(Error::InvalidParameter(format!("invalid cgroup namespace mode: {other}")))
            }
        }
    }
}

impl fmt::Display for CgroupnsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unset => "",
            Self::Private => "private",
            Self::Host => "host",
        })
    }
}

// Serde goes through the spelling, so that disk and API say the same.
macro_rules! spelled {
    ($($mode:ty),*) => {$(
        impl TryFrom<String> for $mode {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }
        impl From<$mode> for String {
            fn from(mode: $mode) -> Self {
                mode.to_string()
            }
        }
    )*};
}
spelled!(NetworkMode, IpcMode, PidMode, UtsMode, CgroupnsMode);
