//! One resource: what it is (name, owner, disk), and how much of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::{Ranges, Scalar};
use crate::id::Role;

/// How much: every resource is one of three kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An amount: cpus, mem, disk, gpus.
    Scalar(Scalar),
    /// A set of numbers: ports.
    Ranges(Ranges),
    /// A set of names.
    Set(BTreeSet<Arc<str>>),
}

impl Value {
    /// Whether there is nothing left.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(scalar) => scalar.is_zero(),
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Set(set) => set.is_empty(),
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(ours), Self::Scalar(theirs)) => theirs <= ours,
            (Self::Ranges(ours), Self::Ranges(theirs)) => ours.contains(theirs),
            (Self::Set(ours), Self::Set(theirs)) => theirs.is_subset(ours),
            _ => false,
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(ours), Self::Scalar(theirs)) => *ours += *theirs,
            (Self::Ranges(ours), Self::Ranges(theirs)) => *ours = ours.union(theirs),
            (Self::Set(ours), Self::Set(theirs)) => ours.extend(theirs.iter().cloned()),
            // The kinds are part of what makes two resources the same.
            _ => {}
        }
    }

    /// Takes away what is there of `other`; a scalar may end below zero, which the caller excludes
    /// by asking `contains` first or clamps.
    fn subtract(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(ours), Self::Scalar(theirs)) => *ours -= *theirs,
            (Self::Ranges(ours), Self::Ranges(theirs)) => *ours = ours.difference(theirs),
            (Self::Set(ours), Self::Set(theirs)) => ours.retain(|item| !theirs.contains(item)),
            _ => {}
        }
    }

    const fn same_kind(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Scalar(_), Self::Scalar(_))
                | (Self::Ranges(_), Self::Ranges(_))
                | (Self::Set(_), Self::Set(_))
        )
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Ranges(ranges) => ranges.fmt(f),
            Self::Set(set) => {
                let items: Vec<&str> = set.iter().map(AsRef::as_ref).collect();
                write!(f, "{{{}}}", items.join(", "))
            }
        }
    }
}

/// Who made a reservation: the agent's flags, or a framework or operator while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservationKind {
    /// From the agent's `--resources`; stays as long as the agent.
    Static,
    /// By RESERVE; can be undone by UNRESERVE.
    Dynamic,
}

/// One level of a reservation. Several form a stack: each refines the one below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reservation {
    pub kind: ReservationKind,
    pub role: Role,
    pub principal: Option<Arc<str>>,
    /// Key and optional value, in the given order.
    pub labels: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// What sort of storage a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskSourceKind {
    Unknown,
    /// A directory: can be split among volumes.
    Path,
    /// A whole mounted file system: given away entire or not at all.
    Mount,
    Block,
    Raw,
}

/// Where a disk comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskSource {
    pub kind: DiskSourceKind,
    /// The root of a PATH or MOUNT source.
    pub root: Option<Arc<str>>,
    pub id: Option<Arc<str>>,
    pub profile: Option<Arc<str>>,
    pub vendor: Option<Arc<str>>,
    /// Labels of the storage plugin.
    pub metadata: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// Makes a disk a volume that outlives its task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Persistence {
    pub id: Arc<str>,
    pub principal: Option<Arc<str>>,
}

/// Where a disk appears inside a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume {
    pub container_path: Arc<str>,
    pub host_path: Option<Arc<str>>,
    pub read_only: bool,
}

/// What distinguishes one disk from another.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disk {
    pub persistence: Option<Persistence>,
    pub volume: Option<Volume>,
    pub source: Option<DiskSource>,
}

/// One resource of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    pub name: Arc<str>,
    pub value: Value,
    /// Outermost owner last; empty means unreserved.
    pub reservations: Vec<Reservation>,
    /// The role it is offered or allocated to; none while it is free.
    pub allocation: Option<Role>,
    pub disk: Option<Arc<Disk>>,
    /// Oversubscribed: can be taken back at any time.
    pub revocable: bool,
    /// Several tasks may hold it at once; then `copies` counts how often it is held.
    pub shared: bool,
    /// How many holders a shared resource stands for; one for all others.
    pub copies: u32,
    pub provider: Option<Arc<str>>,
}

/// The name of a resource. The usual ones are made once: there are tens of thousands of resources
/// and a handful of names.
pub(super) fn name(name: &str) -> Arc<str> {
    static USUAL: LazyLock<[Arc<str>; 5]> =
        LazyLock::new(|| ["cpus", "mem", "disk", "ports", "gpus"].map(Arc::from));
    USUAL.iter().find(|usual| ***usual == *name).cloned().unwrap_or_else(|| name.into())
}

impl Resource {
    /// An unreserved resource of the given name.
    pub fn new(name: &str, value: Value) -> Self {
        Self {
            name: self::name(name),
            value,
            reservations: Vec::new(),
            allocation: None,
            disk: None,
            revocable: false,
            shared: false,
            copies: 1,
            provider: None,
        }
    }

    /// An unreserved amount.
    pub fn scalar(name: &str, amount: f64) -> Self {
        Self::new(name, Value::Scalar(Scalar::from_f64(amount)))
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.copies == 0 || self.value.is_empty() && !self.shared
    }

    /// The amount, if it is one.
    pub const fn amount(&self) -> Option<Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(*scalar),
            _ => None,
        }
    }

    /// The role it is reserved to; none when unreserved.
    pub fn reserved_role(&self) -> Option<&Role> {
        self.reservations.last().map(|reservation| &reservation.role)
    }

    /// Whether anybody may have it.
    pub const fn is_unreserved(&self) -> bool {
        self.reservations.is_empty()
    }

    /// Whether it was reserved while the agent runs.
    pub fn is_dynamically_reserved(&self) -> bool {
        self.reservations.last().is_some_and(|top| top.kind == ReservationKind::Dynamic)
    }

    /// The identity of its persistent volume.
    pub fn persistence(&self) -> Option<&Persistence> {
        self.disk.as_ref()?.persistence.as_ref()
    }

    /// Whether it is a persistent volume.
    pub fn is_persistent_volume(&self) -> bool {
        self.persistence().is_some()
    }

    /// What kind of disk it is; none for the agent's root disk and for all that is no disk.
    pub fn disk_source(&self) -> Option<&DiskSource> {
        self.disk.as_ref()?.source.as_ref()
    }

    /// Whether it is given away entire or not at all.
    pub fn is_indivisible(&self) -> bool {
        self.is_persistent_volume()
            || self.disk_source().is_some_and(|source| match source.kind {
                DiskSourceKind::Mount | DiskSourceKind::Block => true,
                // A raw or path disk with an identity is one device; without it, a pool.
                DiskSourceKind::Raw => source.id.is_some(),
                DiskSourceKind::Path | DiskSourceKind::Unknown => false,
            })
    }

    /// Whether both are the same thing, however much of it.
    pub fn same_identity(&self, other: &Self) -> bool {
        self.allocation == other.allocation && self.same_but_for_allocation(other)
    }

    /// Whether both are the same thing, whomever each is allocated to.
    pub(super) fn same_but_for_allocation(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value.same_kind(&other.value)
            && self.revocable == other.revocable
            && self.shared == other.shared
            && self.reservations == other.reservations
            && self.disk == other.disk
            && self.provider == other.provider
    }

    /// Whether the two can become one entry. Two volumes never do, nor two whole disks.
    pub(super) fn can_merge(&self, other: &Self) -> bool {
        if !self.same_identity(other) {
            return false;
        }
        if self.shared {
            return self.value == other.value;
        }
        !self.is_indivisible()
    }

    /// Whether `other` is a part of this one.
    pub fn contains(&self, other: &Self) -> bool {
        if !self.same_identity(other) || other.copies > self.copies {
            return false;
        }
        if self.shared || self.is_indivisible() {
            return self.value == other.value;
        }
        self.value.contains(&other.value)
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.shared {
            self.copies = self.copies.saturating_add(other.copies);
        } else {
            self.value.add(&other.value);
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        if self.shared {
            self.copies = self.copies.saturating_sub(other.copies);
        } else {
            self.value.subtract(&other.value);
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(role) = &self.allocation {
            write!(f, "(allocated: {role})")?;
        }
        if !self.reservations.is_empty() {
            f.write_str("(reservations: [")?;
            for (i, reservation) in self.reservations.iter().enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                let kind = match reservation.kind {
                    ReservationKind::Static => "STATIC",
                    ReservationKind::Dynamic => "DYNAMIC",
                };
                write!(f, "{comma}({kind},{}", reservation.role)?;
                if let Some(principal) = &reservation.principal {
                    write!(f, ",{principal}")?;
                }
                f.write_str(")")?;
            }
            f.write_str("])")?;
        }
        if let Some(disk) = &self.disk {
            f.write_str("[")?;
            if let Some(source) = &disk.source {
                write!(f, "{:?}", source.kind)?;
            }
            if let Some(persistence) = &disk.persistence {
                write!(f, "{}", persistence.id)?;
            }
            if let Some(volume) = &disk.volume {
                write!(f, ":{}", volume.container_path)?;
            }
            f.write_str("]")?;
        }
        if self.revocable {
            f.write_str("{REV}")?;
        }
        if self.shared {
            write!(f, "<SHARED>")?;
        }
        write!(f, ":{}", self.value)
    }
}
