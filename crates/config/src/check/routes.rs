//! Routes that can never match, because earlier ones take all they would.

mod covers;
mod index;
#[cfg(test)]
mod tests;

use tandem_model::Conditions;

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
