use super::*;

fn write(key: &str, value: Option<&[u8]>) -> Write {
    Write { key: key.to_owned(), value: value.map(<[u8]>::to_vec) }
}

#[test]
fn what_was_committed_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let (store, empty) = Store::open(dir.path()).unwrap();
    assert_eq!(empty, Registry::default());
    // A framework's value is the message itself.
    let info = mesos_api::v1::FrameworkInfo {
        user: "u".to_owned(),
        name: "n".to_owned(),
        failover_timeout: Some(100.0),
        ..Default::default()
    };
    let bytes = prost::Message::encode_to_vec(&info);
    store
        .commit(&[write("framework/f", Some(&bytes)), write("framework/g", Some(&bytes))])
        .unwrap();
    store.commit(&[write("framework/g", None)]).unwrap();
    drop(store);
    let (_store, registry) = Store::open(dir.path()).unwrap();
    let found: Vec<_> = registry.frameworks.values().map(|info| info.failover_timeout()).collect();
    assert_eq!(found, [100.0]);
}

#[test]
fn two_masters_do_not_share_a_registry() {
    let dir = tempfile::tempdir().unwrap();
    let _store = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let change = store.database.begin_write().unwrap();
    change.open_table(META).unwrap().insert("version", 2).unwrap();
    change.commit().unwrap();
    drop(store);
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Version { found: 2, .. }), "{error}");
}

#[test]
fn a_damaged_value_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    store.commit(&[write("agent/a", Some(b"\xff\xff"))]).unwrap();
    drop(store);
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("agent/a"), "{error}");
}
