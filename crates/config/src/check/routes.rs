//! Routes that can never match, because earlier ones take all they would.

mod covers;
mod index;
#[cfg(test)]
mod tests;

use tandem_model::{Conditions, Pattern};

use self::covers::covers;
pub(super) use self::covers::lowered;
use self::index::Index;
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
        finds(&listener.section.draft.routes, None, false, reader);
        flatten(&listener.section.draft.routes, &[], true, &mut leaves);
        let leaves: Vec<Leaf<'_>> = leaves.into_iter().filter(|leaf| leaf.known).collect();
        let mut earlier = Index::default();
        for (i, later) in leaves.iter().enumerate() {
            if let Some(takers) = takers(&leaves, &earlier, &later.when) {
                let (noun, verb) = if takers.len() == 1 {
                    ("route", "takes")
                } else {
                    ("routes", "take")
                };
                let lines = takers.iter().map(|&n| leaves[n].route.line.to_string());
                let list: Vec<String> = lines.collect();
                reader.wrong_hint(
                    &later.route.span,
                    "this route never matches",
                    Some(format!(
                        "the {noun} in line {} {verb} all of it",
                        list.join(" and ")
                    )),
                );
            }
            earlier.add(i, &later.when);
        }
    }
}

/// What an expression has found is filled in where there is one that finds it. `groups` is how many parentheses that of the
/// nearest path has; `moved` whether the path is changed before a content sees it.
fn finds(routes: &[route::Draft], groups: Option<usize>, moved: bool, reader: &mut Reader<'_>) {
    for route in routes {
        let moved = moved || route.policies.path.is_some();
        let groups = match &route.when.path[..] {
            [] => groups,
            [Pattern::Regex(text)] => regex::Regex::new(text)
                .ok()
                .map(|regex| regex.captures_len() - 1),
            _ => None,
        };
        let nested = route.nested.as_deref().unwrap_or_default();
        finds(nested, groups, moved, reader);
        let wanted = route.captures();
        if wanted == 0 || route.broken {
            continue;
        }
        let why = match groups {
            _ if moved => "the path is changed before it could be looked at again".to_owned(),
            Some(groups) if usize::from(wanted) <= groups => continue,
            Some(groups) => format!("the expression in `path` has {groups} parentheses"),
            None => "there is no expression in `path`, or one of several".to_owned(),
        };
        reader.wrong(&route.span, format!("{{{wanted}}}: {why}"));
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

/// The earlier routes that together take all that `later` would match; `None` if something is left to it.
fn takers(leaves: &[Leaf<'_>], earlier: &Index, later: &[&Conditions]) -> Option<Vec<usize>> {
    let covering = |when: &[&Conditions]| {
        let mut candidates = earlier.candidates(when).into_iter();
        candidates.find(|&n| covers(&leaves[n].when, when))
    };
    if let Some(taker) = covering(later) {
        return Some(vec![taker]);
    }
    // Each of its paths may be taken by a route of its own.
    let (own, outer) = later.split_last()?;
    if own.path.len() < 2 {
        return None;
    }
    let rest = Conditions {
        path: Vec::new(),
        ..(*own).clone()
    };
    let mut takers = Vec::new();
    for path in &own.path {
        let one = Conditions {
            path: vec![path.clone()],
            ..rest.clone()
        };
        let when: Vec<&Conditions> = outer.iter().copied().chain([&one]).collect();
        let taker = covering(&when)?;
        if !takers.contains(&taker) {
            takers.push(taker);
        }
    }
    Some(takers)
}
