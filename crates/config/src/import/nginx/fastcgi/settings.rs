//! What a place says of programs that speak FastCGI, before it is known which of them it passes to.

use std::time::Duration;

use super::super::super::report::Verdicts;
use super::super::scope::{Field, Set};
use super::super::tree::Directive;
use super::super::units;
use super::super::upstream::NextUpstream;

/// What a place says of programs that speak FastCGI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) params: Vec<Field>,
    pub(super) index: Option<Set<String>>,
    pub(super) split: Option<Set<String>>,
    pub(super) hidden: Vec<Set<String>>,
    pub(super) intercept: Option<Set<bool>>,
    pub(super) connect_timeout: Option<Set<Duration>>,
    pub(super) read_timeout: Option<Set<Duration>>,
    pub(super) next_upstream: Option<Set<NextUpstream>>,
    pub(super) tries: Option<Set<u64>>,
}

impl Settings {
    /// Reads a directive of a block; lists go to `own`, as they replace those of the blocks around it.
    pub fn read(&mut self, directive: &Directive, own: &mut Self, verdicts: &mut Verdicts) -> bool {
        let spot = directive.spot;
        let text = directive.arg(0).to_owned();
        let mut wrong = |what: &str| {
            let message = format!("invalid value \"{text}\": {what}");
            verdicts.refuse(spot, directive.at(0), message);
        };
        match directive.name.text.as_str() {
            "fastcgi_param" => own.params.push(Field {
                name: directive.arg(0).to_owned(),
                value: directive.arg(1).to_owned(),
                always: directive.arg(2) != "if_not_empty",
                spot,
            }),
            "fastcgi_hide_header" => own.hidden.push(Set { value: text, spot }),
            "fastcgi_index" => self.index = Some(Set { value: text, spot }),
            "fastcgi_split_path_info" => self.split = Some(Set { value: text, spot }),
            "fastcgi_intercept_errors" => match &*text {
                "on" | "off" => {
                    let value = text == "on";
                    self.intercept = Some(Set { value, spot });
                }
                _ => wrong("it must be \"on\" or \"off\""),
            },
            "fastcgi_connect_timeout" | "fastcgi_read_timeout" => match units::time(&text) {
                Some(value) if directive.is("fastcgi_read_timeout") => {
                    self.read_timeout = Some(Set { value, spot });
                }
                Some(value) => self.connect_timeout = Some(Set { value, spot }),
                None => wrong("it is no time"),
            },
            "fastcgi_next_upstream" => {
                let value = NextUpstream::read(directive, verdicts);
                self.next_upstream = Some(Set { value, spot });
            }
            "fastcgi_next_upstream_tries" => match text.parse() {
                Ok(value) => self.tries = Some(Set { value, spot }),
                Err(_) => wrong("it is no number"),
            },
            _ => return false,
        }
        true
    }

    /// Puts the lists of a block in the place of those around it.
    pub fn replace(&mut self, own: Self) {
        if !own.params.is_empty() {
            self.params = own.params;
        }
        if !own.hidden.is_empty() {
            self.hidden = own.hidden;
        }
    }
}
