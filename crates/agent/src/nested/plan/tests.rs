use mesos_api::v1::container_info::DockerInfo;
use mesos_api::v1::value::Scalar;
use mesos_api::v1::{CommandInfo, LinuxInfo};

use super::*;
use crate::nested::InProcess;

fn resource(name: &str, value: f64) -> Resource {
    let scalar = Some(Scalar { value });
    Resource { name: name.to_owned(), scalar, ..Resource::default() }
}

fn layout() -> Layout {
    Layout::new(std::path::Path::new("/w"))
}

/// A call without anything of its own.
fn bare() -> LaunchContainer {
    let command = CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() };
    LaunchContainer { command: Some(command), ..LaunchContainer::default() }
}

fn call(container: Option<ContainerInfo>) -> LaunchContainer {
    LaunchContainer { container, ..bare() }
}

fn with_image(name: &str) -> ContainerInfo {
    let docker = image::Docker { name: name.to_owned(), ..image::Docker::default() };
    let image = Image { docker: Some(docker), ..Image::default() };
    let mut container =
        ContainerInfo { mesos: Some(MesosInfo { image: Some(image) }), ..ContainerInfo::default() };
    container.set_type(container_info::Type::Mesos);
    container
}

/// A task's container: one of the engine's, or a process.
fn task(inside: Inside, container: Option<ContainerInfo>) -> Place {
    let plan = Plan {
        call: LaunchContainer {
            container,
            resources: vec![resource("cpus", 1.0), resource("disk", 9.0)],
            ..bare()
        },
        sandbox: "/w/runs/C".into(),
        outer: None,
        user: Some(User { uid: 7, gid: 7 }),
        framework: "F".into(),
        executor: "E".into(),
    };
    Place { inside: Some(inside), job: plan.job(&"C".into(), &layout()) }
}

fn process() -> Place {
    let hierarchies = runtime::cgroup::Hierarchies::detect().expect("cgroups");
    let path = std::path::Path::new("/teu-agent/C");
    let inside = InProcess {
        home: "/w/processes/C".into(),
        cgroup: runtime::cgroup::Cgroup::new(hierarchies, path).expect("a path"),
        sandbox: "/w/runs/C".into(),
        environment: Vec::new(),
        user: None,
        switch_user: true,
    };
    task(Inside::Process(inside), None)
}

#[test]
fn one_that_is_in_no_other_is_by_itself() {
    let id = ContainerId::from("web");
    let wanted = LaunchContainer { resources: vec![resource("mem", 32.0)], ..bare() };
    let plan = plan(&id, wanted.clone(), None, &layout()).expect("a plan");
    assert_eq!(plan.sandbox, std::path::Path::new("/w/containers/web"));
    assert_eq!((plan.outer.as_ref(), plan.user), (None, None));
    assert_eq!(plan.call.resources, wanted.resources);
    let job = plan.job(&id, &layout());
    assert_eq!(job.environment["MESOS_SANDBOX"], "/w/containers/web");
    assert_eq!(job.launch.container_id, id);
    let image = plan_of(&id, Some(with_image("busybox")), None).expect("a plan");
    let job = image.job(&id, &layout());
    assert_eq!(job.environment["MESOS_SANDBOX"], "/mnt/mesos/sandbox");
    assert!(docker::supports(&job.launch));
}

fn plan_of(
    id: &ContainerId,
    container: Option<ContainerInfo>,
    outer: Option<&Place>,
) -> Result<Plan, String> {
    plan(id, call(container), outer, &layout())
}

#[test]
fn one_inside_of_a_process_shares_what_that_may_use() {
    let outer = process();
    let id = ContainerId::from("C.x");
    let plan = plan_of(&id, None, Some(&outer)).expect("a plan");
    assert_eq!(plan.sandbox, std::path::Path::new("/w/runs/C.x"));
    assert_eq!(plan.outer.as_deref(), Some(std::path::Path::new("/w/runs/C")));
    assert_eq!(plan.user, outer.job.user);
    assert_eq!((plan.framework.as_str(), plan.executor.as_str()), ("F", "E"));
    assert!(plan.call.resources.is_empty(), "it is in the same cgroup");
    let job = plan.job(&id, &layout());
    assert!(!docker::supports(&job.launch));
    // The engine does not put it there, so that it has as much.
    let image = plan_of(&id, Some(with_image("busybox")), Some(&outer)).expect("a plan");
    assert_eq!(image.call.resources, [resource("cpus", 1.0)]);
    let container = image.call.container.expect("a container");
    assert!(container.network_infos.is_empty(), "the host's, as the process'");
}

#[test]
fn resources_of_its_own_need_a_cgroup_of_its_own() {
    let (outer, id) = (process(), ContainerId::from("C.x"));
    let wanted = LaunchContainer { resources: vec![resource("mem", 64.0)], ..bare() };
    let why = plan(&id, wanted.clone(), Some(&outer), &layout()).expect_err("no plan");
    assert!(why.contains("share_cgroups"), "{why}");
    let linux_info = Some(LinuxInfo { share_cgroups: Some(false), ..LinuxInfo::default() });
    let mut container = ContainerInfo { linux_info, ..ContainerInfo::default() };
    container.set_type(container_info::Type::Mesos);
    let wanted = LaunchContainer { container: Some(container), ..wanted };
    let plan = plan(&id, wanted, Some(&outer), &layout()).expect("a plan");
    assert_eq!(plan.call.resources, [resource("mem", 64.0)]);
}

#[test]
fn containers_of_type_docker_are_refused() {
    let docker = DockerInfo { image: "busybox".to_owned(), ..DockerInfo::default() };
    let mut container = ContainerInfo { docker: Some(docker), ..ContainerInfo::default() };
    container.set_type(container_info::Type::Docker);
    let why = plan_of(&"web".into(), Some(container), None).expect_err("no plan");
    assert!(why.starts_with("The provided ContainerInfo is not supported"), "{why}");
}
