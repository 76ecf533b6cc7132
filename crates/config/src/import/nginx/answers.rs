//! What a location answers itself: `return`.

use tandem_model::{Part, Template, Variable};

use super::super::document::{Table, Value};
use super::Translator;
use super::content::{Found, Here};
use super::location::Kind;
use super::rewriting::{Redirect, own_host};
use super::tree::Directive;
use super::types;
use super::variables::Context;

impl<'a> Translator<'a> {
    /// `return CODE [TEXT]`, `return CODE URL`, `return URL`.
    pub fn returned(&mut self, here: Here<'_, 'a>, directive: &Directive) -> Option<Table> {
        let spot = directive.spot;
        let first = directive.arg(0);
        let code = first.parse::<u16>().ok();
        let (code, text) = match (code, directive.args.len()) {
            (Some(code), 1) => (code, None),
            (Some(code), _) => (code, Some(self.known(directive.arg(1)))),
            (None, 1) if first.starts_with("http") || first.starts_with("$scheme") => {
                (302, Some(self.known(first)))
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
        let text = text.as_deref();
        if let (301 | 302 | 303 | 307 | 308, Some(text)) = (code, text) {
            return self.returned_url(here, directive, text, code);
        }
        if code == 444 {
            return Some(Table::default().with("deny", Value::text("close")));
        }
        // An answer to who asks whether others may pass is no denial of that.
        if code == 403 && text.is_none() && !self.only_decides(here) {
            return Some(Table::default().with("deny", Value::plain(true)));
        }
        let Some(text) = text else {
            return Some(Table::default().with("respond", Value::plain(code)));
        };
        let filled = self.text_of(here, directive, text)?;
        let mut respond = Table::default().with("status", Value::plain(code));
        respond.0.push(filled);
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

    /// The text of an answer: as it is, or a template of what requests fill in.
    fn text_of(
        &mut self,
        here: Here<'_, 'a>,
        directive: &Directive,
        text: &str,
    ) -> Option<(String, Value)> {
        let body = |text: &str| Some(("body".to_owned(), Value::text(text)));
        if !text.contains('$') {
            return body(text);
        }
        let context = Context {
            captures: here.found.is_some(),
            ..here.plain()
        };
        let wrong = match self.template(text, &context) {
            Err(variable) => format!("{variable} cannot be filled in here"),
            Ok(filled) => match Template::parse_lines(&filled) {
                Err(error) => format!("{filled:?}: {error}"),
                Ok(template) if template.variables().any(|v| *v == Variable::User) => {
                    "who the client is, is not known before a password was asked for: `return` comes before `auth_basic`".to_owned()
                }
                Ok(template) => match template.parts() {
                    [] => return body(""),
                    [Part::Text(text)] => return body(text),
                    _ => return Some(("template".to_owned(), Value::Text(filled))),
                },
            },
        };
        self.verdicts.refuse(directive.spot, directive.at(1), wrong);
        None
    }

    /// `return 301 URL`.
    fn returned_url(
        &mut self,
        here: Here<'_, 'a>,
        directive: &Directive,
        text: &str,
        code: u16,
    ) -> Option<Table> {
        let expression = here.found.map(Found::whole);
        let context = Context {
            captures: expression.is_some(),
            ..here.context()
        };
        let ending = ["$is_args$args", "$is_args$query_string"]
            .iter()
            .find_map(|ending| text.strip_suffix(ending));
        let keeps_query = ending.is_some();
        match self.template(ending.unwrap_or(text), &context) {
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
