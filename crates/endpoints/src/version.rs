//! What was built, when, and by whom.

use mesos_api::v1::VersionInfo;

/// The version of Mesos whose protocol this is; clients decide by its numbers.
pub const PROTOCOL_VERSION: &str = "1.11.0";

/// The answer of `/version`. Of git there is nothing to tell: its tags and commits are not Mesos'.
pub fn version() -> VersionInfo {
    let time: i64 = env!("TEU_BUILD_TIME").parse().unwrap_or_default();
    let date = jiff::Timestamp::from_second(time).unwrap_or_default();
    VersionInfo {
        version: PROTOCOL_VERSION.to_owned(),
        build_date: Some(date.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        #[allow(clippy::cast_precision_loss, reason = "seconds since the epoch fit a double")]
        build_time: Some(time as f64),
        build_user: Some(env!("TEU_BUILD_USER").to_owned()),
        ..VersionInfo::default()
    }
}
