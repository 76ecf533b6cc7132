//! What can be told of a text before a request fills it in: whether it matches a pattern, and what it is when it has no
//! variables.

use regex::Regex;

/// A template, taken apart.
pub(crate) struct Text {
    /// What it begins with, and all of it when there are no variables.
    head: String,
    /// What it ends with, behind the last variable.
    tail: Option<String>,
    /// Whether it cannot be empty.
    there: bool,
}

/// A piece of a template.
enum Piece<'t> {
    Literal(String),
    Variable(&'t str),
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
        } else if let Some((name, after)) = rest.split_once('}') {
            pieces.push(Piece::Literal(std::mem::take(&mut text)));
            pieces.push(Piece::Variable(name));
            rest = after;
        }
    }
    text.push_str(rest);
    pieces.push(Piece::Literal(text));
    pieces
}

/// A text without variables, as a template.
pub(crate) fn literal(text: &str) -> String {
    super::format::literal(text)
}

/// A template with some variables replaced by templates. `None` leaves one as it is.
pub(crate) fn filled<E>(
    template: &str,
    mut with: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut out = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Literal(text) => out.push_str(&literal(&text)),
            Piece::Variable(name) => match with(name)? {
                Some(text) => out.push_str(&text),
                None => out.extend(["{", name, "}"]),
            },
        }
    }
    Ok(out)
}

/// Whether a template has a variable.
pub(crate) fn reads(template: &str, variable: &str) -> bool {
    let is = |piece: &Piece<'_>| matches!(piece, Piece::Variable(name) if *name == variable);
    pieces(template).iter().any(is)
}

/// A template with one variable replaced by another template.
pub(crate) fn put(template: &str, variable: &str, text: &str) -> String {
    let with = |name: &str| Ok::<_, ()>((name == variable).then(|| text.to_owned()));
    filled(template, with).unwrap_or_default()
}

/// A template with what the parentheses of an expression find in `text`.
pub(crate) fn put_finds(template: &str, regex: &str, text: &str) -> String {
    let regex = Regex::new(regex).ok();
    let found = regex.as_ref().and_then(|regex| regex.captures(text));
    let with = |name: &str| {
        let number: Option<usize> = name.parse().ok();
        Ok::<_, ()>(number.map(|number| {
            let find = found.as_ref().and_then(|found| found.get(number));
            literal(find.map_or("", |find| find.as_str()))
        }))
    };
    filled(template, with).unwrap_or_default()
}

/// A path of which only the beginning was changed: `/v1/` became `/` by `^/v1/(.*)` and `/{1}`.
pub(crate) struct Beginning<'t> {
    old: String,
    new: &'t str,
}

impl<'t> Beginning<'t> {
    /// What `to` makes of the path, whose finds are those of `regex`. `None` also where a dot segment or a second slash
    /// could come of it: these go when the path is brought into its normal form, and the path then begins otherwise.
    pub fn new(regex: Option<&str>, to: &'t str) -> Option<Self> {
        let (old, new) = match regex {
            None => (String::new(), to.strip_suffix("{path}")?),
            Some(regex) => {
                let regex = regex.strip_suffix('$').unwrap_or(regex);
                let old = plain(regex.strip_prefix('^')?.strip_suffix("(.*)")?)?;
                (old, to.strip_suffix("{1}")?)
            }
        };
        let whole = match new {
            "" => old.is_empty(),
            new => new.starts_with('/') && (!new.ends_with('/') || old.ends_with('/')),
        };
        (whole && !new.contains(['{', '}'])).then_some(Self { old, new })
    }

    /// The pattern that finds in the path as it came what `pattern` finds in the new one: `/v1/admin*` for `/admin*`.
    pub fn as_it_came(&self, pattern: &str) -> Option<String> {
        as_it_came(pattern, &self.old, self.new)
    }
}

fn as_it_came(pattern: &str, old: &str, new: &str) -> Option<String> {
    if pattern.starts_with('~') || old.contains('*') {
        return None;
    }
    let (begins, ends) = match pattern.split_once('*') {
        None => (pattern, None),
        Some((begins, ends)) => (begins, Some(ends)),
    };
    let before = match (begins.strip_prefix(new), ends) {
        (Some(rest), None) => format!("{old}{rest}"),
        (Some(rest), Some(ends)) => format!("{old}{rest}*{ends}"),
        // The beginning is there; the end must not reach into it.
        (None, Some(ends)) if new.starts_with(begins) => {
            let reaches = (1..=ends.len())
                .filter_map(|end| ends.get(..end))
                .any(|part| new.ends_with(part));
            if reaches {
                return None;
            }
            format!("{old}*{ends}")
        }
        _ => return None,
    };
    before.starts_with(['/', '*']).then_some(before)
}

/// The text that an expression without anything special finds.
fn plain(regex: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(|c| !c.is_ascii_alphanumeric())?),
            '.' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '|' | '^' | '$' => {
                return None;
            }
            c => text.push(c),
        }
    }
    Some(text)
}

/// The part of a template of a path before a question mark.
pub(crate) fn before_query(template: &str) -> &str {
    template.split('?').next().unwrap_or(template)
}

impl Text {
    pub fn new(template: &str) -> Self {
        let pieces = pieces(template);
        let text = |piece: &Piece<'_>| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Variable(_) => String::new(),
        };
        // What a request always has.
        let there = pieces.iter().any(|piece| match piece {
            Piece::Literal(text) => !text.is_empty(),
            Piece::Variable(name) => {
                ["client", "method", "path", "uri", "request-id", "scheme"].contains(name)
            }
        });
        Self {
            head: pieces.first().map(text).unwrap_or_default(),
            tail: (pieces.len() > 1).then(|| pieces.last().map(text).unwrap_or_default()),
            there,
        }
    }

    /// All of it, if there is nothing to fill in.
    pub fn fixed(&self) -> Option<&str> {
        self.tail.is_none().then_some(self.head.as_str())
    }

    /// Whether one of some patterns matches; `None` when that depends on the request.
    pub fn matches_one(&self, patterns: &[String], fold: bool) -> Option<bool> {
        let found: Vec<_> = patterns.iter().map(|one| self.matches(one, fold)).collect();
        if found.contains(&Some(true)) {
            Some(true)
        } else if found.contains(&None) {
            None
        } else {
            Some(false)
        }
    }

    /// Whether a pattern of a route matches; `None` when that depends on the request.
    pub fn matches(&self, pattern: &str, fold: bool) -> Option<bool> {
        let lower = |text: &str| {
            if fold {
                text.to_lowercase()
            } else {
                text.to_owned()
            }
        };
        let head = lower(&self.head);
        if pattern == "*" {
            // A field whose value is empty is left out.
            return match &self.tail {
                None => Some(!head.is_empty()),
                Some(_) => self.there.then_some(true),
            };
        }
        if let Some(regex) = pattern.strip_prefix('~') {
            return self.finds(regex, fold);
        }
        let pattern = lower(pattern);
        let Some(tail) = &self.tail else {
            return Some(match pattern.split_once('*') {
                None => head == pattern,
                Some((begins, ends)) => {
                    head.len() >= begins.len() + ends.len()
                        && head.starts_with(begins)
                        && head.ends_with(ends)
                }
            });
        };
        let tail = lower(tail);
        let may = |text: &str, asked: &str| text.starts_with(asked) || asked.starts_with(text);
        let may_end = |text: &str, asked: &str| text.ends_with(asked) || asked.ends_with(text);
        match pattern.split_once('*') {
            None => {
                let may = pattern.starts_with(&head) && pattern.ends_with(&tail);
                (!may).then_some(false)
            }
            Some((begins, ends)) if head.starts_with(begins) && tail.ends_with(ends) => Some(true),
            Some((begins, ends)) => {
                let may = may(&head, begins) && may_end(&tail, ends);
                (!may).then_some(false)
            }
        }
    }

    fn finds(&self, regex: &str, fold: bool) -> Option<bool> {
        let compiled = regex::RegexBuilder::new(regex)
            .case_insensitive(fold)
            .dot_matches_new_line(true)
            .build()
            .ok()?;
        if self.tail.is_none() {
            return Some(compiled.is_match(&self.head));
        }
        // Of a text that goes on, only what an expression wants at its beginning can be told.
        let begins = beginning(regex)?;
        let (head, begins) = if fold {
            (self.head.to_lowercase(), begins.to_lowercase())
        } else {
            (self.head.clone(), begins)
        };
        let may = head.starts_with(&begins) || begins.starts_with(&head);
        (!may).then_some(false)
    }
}

/// The plain text that whatever an expression finds begins with: `/a` of `^/a[0-9]`.
fn beginning(regex: &str) -> Option<String> {
    // Alternatives begin differently.
    if regex.contains('|') {
        return None;
    }
    let rest = regex.strip_prefix("^.*?(?:").unwrap_or(regex);
    let mut text = String::new();
    let mut chars = rest.strip_prefix('^')?.chars().peekable();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some(c) if !c.is_ascii_alphanumeric() => c,
                _ => break,
            },
            '.' | '[' | '(' | ')' | '$' | '^' => break,
            c => c,
        };
        // What may be missing is not counted.
        match chars.peek() {
            Some('*' | '?' | '{') => break,
            Some('+') => {
                text.push(plain);
                break;
            }
            _ => text.push(plain),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_request_is_not_told_before() {
        for (template, pattern, told) in [
            ("/admin", "/admin*", Some(true)),
            ("/admin", "/Admin", Some(false)),
            ("/a{{b}}", "/a{b}", Some(true)),
            ("/app/{1}", "/admin*", Some(false)),
            ("/app/{1}", "/app*", Some(true)),
            ("/app/{1}", "/app/x*", None),
            ("/app/{1}", "*.php", None),
            ("/app/{1}.js", "*.js", Some(true)),
            ("/app/{1}.js", "*.php", Some(false)),
            ("/{1}", "/admin*", None),
            ("{1}", "~^/q", None),
            ("/app/{1}", "~^/q", Some(false)),
            ("/app/{1}", "~^/q?", None),
            ("/app/{1}", "~^/q|x", None),
            ("/app/{1}", r"~^/app/\d", None),
            ("/app/{1}", "~^.*?(?:^/q).*$", Some(false)),
            ("", "*", Some(false)),
            ("{client}", "*", Some(true)),
            ("{header:X}", "*", None),
            ("{client}", "10.0.0.1", None),
        ] {
            assert_eq!(
                Text::new(template).matches(pattern, false),
                told,
                "{template} {pattern}"
            );
        }
        assert_eq!(Text::new("/ADMIN/{1}").matches("/admin*", true), Some(true));
    }

    #[test]
    fn behind_a_new_beginning_the_rest_of_the_path_is_found_as_it_came() {
        for (pattern, regex, to, before) in [
            ("/admin*", Some("^/v1/(.*)"), "/{1}", Some("/v1/admin*")),
            (
                "/admin",
                Some(r"^/v1\.0/(.*)$"),
                "/{1}",
                Some("/v1.0/admin"),
            ),
            ("*.php", Some("^/v1/(.*)"), "/{1}", Some("/v1/*.php")),
            ("*/php", Some("^/v1/(.*)"), "/{1}", None),
            ("/app/x*.js", Some("^/a(.*)"), "/app{1}", Some("/a/x*.js")),
            ("/pre/x*", None, "/pre{path}", Some("/x*")),
            ("~^/admin", Some("^/v1/(.*)"), "/{1}", None),
            ("/admin*", Some("^/v[12]/(.*)"), "/{1}", None),
            ("/admin*", Some("^.*?(?:/v1/(.*)).*$"), "/{1}", None),
            ("/admin*", Some("^/(..)/(.*)"), "/{2}/{1}", None),
            // `/v1/admin` and `/v1../admin`.
            ("/admin*", Some("^/v1(.*)"), "/{1}", None),
            ("/admin*", Some("^/v1(.*)"), "/app/{1}", None),
            ("/admin*", Some("^/v1/(.*)"), "{1}", None),
            ("/admin*", None, "{path}", Some("/admin*")),
        ] {
            let beginning = Beginning::new(regex, to);
            let found = beginning.and_then(|beginning| beginning.as_it_came(pattern));
            assert_eq!(found.as_deref(), before, "{pattern} {to}");
        }
    }

    #[test]
    fn finds_are_put_where_they_belong() {
        assert_eq!(
            put_finds("/{2}{1}/{host}", "^/(a+)(b)", "/aab"),
            "/baa/{host}"
        );
        assert_eq!(put("/x{path}{{path}}", "path", "/a{1}"), "/x/a{1}{{path}}");
    }
}
