//! The masters' nodes: their names in order, and what is in them.

use mesos_api::json;
use mesos_api::v1::MasterInfo;
use zookeeper_client::{Client, Error as ZkError};

use crate::{Address, Error, failed, patiently};

/// What the names of masters' nodes begin with.
pub(crate) const PREFIX: &str = "json.info_";
const OLD_PREFIX: &str = "info_";

/// The number of a master's node; none for other names.
fn number(name: &str) -> Option<i64> {
    let digits = name.strip_prefix(PREFIX).or_else(|| name.strip_prefix(OLD_PREFIX))?;
    digits.parse().ok()
}

/// The node of who leads.
pub(crate) fn first(names: &[String]) -> Option<&str> {
    let numbered = names.iter().filter_map(|name| Some((number(name)?, name.as_str())));
    numbered.min().map(|(_, name)| name)
}

/// Reads who leads among these children. One that goes meanwhile leads no more.
pub(crate) async fn read_first(
    client: &Client,
    address: &Address,
    names: &[String],
) -> Result<MasterInfo, Error> {
    let nobody = || Error::Nobody(address.to_string());
    let name = first(names).ok_or_else(nobody)?;
    let path = address.child(name);
    match patiently(client, || client.get_data(&path)).await {
        Ok((data, _)) => decode(name, &data).map_err(|message| Error::Node { path, message }),
        Err(ZkError::NoNode) => Err(nobody()),
        Err(error) => Err(failed(address, "read", &path)(error)),
    }
}

fn decode(name: &str, data: &[u8]) -> Result<MasterInfo, String> {
    if name.starts_with(PREFIX) {
        json::from_slice(data).map_err(|error| error.to_string())
    } else {
        mesos_api::decode(data).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_leads_whatever_the_label() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all =
            names(&["log_replicas", "json.info_0000000012", "info_0000000009", "json.info_x"]);
        assert_eq!(first(&all), Some("info_0000000009"));
        assert_eq!(first(&all[..2]), Some("json.info_0000000012"));
        assert_eq!(first(&names(&["log_replicas"])), None);
    }
}
