//! Paths with `*`, `?` and `[...]`, as `include` has them.

use std::path::{Component, Path, PathBuf};

/// The files a pattern names, in order. None is no error.
pub(crate) fn paths(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            for path in &mut found {
                path.push(component);
            }
            continue;
        };
        let name = name.to_string_lossy();
        if !name.contains(['*', '?', '[']) {
            for path in &mut found {
                path.push(name.as_ref());
            }
            continue;
        }
        let mut next = Vec::new();
        for directory in &found {
            let Ok(entries) = std::fs::read_dir(directory) else {
                continue;
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let mut names: Vec<String> = names
                .filter(|entry| !entry.starts_with('.') || name.starts_with('.'))
                .filter(|entry| matches(&name, entry))
                .collect();
            names.sort_unstable();
            next.extend(names.into_iter().map(|entry| directory.join(entry)));
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found
}

/// Whether a name is one of a pattern.
fn matches(pattern: &str, name: &str) -> bool {
    let mut regex = String::from("(?s)^");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => {
                let rest = chars.as_str();
                let Some(end) = rest.char_indices().skip(1).find(|(_, c)| *c == ']') else {
                    regex.push_str(r"\[");
                    continue;
                };
                let set = &rest[..end.0];
                let set = match set.strip_prefix('!') {
                    Some(rest) => format!("^{}", rest.replace('\\', r"\\")),
                    None => set.replace('\\', r"\\"),
                };
                regex.extend(["[", &set, "]"]);
                chars = rest[end.0 + 1..].chars();
            }
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    regex::Regex::new(&regex).is_ok_and(|regex| regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name, held) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.config", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("a.b", "axb", false),
        ] {
            assert_eq!(matches(pattern, name), held, "{pattern} {name}");
        }
    }
}
