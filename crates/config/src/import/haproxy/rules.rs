//! `http-request`, `http-response`, `redirect` and what they were called before: steps on the way of a request.

mod answers;
mod fields;

use super::super::document::{Table, Value};
use super::super::logic::Either;
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::acl::{self, Acls, Connection, Refusal};
use super::answered;
use super::changed::Effect;
use super::format::{Known, literal, template};
use super::tables::without_rates;
use super::variables::is_setting;
use super::words::{Line, Word};
use crate::suggest::did_you_mean;

use answers::{closed, status_of};
pub(crate) use answers::{deny, nowhere};
use fields::removed;

/// What is done when the condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The request is answered: the action of a route.
    Answer(Table),
    /// The request goes on, changed: what goes with a route.
    Change(Table),
    /// It goes on if the client has a password, as the realm is called.
    Auth(Option<String>),
    /// It goes on to a backend.
    To(String),
    /// The rules of this section end here.
    Done,
}

/// Rules that `allow` or `accept` ends: of each kind apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruleset {
    /// `http-request`.
    Request,
    /// `tcp-request connection`.
    Connection,
    /// `tcp-request session`.
    Session,
    /// `tcp-request content`.
    Content,
}

impl Ruleset {
    /// That of a line.
    pub fn of(line: &Line) -> Option<Self> {
        match (line.word(0), line.word(1)) {
            ("http-request", _) => Some(Self::Request),
            ("tcp-request", "connection") => Some(Self::Connection),
            ("tcp-request", "session") => Some(Self::Session),
            ("tcp-request", "content") => Some(Self::Content),
            _ => None,
        }
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub when: Either,
    pub deed: Deed,
    /// What it changes of what later rules may look at.
    pub effects: Vec<Effect>,
    /// Whose rules are over when one of them says so.
    pub ruleset: Option<Ruleset>,
    pub spot: Spot,
}

impl Step {
    /// What is not an `http-request`.
    pub fn new(when: Either, deed: Deed, spot: Spot) -> Self {
        Self {
            when,
            deed,
            effects: Vec::new(),
            ruleset: None,
            spot,
        }
    }
}

/// Cuts the condition off a rule.
pub(crate) fn split(words: &[Word]) -> (&[Word], Option<(bool, &[Word])>) {
    let at = words
        .iter()
        .position(|word| matches!(word.text.as_str(), "if" | "unless"));
    match at {
        Some(at) => (
            &words[..at],
            Some((words[at].text == "unless", &words[at + 1..])),
        ),
        None => (words, None),
    }
}

/// The condition of a rule; none always holds. It asks neither how often a client came nor who it is.
pub(crate) fn when(
    condition: Option<(bool, &[Word])>,
    acls: &Acls,
    connection: Connection,
    line: Spot,
    verdicts: &mut Verdicts,
) -> Result<Either, Refusal> {
    let when = condition_of(condition, acls, connection, line, verdicts)?;
    without_rates(when, line)
}

/// Whether a rule is asked when the answer comes.
pub(crate) fn is_for_answers(line: &Line) -> bool {
    matches!(
        line.word(0),
        "http-response" | "http-after-response" | "rspadd" | "rspdel" | "rspidel"
    )
}

fn condition_of(
    condition: Option<(bool, &[Word])>,
    acls: &Acls,
    connection: Connection,
    line: Spot,
    verdicts: &mut Verdicts,
) -> Result<Either, Refusal> {
    match condition {
        None => Ok(Either::always()),
        Some((unless, words)) => {
            let note = &mut |text| verdicts.note(line, text);
            let when = acl::condition(words, unless, acls, connection, line, note)?;
            if !connection.is_answer && answered::asks(&when) {
                let message =
                    "this is asked of answers, by `http-response`: a request has none yet";
                return Err(Refusal::new(line, message));
            }
            Ok(when)
        }
    }
}

/// Reads the rule of a line, or tells why it cannot be translated. `None` also for what has no effect.
pub(crate) fn step(
    line: &Line,
    acls: &Acls,
    connection: Connection,
    verdicts: &mut Verdicts,
) -> Option<Step> {
    if is_setting(line) {
        acls.vars.tell(line, verdicts);
        return None;
    }
    let expanded = match acls.vars.expand(line) {
        Ok(expanded) => expanded,
        Err(refusal) => {
            refusal.tell(line.spot, verdicts);
            return None;
        }
    };
    let line = expanded.as_ref().unwrap_or(line);
    let known = Known {
        tls: connection.tls,
        frontend: acls.frontend.as_deref(),
        backend: acls.backend.as_deref(),
    };
    let line = &with_known(line, known);
    let replacing = as_replacement(line);
    let line = replacing.as_ref().unwrap_or(line);
    let (words, condition) = split(line.from(1));
    let connection = Connection {
        is_answer: is_for_answers(line),
        ..connection
    };
    let when = match condition_of(condition, acls, connection, line.spot, verdicts) {
        Ok(when) => when,
        Err(refusal) => {
            refusal.tell(line.spot, verdicts);
            return None;
        }
    };
    let rule = Rule {
        line,
        words,
        connection,
    };
    let deed = match line.word(0) {
        "http-request" => rule.request(verdicts),
        "http-response" | "http-after-response" => rule.response(verdicts),
        "tcp-request" => rule.connection(verdicts),
        "redirect" => rule.redirect(words),
        "block" => {
            verdicts.note(
                line.spot,
                "`block` is `http-request deny` since HAProxy 2.1",
            );
            Ok(Some(Deed::Answer(deny(403))))
        }
        "reqadd" | "rspadd" => rule.add(verdicts),
        _ => rule.delete(verdicts),
    };
    match deed {
        Ok(deed) => {
            if !verdicts.has(line.spot) {
                verdicts.translated(line.spot);
            }
            if deed.is_some() && rule.fills_in_a_list() {
                verdicts.note(
                    line.spot,
                    "of a field with several values its first line is filled in; with hdr() HAProxy takes what is behind \
                     the last comma",
                );
            }
            let effects = rule.effects();
            // What is always so here still changes what later rules find.
            let deed =
                deed.or_else(|| (!effects.is_empty()).then(|| Deed::Change(Table::default())));
            deed.map(|deed| Step {
                effects,
                ruleset: Ruleset::of(line),
                ..Step::new(when, deed, line.spot)
            })
        }
        Err(refusal) => {
            refusal.tell(line.spot, verdicts);
            None
        }
    }
}

/// `set-path %[path,regsub(^/api/,/)]` as `replace-path ^/api/(.*) /\1`, which does the same.
fn as_replacement(line: &Line) -> Option<Line> {
    if (line.word(0), line.word(1)) != ("http-request", "set-path") {
        return None;
    }
    let arguments = line
        .word(2)
        .strip_prefix("%[path,regsub(")?
        .strip_suffix(")]")?;
    let (regex, to) = arguments.split_once(',')?;
    let (regex, to) = (
        regex.trim_matches(['\'', '"']),
        to.trim_matches(['\'', '"']),
    );
    // One at the beginning, whose finds are not asked for.
    let is_plain = regex.starts_with('^')
        && !regex.contains(['(', '|', '$'])
        && !to.contains(['\\', ',', '%']);
    if !is_plain {
        return None;
    }
    let mut line = line.clone();
    let spot = line.words[2].spot;
    line.words[1].text = "replace-path".into();
    line.words[2].text = format!("{regex}(.*)");
    let text = format!("{to}\\1");
    line.words.insert(3, Word { text, spot });
    Some(line)
}

/// A rule with what is known of all its requests put into what it says.
fn with_known(line: &Line, known: Known<'_>) -> Line {
    let mut line = line.clone();
    for word in &mut line.words {
        if let Some(text) = known.put(&word.text) {
            word.text = text;
        }
    }
    line
}

/// Actions that are known, for suggestions.
const REQUEST: [&str; 17] = [
    "deny",
    "reject",
    "silent-drop",
    "allow",
    "redirect",
    "return",
    "tarpit",
    "auth",
    "set-header",
    "add-header",
    "del-header",
    "set-path",
    "replace-path",
    "replace-uri",
    "replace-header",
    "set-log-level",
    "capture",
];

struct Rule<'a> {
    line: &'a Line,
    words: &'a [Word],
    connection: Connection,
}

type Done = Result<Option<Deed>, Refusal>;

impl Rule<'_> {
    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &word.text)
    }

    fn at(&self, at: usize) -> Spot {
        self.words.get(at).map_or(self.line.spot, |word| word.spot)
    }

    /// The argument of a word of the rule: `status 429`.
    fn option(&self, name: &str) -> Option<&Word> {
        let at = self.words.iter().position(|word| word.text == name)?;
        self.words.get(at + 1)
    }

    /// What the rule changes of what later rules may look at.
    fn effects(&self) -> Vec<Effect> {
        let name = self.word(1).to_owned();
        let value = || template(self.word(2), self.line.spot).unwrap_or_default();
        let one = match (self.line.word(0), self.word(0)) {
            ("http-request", "set-header") => Effect::Set(name, value()),
            ("http-request", "add-header") => Effect::Add(name, value()),
            ("http-request", "del-header") => Effect::Remove(name),
            // What it is then is known for each request only.
            ("http-request", "replace-header") => {
                let value = format!("{{header:{name}}}");
                Effect::Set(name, value)
            }
            ("http-request", "set-path") => match template(&name, self.line.spot) {
                Ok(to) => Effect::Path(to),
                Err(_) => return Vec::new(),
            },
            ("http-request", "replace-path" | "replace-pathq" | "replace-uri") => {
                match self.replacement() {
                    Ok((regex, to)) => Effect::Replace { regex, to },
                    Err(_) => return Vec::new(),
                }
            }
            ("reqadd", text) => match text.split_once(':') {
                Some((name, value)) => Effect::Add(name.into(), literal(value.trim())),
                None => return Vec::new(),
            },
            ("reqdel" | "reqidel", text) => {
                let name = text.trim_start_matches('^').split(':').next();
                Effect::Remove(name.unwrap_or_default().to_owned())
            }
            _ => return Vec::new(),
        };
        vec![one]
    }

    /// The expression of `replace-path`, for the whole path, and what takes its place.
    fn replacement(&self) -> Result<(String, String), Refusal> {
        let (regex, to) = (self.word(1), self.word(2));
        super::patterns::checked(regex).map_err(|message| Refusal::new(self.at(1), message))?;
        if to.contains("\\0") {
            return Err(Refusal::new(
                self.at(2),
                "what the whole expression finds has no name here: put it into parentheses, and write \\1",
            ));
        }
        // What does not match goes: HAProxy replaces the whole path. \1 are the parentheses of the expression.
        Ok((whole(regex), captures(&template(to, self.at(2))?)))
    }

    /// `tcp-request connection reject`, and the other two kinds of them.
    fn connection(&self, verdicts: &mut Verdicts) -> Done {
        if Ruleset::of(self.line).is_none() {
            return Err(Refusal {
                at: self.at(0),
                message: format!("'tcp-request {}' is not translated", self.word(0)),
                hint: did_you_mean(self.word(0), ["connection", "session", "content"]),
            });
        }
        Ok(Some(match self.word(1) {
            "accept" => Deed::Done,
            "reject" => Deed::Answer(closed()),
            "silent-drop" => Deed::Answer(self.dropped(verdicts)),
            "track-sc0" | "track-sc1" | "track-sc2" => return self.tracked(2),
            other => {
                return Err(Refusal {
                    at: self.at(1),
                    message: format!("'tcp-request {} {other}' is not translated", self.word(0)),
                    hint: did_you_mean(other, ["accept", "reject", "silent-drop"]),
                });
            }
        }))
    }

    /// Clients are counted by their addresses; rules that ask how often they came say what follows.
    fn tracked(&self, at: usize) -> Done {
        if self.word(at) == "src" {
            return Ok(None);
        }
        let message = "a client is counted by its address: src";
        Err(Refusal::new(self.at(at), message))
    }

    fn dropped(&self, verdicts: &mut Verdicts) -> Table {
        let what = "the client is told that the connection is closed";
        verdicts.note(self.line.spot, what);
        closed()
    }

    fn request(&self, verdicts: &mut Verdicts) -> Done {
        let line = self.line.spot;
        let name = self.word(1);
        Ok(Some(match self.word(0) {
            "reject" => Deed::Answer(closed()),
            "silent-drop" => Deed::Answer(self.dropped(verdicts)),
            "deny" | "tarpit" | "return" if self.is_answer().is_err() => {
                self.is_answer()?;
                return Ok(None);
            }
            "deny" | "tarpit" if self.has_content() => {
                let usual = if self.word(0) == "tarpit" { 500 } else { 403 };
                Deed::Answer(self.reply(usual)?)
            }
            "deny" | "tarpit" => {
                let usual = if self.word(0) == "tarpit" { 500 } else { 403 };
                if self.word(0) == "tarpit" {
                    verdicts.note(line, "it is refused at once: no one is kept waiting");
                }
                let status = self.option("deny_status").or_else(|| self.option("status"));
                let status = match status {
                    None => usual,
                    Some(word) => status_of(word)?,
                };
                Deed::Answer(deny(status))
            }
            "allow" => Deed::Done,
            "auth" => Deed::Auth(self.option("realm").map(|word| word.text.clone())),
            "track-sc0" | "track-sc1" | "track-sc2" => return self.tracked(1),
            "redirect" => return self.redirect(&self.words[1..]),
            "return" => {
                let answer = self.reply(200)?;
                if answer.has("route") {
                    let what = "what stands behind the last slash is filled in decoded";
                    verdicts.note(line, what);
                }
                Deed::Answer(answer)
            }
            "set-header" => {
                Deed::Change(self.field("request", "set", verdicts)?.unwrap_or_default())
            }
            "add-header" => {
                Deed::Change(self.field("request", "add", verdicts)?.unwrap_or_default())
            }
            "del-header" => {
                if name.eq_ignore_ascii_case("x-forwarded-for") {
                    verdicts.note(
                        line,
                        "a client's X-Forwarded-For is never believed unless it is in `trust`",
                    );
                    return Ok(None);
                }
                if self.word(2) == "-m" {
                    return Err(Refusal::new(self.at(2), "a field is removed by its name"));
                }
                Deed::Change(removed("request", name))
            }
            "replace-header" => {
                if name.eq_ignore_ascii_case("host") {
                    let message = "a request has one Host: http-request set-header Host VALUE";
                    return Err(Refusal::new(self.at(1), message));
                }
                Deed::Change(self.replaced("request")?)
            }
            "set-path" => {
                let to = template(name, self.at(1))?;
                Deed::Change(Table::default().with("rewrite", Value::text(to)))
            }
            "replace-path" | "replace-pathq" | "replace-uri" => {
                let (regex, to) = self.replacement()?;
                if self.word(0) != "replace-path" {
                    verdicts.note(
                        line,
                        "the path alone is replaced: the query is not looked at, and stays",
                    );
                }
                let rules = Table::default().with(&format!("~{regex}"), Value::text(to));
                Deed::Change(Table::default().with("rewrite", Value::Table(rules)))
            }
            "set-log-level" if name == "silent" => {
                Deed::Change(Table::default().with("log", Value::plain(false)))
            }
            "use-service" if name != "prometheus-exporter" => {
                return Err(Refusal::new(
                    self.at(1),
                    "there are no services but one for Prometheus: an application does what scripts did",
                ));
            }
            action if is_idle(action) => {
                verdicts.without(line, format!("`{}`: {}", self.line.shown(), idle(action)));
                return Ok(None);
            }
            "set-uri" | "set-query" => {
                let message = format!(
                    "'http-request {}': the query stays as it comes; the path is changed by set-path and replace-path",
                    self.word(0)
                );
                return Err(Refusal::new(self.at(0), message));
            }
            action => {
                return Err(Refusal {
                    at: self.at(0),
                    message: format!("'http-request {action}' is not translated"),
                    hint: did_you_mean(action, REQUEST),
                });
            }
        }))
    }

    fn response(&self, verdicts: &mut Verdicts) -> Done {
        Ok(Some(match self.word(0) {
            "set-header" => {
                Deed::Change(self.field("response", "set", verdicts)?.unwrap_or_default())
            }
            "add-header" => {
                Deed::Change(self.field("response", "add", verdicts)?.unwrap_or_default())
            }
            "del-header" if self.word(2) != "-m" => Deed::Change(removed("response", self.word(1))),
            "replace-header" => Deed::Change(self.replaced("response")?),
            "allow" => return Ok(None),
            action if is_idle(action) => {
                verdicts.without(
                    self.line.spot,
                    format!("`{}`: {}", self.line.shown(), idle(action)),
                );
                return Ok(None);
            }
            action => {
                return Err(Refusal {
                    at: self.at(0),
                    message: format!("'{} {action}' is not translated", self.line.word(0)),
                    hint: did_you_mean(
                        action,
                        ["set-header", "add-header", "del-header", "replace-header"],
                    ),
                });
            }
        }))
    }
}

/// Actions without effect here.
fn is_idle(action: &str) -> bool {
    !idle(action).is_empty()
}

fn idle(action: &str) -> &'static str {
    match action {
        "capture" => "the access log holds what it holds; captures are not written",
        "set-log-level" => "the access log has no levels",
        "set-nice" => "all requests are equal",
        "set-tos" | "set-mark" => "packets are not marked",
        "use-service" => "counters for Prometheus are at /metrics of the admin pages",
        "cache-use" | "cache-store" => "answers are not cached",
        "disable-l7-retry" => "what may be sent twice is known by its method",
        "early-hint" => "an application sends its own",
        "wait-for-body" | "wait-for-handshake" => "requests are passed as they come",
        "normalize-uri" => "paths are compared in their normal form",
        "strict-mode" => "rules that cannot work are refused when the file is read",
        _ if action.starts_with("sc-") => "there are no stick tables",
        _ => "",
    }
}

/// An expression that finds the whole path, as HAProxy replaces all of it.
fn whole(regex: &str) -> String {
    let (head, tail) = (regex.starts_with('^'), regex.ends_with('$'));
    if head && (tail || regex.ends_with("(.*)") || regex.ends_with(".*")) && !regex.contains('|') {
        return regex.to_owned();
    }
    format!("^.*?(?:{regex}).*$")
}

/// `\1` is `{1}`.
fn captures(template: &str) -> String {
    let mut out = template.to_owned();
    for digit in 1..=9 {
        out = out.replace(&format!("\\{digit}"), &format!("{{{digit}}}"));
    }
    out
}
