//! Builds as the classic endpoint has them: the query's options, and the stream of lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::HeaderMap;
use builder::{Builder, Call, Event, NamedContext, Options, PruneOptions};
use engine::container::{Resources, Ulimit};
use images::Reference;
use images::registry::AuthConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{image, time};
use crate::error::{ApiError, ApiResult};
use crate::params::{Params, printable};
use crate::routes::all_credentials;

/// Reads the options.
pub(crate) fn options(params: &Params, headers: &HeaderMap) -> ApiResult<Options> {
    refuse(params)?;
    let credentials: BTreeMap<String, AuthConfig> = all_credentials(headers);
    let granted = params.all("allow");
    let allowed_devices = granted.iter().filter_map(|allowed| match allowed.as_str() {
        "device" => Some("*".to_owned()),
        other => other.strip_prefix("device=").map(str::to_owned),
    });
    let keep = !params.bool_or("rm", true) && !params.bool("forcerm");
    let dockerfile = params.text("dockerfile").unwrap_or("Dockerfile");
    let build_args: BTreeMap<String, Option<String>> =
        json_parameter(params, "buildargs")?.unwrap_or_default();
    // As a parameter of Teu's own, and as Docker's clients say it.
    let asked = build_args.get("BUILDKIT_INLINE_CACHE").and_then(Option::as_deref);
    let inline_cache = params.bool("inlinecache") || matches!(asked, Some("1" | "true"));
    Ok(Options {
        dockerfile: dockerfile.to_owned(),
        tags: tags(params)?,
        build_args,
        labels: json_parameter(params, "labels")?.unwrap_or_default(),
        target: params.text("target").map(str::to_owned),
        platform: params.text("platform").map(str::to_owned),
        no_cache: params.bool("nocache"),
        no_cache_filter: params.all("nocachefilter"),
        cache_from: cache_from(params)?,
        inline_cache,
        pull: params.bool("pull"),
        keep_containers: keep,
        network: params.text("networkmode").unwrap_or_default().to_owned(),
        extra_hosts: extra_hosts(params),
        shm_size_bytes: params.number("shmsize")?.unwrap_or(0),
        resources: resources(params)?,
        ssh: pairs(params, "ssh")?.into_iter().map(|(id, path)| (id, path.into())).collect(),
        call: call(params)?,
        allow_insecure: granted.iter().any(|allowed| allowed == "security.insecure"),
        allowed_devices: allowed_devices.collect(),
        credentials: Arc::new(move |reference| {
            credentials.get(reference.domain()).cloned().unwrap_or_default()
        }),
        ..Options::default()
    })
}

/// What is wanted of the Dockerfile, of Teu's own; `check` alone is how older clients ask for advice.
fn call(params: &Params) -> ApiResult<Call> {
    match params.text("call").unwrap_or("build") {
        "build" if params.bool("check") => Ok(Call::Check),
        "build" => Ok(Call::Build),
        "check" => Ok(Call::Check),
        "outline" => Ok(Call::Outline),
        "targets" => Ok(Call::Targets),
        other => Err(ApiError::invalid(format!(
            "invalid value {:?} of call: want build, check, outline or targets",
            printable(other)
        ))),
    }
}

/// `name=value` parameters, each of Teu's own.
fn pairs(params: &Params, name: &str) -> ApiResult<Vec<(String, String)>> {
    let pairs = params.all(name).into_iter().map(|text| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(ApiError::invalid(format!(
            "invalid value {:?} of {name}: want name=value",
            printable(&text)
        ))),
    });
    pairs.collect()
}

/// Secrets and contexts that were sent ahead, and contexts that are elsewhere.
pub(crate) fn take_inputs(
    params: &Params,
    builder: &Builder,
    options: &mut Options,
) -> ApiResult<BTreeMap<String, NamedContext>> {
    for (id, input) in pairs(params, "secret")? {
        options.secrets.insert(id, builder.take_secret(&input)?);
    }
    let mut contexts = BTreeMap::new();
    for (name, value) in pairs(params, "buildcontext")? {
        let context = match (value.strip_prefix("input:"), value.strip_prefix("docker-image://")) {
            (Some(input), _) => NamedContext::Input(input.to_owned()),
            (_, Some(image)) => NamedContext::Image(Reference::parse(image)?),
            _ => NamedContext::Remote(value),
        };
        contexts.insert(name, context);
    }
    Ok(contexts)
}

/// What `POST /build/cache` is to give.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CacheWanted {
    /// Keys of steps.
    pub(crate) keys: Vec<String>,
    /// Diff ids of layers that the client has.
    #[serde(default)]
    pub(crate) known: Vec<String>,
}

/// Reads what `POST /build/prune` is to remove.
pub(crate) fn prune_options(params: &Params) -> ApiResult<PruneOptions> {
    const FILTERS: [&str; 9] = [
        "until",
        "unused-for",
        "id",
        "parent",
        "type",
        "description",
        "inuse",
        "shared",
        "private",
    ];
    let filters = params.filters()?.only(&FILTERS)?;
    let unused_since =
        match filters.values("until").iter().chain(filters.values("unused-for")).next() {
            Some(text) => Some(time::parse_or_refuse("until", text)?.as_second()),
            None => None,
        };
    let truth = |name: &str| match filters.values(name) {
        [] => Ok(None),
        [text, ..] => match text.as_str() {
            "" | "1" | "true" => Ok(Some(true)),
            "0" | "false" => Ok(Some(false)),
            _ => Err(ApiError::invalid(format!(
                "invalid filter '{name}={}': want true or false",
                printable(text)
            ))),
        },
    };
    if params.number::<i64>("min-free-space")?.is_some_and(|bytes| bytes > 0) {
        return Err(ApiError::unsupported(
            "build prune: min-free-space is not offered: say with reserved-space what may stay",
        ));
    }
    let mut keep = None;
    // What may be used at most is what stays, and no less than what is reserved.
    for name in ["keep-storage", "reserved-space", "max-used-space"] {
        let bytes = params.number::<i64>(name)?.and_then(|bytes| u64::try_from(bytes).ok());
        keep = keep.max(bytes.filter(|bytes| *bytes > 0));
    }
    Ok(PruneOptions {
        all: params.bool("all"),
        keep_bytes: keep,
        unused_since,
        ids: filters.values("id").to_vec(),
        kinds: filters.values("type").to_vec(),
        parents: filters.values("parent").to_vec(),
        descriptions: filters.values("description").to_vec(),
        shared: truth("shared")?.or(truth("private")?.map(|private| !private)),
        in_use: truth("inuse")?,
    })
}

fn refuse(params: &Params) -> ApiResult<()> {
    if params.text("version") == Some("2") {
        return Err(ApiError::unsupported(
            "BuildKit is not offered: set DOCKER_BUILDKIT=0, or use `teu build`",
        ));
    }
    if params.bool("squash") {
        return Err(ApiError::invalid("squash is only supported with experimental mode"));
    }
    if let Some(platforms) = params.text("platform").filter(|text| text.contains(',')) {
        return Err(ApiError::invalid(format!(
            "Multi-platform build is not supported: {}: give one platform, and one build for each",
            printable(platforms)
        )));
    }
    match params.text("isolation") {
        None | Some("default") => {}
        Some(other) => {
            return Err(ApiError::invalid(format!(
                "Unsupported isolation: {:?}",
                printable(other)
            )));
        }
    }
    let security = params.text("securityopt").filter(|text| !["null", "[]"].contains(text));
    if security.is_some() {
        let text = "The daemon on this platform does not support setting security options on build";
        return Err(ApiError::invalid(text));
    }
    Ok(())
}

/// Images: a list as JSON, as Docker's clients send it.
fn cache_from(params: &Params) -> ApiResult<Vec<String>> {
    let lists = params.all("cachefrom").into_iter().filter(|text| !text.is_empty());
    let lists = lists.map(|text| {
        serde_json::from_str::<Option<Vec<String>>>(&text).map_err(|error| {
            ApiError::invalid(format!(
                "invalid value {:?} of cachefrom: want a list of images as JSON: {}",
                printable(&text),
                printable(&error.to_string())
            ))
        })
    });
    let lists = lists.collect::<ApiResult<Vec<_>>>()?;
    Ok(lists.into_iter().flatten().flatten().collect())
}

fn tags(params: &Params) -> ApiResult<Vec<Reference>> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in params.all("t").iter().filter(|text| !text.is_empty()) {
        let reference = Reference::parse(text)?;
        if reference.digest().is_some() {
            return Err(ApiError::invalid("build tag cannot contain a digest"));
        }
        let reference = reference.or_latest();
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    Ok(tags)
}

fn json_parameter<T: DeserializeOwned>(params: &Params, name: &str) -> ApiResult<Option<T>> {
    let Some(text) = params.text(name) else { return Ok(None) };
    serde_json::from_str::<Option<T>>(text).map_err(|error| {
        ApiError::invalid(format!("invalid value of {name}: {}", printable(&error.to_string())))
    })
}

/// One parameter each, or all in one as JSON, as older clients write them.
fn extra_hosts(params: &Params) -> Vec<String> {
    let given = params.all("extrahosts").into_iter();
    given
        .flat_map(|text| match serde_json::from_str::<Vec<String>>(&text) {
            Ok(list) => list,
            Err(_) => text.split(',').map(str::to_owned).collect(),
        })
        .filter(|text| !text.is_empty())
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireUlimit {
    name: String,
    #[serde(default)]
    soft: i64,
    #[serde(default)]
    hard: i64,
}

fn resources(params: &Params) -> ApiResult<Resources> {
    let ulimits: Vec<WireUlimit> = json_parameter(params, "ulimits")?.unwrap_or_default();
    let number = |name| params.number::<i64>(name).map(|number| number.unwrap_or(0));
    let text = |name| params.text(name).unwrap_or_default().to_owned();
    Ok(Resources {
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: text("cpusetcpus"),
        cpuset_mems: text("cpusetmems"),
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cgroup_parent: text("cgroupparent"),
        ulimits: ulimits
            .into_iter()
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        ..Resources::default()
    })
}

/// How a build is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// As Docker's classic builder does.
    Classic,
    /// The image's id alone.
    Quiet,
    /// Every event as it is.
    Events,
}

/// Turns events into lines. Of stages that are built side by side one is told after the other, in the
/// order of the Dockerfile.
#[derive(Debug)]
pub(crate) struct Teller {
    telling: Telling,
    /// The stage of each step.
    stages: BTreeMap<usize, usize>,
    /// Stages that have not ended.
    open: BTreeSet<usize>,
    /// The one that is told as it goes on.
    current: Option<usize>,
    /// Lines of the stages whose turn has not come.
    waiting: BTreeMap<usize, Vec<Value>>,
}

impl Teller {
    pub(crate) fn new(telling: Telling) -> Self {
        Self {
            telling,
            stages: BTreeMap::new(),
            open: BTreeSet::new(),
            current: None,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes an event; returns the lines that it leads to.
    pub(crate) fn lines(&mut self, event: &Event) -> Vec<Value> {
        match self.telling {
            Telling::Events => {
                of_event(event).map(|event| json!({"event": event})).into_iter().collect()
            }
            Telling::Quiet => match event {
                Event::Built { image } => vec![json!({"stream": format!("{image}\n")})],
                _ => Vec::new(),
            },
            Telling::Classic => self.classic(event),
        }
    }

    /// What waited when the build ended early.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    fn classic(&mut self, event: &Event) -> Vec<Value> {
        match event {
            Event::Planned { stages } => self.open.extend(stages),
            Event::Started { step, stage, .. } => {
                self.stages.insert(*step, *stage);
                // One that only a trigger of a base image needs was not planned.
                self.open.insert(*stage);
            }
            _ => {}
        }
        let lines = of_classic(event);
        let step = step_of(event);
        let stage = match event {
            Event::StageEnded { stage } => Some(*stage),
            _ => step.and_then(|step| self.stages.get(&step).copied()),
        };
        let Some(stage) = stage else { return lines };
        let first = self.open.first().copied();
        let current = *self.current.get_or_insert(first.unwrap_or(stage));
        let ended = matches!(event, Event::StageEnded { .. });
        if ended {
            self.open.remove(&stage);
        }
        if stage != current {
            self.waiting.entry(stage).or_default().extend(lines);
            return Vec::new();
        }
        if !ended {
            return lines;
        }
        self.current = self.open.first().copied();
        let next = self.current.unwrap_or(usize::MAX);
        let later = self.waiting.split_off(&next.saturating_add(1));
        let due = std::mem::replace(&mut self.waiting, later);
        lines.into_iter().chain(due.into_values().flatten()).collect()
    }
}

fn step_of(event: &Event) -> Option<usize> {
    match event {
        Event::Started { step, .. }
        | Event::Cached { step }
        | Event::Running { step, .. }
        | Event::Output { step, .. }
        | Event::Removed { step, .. }
        | Event::Transfer { step, .. }
        | Event::Done { step, .. } => Some(*step),
        _ => None,
    }
}

fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn of_classic(event: &Event) -> Vec<Value> {
    let stream = |text: String| vec![json!({"stream": text})];
    match event {
        Event::Started { number: 0, text, .. } => {
            stream(format!("# Executing build trigger\n ---> {text}\n"))
        }
        Event::Started { number, total, text, .. } => {
            stream(format!("Step {number}/{total} : {text}\n"))
        }
        Event::Cached { .. } => stream(" ---> Using cache\n".to_owned()),
        Event::Running { container, .. } => {
            stream(format!(" ---> Running in {}\n", short(container)))
        }
        // Red, as clients know it.
        Event::Output { is_error: true, text, .. } => stream(format!("\u{1b}[91m{text}\u{1b}[0m")),
        Event::Output { text, .. } => stream(text.clone()),
        Event::Removed { container, .. } => {
            stream(format!(" ---> Removed intermediate container {}\n", short(container)))
        }
        Event::Transfer { progress, .. } => vec![image::progress(progress)],
        Event::Done { image, .. } => stream(format!(" ---> {}\n", short(image))),
        Event::StageEnded { .. } => Vec::new(),
        // For those who ask for it.
        Event::Planned { .. } | Event::Lint { .. } | Event::Steps { .. } => Vec::new(),
        Event::Warning(text) => stream(format!("{text}\n")),
        Event::Answer(value) => vec![json!({"aux": value})],
        Event::Built { image } => vec![
            json!({"aux": {"ID": image}}),
            json!({"stream": format!("Successfully built {}\n", short(image))}),
        ],
        Event::Tagged { name } => stream(format!("Successfully tagged {name}\n")),
    }
}

/// Nothing for what only the classic lines are made of.
fn of_event(event: &Event) -> Option<Value> {
    let value = match event {
        Event::Planned { .. } => return None,
        Event::Started { step, stage, stage_name, number, total, text } => json!({
            "type": "started", "step": step, "stage": stage, "stageName": stage_name,
            "number": number, "total": total, "text": text,
        }),
        Event::Cached { step } => json!({"type": "cached", "step": step}),
        Event::Running { step, container } => {
            json!({"type": "running", "step": step, "container": container})
        }
        Event::Output { step, is_error, text } => {
            json!({"type": "output", "step": step, "stderr": is_error, "text": text})
        }
        Event::Removed { step, container } => {
            json!({"type": "removed", "step": step, "container": container})
        }
        Event::Transfer { step, progress } => {
            json!({"type": "transfer", "step": step, "progress": image::progress(progress)})
        }
        Event::Done { step, image } => json!({"type": "done", "step": step, "image": image}),
        Event::StageEnded { stage } => json!({"type": "stageEnded", "stage": stage}),
        Event::Steps { all, result } => json!({"type": "steps", "keys": all, "result": result}),
        Event::Lint { rule, text } => json!({"type": "lint", "rule": rule, "text": text}),
        Event::Warning(text) => json!({"type": "warning", "text": text}),
        Event::Answer(value) => json!({"type": "answer", "value": value}),
        Event::Built { image } => json!({"type": "built", "image": image}),
        Event::Tagged { name } => json!({"type": "tagged", "name": name}),
    };
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(step: usize, stage: usize) -> Event {
        let text = format!("FROM {stage}");
        let stage_name = stage.to_string();
        Event::Started { step, stage, stage_name, number: step + 1, total: 2, text }
    }

    fn told(events: &[Event]) -> String {
        let mut teller = Teller::new(Telling::Classic);
        let lines: Vec<Value> = events.iter().flat_map(|event| teller.lines(event)).collect();
        let texts = lines.iter().chain(&teller.rest()).cloned().collect::<Vec<_>>();
        texts.iter().filter_map(|line| line["stream"].as_str()).collect()
    }

    #[test]
    fn stages_are_told_in_the_order_of_the_file() {
        let planned = Event::Planned { stages: vec![0, 2] };
        let ended = |stage| Event::StageEnded { stage };
        let late = [planned.clone(), started(0, 2), ended(2), started(1, 0)];
        assert_eq!(told(&late), "Step 2/2 : FROM 0\nStep 1/2 : FROM 2\n");
        // Of a build that ended early, too; and of a stage that was not planned.
        let early = [planned, started(0, 2), started(1, 0), ended(0), started(2, 1)];
        let expected = "Step 2/2 : FROM 0\nStep 1/2 : FROM 2\nStep 3/2 : FROM 1\n";
        assert_eq!(told(&early), expected);
    }

    #[test]
    fn stages_are_told_one_after_the_other() {
        let mut teller = Teller::new(Telling::Classic);
        let mut told = String::new();
        let output = |step, text: &str| Event::Output { step, is_error: false, text: text.into() };
        for event in [
            started(0, 0),
            started(1, 1),
            output(1, "b\n"),
            output(0, "a\n"),
            Event::StageEnded { stage: 1 },
            Event::StageEnded { stage: 0 },
            Event::Built { image: "sha256:0123456789abcdef".into() },
        ] {
            for line in teller.lines(&event) {
                told.push_str(line["stream"].as_str().unwrap_or_default());
            }
        }
        let expected =
            "Step 1/2 : FROM 0\na\nStep 2/2 : FROM 1\nb\nSuccessfully built 0123456789ab\n";
        assert_eq!(told, expected);
    }
}
