use std::io::Write as _;

use mesos_api::internal::{StatusUpdate, status_update_record};

use super::*;

fn agent_info() -> AgentInfo {
    AgentInfo { hostname: "h".to_owned(), id: Some("S0".into()), ..AgentInfo::default() }
}

fn update(uuid: &[u8]) -> Box<StatusUpdateRecord> {
    let update = StatusUpdate {
        framework_id: "F".into(),
        uuid: Some(bytes::Bytes::copy_from_slice(uuid)),
        ..StatusUpdate::default()
    };
    let mut line = StatusUpdateRecord { update: Some(update), ..StatusUpdateRecord::default() };
    line.set_type(status_update_record::Type::Update);
    Box::new(line)
}

fn line(uuid: &[u8]) -> Record {
    Record::Update {
        framework: "F".into(),
        executor: "../e".into(),
        container: "c1".into(),
        task: "../e".into(),
        record: update(uuid),
    }
}

fn filled(store: &mut Store) {
    let (framework, executor, container) = ("F".into(), "../e".into(), ContainerId::from("c1"));
    let info = FrameworkInfo { id: Some("F".into()), ..FrameworkInfo::default() };
    let executor_info = ExecutorInfo { executor_id: "../e".into(), ..ExecutorInfo::default() };
    let task = TaskInfo { task_id: "../e".into(), ..TaskInfo::default() };
    let records = [
        Record::Agent(agent_info()),
        Record::Framework { id: FrameworkId::from("F"), info, pid: Some("p".to_owned()) },
        Record::Executor {
            framework: FrameworkId::clone(&framework),
            executor: ExecutorId::clone(&executor),
            container: container.clone(),
            info: executor_info,
            command: true,
        },
        Record::Task {
            framework: framework.clone(),
            executor: executor.clone(),
            container: container.clone(),
            info: Box::new(task),
            member: Some((ContainerId::from("c1.d"), "g".to_owned())),
        },
        Record::Update {
            framework: framework.clone(),
            executor: executor.clone(),
            container: container.clone(),
            task: "../e".into(),
            record: update(b"1"),
        },
        Record::Killing {
            framework,
            executor,
            container,
            task: "../e".into(),
            killing: Killing::ByHealth,
        },
    ];
    store.write(&records).expect("written");
}

#[test]
fn what_was_written_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(&mut Store::new(Layout::new(dir.path())));
    let mut store = Store::new(Layout::new(dir.path()));
    let found = store.read(Unreadable::Refuse).expect("read");
    assert_eq!(store.agent_id(), "S0");
    assert_eq!(found.info, Some(agent_info()));
    let framework = &found.frameworks[0];
    assert_eq!((framework.id.as_str(), framework.pid.as_deref()), ("F", Some("p")));
    let executor = &framework.executors[0];
    assert!(executor.command);
    assert_eq!((executor.id.as_str(), executor.container.as_str()), ("../e", "c1"));
    let task = &executor.tasks[0];
    assert_eq!(task.info.task_id.value, "../e");
    assert_eq!((task.lines.len(), task.killing), (1, Some(Killing::ByHealth)));
    assert_eq!(task.member, Some((ContainerId::from("c1.d"), "g".to_owned())));
}

#[test]
fn a_line_cut_short_is_dropped_and_the_next_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::new(Layout::new(dir.path()));
    filled(&mut store);
    let run = Run { framework: &"F".into(), executor: &"../e".into(), container: &"c1".into() };
    let path = Layout::new(dir.path()).task("S0", run, &"../e".into()).join("task.updates");
    let mut file = File::options().append(true).open(&path).expect("the stream");
    file.write_all(&[200, 0, 0, 0, 1, 2]).expect("half a line");
    assert_eq!(
        store.read(Unreadable::Refuse).expect("read").frameworks[0].executors[0].tasks[0]
            .lines
            .len(),
        1
    );
    store.write([&line(b"2"), &line(b"3")]).expect("two further lines");
    assert_eq!(
        store.read(Unreadable::Refuse).expect("read").frameworks[0].executors[0].tasks[0]
            .lines
            .len(),
        3
    );
}

#[test]
fn what_is_finished_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::new(Layout::new(dir.path()));
    filled(&mut store);
    let (framework, executor, container) = ("F".into(), "../e".into(), "c1".into());
    let done = Record::Finished { framework, executor, container };
    store.write([&done]).expect("written");
    store.write([&done]).expect("a second time");
    assert!(store.read(Unreadable::Refuse).expect("read").frameworks[0].executors.is_empty());
    store.write([&Record::FrameworkFinished { framework: "F".into() }]).expect("written");
    assert!(store.read(Unreadable::Refuse).expect("read").frameworks.is_empty());
    store.purge().expect("deleted");
    let left = fs::read_dir(Layout::new(dir.path()).removed()).expect("the place").count();
    assert_eq!(left, 0);
}

#[test]
fn a_run_that_begins_and_ends_in_one_batch_leaves_the_next_of_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::new(Layout::new(dir.path()));
    let run = |container: &str| {
        let (framework, executor) = (FrameworkId::from("F"), ExecutorId::from("e"));
        let executor_info = ExecutorInfo { executor_id: "e".into(), ..ExecutorInfo::default() };
        let task = TaskInfo { task_id: "e".into(), ..TaskInfo::default() };
        let container = ContainerId::from(container);
        [
            Record::Executor {
                framework: framework.clone(),
                executor: executor.clone(),
                container: container.clone(),
                info: executor_info,
                command: true,
            },
            Record::Task { framework, executor, container, info: Box::new(task), member: None },
        ]
    };
    let info = FrameworkInfo { id: Some("F".into()), ..FrameworkInfo::default() };
    let begin = [
        Record::Agent(agent_info()),
        Record::Framework { id: FrameworkId::from("F"), info, pid: None },
    ];
    let (framework, executor, container) = ("F".into(), "e".into(), "c1".into());
    let end = [Record::Finished { framework, executor, container }];
    let all: Vec<Record> = begin.into_iter().chain(run("c1")).chain(end).chain(run("c2")).collect();
    store.write(&all).expect("written");
    let found = store.read(Unreadable::Refuse).expect("read");
    let containers: Vec<&str> =
        found.frameworks[0].executors.iter().map(|e| e.container.as_str()).collect();
    assert_eq!(containers, ["c2"]);
}

#[test]
fn what_cannot_be_read_is_refused_or_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::new(dir.path());
    let mut store = Store::new(layout.clone());
    filled(&mut store);
    let executor = layout.executor("S0", &"F".into(), &"../e".into());
    fs::write(executor.join("executor.info"), "nonsense").expect("written");
    let error = store.read(Unreadable::Refuse).expect_err("unreadable");
    assert!(error.to_string().starts_with("read ") && error.to_string().ends_with("executor.info"));
    let found = store.read(Unreadable::LeaveOut).expect("without it");
    assert!(found.frameworks[0].executors.is_empty());
    assert_eq!(store.left_out(), 1);
}
