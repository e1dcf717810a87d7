//! How calls and events are written: protobuf, or JSON as Mesos maps it.

use bytes::Bytes;
use mesos_api::v1::scheduler::{Call, Event};
use prost::Message as _;

/// The encoding of calls and events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`: smaller and faster.
    #[default]
    Protobuf,
    /// `application/json`: readable in a capture.
    Json,
}

impl Encoding {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    pub(crate) fn encode(self, call: &Call) -> Bytes {
        match self {
            Self::Protobuf => call.encode_to_vec().into(),
            Self::Json => mesos_api::json::to_vec(call).into(),
        }
    }

    pub(crate) fn decode(self, record: &[u8]) -> Result<Event, String> {
        match self {
            Self::Protobuf => Event::decode(record).map_err(|error| error.to_string()),
            Self::Json => mesos_api::json::from_slice(record).map_err(|error| error.to_string()),
        }
    }
}
