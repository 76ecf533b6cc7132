//! Keys that the language has and this version has not: what would need them is said, and left out.

use super::document::{Document, Route, Value};
use super::report::Verdicts;
use super::sources::Spot;
use crate::keys::TABLES;

/// Whether a table has a key that cannot be used yet.
fn is_unavailable(heading: &str, key: &str) -> bool {
    let tables = TABLES
        .iter()
        .filter(|table| table.heading().contains(heading));
    let rows = tables.flat_map(|table| table.rows());
    let mut rows = rows.filter(|row| row.name == key).peekable();
    rows.peek().is_some() && rows.all(|row| !row.available)
}

/// Takes keys out of the document that this version would refuse.
pub(crate) fn leave_out(document: &mut Document, verdicts: &mut Verdicts) {
    let mut tell = |key: &str, spot: Option<Spot>| {
        if let Some(spot) = spot {
            verdicts.without(
                spot,
                format!("`{key}` is not available yet in this version"),
            );
        }
    };
    for section in &mut document.sections {
        let kind = section.heading.split('.').next().unwrap_or_default();
        let heading = format!("[{kind}");
        let spots = section.spots.clone();
        let at = |key: &str| {
            let found = spots.iter().rev().find(|(name, _)| name == key);
            found.map(|(_, spot)| *spot)
        };
        let usual = section.spot;
        section.table.0.retain(|(key, _)| {
            let gone = is_unavailable(&heading, key);
            if gone {
                tell(key, at(key).or(usual));
            }
            !gone
        });
        for (_, value) in &mut section.table.0 {
            if let Value::Routes(routes) = value {
                leave_out_of_routes(routes, &mut tell);
            }
        }
    }
}

fn leave_out_of_routes(routes: &mut [Route], tell: &mut dyn FnMut(&str, Option<Spot>)) {
    for route in routes {
        let spot = route.spot;
        route.table.0.retain(|(key, _)| {
            let gone = is_unavailable("route = [{ ... }]", key);
            if gone {
                tell(key, Some(spot));
            }
            !gone
        });
        for (_, value) in &mut route.table.0 {
            if let Value::Routes(inner) = value {
                leave_out_of_routes(inner, tell);
            }
        }
    }
}
