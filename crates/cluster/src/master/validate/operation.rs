//! What operations on resources turn into what: checked, and as a pair of before and after.

use std::sync::Arc;

use mesos_api::v1;
use mesos_api::v1::offer::operation::Type;

use crate::capability::AgentCapabilities;
use crate::id::Role;
use crate::resources::{DiskSourceKind, ReservationKind, Resource, Resources, Scalar, Value};

/// An operation's effect.
#[derive(Debug, Clone)]
pub(in crate::master) struct Conversion {
    pub(in crate::master) from: Resources,
    pub(in crate::master) to: Resources,
    /// The result can be used before the agent says that it is done: the agent is sure to do it, or
    /// is one that is told of all its resources as a whole and says nothing.
    pub(in crate::master) speculative: bool,
}

/// Who asks, and where.
pub(in crate::master) struct Context<'a> {
    /// The role the resources are allocated to; none for an operator's operation on free ones.
    pub(in crate::master) role: Option<&'a Role>,
    pub(in crate::master) principal: Option<&'a str>,
    pub(in crate::master) capabilities: AgentCapabilities,
    /// Everything the agent has.
    pub(in crate::master) total: &'a Resources,
    /// What tasks and executors hold there, without the mark of allocation.
    pub(in crate::master) used: &'a Resources,
}

/// Checks an operation by its form and tells its effect.
pub(in crate::master) fn conversion(
    context: &Context<'_>,
    operation: &v1::offer::Operation,
) -> Result<Conversion, String> {
    let missing = |name: &str| format!("Expecting '{name}' to be present");
    match operation.r#type() {
        Type::Reserve => reserve(context, operation.reserve.as_ref().ok_or_else(|| missing("reserve"))?),
        Type::Unreserve => {
            let unreserve = operation.unreserve.as_ref().ok_or_else(|| missing("unreserve"))?;
            self::unreserve(context, &unreserve.resources)
        }
        Type::Create => {
            let create = operation.create.as_ref().ok_or_else(|| missing("create"))?;
            self::create(context, &create.volumes)
        }
        Type::Destroy => {
            let destroy = operation.destroy.as_ref().ok_or_else(|| missing("destroy"))?;
            self::destroy(context, &destroy.volumes)
        }
        Type::GrowVolume => {
            let grow = operation.grow_volume.as_ref().ok_or_else(|| missing("grow_volume"))?;
            self::grow(context, &grow.volume, &grow.addition)
        }
        Type::ShrinkVolume => {
            let shrink = operation.shrink_volume.as_ref().ok_or_else(|| missing("shrink_volume"))?;
            self::shrink(context, &shrink.volume, shrink.subtract.value)
        }
        Type::CreateDisk | Type::DestroyDisk => Err(
            "CREATE_DISK and DESTROY_DISK are for storage of resource providers, which no agent of \
             this cluster has"
                .into(),
        ),
        Type::Launch | Type::LaunchGroup | Type::Unknown => Err("Unknown operation".into()),
    }
}

fn read(context: &Context<'_>, wire: &[v1::Resource]) -> Result<Resources, String> {
    if wire.is_empty() {
        return Err("No resources specified".into());
    }
    let mut all = Resources::new();
    for wire in wire {
        let mut resource = Resource::from_wire(wire)?;
        match (context.role, &resource.allocation) {
            (Some(role), None) => resource.allocation = Some(role.clone()),
            (Some(role), Some(other)) if other != role => {
                return Err(format!(
                    "The operation is for resources allocated to '{role}', and these are allocated \
                     to '{other}'"
                ));
            }
            (None, Some(_)) => {
                return Err("Resources of an operator's operation must not be allocated".into());
            }
            _ => {}
        }
        all.add(&resource);
    }
    Ok(all)
}

fn reserve(
    context: &Context<'_>,
    reserve: &v1::offer::operation::Reserve,
) -> Result<Conversion, String> {
    let to = read(context, &reserve.resources)?;
    for resource in &to {
        let Some(top) = resource.reservations.last() else {
            return Err(format!("Resource {resource} is not reserved"));
        };
        if top.kind != ReservationKind::Dynamic {
            return Err(format!("Resource {resource} is not dynamically reserved"));
        }
        if resource.is_persistent_volume() {
            return Err(format!("A persistent volume {resource} must already be reserved"));
        }
        if resource.revocable {
            return Err(format!("Resource {resource} is revocable and cannot be reserved"));
        }
        if let Some(role) = context.role
            && !crate::role::may_use(role, &top.role)
            && !crate::role::may_use(&top.role, role)
        {
            return Err(format!(
                "A reserve operation was attempted for a resource allocated to role '{role}', but \
                 to be reserved to role '{}'",
                top.role
            ));
        }
        if top.role.as_str().contains('/') && !context.capabilities.hierarchical_role {
            return Err("The agent does not know roles below roles".into());
        }
        if resource.reservations.len() > 1 && !context.capabilities.reservation_refinement {
            return Err("The agent does not know refined reservations".into());
        }
        let claimed = top.principal.as_deref();
        if context.principal.is_some() && claimed != context.principal {
            return Err(format!(
                "A reserve operation was attempted by authenticated principal '{}', but the \
                 reservation is for principal '{}'",
                context.principal.unwrap_or_default(),
                claimed.unwrap_or_default()
            ));
        }
    }
    let from = if reserve.source.is_empty() {
        to.pop_reservation()
    } else {
        read(context, &reserve.source)?
    };
    Ok(Conversion { from, to, speculative: true })
}

fn unreserve(context: &Context<'_>, wire: &[v1::Resource]) -> Result<Conversion, String> {
    let from = read(context, wire)?;
    for resource in &from {
        if !resource.is_dynamically_reserved() {
            return Err(format!("Resource {resource} is not dynamically reserved"));
        }
        if resource.is_persistent_volume() {
            return Err(format!(
                "A dynamically reserved persistent volume {resource} cannot be unreserved directly. \
                 Please destroy the persistent volume first then unreserve the resource"
            ));
        }
    }
    let to = from.pop_reservation();
    Ok(Conversion { from, to, speculative: true })
}

fn create(context: &Context<'_>, wire: &[v1::Resource]) -> Result<Conversion, String> {
    let to = read(context, wire)?;
    for volume in &to {
        let persistence = volume
            .persistence()
            .ok_or_else(|| format!("'persistence' is not set in DiskInfo of {volume}"))?;
        super::id(&persistence.id).map_err(|error| format!("Invalid persistence ID: {error}"))?;
        let Some(role) = volume.reserved_role() else {
            return Err("Persistent volumes cannot be created from unreserved resources.".into());
        };
        if volume.revocable {
            return Err("Persistent volumes cannot be created from revocable resources".into());
        }
        let Some(path) = volume.disk.as_ref().and_then(|disk| disk.volume.as_ref()) else {
            return Err("Expecting 'volume' to be set for persistent volume".into());
        };
        if path.host_path.is_some() {
            return Err("Expecting 'host_path' to be unset for persistent volume".into());
        }
        if path.read_only {
            return Err("Persistent volume must be created with mode RW".into());
        }
        let claimed = persistence.principal.as_deref();
        if context.principal.is_some() && claimed.is_some() && claimed != context.principal {
            return Err(format!(
                "Create volume operation attempted by authenticated principal '{}' with a \
                 persistence principal '{}'",
                context.principal.unwrap_or_default(),
                claimed.unwrap_or_default()
            ));
        }
        let taken = |other: &Resource| {
            other.reserved_role() == Some(role)
                && other.persistence().is_some_and(|other| other.id == persistence.id)
        };
        if context.total.iter().any(taken) {
            return Err(format!("Persistence ID '{}' already exists", persistence.id));
        }
        if volume.disk_source().is_some_and(|source| source.kind == DiskSourceKind::Block) {
            return Err("A BLOCK disk cannot become a persistent volume".into());
        }
    }
    let ids = to.iter().filter_map(|volume| {
        Some((volume.reserved_role().cloned(), volume.persistence()?.id.clone()))
    });
    if let Some((_, id)) = super::first_duplicate(ids) {
        return Err(format!("Persistence ID '{id}' is used twice"));
    }
    Ok(Conversion { from: to.map(strip_volume), to, speculative: true })
}

fn destroy(context: &Context<'_>, wire: &[v1::Resource]) -> Result<Conversion, String> {
    let from = read(context, wire)?;
    for volume in &from {
        if !volume.is_persistent_volume() {
            return Err(format!("Resource {volume} is not a persistent volume"));
        }
        let mut plain = volume.clone();
        plain.allocation = None;
        if !context.total.contains_one(&plain) {
            return Err("Persistent volumes not found".into());
        }
        if context.used.contains_one(&plain) {
            return Err("Persistent volumes in use".into());
        }
    }
    let to = from.map(strip_volume);
    Ok(Conversion { from, to, speculative: true })
}

fn grow(
    context: &Context<'_>,
    volume: &v1::Resource,
    addition: &v1::Resource,
) -> Result<Conversion, String> {
    let volume = resizable(context, volume, "grow")?;
    let addition = read(context, std::slice::from_ref(addition))?;
    let Some(added) = addition.amount("disk").filter(|amount| *amount > Scalar::ZERO) else {
        return Err("The size of volume growth 'addition' must be greater than zero".into());
    };
    let plain = addition.iter().next().is_some_and(|piece| {
        let mut wanted = volume.clone();
        strip_volume(&mut wanted);
        wanted.value = piece.value.clone();
        wanted == *piece
    });
    if !plain {
        return Err("Incompatible resources in the 'volume' and 'addition' fields".into());
    }
    let mut grown = volume.clone();
    grown.value = Value::Scalar(volume.amount().unwrap_or_default() + added);
    let from = Resources::from(volume).plus(&addition);
    Ok(Conversion { from, to: grown.into(), speculative: !context.capabilities.resource_provider })
}

fn shrink(
    context: &Context<'_>,
    volume: &v1::Resource,
    subtract: f64,
) -> Result<Conversion, String> {
    let volume = resizable(context, volume, "shrink")?;
    let subtract = Scalar::from_f64(subtract);
    if subtract <= Scalar::ZERO {
        return Err("Value of 'subtract' must be greater than zero".into());
    }
    let size = volume.amount().unwrap_or_default();
    if size <= subtract {
        return Err("Shrinking persistent volume to zero or below is not allowed".into());
    }
    let mut smaller = volume.clone();
    smaller.value = Value::Scalar(size - subtract);
    let mut freed = volume.clone();
    strip_volume(&mut freed);
    freed.value = Value::Scalar(subtract);
    let to = Resources::from_iter([smaller, freed]);
    let speculative = !context.capabilities.resource_provider;
    Ok(Conversion { from: volume.into(), to, speculative })
}

fn resizable(context: &Context<'_>, wire: &v1::Resource, verb: &str) -> Result<Resource, String> {
    if !context.capabilities.resize_volume {
        return Err(format!("Agent does not support volume resize, so it cannot {verb} a volume"));
    }
    let volumes = read(context, std::slice::from_ref(wire))?;
    let Some(volume) = volumes.iter().next().filter(|volume| volume.is_persistent_volume()) else {
        return Err(format!("Only a persistent volume can {verb}"));
    };
    if volume.shared {
        return Err(format!("A shared persistent volume cannot {verb}"));
    }
    if volume.disk_source().is_some_and(|source| source.kind == DiskSourceKind::Mount) {
        return Err(format!("A persistent volume on a MOUNT disk cannot {verb}"));
    }
    Ok(volume.clone())
}

/// What a volume was made of.
fn strip_volume(resource: &mut Resource) {
    if let Some(disk) = &resource.disk {
        let mut disk = (**disk).clone();
        (disk.persistence, disk.volume) = (None, None);
        resource.disk = disk.source.is_some().then(|| Arc::new(disk));
    }
    resource.shared = false;
    resource.copies = 1;
}
