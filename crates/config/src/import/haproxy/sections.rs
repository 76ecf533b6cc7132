//! From lines to sections; conditional lines (`.if`) are decided here.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::table::{BACKEND, DEFAULTS, FRONTEND, GLOBAL, HTTP_ERRORS, LANGUAGE, LISTEN, USERLIST};
use super::words::Line;
use crate::suggest::did_you_mean;

/// A section that was read.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Its bit in the table of directives.
    pub kind: u16,
    /// Its name; empty for `global` and for `defaults` without one.
    pub name: String,
    /// The line it begins with.
    pub head: Line,
    pub lines: Vec<Line>,
    /// Lines that the table of directives has settled.
    pub settled: Vec<Line>,
}

/// Words that open a section, and its bit; 0 for sections that are known and not translated.
const OPENERS: &[(&str, u16)] = &[
    ("global", GLOBAL),
    ("defaults", DEFAULTS),
    ("frontend", FRONTEND),
    ("listen", LISTEN),
    ("backend", BACKEND),
    ("userlist", USERLIST),
    ("peers", 0),
    ("resolvers", 0),
    ("mailers", 0),
    ("program", 0),
    ("cache", 0),
    ("http-errors", HTTP_ERRORS),
    ("ring", 0),
    ("log-forward", 0),
    ("fcgi-app", 0),
];

/// What the sections without translation are for, and what there is instead.
fn instead(opener: &str) -> &'static str {
    match opener {
        "peers" => "sessions are replicated by `[sessions]`; nothing else needs peers",
        "resolvers" => "names are looked up through the system's resolver",
        "mailers" => "events are in the log and on the admin pages",
        "program" => "programs are `run` by an `[app]`",
        "cache" => "answers are not cached: servers are asked each time",
        "ring" | "log-forward" => "the log is a file or standard error",
        _ => "",
    }
}

/// Cuts lines into sections. Every directive gets its row of the table, or is refused.
pub(crate) fn sections(lines: Vec<Line>, verdicts: &mut Verdicts) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut skipped: Option<(&'static str, Spot)> = None;
    let mut branches = Branches::default();
    for line in lines {
        if line.word(0).starts_with('.') {
            branches.line(&line, verdicts);
            continue;
        }
        if !branches.taken() {
            verdicts.without(line.spot, "it is in a branch that is not taken");
            continue;
        }
        if let Some(&(opener, kind)) = OPENERS.iter().find(|(name, _)| *name == line.word(0)) {
            if kind == 0 {
                match instead(opener) {
                    "" => verdicts.refuse(
                        line.spot,
                        line.spot,
                        format!("there are no `{opener}` sections here"),
                    ),
                    why => verdicts.without(line.spot, format!("`{}`: {why}", line.shown())),
                }
                skipped = Some((opener, line.spot));
                continue;
            }
            skipped = None;
            open(kind, line, &mut sections, verdicts);
            continue;
        }
        if let Some((opener, _)) = skipped {
            verdicts.without(
                line.spot,
                format!("`{}`: of the {opener} section", line.shown()),
            );
            continue;
        }
        let Some(section) = sections.last_mut() else {
            let hint = did_you_mean(line.word(0), OPENERS.iter().map(|(name, _)| *name));
            verdicts.refuse_hint(
                line.spot,
                line.at(0),
                format!("unknown keyword '{}' out of section", line.word(0)),
                hint,
            );
            continue;
        };
        if is_known(&line, section.kind, verdicts) {
            section.lines.push(line);
        } else {
            section.settled.push(line);
        }
    }
    branches.end(verdicts);
    sections
}

fn open(kind: u16, line: Line, sections: &mut Vec<Section>, verdicts: &mut Verdicts) {
    let name = match kind {
        GLOBAL => String::new(),
        DEFAULTS if line.word(1) == "from" => String::new(),
        _ => line.word(1).to_owned(),
    };
    let needs_name = !matches!(kind, GLOBAL | DEFAULTS);
    if needs_name && name.is_empty() {
        verdicts.refuse(
            line.spot,
            line.spot,
            format!("'{}' needs a name", line.word(0)),
        );
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if !name.chars().all(valid) {
        verdicts.refuse(
            line.spot,
            line.at(1),
            format!("'{name}' is no name: letters, digits, and - _ . : make one"),
        );
    }
    let share = |a: u16, b: u16| a == b || (a | b) & LISTEN != 0;
    let same = sections.iter().find(|section| {
        needs_name
            && section.name == name
            && share(section.kind, kind)
            && (section.kind | kind) & (USERLIST | DEFAULTS | HTTP_ERRORS) == 0
    });
    if let Some(same) = same {
        verdicts.refuse(
            line.spot,
            line.at(1),
            format!(
                "'{name}' is the name of another {} already",
                same.head.word(0)
            ),
        );
    }
    if kind == GLOBAL && sections.iter().any(|section| section.kind == GLOBAL) {
        verdicts.note(line.spot, "a further global section adds to the first");
    } else {
        verdicts.translated(line.spot);
    }
    sections.push(Section {
        kind,
        name,
        head: line,
        lines: Vec::new(),
        settled: Vec::new(),
    });
}

/// The name of a directive: its first two words if the table has them, else its first. `no ` before an option is not
/// part of it.
pub(crate) fn name_of(line: &Line) -> &str {
    /// Directives of two words: the second ones of each first. Each line is asked for its name very often.
    static TWO: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
        let mut two: HashMap<&str, Vec<&str>> = HashMap::new();
        for row in LANGUAGE.rows() {
            if let Some((first, _)) = row.name.split_once(' ') {
                two.entry(first).or_default().push(row.name);
            }
        }
        two
    });
    let skip = usize::from(line.word(0) == "no" && line.word(1) != "log");
    let (first, second) = (line.word(skip), line.word(skip + 1));
    let is_named = |name: &&&str| {
        let rest = name
            .strip_prefix(first)
            .and_then(|rest| rest.strip_prefix(' '));
        rest == Some(second)
    };
    let two = TWO.get(first).and_then(|names| names.iter().find(is_named));
    two.copied().unwrap_or(first)
}

/// Looks a directive up. What the table alone decides is decided here, and `false` returned.
fn is_known(line: &Line, kind: u16, verdicts: &mut Verdicts) -> bool {
    use super::super::directives::How;
    let name = name_of(line);
    let Some(row) = LANGUAGE.find(name, kind) else {
        return unknown(line, kind, name, verdicts);
    };
    if row.places & kind == 0 {
        // HAProxy ignores options of the other side with a warning; so do we.
        if kind & (FRONTEND | BACKEND) != 0 && row.places & (FRONTEND | BACKEND) != 0 {
            let section = LANGUAGE.named(kind);
            verdicts.without(
                line.spot,
                format!(
                    "`{name}` has no effect in a {section}, only in: {}",
                    LANGUAGE.named(row.places)
                ),
            );
        } else {
            verdicts.refuse(
                line.spot,
                line.at(0),
                format!(
                    "'{name}' not allowed in '{}' section; it belongs to: {}",
                    LANGUAGE.named(kind),
                    LANGUAGE.named(row.places)
                ),
            );
        }
        return false;
    }
    let words = name.split(' ').count() + usize::from(line.word(0) == "no" && name != "no log");
    let given = line.words.len().saturating_sub(words);
    let (least, most) = (usize::from(row.args.0), usize::from(row.args.1));
    if given < least {
        verdicts.refuse(
            line.spot,
            line.spot,
            format!(
                "'{name}' wants {least} argument{}, not {given}",
                plural(least)
            ),
        );
        return false;
    }
    if most < usize::from(u8::MAX) && given > most {
        verdicts.refuse(
            line.spot,
            line.at(words + most),
            format!(
                "'{name}' cannot handle unexpected argument '{}'",
                line.word(words + most)
            ),
        );
        return false;
    }
    match row.how {
        How::To(_) => return true,
        How::Without(why) => verdicts.without(line.spot, format!("`{}`: {why}", line.shown())),
        How::Refused(why) | How::RefusedOn(why) => {
            verdicts.refuse(
                line.spot,
                line.at(0),
                format!("'{name}' is not translated: {why}"),
            );
        }
    }
    false
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn unknown(line: &Line, kind: u16, name: &str, verdicts: &mut Verdicts) -> bool {
    let section = LANGUAGE.named(kind);
    // Tuning is HAProxy's own affair, whatever it is.
    if kind == GLOBAL && name.starts_with("tune.") {
        verdicts.without(
            line.spot,
            format!("`{name}`: buffers and pools size themselves"),
        );
        return false;
    }
    let two = format!("{name} {}", line.word(1));
    let hint = if matches!(name, "option" | "timeout" | "stats") {
        LANGUAGE.suggest(&two, kind)
    } else {
        LANGUAGE.suggest(name, kind)
    };
    let (what, at) = match name {
        "option" => (format!("unknown option '{}'", line.word(1)), line.at(1)),
        "timeout" => (
            format!("'timeout' does not support '{}'", line.word(1)),
            line.at(1),
        ),
        _ => (
            format!("unknown keyword '{name}' in '{section}' section"),
            line.at(0),
        ),
    };
    verdicts.refuse_hint(line.spot, at, what, hint);
    false
}

/// Open `.if` blocks: whether this branch is taken, and whether one was already.
#[derive(Default)]
struct Branches(Vec<(bool, bool, Spot)>);

impl Branches {
    fn taken(&self) -> bool {
        self.0.iter().all(|(now, ..)| *now)
    }

    fn line(&mut self, line: &Line, verdicts: &mut Verdicts) {
        let rest = line.from(1);
        let words: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
        let condition = words.concat();
        let mut holds = || {
            decide(&condition).unwrap_or_else(|| {
                verdicts.refuse(
                    line.spot,
                    line.at(1),
                    format!("this condition is not understood: {condition}"),
                );
                false
            })
        };
        match line.word(0) {
            ".if" => {
                let now = holds();
                self.0.push((now, now, line.spot));
            }
            ".elif" | ".else" if self.0.is_empty() => {
                verdicts.refuse(line.spot, line.spot, "there is no .if before this");
            }
            ".elif" => {
                let held = holds();
                if let Some((now, was, _)) = self.0.last_mut() {
                    *now = held && !*was;
                    *was |= held;
                }
            }
            ".else" => {
                if let Some((now, was, _)) = self.0.last_mut() {
                    *now = !*was;
                    *was = true;
                }
            }
            ".endif" if self.0.pop().is_none() => {
                verdicts.refuse(line.spot, line.spot, "there is no .if before this");
            }
            ".endif" => {}
            ".notice" | ".warning" | ".diag" if self.taken() => {
                verdicts.without(line.spot, words.join(" "));
            }
            ".alert" if self.taken() => verdicts.refuse(line.spot, line.spot, words.join(" ")),
            ".notice" | ".warning" | ".diag" | ".alert" => {}
            other => verdicts.refuse(
                line.spot,
                line.at(0),
                format!("'{other}' is no directive for conditional blocks"),
            ),
        }
        if !verdicts.has(line.spot) {
            verdicts.without(line.spot, format!("`{}` was decided", line.shown()));
        }
    }

    fn end(&self, verdicts: &mut Verdicts) {
        for (_, _, spot) in &self.0 {
            verdicts.refuse(*spot, *spot, "this .if has no .endif");
        }
    }
}

/// The version whose configuration language is spoken.
pub(crate) const SPOKEN: [u32; 2] = [2, 6];

/// Decides a condition: `&&`, `||`, `!` over constants and a few functions.
fn decide(text: &str) -> Option<bool> {
    if let Some((a, b)) = text.split_once("||") {
        let (a, b) = (decide(a)?, decide(b)?);
        return Some(a || b);
    }
    if let Some((a, b)) = text.split_once("&&") {
        let (a, b) = (decide(a)?, decide(b)?);
        return Some(a && b);
    }
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('!') {
        return decide(rest).map(|held| !held);
    }
    match text {
        "" | "0" | "false" => return Some(false),
        "true" => return Some(true),
        _ => {}
    }
    if text.chars().all(|c| c.is_ascii_digit()) {
        return Some(true);
    }
    let (function, rest) = text.split_once('(')?;
    let args: Vec<&str> = rest.strip_suffix(')')?.split(',').map(str::trim).collect();
    match (function, &args[..]) {
        ("streq", [a, b]) => Some(a == b),
        ("strneq", [a, b]) => Some(a != b),
        ("strstr", [a, b]) => Some(a.contains(b)),
        ("defined", [name]) => Some(std::env::var_os(name).is_some()),
        ("feature", [name]) => Some(matches!(
            *name,
            "THREAD" | "EPOLL" | "OPENSSL" | "PCRE" | "ZLIB" | "GETADDRINFO"
        )),
        ("version_atleast", [version]) => Some(number(version)? <= SPOKEN),
        ("version_before", [version]) => Some(number(version)? > SPOKEN),
        ("openssl_version_atleast", [_]) => Some(true),
        ("openssl_version_before", [_]) => Some(false),
        ("ssllib_name_startswith" | "enabled", [_]) => Some(false),
        _ => None,
    }
}

fn number(version: &str) -> Option<[u32; 2]> {
    let mut parts = version.split(['.', '-']);
    let major = parts.next()?.parse().ok()?;
    let digits = |part: &str| {
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part[..end].parse().ok()
    };
    let minor = parts.next().map_or(Some(0), digits)?;
    Some([major, minor])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_blocks_are_decided() {
        for (text, held) in [
            ("true", Some(true)),
            ("!true", Some(false)),
            ("", Some(false)),
            ("feature(THREAD)&&version_atleast(2.4)", Some(true)),
            ("version_atleast(2.9)||version_before(1.5)", Some(false)),
            ("streq(a,a)", Some(true)),
            ("awk(1)", None),
        ] {
            assert_eq!(decide(text), held, "{text}");
        }
    }
}
