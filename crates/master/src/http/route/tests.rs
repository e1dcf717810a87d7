use super::*;

#[test]
fn the_longest_prefix_by_component_wins() {
    let cases = [
        ("/api/v1", Some(Endpoint::Operator)),
        ("/api/v1/operator", Some(Endpoint::Operator)),
        ("/master/api/v1", Some(Endpoint::Operator)),
        ("/api/v1/scheduler", Some(Endpoint::Scheduler)),
        ("/master/api/v1/scheduler/", Some(Endpoint::Scheduler)),
        ("/state", Some(Endpoint::Get(Get::State))),
        ("/master/state", Some(Endpoint::Get(Get::State))),
        ("/master/state.json", None),
        ("/state-summary", Some(Endpoint::Get(Get::StateSummary))),
        ("/metrics", Some(Endpoint::Get(Get::Prometheus))),
        ("/metrics/snapshot", Some(Endpoint::Get(Get::MetricsSnapshot))),
        ("/files/read/../../x", None),
        ("/api", None),
        ("/", None),
    ];
    for (path, expected) in cases {
        assert_eq!(find(path).map(|found| found.endpoint), expected, "{path}");
    }
}

#[test]
fn an_endpoint_has_one_name_however_it_is_reached() {
    for (path, process, name) in [
        ("/state", Some("master"), "state"),
        ("/master/state/", Some("master"), "state"),
        ("//api/v1/operator", Some("master"), "api/v1"),
        ("/files/read/more", None, "files/read"),
        ("/version", None, "version"),
    ] {
        let found = find(path).map(|found| (found.process, found.path));
        assert_eq!(found, Some((process, name)), "{path}");
    }
}
