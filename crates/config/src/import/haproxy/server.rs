//! `server`, `default-server` and `server-template`.

use std::net::IpAddr;
use std::time::Duration;

use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::acl::Refusal;
use super::units::{self, MILLISECONDS};
use super::words::{Line, Word};
use crate::suggest::did_you_mean;

/// What is said of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Its number in statistics.
    pub id: Option<u32>,
    pub check: bool,
    pub inter: Option<Duration>,
    pub fast: Option<Duration>,
    pub rise: Option<u32>,
    pub fall: Option<u32>,
    pub check_port: Option<u16>,
    /// Whether a check speaks TLS, if that is said.
    pub check_tls: Option<bool>,
    /// Whether it speaks the PROXY protocol, likewise.
    pub check_proxy: Option<bool>,
    pub weight: Option<u16>,
    pub backup: bool,
    pub max_connections: Option<u32>,
    pub cookie: Option<String>,
    pub disabled: bool,
    pub slow_start: Option<Duration>,
    /// Requests that fail count, too: of connections alone, or of answers.
    pub observe: Option<Observed>,
    pub error_limit: Option<u32>,
    /// Its connections are cut off when it goes down.
    pub cut_when_down: bool,
    /// Those of backups when it comes up.
    pub cut_when_up: bool,
    pub tls: Option<Tls>,
    pub proxy: Option<u8>,
    /// The address that connections to it come from.
    pub source: Option<IpAddr>,
}

/// What is counted of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Connections,
    Answers,
}

/// TLS towards a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub verify: bool,
    pub ca: Option<String>,
    pub sni: Option<String>,
    pub cert: Option<String>,
}

/// A server of a backend.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub name: String,
    /// Without a port it is the one that the client came to.
    pub address: String,
    pub settings: Settings,
    pub line: Line,
}

/// Words without effect, and how many arguments follow them.
const WITHOUT: &[(&str, usize, &str)] = &[
    ("fastinter", 1, ""),
    (
        "downinter",
        1,
        "a server that is down is checked as often as one that is up",
    ),
    (
        "minconn",
        1,
        "`max-connections` is not scaled with the load",
    ),
    ("maxqueue", 1, "the queue is the backend's"),
    (
        "resolvers",
        1,
        "names are looked up through the system's resolver",
    ),
    ("resolve-prefer", 1, "all addresses of a name are used"),
    ("resolve-net", 1, "all addresses of a name are used"),
    ("resolve-opts", 1, "all addresses of a name are used"),
    (
        "init-addr",
        1,
        "a name that cannot be looked up is tried again",
    ),
    (
        "pool-max-conn",
        1,
        "kept connections are limited by themselves",
    ),
    (
        "pool-purge-delay",
        1,
        "kept connections are limited by themselves",
    ),
    (
        "pool-low-conn",
        1,
        "kept connections are limited by themselves",
    ),
    ("max-reuse", 1, "kept connections are limited by themselves"),
    (
        "agent-check",
        0,
        "there is no agent: `tandem` drains and weighs servers by its admin API",
    ),
    (
        "agent-port",
        1,
        "there is no agent: `tandem` drains and weighs servers by its admin API",
    ),
    (
        "agent-inter",
        1,
        "there is no agent: `tandem` drains and weighs servers by its admin API",
    ),
    (
        "agent-addr",
        1,
        "there is no agent: `tandem` drains and weighs servers by its admin API",
    ),
    ("alpn", 1, "HTTP/1.1 is spoken to servers"),
    (
        "ciphers",
        1,
        "TLS is rustls with its own safe choice of ciphers",
    ),
    (
        "ciphersuites",
        1,
        "TLS is rustls with its own safe choice of ciphers",
    ),
    ("force-tlsv12", 0, "the newest version both know is spoken"),
    ("force-tlsv13", 0, "the newest version both know is spoken"),
    ("ssl-min-ver", 1, "TLS 1.2 is the oldest version spoken"),
    ("ssl-max-ver", 1, "the newest version both know is spoken"),
    ("no-sslv3", 0, "TLS 1.2 is the oldest version spoken"),
    ("no-tlsv10", 0, "TLS 1.2 is the oldest version spoken"),
    ("no-tlsv11", 0, "TLS 1.2 is the oldest version spoken"),
    ("no-ssl-reuse", 0, "sessions of TLS are resumed"),
    ("check-sni", 1, "checks ask as requests do"),
    ("tfo", 0, "the engine chooses how it talks to the kernel"),
    ("tcp-ut", 1, "the engine chooses how it talks to the kernel"),
    ("agent-send", 1, "there is no agent"),
    ("no-agent-check", 0, ""),
    ("check-alpn", 1, "checks speak as requests do"),
    ("check-proto", 1, "checks speak as requests do"),
    (
        "proxy-v2-options",
        1,
        "the header says who the client is, and no more",
    ),
    ("allow-0rtt", 0, "requests wait for the handshake"),
    ("npn", 1, "HTTP/1.1 is spoken to servers"),
    ("ws", 1, "a WebSocket is asked for by HTTP/1.1"),
    ("ssl-reuse", 0, ""),
    ("tls-tickets", 0, ""),
    ("no-tls-tickets", 0, "sessions of TLS are resumed"),
    ("stick", 0, ""),
    ("no-tfo", 0, ""),
    ("no-backup", 0, ""),
    ("enabled", 0, ""),
];

const KNOWN: [&str; 28] = [
    "on-marked-down",
    "on-marked-up",
    "id",
    "check",
    "observe",
    "error-limit",
    "on-error",
    "inter",
    "fastinter",
    "rise",
    "fall",
    "port",
    "weight",
    "backup",
    "maxconn",
    "cookie",
    "disabled",
    "slowstart",
    "ssl",
    "verify",
    "ca-file",
    "crt",
    "sni",
    "send-proxy",
    "send-proxy-v2",
    "addr",
    "proto",
    "source",
];

/// The address of `source ADDRESS`; `None` leaves it to the system.
pub(crate) fn source(text: &str, at: Spot) -> Result<Option<IpAddr>, Refusal> {
    let text = text
        .strip_prefix("ipv4@")
        .or(text.strip_prefix("ipv6@"))
        .unwrap_or(text);
    if matches!(text, "*" | "0.0.0.0" | "::" | "0.0.0.0:0") {
        return Ok(None);
    }
    let plain = text.strip_suffix(":0").filter(|text| !text.contains(':'));
    let ip = plain.unwrap_or(text).parse().map(Some);
    ip.map_err(|_| {
        let message = format!("'{text}' is no address alone: the port is the system's to choose");
        Refusal::new(at, message)
    })
}

/// Reads the settings among `words` on top of `settings`.
fn settings(
    mut settings: Settings,
    words: &[Word],
    line: &Line,
    verdicts: &mut Verdicts,
) -> Settings {
    let mut at = 0;
    let mut ssl = settings.tls.is_some();
    let mut tls = settings.tls.take().unwrap_or(Tls {
        verify: true,
        ..Tls::default()
    });
    while let Some(word) = words.get(at) {
        at += 1;
        let next = words.get(at);
        let argument = next.map_or("", |word| word.text.as_str());
        let wrong = |what: &str, verdicts: &mut Verdicts| {
            let at = next.map_or(word.spot, |next| next.spot);
            verdicts.refuse(
                line.spot,
                at,
                format!("'{}' wants {what}, not '{argument}'", word.text),
            );
        };
        let time = |verdicts: &mut Verdicts| {
            let time = units::time(argument, MILLISECONDS).filter(|time| !time.is_zero());
            if time.is_none() {
                wrong("a time", verdicts);
            } else if let Some(surplus) = units::surplus(argument) {
                verdicts.note(line.spot, surplus);
            }
            time
        };
        let number = argument.parse::<u32>().ok();
        match word.text.as_str() {
            "check" => settings.check = true,
            "no-check" => settings.check = false,
            "inter" => (settings.inter, at) = (time(verdicts), at + 1),
            "fastinter" => (settings.fast, at) = (time(verdicts), at + 1),
            "slowstart" => (settings.slow_start, at) = (time(verdicts), at + 1),
            "observe" => {
                at += 1;
                settings.observe = match argument {
                    "layer4" => Some(Observed::Connections),
                    "layer7" => Some(Observed::Answers),
                    _ => {
                        wrong("layer4 or layer7", verdicts);
                        None
                    }
                };
            }
            "on-error" => {
                at += 1;
                match argument {
                    "mark-down" => {}
                    "fastinter" | "fail-check" | "sudden-death" => verdicts.note(
                        line.spot,
                        format!("`on-error {argument}`: a server that has failed as often is down at once, until checks pass"),
                    ),
                    _ => wrong("fastinter, fail-check, sudden-death or mark-down", verdicts),
                }
            }
            "rise" | "fall" | "maxconn" | "weight" | "port" | "error-limit" => {
                at += 1;
                let Some(number) = number else {
                    wrong("a number", verdicts);
                    continue;
                };
                match word.text.as_str() {
                    "rise" => settings.rise = Some(number.max(1)),
                    "fall" => settings.fall = Some(number.max(1)),
                    "error-limit" => settings.error_limit = Some(number.max(1)),
                    "maxconn" => settings.max_connections = (number > 0).then_some(number),
                    "weight" if number > 256 => wrong("a number up to 256", verdicts),
                    "weight" => settings.weight = u16::try_from(number).ok(),
                    _ => settings.check_port = u16::try_from(number).ok(),
                }
            }
            "on-marked-down" | "on-marked-up" => {
                at += 1;
                match (word.text.as_str(), argument) {
                    ("on-marked-down", "shutdown-sessions") => settings.cut_when_down = true,
                    ("on-marked-up", "shutdown-backup-sessions") => settings.cut_when_up = true,
                    ("on-marked-down", _) => wrong("shutdown-sessions", verdicts),
                    _ => wrong("shutdown-backup-sessions", verdicts),
                }
            }
            "backup" => settings.backup = true,
            "disabled" => settings.disabled = true,
            "id" => (settings.id, at) = (number, at + 1),
            "cookie" => (settings.cookie, at) = (Some(argument.to_owned()), at + 1),
            "ssl" => ssl = true,
            "no-ssl" => ssl = false,
            "verify" => (tls.verify, at) = (argument != "none", at + 1),
            "ca-file" => (tls.ca, at) = (Some(argument.to_owned()), at + 1),
            "crt" => (tls.cert, at) = (Some(argument.to_owned()), at + 1),
            "verifyhost" => (tls.sni, at) = (Some(argument.to_owned()), at + 1),
            "sni" => {
                at += 1;
                let name = argument
                    .strip_prefix("str(")
                    .and_then(|rest| rest.strip_suffix(')'));
                match name {
                    Some(name) => tls.sni = Some(name.to_owned()),
                    None => verdicts.note(
                        line.spot,
                        "`sni` that is worked out for each request is the server's name here",
                    ),
                }
            }
            "source" => {
                at += 1;
                settings.source = source(argument, next.map_or(word.spot, |next| next.spot))
                    .map_err(|refusal| refusal.tell(line.spot, verdicts))
                    .ok()
                    .flatten();
            }
            "usesrc" | "interface" => {
                at += 1;
                let what = "connections come from an address of the machine, by its own ways";
                verdicts.refuse(line.spot, word.spot, what);
            }
            "send-proxy" => settings.proxy = Some(1),
            "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                settings.proxy = Some(2);
            }
            "no-send-proxy"
            | "no-send-proxy-v2"
            | "no-send-proxy-v2-ssl"
            | "no-send-proxy-v2-ssl-cn" => settings.proxy = None,
            "check-send-proxy" => settings.check_proxy = Some(true),
            "no-check-send-proxy" => settings.check_proxy = Some(false),
            "check-ssl" => settings.check_tls = Some(true),
            "no-check-ssl" => settings.check_tls = Some(false),
            "proto" if argument == "h1" => at += 1,
            "proto" => {
                at += 1;
                let message = match argument {
                    "fcgi" => "FastCGI is spoken by a backend with `fastcgi = { root = ... }`, and fcgi-app sections are not translated".to_owned(),
                    other => format!("HTTP/1.1 is spoken to servers, not '{other}'"),
                };
                verdicts.refuse(line.spot, word.spot, message);
            }
            "track" => {
                at += 1;
                verdicts.refuse(
                    line.spot,
                    word.spot,
                    "each backend checks its own servers: `check` in place of `track`",
                );
            }
            "addr" => {
                at += 1;
                verdicts.refuse(
                    line.spot,
                    word.spot,
                    "a server is checked where it serves: 'addr' is not translated",
                );
            }
            other => {
                let Some((_, args, why)) = WITHOUT.iter().find(|(name, ..)| *name == other) else {
                    let all = KNOWN
                        .into_iter()
                        .chain(WITHOUT.iter().map(|(name, ..)| *name));
                    verdicts.refuse_hint(
                        line.spot,
                        word.spot,
                        format!("'{}' does not know '{other}'", line.word(0)),
                        did_you_mean(other, all),
                    );
                    continue;
                };
                at += args;
                if !why.is_empty() {
                    verdicts.note(line.spot, format!("`{other}` has no effect: {why}"));
                }
            }
        }
    }
    settings.tls = ssl.then_some(tls);
    settings
}

/// Reads `default-server`, on top of those before it.
pub(crate) fn defaults(before: Settings, line: &Line, verdicts: &mut Verdicts) -> Settings {
    verdicts.translated(line.spot);
    settings(before, line.from(1), line, verdicts)
}

/// Reads `server NAME ADDRESS ...`.
pub(crate) fn server(defaults: &Settings, line: &Line, verdicts: &mut Verdicts) -> Option<Server> {
    let (name, address) = (line.word(1), line.word(2));
    if address.is_empty() {
        verdicts.refuse(
            line.spot,
            line.spot,
            "'server' wants a name and an address: server NAME ADDRESS:PORT",
        );
        return None;
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if !name.chars().all(valid) {
        verdicts.refuse(
            line.spot,
            line.at(1),
            format!("'{name}' is no name: letters, digits, and - _ . : make one"),
        );
    }
    let address = match self::address(address) {
        Ok(address) => address,
        Err(message) => {
            verdicts.refuse(line.spot, line.at(2), message);
            return None;
        }
    };
    verdicts.translated(line.spot);
    Some(Server {
        name: name.to_owned(),
        address,
        settings: settings(defaults.clone(), line.from(3), line, verdicts),
        line: line.clone(),
    })
}

/// Reads `server-template PREFIX NUMBER HOST:PORT ...`: one name that may have several addresses.
pub(crate) fn template(
    defaults: &Settings,
    line: &Line,
    verdicts: &mut Verdicts,
) -> Option<Server> {
    let address = match address(line.word(3)) {
        Ok(address) => address,
        Err(message) => {
            verdicts.refuse(line.spot, line.at(3), message);
            return None;
        }
    };
    verdicts.note(
        line.spot,
        "one server by its name: it is looked up again, and every address it has is used",
    );
    Some(Server {
        name: line.word(1).to_owned(),
        address,
        settings: settings(defaults.clone(), line.from(4), line, verdicts),
        line: line.clone(),
    })
}

/// An address of a server: `10.0.0.1:80`, `name:80`, `[::1]:80`, `unix@/path`, `10.0.0.1` (the port of the client).
fn address(text: &str) -> Result<String, String> {
    if let Some(path) = text
        .strip_prefix("unix@")
        .or_else(|| text.starts_with('/').then_some(text))
    {
        return Ok(format!("unix:{path}"));
    }
    if text.starts_with("abns@")
        || text.starts_with("fd@")
        || text.starts_with("quic")
        || text.starts_with("rhttp@")
    {
        return Err(format!(
            "'{text}': servers are reached by TCP and Unix sockets"
        ));
    }
    let text = text
        .strip_prefix("ipv4@")
        .or_else(|| text.strip_prefix("ipv6@"))
        .or_else(|| text.strip_prefix("tcp@"))
        .unwrap_or(text);
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok(text.to_owned());
    };
    if port.starts_with(['+', '-']) {
        return Err(format!(
            "'{text}': a port relative to the client's is not translated"
        ));
    }
    if port.is_empty() {
        return Ok(host.to_owned());
    }
    port.parse::<u16>()
        .map_err(|_| format!("'{port}' is no port"))?;
    let host = host.trim_matches(['[', ']']);
    Ok(match host {
        "" | "*" => format!("127.0.0.1:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        for (text, wanted) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("web:8080", "web:8080"),
            ("[::1]:80", "[::1]:80"),
            ("::1:80", "[::1]:80"),
            (":9000", "127.0.0.1:9000"),
            ("unix@/run/s", "unix:/run/s"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(address(text).as_deref(), Ok(wanted));
        }
        assert!(address("a:http").is_err() && address("abns@x").is_err());
    }
}
