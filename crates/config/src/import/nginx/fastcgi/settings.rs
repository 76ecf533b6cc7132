//! What a place says of programs that speak FastCGI, uwsgi or SCGI, before it is known which of them it passes to.

use std::time::Duration;

use super::super::super::report::Verdicts;
use super::super::scope::{Field, Set};
use super::super::tree::Directive;
use super::super::units;
use super::super::upstream::NextUpstream;

/// A protocol of programs that get what CGI has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    FastCgi,
    Uwsgi,
    Scgi,
}

impl Family {
    /// What directives about it begin with.
    fn begin(self) -> &'static str {
        match self {
            Self::FastCgi => "fastcgi_",
            Self::Uwsgi => "uwsgi_",
            Self::Scgi => "scgi_",
        }
    }

    /// What hands requests to such a program.
    pub fn pass(self) -> &'static str {
        match self {
            Self::FastCgi => "fastcgi_pass",
            Self::Uwsgi => "uwsgi_pass",
            Self::Scgi => "scgi_pass",
        }
    }

    /// The key of a backend.
    pub fn key(self) -> &'static str {
        match self {
            Self::FastCgi => "fastcgi",
            Self::Uwsgi => "uwsgi",
            Self::Scgi => "scgi",
        }
    }
}

/// What a place says of programs that speak one of these.
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
    /// `uwsgi_modifier1`.
    pub(super) modifier: Option<Set<u8>>,
}

impl Settings {
    /// Reads a directive of a block; lists go to `own`, as they replace those of the blocks around it.
    pub fn read(
        &mut self,
        family: Family,
        directive: &Directive,
        own: &mut Self,
        verdicts: &mut Verdicts,
    ) -> bool {
        let Some(name) = directive.name.text.strip_prefix(family.begin()) else {
            return false;
        };
        let spot = directive.spot;
        let text = directive.arg(0).to_owned();
        let mut wrong = |what: &str| {
            let message = format!("invalid value \"{text}\": {what}");
            verdicts.refuse(spot, directive.at(0), message);
        };
        match name {
            "param" => own.params.push(Field {
                name: directive.arg(0).to_owned(),
                value: directive.arg(1).to_owned(),
                always: directive.arg(2) != "if_not_empty",
                spot,
            }),
            "pass_request_headers" | "pass_request_body" => match &*text {
                "on" => {}
                _ => wrong("programs get what clients send"),
            },
            "hide_header" => own.hidden.push(Set { value: text, spot }),
            "modifier1" => match text.parse() {
                Ok(value) => self.modifier = Some(Set { value, spot }),
                Err(_) => wrong("it must be a number up to 255"),
            },
            "index" => self.index = Some(Set { value: text, spot }),
            "split_path_info" => self.split = Some(Set { value: text, spot }),
            "intercept_errors" => match &*text {
                "on" | "off" => {
                    let value = text == "on";
                    self.intercept = Some(Set { value, spot });
                }
                _ => wrong("it must be \"on\" or \"off\""),
            },
            "connect_timeout" | "read_timeout" => match units::time(&text) {
                Some(value) if name == "read_timeout" => {
                    self.read_timeout = Some(Set { value, spot });
                }
                Some(value) => self.connect_timeout = Some(Set { value, spot }),
                None => wrong("it is no time"),
            },
            "next_upstream" => {
                let value = NextUpstream::read(directive, verdicts);
                self.next_upstream = Some(Set { value, spot });
            }
            "next_upstream_tries" => match text.parse() {
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
