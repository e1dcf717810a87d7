//! The two forms of messages, as Content-Type and Accept name them.

use mesos_api::json::{self, Json, JsonError};
use mesos_api::recordio;
use prost::Message;

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const RECORDIO: &str = "application/recordio";

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Protobuf,
}

/// Why a body is not the message it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("Failed to parse body into Call protobuf: {0}")]
    Wire(#[from] mesos_api::WireError),
    #[error("{0}")]
    Syntax(JsonError),
    #[error("Failed to convert JSON into Call protobuf: {0}")]
    Shape(JsonError),
}

impl Media {
    /// The media type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// The media type of a Content-Type, whatever parameters follow it.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let name = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Json, Self::Protobuf]
            .into_iter()
            .find(|media| media.name().eq_ignore_ascii_case(name))
    }

    /// What an Accept allows, JSON before protobuf. Nothing said means anything goes.
    pub(crate) fn accepted(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept else { return Some(Self::Json) };
        [Self::Json, Self::Protobuf].into_iter().find(|media| allows(accept, media.name()))
    }

    pub(crate) fn write<T: Message + Json>(self, message: &T) -> Vec<u8> {
        match self {
            Self::Json => json::to_vec(message),
            Self::Protobuf => message.encode_to_vec(),
        }
    }

    /// Appends a message as a record of a stream.
    pub(crate) fn append_record<T: Message + Json>(self, message: &T, to: &mut Vec<u8>) {
        recordio::encode_into(to, &self.write(message));
    }

    pub(crate) fn read<T: Message + Json>(self, body: &[u8]) -> Result<T, BodyError> {
        match self {
            Self::Json => json::from_slice(body).map_err(|error| match error {
                JsonError::Syntax(_) => BodyError::Syntax(error),
                JsonError::Shape(_) => BodyError::Shape(error),
            }),
            Self::Protobuf => Ok(mesos_api::decode(body)?),
        }
    }
}

/// Whether an Accept header allows a media type.
pub(crate) fn allows(accept: &str, name: &str) -> bool {
    let kind = name.split('/').next().unwrap_or_default();
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let wanted = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            part.strip_prefix("q=").and_then(|q| q.trim().parse::<f64>().ok()) == Some(0.0)
        });
        let matches = wanted == "*/*"
            || wanted.eq_ignore_ascii_case(name)
            || wanted.strip_suffix("/*").is_some_and(|wanted| wanted.eq_ignore_ascii_case(kind));
        matches && !refused
    })
}

#[cfg(test)]
mod tests;
