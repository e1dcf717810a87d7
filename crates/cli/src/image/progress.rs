//! Progress of transfers: a line for each layer on a terminal, plain lines otherwise.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::time::Duration;

use docker_api::Response;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::failure::Failure;

/// One message of a streamed operation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) stream: String,
    #[serde(rename = "progressDetail")]
    detail: Option<Detail>,
    progress: String,
    error: String,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
    pub(crate) aux: Option<Json>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: i64,
    total: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    message: String,
}

/// Where progress goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Nowhere,
    Stdout,
    Stderr,
}

/// Shows messages as they come.
pub(crate) struct Progress {
    to: To,
    bars: Option<MultiProgress>,
    by_id: HashMap<String, ProgressBar>,
    /// What a line without a terminal has said already, to say each status once.
    said: HashSet<(String, String)>,
}

impl Progress {
    pub(crate) fn new(to: To) -> Self {
        use std::io::IsTerminal as _;
        let terminal = match to {
            To::Nowhere => false,
            To::Stdout => std::io::stdout().is_terminal(),
            To::Stderr => std::io::stderr().is_terminal(),
        };
        let bars = terminal.then(|| {
            let target = if to == To::Stdout {
                ProgressDrawTarget::stdout_with_hz(10)
            } else {
                ProgressDrawTarget::stderr_with_hz(10)
            };
            MultiProgress::with_draw_target(target)
        });
        Self { to, bars, by_id: HashMap::new(), said: HashSet::new() }
    }

    /// Shows the messages of an answer until its end; `each` sees every one of them.
    ///
    /// # Errors
    /// When the connection breaks or a message carries an error.
    pub(crate) async fn follow(
        mut self,
        mut response: Response,
        mut each: impl FnMut(&Message),
    ) -> Result<(), Failure> {
        while let Some(message) = response.next_json::<Message>().await? {
            let error = message.error_detail.as_ref().map_or("", |detail| detail.message.as_str());
            let error = if error.is_empty() { &message.error } else { error };
            if !error.is_empty() {
                let error = error.to_owned();
                self.finish();
                return Err(error.into());
            }
            each(&message);
            self.show(&message);
        }
        self.finish();
        Ok(())
    }

    pub(crate) fn show(&mut self, message: &Message) {
        if self.to == To::Nowhere {
            return;
        }
        if !message.stream.is_empty() {
            self.line(message.stream.trim_end_matches('\n'));
        } else if message.status.is_empty() {
        } else if message.id.is_empty() {
            self.line(&message.status);
        } else if self.bars.is_some() {
            self.bar(message);
        } else if message.detail.as_ref().is_none_or(|d| d.current == 0 && d.total == 0)
            && message.progress.is_empty()
            && self.said.insert((message.id.clone(), message.status.clone()))
        {
            self.line(&format!("{}: {}", message.id, message.status));
        }
    }

    fn line(&self, text: &str) {
        match (&self.bars, self.to) {
            (Some(bars), _) => drop(bars.println(text)),
            (None, To::Stderr) => eprintln!("{text}"),
            (None, _) => println!("{text}"),
        }
    }

    fn bar(&mut self, message: &Message) {
        let Some(bars) = &self.bars else { return };
        let bar = self.by_id.entry(message.id.clone()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_prefix(message.id.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_message(message.status.clone());
        let (current, total) = message.detail.as_ref().map_or((0, 0), |d| (d.current, d.total));
        if let (Ok(current), Ok(total @ 1..)) = (u64::try_from(current), u64::try_from(total)) {
            bar.set_length(total);
            bar.set_position(current);
            bar.set_style(style("{prefix}: {msg} [{bar:40.green}]  {bytes}/{total_bytes}"));
        } else if current > 0 {
            bar.set_position(u64::try_from(current).unwrap_or(0));
            bar.set_style(style("{prefix}: {msg}  {bytes}"));
        } else {
            bar.set_style(style("{prefix}: {msg}"));
        }
        bar.tick();
    }

    fn finish(&mut self) {
        for bar in self.by_id.values() {
            bar.disable_steady_tick();
            bar.abandon();
        }
        let _ = std::io::stdout().flush(); // nobody is left to tell
    }
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
