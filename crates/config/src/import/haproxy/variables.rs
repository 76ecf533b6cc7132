//! Variables: `http-request set-var(txn.x) EXPR`, and `var(txn.x)` in what comes behind.
//!
//! Routes have none. What a variable has is put where it is read, as far as it is known when the file is: the rules that
//! set it are the only ones, come before, and nothing changes what they look at. Conditions under which it is set become
//! part of those that ask for it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::logic::{Either, Subject};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::acl::{Acls, Named, Refusal};
use super::order::turn;
use super::rules::split;
use super::sections::Section;
use super::table::{FRONTEND, GLOBAL, LISTEN};
use super::words::{Line, Word};

/// Variables that are made of variables, so many deep.
const DEEPEST: u8 = 8;
/// When answers are changed: behind all rules of requests.
const ANSWER: u8 = 9;
/// When all else is asked that is no rule.
const LAST: u8 = 8;

/// All variables of a file.
#[derive(Debug, Default)]
pub(crate) struct Vars {
    settings: BTreeMap<String, Vec<Setting>>,
    /// Those whose values are known for each request only, and why.
    unknown: BTreeMap<String, &'static str>,
    /// Where each line stands.
    lines: BTreeMap<Spot, Place>,
    /// Those that something asks for.
    read: BTreeSet<String>,
    /// What rules change of a request.
    changed: BTreeSet<Seen>,
    /// Sections that take requests from clients.
    fronts: usize,
    depth: Cell<u8>,
}

/// What a variable is set to.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// A sample: `src`, `req.hdr(host),lower`.
    Sample(String),
    /// A text with samples in it.
    Format(String),
}

/// A rule that sets one.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub given: Given,
    pub condition: Option<(bool, Vec<Word>)>,
    /// The ACLs of its section.
    pub named: Rc<Named>,
    place: Place,
    pub spot: Spot,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    section: usize,
    kind: u16,
    turn: u8,
}

/// What a sample looks at, of what rules can change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Path,
    /// In lower case.
    Field(String),
}

/// The name of a variable that a rule sets: of `http-request set-var(txn.x)`, and of `set-var txn.x` in `global`.
fn set_by(line: &Line) -> Option<(String, bool, &[Word])> {
    let action = |text: &str| {
        let (what, rest) = text.split_once('(')?;
        let name = rest.strip_suffix(')')?.split(',').next()?.trim().to_owned();
        match what {
            "set-var" => Some((name, false)),
            "set-var-fmt" => Some((name, true)),
            _ => None,
        }
    };
    let at = match (line.word(0), line.word(1)) {
        ("set-var" | "set-var-fmt", name) => {
            return Some((name.into(), line.word(0) == "set-var-fmt", line.from(2)));
        }
        ("http-request" | "http-response" | "http-after-response", _) => 1,
        ("tcp-request", "connection" | "session" | "content") => 2,
        _ => return None,
    };
    let (name, format) = action(line.word(at))?;
    Some((name, format, line.from(at + 1)))
}

/// Whether a rule only sets a variable.
pub(crate) fn is_setting(line: &Line) -> bool {
    set_by(line).is_some()
}

impl Vars {
    pub fn collect(sections: &[Section]) -> Self {
        let mut vars = Self::default();
        for (number, section) in sections.iter().enumerate() {
            vars.fronts += usize::from(section.kind & (FRONTEND | LISTEN) != 0);
            let named = Rc::new(super::acl::named_of(&section.lines));
            let mut ended = BTreeSet::new();
            for line in &section.lines {
                let is_answer =
                    line.word(0) == "http-response" || line.word(0) == "http-after-response";
                let asked = if is_answer { Some(ANSWER) } else { turn(line) };
                let place = Place {
                    section: number,
                    kind: section.kind,
                    turn: if section.kind == GLOBAL {
                        0
                    } else {
                        asked.unwrap_or(LAST)
                    },
                };
                vars.lines.insert(line.spot, place);
                for word in &line.words {
                    let asked = word.text.split("var(").skip(1);
                    let names = asked.filter_map(|rest| rest.split([')', ',']).next());
                    let is_own = set_by(line).is_some_and(|_| word.text.starts_with("set-var"));
                    vars.read
                        .extend(names.filter(|_| !is_own).map(str::to_owned));
                }
                if let Some(name) = line
                    .words
                    .iter()
                    .find_map(|w| w.text.strip_prefix("unset-var("))
                {
                    let name = name.trim_end_matches(')').to_owned();
                    vars.unknown.insert(name, "another rule unsets it");
                }
                vars.changed.extend(changes(line));
                let rule = if line.word(0) == "tcp-request" {
                    line.word(2)
                } else {
                    line.word(1)
                };
                if matches!(rule, "allow" | "accept") {
                    ended.insert(place.turn);
                }
                let Some((name, format, rest)) = set_by(line) else {
                    continue;
                };
                let (value, condition) = split(rest);
                let why = match value {
                    _ if ended.contains(&place.turn) => {
                        "a rule before may end the rules before it is set"
                    }
                    _ if place.turn == ANSWER => "an answer sets it",
                    [_] => "",
                    _ => "it is set to more than one word",
                };
                if !why.is_empty() {
                    vars.unknown.insert(name, why);
                    continue;
                }
                let text = value[0].text.clone();
                let setting = Setting {
                    given: if format {
                        Given::Format(text)
                    } else {
                        Given::Sample(text)
                    },
                    condition: condition.map(|(unless, words)| (unless, words.to_vec())),
                    named: named.clone(),
                    place,
                    spot: line.spot,
                };
                vars.settings.entry(name).or_default().push(setting);
            }
        }
        vars
    }

    /// What becomes of a rule that sets a variable.
    pub fn tell(&self, line: &Line, verdicts: &mut Verdicts) {
        let Some((name, ..)) = set_by(line) else {
            return;
        };
        if self.read.contains(&name) {
            verdicts.note(line.spot, "what it is set to is put where it is read");
        } else {
            verdicts.without(
                line.spot,
                format!("nothing here reads the variable '{name}'"),
            );
        }
    }

    /// The rules that set a variable before the place that reads it, in their order. Without a place any are.
    pub fn settings(&self, name: &str, at: Option<Spot>) -> Result<Vec<&Setting>, String> {
        let unsure = |why: &str| {
            Err(format!(
                "what '{name}' is set to is known for each request only: {why}"
            ))
        };
        if let Some(why) = self.unknown.get(name) {
            return unsure(why);
        }
        let Some(all) = self.settings.get(name) else {
            return Err(format!("nothing sets the variable '{name}'"));
        };
        let Some((at, place)) = at.and_then(|at| self.line_of(at)) else {
            return Ok(all.iter().collect());
        };
        let mut found = Vec::new();
        let is_front = place.kind & (FRONTEND | LISTEN) != 0;
        for setting in all {
            let theirs = &setting.place;
            if theirs.kind == GLOBAL {
                found.push(setting);
            } else if theirs.section == place.section {
                if (theirs.turn, setting.spot) >= (place.turn, at) {
                    return unsure("it is set behind this");
                }
                found.push(setting);
            } else if !is_front && theirs.kind & (FRONTEND | LISTEN) != 0 {
                if self.fronts > 1 {
                    return unsure(
                        "requests come here from more than one section, and one sets it",
                    );
                }
                found.push(setting);
            }
        }
        // Those of the frontend come before those of the backend.
        found.sort_by_key(|s| {
            let theirs = &s.place;
            let here = theirs.section == place.section;
            (theirs.kind != GLOBAL, here, theirs.turn, s.spot)
        });
        for setting in &found {
            let by_request = setting.place.turn > 1 && setting.place.kind != GLOBAL;
            let (scope, _) = name.split_once('.').unwrap_or(("", name));
            match scope {
                "proc" if setting.place.kind != GLOBAL => {
                    return unsure("it is that of all requests");
                }
                "sess" if by_request && setting.condition.is_some() => {
                    return unsure("a request before on the same connection may have set it");
                }
                "req" if place.turn == ANSWER => return unsure("an answer does not see it"),
                "proc" | "sess" | "txn" | "req" => {}
                _ => return unsure("it has no scope of a request"),
            }
        }
        if found.is_empty() {
            return Err(format!("nothing sets the variable '{name}' before"));
        }
        Ok(found)
    }

    fn line_of(&self, at: Spot) -> Option<(Spot, Place)> {
        let until = Spot {
            end: usize::MAX,
            ..at
        };
        let (line, place) = self.lines.range(..=until).next_back()?;
        (line.file == at.file).then_some((*line, *place))
    }

    /// Texts with the variables that are filled in put into them. `None`: there are none.
    pub fn expand(&self, line: &Line) -> Result<Option<Line>, Refusal> {
        if !line.words.iter().any(|word| word.text.contains("%[var(")) {
            return Ok(None);
        }
        let mut line = line.clone();
        for word in &mut line.words {
            let at = word.spot;
            let mut rounds = 0;
            while let Some(begins) = word.text.find("%[var(") {
                let refuse = |message: String| Refusal::new(at, message);
                rounds += 1;
                let inner = &word.text[begins + 6..];
                let (name, after) = inner
                    .split_once(')')
                    .filter(|_| rounds < 64)
                    .ok_or_else(|| refuse("a ) closes the name of a variable".into()))?;
                let (converters, rest) = after
                    .split_once(']')
                    .ok_or_else(|| refuse("a ] closes the expression".into()))?;
                let name = name.split(',').next().unwrap_or_default().trim();
                let settings = self.settings(name, Some(line.spot)).map_err(refuse)?;
                let [
                    Setting {
                        given,
                        condition: None,
                        ..
                    },
                ] = settings[..]
                else {
                    return Err(refuse(format!(
                        "what '{name}' is set to is known for each request only: it is set under a condition, or twice"
                    )));
                };
                let text = match given {
                    Given::Sample(sample) => format!("%[{sample}{converters}]"),
                    Given::Format(text) if converters.is_empty() => text.clone(),
                    Given::Format(_) => {
                        return Err(refuse(format!(
                            "a converter behind the text of '{name}' is not translated"
                        )));
                    }
                };
                self.stays(name, seen(&text)).map_err(refuse)?;
                word.text = format!("{}{text}{rest}", &word.text[..begins]);
            }
        }
        Ok(Some(line))
    }

    /// Whether no rule changes what a sample looks at.
    pub fn is_as_it_came(&self, sample: &str) -> bool {
        let seen = seen(&format!("%[{sample}]"));
        !seen.iter().any(|seen| self.changed.contains(seen))
    }

    /// Whether what a variable is made of is the same where it is set and where it is read.
    fn stays(&self, name: &str, seen: impl IntoIterator<Item = Seen>) -> Result<(), String> {
        for seen in seen {
            if self.changed.contains(&seen) {
                let what = match seen {
                    Seen::Path => "the path".to_owned(),
                    Seen::Field(name) => format!("the field {name}"),
                };
                return Err(format!(
                    "'{name}' is made of {what}, which a rule changes: what it was is not kept"
                ));
            }
        }
        Ok(())
    }

    /// When a variable is as it is asked for: `asks` gives that for each sample that it may be.
    pub fn when(
        self: &Rc<Self>,
        name: &str,
        at: Option<Spot>,
        spot: Spot,
        found: bool,
        mut asks: impl FnMut(&str, &Setting) -> Result<Either, Refusal>,
        mut holds: impl FnMut(&[Word], bool, &Acls, Spot) -> Result<Either, Refusal>,
    ) -> Result<Either, Refusal> {
        let refuse = |message: String| Refusal::new(spot, message);
        if self.depth.get() >= DEEPEST {
            return Err(refuse(format!("'{name}' is made of too many variables")));
        }
        self.depth.set(self.depth.get() + 1);
        let _depth = Deeper(&self.depth);
        let too_many = |_| refuse("this condition has too many alternatives".into());
        let mut all = Either::never();
        for setting in self.settings(name, at).map_err(refuse)? {
            let sample = match &setting.given {
                Given::Sample(sample) => sample.clone(),
                Given::Format(text) => whole(text).ok_or_else(|| {
                    refuse(format!(
                        "'{name}' is a text that is known for each request only"
                    ))
                })?,
            };
            if !found && is_of_several(&sample) {
                return Err(refuse(format!(
                    "'{name}' is the last of several values, and conditions look at all of them: ask for '{sample}' itself"
                )));
            }
            self.stays(name, seen(&format!("%[{sample}]")))
                .map_err(refuse)?;
            let asked = asks(&sample, setting)?;
            let Some((unless, words)) = &setting.condition else {
                all = asked;
                continue;
            };
            let acls = Acls {
                named: setting.named.clone(),
                vars: self.clone(),
                frontend: None,
                backend: None,
            };
            let when = holds(words, *unless, &acls, setting.spot)?;
            self.stays(name, looked_at(&when)).map_err(refuse)?;
            let before = when.clone().negated().map_err(too_many)?;
            let before = before.and(&all).map_err(too_many)?;
            all = when
                .and(&asked)
                .map_err(too_many)?
                .or(before)
                .map_err(too_many)?;
        }
        Ok(all)
    }
}

struct Deeper<'a>(&'a Cell<u8>);

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The one sample that a text is; a text without any is one, too.
fn whole(text: &str) -> Option<String> {
    if !text.contains('%') {
        return (!text.contains(')')).then(|| format!("str({text})"));
    }
    let inner = text.strip_prefix("%[")?.strip_suffix(']')?;
    (!inner.contains(['%', ']'])).then(|| inner.to_owned())
}

/// Whether a sample is one of several values.
fn is_of_several(sample: &str) -> bool {
    let (name, rest) = sample.split_once('(').unwrap_or((sample, ""));
    let arg = rest.split([')', ',']).next().unwrap_or_default();
    let field = name.ends_with("hdr") && !arg.trim().eq_ignore_ascii_case("host");
    field || matches!(name, "req.cook" | "cook" | "cookie" | "urlp" | "url_param")
}

/// What the samples of a text look at.
fn seen(text: &str) -> Vec<Seen> {
    let mut all = Vec::new();
    for sample in text.split("%[").skip(1) {
        let name = sample.split([',', '(', ']']).next().unwrap_or_default();
        let arg = sample.split_once('(').map_or("", |(_, rest)| rest);
        let arg = arg.split([')', ',']).next().unwrap_or_default();
        match name {
            "path" | "pathq" | "url" | "base" | "query" | "urlp" | "url_param" => {
                all.push(Seen::Path);
            }
            _ if name.starts_with("capture.req") => all.push(Seen::Path),
            "cook" | "req.cook" | "cookie" => all.push(Seen::Field("cookie".into())),
            _ if name.contains("hdr") => all.push(Seen::Field(arg.trim().to_ascii_lowercase())),
            _ => {}
        }
        if name == "base" {
            all.push(Seen::Field("host".into()));
        }
    }
    if ["%HP", "%HU", "%HQ", "%r"]
        .iter()
        .any(|name| text.contains(name))
    {
        all.push(Seen::Path);
    }
    all
}

/// What a condition looks at.
fn looked_at(when: &Either) -> Vec<Seen> {
    let literals = when.0.iter().flatten();
    let seen = literals.filter_map(|literal| match &literal.subject {
        Subject::Path | Subject::Query(_) => Some(Seen::Path),
        Subject::Host => Some(Seen::Field("host".into())),
        Subject::Header(name) => Some(Seen::Field(name.to_ascii_lowercase())),
        Subject::Cookie(_) => Some(Seen::Field("cookie".into())),
        _ => None,
    });
    seen.collect()
}

/// What a rule changes of the request.
fn changes(line: &Line) -> Option<Seen> {
    let name = |text: &str| Seen::Field(text.to_ascii_lowercase());
    match (line.word(0), line.word(1)) {
        (
            "http-request",
            "set-header" | "add-header" | "del-header" | "replace-header" | "replace-value",
        ) => Some(name(line.word(2))),
        ("http-request", action) => {
            let path = [
                "set-path",
                "set-uri",
                "set-query",
                "replace-path",
                "replace-uri",
            ];
            path.iter()
                .any(|path| action.starts_with(path))
                .then_some(Seen::Path)
        }
        ("reqadd" | "reqdel" | "reqidel", text) => {
            let text = text.trim_start_matches('^').split(':').next();
            Some(name(text.unwrap_or_default()))
        }
        _ => None,
    }
}
