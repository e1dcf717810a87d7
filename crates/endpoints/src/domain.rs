//! Where a master or an agent is (`--domain`).

use mesos_api::json;
use mesos_api::v1::DomainInfo;

/// Reads a region and a zone as JSON.
///
/// # Errors
/// Says what is wrong with them.
pub fn given(text: &str) -> Result<DomainInfo, String> {
    let domain: DomainInfo =
        json::from_slice(text.as_bytes()).map_err(|error| error.to_string())?;
    if domain.fault_domain.is_none() {
        return Err("it has no 'fault_domain', which tells the region and the zone".to_owned());
    }
    Ok(domain)
}
