//! Who a framework says it is when it subscribes.

use std::time::Duration;

use mesos_api::v1;
use mesos_api::v1::framework_info::Capability;
pub use mesos_api::v1::framework_info::capability::Type as CapabilityType;

/// What a framework tells the master about itself.
///
/// ```
/// use std::time::Duration;
/// let framework = scheduler::Framework::new("nginx")
///     .roles(["web"])
///     .failover_timeout(Duration::from_secs(3600));
/// assert_eq!(framework.info().name, "nginx");
/// ```
#[derive(Clone, Debug)]
pub struct Framework {
    info: v1::FrameworkInfo,
}

impl Framework {
    /// A framework of that name which runs its tasks as root in the role `*`, survives agents'
    /// restarts (checkpoint), and understands partitions, several roles and refined reservations.
    pub fn new(name: impl Into<String>) -> Self {
        let info = v1::FrameworkInfo {
            user: "root".to_owned(),
            name: name.into(),
            checkpoint: Some(true),
            roles: vec!["*".to_owned()],
            ..Default::default()
        };
        Self { info }
            .capability(CapabilityType::TaskKillingState)
            .capability(CapabilityType::PartitionAware)
            .capability(CapabilityType::MultiRole)
            .capability(CapabilityType::ReservationRefinement)
    }

    /// The user tasks run as where they name none.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.info.user = user.into();
        self
    }

    /// The roles to get offers for, in place of `*`.
    #[must_use]
    pub fn roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.info.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// How long the master keeps the tasks of a framework that is away. Zero, the default, kills
    /// them as soon as the connection is lost.
    #[must_use]
    pub fn failover_timeout(mut self, timeout: Duration) -> Self {
        self.info.failover_timeout = Some(timeout.as_secs_f64());
        self
    }

    /// Adds a capability to those of [`Framework::new`].
    #[must_use]
    pub fn capability(mut self, capability: CapabilityType) -> Self {
        let capability = Capability { r#type: Some(capability.into()) };
        if !self.info.capabilities.contains(&capability) {
            self.info.capabilities.push(capability);
        }
        self
    }

    /// The host the framework runs on, for people.
    #[must_use]
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.info.hostname = Some(hostname.into());
        self
    }

    /// Adds a label, for people and tools.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let label = v1::Label { key: key.into(), value: Some(value.into()) };
        self.info.labels.get_or_insert_default().labels.push(label);
        self
    }

    /// Takes over the tasks of the framework of this id, and its place: a connection of it that
    /// is still open gets an ERROR event. See also [`crate::Builder::id_file`].
    #[must_use]
    pub fn id(mut self, id: &crate::FrameworkId) -> Self {
        self.info.id = Some(id.clone());
        self
    }

    /// Changes what has no method here.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut v1::FrameworkInfo)) -> Self {
        change(&mut self.info);
        self
    }

    /// The message as it is sent.
    pub fn info(&self) -> &v1::FrameworkInfo {
        &self.info
    }
}
