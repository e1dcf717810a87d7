use proptest::prelude::*;

use super::*;
use crate::volume::tmpfs_options;

fn plan(host: &HostConfig) -> Result<Vec<MountPlan>> {
    plan_mounts(&BTreeSet::new(), host, |name| Err(Error::no_such_container(name)))
}

fn binds(texts: &[&str]) -> HostConfig {
    let binds = texts.iter().map(|&text| text.to_owned()).collect();
    HostConfig { binds, ..HostConfig::default() }
}

fn error(host: &HostConfig) -> String {
    plan(host).unwrap_err().to_string()
}

#[test]
fn short_form_is_read_as_docker_does() {
    let plans = plan(&binds(&["/src/./x:/a/../dst:ro,rslave", "data:/data:nocopy", "/anonymous/"]))
        .unwrap();
    let [anonymous, data, bind] = &plans[..] else { panic!("{plans:?}") };
    assert_eq!(anonymous.point.destination, "/anonymous");
    assert!(anonymous.point.anonymous && anonymous.point.writable);
    assert_eq!(anonymous.volume.as_ref().unwrap().name, "");
    assert!(data.point.no_copy && !data.point.anonymous);
    assert_eq!(data.volume.as_ref().unwrap().name, "data");
    assert_eq!(bind.point.source, PathBuf::from("/src/x"));
    assert_eq!(bind.point.destination, "/dst");
    assert_eq!(bind.point.propagation, "rslave");
    assert_eq!(bind.point.mode, "ro,rslave");
    assert!(!bind.point.writable && bind.point.create_source);
}

#[test]
fn short_form_errors_are_docker_s() {
    let rows = [
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("", "invalid volume specification: ''"),
        ("/a:/b:fast", "invalid mode: fast"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": \
             invalid specification: destination can't be '/'",
        ),
        (
            "/a:b",
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": \
             invalid mount path: 'b' mount path must be absolute",
        ),
        (
            "v:/b:shared",
            "invalid volume specification: 'v:/b:shared': invalid mount config for type \
             \"volume\": field BindOptions must not be specified",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(error(&binds(&[text])), expected);
    }
    assert_eq!(error(&binds(&["/a:/b", "v:/b/"])), "Duplicate mount point: /b");
}

fn mount(kind: MountType, source: &str, target: &str) -> MountSpec {
    MountSpec { kind, source: source.to_owned(), target: target.to_owned(), ..MountSpec::default() }
}

#[test]
fn long_form_errors_are_docker_s() {
    let subpath = |path: &str| VolumeOptions { subpath: path.to_owned(), ..Default::default() };
    let bind = "invalid mount config for type \"bind\": ";
    let volume = "invalid mount config for type \"volume\": ";
    let rows = [
        (
            mount(MountType::Bind, "/nowhere/at/all", "/a"),
            bind,
            "bind source path does not exist: /nowhere/at/all",
        ),
        (mount(MountType::Bind, "", "/a"), bind, "field Source must not be empty"),
        (
            mount(MountType::Bind, "x", "/a"),
            bind,
            "invalid mount path: 'x' mount path must be absolute",
        ),
        (mount(MountType::Bind, "/", ""), bind, "field Target must not be empty"),
        (
            MountSpec { volume: Some(subpath("")), ..mount(MountType::Bind, "/", "/a") },
            bind,
            "field VolumeOptions must not be specified",
        ),
        (
            MountSpec { volume: Some(subpath("../x")), ..mount(MountType::Volume, "v", "/a") },
            volume,
            "subpath must be a relative path within the volume",
        ),
        (
            MountSpec { volume: Some(subpath("x")), ..mount(MountType::Volume, "", "/a") },
            volume,
            "must not set Subpath when using anonymous volumes",
        ),
        (
            MountSpec { read_only: true, ..mount(MountType::Volume, "", "/a") },
            volume,
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            mount(MountType::Tmpfs, "x", "/a"),
            "invalid mount config for type \"tmpfs\": ",
            "field Source must not be specified",
        ),
    ];
    for (spec, prefix, expected) in rows {
        let host = HostConfig { mounts: vec![spec], ..HostConfig::default() };
        assert_eq!(error(&host), format!("{prefix}{expected}"));
    }
}

#[test]
fn sources_of_mounts_have_an_order() {
    let inherited = Arc::new(vec![
        MountPoint { destination: "/a".into(), writable: true, ..Default::default() },
        MountPoint { destination: "/b".into(), writable: true, ..Default::default() },
    ]);
    let host = HostConfig {
        volumes_from: vec!["other:ro".into()],
        tmpfs: BTreeMap::from([("/t".into(), String::new())]),
        ..binds(&["mine:/b"])
    };
    let volumes = ["/a", "/c", "/t"].map(str::to_owned).into();
    let plans = plan_mounts(&volumes, &host, |_| Ok(Arc::clone(&inherited))).unwrap();
    let places: Vec<_> = plans.iter().map(|plan| plan.point.destination.as_str()).collect();
    assert_eq!(places, ["/a", "/b", "/c"]);
    assert!(!plans[0].point.writable);
    assert_eq!(plans[1].volume.as_ref().unwrap().name, "mine");
    let host = HostConfig { volumes_from: vec!["x:nocopy".into()], ..host };
    assert_eq!(error(&host), "invalid mode: nocopy");
}

#[test]
fn tmpfs_options_override_the_defaults() {
    assert_eq!(tmpfs_options("").unwrap(), ["noexec", "nosuid", "nodev"]);
    assert_eq!(
        tmpfs_options("exec,size=64m,mode=1770,size=1k").unwrap(),
        ["nosuid", "nodev", "exec", "mode=1770", "size=1k"]
    );
    assert_eq!(
        tmpfs_options("lowerdir=/").unwrap_err().to_string(),
        "invalid tmpfs option [\"lowerdir=/\"]"
    );
}

proptest! {
    #[test]
    fn any_text_gives_a_clean_destination_or_an_error(text in "\\PC{0,40}") {
        if let Ok(plan) = parse_bind(&text, "") {
            let destination = plan.point.destination;
            prop_assert!(destination.starts_with('/') && destination != "/");
            prop_assert!(!destination.split('/').any(|part| part == ".." || part == "."));
        }
    }
}
