//! Patterns ready to be compared with.

use regex::bytes::Regex;
use tandem_http::policy::regex;
use tandem_model::Pattern;

use super::lookup::Lookup;

/// A list of patterns, of which one has to match. A long list costs little more than a short one.
pub(crate) struct PatternSet {
    patterns: Vec<Compiled>,
    lookup: Lookup,
}

enum Compiled {
    Exact(Box<[u8]>),
    Star(Box<[u8]>, Box<[u8]>),
    Regex(Regex),
}

impl PatternSet {
    /// Compiles patterns. With `fold` they match whatever the case, and texts must be given in lower case.
    pub(crate) fn new(patterns: &[Pattern], fold: bool) -> Result<Self, String> {
        let compiled = patterns.iter().map(|pattern| compile(pattern, fold));
        Ok(Self {
            patterns: compiled.collect::<Result<_, _>>()?,
            lookup: Lookup::new((0..).zip(patterns), fold, |_| true),
        })
    }

    /// Whether one matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let mut matched = false;
        self.lookup.candidates(text, |candidates| {
            matched = matched
                || candidates.iter().any(|candidate| {
                    candidate.is_certain()
                        || self.patterns[candidate.number() as usize].matches(text)
                });
        });
        matched
    }
}

fn compile(pattern: &Pattern, fold: bool) -> Result<Compiled, String> {
    let bytes = |text: &str| -> Box<[u8]> {
        if fold {
            text.to_ascii_lowercase().into_bytes().into()
        } else {
            text.as_bytes().into()
        }
    };
    Ok(match pattern {
        Pattern::Exact(text) => Compiled::Exact(bytes(text)),
        Pattern::Star(prefix, suffix) => Compiled::Star(bytes(prefix), bytes(suffix)),
        Pattern::Regex(text) => Compiled::Regex(regex(text, fold)?),
    })
}

impl Compiled {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => **whole == *text,
            Self::Star(prefix, suffix) => {
                text.len() >= prefix.len() + suffix.len()
                    && text.starts_with(prefix)
                    && text.ends_with(suffix)
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(patterns: &[&str], fold: bool) -> PatternSet {
        let patterns: Vec<_> = patterns
            .iter()
            .map(|text| Pattern::parse(text).expect("a pattern"))
            .collect();
        PatternSet::new(&patterns, fold).expect("they compile")
    }

    #[test]
    fn one_of_a_list_has_to_match() {
        let files = set(
            &["*.jpg", "/static*", "/dl/*.zip", "/index.html", "~^/v\\d+/"],
            false,
        );
        for text in [
            "/a.jpg",
            "/static",
            "/static/x",
            "/dl/.zip",
            "/index.html",
            "/v12/x",
        ] {
            assert!(files.matches(text.as_bytes()), "{text}");
        }
        for text in [
            "/a.JPG",
            "/stati",
            "/dl.zip",
            "/dl/zip",
            "/index.htm",
            "/v/x",
            "",
            "/xv1/",
        ] {
            assert!(!files.matches(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_star_takes_what_is_between_and_no_less() {
        let narrow = set(&["/ab*ba"], false);
        assert!(!narrow.matches(b"/aba"));
        assert!(narrow.matches(b"/abba"));
    }

    #[test]
    fn a_folded_list_is_compared_without_case() {
        let files = set(&["*.JPG", "/Index.html", "~^/V\\d"], true);
        for text in ["/a.jpg", "/index.html", "/v1"] {
            assert!(files.matches(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn no_odd_byte_slips_past_an_expression() {
        let admin = set(&["~^/admin/.*$"], false);
        for path in [&b"/admin/\xff"[..], b"/admin/\n", b"/admin/\xc3"] {
            assert!(admin.matches(path), "{path:?}");
        }
        assert!(set(&["~^/[äö]$"], false).matches("/ö".as_bytes()));
        assert!(PatternSet::new(&[Pattern::Regex("(".into())], false).is_err());
    }
}
