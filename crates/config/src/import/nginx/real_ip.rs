//! `set_real_ip_from`, `real_ip_header`, `real_ip_recursive`: whose word is taken on who the client is.
//!
//! A listener takes it from X-Forwarded-For, and from PROXY headers. nginx looks at X-Real-IP unless it is told another
//! field; who fills in only that one passes the X-Forwarded-For of clients on, which must not be believed then.

use super::listen::Listen;
use super::scope::Scope;
use super::tree::Directive;
use super::{Server, Translator};

/// The field that nginx looks at where it is not told.
const USUAL: &str = "X-Real-IP";

impl Translator<'_> {
    /// The networks for `trust` of a listener.
    pub fn trust(&mut self, listen: &Listen, members: &[&Server<'_>], proxy: bool) -> Vec<String> {
        let mut trust: Vec<String> = Vec::new();
        for server in members {
            let scope = &server.scope;
            let Some(first) = scope.trust.first() else {
                continue;
            };
            let header = scope.real_ip_header.as_ref();
            let spot = header.map_or(first.spot, |set| set.spot);
            let header = header.map_or(USUAL, |set| set.value.as_str());
            if header == "proxy_protocol" {
                if !proxy {
                    self.verdicts.note(
                        spot,
                        "connections begin with a PROXY header where `listen ... proxy_protocol` says so: none is looked at here",
                    );
                    continue;
                }
                self.verdicts.note(
                    spot,
                    "whom a PROXY header names is the client; if it is in one of these networks itself, its X-Forwarded-For is believed",
                );
            } else if proxy {
                self.verdicts.refuse(
                    spot,
                    spot,
                    "whom a PROXY header names is the client: write `real_ip_header proxy_protocol`",
                );
            } else if header.eq_ignore_ascii_case("X-Forwarded-For") {
                let recursive = scope
                    .real_ip_recursive
                    .as_ref()
                    .is_some_and(|set| set.value);
                let last = if recursive {
                    ""
                } else {
                    "of a list the last address that is not in these networks is the client, and with `real_ip_recursive off` it is the last one; "
                };
                self.verdicts.note(
                    spot,
                    format!(
                        "{last}these networks are believed in X-Forwarded-Proto and X-Request-ID, too"
                    ),
                );
            } else {
                self.verdicts.refuse(
                    spot,
                    spot,
                    format!(
                        "nginx looks at {header} here, and X-Forwarded-For is what is believed: if it is filled in by these, \
                         write `real_ip_header X-Forwarded-For`; if they pass on what clients say in it, leave `set_real_ip_from` out"
                    ),
                );
            }
            for set in &scope.trust {
                if !trust.contains(&set.value) {
                    trust.push(set.value.clone());
                }
            }
        }
        let differ = |server: &&&Server<'_>| {
            let mut own = server.scope.trust.iter();
            !trust.is_empty()
                && trust
                    .iter()
                    .any(|network| !own.any(|set| set.value == *network))
        };
        if let Some(other) = members.iter().find(differ) {
            self.verdicts.note(
                other.directive.spot,
                "a listener believes the same networks for all of its servers",
            );
        }
        if proxy && trust.is_empty() {
            self.verdicts.refuse(
                listen.spot,
                listen.spot,
                "who may say in a PROXY header who the client is? `set_real_ip_from` names the networks, with `real_ip_header proxy_protocol`",
            );
        }
        trust
    }

    /// The networks for `trust` of a listener of a stream, where only a PROXY header says who the client is.
    pub fn trust_of_stream(&mut self, listen: &Listen, scope: &Scope) -> Vec<String> {
        let first = scope.trust.first();
        match (listen.proxy, first) {
            (false, Some(first)) => self.verdicts.note(
                first.spot,
                "connections begin with a PROXY header where `listen ... proxy_protocol` says so: none is looked at here",
            ),
            (true, Some(first)) => self.verdicts.note(
                first.spot,
                "these alone may open connections here; nginx takes a PROXY header of anybody, and believes that of these",
            ),
            (true, None) => self.verdicts.refuse(
                listen.spot,
                listen.spot,
                "who may say in a PROXY header who the client is? `set_real_ip_from` names the networks",
            ),
            (false, None) => {}
        }
        let trust = scope.trust.iter().filter(|_| listen.proxy);
        trust.map(|set| set.value.clone()).collect()
    }

    /// A location has none of its own.
    pub fn refuse_real_ip(&mut self, list: &[Directive]) {
        for directive in list {
            if directive.is("set_real_ip_from") || directive.is("real_ip_header") {
                self.verdicts.refuse(
                    directive.spot,
                    directive.spot,
                    "who the client is is known before its location: say it in the server",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{are_noted, are_refused, direct};

    const FROM: &str = "set_real_ip_from 10.0.0.0/8;";

    #[test]
    fn a_field_that_is_not_looked_at_is_not_believed() {
        let server = |listen: &str, lines: &str| {
            format!("{lines} server {{ listen 127.0.0.1:81{listen}; root /srv; }}")
        };
        let usual = "nginx looks at X-Real-IP";
        are_refused(&[
            (&server("", FROM), usual),
            (
                &server("", &format!("{FROM} real_ip_header X-Real-IP;")),
                usual,
            ),
            (
                &server("", &format!("{FROM} real_ip_header CF-Connecting-IP;")),
                "CF-Connecting-IP",
            ),
            (
                &server(" proxy_protocol", ""),
                "who may say in a PROXY header",
            ),
            (
                &server(
                    " proxy_protocol",
                    &format!("{FROM} real_ip_header X-Forwarded-For;"),
                ),
                "write `real_ip_header proxy_protocol`",
            ),
            (
                "server { location / { set_real_ip_from 10.0.0.1; } }",
                "known before its location",
            ),
        ]);
        are_noted(&[
            (
                &server("", &format!("{FROM} real_ip_header X-Forwarded-For;")),
                "`real_ip_recursive off`",
            ),
            (
                &server("", &format!("{FROM} real_ip_header proxy_protocol;")),
                "none is looked at",
            ),
        ]);
        let trusts = |http: &str| {
            let loaded = direct(http).loaded.expect("it is taken");
            loaded.cluster.listeners[0].trust.len()
        };
        assert_eq!(trusts(&server("", "real_ip_header X-Real-IP;")), 0);
        assert_eq!(
            trusts(&server(
                "",
                &format!("{FROM} real_ip_header proxy_protocol;")
            )),
            0
        );
        for (listen, header) in [
            ("", "x-forwarded-for"),
            (" proxy_protocol", "proxy_protocol"),
        ] {
            let lines = format!("{FROM} real_ip_header {header};");
            assert_eq!(trusts(&server(listen, &lines)), 1, "{header}");
        }
    }
}
