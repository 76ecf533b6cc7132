//! Step 6d: what is in a directory, as a page.

use std::fmt::Write as _;

use bytes::Bytes;
use rustix::fs::{Dir, FileType, Stat};
use time::OffsetDateTime;

use crate::name;
use crate::root::{Closed, Held, Root};

/// Names shown of a directory: a page with more is of use to nobody.
const MOST: usize = 5_000;

/// By what a listing is sorted, and which way round. Directories always come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sort {
    by: By,
    descending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    Name,
    Size,
    Time,
}

impl By {
    const ALL: [(Self, &str, &str); 3] = [
        (Self::Name, "name", "Name"),
        (Self::Size, "size", "Size"),
        (Self::Time, "time", "Changed (UTC)"),
    ];
}

impl Sort {
    /// Reads `sort=size&order=desc`; by name, unless it says otherwise.
    pub(crate) fn read(query: &[u8]) -> Self {
        let mut sort = Self::default();
        for pair in query.split(|&b| b == b'&') {
            match pair {
                [b's', b'o', b'r', b't', b'=', by @ ..] => {
                    let known = By::ALL.into_iter().find(|known| known.1.as_bytes() == by);
                    sort.by = known.map_or(By::Name, |known| known.0);
                }
                b"order=desc" => sort.descending = true,
                _ => {}
            }
        }
        sort
    }
}

struct Row {
    name: Vec<u8>,
    directory: bool,
    size: u64,
    /// Seconds since 1970.
    changed: i64,
}

/// The page of the directory `below` the root, which was asked for by `name`. Shows what could be asked for: hidden
/// names when these are served, links only where they lead to something below the root.
pub(crate) fn page(
    root: &Root,
    held: &Held,
    below: &[u8],
    name: &[u8],
    hidden: bool,
    sort: Sort,
) -> Result<Bytes, Closed> {
    let directory = root.list(held, below)?;
    let mut rows = Vec::new();
    let mut more = false;
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let file_name = entry.file_name().to_bytes();
        if matches!(file_name, b"." | b"..") || !hidden && file_name.starts_with(b".") {
            continue;
        }
        if rows.len() == MOST {
            more = true;
            break;
        }
        let path = [below, file_name].concat();
        let Ok(stat) = root.stat(held, &path) else {
            // It went meanwhile, or leads elsewhere.
            continue;
        };
        let directory = match kind(&stat) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => continue,
        };
        rows.push(Row {
            name: file_name.to_vec(),
            directory,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            changed: stat.st_mtime,
        });
    }
    rows.sort_by(|a, b| {
        let order = match sort.by {
            By::Name => a.name.cmp(&b.name),
            By::Size => a.size.cmp(&b.size).then_with(|| a.name.cmp(&b.name)),
            By::Time => a.changed.cmp(&b.changed).then_with(|| a.name.cmp(&b.name)),
        };
        let order = if sort.descending {
            order.reverse()
        } else {
            order
        };
        b.directory.cmp(&a.directory).then(order)
    });
    Ok(Bytes::from(html(name, &rows, more, sort)))
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.6 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.3rem;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .75rem;border-bottom:1px solid #8884}\
td:first-child{overflow-wrap:anywhere}\
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
a{text-decoration:none}a:hover{text-decoration:underline}\
tr:hover td{background:#8881}";

fn html(name: &[u8], rows: &[Row], more: bool, sort: Sort) -> String {
    let title = shown(&[b"/", name].concat());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<table>\n<tr>"
    );
    for (by, key, words) in By::ALL {
        // A second click turns it round.
        let (order, arrow) = match (by == sort.by, sort.descending) {
            (true, false) => ("&amp;order=desc", " \u{2191}"),
            (true, true) => ("", " \u{2193}"),
            (false, _) => ("", ""),
        };
        let class = if by == By::Name { "" } else { " class=\"n\"" };
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<th{class}><a href=\"?sort={key}{order}\">{words}</a>{arrow}</th>"
        );
    }
    out.push_str("</tr>\n");
    if !name.is_empty() {
        out.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for row in rows {
        let slash = if row.directory { "/" } else { "" };
        let size = if row.directory {
            String::new()
        } else {
            size(row.size)
        };
        // `./` before it, so that a name with a colon is no scheme (RFC 3986 section 4.2).
        let _ = writeln!(
            out,
            "<tr><td><a href=\"./{}{slash}\">{}{slash}</a></td><td class=\"n\">{size}</td><td class=\"n\">{}</td></tr>",
            name::escaped(&row.name, name::is_plain),
            shown(&row.name),
            minute(row.changed),
        );
    }
    out.push_str("</table>\n");
    if more {
        let _ = writeln!(
            out,
            "<p>There is more: the first {MOST} names that were found are shown.</p>"
        );
    }
    out
}

/// A name as text of a page: what is no UTF-8 is shown as such, and nothing in it is markup.
fn shown(name: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(name).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A size to be read by people.
fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut value = bytes as f64;
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `2026-01-31 23:59`.
fn minute(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| String::new(),
        |at| {
            let (month, day) = (u8::from(at.month()), at.day());
            let (year, hour, minute) = (at.year(), at.hour(), at.minute());
            format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}")
        },
    )
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_never_markup() {
        assert_eq!(
            shown(b"<a href=\"x\">'&\n\xff"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn sizes_and_times_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (10 << 20, "10.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(minute(0), "1970-01-01 00:00");
        assert_eq!(minute(i64::MAX), "");
    }

    #[test]
    fn a_query_sorts_and_any_other_is_by_name() {
        let read = |query: &str| Sort::read(query.as_bytes());
        assert_eq!(read(""), Sort::default());
        assert_eq!(read("sort=evil&order=x"), Sort::default());
        let by_size = Sort {
            by: By::Size,
            descending: true,
        };
        assert_eq!(read("order=desc&sort=size"), by_size);
    }
}
