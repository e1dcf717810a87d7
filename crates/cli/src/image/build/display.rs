//! How a build is shown: bars on a terminal, numbered lines elsewhere, or the events as they are.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use docker_api::Response;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::cli::env;
use crate::failure::Failure;
use crate::grammar::Values;
use crate::terminal;

/// How many last lines of a failed command are shown again.
const TAIL_LINES: usize = 20;

/// One line of the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    event: Option<Event>,
    error: String,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Event {
    #[serde(rename_all = "camelCase")]
    Started {
        step: usize,
        stage_name: String,
        number: usize,
        total: usize,
        text: String,
    },
    Cached {
        step: usize,
    },
    Output {
        step: usize,
        text: String,
    },
    Transfer {
        step: usize,
        progress: Json,
    },
    Done {
        step: usize,
    },
    Steps {
        keys: Vec<String>,
        #[serde(default)]
        result: Vec<String>,
    },
    Lint {
        rule: String,
        text: String,
    },
    Warning {
        text: String,
    },
    Answer {
        value: Json,
    },
    Built {
        image: String,
    },
    Tagged {
        name: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Quiet,
    Plain,
    Terminal,
    Raw,
}

/// What a build came to.
#[derive(Debug)]
pub(super) struct Done {
    /// The image's id, if one was made.
    pub(super) image: Option<String>,
    /// Its steps.
    pub(super) steps: Steps,
    /// What the Dockerfile offers, if that was asked.
    pub(super) answer: Option<Json>,
}

/// Keys of steps in the daemon's cache.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Of all stages.
    pub(super) all: Vec<String>,
    /// Of those that made the image.
    pub(super) result: Vec<String>,
}

/// Shows a build.
pub(super) struct Display {
    mode: Mode,
    steps: BTreeMap<usize, Step>,
    bars: Option<Bars>,
    began: Instant,
}

/// What moves on a terminal: the steps that are being done, and below them how far the build is.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(0));
        total.set_style(style(" [+] building {elapsed} ({pos}/{len})"));
        total.enable_steady_tick(TICK);
        Self { all, total }
    }

    fn step(&self, title: &str) -> ProgressBar {
        let bar = self.all.insert_before(&self.total, ProgressBar::new_spinner());
        bar.set_style(style(" {spinner} {wide_msg:.bold} {elapsed}"));
        bar.set_message(title.to_owned());
        bar.enable_steady_tick(TICK);
        bar
    }
}

/// Shows below a step's title the line that it wrote last.
fn say(bar: &ProgressBar, line: &str) {
    // What a command draws over its own line stays its own business.
    let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(room()).collect();
    if bar.prefix().is_empty() && !line.is_empty() {
        bar.set_style(style(" {spinner} {wide_msg:.bold} {elapsed}\n     {prefix:.dim}"));
    }
    bar.set_prefix(line);
}

/// How much of a line there is for what a command writes.
fn room() -> usize {
    terminal::width().saturating_sub(6).max(20)
}

/// The line of a step that is done: the time stands at the right edge.
fn ended(title: &str, cached: bool, seconds: f64, width: usize) -> String {
    let (mark, shown) = if cached { ("CACHED ", "\u{1b}[36mCACHED\u{1b}[0m ") } else { ("", "") };
    let time = if cached { String::new() } else { format!(" {seconds:.1}s") };
    let room = width.saturating_sub(" => ".len() + mark.len() + time.len()).max(20);
    let mut text: String = title.chars().filter(|c| !c.is_control()).collect();
    if text.chars().count() > room {
        text = text.chars().take(room - 1).chain(['…']).collect();
    }
    let gap = if cached { 0 } else { room - text.chars().count() };
    format!(" => {shown}{text}{}{time}", " ".repeat(gap))
}

/// How often bars move.
const TICK: Duration = Duration::from_millis(150);

struct Step {
    title: String,
    began: Instant,
    cached: bool,
    bar: Option<ProgressBar>,
    /// The last lines that its command wrote, the very last perhaps not whole.
    tail: String,
}

impl Display {
    pub(super) fn parse(flags: &Values) -> Result<Self, Failure> {
        let terminal = std::io::stderr().is_terminal();
        let environment = env("BUILDKIT_PROGRESS");
        let asked = flags.get("progress").or(environment.as_deref());
        let mode = match asked.unwrap_or("auto") {
            _ if flags.on("quiet") => Mode::Quiet,
            "auto" | "" if terminal => Mode::Terminal,
            "auto" | "" | "plain" => Mode::Plain,
            "tty" if terminal => Mode::Terminal,
            "tty" => return Err("failed to get console: stderr is no terminal".into()),
            "rawjson" => Mode::Raw,
            "quiet" | "none" => Mode::Quiet,
            other => {
                return Err(format!(
                    "invalid progress {other:?}: use auto, plain, tty, rawjson or quiet"
                )
                .into());
            }
        };
        let bars = (mode == Mode::Terminal).then(Bars::new);
        Ok(Self { mode, steps: BTreeMap::new(), bars, began: Instant::now() })
    }

    /// Shows the lines of an answer.
    pub(super) async fn follow(mut self, mut response: Response) -> Result<Done, Failure> {
        let (mut built, mut answer) = (None, None);
        let mut steps = Steps::default();
        while let Some(line) = response.next_json::<Json>().await? {
            if self.mode == Mode::Raw {
                println!("{line}");
            }
            let line: Line = serde_json::from_value(line)
                .map_err(|error| format!("the daemon's answer cannot be read: {error}"))?;
            let message = line.detail.map_or(line.error, |detail| detail.message);
            if !message.is_empty() {
                return Err(self.failed(&message));
            }
            match line.event {
                Some(Event::Built { image }) => {
                    self.print(&format!("writing image {image}"));
                    built = Some(image);
                }
                Some(Event::Answer { value }) => answer = Some(value),
                Some(Event::Steps { keys, result }) => steps = Steps { all: keys, result },
                Some(event) => self.show(event),
                None => {}
            }
        }
        if built.is_some() {
            let seconds = self.began.elapsed().as_secs_f64();
            self.print(&format!("built in {seconds:.1} s"));
        }
        self.clear();
        Ok(Done { image: built, steps, answer })
    }

    fn clear(&self) {
        self.steps
            .values()
            .filter_map(|step| step.bar.as_ref())
            .for_each(ProgressBar::finish_and_clear);
        self.bars.iter().for_each(|bars| bars.total.finish_and_clear());
    }

    fn failed(&self, message: &str) -> Failure {
        self.clear();
        let mut text = String::new();
        // Elsewhere it has been printed already.
        if matches!(self.mode, Mode::Terminal | Mode::Quiet) {
            for step in self.steps.values().filter(|step| !step.tail.is_empty()) {
                text.push_str(&format!(
                    "------\n > {}:\n{}\n------\n",
                    step.title,
                    step.tail.trim_end()
                ));
            }
        }
        Failure::new(format!("{text}{}", message.trim_end()))
    }

    fn print(&self, text: &str) {
        match (self.mode, &self.bars) {
            (Mode::Quiet | Mode::Raw, _) => {}
            // A terminal that is gone misses nothing.
            (_, Some(bars)) => drop(bars.all.println(text)),
            (_, None) => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Started { step, stage_name, number, total, text } => {
                self.start(step, &stage_name, number, total, &text);
            }
            Event::Cached { step } => {
                if let Some(step) = self.steps.get_mut(&step) {
                    step.cached = true;
                }
                if self.mode == Mode::Plain {
                    self.print(&format!("#{} CACHED", step + 1));
                }
            }
            Event::Output { step, text } => self.output(step, &text),
            Event::Transfer { step, progress } => self.transfer(step, &progress),
            Event::Done { step } => self.done(step),
            Event::Lint { rule, text } => self.print(&format!("WARNING: {rule}: {text}")),
            Event::Warning { text } => self.print(&text),
            Event::Tagged { name } => self.print(&format!("naming to {name}")),
            Event::Built { .. } | Event::Steps { .. } | Event::Answer { .. } | Event::Other => {}
        }
    }

    fn start(&mut self, step: usize, stage: &str, number: usize, total: usize, text: &str) {
        let first = text.lines().next().unwrap_or(text);
        let number = if number == 0 { "trigger".to_owned() } else { format!("{number}/{total}") };
        let title = format!("[{stage} {number}] {first}");
        if self.mode == Mode::Plain {
            self.print(&format!("#{} {title}", step + 1));
        }
        let bar = self.bars.as_ref().map(|bars| {
            bars.total.set_length(total as u64);
            bars.step(&title)
        });
        let began = Instant::now();
        self.steps.insert(step, Step { title, began, cached: false, bar, tail: String::new() });
    }

    fn output(&mut self, step: usize, text: &str) {
        let Some(own) = self.steps.get_mut(&step) else { return };
        let before = own.tail.rfind('\n').map_or(0, |at| at + 1);
        own.tail.push_str(text);
        let whole = own.tail.rfind('\n').map_or(0, |at| at + 1);
        let fresh = own.tail.get(before..whole).unwrap_or_default().to_owned();
        if let (Some(bar), Some(last)) = (&own.bar, own.tail.lines().next_back()) {
            say(bar, last);
        }
        let lines: Vec<&str> = own.tail.split_inclusive('\n').collect();
        if lines.len() > TAIL_LINES + 1 {
            own.tail = lines[lines.len() - TAIL_LINES - 1..].concat();
        }
        if self.mode == Mode::Plain {
            let seconds = own.began.elapsed().as_secs_f64();
            for line in fresh.lines() {
                self.print(&format!("#{} {seconds:.3} {line}", step + 1));
            }
        }
    }

    fn transfer(&mut self, step: usize, progress: &Json) {
        let text = |key: &str| progress[key].as_str().unwrap_or_default().to_owned();
        let line = format!("{} {}", text("id"), text("status"));
        let counts = progress["progressDetail"]["current"].is_number();
        match self.steps.get(&step).and_then(|step| step.bar.as_ref()) {
            Some(bar) => say(bar, line.trim()),
            None if self.mode == Mode::Plain && !counts => {
                self.print(&format!("#{} {}", step + 1, line.trim()));
            }
            None => {}
        }
    }

    fn done(&mut self, step: usize) {
        let Some(own) = self.steps.get_mut(&step) else { return };
        let seconds = own.began.elapsed().as_secs_f64();
        let tail = std::mem::take(&mut own.tail);
        let cached = own.cached;
        if let Some(bar) = own.bar.take() {
            bar.finish_and_clear();
            let line = ended(&own.title, cached, seconds, terminal::width());
            self.bars.iter().for_each(|bars| bars.total.inc(1));
            self.print(&line);
            return;
        }
        if self.mode != Mode::Plain || cached {
            return;
        }
        // A last line that was not ended.
        if let Some(rest) = tail.rsplit('\n').next().filter(|rest| !rest.is_empty()) {
            self.print(&format!("#{} {seconds:.3} {rest}", step + 1));
        }
        self.print(&format!("#{} DONE {seconds:.1}s", step + 1));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_step_stands_at_the_edge() {
        let line = ended("[a 1/2] RUN x", false, 1.25, 40);
        assert_eq!(line, " => [a 1/2] RUN x                   1.2s");
        let line = ended("[a 1/2] RUN a very long command that goes on", false, 12.0, 40);
        assert_eq!(line, " => [a 1/2] RUN a very long comma… 12.0s");
        let line = ended("[a 1/2] RUN x", true, 0.0, 40);
        assert!(line.ends_with("[a 1/2] RUN x") && line.contains("CACHED"), "{line:?}");
    }
}
