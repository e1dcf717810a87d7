//! How a build is shown: bars on a terminal, numbered lines elsewhere, or the events as they are.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use docker_api::Response;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::grammar::Values;

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
    Warning {
        text: String,
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

/// Shows a build.
pub(super) struct Display {
    mode: Mode,
    steps: BTreeMap<usize, Step>,
    bars: Option<MultiProgress>,
    began: Instant,
}

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
        let mode = match flags.get("progress").unwrap_or("auto") {
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
        let bars = (mode == Mode::Terminal).then(MultiProgress::new);
        Ok(Self { mode, steps: BTreeMap::new(), bars, began: Instant::now() })
    }

    /// Shows the lines of an answer; returns the image's id, if one was made.
    pub(super) async fn follow(
        mut self,
        mut response: Response,
    ) -> Result<Option<String>, Failure> {
        let mut built = None;
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
                Some(event) => self.show(event),
                None => {}
            }
        }
        if built.is_some() {
            let seconds = self.began.elapsed().as_secs_f64();
            self.print(&format!("built in {seconds:.1} s"));
        }
        self.clear();
        Ok(built)
    }

    fn clear(&self) {
        self.steps
            .values()
            .filter_map(|step| step.bar.as_ref())
            .for_each(ProgressBar::finish_and_clear);
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
            (_, Some(bars)) => drop(bars.println(text)),
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
            Event::Warning { text } => self.print(&text),
            Event::Tagged { name } => self.print(&format!("naming to {name}")),
            Event::Built { .. } | Event::Other => {}
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
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style());
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(150));
            bar
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
            bar.set_message(last.to_owned());
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
            Some(bar) => bar.set_message(line.trim().to_owned()),
            None if self.mode == Mode::Plain && !counts => {
                self.print(&format!("#{} {}", step + 1, line.trim()));
            }
            None => {}
        }
    }

    fn done(&mut self, step: usize) {
        let Some(own) = self.steps.get_mut(&step) else { return };
        let seconds = own.began.elapsed().as_secs_f64();
        own.tail.clear();
        let cached = own.cached;
        if let Some(bar) = own.bar.take() {
            bar.finish_and_clear();
            let mark = if cached { "CACHED ".to_owned() } else { String::new() };
            let title = own.title.clone();
            self.print(&format!(" => {mark}{title}  {seconds:.1}s"));
        } else if self.mode == Mode::Plain && !cached {
            self.print(&format!("#{} DONE {seconds:.1}s", step + 1));
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(" {spinner} {prefix:.bold}  {elapsed}\n    {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
