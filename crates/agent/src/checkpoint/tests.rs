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
    for record in records {
        store.write(&record).expect("written");
    }
}

#[test]
fn what_was_written_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(&mut Store::new(Layout::new(dir.path())));
    let mut store = Store::new(Layout::new(dir.path()));
    let found = store.read().expect("read");
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
    assert_eq!(store.read().expect("read").frameworks[0].executors[0].tasks[0].lines.len(), 1);
    append(&path, update(b"2").as_ref()).expect("a further line");
    assert_eq!(store.read().expect("read").frameworks[0].executors[0].tasks[0].lines.len(), 2);
}

#[test]
fn what_is_finished_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::new(Layout::new(dir.path()));
    filled(&mut store);
    let (framework, executor, container) = ("F".into(), "../e".into(), "c1".into());
    let done = Record::Finished { framework, executor, container };
    store.write(&done).expect("written");
    store.write(&done).expect("a second time");
    assert!(store.read().expect("read").frameworks[0].executors.is_empty());
    store.write(&Record::FrameworkFinished { framework: "F".into() }).expect("written");
    assert!(store.read().expect("read").frameworks.is_empty());
}
