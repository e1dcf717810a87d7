//! Resources as messages carry them, in both formats: the older with `role` and `reservation`, and
//! the newer with a stack of `reservations`. Incoming resources may be in either.

#![expect(deprecated, reason = "the older format is still what most frameworks speak")]

use std::sync::Arc;

use mesos_api::v1;
use mesos_api::v1::resource::{
    AllocationInfo, DiskInfo, ReservationInfo, RevocableInfo, SharedInfo, disk_info,
    reservation_info,
};

use super::{
    Disk, DiskSource, DiskSourceKind, Persistence, Ranges, Reservation, ReservationKind, Resource,
    Resources, Scalar, Value, Volume,
};
use crate::id::Role;
use crate::role;

/// Which of the two formats a peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `role` and `reservation`: peers without RESERVATION_REFINEMENT. Cannot say a stack.
    Plain,
    /// `reservations`.
    Refined,
}

type Labels = Vec<(Arc<str>, Option<Arc<str>>)>;

impl Resources {
    /// Reads and checks resources of a message.
    ///
    /// # Errors
    /// Says, in Mesos' words, what is wrong with the first bad one.
    pub fn from_wire(resources: &[v1::Resource]) -> Result<Self, String> {
        let mut all = Self::with_room(resources.len());
        for resource in resources {
            all.add(&Resource::from_wire(resource)?);
        }
        Ok(all)
    }

    /// Writes resources for a message. A shared one is repeated as often as it is held.
    pub fn to_wire(&self, format: Format) -> Vec<v1::Resource> {
        self.iter().flat_map(|item| (0..item.copies).map(move |_| item.to_wire(format))).collect()
    }
}

impl Resource {
    /// Reads and checks one resource of a message.
    ///
    /// # Errors
    /// Says, in Mesos' words, what is wrong with it.
    pub fn from_wire(wire: &v1::Resource) -> Result<Self, String> {
        if wire.name.is_empty() {
            return Err("Empty resource name".into());
        }
        if wire.disk.is_some() && wire.name != "disk" {
            return Err(format!("DiskInfo should not be set for {} resource", wire.name));
        }
        Ok(Self {
            name: super::resource::name(&wire.name),
            value: value_from_wire(wire)?,
            reservations: reservations_from_wire(wire)?,
            allocation: wire
                .allocation_info
                .as_ref()
                .and_then(|info| info.role.as_deref())
                .map(Role::from),
            disk: wire.disk.as_ref().map(|disk| Arc::new(disk_from_wire(disk))),
            revocable: wire.revocable.is_some(),
            shared: wire.shared.is_some(),
            copies: 1,
            provider: wire.provider_id.as_ref().map(|id| id.value.as_str().into()),
        })
    }

    /// Writes the resource for a message.
    pub fn to_wire(&self, format: Format) -> v1::Resource {
        let mut wire = v1::Resource {
            name: self.name.to_string(),
            allocation_info: self
                .allocation
                .as_ref()
                .map(|role| AllocationInfo { role: Some(role.to_string()) }),
            disk: self.disk.as_deref().map(|disk| Box::new(disk_to_wire(disk))),
            revocable: self.revocable.then_some(RevocableInfo {}),
            shared: self.shared.then_some(SharedInfo {}),
            provider_id: self
                .provider
                .as_ref()
                .map(|id| v1::ResourceProviderId { value: id.to_string() }),
            ..v1::Resource::default()
        };
        value_to_wire(&self.value, &mut wire);
        match format {
            Format::Refined => {
                wire.reservations = self.reservations.iter().map(reservation_to_wire).collect();
            }
            Format::Plain => {
                wire.role = Some(self.reserved_role().map_or("*", Role::as_str).to_owned());
                wire.reservation = self
                    .reservations
                    .last()
                    .filter(|top| top.kind == ReservationKind::Dynamic)
                    .map(|top| {
                        Box::new(ReservationInfo {
                            principal: top.principal.as_deref().map(str::to_owned),
                            labels: labels_to_wire(&top.labels),
                            ..ReservationInfo::default()
                        })
                    });
            }
        }
        wire
    }
}

fn value_from_wire(wire: &v1::Resource) -> Result<Value, String> {
    match v1::value::Type::try_from(wire.r#type) {
        Ok(v1::value::Type::Scalar) => match (&wire.scalar, &wire.ranges, &wire.set) {
            (Some(scalar), None, None) if !scalar.value.is_finite() => {
                Err("Invalid scalar resource: value is not finite".into())
            }
            (Some(scalar), None, None) if scalar.value < 0.0 => {
                Err("Invalid scalar resource: value < 0".into())
            }
            (Some(scalar), None, None) => Ok(Value::Scalar(Scalar::from_f64(scalar.value))),
            _ => Err("Invalid scalar resource".into()),
        },
        Ok(v1::value::Type::Ranges) => match (&wire.scalar, &wire.ranges, &wire.set) {
            (None, Some(ranges), None) => {
                if ranges.range.iter().any(|range| range.begin > range.end) {
                    return Err("Invalid ranges resource: begin > end".into());
                }
                let ranges = ranges.range.iter().map(|range| (range.begin, range.end));
                if Ranges::overlap(ranges.clone()) {
                    return Err("Invalid ranges resource: overlapping ranges".into());
                }
                Ok(Value::Ranges(Ranges::new(ranges)))
            }
            _ => Err("Invalid ranges resource".into()),
        },
        Ok(v1::value::Type::Set) => match (&wire.scalar, &wire.ranges, &wire.set) {
            (None, None, Some(set)) => {
                Ok(Value::Set(set.item.iter().map(|item| item.as_str().into()).collect()))
            }
            _ => Err("Invalid set resource".into()),
        },
        _ => Err("Unsupported resource type".into()),
    }
}

fn value_to_wire(value: &Value, wire: &mut v1::Resource) {
    match value {
        Value::Scalar(scalar) => {
            wire.set_type(v1::value::Type::Scalar);
            wire.scalar = Some(v1::value::Scalar { value: scalar.as_f64() });
        }
        Value::Ranges(ranges) => {
            wire.set_type(v1::value::Type::Ranges);
            let range = ranges.iter().map(|(begin, end)| v1::value::Range { begin, end }).collect();
            wire.ranges = Some(v1::value::Ranges { range });
        }
        Value::Set(set) => {
            wire.set_type(v1::value::Type::Set);
            let item = set.iter().map(ToString::to_string).collect();
            wire.set = Some(v1::value::Set { item });
        }
    }
}

fn reservations_from_wire(wire: &v1::Resource) -> Result<Vec<Reservation>, String> {
    let stack: Vec<Reservation> = if !wire.reservations.is_empty() {
        if wire.reservation.is_some() || wire.role.is_some() {
            return Err(
                "Invalid resource format: 'reservations' excludes 'role' and 'reservation'".into(),
            );
        }
        wire.reservations.iter().map(reservation_from_wire).collect::<Result<_, _>>()?
    } else {
        match (wire.role.as_deref(), &wire.reservation) {
            (None | Some("*"), None) => Vec::new(),
            (None | Some("*"), Some(_)) => {
                return Err("Invalid reservation: role \"*\" cannot be dynamically reserved".into());
            }
            (Some(role), reservation) => vec![Reservation {
                kind: reservation
                    .as_ref()
                    .map_or(ReservationKind::Static, |_| ReservationKind::Dynamic),
                role: role.into(),
                principal: reservation
                    .as_ref()
                    .and_then(|reservation| reservation.principal.as_deref())
                    .map(Into::into),
                labels: reservation
                    .as_ref()
                    .map(|reservation| labels_from_wire(reservation.labels.as_ref()))
                    .unwrap_or_default(),
            }],
        }
    };
    for (i, level) in stack.iter().enumerate() {
        role::validate(level.role.as_str())
            .map_err(|error| format!("Invalid reservation role: {error}"))?;
        if level.role == Role::star() {
            return Err("Invalid reservation: role \"*\" cannot be reserved".into());
        }
        let refines = i == 0
            || level.kind == ReservationKind::Dynamic
                && role::is_strict_subrole(level.role.as_str(), stack[i - 1].role.as_str());
        if !refines {
            return Err(format!(
                "Invalid refined reservation: role '{}' is not a refinement of '{}'",
                level.role,
                stack[i - 1].role
            ));
        }
    }
    Ok(stack)
}

fn reservation_from_wire(wire: &ReservationInfo) -> Result<Reservation, String> {
    let kind = match wire.r#type() {
        reservation_info::Type::Static => ReservationKind::Static,
        reservation_info::Type::Dynamic => ReservationKind::Dynamic,
        reservation_info::Type::Unknown => {
            return Err("Invalid reservation: 'type' must be set".into());
        }
    };
    let Some(role) = wire.role.as_deref() else {
        return Err("Invalid reservation: 'role' must be set".into());
    };
    Ok(Reservation {
        kind,
        role: role.into(),
        principal: wire.principal.as_deref().map(Into::into),
        labels: labels_from_wire(wire.labels.as_ref()),
    })
}

fn reservation_to_wire(reservation: &Reservation) -> ReservationInfo {
    let mut wire = ReservationInfo {
        role: Some(reservation.role.to_string()),
        principal: reservation.principal.as_deref().map(str::to_owned),
        labels: labels_to_wire(&reservation.labels),
        ..ReservationInfo::default()
    };
    wire.set_type(match reservation.kind {
        ReservationKind::Static => reservation_info::Type::Static,
        ReservationKind::Dynamic => reservation_info::Type::Dynamic,
    });
    wire
}

fn labels_from_wire(labels: Option<&v1::Labels>) -> Labels {
    let Some(labels) = labels else { return Vec::new() };
    let one =
        |label: &v1::Label| (Arc::from(label.key.as_str()), label.value.as_deref().map(Arc::from));
    labels.labels.iter().map(one).collect()
}

fn labels_to_wire(labels: &Labels) -> Option<v1::Labels> {
    let one = |(key, value): &(Arc<str>, Option<Arc<str>>)| v1::Label {
        key: key.to_string(),
        value: value.as_deref().map(str::to_owned),
    };
    (!labels.is_empty()).then(|| v1::Labels { labels: labels.iter().map(one).collect() })
}

fn disk_from_wire(wire: &DiskInfo) -> Disk {
    Disk {
        persistence: wire.persistence.as_ref().map(|persistence| Persistence {
            id: persistence.id.as_str().into(),
            principal: persistence.principal.as_deref().map(Into::into),
        }),
        volume: wire.volume.as_ref().map(|volume| Volume {
            container_path: volume.container_path.as_str().into(),
            host_path: volume.host_path.as_deref().map(Into::into),
            read_only: volume.mode() == v1::volume::Mode::Ro,
        }),
        source: wire.source.as_ref().map(|source| DiskSource {
            kind: match source.r#type() {
                disk_info::source::Type::Unknown => DiskSourceKind::Unknown,
                disk_info::source::Type::Path => DiskSourceKind::Path,
                disk_info::source::Type::Mount => DiskSourceKind::Mount,
                disk_info::source::Type::Block => DiskSourceKind::Block,
                disk_info::source::Type::Raw => DiskSourceKind::Raw,
            },
            root: source
                .path
                .as_ref()
                .and_then(|path| path.root.as_deref())
                .or_else(|| source.mount.as_ref().and_then(|mount| mount.root.as_deref()))
                .map(Into::into),
            id: source.id.as_deref().map(Into::into),
            profile: source.profile.as_deref().map(Into::into),
            vendor: source.vendor.as_deref().map(Into::into),
            metadata: labels_from_wire(source.metadata.as_ref()),
        }),
    }
}

fn disk_to_wire(disk: &Disk) -> DiskInfo {
    DiskInfo {
        persistence: disk.persistence.as_ref().map(|persistence| disk_info::Persistence {
            id: persistence.id.to_string(),
            principal: persistence.principal.as_deref().map(str::to_owned),
        }),
        volume: disk.volume.as_ref().map(|volume| {
            let mut wire = v1::Volume {
                container_path: volume.container_path.to_string(),
                host_path: volume.host_path.as_deref().map(str::to_owned),
                ..v1::Volume::default()
            };
            wire.set_mode(if volume.read_only {
                v1::volume::Mode::Ro
            } else {
                v1::volume::Mode::Rw
            });
            wire
        }),
        source: disk.source.as_ref().map(source_to_wire),
    }
}

fn source_to_wire(source: &DiskSource) -> disk_info::Source {
    let root = source.root.as_deref().map(str::to_owned);
    let mut wire = disk_info::Source {
        id: source.id.as_deref().map(str::to_owned),
        profile: source.profile.as_deref().map(str::to_owned),
        vendor: source.vendor.as_deref().map(str::to_owned),
        metadata: labels_to_wire(&source.metadata),
        ..disk_info::Source::default()
    };
    let kind = match source.kind {
        DiskSourceKind::Unknown => disk_info::source::Type::Unknown,
        DiskSourceKind::Path => {
            wire.path = Some(disk_info::source::Path { root });
            disk_info::source::Type::Path
        }
        DiskSourceKind::Mount => {
            wire.mount = Some(disk_info::source::Mount { root });
            disk_info::source::Type::Mount
        }
        DiskSourceKind::Block => disk_info::source::Type::Block,
        DiskSourceKind::Raw => disk_info::source::Type::Raw,
    };
    wire.set_type(kind);
    wire
}
