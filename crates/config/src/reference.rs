//! The reference page of the language, from the table of keys.

use std::fmt::Write;

use tandem_model::{AccessVariable, Variable};

use crate::keys::TABLES;
use crate::table::{Described, Need, Row};

/// What stands above the tables.
const INTRODUCTION: &str = "\
# The cluster file

<!-- Made from the table of keys (crates/config/src/keys): change it there. -->

One TOML file describes the whole cluster; it is the same on every machine.

- Keys are kebab-case. A list may be written as its single element: `on = \"edge\"`.
- `${VAR}` in a text is the environment variable when the file is loaded; `$${` is a literal `${`. A variable that is
  not there is an error.
- Sizes and durations carry units: `\"128 MiB\"` (B, KiB, MiB, GiB, kB, MB, GB), `\"200ms\"` (ms, s, m, h, d).
- Addresses are `\"HOST:PORT\"`, `\"[IPv6]:PORT\"`, `\":PORT\"` (every address, to listen on) or `\"unix:PATH\"`.
- Paths are relative to the file.
- Names of nodes, listeners and services are made of a-z, 0-9, `-` and `_`.
- `tandem check` reports every mistake of a file at once.
";

const ACCESS_LOGS: &str = "
## Access logs

What a `format` of your own may have in it, as `\"{client} {method} {uri} {status} {total}\"`. What is empty is `-`; \
quotes, backslashes and bytes that are not printable ASCII are written as `\\xHH`. `{{` and `}}` are braces. With \
`\"json\"` a line has all of them but `header`, with `_` for `-`; times are called `queue_ms` and so on.

| variable | |
|---|---|
";

/// The reference page of all keys, as Markdown.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for table in TABLES {
        page.push_str(&section(*table));
    }
    page.push_str("\n## Variables\n\nTexts that a request fills in. `{{` and `}}` are braces.\n\n| variable | |\n|---|---|\n");
    for (name, doc) in Variable::ALL {
        let _ = writeln!(page, "| `{{{name}}}` | {doc} |");
    }
    page.push_str(ACCESS_LOGS);
    for (name, doc) in AccessVariable::all() {
        let _ = writeln!(page, "| `{{{name}}}` | {doc} |");
    }
    page
}

fn section(table: &dyn Described) -> String {
    let (now, later): (Vec<Row>, Vec<Row>) =
        table.rows().into_iter().partition(|row| row.available);
    let mut out = format!("\n## `{}`\n\n{}\n", table.heading(), table.doc());
    out.push_str("\n| key | value | if left out | |\n|---|---|---|---|\n");
    for row in now {
        let left_out = match row.need {
            Need::Required => "required".into(),
            Need::WithNodes => "required, with `[nodes]`".into(),
            Need::Default(value) => format!("`{value}`"),
            Need::Else(words) => words.to_owned(),
        };
        let Row {
            name, kind, doc, ..
        } = row;
        let _ = writeln!(out, "| `{name}` | {kind} | {left_out} | {doc} |");
    }
    if !later.is_empty() {
        out.push_str("\nNot available yet in this version:\n\n");
        for row in later {
            let _ = writeln!(out, "- `{}` ({}): {}", row.name, row.kind, row.doc);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-config` writes the page.
    #[test]
    fn the_page_in_the_repository_is_made_from_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/cluster-file.md"
        );
        if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == reference(),
            "docs/reference/cluster-file.md is out of date: run TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-config"
        );
    }

    #[test]
    fn every_key_says_what_it_is() {
        for table in TABLES {
            for row in table.rows() {
                let name = format!("{} of {}", row.name, table.heading());
                assert!(row.doc.ends_with(['.', '`', ')']), "{name}: {}", row.doc);
                assert!(!row.kind.is_empty() && !row.doc.contains('|'), "{name}");
            }
        }
    }
}
