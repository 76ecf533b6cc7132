//! Routes that can never match, because earlier ones take all they would.

use std::collections::BTreeMap;

use tandem_model::{Conditions, Pattern, Presence, route::Field};

use crate::keys::file::Draft;
use crate::keys::route;
use crate::reader::Reader;

/// A route with the conditions of the groups it stands in.
struct Leaf<'a> {
    when: Vec<&'a Conditions>,
    route: &'a route::Draft,
    /// What it matches is known.
    known: bool,
}

pub(crate) fn check(draft: &Draft, reader: &mut Reader<'_>) {
    for listener in &draft.listeners {
        let mut leaves = Vec::new();
        flatten(&listener.section.draft.routes, &[], true, &mut leaves);
        for (i, later) in leaves.iter().enumerate() {
            if !later.known {
                continue;
            }
            if let Some(lines) = takers(&leaves[..i], later) {
                let (noun, verb) = if lines.len() == 1 {
                    ("route", "takes")
                } else {
                    ("routes", "take")
                };
                let list: Vec<String> = lines.iter().map(ToString::to_string).collect();
                reader.wrong_hint(
                    &later.route.span,
                    "this route never matches",
                    Some(format!(
                        "the {noun} in line {} {verb} all of it",
                        list.join(" and ")
                    )),
                );
            }
        }
    }
}

fn flatten<'a>(
    routes: &'a [route::Draft],
    outer: &[&'a Conditions],
    known: bool,
    leaves: &mut Vec<Leaf<'a>>,
) {
    for route in routes {
        let mut when = outer.to_vec();
        when.push(&route.when);
        let known = known && !route.broken;
        match &route.nested {
            Some(nested) => flatten(nested, &when, known, leaves),
            None => leaves.push(Leaf { when, route, known }),
        }
    }
}

/// The lines of the earlier routes that together take all that `later` would match; `None` if something is left to it.
fn takers(earlier: &[Leaf<'_>], later: &Leaf<'_>) -> Option<Vec<u32>> {
    let line = |leaf: &Leaf<'_>| leaf.route.line;
    let covering = |when: &[&Conditions]| {
        let mut known = earlier.iter().filter(|leaf| leaf.known);
        known.find(|leaf| covers(&leaf.when, when)).map(line)
    };
    if let Some(line) = covering(&later.when) {
        return Some(vec![line]);
    }
    // Each of its paths may be taken by a route of its own.
    let own = *later.when.last()?;
    if own.path.len() < 2 {
        return None;
    }
    let mut lines = Vec::new();
    for path in &own.path {
        let mut one = own.clone();
        one.path = vec![path.clone()];
        let mut when = later.when.clone();
        *when.last_mut()? = &one;
        let line = covering(&when)?;
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    Some(lines)
}

/// Whether all that meets the conditions `narrow` meets `wide` too, as far as that can be seen without a search.
fn covers(wide: &[&Conditions], narrow: &[&Conditions]) -> bool {
    wide.iter().all(|wide| {
        let some = |holds: &dyn Fn(&Conditions) -> bool| narrow.iter().any(|n| holds(n));
        wide.not.is_none()
            && (wide.host.is_empty() || some(&|n| list_covers(&wide.host, &n.host, true)))
            && (wide.sni.is_empty() || some(&|n| list_covers(&wide.sni, &n.sni, true)))
            && (wide.path.is_empty() || some(&|n| path_covers(wide, n)))
            && (wide.method.is_empty()
                || some(&|n| {
                    !n.method.is_empty() && n.method.iter().all(|m| wide.method.contains(m))
                }))
            && (wide.source.is_empty()
                || some(&|n| {
                    !n.source.is_empty()
                        && n.source
                            .iter()
                            .all(|net| wide.source.iter().any(|w| w.contains(net)))
                }))
            && field_covers(&wide.header, narrow, |n| &n.header, true)
            && field_covers(&wide.query, narrow, |n| &n.query, false)
            && field_covers(&wide.cookie, narrow, |n| &n.cookie, false)
    })
}

fn path_covers(wide: &Conditions, narrow: &Conditions) -> bool {
    // What is compared with case matches less than what is compared without.
    if narrow.ignore_case && !wide.ignore_case {
        let all = Pattern::Star(String::new(), String::new());
        return !narrow.path.is_empty() && wide.path.contains(&all);
    }
    list_covers(&wide.path, &narrow.path, wide.ignore_case)
}

/// A condition of patterns holds when one matches; no pattern is no condition, and matches everything.
fn list_covers(wide: &[Pattern], narrow: &[Pattern], ignore_case: bool) -> bool {
    !narrow.is_empty()
        && narrow.iter().all(|n| {
            wide.iter().any(|w| {
                if ignore_case {
                    lowered(w).covers(&lowered(n))
                } else {
                    w.covers(n)
                }
            })
        })
}

fn lowered(pattern: &Pattern) -> Pattern {
    match pattern {
        Pattern::Exact(text) => Pattern::Exact(text.to_lowercase()),
        Pattern::Star(a, b) => Pattern::Star(a.to_lowercase(), b.to_lowercase()),
        Pattern::Regex(_) => pattern.clone(),
    }
}

fn field_covers(
    wide: &Field,
    narrow: &[&Conditions],
    of: impl Fn(&Conditions) -> &Field,
    ignore_case: bool,
) -> bool {
    wide.iter().all(|(name, wide)| {
        narrow.iter().any(|narrow| {
            let found = lookup(of(narrow), name, ignore_case);
            match (wide, found) {
                (_, None) => false,
                (Presence::Present, Some(_)) => true,
                (Presence::OneOf(w), Some(Presence::OneOf(n))) => list_covers(w, n, false),
                (Presence::OneOf(_), Some(Presence::Present)) => false,
            }
        })
    })
}

fn lookup<'a>(
    field: &'a BTreeMap<String, Presence>,
    name: &str,
    ignore_case: bool,
) -> Option<&'a Presence> {
    if ignore_case {
        let mut all = field.iter();
        return all
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, presence)| presence);
    }
    field.get(name)
}
