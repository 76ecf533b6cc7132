//! ACLs: from `path_beg -i /static` to alternatives of questions (HAProxy's configuration manual, section 7).

use std::collections::BTreeMap;
use std::path::Path;

use super::super::logic::{Either, Excess, Literal, Subject, TooMany};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::patterns::{self, Match};
use super::words::{Line, Word};
use crate::suggest::did_you_mean;

/// A line of an ACL, without its name.
#[derive(Clone, Debug)]
pub(crate) struct Criterion {
    pub words: Vec<Word>,
    pub line: Spot,
}

/// The ACLs of a section by name; several lines of one name are alternatives.
pub(crate) type Acls = BTreeMap<String, Vec<Criterion>>;

/// What is known of the connection that a condition is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub tls: bool,
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
pub(crate) fn read(lines: &[Line], verdicts: &mut Verdicts) -> Acls {
    let mut acls = Acls::new();
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
            port: None,
        };
        match criterion.alternatives(plain, &mut |note| verdicts.note(line.spot, note)) {
            Ok(_) => verdicts.translated(line.spot),
            Err(refusal) => refusal.tell(line.spot, verdicts),
        }
        acls.entry(name.to_owned()).or_default().push(criterion);
    }
    acls
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
            term = Some(criterion.alternatives(connection, note)?);
            at += end;
        }
        let mut either = match term {
            Some(either) => either,
            None => named(text, words[at].spot, acls, connection)?,
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
fn named(name: &str, at: Spot, acls: &Acls, connection: Connection) -> Result<Either, Refusal> {
    if let Some(criteria) = acls.get(name) {
        let mut all = Either::never();
        for criterion in criteria {
            let one = criterion.alternatives(connection, &mut |_| {})?;
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
        _ => Err(Refusal {
            at,
            message: format!("no such ACL : '{name}'"),
            hint: did_you_mean(name, acls.keys().map(String::as_str)),
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

/// A sample fetch taken apart: `req.hdr(host),lower` with its match.
struct Fetch {
    name: String,
    arg: Option<String>,
    how: Match,
    fold: bool,
    counted: bool,
    /// Of a field, the whole value and not each element of a list.
    whole: bool,
}

/// Endings of the old names, which say how to match.
const ENDINGS: [(&str, Match); 7] = [
    ("_beg", Match::Begins),
    ("_dir", Match::Dir),
    ("_dom", Match::Domain),
    ("_end", Match::Ends),
    ("_reg", Match::Regex),
    ("_sub", Match::Contains),
    ("_len", Match::Length),
];

impl Fetch {
    fn read(word: &Word) -> Result<Self, Refusal> {
        let text = word.text.as_str();
        let split = text.find([',', '(']).unwrap_or(text.len());
        let mut name = text[..split].to_owned();
        let mut rest = &text[split..];
        let mut arg = None;
        if let Some(inner) = rest.strip_prefix('(') {
            let end = inner
                .find(')')
                .ok_or_else(|| Refusal::new(word.spot, "a ) closes the arguments"))?;
            arg = Some(inner[..end].trim_matches(['\'', '"']).to_owned());
            rest = &inner[end + 1..];
        }
        let mut fold = false;
        for converter in rest.split(',').filter(|c| !c.is_empty()) {
            match converter {
                "lower" => fold = true,
                "url_dec" | "url_dec()" | "normalize" => {}
                other => {
                    return Err(Refusal::new(
                        word.spot,
                        format!("the converter '{other}' is not translated"),
                    ));
                }
            }
        }
        let mut how = Match::Exact;
        for (ending, ends) in ENDINGS {
            if let Some(base) = name.strip_suffix(ending) {
                (name, how) = (base.to_owned(), ends);
                break;
            }
        }
        let mut counted = false;
        if let Some(base) = name.strip_suffix("_cnt") {
            (name, counted) = (base.to_owned(), true);
        }
        let whole = matches!(name.as_str(), "req.fhdr" | "fhdr");
        let name = match name.as_str() {
            "req.hdr" | "req.fhdr" | "reqhdr" | "fhdr" | "shdr" => "hdr".into(),
            "req.cook" | "cookie" => "cook".into(),
            "url_param" => "urlp".into(),
            "req_ssl_sni" | "req.ssl_sni" => "sni".into(),
            "req_ssl_hello_type" | "req.ssl_hello_type" => "hello".into(),
            "ssl_fc_sni" => "sni".into(),
            "req.ver" | "req_ver" => "version".into(),
            "req.method" => "method".into(),
            _ => name,
        };
        Ok(Self {
            name,
            arg,
            how,
            fold,
            counted,
            whole,
        })
    }
}

/// What a criterion may begin with, for suggestions.
const KNOWN: [&str; 24] = [
    "path",
    "path_beg",
    "path_end",
    "path_dir",
    "path_sub",
    "path_reg",
    "hdr",
    "hdr_beg",
    "hdr_end",
    "hdr_dom",
    "hdr_sub",
    "hdr_reg",
    "hdr_cnt",
    "method",
    "src",
    "url",
    "url_beg",
    "url_end",
    "base",
    "urlp",
    "cook",
    "ssl_fc",
    "dst_port",
    "always_true",
];

impl Criterion {
    /// What it asks. `note` is told what is worth knowing.
    pub fn alternatives(
        &self,
        connection: Connection,
        note: &mut dyn FnMut(&'static str),
    ) -> Result<Either, Refusal> {
        let Some(first) = self.words.first() else {
            return Err(Refusal::new(self.line, "a criterion is missing"));
        };
        let mut fetch = Fetch::read(first)?;
        let values = self.values(&mut fetch)?;
        let words: Vec<&str> = values.iter().map(|value| value.text.as_str()).collect();
        if let Some(excess) = Excess::read(&fetch.name, fetch.arg.as_deref(), &words, first.spot) {
            return Ok(literal(Subject::Excess(excess?), Vec::new()));
        }
        let text = |note: &mut dyn FnMut(&'static str), subject: Subject, in_list: bool| {
            if matches!(subject, Subject::Path) && fetch.name == "url" {
                note("the path alone is compared, without the query");
            }
            text_question(subject, &fetch, &values, in_list)
        };
        match fetch.name.as_str() {
            "path" => text(note, Subject::Path, false),
            "pathq" | "url" | "capture.req.uri" => {
                let begins = fetch.how == Match::Begins;
                if !begins || values.iter().any(|value| value.text.contains('?')) {
                    let message = "this compares the query, too, and routes compare the path: write path_beg and the like, and urlp()";
                    return Err(Refusal::new(first.spot, message));
                }
                text(note, Subject::Path, false)
            }
            "base" => base(&fetch, &values, first.spot),
            "hdr" => {
                let name = fetch
                    .arg
                    .clone()
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| Refusal::new(first.spot, "which field? hdr(NAME)"))?;
                let (name, which) = name.split_once(',').unwrap_or((&name, ""));
                let (name, which) = (name.trim().to_owned(), which.trim());
                let host = name.eq_ignore_ascii_case("host");
                // There is one Host.
                if !(which.is_empty() || host && matches!(which, "1" | "-1")) {
                    return Err(Refusal::new(
                        first.spot,
                        format!("one value of several is not picked out: hdr({name}) looks at all"),
                    ));
                }
                if fetch.counted {
                    return counted(Subject::Header(name), &values, first.spot);
                }
                let port = values.iter().any(|value| value.text.contains(':'));
                if host && !port && fetch.how != Match::Found {
                    text(note, Subject::Host, false)
                } else {
                    if fetch.how == Match::Regex && !fetch.whole {
                        note(
                            "each element of the field is compared, and here every comma ends one, also within quotes; \
                             req.fhdr() compares whole values",
                        );
                    }
                    text(note, Subject::Header(name), !fetch.whole)
                }
            }
            "urlp" | "cook" => {
                let name = fetch
                    .arg
                    .clone()
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| Refusal::new(first.spot, "which name? (NAME)"))?;
                let subject = if fetch.name == "urlp" {
                    Subject::Query(name)
                } else {
                    Subject::Cookie(name)
                };
                if fetch.counted {
                    return counted(subject, &values, first.spot);
                }
                text(note, subject, false)
            }
            "method" => Ok(literal(
                Subject::Method,
                values
                    .iter()
                    .map(|value| {
                        if fetch.fold {
                            value.text.to_uppercase()
                        } else {
                            value.text.clone()
                        }
                    })
                    .collect(),
            )),
            "sni" => {
                fetch.fold = true;
                text_question(Subject::Sni, &fetch, &values, false)
            }
            "hello" => {
                if values.len() != 1 || values[0].text != "1" {
                    let message = "1 is what a client says first: req.ssl_hello_type 1";
                    return Err(Refusal::new(first.spot, message));
                }
                note("a connection counts as one of TLS when it says which name it wants");
                Ok(literal(Subject::Sni, vec!["*".into()]))
            }
            "http_auth" => match &fetch.arg {
                Some(list) if values.is_empty() => {
                    Ok(literal(Subject::Users(list.clone()), Vec::new()))
                }
                _ => Err(Refusal::new(first.spot, "which list? http_auth(LIST)")),
            },
            "src" => networks(&values),
            "always_true" => Ok(Either::always()),
            "always_false" => Ok(Either::never()),
            "bool" | "int" if fetch.arg.is_some() => {
                let value = fetch.arg.as_deref().unwrap_or_default();
                Ok(Either::constant(!matches!(value, "0" | "false" | "")))
            }
            "ssl_fc" | "ssl_fc_has_sni" => constant(connection.tls, &values, first.spot),
            "dst_port" => match connection.port {
                Some(port) => numbers(u64::from(port), &values, first.spot).map(Either::constant),
                None => Ok(Either::never()),
            },
            other => Err(Refusal {
                at: first.spot,
                message: format!("'{other}' is not translated as a condition"),
                hint: did_you_mean(&first.text, KNOWN),
            }),
        }
    }

    /// Takes flags off the words, and gives the values. `-m` changes how they are compared.
    fn values(&self, fetch: &mut Fetch) -> Result<Vec<Word>, Refusal> {
        let mut values = Vec::new();
        let mut words = self.words.iter().skip(1);
        while let Some(word) = words.next() {
            let argument = |next: Option<&Word>| {
                next.cloned().ok_or_else(|| {
                    Refusal::new(word.spot, format!("something follows {}", word.text))
                })
            };
            match word.text.as_str() {
                "-i" => fetch.fold = true,
                "-n" | "-M" => {}
                "-u" => {
                    argument(words.next())?;
                }
                "-m" => {
                    let method = argument(words.next())?;
                    fetch.how = Match::named(&method.text).ok_or_else(|| {
                        Refusal::new(
                            method.spot,
                            format!("'-m {}' is not translated", method.text),
                        )
                    })?;
                }
                "-f" => {
                    let file = argument(words.next())?;
                    values.extend(from_file(&file)?);
                }
                "--" => {
                    values.extend(words.cloned());
                    break;
                }
                flag if flag.starts_with('-') && values.is_empty() && flag.len() == 2 => {
                    return Err(Refusal::new(
                        word.spot,
                        format!("'{flag}' is no flag of an ACL"),
                    ));
                }
                _ => {
                    values.push(word.clone());
                    // Flags stand before the values.
                    values.extend(words.cloned());
                    break;
                }
            }
        }
        Ok(values)
    }
}

/// The patterns of a file: one a line, `#` begins a comment line.
fn from_file(word: &Word) -> Result<Vec<Word>, Refusal> {
    let text = std::fs::read_to_string(Path::new(&word.text)).map_err(|error| {
        Refusal::new(word.spot, format!("cannot read '{}': {error}", word.text))
    })?;
    let lines = text.lines().map(|line| line.trim_matches([' ', '\t']));
    Ok(lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| Word {
            text: line.to_owned(),
            spot: word.spot,
        })
        .collect())
}

fn text_question(
    subject: Subject,
    fetch: &Fetch,
    values: &[Word],
    in_list: bool,
) -> Result<Either, Refusal> {
    if fetch.how == Match::Found {
        if matches!(subject, Subject::Path | Subject::Host | Subject::Method) {
            return Ok(Either::always());
        }
        return Ok(literal(subject, vec!["*".into()]));
    }
    // Hosts and server names are compared without case here; only paths have a switch for it.
    let has_switch = subject == Subject::Path;
    let folded = matches!(subject, Subject::Host | Subject::Sni);
    let inline_fold = fetch.fold && !has_switch && !folded;
    let mut list = Vec::new();
    for value in values {
        // A path is compared decoded.
        let decoded = match subject {
            Subject::Path => decoded(&value.text, fetch.how == Match::Regex)
                .map_err(|message| Refusal::new(value.spot, message))?,
            _ => None,
        };
        let text = decoded.as_deref().unwrap_or(&value.text);
        let pattern = patterns::pattern(fetch.how, text, inline_fold, in_list)
            .map_err(|message| Refusal::new(value.spot, message))?;
        match pattern {
            Some(pattern) => list.push(pattern),
            // Everything matches that is there.
            None => match subject {
                Subject::Header(_) | Subject::Query(_) | Subject::Cookie(_) => {
                    return Ok(literal(subject, vec!["*".into()]));
                }
                _ => return Ok(Either::always()),
            },
        }
    }
    if list.is_empty() {
        return Ok(Either::never());
    }
    Ok(Either::of(Literal {
        subject,
        patterns: list,
        fold: has_switch && fetch.fold,
        not: false,
    }))
}

/// A pattern without its percent-encoding, if it has any.
fn decoded(text: &str, is_regex: bool) -> Result<Option<String>, &'static str> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    let mut encoded = false;
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| Some(char::from(*after.get(at)?).to_digit(16)? as u8);
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                (encoded, rest) = (true, &after[2..]);
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    if !encoded {
        return Ok(None);
    }
    if is_regex {
        return Err("a path is compared decoded: write the characters that % stands for");
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| "a path is compared decoded, and this is no text then")
}

/// Host and path in one: `base_beg www.example.com/static`.
fn base(fetch: &Fetch, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    let mut all = Either::never();
    for value in values {
        let (host, path) = value
            .text
            .split_at(value.text.find('/').unwrap_or(value.text.len()));
        let path = match (fetch.how, path) {
            (Match::Exact | Match::Begins, path) if !host.is_empty() && !path.is_empty() => path,
            _ => {
                return Err(Refusal::new(
                    value.spot,
                    "only host and path together are translated: HOST/PATH",
                ));
            }
        };
        let host = text_question(
            Subject::Host,
            &Fetch {
                name: "hdr".into(),
                arg: None,
                how: Match::Exact,
                fold: true,
                counted: false,
                whole: true,
            },
            &[Word {
                text: host.into(),
                spot: value.spot,
            }],
            false,
        )?;
        let path = text_question(
            Subject::Path,
            fetch,
            &[Word {
                text: path.into(),
                spot: value.spot,
            }],
            false,
        )?;
        let both = host.and(&path).map_err(Refusal::too_many(at))?;
        all = all.or(both).map_err(Refusal::too_many(at))?;
    }
    Ok(all)
}

/// How often a field is there: 0, or at least once.
fn counted(subject: Subject, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    let there = literal(subject, vec!["*".into()]);
    match (numbers(0, values, at)?, numbers(1, values, at)?) {
        (false, true) => Ok(there),
        (true, false) => there.negated().map_err(Refusal::too_many(at)),
        _ => Err(Refusal::new(
            at,
            "a count is translated when it asks for none, or for one at least",
        )),
    }
}

fn constant(value: bool, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    if values.is_empty() {
        return Ok(Either::constant(value));
    }
    numbers(u64::from(value), values, at).map(Either::constant)
}

/// Whether a number is among those asked for: `80`, `80:90`, `gt 0`.
fn numbers(number: u64, values: &[Word], at: Spot) -> Result<bool, Refusal> {
    let mut operator = "eq";
    let mut held = false;
    if values.is_empty() {
        return Err(Refusal::new(at, "a number is missing"));
    }
    for value in values {
        let wrong = |_| Refusal::new(value.spot, format!("'{}' is no number", value.text));
        match value.text.as_str() {
            op @ ("eq" | "ge" | "gt" | "le" | "lt") => operator = op,
            "true" => held |= number == 1,
            "false" => held |= number == 0,
            text => {
                if let Some((low, high)) = text.split_once(':') {
                    let low: u64 = if low.is_empty() {
                        0
                    } else {
                        low.parse().map_err(wrong)?
                    };
                    let high: u64 = if high.is_empty() {
                        u64::MAX
                    } else {
                        high.parse().map_err(wrong)?
                    };
                    held |= (low..=high).contains(&number);
                    continue;
                }
                let wanted: u64 = text.parse().map_err(wrong)?;
                held |= match operator {
                    "ge" => number >= wanted,
                    "gt" => number > wanted,
                    "le" => number <= wanted,
                    "lt" => number < wanted,
                    _ => number == wanted,
                };
            }
        }
    }
    Ok(held)
}

fn networks(values: &[Word]) -> Result<Either, Refusal> {
    let mut list = Vec::new();
    for value in values {
        list.push(patterns::network(&value.text).ok_or_else(|| {
            Refusal::new(
                value.spot,
                format!("'{}' is no address or network", value.text),
            )
        })?);
    }
    if list.is_empty() {
        return Ok(Either::never());
    }
    Ok(literal(Subject::Source, list))
}
