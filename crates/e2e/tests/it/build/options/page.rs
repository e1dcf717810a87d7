//! `docs/build-options.md`, made of the table.

use std::path::Path;

use anyhow::{Result, ensure};

use super::table::{Check, ROWS, Row};

const HEAD: &str = "# The options of `build`

Made of the table that the end-to-end test `build::options` runs, so that none can be forgotten: those of
`docker build` with and without BuildKit. Each is tried with `teu`, and those of Docker's classic builder
with the stock `docker` command line, too. [build.md](build.md) has what needs more words. To write this
page anew: `TEU_WRITE_DOCS=1 cargo nextest run -p e2e -E 'test(build::options::page)'`.

| Option | Effect | How it is checked |
|---|---|---|
";

fn how(row: &Row) -> String {
    let mut parts = Vec::new();
    for check in row.checks {
        match check {
            Check::Builds(args, "RUN true") => parts.push(format!("`{}` builds", args.join(" "))),
            Check::Builds(args, _) => parts.push(format!("`{}`, seen by `RUN`", args.join(" "))),
            Check::Refuses(args, message) => {
                let message = message.split(" | ").next().unwrap_or_default();
                parts.push(format!("`{}` → “{message}”", args.join(" ")));
            }
            Check::Does(_) => {}
        }
    }
    parts.extend(Some(row.seen.to_owned()).filter(|seen| !seen.is_empty()));
    parts.join("<br>")
}

fn page() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let rows = ROWS
        .iter()
        .map(|row| format!("| `{}` | {} | {} |\n", row.option, cell(row.effect), cell(&how(row))));
    HEAD.to_owned() + &rows.collect::<String>()
}

#[test]
fn the_page_is_that_of_the_table() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/build-options.md");
    let page = page();
    if std::env::var_os("TEU_WRITE_DOCS").is_some() {
        return Ok(std::fs::write(path, page)?);
    }
    ensure!(
        std::fs::read_to_string(path)? == page,
        "docs/build-options.md is stale; its head says how to write it"
    );
    Ok(())
}
