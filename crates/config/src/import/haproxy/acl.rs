//! ACLs: from `path_beg -i /static` to alternatives of questions (HAProxy's configuration manual, section 7).

mod criterion;
mod questions;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::logic::{Either, Literal, Subject, TooMany};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::sections::Section;
use super::table::{BACKEND, FRONTEND, LISTEN};
use super::variables::Vars;
use super::words::{Line, Word};
use crate::suggest::did_you_mean;

/// A line of an ACL, without its name.
#[derive(Clone, Debug)]
pub(crate) struct Criterion {
    pub words: Vec<Word>,
    pub line: Spot,
}

/// The ACLs of a section by name; several lines of one name are alternatives.
pub(crate) type Named = BTreeMap<String, Vec<Criterion>>;

/// What the conditions of a section may ask for by name.
#[derive(Clone, Debug)]
pub(crate) struct Acls {
    pub named: Rc<Named>,
    /// The variables of the file.
    pub vars: Rc<Vars>,
    /// The name of the section, if it is a frontend.
    pub frontend: Option<Rc<str>>,
    /// Its name, if it is a backend.
    pub backend: Option<Rc<str>>,
}

/// What is known of the connection that a condition is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub tls: bool,
    /// Clients are asked for a certificate.
    pub asks_clients: bool,
    /// It is asked when the answer comes: of the request HAProxy knows no head then.
    pub is_answer: bool,
    /// The port, if all its addresses have the same.
    pub port: Option<u16>,
}

/// Why a condition cannot be translated, and where.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub at: Spot,
    pub message: String,
    pub hint: Option<String>,
}

impl Refusal {
    pub fn new(at: Spot, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            hint: None,
        }
    }

    fn too_many(at: Spot) -> impl FnOnce(TooMany) -> Self {
        move |TooMany| Self::new(at, "this condition has too many alternatives")
    }

    pub fn tell(self, line: Spot, verdicts: &mut Verdicts) {
        verdicts.refuse_hint(line, self.at, self.message, self.hint);
    }
}

/// Reads the `acl` lines of a section.
pub(crate) fn read(section: &Section, vars: &Rc<Vars>, verdicts: &mut Verdicts) -> Acls {
    let lines = &section.lines;
    let name = |kinds| (section.kind & kinds != 0).then(|| section.name.as_str().into());
    let acls = Acls {
        named: Rc::new(named_of(lines)),
        vars: vars.clone(),
        frontend: name(FRONTEND | LISTEN),
        backend: name(BACKEND | LISTEN),
    };
    for line in lines.iter().filter(|line| line.word(0) == "acl") {
        let name = line.word(1);
        let valid = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        if name.is_empty() || !name.chars().all(valid) {
            verdicts.refuse(
                line.spot,
                line.at(1),
                format!("'{name}' is no name of an ACL: letters, digits, and - _ . : make one"),
            );
            continue;
        }
        if matches!(name, "or" | "||") {
            verdicts.refuse(
                line.spot,
                line.at(1),
                format!("'{name}' cannot name an ACL"),
            );
            continue;
        }
        let criterion = Criterion {
            words: line.from(2).to_vec(),
            line: line.spot,
        };
        // Each is looked at once by itself, so that a slip in an ACL that nobody uses is told too.
        let plain = Connection {
            tls: false,
            asks_clients: false,
            is_answer: false,
            port: None,
        };
        let note = &mut |note| verdicts.note(line.spot, note);
        match criterion.alternatives(None, &acls, plain, note) {
            Ok(_) => verdicts.translated(line.spot),
            Err(refusal) => refusal.tell(line.spot, verdicts),
        }
    }
    acls
}

/// The ACLs of some lines, as they are.
pub(crate) fn named_of(lines: &[Line]) -> Named {
    let mut named = Named::new();
    for line in lines.iter().filter(|line| line.word(0) == "acl") {
        let criterion = Criterion {
            words: line.from(2).to_vec(),
            line: line.spot,
        };
        let name = line.word(1).to_owned();
        named.entry(name).or_default().push(criterion);
    }
    named
}

/// Reads a condition, the words after `if` or `unless`. `note` is told what is worth knowing.
pub(crate) fn condition(
    words: &[Word],
    unless: bool,
    acls: &Acls,
    connection: Connection,
    whole: Spot,
    note: &mut dyn FnMut(&'static str),
) -> Result<Either, Refusal> {
    let mut all = Either::never();
    let mut together = Either::always();
    let mut at = 0;
    let mut empty = true;
    while let Some(word) = words.get(at) {
        let many = || Refusal::too_many(word.spot);
        if matches!(word.text.as_str(), "or" | "||") {
            if empty {
                return Err(Refusal::new(word.spot, "a term stands before 'or'"));
            }
            all = all.or(together).map_err(many())?;
            together = Either::always();
            (empty, at) = (true, at + 1);
            continue;
        }
        let mut not = false;
        let mut text = word.text.as_str();
        while let Some(rest) = text.strip_prefix('!') {
            (not, text) = (!not, rest);
        }
        let mut term = if text.is_empty() && not {
            // `! name` and `! { ... }`.
            at += 1;
            let Some(next) = words.get(at) else {
                return Err(Refusal::new(word.spot, "a term follows the !"));
            };
            text = next.text.as_str();
            None
        } else {
            None
        };
        if text == "{" {
            let end = words[at..]
                .iter()
                .position(|word| word.text == "}")
                .ok_or_else(|| Refusal::new(word.spot, "a } closes the condition"))?;
            let inside = &words[at + 1..at + end];
            let criterion = Criterion {
                words: inside.to_vec(),
                line: whole,
            };
            term = Some(criterion.alternatives(Some(word.spot), acls, connection, note)?);
            at += end;
        }
        let mut either = match term {
            Some(either) => either,
            None => named(text, words[at].spot, acls, connection, note)?,
        };
        if not {
            either = either.negated().map_err(many())?;
        }
        together = together.and(&either).map_err(many())?;
        (empty, at) = (false, at + 1);
    }
    if empty {
        return Err(Refusal::new(whole, "a condition follows 'if' and 'or'"));
    }
    let all = all.or(together).map_err(Refusal::too_many(whole))?;
    if unless {
        all.negated().map_err(Refusal::too_many(whole))
    } else {
        Ok(all)
    }
}

/// An ACL by its name: one of the section, or one that is always there (section 7.4 of the manual).
fn named(
    name: &str,
    at: Spot,
    acls: &Acls,
    connection: Connection,
    note: &mut dyn FnMut(&'static str),
) -> Result<Either, Refusal> {
    if let Some(criteria) = acls.named.get(name) {
        let mut all = Either::never();
        for criterion in criteria {
            // The rest is told where the ACL stands.
            let note = &mut |what| {
                if what == criterion::NEVER {
                    note(what);
                }
            };
            let one = criterion.alternatives(Some(at), acls, connection, note)?;
            all = all.or(one).map_err(Refusal::too_many(at))?;
        }
        return Ok(all);
    }
    let methods = |list: &[&str]| {
        Ok(literal(
            Subject::Method,
            list.iter().map(|&m| m.to_owned()).collect(),
        ))
    };
    match name {
        "TRUE" | "HTTP" | "REQ_CONTENT" | "WAIT_END" => Ok(Either::always()),
        "FALSE" => Ok(Either::never()),
        "LOCALHOST" => Ok(literal(
            Subject::Source,
            vec!["127.0.0.0/8".into(), "::1/128".into()],
        )),
        "METH_GET" => methods(&["GET", "HEAD"]),
        "METH_HEAD" => methods(&["HEAD"]),
        "METH_POST" => methods(&["POST"]),
        "METH_PUT" => methods(&["PUT"]),
        "METH_DELETE" => methods(&["DELETE"]),
        "METH_OPTIONS" => methods(&["OPTIONS"]),
        "METH_CONNECT" => methods(&["CONNECT"]),
        "METH_TRACE" => methods(&["TRACE"]),
        "HTTP_URL_SLASH" => Ok(literal(Subject::Path, vec!["/*".into()])),
        "HTTP_URL_STAR" => Ok(literal(Subject::Path, vec!["~^\\*$".into()])),
        "HTTP_CONTENT" => Ok(literal(
            Subject::Header("Content-Length".into()),
            vec!["~[1-9]".into()],
        )),
        "HTTP_1.0" | "HTTP_1.1" | "HTTP_2.0" => Err(Refusal::new(
            at,
            "routes do not ask which version of HTTP a client speaks",
        )),
        _ => Err(Refusal {
            at,
            message: format!("no such ACL : '{name}'"),
            hint: did_you_mean(name, acls.named.keys().map(String::as_str)),
        }),
    }
}

fn literal(subject: Subject, patterns: Vec<String>) -> Either {
    Either::of(Literal {
        subject,
        patterns,
        fold: false,
        not: false,
    })
}
