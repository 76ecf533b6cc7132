//! The forms in which statistics are shown: CSV, typed lines, JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::fields::{Field, Row, STATISTICS};

/// The process's number, of which there is one.
const PROCESS: u32 = 1;

/// Lines of values that are parted by commas, under a heading.
pub fn csv(rows: &[Row]) -> String {
    let mut out = String::from("# ");
    for (name, ..) in STATISTICS {
        out.push_str(name);
        out.push(',');
    }
    // What follows it has no fixed place, and here is none.
    out.push_str("-,\n");
    for row in rows {
        for value in &row.values {
            out.push_str(&quoted(value.as_deref().unwrap_or_default()));
            out.push(',');
        }
        out.push_str("-,\n");
    }
    out
}

fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\"").replace('\n', " ")).into()
    } else {
        text.into()
    }
}

/// A line for each value that is known, with what it is.
pub fn typed(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        for (place, (name, tags, kind), value) in known(row) {
            let Row {
                kind: of,
                proxy,
                server,
                ..
            } = row;
            let _ = writeln!(
                out,
                "{of}.{proxy}.{server}.{place}.{name}.{PROCESS}:{tags}:{kind}:{value}"
            );
        }
        out.push('\n');
    }
    out
}

/// The same as JSON.
pub fn json(rows: &[Row]) -> String {
    let all = rows.iter().map(|row| {
        let of = match row.kind {
            'F' => "Frontend",
            'B' => "Backend",
            _ => "Server",
        };
        let values = known(row).map(|(place, field, value)| {
            let mut one = described(place, field, value);
            one["objType"] = of.into();
            one["proxyId"] = row.proxy.into();
            one["id"] = row.server.into();
            one
        });
        Value::Array(values.collect())
    });
    format!("{}\n", Value::Array(all.collect()))
}

/// What is known of a thing, with its place and its column.
fn known(row: &Row) -> impl Iterator<Item = (usize, &Field, &str)> {
    let all = STATISTICS.iter().zip(&row.values).enumerate();
    all.filter_map(|(place, (field, value))| Some((place, field, value.as_deref()?)))
}

/// A value in JSON, with what its tags mean.
pub fn described(place: usize, field: &Field, value: &str) -> Value {
    let (name, tags, kind) = field;
    let mut tags = tags.chars();
    let mut next = || tags.next().unwrap_or_default();
    let origin = match next() {
        'M' => "Metric",
        'S' => "Status",
        'K' => "Key",
        'C' => "Config",
        _ => "Product",
    };
    let nature = match next() {
        'A' => "Age",
        'a' => "Avg",
        'C' => "Counter",
        'D' => "Duration",
        'G' => "Gauge",
        'L' => "Limit",
        'M' => "Max",
        'm' => "Min",
        'N' => "Name",
        'R' => "Rate",
        'T' => "Time",
        _ => "Output",
    };
    let scope = match next() {
        'C' => "Cluster",
        'S' => "Service",
        's' => "System",
        _ => "Process",
    };
    let number = value.parse::<i64>().ok().filter(|_| *kind != "str");
    json!({
        "field": { "pos": place, "name": name },
        "processNum": PROCESS,
        "tags": { "origin": origin, "nature": nature, "scope": scope },
        "value": { "type": kind, "value": number.map_or_else(|| value.into(), Value::from) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_commas_and_quotes_is_quoted() {
        let mut row = Row::new('S', 3, 1);
        row.put("svname", "a");
        row.put("last_chk", "it said \"no\", twice");
        let text = csv(&[row.clone()]);
        let columns = text.lines().map(|line| line.matches(',').count());
        assert_eq!(columns.collect::<Vec<_>>(), [104, 105]);
        assert!(text.contains(",\"it said \"\"no\"\", twice\","), "{text}");
        assert!(typed(&[row.clone()]).contains("S.3.1.1.svname.1:KNS:str:a\n"));
        let value: Value = serde_json::from_str(&json(&[row])).unwrap();
        assert_eq!(value[0][0]["field"]["name"], "svname");
        assert_eq!(value[0][0]["tags"]["origin"], "Key");
    }
}
