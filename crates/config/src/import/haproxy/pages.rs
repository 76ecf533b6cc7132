//! Pages of errors: `errorfile`, `errorfiles` with its section, `errorloc` and `http-error`.

use super::super::document::{Table, Value};
use super::super::names::normal;
use super::super::sources::Spot;
use super::Translator;
use super::acl::Refusal;
use super::table::HTTP_ERRORS;
use super::words::Line;
use crate::suggest::did_you_mean;

/// The directives that name some.
pub(crate) const PAGES: [&str; 6] = [
    "errorfile",
    "errorfiles",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "http-error",
];

/// Types of pages, and the suffixes that stand for them.
const TYPES: [(&str, &str); 6] = [
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("application/json", "json"),
    ("application/xml", "xml"),
    ("text/css", "css"),
    ("image/svg+xml", "svg"),
];

/// An answer as a file has it, with its head.
pub(crate) struct Answer {
    /// The status of its head.
    pub status: Option<u16>,
    /// What its head says it is.
    pub kind: Option<String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads it. The error is in words.
    pub fn read(path: &str) -> Result<Self, String> {
        let answer =
            std::fs::read(path).map_err(|error| format!("cannot read '{path}': {error}"))?;
        let end = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().find_map(|end| {
            let at = answer.windows(end.len()).position(|w| w == end)?;
            Some(at + end.len())
        });
        let Some(end) = end else {
            return Err("this file is no answer: a head and a blank line come first".into());
        };
        let head = String::from_utf8_lossy(&answer[..end]);
        let kind = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is = name.trim().eq_ignore_ascii_case("content-type");
            is.then(|| value.trim().to_owned())
        });
        let status = head.split_ascii_whitespace().nth(1);
        Ok(Self {
            status: status.and_then(|status| status.parse().ok()),
            kind,
            body: answer[end..].to_vec(),
        })
    }
}

/// The suffix of a file of this type.
fn suffix(kind: &str) -> Option<&'static str> {
    let (base, charset) = kind.split_once(';').unwrap_or((kind, ""));
    let charset = charset.trim().to_ascii_lowercase();
    let base = base.trim();
    let known = TYPES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(base));
    let same = charset.is_empty() || charset.replace('"', "") == "charset=utf-8";
    known.filter(|_| same).map(|(_, suffix)| *suffix)
}

impl Translator<'_> {
    /// The pages that these lines name, the last of each status.
    pub fn error_pages(&mut self, name: &str, mut lines: Vec<&Line>) -> Option<(Table, Spot)> {
        // In the order of the file, those of defaults first.
        lines.sort_by_key(|line| line.spot);
        let mut table = Table::default();
        let mut spot = None;
        for line in lines {
            let done = match line.word(0) {
                "errorfile" => self.error_file(name, line, line, &mut table),
                "errorfiles" => self.error_files(name, line, &mut table),
                "errorloc" | "errorloc302" | "errorloc303" => {
                    Ok(self.error_redirect(line, &mut table))
                }
                _ => self.http_error(name, line, &mut table),
            };
            match done {
                Ok(true) => spot = Some(line.spot),
                Ok(false) => {}
                Err(refusal) => refusal.tell(line.spot, &mut self.verdicts),
            }
        }
        // HAProxy answers 503 for a server that cannot be reached; here that is 502 where others are left, or none is
        // checked.
        if !table.has("502")
            && let Some(page) = table.get("503").cloned()
        {
            table.put("502", page);
        }
        spot.map(|spot| (table, spot))
    }

    /// Whether there can be a page for a status.
    fn is_error(&mut self, line: &Line, status: &str) -> bool {
        let is_error = status.len() == 3
            && status.starts_with(['4', '5'])
            && status.bytes().all(|b| b.is_ascii_digit());
        if !is_error {
            let what = format!("{status} is no error");
            self.verdicts.without(line.spot, what);
        }
        is_error
    }

    fn keep(&mut self, name: &str, status: &str, suffix: &str, body: Vec<u8>, table: &mut Table) {
        let file = format!("errors/{}-{status}.{suffix}", normal(name));
        let file = self.options.beside(&file);
        self.files.insert(file.clone(), body);
        table.put(status, Value::text(file));
    }

    /// `errorfile 503 FILE`: the file is a whole answer; what follows its head is the page. `by` asked for it.
    fn error_file(
        &mut self,
        name: &str,
        line: &Line,
        by: &Line,
        table: &mut Table,
    ) -> Result<bool, Refusal> {
        let status = line.word(1);
        if !self.is_error(line, status) {
            return Ok(false);
        }
        if line.word(2) == "/dev/null" {
            self.verdicts
                .without(line.spot, "an error is always answered, never with silence");
            return Ok(false);
        }
        let at = if by.spot == line.spot {
            line.at(2)
        } else {
            by.at(1)
        };
        let answer = Answer::read(line.word(2)).map_err(|why| Refusal::new(at, why))?;
        let kind = answer.kind.as_deref().map_or(Some("html"), suffix);
        if answer.status.is_some_and(|said| said.to_string() != status) {
            let what = format!(
                "the answer keeps its status {status}, and the file says another, which HAProxy sends"
            );
            self.verdicts.note(line.spot, what);
        }
        if kind.is_none() {
            self.verdicts
                .note(line.spot, "the page is sent as text/html");
        }
        self.keep(name, status, kind.unwrap_or("html"), answer.body, table);
        self.verdicts.note(
            line.spot,
            "the page is written to a file of its own, without the head: Tandem makes that",
        );
        Ok(true)
    }

    /// `errorloc302 503 https://sorry.example/`.
    fn error_redirect(&mut self, line: &Line, table: &mut Table) -> bool {
        let status = line.word(1);
        if !self.is_error(line, status) {
            return false;
        }
        let to = line.word(2).replace('{', "{{").replace('}', "}}");
        let mut page = Table::default().with("redirect", Value::Text(to));
        if line.word(0) == "errorloc303" {
            page.put("status", Value::plain(303));
        }
        table.put(status, Value::Table(page));
        self.verdicts.translated(line.spot);
        true
    }

    /// `errorfiles NAME [STATUS ...]`: the pages of a section, all or some.
    fn error_files(&mut self, name: &str, line: &Line, table: &mut Table) -> Result<bool, Refusal> {
        let sections = self.sections;
        let named = sections
            .iter()
            .filter(|section| section.kind == HTTP_ERRORS);
        let Some(section) = named.clone().find(|section| section.name == line.word(1)) else {
            return Err(Refusal {
                at: line.at(1),
                message: format!("there is no section http-errors '{}'", line.word(1)),
                hint: did_you_mean(line.word(1), named.map(|section| section.name.as_str())),
            });
        };
        let some: Vec<&str> = line.from(2).iter().map(|word| word.text.as_str()).collect();
        let has = |status: &str| section.lines.iter().any(|page| page.word(1) == status);
        if let Some(at) = some.iter().position(|status| !has(status)) {
            let message = format!("'{}' has no page for {}", section.name, some[at]);
            return Err(Refusal::new(line.at(2 + at), message));
        }
        let mut any = false;
        for page in &section.lines {
            if some.is_empty() || some.contains(&page.word(1)) {
                any |= self.error_file(name, page, line, table)?;
            }
        }
        self.verdicts.translated(line.spot);
        Ok(any)
    }

    /// `http-error status 503 content-type TYPE string TEXT`, or `file FILE`.
    fn http_error(&mut self, name: &str, line: &Line, table: &mut Table) -> Result<bool, Refusal> {
        let (mut status, mut kind, mut body) = (None, None, None);
        let mut words = line.from(1).iter();
        while let Some(word) = words.next() {
            let message = format!("something follows '{}'", word.text);
            let next = || words.next().ok_or_else(|| Refusal::new(word.spot, message));
            match word.text.as_str() {
                "status" => status = Some(next()?),
                "content-type" => kind = Some(next()?),
                "string" => body = Some(next()?.text.clone().into_bytes()),
                "lf-string" => {
                    let text = next()?;
                    if text.text.contains('%') {
                        return Err(Refusal::new(
                            text.spot,
                            "a page is the same for all requests",
                        ));
                    }
                    body = Some(text.text.clone().into_bytes());
                }
                "file" => {
                    let file = next()?;
                    let read = std::fs::read(&file.text).map_err(|error| {
                        let what = format!("cannot read '{}': {error}", file.text);
                        Refusal::new(file.spot, what)
                    });
                    body = Some(read?);
                }
                "errorfile" => {
                    let file = next()?;
                    let answer = Answer::read(&file.text);
                    let answer = answer.map_err(|why| Refusal::new(file.spot, why))?;
                    let Some(status) = status else {
                        return Err(Refusal::new(word.spot, "`status` comes first"));
                    };
                    if !self.is_error(line, &status.text) {
                        return Ok(false);
                    }
                    let kind = answer.kind.as_deref().and_then(suffix).unwrap_or("html");
                    self.keep(name, &status.text, kind, answer.body, table);
                    self.verdicts.translated(line.spot);
                    return Ok(true);
                }
                "default-errorfiles" => {
                    self.verdicts
                        .without(line.spot, "pages that are not named are Tandem's own");
                    return Ok(false);
                }
                other => {
                    return Err(Refusal {
                        at: word.spot,
                        message: format!("'http-error' with '{other}' is not translated"),
                        hint: did_you_mean(other, ["status", "content-type", "string", "file"]),
                    });
                }
            }
        }
        let Some(status) = status else {
            return Err(Refusal::new(
                line.spot,
                "of which status? http-error status 503 ...",
            ));
        };
        if !self.is_error(line, &status.text) {
            return Ok(false);
        }
        let Some(body) = body else {
            self.verdicts
                .without(line.spot, "a page without content is Tandem's own");
            return Ok(false);
        };
        let Some(kind) = kind else {
            return Err(Refusal::new(
                line.spot,
                "of which type? content-type text/html",
            ));
        };
        let Some(suffix) = suffix(&kind.text) else {
            let known = TYPES.map(|(name, _)| name).join(", ");
            let message = format!("pages are of these types, in UTF-8: {known}");
            return Err(Refusal::new(kind.spot, message));
        };
        self.keep(name, &status.text, suffix, body, table);
        self.verdicts.translated(line.spot);
        Ok(true)
    }
}
