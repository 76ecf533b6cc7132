//! How long clients may keep a file, by its media type.

use std::collections::BTreeMap;
use std::time::Duration;

/// The value of `Cache-Control` for files of this type, by the most exact of the rules: `text/css`, then `text/*`,
/// then `*`. `Expires` is not sent: `max-age` comes before it (RFC 9111 section 5.3), and a line that changes with
/// every second could not be kept ready.
pub(crate) fn cache_control(rules: &BTreeMap<String, Duration>, kind: &str) -> Option<String> {
    let kind = kind.split(';').next().unwrap_or_default().trim_ascii_end();
    let family = kind.split('/').next().unwrap_or_default();
    let rule = rules
        .get(kind)
        .or_else(|| rules.get(&format!("{family}/*")))
        .or_else(|| rules.get("*"))?;
    Some(match rule.as_secs() {
        0 => "no-cache".into(),
        seconds => format!("max-age={seconds}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_rule_wins() {
        let rules = [("text/css", 60), ("text/*", 30), ("image/*", 0), ("*", 5)];
        let rules: BTreeMap<String, Duration> = rules
            .map(|(kind, seconds)| (kind.to_owned(), Duration::from_secs(seconds)))
            .into();
        for (kind, value) in [
            ("text/css; charset=utf-8", "max-age=60"),
            ("text/html; charset=utf-8", "max-age=30"),
            ("image/png", "no-cache"),
            ("font/woff2", "max-age=5"),
        ] {
            assert_eq!(
                cache_control(&rules, kind).as_deref(),
                Some(value),
                "{kind}"
            );
        }
        assert_eq!(cache_control(&BTreeMap::new(), "text/css"), None);
    }
}
