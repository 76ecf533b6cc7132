//! What holds at a place: settings of the blocks around it, and its own. A setting that is a list is replaced as a
//! whole by one that stands further in, as nginx has it.

use std::time::Duration;

use super::super::document::{Table, Value};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::authorize;
use super::cookies::Flags;
use super::entry::{AtOnce, Limit, Zone};
use super::fastcgi::{self, Family};
use super::renamed::Renaming;
use super::stream;
use super::tree::{Directive, Word};
use super::types::{Types, check_type};
use super::units;
use super::upstream::NextUpstream;

/// A setting and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set<T> {
    pub value: T,
    pub spot: Spot,
}

/// Longer times than this are none of a site's: the route says them.
pub(crate) const YEAR: Duration = Duration::from_hours(366 * 24);

/// How long clients may keep what they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expires {
    Off,
    /// They ask each time.
    Never,
    For(Duration),
}

/// `error_page CODE... [=[STATUS]] WHERE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorPage {
    pub statuses: Vec<u16>,
    pub status: Option<String>,
    pub to: String,
    pub spot: Spot,
}

/// Whether clients of a network may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub allow: bool,
    /// `all`, or a network.
    pub network: String,
    pub spot: Spot,
}

/// A field that is added or set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    pub value: String,
    /// Whatever the answer's status is.
    pub always: bool,
    pub spot: Spot,
}

/// `alias` of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    /// What paths there begin with; nothing where an expression finds them.
    pub at: Option<String>,
    pub directory: String,
}

/// The settings of a place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// `alias`, which holds for the locations within, too.
    pub alias: Option<Set<Alias>>,
    pub root: Option<Set<String>>,
    pub index: Option<Set<Vec<String>>>,
    pub autoindex: Option<Set<bool>>,
    pub absolute_redirect: Option<Set<bool>>,
    pub expires: Option<Set<Expires>>,
    pub types: Option<Set<Types>>,
    pub default_type: Option<Set<String>>,
    pub charset: Option<Set<String>>,
    pub charset_types: Option<Set<Vec<String>>>,
    pub gzip: Option<Set<bool>>,
    pub gzip_static: Option<Set<bool>>,
    pub gzip_types: Option<Set<Vec<String>>>,
    pub gzip_min: Option<Set<u64>>,
    /// `proxy_intercept_errors`.
    pub intercept: Option<Set<bool>>,
    pub error_pages: Vec<ErrorPage>,
    pub add_headers: Vec<Field>,
    pub access: Vec<Access>,
    /// `ssl on`: all addresses of a server speak TLS.
    pub tls: bool,
    /// `satisfy any`: by their address, or with a password.
    pub satisfy_any: bool,
    /// `auth_basic`.
    pub realm: Option<Set<String>>,
    pub users: Option<Set<String>>,
    /// `auth_request`.
    pub authorize: Option<Set<String>>,
    /// `auth_request_set`.
    pub answer_sets: Vec<Field>,
    /// `proxy_pass_request_body off`.
    pub without_body: Option<Set<bool>>,
    pub zones: Vec<Zone>,
    pub rates: Vec<Limit>,
    /// `limit_conn_zone`, by name: what is counted by.
    pub counted_by: Vec<(String, String)>,
    pub at_once: Vec<AtOnce>,
    /// `valid_referers`.
    pub referers: Option<Set<Vec<Word>>>,
    pub access_log: Option<Set<String>>,
    pub max_body: Option<Set<u64>>,
    pub header_timeout: Option<Set<Duration>>,
    pub body_timeout: Option<Set<Duration>>,
    pub keepalive: Option<Set<Duration>>,
    /// `set_real_ip_from`.
    pub trust: Vec<Set<String>>,
    pub real_ip_header: Option<Set<String>>,
    pub real_ip_recursive: Option<Set<bool>>,
    pub proxy_headers: Vec<Field>,
    pub hidden_headers: Vec<Set<String>>,
    pub redirects: Vec<Renaming>,
    pub cookie_paths: Vec<Renaming>,
    pub cookie_domains: Vec<Renaming>,
    pub cookie_flags: Vec<Flags>,
    pub connect_timeout: Option<Set<Duration>>,
    pub read_timeout: Option<Set<Duration>>,
    pub next_upstream: Option<Set<NextUpstream>>,
    pub tries: Option<Set<u64>>,
    pub fastcgi: fastcgi::Settings,
    pub uwsgi: fastcgi::Settings,
    pub scgi: fastcgi::Settings,
    pub verify: Option<Set<bool>>,
    pub tls_name: Option<Set<String>>,
    pub tls_ca: Option<Set<String>>,
    /// `proxy_ssl_certificate`, and its key.
    pub tls_cert: Option<Set<String>>,
    pub tls_key: Option<Set<String>>,
    /// What only a stream says.
    pub stream: stream::Settings,
    pub certificates: Vec<Set<String>>,
    pub keys: Vec<Set<String>>,
    pub client_ca: Option<Set<String>>,
    pub verify_client: Option<Set<VerifyClient>>,
    pub client_crl: Option<Set<String>>,
    pub reject_handshake: Option<Set<bool>>,
    pub only_tls13: Option<Set<bool>>,
}

/// What clients have to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clients<'s> {
    pub authorities: &'s str,
    pub verify: VerifyClient,
    /// Lists of revoked certificates.
    pub revoked: Option<&'s str>,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyClient {
    Off,
    Optional,
    On,
}

impl VerifyClient {
    /// What a directive says; what it cannot say is refused, and holds as off.
    fn read(directive: &Directive, verdicts: &mut Verdicts) -> Option<Self> {
        Some(match directive.arg(0) {
            "on" => Self::On,
            "off" => Self::Off,
            "optional" => Self::Optional,
            other => {
                let message = if other == "optional_no_ca" {
                    "certificates that nobody verified are not taken: `optional` lets clients without one in".to_owned()
                } else {
                    format!("invalid value \"{other}\"")
                };
                verdicts.refuse(directive.spot, directive.at(0), message);
                return None;
            }
        })
    }
}

impl Scope {
    /// Whose certificates clients are asked for; `None` when they are not asked.
    pub fn clients(&self) -> Option<Clients<'_>> {
        let verify = self.verify_client.as_ref()?.value;
        let authorities = self.client_ca.as_ref()?;
        (verify != VerifyClient::Off).then_some(Clients {
            authorities: &authorities.value,
            verify,
            revoked: self.client_crl.as_ref().map(|set| set.value.as_str()),
        })
    }

    /// Nobody gets past the handshake.
    pub fn rejects_handshakes(&self) -> bool {
        self.reject_handshake.as_ref().is_some_and(|set| set.value)
    }

    /// The settings within a block, which has `list` in it.
    pub fn within(
        &self,
        list: &[Directive],
        file_of: &dyn Fn(Spot) -> String,
        verdicts: &mut Verdicts,
    ) -> Self {
        let mut inner = self.clone();
        let mut own = Own::default();
        for directive in list {
            if inner.read(directive, &mut own, file_of, verdicts) {
                verdicts.translated(directive.spot);
            }
        }
        own.replace(&mut inner);
        inner
    }

    fn read(
        &mut self,
        directive: &Directive,
        own: &mut Own,
        file_of: &dyn Fn(Spot) -> String,
        verdicts: &mut Verdicts,
    ) -> bool {
        let spot = directive.spot;
        let arg = |at| directive.arg(at).to_owned();
        let text = || {
            Some(Set {
                value: directive.arg(0).to_owned(),
                spot,
            })
        };
        let mut wrong = |what: &str| {
            verdicts.refuse(
                spot,
                directive.at(0),
                format!("invalid value \"{}\": {what}", directive.arg(0)),
            );
        };
        let mut switch = || match directive.arg(0) {
            "on" | "always" => Some(Set { value: true, spot }),
            "off" => Some(Set { value: false, spot }),
            _ => {
                wrong("it must be \"on\" or \"off\"");
                None
            }
        };
        match directive.name.text.as_str() {
            "root" if directive.arg(0).contains('$') => {
                verdicts.refuse(
                    spot,
                    directive.at(0),
                    "a directory is named, not worked out for each request: a server for each host has one of its own",
                );
            }
            "root" => self.root = text(),
            "error_log" => {
                verdicts.without(
                    spot,
                    "errors of all places are in one log: the `error_log` of main, or `[cluster] log`",
                );
                return false;
            }
            "ssl" => self.tls = switch().is_some_and(|set| set.value),
            "satisfy" => match directive.arg(0) {
                "any" => self.satisfy_any = true,
                "all" => self.satisfy_any = false,
                _ => wrong("it must be \"all\" or \"any\""),
            },
            "absolute_redirect" => self.absolute_redirect = switch(),
            "autoindex" => self.autoindex = switch(),
            "autoindex_format" if directive.arg(0) != "html" => {
                wrong("a listing is a page for browsers: html");
            }
            "autoindex_format" => {}
            "gzip" => self.gzip = switch(),
            "gzip_static" => {
                self.gzip_static = switch();
                if directive.arg(0) == "always" {
                    let message = "a client that does not take gzip gets the file itself";
                    verdicts.note(spot, message);
                }
            }
            "gzip_types" => {
                let types = directive.args.iter().map(|word| word.text.clone());
                self.gzip_types = Some(Set {
                    value: types.collect(),
                    spot,
                });
            }
            "gzip_min_length" => match units::size(directive.arg(0)) {
                Some(value) => self.gzip_min = Some(Set { value, spot }),
                None => wrong("it is no size"),
            },
            "proxy_intercept_errors" => self.intercept = switch(),
            "auth_request" => self.authorize = text(),
            "auth_request_set" => own
                .answer_sets
                .extend(authorize::read_set(directive, verdicts)),
            "proxy_pass_request_body" => {
                self.without_body = switch().map(|set| Set {
                    value: !set.value,
                    ..set
                });
            }
            "proxy_pass_request_headers" => {
                if switch().is_some_and(|set| !set.value) {
                    verdicts.refuse(
                        spot,
                        directive.at(0),
                        "servers get what clients send: name what they must not get in `proxy_set_header NAME \"\"`",
                    );
                }
            }
            "real_ip_header" => self.real_ip_header = text(),
            "real_ip_recursive" => self.real_ip_recursive = switch(),
            "proxy_ssl_verify" => self.verify = switch(),
            "auth_basic" => self.realm = text(),
            "auth_basic_user_file" => self.users = text(),
            "limit_req_zone" => self.zones.extend(Zone::read(directive, verdicts)),
            "limit_conn_zone" => {
                let zone = directive.arg(1).strip_prefix("zone=").unwrap_or_default();
                let name = zone.split(':').next().unwrap_or_default().to_owned();
                self.counted_by.push((name, arg(0)));
            }
            "valid_referers" => {
                let value = directive.args.clone();
                self.referers = Some(Set { value, spot });
            }
            "limit_conn" => own.at_once.extend(AtOnce::read(directive, verdicts)),
            "limit_req" => own.rates.extend(Limit::read(directive, verdicts)),
            "default_type" => {
                self.default_type = text();
                check_type(directive.arg(0), spot, directive.at(0), verdicts);
            }
            "charset" => {
                self.charset = text();
                let name = directive.arg(0);
                let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:+".contains(c);
                if name.is_empty() || !name.chars().all(is_name) {
                    let message = format!("\"{name}\" is no charset");
                    verdicts.refuse(spot, directive.at(0), message);
                }
            }
            "proxy_ssl_name" => self.tls_name = text(),
            "proxy_ssl_trusted_certificate" => self.tls_ca = text(),
            "proxy_ssl_certificate" => self.tls_cert = text().filter(|set| !set.value.is_empty()),
            "proxy_ssl_certificate_key" => {
                self.tls_key = text().filter(|set| !set.value.is_empty());
            }
            "ssl_client_certificate" => self.client_ca = text(),
            "ssl_crl" => self.client_crl = text(),
            "ssl_reject_handshake" => self.reject_handshake = switch(),
            "ssl_certificate" => own.certificates.extend(text()),
            "ssl_certificate_key" => own.keys.extend(text()),
            "ssl_verify_client" => {
                self.verify_client =
                    VerifyClient::read(directive, verdicts).map(|value| Set { value, spot });
            }
            "ssl_protocols" => {
                let all: Vec<&str> = directive
                    .args
                    .iter()
                    .map(|word| word.text.as_str())
                    .collect();
                self.only_tls13 = Some(Set {
                    value: all == ["TLSv1.3"],
                    spot,
                });
                if all
                    .iter()
                    .any(|version| !matches!(*version, "TLSv1.2" | "TLSv1.3"))
                {
                    verdicts.note(spot, "TLS 1.2 is the oldest version spoken");
                }
            }
            "charset_types" => {
                let types = directive.args.iter().map(|word| word.text.clone());
                self.charset_types = Some(Set {
                    value: types.collect(),
                    spot,
                });
            }
            "index" => {
                let names = directive
                    .args
                    .iter()
                    .map(|word| word.text.clone())
                    .collect();
                self.index = Some(Set { value: names, spot });
            }
            "types" => {
                let types = own.types.get_or_insert_with(|| Set {
                    value: Types::default(),
                    spot,
                });
                types.value.read(directive, file_of, verdicts);
            }
            "expires" => self.expires(directive, verdicts),
            "error_page" => own.error_pages.extend(error_page(directive, verdicts)),
            "add_header" => {
                if directive.args.len() == 3 && directive.arg(2) != "always" {
                    verdicts.refuse(
                        spot,
                        directive.at(2),
                        format!("invalid parameter \"{}\"", directive.arg(2)),
                    );
                }
                // An empty value adds nothing, but takes the place of what is further out.
                own.add_headers.push(Field {
                    name: arg(0),
                    value: arg(1),
                    always: directive.arg(2) == "always",
                    spot,
                });
            }
            "proxy_redirect" => own.redirects.extend(Renaming::read(directive, verdicts)),
            "proxy_cookie_path" => own.cookie_paths.extend(Renaming::read(directive, verdicts)),
            "proxy_cookie_domain" => own
                .cookie_domains
                .extend(Renaming::read(directive, verdicts)),
            "proxy_cookie_flags" => own.cookie_flags.extend(Flags::read(directive, verdicts)),
            "proxy_set_header" => own.proxy_headers.push(Field {
                name: arg(0),
                value: arg(1),
                always: true,
                spot,
            }),
            "proxy_hide_header" => own.hidden_headers.extend(text()),
            "allow" | "deny" => {
                let network = match directive.arg(0) {
                    "all" => Some("all".to_owned()),
                    "unix:" => None,
                    text => super::super::haproxy::network(text),
                };
                match network {
                    Some(network) => own.access.push(Access {
                        allow: directive.is("allow"),
                        network,
                        spot,
                    }),
                    None => verdicts.refuse(
                        spot,
                        directive.at(0),
                        format!("invalid parameter \"{}\"", directive.arg(0)),
                    ),
                }
            }
            "set_real_ip_from" => match super::super::haproxy::network(directive.arg(0)) {
                Some(value) => own.trust.push(Set { value, spot }),
                None => verdicts.refuse(
                    spot,
                    directive.at(0),
                    format!(
                        "host not found in set_real_ip_from \"{}\"",
                        directive.arg(0)
                    ),
                ),
            },
            "access_log" => {
                self.access_log = text();
                if directive
                    .args
                    .iter()
                    .any(|word| word.text.starts_with("if="))
                {
                    verdicts.note(spot, "every request is logged, whatever `if=` says");
                }
                if directive.args.len() > 1 && !matches!(directive.arg(1), "combined" | "main") {
                    verdicts.note(
                        spot,
                        "the access log is in combined form with timings, whatever the format",
                    );
                }
            }
            "client_max_body_size" => match units::size(directive.arg(0)) {
                Some(value) => self.max_body = Some(Set { value, spot }),
                None => wrong("it is no size"),
            },
            "client_header_timeout"
            | "client_body_timeout"
            | "keepalive_timeout"
            | "proxy_connect_timeout"
            | "proxy_read_timeout" => {
                let Some(value) = units::time(directive.arg(0)) else {
                    wrong("it is no time");
                    return false;
                };
                let set = Some(Set { value, spot });
                match directive.name.text.as_str() {
                    "client_header_timeout" => self.header_timeout = set,
                    "client_body_timeout" => self.body_timeout = set,
                    "keepalive_timeout" => self.keepalive = set,
                    "proxy_connect_timeout" => self.connect_timeout = set,
                    _ => self.read_timeout = set,
                }
            }
            "proxy_next_upstream" => {
                let value = NextUpstream::read(directive, verdicts);
                self.next_upstream = Some(Set { value, spot });
            }
            "proxy_next_upstream_tries" => match directive.arg(0).parse() {
                Ok(value) => self.tries = Some(Set { value, spot }),
                Err(_) => wrong("it is no number"),
            },
            _ => {
                let mut said = [
                    (Family::FastCgi, &mut self.fastcgi, &mut own.fastcgi),
                    (Family::Uwsgi, &mut self.uwsgi, &mut own.uwsgi),
                    (Family::Scgi, &mut self.scgi, &mut own.scgi),
                ];
                return self.stream.read(directive, verdicts)
                    || said
                        .iter_mut()
                        .any(|(family, all, own)| all.read(*family, directive, own, verdicts));
            }
        }
        true
    }

    /// How answers of servers are compressed, if they are.
    pub fn compression(&self) -> Option<Table> {
        self.gzip.as_ref().filter(|set| set.value)?;
        let mut rules = Table::default();
        let named = self.gzip_types.as_ref().map_or(&[][..], |set| &set.value);
        if !named.iter().any(|kind| kind == "*") {
            // HTML always is.
            let mut types = vec!["text/html".to_owned()];
            types.extend(named.iter().filter(|kind| *kind != "text/html").cloned());
            rules.put("types", Value::texts(types));
        }
        let min = self.gzip_min.as_ref().map_or(20, |set| set.value);
        rules.put("min", Value::text(units::show_size(min)));
        rules.put("codings", Value::text("gzip"));
        Some(rules)
    }

    fn expires(&mut self, directive: &Directive, verdicts: &mut Verdicts) {
        let spot = directive.spot;
        if directive.arg(0) == "modified" {
            verdicts.refuse(
                spot,
                directive.at(0),
                "files may be kept from now on, not from their last change",
            );
            return;
        }
        let value = match directive.arg(0) {
            "off" => Expires::Off,
            "epoch" => Expires::Never,
            "max" => Expires::For(Duration::from_hours(3650 * 24)),
            text if text.starts_with('-') => Expires::Never,
            text => match units::time(text.trim_start_matches('+')) {
                Some(time) => Expires::For(time),
                None => {
                    let what = if text.starts_with(['@', '$']) {
                        "only a time is translated"
                    } else {
                        "invalid value"
                    };
                    return verdicts.refuse(spot, directive.at(0), what);
                }
            },
        };
        self.expires = Some(Set { value, spot });
    }
}

/// Lists of the block itself, which replace those of the blocks around it.
#[derive(Default)]
struct Own {
    types: Option<Set<Types>>,
    error_pages: Vec<ErrorPage>,
    add_headers: Vec<Field>,
    answer_sets: Vec<Field>,
    access: Vec<Access>,
    rates: Vec<Limit>,
    at_once: Vec<AtOnce>,
    proxy_headers: Vec<Field>,
    hidden_headers: Vec<Set<String>>,
    redirects: Vec<Renaming>,
    cookie_paths: Vec<Renaming>,
    cookie_domains: Vec<Renaming>,
    cookie_flags: Vec<Flags>,
    trust: Vec<Set<String>>,
    certificates: Vec<Set<String>>,
    keys: Vec<Set<String>>,
    fastcgi: fastcgi::Settings,
    uwsgi: fastcgi::Settings,
    scgi: fastcgi::Settings,
}

impl Own {
    fn replace(self, scope: &mut Scope) {
        fn take<T>(own: Vec<T>, outer: &mut Vec<T>) {
            if !own.is_empty() {
                *outer = own;
            }
        }
        if self.types.is_some() {
            scope.types = self.types;
        }
        take(self.error_pages, &mut scope.error_pages);
        take(self.add_headers, &mut scope.add_headers);
        take(self.answer_sets, &mut scope.answer_sets);
        take(self.access, &mut scope.access);
        take(self.rates, &mut scope.rates);
        take(self.at_once, &mut scope.at_once);
        take(self.proxy_headers, &mut scope.proxy_headers);
        take(self.hidden_headers, &mut scope.hidden_headers);
        take(self.redirects, &mut scope.redirects);
        take(self.cookie_paths, &mut scope.cookie_paths);
        take(self.cookie_domains, &mut scope.cookie_domains);
        take(self.cookie_flags, &mut scope.cookie_flags);
        take(self.trust, &mut scope.trust);
        take(self.certificates, &mut scope.certificates);
        take(self.keys, &mut scope.keys);
        scope.fastcgi.replace(self.fastcgi);
        scope.uwsgi.replace(self.uwsgi);
        scope.scgi.replace(self.scgi);
    }
}

fn error_page(directive: &Directive, verdicts: &mut Verdicts) -> Option<ErrorPage> {
    let spot = directive.spot;
    let (to, codes) = directive.args.split_last()?;
    let (status, codes) = match codes.split_last() {
        Some((last, rest)) if last.text.starts_with('=') => (Some(last.text[1..].to_owned()), rest),
        _ => (None, codes),
    };
    let mut statuses = Vec::new();
    for word in codes {
        match word.text.parse::<u16>() {
            Ok(status) if (300..=599).contains(&status) => statuses.push(status),
            Ok(_) => {
                verdicts.refuse(
                    spot,
                    word.spot,
                    format!("value \"{}\" must be between 300 and 599", word.text),
                );
                return None;
            }
            Err(_) => {
                verdicts.refuse(spot, word.spot, format!("invalid value \"{}\"", word.text));
                return None;
            }
        }
    }
    if statuses.is_empty() {
        verdicts.refuse(spot, spot, "which statuses? error_page 404 /404.html");
        return None;
    }
    Some(ErrorPage {
        statuses,
        status,
        to: to.text.clone(),
        spot,
    })
}
