//! Builds as the classic endpoint has them: the query's options, and the stream of lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use builder::{Event, Options};
use engine::container::{Resources, Ulimit};
use images::Reference;
use images::registry::AuthConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::image;
use crate::error::{ApiError, ApiResult};
use crate::params::{Params, printable};
use crate::routes::all_credentials;

/// Reads the options.
pub(crate) fn options(params: &Params, headers: &HeaderMap) -> ApiResult<Options> {
    refuse(params)?;
    let credentials: BTreeMap<String, AuthConfig> = all_credentials(headers);
    let keep = !params.bool_or("rm", true) && !params.bool("forcerm");
    let dockerfile = params.text("dockerfile").unwrap_or("Dockerfile");
    Ok(Options {
        dockerfile: dockerfile.to_owned(),
        tags: tags(params)?,
        build_args: json_parameter(params, "buildargs")?.unwrap_or_default(),
        labels: json_parameter(params, "labels")?.unwrap_or_default(),
        target: params.text("target").map(str::to_owned),
        platform: params.text("platform").map(str::to_owned),
        no_cache: params.bool("nocache"),
        cache_from: cache_from(params)?,
        pull: params.bool("pull"),
        keep_containers: keep,
        network: params.text("networkmode").unwrap_or_default().to_owned(),
        extra_hosts: extra_hosts(params),
        shm_size_bytes: params.number("shmsize")?.unwrap_or(0),
        resources: resources(params)?,
        credentials: Arc::new(move |reference| {
            credentials.get(reference.domain()).cloned().unwrap_or_default()
        }),
        ..Options::default()
    })
}

fn refuse(params: &Params) -> ApiResult<()> {
    if params.text("version") == Some("2") {
        return Err(ApiError::unsupported(
            "BuildKit is not offered: set DOCKER_BUILDKIT=0, or use `teu build`",
        ));
    }
    for name in ["check", "secret", "ssh", "buildcontext", "allow", "cacheto"] {
        if params.text(name).is_some() {
            return Err(ApiError::unsupported(format!("build: {name} is not available yet")));
        }
    }
    if params.bool("squash") {
        return Err(ApiError::invalid("squash is only supported with experimental mode"));
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

/// Turns events into lines. Of stages that are built side by side one is told after the other.
#[derive(Debug)]
pub(crate) struct Teller {
    telling: Telling,
    /// The stage of each step.
    stages: BTreeMap<usize, usize>,
    current: Option<usize>,
    /// Lines of the stages whose turn has not come, and whether they are complete.
    waiting: Vec<(usize, Vec<Value>, bool)>,
}

impl Teller {
    pub(crate) fn new(telling: Telling) -> Self {
        Self { telling, stages: BTreeMap::new(), current: None, waiting: Vec::new() }
    }

    /// Takes an event; returns the lines that it leads to.
    pub(crate) fn lines(&mut self, event: &Event) -> Vec<Value> {
        match self.telling {
            Telling::Events => vec![json!({"event": of_event(event)})],
            Telling::Quiet => match event {
                Event::Built { image } => vec![json!({"stream": format!("{image}\n")})],
                _ => Vec::new(),
            },
            Telling::Classic => self.classic(event),
        }
    }

    /// What waited when the build ended early.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.waiting).into_iter().flat_map(|(_, lines, _)| lines).collect()
    }

    fn classic(&mut self, event: &Event) -> Vec<Value> {
        if let Event::Started { step, stage, .. } = event {
            self.stages.insert(*step, *stage);
        }
        let lines = of_classic(event);
        let step = step_of(event);
        let stage = match event {
            Event::StageEnded { stage } => Some(*stage),
            _ => step.and_then(|step| self.stages.get(&step).copied()),
        };
        let Some(stage) = stage else { return lines };
        let current = *self.current.get_or_insert(stage);
        let ended = matches!(event, Event::StageEnded { .. });
        if stage != current {
            match self.waiting.iter_mut().find(|(other, ..)| *other == stage) {
                Some((_, waiting, complete)) => {
                    waiting.extend(lines);
                    *complete |= ended;
                }
                None => self.waiting.push((stage, lines, ended)),
            }
            return Vec::new();
        }
        if !ended {
            return lines;
        }
        let mut lines = lines;
        self.current = None;
        while self.current.is_none() && !self.waiting.is_empty() {
            let (stage, waiting, complete) = self.waiting.remove(0);
            lines.extend(waiting);
            self.current = Some(stage).filter(|_| !complete);
        }
        lines
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
        Event::Warning(text) => stream(format!("{text}\n")),
        Event::Built { image } => vec![
            json!({"aux": {"ID": image}}),
            json!({"stream": format!("Successfully built {}\n", short(image))}),
        ],
        Event::Tagged { name } => stream(format!("Successfully tagged {name}\n")),
    }
}

fn of_event(event: &Event) -> Value {
    match event {
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
        Event::Warning(text) => json!({"type": "warning", "text": text}),
        Event::Built { image } => json!({"type": "built", "image": image}),
        Event::Tagged { name } => json!({"type": "tagged", "name": name}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(step: usize, stage: usize) -> Event {
        let text = format!("FROM {stage}");
        let stage_name = stage.to_string();
        Event::Started { step, stage, stage_name, number: step + 1, total: 2, text }
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
