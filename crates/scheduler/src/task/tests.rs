use super::*;

fn build(task: &Task) -> v1::TaskInfo {
    task.build(v1::AgentId::from("a"), Vec::new(), &[31000])
}

fn argv(task: &Task) -> (Option<bool>, Option<String>, Vec<String>) {
    let command = build(task).command.expect("every task has a command");
    (command.shell, command.value, command.arguments)
}

#[test]
fn a_container_gets_the_program_apart_from_its_arguments() {
    let words = || ["/bin/bash".to_owned(), "/run.sh".to_owned()];
    let docker = Task::docker("t", "i").arguments(words());
    assert_eq!(argv(&docker), (Some(false), Some("/bin/bash".into()), vec!["/run.sh".into()]));
    let host = Task::run("t", words());
    assert_eq!(argv(&host), (Some(false), Some("/bin/bash".into()), words().to_vec()));
}

#[test]
fn an_image_starts_as_it_says_unless_told_otherwise() {
    assert_eq!(argv(&Task::docker("t", "i")), (Some(false), None, vec![]));
    let shell = Task::docker("t", "i").shell_command("exit 3");
    assert_eq!(argv(&shell), (Some(true), Some("exit 3".into()), vec![]));
}

#[test]
fn ports_are_mapped_where_there_is_something_to_map() {
    let mapped = |network| {
        let task = Task::docker("t", "i").network(network).publish(80);
        build(&task).container.and_then(|c| c.docker).map(|d| d.port_mappings.len())
    };
    assert_eq!(mapped(Network::Bridge), Some(1));
    assert_eq!(mapped(Network::Named("mynet".into())), Some(1));
    assert_eq!(mapped(Network::Host), Some(0));
}

#[test]
fn a_named_network_is_named_in_network_infos() {
    let task = Task::docker("t", "i").network(Network::Named("mynet".into()));
    let container = build(&task).container.expect("a container");
    assert_eq!(container.network_infos[0].name.as_deref(), Some("mynet"));
}

#[test]
fn every_placement_is_a_task_of_its_own_unless_the_id_is_fixed() {
    let task = Task::shell("t", "true");
    assert_ne!(build(&task).task_id, build(&task).task_id);
    let fixed = task.id("one");
    assert_eq!(build(&fixed).task_id.value, "one");
}

#[test]
fn a_resource_said_twice_counts_once() {
    let task = Task::shell("t", "true").cpus(1.0).cpus(2.0).resource("gpus", 0.0);
    assert_eq!(task.needs().scalars, [("mem".to_owned(), 32.0), ("cpus".to_owned(), 2.0)]);
}

#[test]
fn a_change_has_the_last_word() {
    let task = Task::shell("t", "true").with(|info| info.name = "other".to_owned());
    assert_eq!(build(&task).name, "other");
}
