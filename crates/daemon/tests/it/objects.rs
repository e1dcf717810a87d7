//! Volumes, networks and images over the API.

use serde_json::json;

use crate::harness::with_daemon;

#[test]
fn volumes_come_and_go() {
    with_daemon(|host| async move {
        let body = json!({"Name": "data", "Labels": {"a": "b"}});
        let created = host.post("/volumes/create", &body).await;
        assert_eq!(created.status, 201, "{created:?}");
        let created = created.json();
        assert_eq!(created["Name"], "data");
        assert_eq!(created["Driver"], "local");
        assert_eq!(created["Scope"], "local");
        assert_eq!(created["Labels"], json!({"a": "b"}));
        assert!(created["Options"].is_null());
        let path = created["Mountpoint"].as_str().unwrap();
        assert!(std::path::Path::new(path).is_dir());

        let inspected = host.get("/volumes/data").await;
        assert_eq!(inspected.json(), created);
        assert_eq!(host.post("/volumes/create", &body).await.json(), created);
        assert_eq!(host.get("/volumes/none").await.status, 404);

        let anonymous = host.post("/volumes/create", &json!({})).await.json();
        assert_eq!(anonymous["Name"].as_str().unwrap().len(), 64);
    });
}

#[test]
fn predefined_networks_are_there_and_stay() {
    with_daemon(|host| async move {
        let networks = host.get("/networks").await.json();
        let mut names: Vec<&str> =
            networks.as_array().unwrap().iter().map(|n| n["Name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["bridge", "host", "none"]);

        let bridge = host.get("/networks/bridge").await.json();
        let keys: Vec<&String> = bridge.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "Name",
                "Id",
                "Created",
                "Scope",
                "Driver",
                "EnableIPv4",
                "EnableIPv6",
                "IPAM",
                "Internal",
                "Attachable",
                "Ingress",
                "ConfigFrom",
                "ConfigOnly",
                "Containers",
                "Options",
                "Labels"
            ]
        );
        assert_eq!(bridge["IPAM"]["Driver"], "default");
        assert_eq!(host.get("/networks/none").await.json()["Driver"], "null");
        assert_eq!(host.get("/networks/nothing").await.status, 404);

        let only_host = host.get("/networks?filters=%7B%22driver%22%3A%5B%22host%22%5D%7D").await;
        assert_eq!(only_host.json().as_array().unwrap().len(), 1);

        let removed = host.request("DELETE", "/networks/bridge", &[], "").await;
        assert_eq!(removed.status, 403, "{removed:?}");
        let second = host.post("/networks/create", &json!({"Name": "bridge"})).await;
        assert_eq!(second.status, 403, "{second:?}");
    });
}

#[test]
fn images_that_are_not_there_are_not_found() {
    with_daemon(|host| async move {
        assert_eq!(host.get("/images/json").await.json(), json!([]));
        for path in ["/images/none/json", "/images/a/b/c:d/json", "/images/none/history"] {
            let answer = host.get(path).await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
        }
        let tagged = host.request("POST", "/images/none/tag?repo=UPPER", &[], "").await;
        assert_eq!(tagged.status, 400, "{tagged:?}");
        let pulled = host.request("POST", "/images/create?fromImage=a//b", &[], "").await;
        assert_eq!(pulled.status, 400, "{pulled:?}");
    });
}

#[test]
fn a_pull_that_fails_at_once_has_a_status() {
    with_daemon(|host| async move {
        // Nothing listens there: the namespace has no other host than itself.
        let path = "/images/create?fromImage=127.0.0.1:1/x&tag=latest";
        let answer = host.request("POST", path, &[], "").await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        assert!(answer.message().contains("127.0.0.1:1"), "{answer:?}");
    });
}
