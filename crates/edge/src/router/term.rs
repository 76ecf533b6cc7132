//! The conditions of one route, compiled.

use std::borrow::Cow;
use std::cell::OnceCell;

use ipnet::IpNet;
use tandem_http::{ClientCertificate, Request};
use tandem_model::{Conditions, Field, Pattern, Presence};

use super::pattern::PatternSet;
use super::query;

/// What the routes of one level ask of a request: all terms must hold.
pub(super) struct Level {
    terms: Vec<Term>,
    host: Vec<Pattern>,
    path: Vec<Pattern>,
    fold: bool,
}

/// A list by which rules can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Host,
    Path,
    FoldedPath,
}

/// One condition.
enum Term {
    Method(Vec<String>),
    Host(PatternSet),
    Path(PatternSet),
    FoldedPath(PatternSet),
    Source(Vec<IpNet>),
    Header(String, Values),
    Cookie(String, Values),
    Query(String, Values),
    /// A server has handed the request over.
    Internal,
    /// The client has a certificate.
    ClientCert(Values),
    /// None of these holds.
    Not(Vec<Term>),
}

enum Values {
    Present,
    OneOf(PatternSet),
}

impl Level {
    /// Compiles the conditions of a route. The error names what cannot be compiled.
    pub(super) fn new(when: &Conditions) -> Result<Self, String> {
        Ok(Self {
            terms: terms(when, false)?,
            host: when.host.clone(),
            path: when.path.clone(),
            fold: when.ignore_case,
        })
    }

    /// The lists by which a rule of this level can be found: a request it matches matches a pattern of each.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Key, &[Pattern])> {
        let path = if self.fold {
            Key::FoldedPath
        } else {
            Key::Path
        };
        [(Key::Host, &self.host[..]), (path, &self.path[..])]
            .into_iter()
            .filter(|(_, patterns)| !patterns.is_empty())
    }

    /// Whether a path that it asks for has this character in it.
    pub(super) fn names(&self, c: char) -> bool {
        self.path
            .iter()
            .any(|pattern| pattern.to_string().contains(c))
    }

    /// Whether it asks for a host or a path, in one list of them, and for nothing else.
    pub(super) fn is_one_list(&self) -> bool {
        self.terms.len() == 1 && self.keys().count() == 1
    }

    /// Whether all terms hold.
    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        self.terms.iter().all(|term| term.holds(subject))
    }
}

/// The terms of conditions, what costs least first. `ignore-case` holds for what is under `not` too.
fn terms(when: &Conditions, fold: bool) -> Result<Vec<Term>, String> {
    let fold = fold || when.ignore_case;
    let mut terms = Vec::new();
    if when.internal {
        terms.push(Term::Internal);
    }
    if let Some(presence) = &when.client_cert {
        terms.push(Term::ClientCert(Values::new(presence)?));
    }
    if !when.method.is_empty() {
        terms.push(Term::Method(when.method.clone()));
    }
    if !when.host.is_empty() {
        terms.push(Term::Host(PatternSet::new(&when.host, true)?));
    }
    if !when.path.is_empty() {
        let set = PatternSet::new(&when.path, fold)?;
        terms.push(if fold {
            Term::FoldedPath(set)
        } else {
            Term::Path(set)
        });
    }
    if !when.source.is_empty() {
        terms.push(Term::Source(when.source.clone()));
    }
    named(&mut terms, &when.header, Term::Header)?;
    named(&mut terms, &when.cookie, Term::Cookie)?;
    named(&mut terms, &when.query, Term::Query)?;
    if let Some(not) = &when.not {
        terms.push(Term::Not(self::terms(not, fold)?));
    }
    Ok(terms)
}

fn named(
    terms: &mut Vec<Term>,
    field: &Field,
    term: fn(String, Values) -> Term,
) -> Result<(), String> {
    for (name, presence) in field {
        terms.push(term(name.clone(), Values::new(presence)?));
    }
    Ok(())
}

impl Term {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let request = subject.request;
        match self {
            Self::Method(methods) => methods.iter().any(|m| m.as_bytes() == request.method()),
            Self::Host(set) => set.matches(subject.host()),
            Self::Path(set) => set.matches(subject.path()),
            Self::FoldedPath(set) => set.matches(subject.folded_path()),
            Self::Source(nets) => {
                let client = request.client.to_canonical();
                nets.iter().any(|net| net.contains(&client))
            }
            Self::Header(name, values) => request
                .fields()
                .filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
                .any(|(_, value)| values.has(value)),
            Self::Cookie(name, values) => {
                request.cookie(name).is_some_and(|value| values.has(value))
            }
            Self::Query(name, values) => {
                query::values(request.query(), name).any(|value| values.has(&value))
            }
            Self::Internal => request.is_handed(),
            Self::ClientCert(values) => request
                .certificate
                .is_some_and(|certificate| values.has_name(certificate)),
            Self::Not(terms) => !terms.iter().any(|term| term.holds(subject)),
        }
    }
}

impl Values {
    fn new(presence: &Presence) -> Result<Self, String> {
        Ok(match presence {
            Presence::Present => Self::Present,
            Presence::OneOf(patterns) => Self::OneOf(PatternSet::new(patterns, false)?),
        })
    }

    /// A certificate without a name is one, but matches no pattern.
    fn has_name(&self, certificate: &ClientCertificate) -> bool {
        match (self, &certificate.common_name) {
            (Self::Present, _) => true,
            (_, Some(name)) => self.has(name.as_bytes()),
            (_, None) => false,
        }
    }

    fn has(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::OneOf(set) => set.matches(value),
        }
    }
}

/// A request as terms see it: what several of them need is worked out once.
pub(super) struct Subject<'a> {
    request: &'a Request<'a>,
    path: &'a [u8],
    host: OnceCell<Cow<'a, [u8]>>,
    folded_path: OnceCell<Cow<'a, [u8]>>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(request: &'a Request<'a>) -> Self {
        Self::at(request, request.path())
    }

    /// As if the request were for another path, in its normal form.
    pub(super) fn at(request: &'a Request<'a>, path: &'a [u8]) -> Self {
        Self {
            request,
            path,
            host: OnceCell::new(),
            folded_path: OnceCell::new(),
        }
    }

    /// The host without port, in lower case, without the dot that a fully qualified name may end with.
    pub(super) fn host(&self) -> &[u8] {
        self.host.get_or_init(|| {
            let host = self.request.host();
            fold(host.strip_suffix(b".").unwrap_or(host))
        })
    }

    pub(super) fn path(&self) -> &[u8] {
        self.path
    }

    /// The path in lower case.
    pub(super) fn folded_path(&self) -> &[u8] {
        self.folded_path.get_or_init(|| fold(self.path))
    }
}

fn fold(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().any(u8::is_ascii_uppercase) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}
