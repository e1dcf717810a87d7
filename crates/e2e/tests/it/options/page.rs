//! `docs/options.md`, made of the table.

use std::path::Path;

use anyhow::{Result, ensure};

use super::table::{Check, Row, rows};

const HEAD: &str = "# The options of `run` and `create`

Made of the table that the end-to-end test `options` runs, so that none can be forgotten. Each
container is made with `teu` and with the stock `docker` command line, looked at from inside and by
`inspect`, and both again after a restart of the daemon. A second test groups the rows in few
containers and looks again after stop and start, a killed daemon, and restart. What differs from
Docker is in [deviations.md](deviations.md). To write this page anew:
`TEU_WRITE_DOCS=1 cargo nextest run -p e2e -E 'test(options::page)'`.

| Option | Effect | How it is checked |
|---|---|---|
";

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn how(row: &Row) -> String {
    let mut parts = Vec::new();
    if !row.args.is_empty() {
        let words = row.args.join(" ");
        let seen = if row.says().is_some() { ", seen by the process" } else { "" };
        parts.push(format!("`{words}`{seen}"));
    }
    for check in row.checks {
        match check {
            Check::Shows(template, _) => {
                parts.push(format!("inspect `{}`", template.trim_matches(['{', '}'])));
            }
            Check::Refuses(args, message) => {
                let message = message.split(" | ").next().unwrap_or_default();
                parts.push(format!("`{}` → “{message}”", args.join(" ")));
            }
            Check::Does(_) if !row.seen.is_empty() => parts.push(row.seen.to_owned()),
            Check::Does(_) | Check::Says(..) => {}
        }
    }
    parts.join("; ")
}

fn page() -> String {
    let rows = rows()
        .map(|row| format!("| `{}` | {} | {} |\n", row.option, cell(row.effect), cell(&how(row))));
    HEAD.to_owned() + &rows.collect::<String>()
}

#[test]
fn the_page_is_that_of_the_table() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    let page = page();
    if std::env::var_os("TEU_WRITE_DOCS").is_some() {
        return Ok(std::fs::write(path, page)?);
    }
    ensure!(
        std::fs::read_to_string(path)? == page,
        "docs/options.md is stale; its head says how to write it"
    );
    Ok(())
}
