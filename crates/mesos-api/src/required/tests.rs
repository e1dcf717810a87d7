use prost::Message as _;

use super::*;
use crate::internal::{RegisterSlaveMessage, StatusUpdateMessage};
use crate::v1::{ContainerId, TaskId};

#[test]
fn what_is_complete_is_decoded() {
    let message = RegisterSlaveMessage::default();
    assert_eq!(decode(&message.encode_to_vec()), Ok(message));
}

#[test]
fn what_is_missing_is_named() {
    let none = decode::<TaskId>(b"").unwrap_err();
    assert_eq!(none.to_string(), "Missing required fields: value");
    // An update (field 1) with nothing inside.
    let inner = decode::<StatusUpdateMessage>(&[0x0a, 0]).unwrap_err();
    assert_eq!(
        inner.to_string(),
        "Missing required fields: update.framework_id, status, timestamp"
    );
}

#[test]
fn what_is_cut_or_nested_without_end_is_malformed() {
    let bytes = StatusUpdateMessage::default().encode_to_vec();
    for cut in 1..bytes.len() {
        assert!(decode::<StatusUpdateMessage>(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let deep = (0..200).fold(ContainerId::from("x".to_owned()), |parent, _| ContainerId {
        value: "x".to_owned(),
        parent: Some(Box::new(parent)),
    });
    assert!(matches!(decode::<ContainerId>(&deep.encode_to_vec()), Err(WireError::Malformed(_))));
}
