//! `bind`: where a frontend listens, and how.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::acl::Refusal;
use super::words::{Line, Word};
use crate::suggest::did_you_mean;

/// Addresses that are listened on in the same way: one listener of the cluster file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Door {
    pub addresses: Vec<(String, Option<u16>)>,
    pub tls: Option<Tls>,
    pub proxy: bool,
    pub spot: Spot,
}

/// What is said of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub certs: Vec<String>,
    pub client_ca: Option<String>,
    /// A client without a certificate is let in.
    pub is_optional: bool,
    /// Lists of revoked certificates of clients.
    pub client_crl: Option<String>,
    pub strict_sni: bool,
    pub min13: bool,
}

/// Words of `bind` that have no effect here, and how many arguments follow them.
const WITHOUT: &[(&str, usize, &str)] = &[
    ("name", 1, "listeners are named after their section"),
    ("id", 1, "things have names"),
    ("v4v6", 0, "all addresses are of both families"),
    (
        "defer-accept",
        0,
        "the engine chooses how it talks to the kernel",
    ),
    ("tfo", 0, "the engine chooses how it talks to the kernel"),
    ("mss", 1, "the engine chooses how it talks to the kernel"),
    ("tcp-ut", 1, "the engine chooses how it talks to the kernel"),
    ("backlog", 1, "the kernel's limit is used"),
    ("maxconn", 1, "`maxconn` of the section counts"),
    ("nice", 1, "all connections are equal"),
    (
        "process",
        1,
        "a node is one process with a worker for each core",
    ),
    (
        "thread",
        1,
        "a node is one process with a worker for each core",
    ),
    (
        "shards",
        1,
        "a node is one process with a worker for each core",
    ),
    ("level", 1, "there are no levels"),
    ("severity-output", 1, "there are no levels"),
    (
        "alpn",
        1,
        "HTTP/1.1 and HTTP/2 are negotiated by themselves",
    ),
    ("npn", 1, "HTTP/1.1 and HTTP/2 are negotiated by themselves"),
    (
        "proto",
        1,
        "HTTP/1.1 and HTTP/2 are told apart by themselves",
    ),
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
    (
        "curves",
        1,
        "TLS is rustls with its own safe choice of curves",
    ),
    (
        "ecdhe",
        1,
        "TLS is rustls with its own safe choice of curves",
    ),
    ("no-sslv3", 0, "TLS 1.2 is the oldest version spoken"),
    ("no-tlsv10", 0, "TLS 1.2 is the oldest version spoken"),
    ("no-tlsv11", 0, "TLS 1.2 is the oldest version spoken"),
    (
        "no-tls-tickets",
        0,
        "tickets are encrypted with keys that change",
    ),
    ("ssl-max-ver", 1, "the newest version both know is spoken"),
    (
        "prefer-client-ciphers",
        0,
        "TLS is rustls with its own safe choice of ciphers",
    ),
    ("v6only", 0, "all addresses are of both families"),
    ("generate-certificates", 0, "certificates are files"),
    (
        "tls-ticket-keys",
        1,
        "tickets are encrypted with keys that change",
    ),
    (
        "user",
        1,
        "a Unix socket belongs to the user the node becomes",
    ),
    (
        "group",
        1,
        "a Unix socket belongs to the user the node becomes",
    ),
    (
        "uid",
        1,
        "a Unix socket belongs to the user the node becomes",
    ),
    (
        "gid",
        1,
        "a Unix socket belongs to the user the node becomes",
    ),
    (
        "mode",
        1,
        "a Unix socket belongs to the user the node becomes",
    ),
];

const KNOWN: [&str; 9] = [
    "ssl",
    "crt",
    "crt-list",
    "ca-file",
    "verify",
    "accept-proxy",
    "ssl-min-ver",
    "force-tlsv12",
    "force-tlsv13",
];

/// What is put before relative paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bases {
    pub certificates: String,
    pub authorities: String,
    /// Before what is still relative.
    pub directory: String,
    /// What the sockets of this process are bound to, by their numbers.
    pub sockets: BTreeMap<u32, String>,
}

impl Bases {
    fn put(base: &str, path: &str) -> String {
        if base.is_empty() || path.starts_with('/') || path.starts_with('@') {
            path.to_owned()
        } else {
            format!("{}/{path}", base.trim_end_matches('/'))
        }
    }

    pub fn certificate(&self, path: &str) -> String {
        Self::put(&self.directory, &Self::put(&self.certificates, path))
    }

    pub fn authority(&self, path: &str) -> String {
        Self::put(&self.directory, &Self::put(&self.authorities, path))
    }
}

/// Where the keys of the certificates at `place` are, if HAProxy would find them beside: `a.pem.key` is that of `a.pem`. The file
/// name may have a `*`.
pub(crate) fn key_of(place: &str) -> Option<String> {
    let key = format!("{place}.key");
    let path = Path::new(&key);
    let has_one = |dir: &Path| {
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names = names.map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().ends_with(".pem.key"))
    };
    let is_there = if place.ends_with("/*.pem") {
        path.parent().is_some_and(has_one)
    } else {
        path.is_file()
    };
    is_there.then_some(key)
}

/// Reads the words after `bind`.
pub(crate) fn read(
    line: &Line,
    words: &[Word],
    bases: &Bases,
    verdicts: &mut Verdicts,
) -> Option<Door> {
    let first = words.first()?;
    let mut door = Door {
        spot: line.spot,
        ..Door::default()
    };
    for part in first.text.split(',') {
        match addresses(part, bases) {
            Ok(list) => door.addresses.extend(list),
            Err(message) => {
                verdicts.refuse(line.spot, first.spot, message);
                return None;
            }
        }
    }
    let (mut ssl, mut tls, mut verify) = (false, Tls::default(), None);
    let mut at = 1;
    while let Some(word) = words.get(at) {
        at += 1;
        let argument = words.get(at).map(|word| word.text.clone());
        let mut take = || {
            at += 1;
            argument.clone().unwrap_or_default()
        };
        match word.text.as_str() {
            "ssl" => ssl = true,
            "crt" => tls.certs.push(bases.certificate(&take())),
            "crt-list" => {
                let file = words.get(at).unwrap_or(word);
                at += 1;
                match listed(file, bases) {
                    Ok(list) => {
                        tls.certs.extend(list.certs);
                        for note in list.notes {
                            verdicts.note(line.spot, note);
                        }
                    }
                    Err(refusal) => refusal.tell(line.spot, verdicts),
                }
            }
            "interface" => {
                at += 1;
                let message = "connections are taken by address, not by interface: bind the address that it has";
                verdicts.refuse(line.spot, word.spot, message);
            }
            "ca-file" => tls.client_ca = Some(bases.authority(&take())),
            "crl-file" => tls.client_crl = Some(bases.authority(&take())),
            "strict-sni" => tls.strict_sni = true,
            "verify" => {
                verify = words.get(at);
                at += 1;
            }
            "accept-proxy" => door.proxy = true,
            "ssl-min-ver" => tls.min13 = take() == "TLSv1.3",
            "force-tlsv13" => tls.min13 = true,
            "force-tlsv12" => verdicts.note(
                line.spot,
                "TLS 1.3 is spoken too: there is no newest version to set",
            ),
            other => {
                let Some((_, args, why)) = WITHOUT.iter().find(|(name, ..)| *name == other) else {
                    let all = KNOWN
                        .into_iter()
                        .chain(WITHOUT.iter().map(|(name, ..)| *name));
                    verdicts.refuse_hint(
                        line.spot,
                        word.spot,
                        format!("'bind' does not know '{other}'"),
                        did_you_mean(other, all),
                    );
                    continue;
                };
                at += args;
                verdicts.note(line.spot, format!("`{other}` has no effect: {why}"));
            }
        }
    }
    if ssl {
        if tls.certs.is_empty() {
            verdicts.refuse(line.spot, line.spot, "'ssl' needs a certificate: crt FILE");
        }
        client_certificates(line, verify, &mut tls, verdicts);
        door.tls = Some(tls);
    }
    verdicts.translated(line.spot);
    Some(door)
}

/// What a list of certificates names.
#[derive(Debug, Default)]
struct Listed {
    certs: Vec<String>,
    notes: Vec<String>,
}

/// Options of one certificate that change nothing of who is let in.
const HARMLESS: [&str; 9] = [
    "alpn",
    "npn",
    "ciphers",
    "ciphersuites",
    "curves",
    "ecdhe",
    "ssl-min-ver",
    "ssl-max-ver",
    "ocsp-update",
];

/// Reads the lines `FILE [OPTIONS] NAMES` of `crt-list FILE`.
fn listed(word: &Word, bases: &Bases) -> Result<Listed, Refusal> {
    let path = Bases::put(&bases.directory, &word.text);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Refusal::new(word.spot, format!("cannot read '{path}': {error}")))?;
    let mut list = Listed::default();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let file = line.split([' ', '\t', '[']).next().unwrap_or_default();
        let rest = line[file.len()..].trim_start();
        let (options, names) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or_else(|| {
                Refusal::new(
                    word.spot,
                    format!("a ] closes the options of '{file}' in '{path}'"),
                )
            })?,
            None => ("", rest),
        };
        let mut options = options.split_whitespace();
        while let Some(option) = options.next() {
            if !HARMLESS.contains(&option) {
                let message = format!(
                    "'{option}' of '{file}' in '{path}' holds for one certificate alone: all of a listener ask clients alike"
                );
                return Err(Refusal::new(word.spot, message));
            }
            options.next();
            list.notes.push(format!(
                "`{option}` of one certificate has no effect: it is as for all"
            ));
        }
        if !names.trim().is_empty() {
            let what =
                "a certificate is for the names it has: names behind it in a list have no effect";
            list.notes.push(what.into());
        }
        let cert = bases.certificate(file);
        if !list.certs.contains(&cert) {
            list.certs.push(cert);
        }
    }
    if list.certs.is_empty() {
        let message = format!("'{path}' names no certificate");
        return Err(Refusal::new(word.spot, message));
    }
    Ok(list)
}

/// Whether clients are asked for a certificate, and whether they must have one.
fn client_certificates(line: &Line, verify: Option<&Word>, tls: &mut Tls, verdicts: &mut Verdicts) {
    let asks = match verify.map(|word| word.text.as_str()) {
        None | Some("none") => false,
        Some("required") => true,
        Some("optional") => {
            tls.is_optional = true;
            true
        }
        Some(other) => {
            let at = verify.map_or(line.spot, |word| word.spot);
            let message =
                format!("'verify {other}': clients are asked by none, optional or required");
            let hint = did_you_mean(other, ["none", "optional", "required"]);
            return verdicts.refuse_hint(line.spot, at, message, hint);
        }
    };
    if asks && tls.client_ca.is_none() {
        let message = "'verify' asks for certificates of somebody: ca-file FILE";
        verdicts.refuse(line.spot, line.spot, message);
    } else if !asks {
        let (ca, crl) = (tls.client_ca.take(), tls.client_crl.take());
        for (word, is_given) in [("ca-file", ca.is_some()), ("crl-file", crl.is_some())] {
            if is_given {
                verdicts.note(line.spot, format!("clients are asked for no certificate, so `{word}` has no effect: `verify required` or `verify optional` would ask for one"));
            }
        }
    }
}

/// `*:80`, `:80-82`, `10.0.0.1:80`, `[::]:80`, `:::80`, `ipv4@`, `ipv6@`, `unix@/path`, `/path`, `fd@5`.
fn addresses(text: &str, bases: &Bases) -> Result<Vec<(String, Option<u16>)>, String> {
    if let Some(fd) = text.strip_prefix("fd@") {
        let number: u32 = fd
            .parse()
            .map_err(|_| format!("'{fd}' is no number of a descriptor"))?;
        let address = bases.sockets.get(&number).ok_or_else(|| {
            format!("descriptor {number} is no bound socket that was handed over to this process")
        })?;
        let port = address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        return Ok(vec![(address.clone(), port)]);
    }
    if let Some(path) = text
        .strip_prefix("unix@")
        .or_else(|| text.starts_with('/').then_some(text))
    {
        return Ok(vec![(format!("unix:{path}"), None)]);
    }
    if text.starts_with("abns@")
        || text.starts_with("quic")
        || text.starts_with("udp")
        || text.starts_with("sockpair@")
    {
        return Err(format!(
            "'{text}': only TCP and Unix sockets are listened on"
        ));
    }
    let text = text
        .strip_prefix("ipv4@")
        .or_else(|| text.strip_prefix("ipv6@"))
        .or_else(|| text.strip_prefix("tcp4@"))
        .or_else(|| text.strip_prefix("tcp6@"))
        .or_else(|| text.strip_prefix("tcp@"))
        .unwrap_or(text);
    let (host, ports) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("'{text}' has no port: ADDRESS:PORT"))?;
    let host = host.trim_matches(['[', ']']);
    let host = match host {
        "" | "*" | "0.0.0.0" | "::" => String::new(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("'{text}' is no port"))
    };
    let (low, high) = match ports.split_once('-') {
        Some((low, high)) => (port(low)?, port(high)?),
        None => (port(ports)?, port(ports)?),
    };
    if high < low || high - low > 255 {
        return Err(format!("'{ports}' is no range of at most 256 ports"));
    }
    Ok((low..=high)
        .map(|port| (format!("{host}:{port}"), Some(port)))
        .collect())
}

impl Door {
    /// Whether what is said apart from the addresses is the same.
    pub fn is_like(&self, other: &Self) -> bool {
        self.tls == other.tls && self.proxy == other.proxy
    }

    /// The port, if all addresses have the same.
    pub fn port(&self) -> Option<u16> {
        let first = self.addresses.first()?.1?;
        self.addresses
            .iter()
            .all(|(_, port)| *port == Some(first))
            .then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        let bases = Bases {
            sockets: BTreeMap::from([(7, "127.0.0.1:81".into())]),
            ..Bases::default()
        };
        let shown = |text: &str| -> Vec<String> {
            addresses(text, &bases)
                .unwrap()
                .into_iter()
                .map(|(a, _)| a)
                .collect()
        };
        assert_eq!(shown("*:80"), [":80"]);
        assert_eq!(shown(":8080-8082"), [":8080", ":8081", ":8082"]);
        assert_eq!(shown("10.0.0.1:80"), ["10.0.0.1:80"]);
        assert_eq!(shown("[::1]:80"), ["[::1]:80"]);
        assert_eq!(shown(":::80"), [":80"]);
        assert_eq!(shown("unix@/run/h.sock"), ["unix:/run/h.sock"]);
        assert_eq!(shown("/run/h.sock"), ["unix:/run/h.sock"]);
        assert_eq!(shown("fd@7"), ["127.0.0.1:81"]);
        for wrong in ["80", ":http", ":90-80", "abns@x", "fd@x"] {
            assert!(addresses(wrong, &bases).is_err(), "{wrong}");
        }
    }
}
