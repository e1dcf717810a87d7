//! The system call filter of a container: which profile, and the compiled file of it.
//!
//! Deciding a profile's conditions and finding its compiled file takes longer than starting a
//! small program, so both are remembered per profile and capabilities.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::runtime::LinuxSeccomp;
use runtime::seccomp::Profile;

use super::host_config::HostConfig;
use crate::spec::{self, Seccomp, SecurityOptions};
use crate::{Engine, Error, Result};

/// How many filters are remembered; users' profiles come and go.
const REMEMBERED: usize = 64;

/// A container's filter in both shapes; `None` both: unfiltered.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// For an external runtime.
    pub(super) profile: Option<Arc<LinuxSeccomp>>,
    /// For the builtin one.
    pub(super) compiled: Option<PathBuf>,
}

/// A user's profile (`None`: the default one) and the bits of the capabilities.
type Key = (Option<String>, u64);

/// The filters that were used.
#[derive(Debug, Default)]
pub(crate) struct FilterCache {
    /// Held for a lookup or an insertion.
    filters: Mutex<HashMap<Key, Filter>>,
}

/// Finds the container's filter, compiling it if nobody has had the same before.
pub(super) fn filter(
    engine: &Engine,
    security: &SecurityOptions,
    host_config: &HostConfig,
) -> Result<Filter> {
    let text = match &security.seccomp {
        Seccomp::Unconfined => return Ok(Filter::default()),
        Seccomp::Default => None,
        Seccomp::Profile(text) => Some(text.clone()),
    };
    let capabilities = spec::capabilities(host_config, &engine.inner.host.bounding);
    let key = (text, spec::capability_bits(&capabilities));
    let cache = &engine.inner.filters.filters;
    if let Some(filter) = cache.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(filter.clone());
    }
    let wrong = |error: runtime::seccomp::Error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Error::InvalidParameter(format!("{error}{}", source.unwrap_or_default()))
    };
    let profile = match &key.0 {
        None => Profile::docker_default(),
        Some(text) => Profile::parse(text).map_err(wrong)?,
    };
    let resolved = profile.resolve(&capabilities).map_err(wrong)?;
    let directory = engine.config().data_root.join("seccomp");
    let compiled = runtime::seccomp::compile(&resolved, &directory).map_err(wrong)?;
    let filter = Filter { profile: Some(Arc::new(resolved)), compiled: Some(compiled) };
    let mut filters = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if filters.len() >= REMEMBERED {
        filters.clear();
    }
    filters.insert(key, filter.clone());
    Ok(filter)
}
