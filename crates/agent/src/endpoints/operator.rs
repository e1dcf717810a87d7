//! The operator API v1 of the agent.

use hyper::body::Incoming;
use hyper::{Request as HttpRequest, StatusCode};
use mesos_api::v1::agent::{Call, Response, call, response};
use mesos_api::v1::{Flag, Metric};
use std::time::Duration;

use super::statistics::Show;
use super::{files, look, metrics, nested, statistics};
use crate::driver::View;
use crate::server::{
    Answer, Form, RECORDIO, Server, accepted_form, body, content_form, decode, record_form, text,
    whole,
};

/// What calls and answers may be, in the words of Mesos.
const FORMS: &str = "application/json or application/x-protobuf or application/recordio";

/// How much `READ_FILE` gives at once.
const LONGEST: u64 = 16 << 20;

pub(super) async fn answer(server: &Server, request: HttpRequest<Incoming>) -> Answer {
    match answer_call(server, request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn answer_call(server: &Server, request: HttpRequest<Incoming>) -> Result<Answer, Answer> {
    use call::Type as T;
    if let Some(form) = record_form(request.headers())? {
        return Ok(nested::session::input(server, form, request).await);
    }
    let kind = content_form(&request, FORMS)?;
    // What the answer may be depends on the call.
    let (accept, records) =
        (accepted_form(request.headers(), FORMS), nested::session::Records::of(request.headers()));
    let call: Call = decode(kind, &body(request).await?, "Call")?;
    match call.r#type() {
        T::LaunchNestedContainerSession => {
            return Ok(nested::session::launch(server, call, records?).await);
        }
        T::AttachContainerOutput => {
            return Ok(nested::session::output(server, call, records?).await);
        }
        T::AttachContainerInput => {
            let why = format!(
                "Expecting 'Content-Type' to be {RECORDIO} for ATTACH_CONTAINER_INPUT call"
            );
            return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why));
        }
        _ => {}
    }
    Ok(written(accept?, &carry_out(server, call).await?))
}

fn written(form: Form, response: &Response) -> Answer {
    whole(StatusCode::OK, form.media_type(), form.encode(response))
}

#[allow(deprecated, reason = "clients of long ago use the older names")]
async fn carry_out(server: &Server, call: Call) -> Result<Response, Answer> {
    use call::Type as T;
    let refuse = |why: &str| {
        Err(text(StatusCode::BAD_REQUEST, &format!("Failed to validate agent::Call: {why}")))
    };
    let mut answer = Response::default();
    let name = call.r#type().as_str_name();
    match call.r#type() {
        T::Unknown if call.r#type.is_none() => return refuse("Expecting 'type' to be present"),
        // As Mesos answers it, and a master.
        T::Unknown => return Err(text(StatusCode::NOT_IMPLEMENTED, "")),
        T::GetHealth => answer.get_health = Some(response::GetHealth { healthy: true }),
        T::GetVersion => {
            let version_info = endpoints::version::version();
            answer.get_version = Some(response::GetVersion { version_info });
        }
        T::GetFlags => {
            let flags = look(server, |view| {
                let all = view.config.flags.iter();
                all.map(|(name, value)| Flag {
                    name: (*name).to_owned(),
                    value: Some(value.clone()),
                })
                .collect()
            })
            .await?;
            answer.get_flags = Some(response::GetFlags { flags });
        }
        T::GetMetrics => {
            let numbers = metrics::all(server).await?;
            let metrics = numbers
                .into_iter()
                .map(|(name, value)| Metric { name, value: Some(value) })
                .collect();
            answer.get_metrics = Some(response::GetMetrics { metrics });
        }
        T::GetLoggingLevel => {
            let level = server.verbosity.level();
            answer.get_logging_level = Some(response::GetLoggingLevel { level });
        }
        T::SetLoggingLevel => {
            let Some(set) = call.set_logging_level else {
                return refuse("Expecting 'set_logging_level' to be present");
            };
            let Ok(duration) = u64::try_from(set.duration.nanoseconds) else {
                return refuse("the duration is negative");
            };
            server.verbosity.set(set.level, Duration::from_nanos(duration));
            return Err(text(StatusCode::OK, ""));
        }
        T::GetState => answer.get_state = Some(look(server, state).await?),
        T::GetTasks => answer.get_tasks = Some(look(server, tasks).await?),
        T::GetExecutors => answer.get_executors = Some(look(server, executors).await?),
        T::GetFrameworks => answer.get_frameworks = Some(look(server, frameworks).await?),
        T::GetOperations => answer.get_operations = Some(response::GetOperations::default()),
        T::GetResourceProviders => {
            answer.get_resource_providers = Some(response::GetResourceProviders::default());
        }
        T::GetAgent => {
            let (info, drain) =
                look(server, |v| (v.agent.info().clone(), v.agent.draining().cloned())).await?;
            answer.get_agent = Some(response::GetAgent {
                agent_info: Some(info),
                drain_config: drain,
                ..Default::default()
            });
        }
        T::GetContainers => {
            let get = call.get_containers.unwrap_or_default();
            let show = Show { nested: get.show_nested(), standalone: get.show_standalone() };
            answer.get_containers = Some(containers(server, show).await?);
        }
        T::LaunchNestedContainer | T::LaunchContainer => {
            nested::launch::launch(server, call).await?;
            return Err(text(StatusCode::OK, ""));
        }
        T::WaitNestedContainer | T::WaitContainer => return nested::wait(server, call).await,
        T::KillNestedContainer | T::KillContainer => {
            nested::kill(server, call).await?;
            return Err(text(StatusCode::OK, ""));
        }
        T::RemoveNestedContainer | T::RemoveContainer => {
            nested::remove(server, call).await?;
            return Err(text(StatusCode::OK, ""));
        }
        T::ListFiles => {
            let Some(list) = call.list_files else {
                return refuse("Expecting 'list_files' to be present");
            };
            answer.list_files = Some(list_files(server, list.path).await?);
        }
        T::ReadFile => {
            let Some(read) = call.read_file else {
                return refuse("Expecting 'read_file' to be present");
            };
            answer.read_file = Some(read_file(server, read).await?);
        }
        other => {
            let instead = match other {
                T::AddResourceProviderConfig
                | T::UpdateResourceProviderConfig
                | T::RemoveResourceProviderConfig
                | T::MarkResourceProviderGone => "there are no resource providers",
                T::PruneImages => "images are the Docker engine's, which prunes them",
                _ => "it is unknown",
            };
            let why = format!("{} is not available on this agent: {instead}", other.as_str_name());
            return Err(text(StatusCode::NOT_IMPLEMENTED, &why));
        }
    }
    if let Some(kind) = response::Type::from_str_name(name) {
        answer.set_type(kind);
    }
    Ok(answer)
}

fn state(view: &View<'_>) -> response::GetState {
    response::GetState {
        get_tasks: Some(tasks(view)),
        get_executors: Some(executors(view)),
        get_frameworks: Some(frameworks(view)),
    }
}

fn tasks(view: &View<'_>) -> response::GetTasks {
    let mut all = response::GetTasks::default();
    for framework in view.agent.frameworks().chain(view.agent.completed_frameworks()) {
        for executor in framework.executors.values() {
            for record in executor.tasks.values() {
                let id = &record.task.task_id;
                let queued = executor.is_queued(&id.value);
                let list = if record.is_over() {
                    &mut all.terminated_tasks
                } else if queued {
                    &mut all.queued_tasks
                } else {
                    &mut all.launched_tasks
                };
                list.push(record.task.clone());
            }
            all.completed_tasks.extend(executor.completed.iter().cloned());
        }
        all.completed_tasks.extend(framework.completed.iter().flat_map(|e| e.tasks.clone()));
    }
    all
}

fn executors(view: &View<'_>) -> response::GetExecutors {
    let mut all = response::GetExecutors::default();
    for framework in view.agent.frameworks().chain(view.agent.completed_frameworks()) {
        let of = |info: &mesos_api::v1::ExecutorInfo| response::get_executors::Executor {
            executor_info: info.clone(),
        };
        all.executors.extend(framework.executors.values().map(|e| of(&e.info)));
        all.completed_executors.extend(framework.completed.iter().map(|e| of(&e.info)));
    }
    all
}

fn frameworks(view: &View<'_>) -> response::GetFrameworks {
    let of = |framework: &cluster::agent::Framework| response::get_frameworks::Framework {
        framework_info: framework.info.clone(),
    };
    response::GetFrameworks {
        frameworks: view.agent.frameworks().map(of).collect(),
        completed_frameworks: view.agent.completed_frameworks().map(of).collect(),
    }
}

async fn containers(server: &Server, show: Show) -> Result<response::GetContainers, Answer> {
    let mut all = response::GetContainers::default();
    for (one, statistics) in statistics::all(server, show).await? {
        let owner = one.owner.as_ref();
        all.containers.push(response::get_containers::Container {
            framework_id: owner.map(|owner| owner.framework_id.clone().into()),
            executor_id: owner.map(|owner| owner.executor_id.clone().into()),
            executor_name: owner.map(|owner| owner.executor_name.clone()),
            container_id: one.status.container_id.clone().unwrap_or_default(),
            container_status: Some(one.status),
            resource_statistics: statistics,
        });
    }
    Ok(all)
}

async fn list_files(server: &Server, path: String) -> Result<response::ListFiles, Answer> {
    let shown = files::shown_by(server).await?;
    let listed = tokio::task::spawn_blocking(move || shown.list(&path)).await;
    let listed = listed.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    let file_infos = listed.map_err(|error| files::refusal(&error))?;
    Ok(response::ListFiles { file_infos })
}

async fn read_file(server: &Server, call: call::ReadFile) -> Result<response::ReadFile, Answer> {
    let shown = files::shown_by(server).await?;
    let length = call.length.unwrap_or(LONGEST).min(LONGEST);
    let read = move || shown.read(&call.path, call.offset, length);
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    let piece = read.map_err(|error| files::refusal(&error))?;
    Ok(response::ReadFile { size: piece.size, data: piece.bytes.into() })
}
