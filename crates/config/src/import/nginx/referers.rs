//! `valid_referers`: what `$invalid_referer` is, by the Referer field.

use super::super::logic::{Either, Literal, Subject};
use super::chosen::{Chosen, Entry, many};
use super::content::Here;
use super::tree::Word;

/// The variable that says so.
pub(crate) const INVALID: &str = "invalid_referer";

/// Empty where the field is one of those, `1` where it is not. In words why that cannot be said.
pub(crate) fn invalid(words: &[Word], here: Here<'_, '_>) -> Result<Chosen, String> {
    let mut valid = Either::never();
    let mut patterns = Vec::new();
    for word in words {
        match word.text.as_str() {
            "none" => valid = valid.or(Either::of(asked("*", true))).map_err(many)?,
            // Something is there, and it is no URL.
            "blocked" => {
                let there = vec![asked("*", false), asked("~(?i)^https?://.", true)];
                valid = valid.or(Either(vec![there])).map_err(many)?;
            }
            "server_names" => {
                for (name, _) in &here.server.names {
                    if name.starts_with('~') || name.contains('$') {
                        return Err(format!("\"{name}\" of `server_names` is an expression"));
                    }
                    patterns.extend(pattern(name));
                }
            }
            text => match text.strip_prefix('~') {
                Some(regex) => patterns.push(expression(regex)?),
                None => patterns.extend(pattern(text)),
            },
        }
    }
    if !patterns.is_empty() {
        let one_of = Literal {
            patterns,
            ..asked("", false)
        };
        valid = valid.or(Either::of(one_of)).map_err(many)?;
    }
    Ok(Chosen {
        entries: vec![Entry::new(valid, String::new())],
        default: "1".into(),
    })
}

fn asked(pattern: &str, not: bool) -> Literal {
    Literal {
        subject: Subject::Header("Referer".into()),
        patterns: vec![pattern.into()],
        fold: false,
        not,
    }
}

/// A name with a star at its beginning or end, and what the path begins with behind it.
fn pattern(text: &str) -> Option<String> {
    let (name, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let escaped = |name: &str| regex::escape(&name.to_lowercase());
    let name = if let Some(rest) = name.strip_prefix("*.") {
        format!(r"[^:/]+\.{}", escaped(rest))
    } else if let Some(rest) = name.strip_prefix('.') {
        format!(r"(?:[^:/]+\.)?{}", escaped(rest))
    } else if let Some(rest) = name.strip_suffix(".*") {
        format!(r"{}\.[^:/]+", escaped(rest))
    } else if name.is_empty() {
        return None;
    } else {
        escaped(name)
    };
    Some(if path.is_empty() {
        format!("~(?i)^https?://{name}(?:[:/].*)?$")
    } else {
        format!("~^(?i:https?://{name})(?::[^/]*)?{}", regex::escape(path))
    })
}

/// An expression that is looked for behind the scheme.
fn expression(regex: &str) -> Result<String, String> {
    super::super::haproxy::checked(regex)?;
    let refused = || Err(format!("\"~{regex}\" has a beginning among others"));
    match regex.strip_prefix('^') {
        Some(rest) if rest.contains(['|', '^']) => refused(),
        Some(rest) => Ok(format!("~(?i)^https?://(?:{rest})")),
        None if regex.contains('^') && !regex.contains("[^") => refused(),
        None => Ok(format!("~(?i)^https?://.*(?:{regex})")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{are_refused, direct};
    use super::*;

    #[test]
    fn names_are_found_with_and_without_a_port() {
        for (text, referer, fits) in [
            ("a.test", "http://A.test", true),
            ("a.test", "https://a.test:8080/x", true),
            ("a.test", "http://a.test.evil.test/", false),
            ("a.test", "http://xa.test/", false),
            ("a.test", "http://a.test?x", false),
            ("*.a.test", "http://b.c.a.test/", true),
            ("*.a.test", "http://a.test/", false),
            (".a.test", "http://a.test/", true),
            ("a.*", "http://a.b.c/", true),
            ("a.*", "http://evil.test/a.b", false),
            ("a.test/Dir/", "http://a.TEST:80/Dir/x", true),
            ("a.test/Dir/", "http://a.test/dir/x", false),
        ] {
            let pattern = pattern(text).unwrap();
            let regex = regex::Regex::new(&pattern[1..]).unwrap();
            assert_eq!(regex.is_match(referer), fits, "{text} {referer}");
        }
    }

    #[test]
    fn who_comes_from_nowhere_else_is_asked_and_what_is_not_known_refused() {
        let server = |words: &str| {
            format!(
                "server {{ listen 81; server_name a.test ~^x; valid_referers {words}; if ($invalid_referer) {{ return 403; }} return 204; }}"
            )
        };
        are_refused(&[
            (&server("server_names"), "is an expression"),
            (&server("~^a|b"), "a beginning among others"),
            (&server("~(?=a)"), "look"),
        ]);
        let made = direct(&server("none a.test"));
        assert!(
            made.loaded.is_some() && made.text.contains("Referer"),
            "{}",
            made.text
        );
    }
}
