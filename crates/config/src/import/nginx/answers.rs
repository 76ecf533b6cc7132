//! What a location answers itself: `return`.

use super::super::document::{Table, Value};
use super::Translator;
use super::content::{Here, whole};
use super::location::Kind;
use super::rewriting::{Redirect, own_host};
use super::tree::Directive;
use super::types;
use super::variables::{Context, template};

impl<'a> Translator<'a> {
    /// `return CODE [TEXT]`, `return CODE URL`, `return URL`.
    pub fn returned(&mut self, here: Here<'_, 'a>, directive: &Directive) -> Option<Table> {
        let spot = directive.spot;
        let first = directive.arg(0);
        let fill = |text: &str| template(text, &here.context());
        let code = first.parse::<u16>().ok();
        let (code, text) = match (code, directive.args.len()) {
            (Some(code), 1) => (code, None),
            (Some(code), _) => (code, Some(directive.arg(1))),
            (None, 1) if first.starts_with("http") || first.starts_with("$scheme") => {
                (302, Some(first))
            }
            _ => {
                self.verdicts.refuse(
                    spot,
                    directive.at(0),
                    format!("invalid return code \"{first}\""),
                );
                return None;
            }
        };
        if code > 999 {
            self.verdicts.refuse(
                spot,
                directive.at(0),
                format!("invalid return code \"{first}\""),
            );
            return None;
        }
        let refused = |translator: &mut Self, variable: String| {
            translator.verdicts.refuse(
                spot,
                directive.at(1),
                format!("{variable} cannot be filled in here"),
            );
            None
        };
        if let (301 | 302 | 303 | 307 | 308, Some(text)) = (code, text) {
            return self.returned_url(here, directive, text, code);
        }
        if code == 444 {
            return Some(Table::default().with("deny", Value::text("close")));
        }
        if code == 403 && text.is_none() {
            return Some(Table::default().with("deny", Value::plain(true)));
        }
        let Some(text) = text else {
            return Some(Table::default().with("respond", Value::plain(code)));
        };
        match fill(text) {
            // The text of an answer is fixed: only what needs no filling in is the same.
            Ok(filled) if !text.contains('$') || filled == text => {
                let mut respond = Table::default()
                    .with("status", Value::plain(code))
                    .with("body", Value::text(text));
                let exact = here.location.filter(|l| l.kind == Kind::Exact);
                let kind = types::of_text(here.scope, exact.map(|l| l.text.as_str()));
                if exact.is_none() {
                    self.verdicts.note(
                        spot,
                        format!("the type is {kind} whatever the path ends with: nginx has it by `types`"),
                    );
                }
                let headers = Table::default().with("Content-Type", Value::text(kind));
                respond.put("headers", Value::Table(headers));
                Some(Table::default().with("respond", Value::Table(respond)))
            }
            Ok(_) => refused(self, "the text of an answer is fixed: a variable".into()),
            Err(variable) => refused(self, variable),
        }
    }

    /// `return 301 URL`.
    fn returned_url(
        &mut self,
        here: Here<'_, 'a>,
        directive: &Directive,
        text: &str,
        code: u16,
    ) -> Option<Table> {
        // What an expression of the location has found.
        let expression = here.location.and_then(|location| match location.kind {
            Kind::Regex { fold } => {
                let flag = if fold { "(?i)" } else { "" };
                Some(format!("{flag}{}", whole(&location.text)))
            }
            _ => None,
        });
        let context = Context {
            captures: expression.is_some(),
            ..here.context()
        };
        let ending = ["$is_args$args", "$is_args$query_string"]
            .iter()
            .find_map(|ending| text.strip_suffix(ending));
        let keeps_query = ending.is_some();
        match template(ending.unwrap_or(text), &context) {
            Ok(to) => {
                let own = if to.starts_with('/') {
                    own_host(here.scope)
                } else {
                    ""
                };
                let to = format!("{own}{to}");
                let sent = Redirect {
                    to: &to,
                    expression: expression.as_deref().unwrap_or("^.*$"),
                    keeps_query,
                    status: code,
                };
                self.redirected(&sent, directive)
            }
            Err(variable) => {
                self.verdicts.refuse(
                    directive.spot,
                    directive.at(directive.args.len() - 1),
                    format!("{variable} cannot be filled in here"),
                );
                None
            }
        }
    }
}
