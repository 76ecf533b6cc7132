//! Patterns: what a path, host or method is compared with.

use std::fmt;

/// Text with at most one `*` anywhere (`/api/*`, `*.js`, `/dl/*.zip`), or `~` and a regular expression. Paths are
/// compared in their normal form, without the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// Just this text.
    Exact(String),
    /// Begins with the first, ends with the second; the star takes what is between, also nothing.
    Star(String, String),
    /// A regular expression, unanchored.
    Regex(String),
}

impl Pattern {
    /// Reads a pattern. Whether a regular expression is one is the front end's to check.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(regex) = text.strip_prefix('~') {
            return if regex.is_empty() {
                Err("a regular expression follows the ~")
            } else {
                Ok(Self::Regex(regex.into()))
            };
        }
        match text.split_once('*') {
            None if text.is_empty() => Err("a pattern is not empty"),
            None => Ok(Self::Exact(text.into())),
            Some((_, rest)) if rest.contains('*') => {
                Err("a pattern has one * at most; use ~ and a regular expression for more")
            }
            Some((prefix, suffix)) => Ok(Self::Star(prefix.into(), suffix.into())),
        }
    }

    /// Whether everything `other` matches is matched by this too, as far as that can be seen without a search.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Star(prefix, suffix), Self::Exact(text)) => {
                text.len() >= prefix.len() + suffix.len()
                    && text.starts_with(prefix)
                    && text.ends_with(suffix)
            }
            (Self::Star(p, s), Self::Star(q, t)) => q.starts_with(p) && t.ends_with(s),
            (Self::Regex(a), Self::Regex(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Star(prefix, suffix) => write!(f, "{prefix}*{suffix}"),
            Self::Regex(regex) => write!(f, "~{regex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_read_as_they_are_shown() {
        for text in ["/", "/api/*", "*.js", "/dl/*.zip", "*", "~^/a/\\d+$"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert!(Pattern::parse("/a/*/b/*").is_err());
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse("~").is_err());
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        for (wide, narrow) in [
            ("/a*", "/a/b"),
            ("/a*", "/a/b*"),
            ("*.js", "/x/*.js"),
            ("*", "/x"),
            ("/x", "/x"),
        ] {
            assert!(
                pattern(wide).covers(&pattern(narrow)),
                "{wide} covers {narrow}"
            );
        }
        for (a, b) in [
            ("/a/*", "/a"),
            ("/ab*b", "/ab"),
            ("*.js", "/x*"),
            ("/x", "*"),
            ("*", "~."),
        ] {
            assert!(!pattern(a).covers(&pattern(b)), "{a} does not cover {b}");
        }
    }
}
