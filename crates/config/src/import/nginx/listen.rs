//! `listen`: where a server is reached.

use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::tree::Directive;
use crate::suggest::did_you_mean;

/// An address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// As the cluster file has it.
    pub address: String,
    pub port: Option<u16>,
    pub default: bool,
    pub tls: bool,
    pub proxy: bool,
    pub spot: Spot,
}

/// Of a stream.
const WITHOUT_IN_STREAM: [&str; 8] = [
    "bind",
    "backlog",
    "rcvbuf",
    "sndbuf",
    "ipv6only",
    "reuseport",
    "so_keepalive",
    "fastopen",
];

const WITHOUT: [&str; 13] = [
    "http2",
    "quic",
    "reuseport",
    "deferred",
    "bind",
    "backlog",
    "rcvbuf",
    "sndbuf",
    "fastopen",
    "ipv6only",
    "so_keepalive",
    "accept_filter",
    "setfib",
];

/// A `listen` of which the address was read, or not.
fn begun(
    directive: &Directive,
    read: Result<(String, Option<u16>), String>,
    verdicts: &mut Verdicts,
) -> Option<Listen> {
    match read {
        Ok((address, port)) => Some(Listen {
            address,
            port,
            default: false,
            tls: false,
            proxy: false,
            spot: directive.spot,
        }),
        Err(message) => {
            verdicts.refuse(directive.spot, directive.at(0), message);
            None
        }
    }
}

/// Reads a `listen`.
pub(crate) fn read(directive: &Directive, verdicts: &mut Verdicts) -> Option<Listen> {
    let spot = directive.spot;
    let mut listen = begun(directive, address(directive.arg(0)), verdicts)?;
    for word in directive.args.iter().skip(1) {
        let name = word.text.split('=').next().unwrap_or_default();
        match name {
            "default_server" | "default" => listen.default = true,
            "ssl" => listen.tls = true,
            "proxy_protocol" => listen.proxy = true,
            "spdy" => verdicts.note(spot, "`spdy` is gone: HTTP/1.1 and HTTP/2 are negotiated by themselves"),
            name if WITHOUT.contains(&name) => verdicts.note(
                spot,
                format!("`{name}` has no effect: the engine chooses how it talks to the kernel, and negotiates the protocol"),
            ),
            _ => {
                let known = ["default_server", "ssl", "proxy_protocol"].into_iter().chain(WITHOUT);
                verdicts.refuse_hint(
                    spot,
                    word.spot,
                    format!("invalid parameter \"{}\"", word.text),
                    did_you_mean(name, known),
                );
            }
        }
    }
    verdicts.translated(spot);
    Some(listen)
}

/// Reads a `listen` of a stream, which has no usual port.
pub(crate) fn read_of_stream(directive: &Directive, verdicts: &mut Verdicts) -> Option<Listen> {
    let (spot, text) = (directive.spot, directive.arg(0));
    let has_port = text.starts_with("unix:")
        || text.bytes().all(|b| b.is_ascii_digit())
        || text
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.ends_with(']'));
    let read = if has_port {
        address(text)
    } else {
        Err(format!("no port in \"{text}\" of the \"listen\" directive"))
    };
    let mut listen = begun(directive, read, verdicts)?;
    for word in directive.args.iter().skip(1) {
        match word.text.split('=').next().unwrap_or_default() {
            "ssl" => listen.tls = true,
            "proxy_protocol" => listen.proxy = true,
            "udp" => verdicts.refuse(
                spot,
                word.spot,
                "datagrams are not passed on: a listener takes connections",
            ),
            name if WITHOUT_IN_STREAM.contains(&name) => verdicts.note(
                spot,
                format!("`{name}` has no effect: the engine chooses how it talks to the kernel"),
            ),
            name => {
                let known = ["ssl", "proxy_protocol"]
                    .into_iter()
                    .chain(WITHOUT_IN_STREAM);
                verdicts.refuse_hint(
                    spot,
                    word.spot,
                    format!("the invalid \"{}\" parameter", word.text),
                    did_you_mean(name, known),
                );
            }
        }
    }
    verdicts.translated(spot);
    Some(listen)
}

/// `80`, `*:80`, `127.0.0.1:80`, `127.0.0.1`, `[::]:80`, `localhost:80`, `unix:/path`.
fn address(text: &str) -> Result<(String, Option<u16>), String> {
    if text.starts_with("unix:") {
        return Ok((text.to_owned(), None));
    }
    let number = |port: &str| {
        port.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("invalid port in \"{text}\" of the \"listen\" directive"))
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let port = number(text)?;
        return Ok((format!(":{port}"), Some(port)));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, number(port)?),
        _ => (text, 80),
    };
    let host = match host {
        "*" | "0.0.0.0" | "[::]" => "",
        "" => return Err(format!("no host in \"{text}\" of the \"listen\" directive")),
        host => host,
    };
    Ok((format!("{host}:{port}"), Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        for (text, wanted) in [
            ("80", ":80"),
            ("*:8080", ":8080"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("[::]:80", ":80"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:81", "localhost:81"),
            ("unix:/run/n.sock", "unix:/run/n.sock"),
        ] {
            assert_eq!(address(text).unwrap().0, wanted);
        }
        assert!(address("localhost:http").is_err() && address("99999").is_err());
    }
}
