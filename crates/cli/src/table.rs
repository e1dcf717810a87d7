//! Lists: rows of named fields, shown as a table, as JSON lines or by a template.

use serde_json::{Map, Value as Json};

use crate::failure::Failure;
use crate::template::{self, Format, LABELS};

/// The fields of one row by the name that templates use.
pub(crate) type Row = Map<String, Json>;

/// What a list can show: template names of its fields with their column titles.
pub(crate) struct Columns(pub(crate) &'static [(&'static str, &'static str)]);

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Chooses the format: the flag, else the configuration's when set, else the default.
pub(crate) fn choose<'a>(flag: Option<&'a str>, configured: &'a str, default: &'a str) -> &'a str {
    match flag {
        Some("" | "table") => default,
        Some(format) => format,
        None if configured.is_empty() => default,
        None => configured,
    }
}

/// Renders rows by a format: `table TEMPLATE`, `json` or a template for each row.
pub(crate) fn render(format: &str, columns: &Columns, rows: Vec<Row>) -> Result<String, Failure> {
    if format == "json" {
        return Ok(rows.into_iter().map(|row| json_line(row) + "\n").collect());
    }
    let (template, titled) = match format.strip_prefix("table") {
        Some(template) => (template.trim_start(), true),
        None => (format, false),
    };
    let parsed = Format::parse(template)?;
    let mut lines = Vec::with_capacity(rows.len() + 1);
    if titled {
        lines.push(titles(template, columns)?);
    }
    for mut row in rows {
        row.entry(LABELS).or_insert_with(|| Json::Object(Map::new()));
        lines.push(parsed.render(&Json::Object(row))?);
    }
    if titled {
        return Ok(align(&lines, MIN_WIDTH, PADDING));
    }
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

fn json_line(row: Row) -> String {
    html_safe(&template::to_sorted_json(&Json::Object(row)))
}

/// Escapes as Go does in the JSON of a whole row.
pub(crate) fn html_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn titles(template: &str, columns: &Columns) -> Result<String, Failure> {
    let titles: Row =
        columns.0.iter().map(|(name, title)| ((*name).to_owned(), Json::from(*title))).collect();
    Format::parse_for_titles(template)?.render(&Json::Object(titles))
}

/// Aligns cells separated by tabs, as Go's tabwriter does: a cell is as wide as
/// the widest of its column plus the padding, the last one of a line is not padded.
pub(crate) fn align(lines: &[String], min_width: usize, padding: usize) -> String {
    let cells: Vec<Vec<&str>> = lines
        .iter()
        .flat_map(|line| line.split('\n'))
        .map(|line| line.split('\t').collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for line in &cells {
        for (index, cell) in line.iter().enumerate().take(line.len().saturating_sub(1)) {
            let wanted = (cell.chars().count() + padding).max(min_width);
            match widths.get_mut(index) {
                Some(width) => *width = wanted.max(*width),
                None => widths.push(wanted),
            }
        }
    }
    let mut out = String::new();
    for line in &cells {
        for (index, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if index + 1 < line.len() {
                let blanks = widths[index].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        out.push('\n');
    }
    out
}

/// Builds a row from names and values.
macro_rules! row {
    ($($name:literal : $value:expr),* $(,)?) => {{
        let mut row = $crate::table::Row::new();
        $(row.insert($name.to_owned(), serde_json::Value::from($value));)*
        row
    }};
}
pub(crate) use row;

/// Shortens text to `limit` characters, the last one an ellipsis if any was cut.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Shortens an id to twelve characters, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// Joins labels as `k=v,k=v`, and keeps them apart for `{{.Label "k"}}`.
pub(crate) fn add_labels(row: &mut Row, labels: &Json) {
    let map = labels.as_object().cloned().unwrap_or_default();
    let joined: Vec<String> =
        map.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    row.insert("Labels".to_owned(), Json::from(joined.join(",")));
    row.insert(LABELS.to_owned(), Json::Object(map));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_like_tabwriter() {
        let columns = Columns(&[("ID", "CONTAINER ID"), ("Image", "IMAGE"), ("Names", "NAMES")]);
        let rows = || {
            vec![
                row! {"ID": "0123456789ab", "Image": "debian:bookworm-slim", "Names": "web"},
                row! {"ID": "ba9876543210", "Image": "x", "Names": "a-longer-name"},
            ]
        };
        let text =
            render("table {{.ID}}\\t{{.Image}}\\t{{.Names}}", &columns, rows()).expect("renders");
        expect_test::expect![[r"
            CONTAINER ID   IMAGE                  NAMES
            0123456789ab   debian:bookworm-slim   web
            ba9876543210   x                      a-longer-name
        "]]
        .assert_eq(&text);
        assert_eq!(
            render("{{.Names}}", &columns, rows()).expect("renders"),
            "web\na-longer-name\n"
        );
        let json = render("json", &columns, rows()).expect("renders");
        assert!(json.starts_with("{\"ID\":\"0123456789ab\",\"Image\":"), "{json}");
    }
}
