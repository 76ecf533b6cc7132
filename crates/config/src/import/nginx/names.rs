//! `server_name`: which of the servers of an address a request is for. nginx asks exact names first, then the longest
//! name that begins with a star, then the longest that ends with one, then regular expressions in the order of the file.

use super::super::sources::Spot;

/// A name of a server as nginx ranks it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Exact,
    /// Shorter is later: the length, negated.
    Leading(isize),
    Trailing(isize),
    Regex(usize),
}

/// A pattern for `host`, and when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub rank: Rank,
    pub pattern: String,
}

/// The patterns of one `server_name`. `number` is its place in the file, `spot` where it stands.
pub(crate) fn patterns(text: &str, number: usize, _spot: Spot) -> Result<Vec<Name>, String> {
    let length = isize::try_from(text.len()).unwrap_or(isize::MAX);
    let exact = |pattern: String| Name {
        rank: Rank::Exact,
        pattern,
    };
    if let Some(regex) = text.strip_prefix('~') {
        super::super::haproxy::checked(regex)?;
        return Ok(vec![Name {
            rank: Rank::Regex(number),
            pattern: format!("~{regex}"),
        }]);
    }
    if text.is_empty() {
        return Ok(vec![exact("~^$".into())]);
    }
    let folded = text.to_lowercase();
    if let Some(rest) = folded.strip_prefix('.') {
        return Ok(vec![
            exact(rest.to_owned()),
            Name {
                rank: Rank::Leading(-length),
                pattern: format!("*.{rest}"),
            },
        ]);
    }
    match folded.split_once('*') {
        None => Ok(vec![exact(folded)]),
        Some(("", rest)) if rest.starts_with('.') && !rest.contains('*') => Ok(vec![Name {
            rank: Rank::Leading(-length),
            pattern: folded,
        }]),
        Some((rest, "")) if rest.ends_with('.') => Ok(vec![Name {
            rank: Rank::Trailing(-length),
            pattern: folded,
        }]),
        _ => Err(format!("invalid server name or wildcard \"{text}\"")),
    }
}

/// Whether two patterns may match one name.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let wild = |text: &str| text.starts_with('~');
    if wild(a) || wild(b) {
        return true;
    }
    let ends = |text: &str| -> Option<(String, String)> {
        text.split_once('*')
            .map(|(x, y)| (x.to_owned(), y.to_owned()))
    };
    let fits = |(head, tail): &(String, String), name: &str| {
        name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
    };
    match (ends(a), ends(b)) {
        (None, None) => a == b,
        (Some(star), None) => fits(&star, b),
        (None, Some(star)) => fits(&star, a),
        (Some(one), Some(other)) => {
            (one.0.starts_with(&other.0) || other.0.starts_with(&one.0))
                && (one.1.ends_with(&other.1) || other.1.ends_with(&one.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ranked_as_nginx_does() {
        let mut names: Vec<Name> = ["~^x", "mail.*", "*.org", "*.example.org", "a.org", ".b.org"]
            .iter()
            .enumerate()
            .flat_map(|(i, name)| patterns(name, i, Spot::default()).unwrap())
            .collect();
        names.sort_by(|a, b| a.rank.cmp(&b.rank));
        let shown: Vec<&str> = names.iter().map(|name| name.pattern.as_str()).collect();
        assert_eq!(
            shown,
            [
                "a.org",
                "b.org",
                "*.example.org",
                "*.b.org",
                "*.org",
                "mail.*",
                "~^x"
            ]
        );
        assert!(patterns("a*b", 0, Spot::default()).is_err());
    }

    #[test]
    fn overlapping_names_are_seen() {
        assert!(
            overlap("*.org", "a.org") && overlap("*.org", "*.a.org") && overlap("mail.*", "*.org")
        );
        assert!(!overlap("*.org", "a.com") && !overlap("*.org", "*.com"));
    }
}
