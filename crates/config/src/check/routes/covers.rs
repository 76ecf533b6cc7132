//! Whether one route takes all that another would.

use std::collections::BTreeMap;

use tandem_model::{Conditions, Pattern, Presence, route::Field};

/// Whether all that meets the conditions `narrow` meets `wide` too, as far as that can be seen without a search.
pub(super) fn covers(wide: &[&Conditions], narrow: &[&Conditions]) -> bool {
    wide.iter().all(|wide| {
        let some = |holds: &dyn Fn(&Conditions) -> bool| narrow.iter().any(|n| holds(n));
        wide.not.is_none()
            && (!wide.internal || some(&|n| n.internal))
            && wide.client_cert.as_ref().is_none_or(|wide| {
                some(&|n| {
                    let narrow = n.client_cert.as_ref();
                    narrow.is_some_and(|narrow| presence_covers(wide, narrow))
                })
            })
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

/// In lower case, as far as routes fold case at all: that of ASCII.
pub(in crate::check) fn lowered(pattern: &Pattern) -> Pattern {
    match pattern {
        Pattern::Exact(text) => Pattern::Exact(text.to_ascii_lowercase()),
        Pattern::Star(a, b) => Pattern::Star(a.to_ascii_lowercase(), b.to_ascii_lowercase()),
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
            found.is_some_and(|narrow| presence_covers(wide, narrow))
        })
    })
}

fn presence_covers(wide: &Presence, narrow: &Presence) -> bool {
    match (wide, narrow) {
        (Presence::Present, _) => true,
        (Presence::OneOf(wide), Presence::OneOf(narrow)) => list_covers(wide, narrow, false),
        (Presence::OneOf(_), Presence::Present) => false,
    }
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
