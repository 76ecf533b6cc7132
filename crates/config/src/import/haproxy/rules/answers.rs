//! What a rule answers itself: denials, texts and redirects.

use super::super::super::document::{Route, Table, Value};
use super::super::acl::Refusal;
use super::super::format::{literal, template};
use super::super::pages::Answer;
use super::super::proxy::Proxy;
use super::super::words::Word;
use super::{Deed, Done, Rule};
use crate::suggest::did_you_mean;

/// What stands in a path behind its last slash: the one part that is picked out.
const LAST_SEGMENT: &str = "%[path,field(-1,/)]";

/// No answer at all.
pub(super) fn closed() -> Table {
    Table::default().with("deny", Value::text("close"))
}

/// What comes of a request that leads to no server.
pub(crate) fn nowhere(proxy: &Proxy<'_>) -> Table {
    if proxy.is_tcp() { closed() } else { deny(503) }
}

pub(crate) fn deny(status: u16) -> Table {
    if status == 403 {
        Table::default().with("deny", Value::plain(true))
    } else {
        Table::default().with("respond", Value::plain(status))
    }
}

pub(super) fn status_of(word: &Word) -> Result<u16, Refusal> {
    word.text
        .parse()
        .ok()
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| Refusal::new(word.spot, format!("'{}' is no status", word.text)))
}

impl Rule<'_> {
    /// Whether an answer is more than a status.
    pub(super) fn has_content(&self) -> bool {
        let content = [
            "string",
            "lf-string",
            "file",
            "lf-file",
            "errorfile",
            "content-type",
            "hdr",
        ];
        content.iter().any(|name| self.option(name).is_some())
    }

    /// Whether all words of an answer are known.
    pub(super) fn is_answer(&self) -> Result<(), Refusal> {
        let mut at = 1;
        while at < self.words.len() {
            at += match self.word(at) {
                "status" | "deny_status" | "content-type" | "string" | "lf-string" | "file"
                | "lf-file" | "errorfile" => 2,
                "hdr" => 3,
                "default-errorfiles" => 1,
                "errorfiles" => {
                    let message = "name the page: errorfile FILE";
                    return Err(Refusal::new(self.at(at), message));
                }
                other => {
                    return Err(Refusal {
                        at: self.at(at),
                        message: format!("an answer does not know '{other}'"),
                        hint: did_you_mean(
                            other,
                            ["status", "content-type", "string", "file", "hdr"],
                        ),
                    });
                }
            };
        }
        if at > self.words.len() {
            let message = "something follows the last word of this answer";
            return Err(Refusal::new(self.line.spot, message));
        }
        Ok(())
    }

    /// `return status 200 content-type "text/plain" string "x"`.
    pub(super) fn reply(&self, usual: u16) -> Result<Table, Refusal> {
        let status = self.option("status").or_else(|| self.option("deny_status"));
        let status = match status {
            Some(word) => status_of(word)?,
            None => usual,
        };
        if let Some(word) = self.option("lf-file") {
            let message = "the text of an answer is fixed: file";
            return Err(Refusal::new(word.spot, message));
        }
        let mut respond = Table::default().with("status", Value::plain(status));
        let (mut kind, mut last_segment) = (None, false);
        if let Some(word) = self.option("string") {
            respond.put("body", Value::text(word.text.clone()));
        } else if let Some(word) = self.option("lf-string") {
            let (text, finds) = match word.text.split_once(LAST_SEGMENT) {
                Some((before, after)) if !after.contains(LAST_SEGMENT) => {
                    let (before, after) =
                        (template(before, word.spot)?, template(after, word.spot)?);
                    (format!("{before}{{1}}{after}"), true)
                }
                _ => (template(&word.text, word.spot)?, false),
            };
            last_segment = finds;
            if text == literal(&word.text) {
                respond.put("body", Value::text(word.text.clone()));
            } else {
                respond.put("template", Value::text(text));
            }
        } else if let Some(word) = self.option("file") {
            respond.put("file", Value::text(word.text.clone()));
        }
        if let Some(word) = self.option("errorfile") {
            let answer = Answer::read(&word.text).map_err(|why| Refusal::new(word.spot, why))?;
            let Ok(body) = String::from_utf8(answer.body) else {
                return Err(Refusal::new(word.spot, "this page is no text: file FILE"));
            };
            kind = answer.kind;
            // It is the answer as it stands.
            if let Some(status) = answer.status.filter(|n| (200..=599).contains(n)) {
                respond.put("status", Value::plain(status));
            }
            respond.put("body", Value::text(body));
        }
        let mut headers = Table::default();
        if let Some(kind) = kind {
            headers.put("Content-Type", Value::text(literal(&kind)));
        } else if let Some(word) = self.option("content-type") {
            headers.put("Content-Type", Value::text(literal(&word.text)));
        }
        let mut at = 0;
        while at < self.words.len() {
            if self.word(at) == "hdr" {
                let value = template(self.word(at + 2), self.at(at + 2))?;
                headers.put(self.word(at + 1), Value::text(value));
                at += 2;
            }
            at += 1;
        }
        if !headers.is_empty() {
            respond.put("headers", Value::Table(headers));
        }
        let answer = if respond.0.len() == 1 {
            Value::plain(status)
        } else {
            Value::Table(respond)
        };
        let answer = Table::default().with("respond", answer);
        if !last_segment {
            return Ok(answer);
        }
        // An expression that finds it, as every path has one.
        let mut table = Table::default().with("path", Value::text("~([^/]*)$"));
        table.0.extend(answer.0);
        let spot = self.line.spot;
        Ok(Table::default().with("route", Value::Routes(vec![Route { table, spot }])))
    }

    /// `redirect location|prefix|scheme TO [code N] [drop-query] ...`.
    pub(super) fn redirect(&self, words: &[Word]) -> Done {
        let mut code = 302;
        let mut drop_query = false;
        let mut kind: Option<(&Word, Option<&Word>)> = None;
        let mut at = 0;
        while let Some(option) = words.get(at) {
            match option.text.as_str() {
                "location" | "prefix" | "scheme" if kind.is_none() => {
                    kind = Some((option, words.get(at + 1)));
                    at += 1;
                }
                "code" => {
                    let Some(word) = words.get(at + 1) else {
                        return Err(Refusal::new(option.spot, "a status follows 'code'"));
                    };
                    code = status_of(word)?;
                    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
                        return Err(Refusal::new(
                            word.spot,
                            "the codes of redirects are 301, 302, 303, 307 and 308",
                        ));
                    }
                    at += 1;
                }
                "drop-query" => drop_query = true,
                "ignore-empty" => {}
                "append-slash" | "set-cookie" | "clear-cookie" => {
                    return Err(Refusal::new(
                        option.spot,
                        format!("'{}' is not translated", option.text),
                    ));
                }
                other => {
                    return Err(Refusal {
                        at: option.spot,
                        message: format!("'redirect' does not know '{other}'"),
                        hint: did_you_mean(
                            other,
                            [
                                "location",
                                "prefix",
                                "scheme",
                                "code",
                                "drop-query",
                                "append-slash",
                                "set-cookie",
                                "ignore-empty",
                            ],
                        ),
                    });
                }
            }
            at += 1;
        }
        let rest = if drop_query { "{path}" } else { "{uri}" };
        let Some((kind, Some(to))) = kind else {
            return Err(Refusal::new(
                self.line.spot,
                "'redirect' wants location, prefix or scheme, and where to",
            ));
        };
        let filled = template(&to.text, to.spot)?;
        let target = match kind.text.as_str() {
            "location" => filled,
            "prefix" if to.text == "/" => rest.to_owned(),
            "prefix" => format!("{filled}{rest}"),
            _ => {
                // The usual ports are not named in Host.
                let usual = matches!(self.connection.port, Some(80 | 443));
                let host = if usual { "{host}" } else { "{header:Host}" };
                format!("{filled}://{host}{rest}")
            }
        };
        let to = if code == 302 {
            Value::text(target)
        } else {
            Value::Table(
                Table::default()
                    .with("to", Value::text(target))
                    .with("status", Value::plain(code)),
            )
        };
        Ok(Some(Deed::Answer(Table::default().with("redirect", to))))
    }
}
