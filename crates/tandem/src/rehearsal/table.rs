//! The nodes as a table for a terminal.

use std::fmt::Write as _;

use tandem_admin::{Row, RowState};

/// Renders rows. With `colour`, states stand out.
pub fn render(rows: &[Row], colour: bool) -> String {
    let heads = ["node", "roles", "address", "node pid", "app pid", "state"];
    let cells: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let mut widths = heads.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for (head, width) in heads.iter().zip(widths) {
        let _ = write!(out, "{head:width$}  ");
    }
    trim(&mut out);
    for (row, source) in cells.iter().zip(rows) {
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            if i == 5 && colour {
                let _ = write!(out, "\x1b[{}m{cell}\x1b[0m", code(source.state));
            } else {
                let _ = write!(out, "{cell:width$}  ");
            }
        }
        trim(&mut out);
    }
    out
}

/// Ends a line without spaces before its end.
fn trim(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

fn cells(row: &Row) -> [String; 6] {
    let pids: Vec<String> = row.app_pids.iter().map(u32::to_string).collect();
    let word = match row.state {
        RowState::Up => "up",
        RowState::Partly => "partly",
        RowState::Down => "down",
    };
    [
        row.node.clone(),
        row.roles.join(", "),
        row.address.clone(),
        row.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
        if pids.is_empty() {
            "-".into()
        } else {
            pids.join(" ")
        },
        if row.reason.is_empty() {
            word.into()
        } else {
            format!("{word}: {}", row.reason)
        },
    ]
}

fn code(state: RowState) -> u8 {
    match state {
        RowState::Up => 32,
        RowState::Partly => 33,
        RowState::Down => 31,
    }
}

#[cfg(test)]
mod tests {
    use tandem_telemetry::NodeStatus;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |node: &str, pid, app_pids| Row {
            node: node.into(),
            roles: vec!["app shop".into()],
            address: "127.84.1.12".into(),
            pid,
            app_pids,
            state: if pid.is_some() {
                RowState::Up
            } else {
                RowState::Down
            },
            reason: String::new(),
            status: NodeStatus::default(),
            events: Vec::new(),
        };
        let text = render(
            &[row("app1", Some(77), vec![78]), row("a", None, vec![])],
            false,
        );
        let expected = "node  roles     address      node pid  app pid  state\n\
                        app1  app shop  127.84.1.12  77        78       up\n\
                        a     app shop  127.84.1.12  -         -        down\n";
        assert_eq!(text, expected);
    }
}
