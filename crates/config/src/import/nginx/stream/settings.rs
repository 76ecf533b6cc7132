//! What only a stream says of a place.

use std::time::Duration;

use super::super::super::report::Verdicts;
use super::super::scope::Set;
use super::super::tree::Directive;
use super::super::units;

/// What only a stream says of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `ssl_preread`.
    pub(super) preread: Option<Set<bool>>,
    /// `proxy_ssl`.
    pub(super) tls: Option<Set<bool>>,
    /// `proxy_protocol`.
    header: Option<Set<bool>>,
    /// `proxy_ssl_server_name`.
    server_name: Option<Set<bool>>,
    /// `proxy_timeout`.
    pub(super) idle: Option<Set<Duration>>,
    pub(super) preread_timeout: Option<Set<Duration>>,
    pub(super) header_timeout: Option<Set<Duration>>,
    pub(super) handshake_timeout: Option<Set<Duration>>,
}

impl Settings {
    /// Reads a directive of a block.
    pub fn read(&mut self, directive: &Directive, verdicts: &mut Verdicts) -> bool {
        let (spot, text) = (directive.spot, directive.arg(0));
        let mut wrong = |what: &str| {
            let message = format!("invalid value \"{text}\": {what}");
            verdicts.refuse(spot, directive.at(0), message);
        };
        let switch = match directive.name.text.as_str() {
            "ssl_preread" => &mut self.preread,
            "proxy_ssl" => &mut self.tls,
            "proxy_protocol" => &mut self.header,
            "proxy_ssl_server_name" => &mut self.server_name,
            name => {
                let time = match name {
                    "proxy_timeout" => &mut self.idle,
                    "preread_timeout" => &mut self.preread_timeout,
                    "proxy_protocol_timeout" => &mut self.header_timeout,
                    "ssl_handshake_timeout" => &mut self.handshake_timeout,
                    _ => return false,
                };
                match units::time(text) {
                    Some(value) => *time = Some(Set { value, spot }),
                    None => wrong("it is no time"),
                }
                return true;
            }
        };
        match text {
            "on" | "off" => {
                let value = text == "on";
                *switch = Some(Set { value, spot });
            }
            _ => wrong("it must be \"on\" or \"off\""),
        }
        true
    }

    /// Servers get a PROXY header.
    pub fn sends_header(&self) -> bool {
        is_on(self.header.as_ref())
    }

    /// Servers are asked for by a name of TLS.
    pub fn asks_servers_by_name(&self) -> bool {
        is_on(self.server_name.as_ref())
    }
}

pub(super) fn is_on(set: Option<&Set<bool>>) -> bool {
    set.is_some_and(|set| set.value)
}
