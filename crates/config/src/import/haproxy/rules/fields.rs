//! What a rule changes of fields.

use super::super::super::document::{Table, Value};
use super::super::super::report::Verdicts;
use super::super::acl::Refusal;
use super::super::format::{literal, template};
use super::{Deed, Done, Rule, captures};

/// `headers = { SIDE = { HOW = { NAME = "VALUE" } } }`
pub(super) fn header(side: &str, how: &str, name: &str, value: String) -> Table {
    let mut table = Table::default();
    table
        .table("headers")
        .table(side)
        .table(how)
        .put(name, Value::text(value));
    table
}

pub(super) fn removed(side: &str, name: &str) -> Table {
    let mut table = Table::default();
    table
        .table("headers")
        .table(side)
        .put("remove", Value::texts([name]));
    table
}

impl Rule<'_> {
    /// Whether a text has `%[hdr(NAME)]`; there is one Host.
    pub(super) fn fills_in_a_list(&self) -> bool {
        self.words.iter().any(|word| {
            word.text.split("%[").skip(1).any(|fetch| {
                let fetch = fetch.to_ascii_lowercase();
                let name = ["hdr(", "req.hdr(", "req.fhdr("]
                    .iter()
                    .find_map(|name| fetch.strip_prefix(name));
                name.is_some_and(|name| !name.starts_with("host"))
            })
        })
    }

    /// `replace-header NAME REGEX TO`: the whole value of a field in which the expression finds something.
    pub(super) fn replaced(&self, side: &str) -> Result<Table, Refusal> {
        let (name, regex, to) = (self.word(1), self.word(2), self.word(3));
        super::super::patterns::checked(regex)
            .map_err(|message| Refusal::new(self.at(2), message))?;
        if self.words.len() != 4 || to.contains("\\0") {
            let message = "replace-header NAME REGEX VALUE, with \\1 for what parentheses find";
            return Err(Refusal::new(self.at(0), message));
        }
        let to = captures(&template(to, self.at(3))?);
        let rule = Table::default().with(&format!("~{regex}"), Value::text(to));
        let mut table = Table::default();
        table
            .table("headers")
            .table(side)
            .table("replace")
            .put(name, Value::Table(rule));
        Ok(table)
    }

    /// `set-header NAME VALUE`. `None` for what is always sent.
    pub(super) fn field(
        &self,
        side: &str,
        how: &str,
        verdicts: &mut Verdicts,
    ) -> Result<Option<Table>, Refusal> {
        let (name, value) = (self.word(1), self.words.get(2));
        let Some(value) = value else {
            return Err(Refusal::new(
                self.line.spot,
                format!("'{}' wants a name and a value", self.word(0)),
            ));
        };
        if let Some(bare) = name.strip_suffix(':') {
            return Err(Refusal {
                at: self.at(1),
                message: format!("'{name}' is no name of a field"),
                hint: Some(format!("without the colon: {bare}")),
            });
        }
        let lower = name.to_ascii_lowercase();
        // The one thing a condition on the connection decides here is known for each listener.
        if side == "request" && lower == "x-forwarded-for" {
            verdicts.note(
                self.line.spot,
                "X-Forwarded-For is always sent, and says who the client is",
            );
            return Ok(None);
        }
        if side == "request"
            && lower == "x-forwarded-proto"
            && matches!(value.text.as_str(), "https" | "http")
        {
            let right = (value.text == "https") == self.connection.tls;
            if right {
                verdicts.note(self.line.spot, "X-Forwarded-Proto is always sent");
                return Ok(None);
            }
        }
        let value = template(&value.text, value.spot)?;
        Ok(Some(header(side, how, name, value)))
    }

    /// `reqadd X-A:\ value`.
    pub(super) fn add(&self, verdicts: &mut Verdicts) -> Done {
        let side = if self.line.word(0) == "reqadd" {
            "request"
        } else {
            "response"
        };
        let text = self.word(0);
        let Some((name, value)) = text.split_once(':') else {
            return Err(Refusal::new(
                self.at(0),
                format!("'{text}' is no field: NAME:\\ VALUE"),
            ));
        };
        verdicts.note(
            self.line.spot,
            format!(
                "`{}` is `http-{side} add-header` since HAProxy 2.1",
                self.line.word(0)
            ),
        );
        let lower = name.to_ascii_lowercase();
        if side == "request"
            && lower == "x-forwarded-proto"
            && (value.trim() == "https") == self.connection.tls
        {
            return Ok(None);
        }
        Ok(Some(Deed::Change(header(
            side,
            "add",
            name,
            literal(value.trim()),
        ))))
    }

    /// `reqidel ^X-Forwarded-For:.*`: an expression that names one field.
    pub(super) fn delete(&self, verdicts: &mut Verdicts) -> Done {
        let side = if self.line.word(0).starts_with("req") {
            "request"
        } else {
            "response"
        };
        let text = self.word(0);
        let name = text.strip_prefix('^').and_then(|rest| rest.split_once(':'));
        let token = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        match name {
            Some((name, rest)) if token(name) && matches!(rest, "" | ".*" | "\\ .*") => {
                verdicts.note(
                    self.line.spot,
                    format!(
                        "`{}` is `http-{side} del-header` since HAProxy 2.1",
                        self.line.word(0)
                    ),
                );
                if side == "request" && name.eq_ignore_ascii_case("x-forwarded-for") {
                    return Ok(None);
                }
                Ok(Some(Deed::Change(removed(side, name))))
            }
            _ => Err(Refusal::new(
                self.at(0),
                "only an expression for the name of one field is translated: ^NAME:.*",
            )),
        }
    }
}
