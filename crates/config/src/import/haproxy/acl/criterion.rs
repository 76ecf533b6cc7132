//! One criterion: what it looks at, and how that is compared.

use std::cell::RefCell;

use super::super::super::logic::{Either, Excess, Subject};
use super::super::super::sources::Spot;
use super::super::checks::STATUSES;
use super::super::maps;
use super::super::patterns::Match;
use super::super::variables::Setting;
use super::super::words::Word;
use super::questions::{
    base, constant, counted, fixed, from_file, lengths, networks, numbers, text_question, used,
};
use super::{Acls, Connection, Criterion, Refusal, literal};
use crate::suggest::did_you_mean;

/// A sample fetch taken apart: `req.hdr(host),lower` with its match.
pub(super) struct Fetch {
    pub name: String,
    pub arg: Option<String>,
    pub how: Match,
    pub fold: bool,
    pub counted: bool,
    /// Of a field, the whole value and not each element of a list.
    pub whole: bool,
    /// It is made small or large before it is compared.
    pub case: Option<Case>,
}

/// What a converter has made of the letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
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
        let mut case = None;
        // There is one Host, and its port is not compared.
        let is_host = name.ends_with("hdr")
            && arg.as_deref().is_some_and(|arg| {
                arg.split(',')
                    .next()
                    .is_some_and(|arg| arg.trim().eq_ignore_ascii_case("host"))
            });
        let without_port = ["field(1,:)", "host_only", "host_only()"];
        let rest = without_port
            .iter()
            .filter(|_| is_host)
            .fold(rest.to_owned(), |rest, port| {
                rest.replacen(&format!(",{port}"), "", 1)
            });
        for converter in rest.split(',').filter(|c| !c.is_empty()) {
            match converter {
                "lower" => (fold, case) = (true, Some(Case::Lower)),
                "upper" => (fold, case) = (true, Some(Case::Upper)),
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
            "req.hdr" | "req.fhdr" | "reqhdr" | "fhdr" => "hdr".into(),
            "res.hdr" | "res.fhdr" | "shdr" => "res.hdr".into(),
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
            // Hosts are compared without case, whatever is written.
            case: case.filter(|_| !is_host),
        })
    }
}

/// What is told of such a condition in a rule for answers.
pub(super) const NEVER: &str = "HAProxy does not know this of the request when the answer comes, and warns of it: it never holds; a variable \
     keeps it, `http-request set-var(txn.NAME)`";

/// What is of the head of a request, which HAProxy has no more when the answer comes.
fn is_of_head(fetch: &str) -> bool {
    matches!(
        fetch,
        "path" | "pathq" | "url" | "base" | "hdr" | "urlp" | "cook" | "query" | "http_auth"
    )
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
    /// What it asks, `at` a place of the file. `note` is told what is worth knowing.
    pub fn alternatives(
        &self,
        at: Option<Spot>,
        acls: &Acls,
        connection: Connection,
        note: &mut dyn FnMut(&'static str),
    ) -> Result<Either, Refusal> {
        let Some(first) = self.words.first() else {
            return Err(Refusal::new(self.line, "a criterion is missing"));
        };
        if let Some(words) = maps::found(&self.words) {
            let asked = Self {
                words: words?,
                line: self.line,
            };
            return asked.alternatives(at, acls, connection, note);
        }
        let mut fetch = Fetch::read(first)?;
        let mut values = self.values(&mut fetch)?;
        if fetch.how == Match::Length {
            values = lengths(&values)?;
        }
        if let Some(case) = fetch.case.filter(|_| fetch.how != Match::Regex) {
            let never = |value: &&Word| match case {
                Case::Lower => value.text.chars().any(char::is_uppercase),
                Case::Upper => value.text.chars().any(char::is_lowercase),
            };
            if let Some(value) = values.iter().find(never).filter(|_| !self.is_folded()) {
                let message = format!("'{}' is never found behind this converter", value.text);
                return Err(Refusal::new(value.spot, message));
            }
        }
        if connection.is_answer && is_of_head(&fetch.name) {
            note(NEVER);
            return Ok(Either::never());
        }
        let words: Vec<&str> = values.iter().map(|value| value.text.as_str()).collect();
        if let Some(excess) = Excess::read(&fetch.name, fetch.arg.as_deref(), &words, first.spot) {
            return Ok(literal(Subject::Excess(excess?), Vec::new()));
        }
        let text = |note: &mut dyn FnMut(&'static str), subject: Subject, in_list: bool| {
            if fetch.how == Match::Length && matches!(subject, Subject::Path) {
                note("the length is that of the path in its normal form, decoded");
            }
            let is_abnormal = |value: &Word| value.text.contains("..") || value.text.contains("//");
            if matches!(subject, Subject::Path)
                && !matches!(fetch.how, Match::Regex | Match::Length)
                && values.iter().any(is_abnormal)
            {
                note(
                    "paths are compared in their normal form: segments of dots and second slashes are gone from it",
                );
            }
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
                if name.contains(',') {
                    let message =
                        "parameters are those behind the ?, parted by &, of just this name";
                    return Err(Refusal::new(first.spot, message));
                }
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
            "method" if fetch.how == Match::Found => Ok(Either::always()),
            "method" if fetch.how != Match::Exact => {
                let message = "a method is named as a whole: method GET POST";
                Err(Refusal::new(first.spot, message))
            }
            "method" => {
                let text = |value: &Word| {
                    if fetch.fold {
                        value.text.to_uppercase()
                    } else {
                        value.text.clone()
                    }
                };
                let list: Vec<String> = values.iter().map(text).collect();
                Ok(if list.is_empty() {
                    Either::never()
                } else {
                    literal(Subject::Method, list)
                })
            }
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
            "src" if fetch.how == Match::Found => Ok(Either::always()),
            "src" if !matches!(fetch.how, Match::Exact | Match::Number) => {
                let message = "an address is compared with networks: src 10.0.0.0/8";
                Err(Refusal::new(first.spot, message))
            }
            "src" => networks(&values),
            "always_true" => Ok(Either::always()),
            "always_false" => Ok(Either::never()),
            "var" => {
                let found = fetch.how == Match::Found;
                self.variable(&fetch, found, at, acls, connection, note)
            }
            "str" | "bool" | "int" if fetch.arg.is_some() => fixed(&fetch, &values, first.spot),
            "ssl_fc" | "ssl_fc_has_sni" => constant(connection.tls, &values, first.spot),
            "ssl_c_used" | "ssl_fc_has_crt" => {
                if fetch.name == "ssl_fc_has_crt" {
                    note("a client has its certificate in a session that it resumes, too");
                }
                used(connection, &values, first.spot)
            }
            // One that does not verify ends the handshake.
            "ssl_c_verify" if !connection.tls => Ok(Either::never()),
            "ssl_c_verify" if fetch.how == Match::Found => Ok(Either::always()),
            "ssl_c_verify" => numbers(0, &values, first.spot).map(Either::constant),
            "ssl_c_s_dn" => {
                let is_name = |arg: &str| arg.eq_ignore_ascii_case("cn");
                if !fetch.arg.as_deref().is_some_and(is_name) {
                    let message =
                        "of a client's certificate the common name is compared: ssl_c_s_dn(CN)";
                    return Err(Refusal::new(first.spot, message));
                }
                if !connection.asks_clients {
                    return Ok(Either::never());
                }
                text(note, Subject::ClientCert, false)
            }
            "dst_port" => match connection.port {
                Some(port) => numbers(u64::from(port), &values, first.spot).map(Either::constant),
                None => Ok(Either::never()),
            },
            "status" => {
                let mut list = Vec::new();
                for status in STATUSES {
                    if numbers(u64::from(status), &values, first.spot)? {
                        list.push(status.to_string());
                    }
                }
                Ok(match list.len() {
                    0 => Either::never(),
                    _ => literal(Subject::Status, list),
                })
            }
            "res.hdr" => {
                let name = fetch.arg.clone().unwrap_or_default();
                if name.is_empty() || name.contains(',') {
                    return Err(Refusal::new(first.spot, "which field? res.hdr(NAME)"));
                }
                let subject = Subject::Answered(name);
                if fetch.counted {
                    return counted(subject, &values, first.spot);
                }
                if fetch.how != Match::Found {
                    let message = "of a field of an answer is asked whether it is there: res.hdr(NAME) -m found";
                    return Err(Refusal::new(first.spot, message));
                }
                Ok(literal(subject, vec!["*".into()]))
            }
            "version" => Err(Refusal::new(
                first.spot,
                "routes do not ask which version of HTTP a client speaks",
            )),
            other
                if other.starts_with("sc") && other[2..].starts_with(['0', '1', '2', '_'])
                    || other.starts_with("src_") =>
            {
                let message = format!(
                    "'{other}' is not translated: of a client is counted how often it asks (http_req_rate), how often that is an error (http_err_rate), how often it connects (conn_rate), and how many connections it has (conn_cur)"
                );
                Err(Refusal::new(first.spot, message))
            }
            "nbsrv" | "srv_is_up" | "be_conn" | "queue" | "avg_queue" | "connslots" => {
                let message = format!(
                    "'{}' is not translated: routes do not ask how a backend is; servers that help out are `backup` servers of it",
                    fetch.name
                );
                Err(Refusal::new(first.spot, message))
            }
            other => Err(Refusal {
                at: first.spot,
                message: format!("'{other}' is not translated as a condition"),
                hint: did_you_mean(&first.text, KNOWN),
            }),
        }
    }

    /// Whether a flag says that case does not count.
    fn is_folded(&self) -> bool {
        self.words.iter().skip(1).any(|word| word.text == "-i")
    }

    /// What it asks of a variable: the same of what that is set to.
    fn variable(
        &self,
        fetch: &Fetch,
        found: bool,
        at: Option<Spot>,
        acls: &Acls,
        connection: Connection,
        note: &mut dyn FnMut(&'static str),
    ) -> Result<Either, Refusal> {
        let first = &self.words[0];
        let name = fetch.arg.as_deref().unwrap_or_default();
        let Some((_, converters)) = first.text.split_once(')') else {
            return Err(Refusal::new(first.spot, "which variable? var(NAME)"));
        };
        let note = RefCell::new(note);
        // What a variable is made of was known when it was set.
        let connection = Connection {
            is_answer: false,
            ..connection
        };
        let asks = |sample: &str, setting: &Setting| {
            let mut words = self.words.clone();
            words[0].text = format!("{sample}{converters}");
            let criterion = Self {
                words,
                line: self.line,
            };
            // It has what its sample was where it is set.
            let note = &mut |what| (note.borrow_mut())(what);
            criterion.alternatives(Some(setting.spot), acls, connection, note)
        };
        let holds = |words: &[Word], unless, acls: &Acls, spot| {
            let note = &mut |what| (note.borrow_mut())(what);
            super::condition(words, unless, acls, connection, spot, note)
        };
        acls.vars.when(name, at, first.spot, found, asks, holds)
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
                        let message = match method.text.as_str() {
                            "bin" => "'-m bin': of what a client says first the name that TLS asks for is looked at alone, req.ssl_sni".into(),
                            other => format!("'-m {other}' is not translated"),
                        };
                        Refusal::new(method.spot, message)
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
