//! The kinds of values that several tables use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tandem_model::{Address, ProxyVersion, Size};
use toml::de::DeValue;

use crate::duration;
use crate::reader::Reader;
use crate::span::{At, Item, values};
use crate::suggest::did_you_mean;
use crate::table::{Kind, in_order, unavailable};

pub(crate) const TEXT: Kind<String> = Kind {
    text: "text",
    read: |reader, item| reader.filled(item, "text"),
};

pub(crate) const TEXTS: Kind<Vec<String>> = Kind {
    text: "list of texts",
    read: |reader, item| Some(texts(reader, item)),
};

pub(crate) const NAME: Kind<String> = Kind {
    text: "name",
    read: |reader, item| reader.filled(item, "a name"),
};

pub(crate) const NAMES: Kind<Vec<At<String>>> = Kind {
    text: "list of node names",
    read: |reader, item| {
        Some(reader.list(item, |reader, item| reader.filled(item, "a node's name")))
    },
};

pub(crate) const NODES: Kind<Vec<At<String>>> = Kind {
    text: NAMES.text,
    read: |reader, item| {
        Some(reader.some(item, |reader, item| reader.filled(item, "a node's name")))
    },
};

pub(crate) const PATH: Kind<PathBuf> = Kind {
    text: "path",
    read: |reader, item| reader.path(item),
};

pub(crate) const BOOL: Kind<bool> = Kind {
    text: "true or false",
    read: |reader, item| reader.bool(item),
};

pub(crate) const PORT: Kind<u16> = Kind {
    text: "port",
    read: |reader, item| Some(reader.integer(item, 1..=65_535, "a port")? as u16),
};

pub(crate) const COUNT: Kind<u32> = Kind {
    text: "number",
    read: |reader, item| Some(reader.integer(item, 1..=1_000, "a number")? as u32),
};

pub(crate) const COUNT_OR_NONE: Kind<u32> = Kind {
    text: "number",
    read: |reader, item| Some(reader.integer(item, 0..=1_000, "a number")? as u32),
};

pub(crate) const CONNECTIONS: Kind<u32> = Kind {
    text: "number",
    read: |reader, item| Some(reader.integer(item, 1..=1_000_000, "a number")? as u32),
};

pub(crate) const WORKERS: Kind<u16> = Kind {
    text: "number",
    read: |reader, item| Some(reader.integer(item, 1..=1_024, "a number of workers")? as u16),
};

pub(crate) const WEIGHT: Kind<u16> = Kind {
    text: "number from 0 to 256",
    read: weight,
};

pub(crate) const STATUS: Kind<u16> = Kind {
    text: "status code",
    read: |reader, item| Some(reader.integer(item, 100..=599, "a status code")? as u16),
};

pub(crate) const SIZE: Kind<Size> = Kind {
    text: "size",
    read: |reader, item| reader.parsed(item, "a size like \"128 MiB\"", str::parse),
};

pub(crate) const DURATION: Kind<Duration> = Kind {
    text: "duration",
    read: |reader, item| reader.parsed(item, "a duration like \"2s\"", duration::parse),
};

pub(crate) const PROXY_VERSION: Kind<ProxyVersion> = Kind {
    text: "\"v1\" or \"v2\"",
    read: proxy_version,
};

pub(crate) const ADDRESS: Kind<Address> = Kind {
    text: "address",
    read: server,
};

pub(crate) const BIND: Kind<Vec<At<Address>>> = Kind {
    text: "list of addresses",
    read: |reader, item| Some(reader.some(item, |reader, item| address(reader, item, ""))),
};

pub(crate) const NETS: Kind<Vec<IpNet>> = Kind {
    text: "list of networks",
    read: |reader, item| Some(values(&reader.some(item, net))),
};

pub(crate) const MAP: Kind<BTreeMap<String, String>> = Kind {
    text: "table of texts",
    read: |reader, item| {
        let DeValue::Table(table) = item.get_ref() else {
            reader.expected(item, "a table of texts like { NAME = \"value\" }");
            return None;
        };
        let mut map = BTreeMap::new();
        for (name, item) in in_order(table) {
            if let Some(text) = reader.text(item, "text") {
                map.insert(name.value.to_owned(), text);
            }
        }
        Some(map)
    },
};

/// Texts, each of which says something.
pub(crate) fn texts(reader: &mut Reader<'_>, item: &Item<'_>) -> Vec<String> {
    values(&reader.list(item, |reader, item| reader.filled(item, "text")))
}

fn proxy_version(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<ProxyVersion> {
    match reader.filled(item, "\"v1\" or \"v2\"")?.as_str() {
        "v1" => Some(ProxyVersion::V1),
        "v2" => Some(ProxyVersion::V2),
        other => {
            let hint = did_you_mean(other, ["v1", "v2"]);
            reader.wrong_hint(&item.span(), "the versions are \"v1\" and \"v2\"", hint);
            None
        }
    }
}

pub(crate) fn weight(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<u16> {
    Some(reader.integer(item, 0..=256, "a weight")? as u16)
}

/// A program and its arguments.
pub(crate) fn command(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Vec<String>> {
    let list = match item.get_ref() {
        DeValue::Array(items) => items
            .iter()
            .enumerate()
            .filter_map(|(i, item)| match i {
                0 => reader.filled(item, "a program"),
                _ => reader.text(item, "an argument"),
            })
            .collect(),
        _ => {
            let one = reader.filled(item, "a program and its arguments")?;
            if one.contains(char::is_whitespace) {
                let words: Vec<String> = one
                    .split_whitespace()
                    .map(|word| format!("{word:?}"))
                    .collect();
                reader.wrong_hint(
                    &item.span(),
                    "a program and its arguments are a list",
                    Some(format!("write [{}]", words.join(", "))),
                );
                return None;
            }
            vec![one]
        }
    };
    if list.is_empty() {
        reader.wrong(&item.span(), "a program is missing");
        return None;
    }
    Some(list)
}

/// Where something listens: the host may be empty. `host` is what is proposed where only a port is written.
pub(crate) fn address(reader: &mut Reader<'_>, item: &Item<'_>, host: &str) -> Option<Address> {
    let what = "an address like \"127.0.0.1:8080\"";
    let of_port = |number: &str| {
        let port = number.parse::<u16>().ok().filter(|port| *port > 0);
        port.map(|port| format!("write \"{host}:{port}\""))
    };
    if let DeValue::Integer(number) = item.get_ref() {
        reader.expected_hint(item, what, of_port(number.as_str()));
        return None;
    }
    let text = reader.filled(item, what)?;
    if let Some(hint) = of_port(&text) {
        let message = "an address is \"host:port\", \":port\" or \"unix:/path\"";
        reader.wrong_hint(&item.span(), message, Some(hint));
        return None;
    }
    if text.starts_with("unix:") {
        let address = text
            .parse()
            .inspect_err(|error| reader.wrong(&item.span(), *error));
        return match address.ok()? {
            Address::Unix(path) => {
                let path = reader.base.join(path).to_string_lossy().into_owned();
                Some(Address::Unix(path))
            }
            address @ Address::Tcp { .. } => Some(address),
        };
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        if scheme == "fcgi" {
            reader.wrong(&item.span(), unavailable("fcgi://"));
        } else {
            let hint = without_path(scheme, rest).map(|address| format!("write \"{address}\""));
            let message = if rest.trim_end_matches('/').contains('/') {
                "an address has no scheme and no path"
            } else {
                "an address has no scheme"
            };
            reader.wrong_hint(&item.span(), message, hint);
        }
        return None;
    }
    if text.contains(|c: char| c.is_whitespace() || c == '/') {
        reader.wrong(
            &item.span(),
            "an address is \"host:port\", \":port\" or \"unix:/path\"",
        );
        return None;
    }
    let address = text.parse();
    address
        .inspect_err(|error| reader.wrong(&item.span(), *error))
        .ok()
}

/// Host and port of what stands behind the scheme of a URL, if there are any.
fn without_path(scheme: &str, rest: &str) -> Option<Address> {
    let authority = rest.split(['/', '?', '#']).next()?;
    let port = match scheme {
        "https" | "wss" => 443,
        _ => 80,
    };
    let address = authority
        .parse()
        .ok()
        .or_else(|| format!("{authority}:{port}").parse().ok());
    address.filter(
        |address| matches!(address, Address::Tcp { host, port } if is_host(host) && *port > 0),
    )
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
}

/// Where something is to be reached: host and port are needed.
pub(crate) fn server(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Address> {
    let address = address(reader, item, "127.0.0.1")?;
    if let Address::Tcp { host, port } = &address {
        if host.is_empty() {
            reader.wrong_hint(
                &item.span(),
                "the address of a server names its host",
                Some(format!("\"127.0.0.1:{port}\" is this machine")),
            );
            return None;
        }
        if *port == 0 {
            reader.wrong(&item.span(), "the port of a server is not 0");
            return None;
        }
    }
    Some(address)
}

/// Whether a text is a regular expression, or why not.
pub(crate) fn is_expression(text: &str) -> Result<(), String> {
    regex::Regex::new(text).map(drop).map_err(no_expression)
}

/// Whether a text is an expression for what need not be text: `(?-u:\xff)` is a byte.
pub(crate) fn is_expression_of_bytes(text: &str) -> Result<(), String> {
    let read = regex::bytes::Regex::new(text);
    read.map(drop).map_err(no_expression)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what a result maps")]
fn no_expression(error: regex::Error) -> String {
    let why = error.to_string();
    format!("this is no regular expression: {}", short(&why))
}

/// The last line of an error of the regular expressions' library, which says what is wrong; the others draw the place.
pub(crate) fn short(error: &str) -> &str {
    let last = error.lines().last().unwrap_or(error);
    last.strip_prefix("error: ").unwrap_or(last)
}

/// A network, or a single address.
pub(crate) fn net(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<IpNet> {
    reader.parsed(item, "a network like \"192.168.0.0/16\"", |text| {
        text.parse::<IpNet>()
            .ok()
            .or_else(|| text.parse().ok().map(|ip: std::net::IpAddr| ip.into()))
            .ok_or("a network is an address and a length, like \"192.168.0.0/16\"")
    })
}
