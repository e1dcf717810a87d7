//! Every option of `start`, `commit` and `images`: what it does, seen from outside, and the page that says
//! so. `run` and `create` have a table of their own, and so has `build`.
//!
//! [`ROWS`] has a row per option. `docs/command-options.md` is the same table for people; a stale one fails
//! here.

mod looks;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use e2e::Program;

use crate::build::options::names_in_help;
use crate::{World, with};

struct Row {
    command: &'static str,
    option: &'static str,
    /// What it does, for the page.
    effect: &'static str,
    /// What its look sees, for the page.
    seen: &'static str,
    /// Leaves neither container nor image.
    look: fn(&World) -> Result<()>,
}

const fn row(
    command: &'static str,
    option: &'static str,
    effect: &'static str,
    seen: &'static str,
    look: fn(&World) -> Result<()>,
) -> Row {
    Row { command, option, effect, seen, look }
}

const COMMANDS: [&str; 3] = ["start", "commit", "images"];

#[rustfmt::skip]
static ROWS: &[Row] = &[
    row("start", "--attach",
        "Shows the output, forwards signals, and ends with the container's exit code; of one container only",
        "output on both streams and the code; SIGUSR1 that reaches the container; two names are refused",
        looks::attach),
    row("start", "--checkpoint",
        "Refused: there are no checkpoints",
        "the container does not run, and the option is named",
        looks::checkpoint),
    row("start", "--checkpoint-dir",
        "Refused, as `--checkpoint`",
        "the container does not run, and the option is named",
        looks::checkpoint_dir),
    row("start", "--detach-keys",
        "Keys that leave the container running alone",
        "a terminal is left by them, its container runs; keys that are none are refused",
        looks::detach_keys),
    row("start", "--help", "Lists the options", "the options' names", looks::start_help),
    row("start", "--interactive",
        "Gives the container its input, if it was created with `-i`",
        "`cat` says again what it is told; without the option, and without `-i` at the creation, it gets none",
        looks::interactive),
    row("commit", "--author", "The author of the image", "inspect", looks::author),
    row("commit", "--change",
        "An instruction that changes the image's configuration",
        "inspect; `RUN`, an instruction without its value, and changes without any instruction are refused",
        looks::change),
    row("commit", "--help", "Lists the options", "the options' names", looks::commit_help),
    row("commit", "--message", "A comment in the image and in its history", "inspect and `history`",
        looks::message),
    row("commit", "--no-pause", "As `--pause=false`", "no event `pause`",
        looks::no_pause),
    row("commit", "--pause",
        "Freezes the container meanwhile, as by default",
        "the events `pause` and `unpause`, with it, without it, and not with `--pause=false`",
        looks::pause),
    row("images", "--all",
        "Shows images that only others stand on, too",
        "one without a name that another was made of is listed with it alone",
        looks::all),
    row("images", "--digests", "Shows digests", "the column, and a pulled image's digest in it",
        looks::digests),
    row("images", "--filter",
        "Shows what fits: `before`, `dangling`, `label`, `reference`, `since`, `until`",
        "the list for each; others, and values that are none, are refused",
        looks::filter),
    row("images", "--format", "Shows each image by a Go template, as `json`, or as a table",
        "a line, an object and a table with titles; a template that is none is refused",
        looks::format),
    row("images", "--help", "Lists the options", "the options' names", looks::images_help),
    row("images", "--no-trunc", "Shows ids whole", "their length", looks::no_trunc),
    row("images", "--quiet", "Shows ids only", "a line per name", looks::quiet),
    row("images", "--tree", "Docker's command only: images with their platforms",
        "the names; `teu` does not know the option", looks::tree),
];

#[test]
fn every_option_acts_with_teu() -> Result<()> {
    with(Program::Teu, options_act)
}

#[test]
fn every_option_acts_with_docker() -> Result<()> {
    with(Program::Docker, options_act)
}

fn options_act(world: &World) -> Result<()> {
    let mut failed = Vec::new();
    for row in ROWS {
        let looked = (row.look)(world);
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-f"][..]),
            (&["images", "-aq", "-f", "dangling=true"], &["rmi"]),
        ] {
            let left = world.client.run(list)?;
            if looked.is_ok() && !left.is_empty() {
                failed.push(format!("{} {}: left {left}", row.command, row.option));
            }
            if !left.is_empty() {
                world
                    .client
                    .run(&[remove, &left.split_whitespace().collect::<Vec<_>>()].concat())?;
            }
        }
        if let Err(error) = looked {
            failed.push(format!("{} {}: {error:#}", row.command, row.option));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} fail\n{}", failed.len(), failed.join("\n")) }
}

#[test]
fn no_option_is_forgotten() -> Result<()> {
    for command in COMMANDS {
        let rows = ROWS.iter().filter(|row| row.command == command);
        let rows: BTreeSet<&str> = rows.map(|row| row.option.trim_start_matches("--")).collect();
        let mut known = BTreeSet::from(["help".to_owned()]);
        let teu = e2e::bin_dir().join("teu");
        for program in [Path::new("docker"), &teu] {
            known.extend(names_in_help(Command::new(program).args([command, "--help"]))?);
        }
        let missing: Vec<_> = known.iter().filter(|name| !rows.contains(name.as_str())).collect();
        ensure!(missing.is_empty(), "no row of {command} for {missing:?}");
    }
    Ok(())
}

const HEAD: &str = "# The options of `start`, `commit` and `images`

Made of the table that the end-to-end test `command_options` runs, so that none can be forgotten. Each is
tried with `teu` and with the stock `docker` command line. [options.md](options.md) has those of `run` and
`create`, [build-options.md](build-options.md) those of `build`. To write this page anew:
`TEU_WRITE_DOCS=1 cargo nextest run -p e2e -E 'test(command_options::the_page)'`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for command in COMMANDS {
        page += &format!(
            "\n## `{command}`\n\n| Option | Effect | How it is checked |\n|---|---|---|\n"
        );
        for row in ROWS.iter().filter(|row| row.command == command) {
            page += &format!("| `{}` | {} | {} |\n", row.option, row.effect, row.seen);
        }
    }
    page
}

#[test]
fn the_page_is_that_of_the_table() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command-options.md");
    let page = page();
    if std::env::var_os("TEU_WRITE_DOCS").is_some() {
        return Ok(std::fs::write(path, page)?);
    }
    ensure!(
        std::fs::read_to_string(path)? == page,
        "docs/command-options.md is stale; its head says how to write it"
    );
    Ok(())
}
