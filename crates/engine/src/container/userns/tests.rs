use super::*;

fn map(text: &str) -> IdMap {
    match text.parse().unwrap() {
        UsernsMode::Map(map) => map,
        other => panic!("{other:?}"),
    }
}

#[test]
fn modes_are_spelled_as_they_are_read() {
    for text in [
        "",
        "host",
        "auto",
        "auto:size=1000",
        "auto:size=1000,uidmapping=5:1000:1",
        "map:uidmapping=0:100000:65536,gidmapping=0:200000:65536",
    ] {
        let mode: UsernsMode = text.parse().unwrap();
        assert_eq!(mode.to_string(), text);
    }
    assert_eq!(map("map:uidmapping=0:9:2").gids, map("map:uidmapping=0:9:2").uids);
    for text in [
        "bogus",
        "host:size=2",
        "auto:size=0",
        "auto:colour=red",
        "map",
        "map:size=9",
        "map:uidmapping=0:100000",
        "map:uidmapping=1:100000:5",
        "map:uidmapping=0:100000:0",
        "map:uidmapping=0:4294967295:2",
        "map:uidmapping=0:100000:10,uidmapping=5:300000:10",
        "map:uidmapping=0:100000:10,uidmapping=20:100005:10",
    ] {
        assert!(text.parse::<UsernsMode>().is_err(), "{text}");
    }
}

fn owned(number: u32) -> Owned {
    let ranges = vec![(1_000_000, number)];
    Owned { account: "teu".into(), uids: ranges.clone(), gids: ranges }
}

#[test]
fn ranges_go_to_one_container_each() {
    let owned = owned(200_000);
    let mut taken = Vec::new();
    for first in [1_000_000, 1_065_536, 1_131_072] {
        let map = allocate(&owned, &taken, 65_536, &IdMap::default()).unwrap();
        assert_eq!(map.uids, [IdRange { container: 0, host: first, size: 65_536 }]);
        assert_eq!(map.gids, map.uids);
        taken.push(map);
    }
    let error = allocate(&owned, &taken, 65_536, &IdMap::default()).unwrap_err();
    assert!(error.to_string().contains("/etc/subuid"), "{error}");
    // What one gives back the next one gets; what is left suffices for a smaller one.
    taken.remove(1);
    let map = allocate(&owned, &taken, 1_000, &IdMap::default()).unwrap();
    assert_eq!(map.uids[0].host, 1_065_536);
}

#[test]
fn fixed_ids_are_left_out_of_a_range() {
    let fixed = IdMap {
        uids: vec![IdRange { container: 1_000, host: 1_000, size: 1 }],
        ..IdMap::default()
    };
    let map = allocate(&owned(65_536), &[], 65_536, &fixed).unwrap();
    let shown: Vec<String> = map.uids.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["0:1000000:1000", "1000:1000:1", "1001:1001001:64535"]);
    assert_eq!(map.gids.len(), 1);
}

#[test]
fn remap_takes_names_and_numbers() {
    let etc = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(etc.path().join(file), text).unwrap();
    write("passwd", "root:x:0:0::/:/bin/sh\nsail:x:1001:1001::/:/bin/sh\n");
    write("group", "root:x:0:\ncrew:x:2002:\n");
    write("subuid", "sail:100000:1000\nother:5:5\nsail:300000:64536\ndockremap:700000:65536\n");
    write("subgid", "sail:100000:65536\ncrew:500000:65536\ndockremap:700000:65536\n");
    let shown =
        |ranges: &[IdRange]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    for (text, uids, gids) in [
        ("sail", "0:100000:1000 1000:300000:64536", "0:100000:65536"),
        ("1001", "0:100000:1000 1000:300000:64536", "0:100000:65536"),
        ("sail:crew", "0:100000:1000 1000:300000:64536", "0:500000:65536"),
        ("1001:2002", "0:100000:1000 1000:300000:64536", "0:500000:65536"),
        ("default", "0:700000:65536", "0:700000:65536"),
    ] {
        let map = remap_in(etc.path(), text).unwrap();
        assert_eq!((shown(&map.uids), shown(&map.gids)), (uids.to_owned(), gids.to_owned()));
    }
    for (text, reason) in
        [("nobody", "no user"), ("sail:none", "no group"), ("root", "has no line of root")]
    {
        let error = remap_in(etc.path(), text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
