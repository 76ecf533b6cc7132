//! `location ~ /\.(?!well-known).*`: a negative look-ahead at the end of an expression, written without one.
//!
//! What does not go on with a word ends within it, or goes on with another character than the word has there. A dot is any
//! byte where paths are compared, so that `.*` and `.*$` at the end find whatever there is.

/// The same expression without its look-ahead; `None` where it has none that can be written so.
pub(crate) fn without(regex: &str) -> Option<String> {
    let (before, rest) = regex.split_once("(?!")?;
    let (word, end) = rest.split_once(')')?;
    // Flags may change what a character means; beyond ASCII one is several bytes.
    let is_plain = regex.is_ascii() && !before.replace("(?:", "").contains("(?");
    // An open class or parenthesis, and a backslash, make something else of what follows.
    if !is_plain || !matches!(end, "" | ".*" | ".*$") || regex::Regex::new(before).is_err() {
        return None;
    }
    let word = literal(word)?;
    let mut other = String::new();
    for c in word.iter().rev() {
        let one = regex::escape(c.encode_utf8(&mut [0; 4]));
        // At the end of the word it goes on with it, which is what must not be.
        other = if other.is_empty() {
            format!("(?:\\z|[^{one}])")
        } else {
            format!("(?:\\z|[^{one}]|{one}{other})")
        };
    }
    (!other.is_empty()).then(|| format!("{before}{other}"))
}

/// The characters of a word in which nothing is to be chosen.
fn literal(text: &str) -> Option<Vec<char>> {
    let mut found = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        found.push(match c {
            '\\' => chars.next().filter(|c| matches!(c, '.' | '-' | '/'))?,
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '~') => c,
            _ => return None,
        });
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::RegexBuilder;

    use super::without;

    /// As routes compare.
    fn finds(regex: &str, fold: bool, text: &[u8]) -> bool {
        let mut built = RegexBuilder::new(regex);
        built.unicode(false).dot_matches_new_line(true);
        let built = built.case_insensitive(fold).build().unwrap();
        built.is_match(text)
    }

    /// What comes before ends somewhere where the word does not follow.
    fn directly(before: &str, word: &str, fold: bool, text: &[u8]) -> bool {
        // It is of the last of the choices alone.
        if let Some((other, last)) = before.split_once('|').filter(|_| !before.contains('(')) {
            return finds(other, fold, text) || directly(last, word, fold, text);
        }
        let ends_here = format!("(?:{before})\\z");
        (0..=text.len()).any(|at| {
            let (head, rest) = text.split_at(at);
            let next = rest.get(..word.len());
            let follows = next.is_some_and(|next| {
                next == word.as_bytes() || fold && next.eq_ignore_ascii_case(word.as_bytes())
            });
            !follows && finds(&ends_here, fold, head)
        })
    }

    #[test]
    fn hidden_names_but_one_are_found() {
        let regex = without(r"/\.(?!well-known).*").unwrap();
        for (path, found) in [
            ("/.git/config", true),
            ("/.well-known", false),
            ("/.well-known/acme-challenge/x", false),
            ("/.well-knownx", false),
            ("/.well-know", true),
            ("/.well-knoWn", true),
            ("/.", true),
            ("/a/.w", true),
            ("/.well-known/.git", true),
            ("/.git/.well-known", true),
            ("/a.b", false),
        ] {
            assert_eq!(finds(&regex, false, path.as_bytes()), found, "{path}");
        }
        assert!(finds(&regex, false, b"/.\xffgit") && finds(&regex, false, b"/.\ngit"));
    }

    #[test]
    fn what_may_mean_something_else_is_left() {
        for other in [
            "/a",
            "/(?!a)b",
            "/(?!a|b).*",
            "/(?!a+)",
            "/(?!a.b)",
            "/(?!)",
            "(/(?!a))",
            "/[(?!a)",
            "/\\(?!a)",
            "(?i)/(?!a)",
            "(?=x)/(?!a)",
            "/(?!a)(?!b)",
            "/\u{e9}(?!a)",
            "/(?!a).+",
        ] {
            assert_eq!(without(other), None, "{other}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn it_finds_what_a_look_ahead_finds(
            before in prop::sample::select(vec!["/\\.", "^/", "^/a|^b", "^b|/", "a*", "(?:/|b)a?", "", "^/(a|ab)", "/.", "[^a]b"]),
            word in prop::sample::select(vec!["a", "ab", "aab", "a-b", "b/a", "abab"]),
            end in prop::sample::select(vec!["", ".*", ".*$"]),
            fold: bool,
            text in prop::collection::vec(prop::sample::select(b"aabbAB/.-\n\xff".to_vec()), 0..12),
        ) {
            let regex = without(&format!("{before}(?!{word}){end}")).unwrap();
            prop_assert_eq!(
                finds(&regex, fold, &text),
                directly(before, word, fold, &text),
                "{} {:?}", regex, text
            );
        }
    }
}
