//! What frameworks and agents say they can handle.

use mesos_api::v1;
use mesos_api::v1::agent_info::capability::Type as AgentType;
use mesos_api::v1::framework_info::capability::Type as FrameworkType;

/// A framework's capabilities. Unknown ones are ignored.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own")]
pub struct FrameworkCapabilities {
    pub revocable_resources: bool,
    pub task_killing_state: bool,
    pub gpu_resources: bool,
    pub shared_resources: bool,
    pub partition_aware: bool,
    pub multi_role: bool,
    pub reservation_refinement: bool,
    pub region_aware: bool,
}

impl FrameworkCapabilities {
    /// Reads them from a framework's description.
    pub fn of(info: &v1::FrameworkInfo) -> Self {
        let has = |wanted| info.capabilities.iter().any(|capability| capability.r#type() == wanted);
        Self {
            revocable_resources: has(FrameworkType::RevocableResources),
            task_killing_state: has(FrameworkType::TaskKillingState),
            gpu_resources: has(FrameworkType::GpuResources),
            shared_resources: has(FrameworkType::SharedResources),
            partition_aware: has(FrameworkType::PartitionAware),
            multi_role: has(FrameworkType::MultiRole),
            reservation_refinement: has(FrameworkType::ReservationRefinement),
            region_aware: has(FrameworkType::RegionAware),
        }
    }
}

/// An agent's capabilities. Unknown ones are ignored.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own")]
pub struct AgentCapabilities {
    pub multi_role: bool,
    pub hierarchical_role: bool,
    pub reservation_refinement: bool,
    pub resource_provider: bool,
    pub resize_volume: bool,
    pub operation_feedback: bool,
    pub draining: bool,
    pub task_resource_limits: bool,
}

impl AgentCapabilities {
    /// Reads them from an agent's registration.
    pub fn of(capabilities: &[v1::agent_info::Capability]) -> Self {
        let has = |wanted| capabilities.iter().any(|capability| capability.r#type() == wanted);
        Self {
            multi_role: has(AgentType::MultiRole),
            hierarchical_role: has(AgentType::HierarchicalRole),
            reservation_refinement: has(AgentType::ReservationRefinement),
            resource_provider: has(AgentType::ResourceProvider),
            resize_volume: has(AgentType::ResizeVolume),
            operation_feedback: has(AgentType::AgentOperationFeedback),
            draining: has(AgentType::AgentDraining),
            task_resource_limits: has(AgentType::TaskResourceLimits),
        }
    }

    /// Everything a current agent can do.
    pub const fn all() -> Self {
        Self {
            multi_role: true,
            hierarchical_role: true,
            reservation_refinement: true,
            resource_provider: true,
            resize_volume: true,
            operation_feedback: true,
            draining: true,
            task_resource_limits: true,
        }
    }
}
