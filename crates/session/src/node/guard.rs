//! Which deletes forbid a plain `set` for a while (`guard` in the file).

use regex::bytes::Regex;
use tandem_model::Pattern;

/// The `guard` of the file. Only the leader looks at it: it writes into each delete for how long it holds.
#[derive(Debug, Default)]
pub struct Guard {
    patterns: Vec<Matcher>,
    hold: u64,
}

#[derive(Debug)]
enum Matcher {
    Exact(Vec<u8>),
    Star(Vec<u8>, Vec<u8>),
    Regex(Regex),
}

impl Guard {
    /// Keys that match one of `patterns` are guarded for `hold` milliseconds. An expression that is none is left
    /// out: the front end has refused it.
    pub fn new(patterns: &[Pattern], hold: u64) -> Self {
        let patterns = patterns.iter().filter_map(|pattern| {
            Some(match pattern {
                Pattern::Exact(text) => Matcher::Exact(text.clone().into()),
                Pattern::Star(prefix, suffix) => {
                    Matcher::Star(prefix.clone().into(), suffix.clone().into())
                }
                Pattern::Regex(text) => Matcher::Regex(Regex::new(text).ok()?),
            })
        });
        Self {
            patterns: patterns.collect(),
            hold,
        }
    }

    /// For how many milliseconds a delete of `key` forbids a plain `set`.
    pub fn hold(&self, key: &[u8]) -> u64 {
        let guarded = self.patterns.iter().any(|pattern| match pattern {
            Matcher::Exact(text) => key == text,
            Matcher::Star(prefix, suffix) => {
                key.len() >= prefix.len() + suffix.len()
                    && key.starts_with(prefix)
                    && key.ends_with(suffix)
            }
            Matcher::Regex(regex) => regex.is_match(key),
        });
        if guarded { self.hold } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_given_are_guarded() {
        let patterns = ["memc.sess.*", "~^s[0-9]+$", "one"].map(|p| Pattern::parse(p).unwrap());
        let guard = Guard::new(&patterns, 30_000);
        for key in ["memc.sess.abc", "s17", "one"] {
            assert_eq!(guard.hold(key.as_bytes()), 30_000, "{key}");
        }
        for key in ["memc.lock.abc", "sx", "ones"] {
            assert_eq!(guard.hold(key.as_bytes()), 0, "{key}");
        }
    }
}
