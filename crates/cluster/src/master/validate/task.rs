//! Whether a task can be started with what is left of the accepted offers.

use mesos_api::v1;

use crate::id::{ExecutorId, Role, TaskId};
use crate::master::agent::Agent;
use crate::master::framework::Framework;
use crate::master::launch::upgraded;
use crate::resources::{Resources, Scalar};

/// What a task is checked against.
#[derive(Clone, Copy)]
pub(in crate::master) struct Context<'a> {
    pub(in crate::master) framework: &'a Framework,
    pub(in crate::master) agent: &'a Agent,
    pub(in crate::master) role: &'a Role,
    pub(in crate::master) remaining: &'a Resources,
    pub(in crate::master) max_executors: Option<usize>,
}

/// Whether a task's executor has to be started.
pub(in crate::master) enum ExecutorUse {
    Running,
    /// With these resources of its own.
    New(Resources),
}

/// Checks a task of LAUNCH and tells what it will hold.
pub(in crate::master) fn check(
    context: &Context<'_>,
    task: &v1::TaskInfo,
) -> Result<Resources, String> {
    check_form(context, task)?;
    let executor = match (&task.executor, &task.command) {
        (Some(_), Some(_)) | (None, None) => {
            return Err("Task should have at least one (but not both) of CommandInfo or \
                        ExecutorInfo present"
                .into());
        }
        (None, Some(_)) => ExecutorUse::Running,
        (Some(executor), None) => {
            if executor.r#type() == v1::executor_info::Type::Default {
                return Err("Task must not use the DEFAULT executor: it is for task groups".into());
            }
            executor_use(context, executor)?
        }
    };
    let holds = check_resources(context, task)?;
    let all = match executor {
        ExecutorUse::Running => holds.clone(),
        ExecutorUse::New(resources) => holds.plus(&resources),
    };
    if !covers(context.remaining, &all) {
        return Err(if all == holds {
            format!("Task uses more resources {holds} than available {}", context.remaining)
        } else {
            format!(
                "Total resources {all} required by task and its executor is more than available {}",
                context.remaining
            )
        });
    }
    Ok(holds)
}

/// Checks what a group's executor and tasks must have in common. The error names the task at fault.
pub(in crate::master) fn check_group(
    context: &Context<'_>,
    executor: &v1::ExecutorInfo,
    group: &v1::TaskGroupInfo,
) -> Result<(), (Option<usize>, String)> {
    let all = |error: &str| (None, error.to_owned());
    if group.tasks.is_empty() {
        return Err(all("Task group is empty"));
    }
    if executor.r#type() == v1::executor_info::Type::Unknown {
        return Err(all("'ExecutorInfo.type' must be set for a task group"));
    }
    let docker = |container: Option<&v1::ContainerInfo>| {
        container.is_some_and(|container| container.r#type() == v1::container_info::Type::Docker)
    };
    if docker(executor.container.as_deref()) {
        return Err(all("Docker ContainerInfo is not supported on the executor of a task group"));
    }
    let ids = group.tasks.iter().map(|task| &task.task_id.value);
    if let Some(id) = super::first_duplicate(ids) {
        return Err((None, format!("Task group has duplicate task ID: {id}")));
    }
    for (i, task) in group.tasks.iter().enumerate() {
        let bad = |error: &str| (Some(i), error.to_owned());
        if task.executor.is_some() {
            return Err(bad("'TaskInfo.executor' must not be set"));
        }
        if task.command.is_none() {
            return Err(bad("CommandInfo must be set for a task of a task group"));
        }
        if docker(task.container.as_deref()) {
            return Err(bad("Docker ContainerInfo is not supported on a task of a task group"));
        }
    }
    let executor_resources =
        resources(context, &executor.resources, "Executor").map_err(|error| (None, error))?;
    if executor_resources.iter().any(|resource| resource.revocable)
        != group.tasks.iter().flat_map(|task| &task.resources).any(|item| item.revocable.is_some())
        && !executor_resources.is_empty()
    {
        return Err(all("Task group and executor mix revocable and non-revocable resources"));
    }
    Ok(())
}

/// Checks one task of a group and tells what it will hold.
pub(in crate::master) fn check_member(
    context: &Context<'_>,
    task: &v1::TaskInfo,
) -> Result<Resources, String> {
    check_form(context, task)?;
    let holds = check_resources(context, task)?;
    if !covers(context.remaining, &holds) {
        return Err(format!(
            "Task uses more resources {holds} than available {}",
            context.remaining
        ));
    }
    Ok(holds)
}

/// Whether what is left holds the wanted. Of what is shared, one copy serves any number.
fn covers(remaining: &Resources, wanted: &Resources) -> bool {
    if wanted.iter().all(|resource| !resource.shared) {
        return remaining.contains(wanted);
    }
    let single = wanted.map(|resource| {
        if resource.shared {
            resource.copies = 1;
        }
    });
    remaining.contains(&single)
}

/// Everything but resources and executor.
fn check_form(context: &Context<'_>, task: &v1::TaskInfo) -> Result<(), String> {
    super::id(&task.task_id.value)?;
    let id = &TaskId::from(&task.task_id);
    if context.framework.tasks.contains_key(id) {
        return Err(format!("Task has duplicate ID: {id}"));
    }
    if context.framework.unreachable.contains_key(id) {
        return Err(format!("Task reuses the ID of unreachable task {id}"));
    }
    if task.agent_id.value != context.agent.id.as_str() {
        return Err(format!(
            "Task uses invalid agent {} while agent {} is expected",
            task.agent_id.value, context.agent.id
        ));
    }
    let negative = |duration: Option<&v1::DurationInfo>| {
        duration.is_some_and(|duration| duration.nanoseconds < 0)
    };
    let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    if negative(grace) {
        return Err("Task's 'kill_policy.grace_period' must be non-negative".into());
    }
    if negative(task.max_completion_time.as_ref()) {
        return Err("Task's 'max_completion_time' must be non-negative".into());
    }
    if let Some(check) = &task.health_check {
        health_check(check).map_err(|error| format!("Task uses invalid health check: {error}"))?;
    }
    if let Some(check) = &task.check {
        self::check_info(check).map_err(|error| format!("Task uses invalid check: {error}"))?;
    }
    if let Some(command) = &task.command {
        self::command(command)
            .map_err(|error| format!("Task's `CommandInfo` is invalid: {error}"))?;
    }
    if let Some(container) = &task.container {
        self::container(container)
            .map_err(|error| format!("Task's `ContainerInfo` is invalid: {error}"))?;
    }
    Ok(())
}

fn check_resources(context: &Context<'_>, task: &v1::TaskInfo) -> Result<Resources, String> {
    if task.resources.is_empty() {
        return Err("Task uses no resources".into());
    }
    let holds = resources(context, &task.resources, "Task")?;
    if holds.is_empty() {
        return Err("Task uses no resources: what it asks for is less than a thousandth".into());
    }
    limits(context, task, &holds)?;
    Ok(holds)
}

/// Reads the resources of a task or executor and checks what they must have in common.
fn resources(
    context: &Context<'_>,
    wire: &[v1::Resource],
    whose: &str,
) -> Result<Resources, String> {
    let bad = |error: String| format!("{whose} uses invalid resources: {error}");
    let mut all = Resources::with_room(wire.len());
    for wire in wire {
        let resource = upgraded(wire, context.role).map_err(bad)?;
        if resource.allocation.as_ref() != Some(context.role) {
            return Err(bad(format!(
                "The resources have mixed allocation roles: '{}' where the offer is for '{}'",
                resource.allocation.as_ref().map_or("", Role::as_str),
                context.role
            )));
        }
        let disk = resource.disk.as_ref();
        if resource.is_persistent_volume() && disk.is_some_and(|disk| disk.volume.is_none()) {
            return Err(bad("Persistent volume must have a 'volume'".into()));
        }
        all.add(&resource);
    }
    let mixed = all.iter().find(|one| {
        all.iter().any(|other| one.name == other.name && one.revocable != other.revocable)
    });
    if let Some(mixed) = mixed {
        return Err(bad(format!(
            "Cannot use both revocable and non-revocable '{}' at the same time",
            mixed.name
        )));
    }
    let volumes = all.iter().filter_map(|resource| {
        let id = resource.persistence()?.id.clone();
        Some((resource.reserved_role().cloned(), id))
    });
    if let Some((_, id)) = super::first_duplicate(volumes) {
        return Err(bad(format!("Persistence ID '{id}' is used twice")));
    }
    Ok(all)
}

fn limits(context: &Context<'_>, task: &v1::TaskInfo, holds: &Resources) -> Result<(), String> {
    if task.limits.is_empty() {
        return Ok(());
    }
    if !context.agent.capabilities.task_resource_limits {
        return Err(format!(
            "Task has resource limits, which agent {} does not know",
            context.agent.id
        ));
    }
    for (name, limit) in &task.limits {
        if name != "cpus" && name != "mem" {
            return Err(format!(
                "Resource limits are only allowed for cpus and mem, not for {name}"
            ));
        }
        let asked = holds.amount(name).unwrap_or(Scalar::ZERO);
        if limit.value.is_nan() || limit.value.is_finite() && Scalar::from_f64(limit.value) < asked
        {
            return Err(format!(
                "The {name} limit {} is less than the request {asked}",
                limit.value
            ));
        }
    }
    Ok(())
}

/// Checks an executor, and whether it runs on the agent already.
pub(in crate::master) fn executor_use(
    context: &Context<'_>,
    executor: &v1::ExecutorInfo,
) -> Result<ExecutorUse, String> {
    super::id(&executor.executor_id.value)
        .map_err(|error| format!("Executor has an invalid ID: {error}"))?;
    let framework = executor.framework_id.as_ref().map(|id| id.value.as_str());
    if framework != Some(context.framework.id.as_str()) {
        return Err(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {} vs Expected: {})",
            framework.unwrap_or_default(),
            context.framework.id
        ));
    }
    let default = executor.r#type() == v1::executor_info::Type::Default;
    match (&executor.command, default) {
        (None, false) => {
            return Err("'ExecutorInfo.command' must be set for a CUSTOM executor".into());
        }
        (Some(_), true) => {
            return Err("'ExecutorInfo.command' must not be set for the DEFAULT executor".into());
        }
        (Some(command), false) => self::command(command)
            .map_err(|error| format!("Executor's `CommandInfo` is invalid: {error}"))?,
        (None, true) => {}
    }
    if let Some(container) = &executor.container {
        self::container(container)
            .map_err(|error| format!("Executor's `ContainerInfo` is invalid: {error}"))?;
    }
    if executor.shutdown_grace_period.as_ref().is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("ExecutorInfo's 'shutdown_grace_period' must be non-negative".into());
    }
    let key = (context.framework.id.clone(), ExecutorId::from(&executor.executor_id));
    if let Some(running) = context.agent.executors.get(&key) {
        return if *running.info == *executor {
            Ok(ExecutorUse::Running)
        } else {
            Err("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID."
                .into())
        };
    }
    let count = context.agent.executors.len();
    if context.max_executors.is_some_and(|most| count >= most) {
        return Err(format!(
            "Agent {} runs {count} executors, which is the most it may run",
            context.agent.id
        ));
    }
    resources(context, &executor.resources, "Executor").map(ExecutorUse::New)
}

fn command(command: &v1::CommandInfo) -> Result<(), String> {
    let variables = command.environment.iter().flat_map(|environment| &environment.variables);
    for variable in variables {
        use v1::environment::variable::Type;
        let name = &variable.name;
        match variable.r#type() {
            Type::Value if variable.secret.is_some() => {
                return Err(format!(
                    "Environment variable '{name}' of type 'VALUE' must not have a \
                                    secret set"
                ));
            }
            Type::Value if variable.value.is_none() => {
                return Err(format!(
                    "Environment variable '{name}' of type 'VALUE' must have a \
                                    value set"
                ));
            }
            Type::Secret if variable.value.is_some() => {
                return Err(format!(
                    "Environment variable '{name}' of type 'SECRET' must not have \
                                    a value set"
                ));
            }
            Type::Secret if variable.secret.is_none() => {
                return Err(format!(
                    "Environment variable '{name}' of type 'SECRET' must have a \
                                    secret set"
                ));
            }
            Type::Unknown => {
                return Err(format!(
                    "Environment variable '{name}' of type 'UNKNOWN' is not \
                                    allowed"
                ));
            }
            Type::Value | Type::Secret => {}
        }
    }
    Ok(())
}

fn container(container: &v1::ContainerInfo) -> Result<(), String> {
    use v1::container_info::Type;
    match container.r#type() {
        Type::Docker if container.docker.is_none() => {
            return Err("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo".into());
        }
        Type::Docker => {
            let parameters = container.docker.iter().flat_map(|docker| &docker.parameters);
            if parameters.into_iter().any(|parameter| parameter.key == "name") {
                return Err("Parameter in DockerInfo must not be 'name'".into());
            }
        }
        Type::Mesos if container.docker.is_some() => {
            return Err("DockerInfo 'docker' is set for MESOS typed ContainerInfo".into());
        }
        Type::Mesos => {}
    }
    for volume in &container.volumes {
        let sources = usize::from(volume.host_path.is_some())
            + usize::from(volume.image.is_some())
            + usize::from(volume.source.is_some());
        if sources > 1 {
            return Err(
                "Only one of 'host_path', 'image' and 'source' of a volume may be set".into()
            );
        }
    }
    Ok(())
}

fn check_info(check: &v1::CheckInfo) -> Result<(), String> {
    use v1::check_info::Type;
    match check.r#type() {
        Type::Command if check.command.is_none() => {
            return Err("Expecting 'command' to be set for COMMAND check".into());
        }
        Type::Http if check.http.is_none() => {
            return Err("Expecting 'http' to be set for HTTP check".into());
        }
        Type::Tcp if check.tcp.is_none() => {
            return Err("Expecting 'tcp' to be set for TCP check".into());
        }
        Type::Unknown => return Err("'UNKNOWN' is not a valid check type".into()),
        Type::Command | Type::Http | Type::Tcp => {}
    }
    if let Some(path) = check.http.as_ref().and_then(|http| http.path.as_deref())
        && !path.starts_with('/')
    {
        return Err(format!("The path '{path}' of HTTP check must start with '/'"));
    }
    seconds(&[
        ("delay_seconds", check.delay_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

fn health_check(check: &v1::HealthCheck) -> Result<(), String> {
    use v1::health_check::Type;
    match check.r#type() {
        Type::Command => match &check.command {
            None => return Err("Expecting 'command' to be set for COMMAND health check".into()),
            Some(command) if command.value.is_none() => {
                return Err("Command health check must contain 'shell command' or argv".into());
            }
            Some(command) => self::command(command)?,
        },
        Type::Http if check.http.is_none() => {
            return Err("Expecting 'http' to be set for HTTP health check".into());
        }
        Type::Tcp if check.tcp.is_none() => {
            return Err("Expecting 'tcp' to be set for TCP health check".into());
        }
        Type::Http | Type::Tcp => {}
        // Frameworks from before the type was there only set `http` or `command`.
        Type::Unknown if check.http.is_some() || check.command.is_some() => {}
        Type::Unknown => return Err("HealthCheck must specify 'type'".into()),
    }
    if let Some(http) = &check.http {
        if let Some(scheme) = http.scheme.as_deref().filter(|it| !matches!(*it, "http" | "https")) {
            return Err(format!("Unsupported HTTP health check scheme: '{scheme}'"));
        }
        if let Some(path) = http.path.as_deref().filter(|path| !path.starts_with('/')) {
            return Err(format!("The path '{path}' of HTTP health check must start with '/'"));
        }
    }
    seconds(&[
        ("delay_seconds", check.delay_seconds),
        ("grace_period_seconds", check.grace_period_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

fn seconds(values: &[(&str, Option<f64>)]) -> Result<(), String> {
    match values.iter().find(|(_, value)| value.is_some_and(|value| value.is_nan() || value < 0.0))
    {
        Some((name, _)) => Err(format!("Expecting '{name}' to be non-negative")),
        None => Ok(()),
    }
}
