//! Containers: create and update requests in, inspect and list out.

mod create;
mod host_config;
mod inspect;
mod list;
mod network;
mod status;

pub(crate) use create::{config, create_request, update_request};
pub(crate) use host_config::terminal_size;
pub(crate) use inspect::{STORAGE_DRIVER, inspect};
pub(crate) use list::{list_filter, summary};
pub(crate) use network::endpoint_request;

use jiff::Timestamp;

/// Go's zero time, which Docker shows for "never".
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

pub(crate) fn time(timestamp: Option<Timestamp>) -> String {
    timestamp.map_or_else(|| ZERO_TIME.to_owned(), |timestamp| timestamp.to_string())
}
