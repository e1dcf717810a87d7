use std::collections::BTreeSet;

use endpoints::authentication::{Authentication, Credentials, Realm};
use endpoints::firewall::Firewall;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::*;

/// In base64: alice:s3cret.
const ALICE: &str = "Basic YWxpY2U6czNjcmV0";

/// A standby that asks who reads, and whose firewall keeps `/metrics` shut.
fn guarded() -> Standby {
    let credentials = r#"{"credentials":[{"principal":"alice","secret":"s3cret"}]}"#;
    let rules = r#"{"disabled_endpoints":{"paths":["/metrics"]}}"#;
    Standby {
        info: MasterInfo::default(),
        flags: BTreeMap::from([("port", "5050".to_owned())]),
        started: Instant::now(),
        gate: Gate {
            authentication: Authentication {
                process: "master",
                credentials: Some(Credentials::parse(credentials).unwrap()),
                key: None,
                asking: BTreeSet::from([Realm::ReadOnly]),
            },
            firewall: Firewall::given(rules).unwrap(),
        },
    }
}

fn asked(standby: &Standby, path: &str, who: Option<&str>) -> Response {
    let leader = MasterInfo {
        hostname: Some("leader.example".to_owned()),
        port: 5050,
        ..MasterInfo::default()
    };
    let mut request = Request::get(path);
    if let Some(who) = who {
        request = request.header(AUTHORIZATION, who);
    }
    answer(&request.body(()).unwrap(), Some(&leader), standby)
}

#[test]
fn who_stands_by_asks_as_the_leader_does() {
    let standby = guarded();
    for path in ["/flags", "/master/flags", "/metrics/snapshot", "/state", "/master/state"] {
        let refused = asked(&standby, path, None);
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        let challenge = refused.headers()[WWW_AUTHENTICATE].to_str().unwrap();
        assert_eq!(challenge, "Basic realm=\"mesos-master-readonly\"", "{path}");
    }
    for path in ["/flags", "/metrics/snapshot"] {
        assert_eq!(asked(&standby, path, Some(ALICE)).status(), StatusCode::OK, "{path}");
    }
    for path in ["/health", "/version"] {
        assert_eq!(asked(&standby, path, None).status(), StatusCode::OK, "{path}");
    }
    assert_eq!(asked(&standby, "/metrics", Some(ALICE)).status(), StatusCode::FORBIDDEN);
}

#[test]
fn everybody_else_is_sent_to_the_leader_with_the_whole_path() {
    let standby = Standby { gate: Gate::default(), ..guarded() };
    for (path, location) in [
        ("/master/state?x=1", "//leader.example:5050/master/state?x=1"),
        ("/api/v1/scheduler", "//leader.example:5050/api/v1/scheduler"),
        ("/redirect", "//leader.example:5050"),
        ("/master/redirect", "//leader.example:5050"),
    ] {
        let response = asked(&standby, path, None);
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT, "{path}");
        assert_eq!(response.headers()[LOCATION], location, "{path}");
    }
    assert_eq!(asked(&standby, "/nothing", None).status(), StatusCode::NOT_FOUND);
    let request = Request::get("/state").body(()).unwrap();
    let nobody = answer(&request, None, &standby);
    assert_eq!(nobody.status(), StatusCode::SERVICE_UNAVAILABLE);
}
