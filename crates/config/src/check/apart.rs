//! Routes whose paths have none in common with those of the groups they stand in.

use tandem_model::{Action, Cluster, Conditions, Pattern, Route};

use super::routes::lowered;

/// Says which routes never match for that. The usual reason is a group with a `strip`.
pub(super) fn notes(cluster: &Cluster) -> Vec<String> {
    let mut notes = Vec::new();
    for listener in &cluster.listeners {
        look(&listener.routes, &[], &mut notes);
    }
    notes
}

fn look<'c>(routes: &'c [Route], outer: &[&'c Conditions], notes: &mut Vec<String>) {
    for route in routes {
        if outer.iter().any(|group| are_apart(&route.when, group)) {
            notes.push(format!(
                "the route in line {} never matches: no path is in its `path` and in that of its group, which both look at \
                 the path as the client asked for it, whatever `strip` and `rewrite` make of it",
                route.line
            ));
        } else if let Action::Routes(nested) = &route.action {
            look(nested, &[outer, &[&route.when]].concat(), notes);
        }
    }
}

/// Whether no path can meet both of these conditions, as far as that can be seen without a search.
fn are_apart(inner: &Conditions, outer: &Conditions) -> bool {
    let fold = inner.ignore_case || outer.ignore_case;
    let is_apart = |a: &Pattern, b: &Pattern| {
        if fold {
            is_apart(&lowered(a), &lowered(b))
        } else {
            is_apart(a, b)
        }
    };
    let is_outside = |a: &Pattern| outer.path.iter().all(|b| is_apart(a, b));
    !inner.path.is_empty() && !outer.path.is_empty() && inner.path.iter().all(is_outside)
}

/// Whether what one pattern matches the other surely does not.
fn is_apart(a: &Pattern, b: &Pattern) -> bool {
    match (a, b) {
        (Pattern::Regex(_), _) | (_, Pattern::Regex(_)) => false,
        (Pattern::Exact(_), wide) => !wide.covers(a),
        (wide, Pattern::Exact(_)) => !wide.covers(b),
        (Pattern::Star(begin, end), Pattern::Star(other, last)) => {
            let begins = begin.starts_with(other.as_str()) || other.starts_with(begin.as_str());
            let ends = end.ends_with(last.as_str()) || last.ends_with(end.as_str());
            !begins || !ends
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_looks_for_a_path_that_strip_made_is_told_of() {
        let text = "[listener.a]\nbind = \":80\"\nroute = [\n\
                    { path = \"/v1/*\", strip = \"/v1\", route = [\n\
                    { path = \"/admin/*\", deny = true },\n\
                    { path = \"/v1/admin/*\", deny = true },\n\
                    { respond = 200 },\n] },\n{ respond = 404 } ]\n";
        let loaded = crate::parse(text, "c.toml", std::path::Path::new("/"), &|_| None).unwrap();
        let told: Vec<_> = loaded
            .notes
            .iter()
            .filter(|note| note.contains("never matches"))
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("the route in line 5 "), "{told:?}");
    }

    #[test]
    fn patterns_are_apart_only_if_nothing_matches_both() {
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        for (a, b, apart) in [
            ("/v1/*", "/admin/*", true),
            ("/v1/*", "/v1/admin/*", false),
            ("/v1/*", "/*", false),
            ("/v1/*", "/v1", true),
            ("/v1/*", "/v1/x", false),
            ("/a", "/a", false),
            ("/a", "/b", true),
            ("*.php", "*.html", true),
            ("*.php", "/x/*", false),
            ("*.php", "*p", false),
            ("/a*", "*.php", false),
            ("~^/admin", "/v1/*", false),
        ] {
            assert_eq!(is_apart(&pattern(a), &pattern(b)), apart, "{a} {b}");
            assert_eq!(is_apart(&pattern(b), &pattern(a)), apart, "{b} {a}");
        }
    }
}
