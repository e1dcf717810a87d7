use super::*;

#[test]
fn files_are_replaced_as_a_whole_and_removed_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = names_path(directory.path(), "ab12");
    assert!(path.ends_with("network/names/ab12.json"));
    let mut names = NetworkNames::new("ab12", "mynet");
    write_atomically(&path, &names).unwrap();
    names.entries.push(NameEntry { name: "web".to_owned(), ..NameEntry::default() });
    write_atomically(&path, &names).unwrap();
    let read: NetworkNames = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(read, names);
    let parent = path.parent().unwrap();
    assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1);
    remove_names(&path).unwrap();
    remove_names(&path).unwrap();
    assert_eq!(std::fs::read_dir(parent).unwrap().count(), 0);
}

#[test]
fn fields_added_later_may_be_missing() {
    let entry: NameEntry = serde_json::from_str(r#"{"container_id":"c1","name":"web"}"#).unwrap();
    assert_eq!(entry.aliases, Vec::<String>::new());
    let text = r#"{"version":1,"container_id":"c1","networks":[],"forward":true}"#;
    let config: ResolverConfig = serde_json::from_str(text).unwrap();
    assert!(config.upstreams.is_empty() && config.forward_single_labels);
}
