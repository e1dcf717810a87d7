//! What a master says of itself and what does not change while it runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::time::Time;
use logging::Verbosity;
use mesos_api::v1::MasterInfo;

use crate::clock::Clock;
use crate::http::gate::Gate;
use crate::options::Options;
use crate::store::Store;
use crate::timings::Timings;

/// Facts about this master.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) info: MasterInfo,
    pub(crate) cluster: Option<String>,
    pub(crate) flags: BTreeMap<&'static str, String>,
    pub(crate) started: Time,
    pub(crate) elected: Time,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) per_framework_metrics: bool,
    pub(crate) clock: Clock,
    pub(crate) verbosity: Verbosity,
    pub(crate) gate: Gate,
    pub(crate) timings: Arc<Timings>,
    /// None keeps nothing.
    pub(crate) store: Option<Arc<Store>>,
    /// Where the log of this master is kept by others, to be read through it.
    pub(crate) log_file: Option<PathBuf>,
}

impl Facts {
    pub(crate) fn new(
        options: &Options,
        clock: Clock,
        started: Time,
        verbosity: Verbosity,
        timings: Arc<Timings>,
        store: Option<Arc<Store>>,
    ) -> Self {
        Self {
            info: options.core.info.clone(),
            cluster: options.cluster.clone(),
            flags: options.flags.clone(),
            started,
            elected: clock.now(),
            heartbeat_interval: options.core.heartbeat_interval,
            per_framework_metrics: options.per_framework_metrics,
            clock,
            verbosity,
            gate: Gate::of(options),
            timings,
            store,
            log_file: options.external_log_file.clone(),
        }
    }

    /// The process id of the master, as messages name it.
    pub(crate) fn pid(&self) -> &str {
        self.info.pid.as_deref().unwrap_or_default()
    }

    pub(crate) fn hostname(&self) -> &str {
        self.info.hostname.as_deref().unwrap_or_default()
    }
}
