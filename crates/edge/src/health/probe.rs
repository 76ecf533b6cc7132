//! One check of one server: its own small client, bounded in bytes; its caller bounds it in time.

use std::io;
use std::time::Duration;

use tandem_http::handler::Endpoint;
use tandem_http::{CUT_OFF, ClientTls, PROBE_FIELD, Socket, Within, client};
use tandem_model::{BackendTls, Check, HttpCheck, ProxyVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::talk::{self, Sought};
use crate::pool::Settings;
use crate::server::{Server, show};

/// The longest status line that is read, in bytes. All of ours are shorter; a server that sends a longer one is not
/// speaking HTTP.
const STATUS_LINE: usize = 1024;

/// What a check found, in the words of an event: `check GET /alive answered 503`.
pub(super) fn told(check: &Check, why: &str) -> String {
    match check {
        Check::Http(http, _) => {
            // What it answered belongs to what was asked.
            let joint = if why.starts_with("answered") {
                " "
            } else {
                ": "
            };
            format!("check {} {}{joint}{why}", http.method, http.path)
        }
        Check::Off | Check::Tcp(_) | Check::Tls(_) | Check::Talk(..) => format!("check: {why}"),
    }
}

/// What is told of a check that took too long.
pub(super) fn late(check: &Check, within: Duration) -> String {
    match check {
        // It may have said something else.
        Check::Talk(..) => format!("what is expected was not said within {within:?}"),
        _ => format!("no answer within {within:?}"),
    }
}

/// What a gateway says of itself: whether its node is cut off from the sessions. The error says why it cannot serve.
pub(super) async fn gateway(server: &Server, settings: &Settings) -> Result<bool, String> {
    let request = format!(
        "OPTIONS / HTTP/1.1\r\nHost: {}\r\n{PROBE_FIELD}: 1\r\nConnection: close\r\n\r\n",
        host(&server.key.endpoint)
    );
    match ask(server, settings, request).await? {
        204 => Ok(false),
        CUT_OFF => Ok(true),
        503 => Err("nothing there can serve it now".into()),
        status => Err(format!(
            "asked whether it can serve, it answered {status} and not 204: does it know this node's address?"
        )),
    }
}

/// Checks a server once. The error says what was wrong with its answer. A server of which it is known that its node was
/// cut off from the sessions, or that was asked anyway, also says whether it is.
pub(super) async fn check(server: &Server, settings: &Settings) -> Result<Option<bool>, String> {
    let check = &settings.check;
    // A gateway accepts connections also when the program behind it is gone: it is asked.
    if server.node && matches!(check, Check::Tcp(_)) {
        return gateway(server, settings).await.map(Some);
    }
    passes(server, settings).await?;
    if server.node && server.is_cut_off() {
        return gateway(server, settings).await.map(Some);
    }
    Ok(None)
}

async fn passes(server: &Server, settings: &Settings) -> Result<(), String> {
    let check = &settings.check;
    match check {
        Check::Off => Ok(()),
        Check::Tcp(_) | Check::Tls(_) => connect(server, settings).await.map(drop),
        Check::Http(http, _) => {
            let request = request(server, http);
            let (status, body) = if http.contains.is_none() && http.lacks.is_none() {
                (ask(server, settings, request).await?, Vec::new())
            } else {
                let mut socket = connect(server, settings).await?;
                let answer = client::ask(&mut socket, request.as_bytes()).await;
                let answer = answer.map_err(|error| error.to_string())?;
                (answer.status, answer.body)
            };
            let good = match &http.status[..] {
                [] => (200..400).contains(&status),
                expected => expected.iter().any(|range| range.contains(&status)),
            };
            if !good {
                return Err(format!("answered {status}"));
            }
            body_passes(http, &body)
        }
        Check::Talk(turns, _) => talk::talk(connect(server, settings).await?, turns).await,
    }
}

/// Whether the body of an answer is one that is wanted.
fn body_passes(check: &HttpCheck, body: &[u8]) -> Result<(), String> {
    if let Some(expected) = &check.contains
        && !Sought::new(expected)?.is_in(body)
    {
        return Err(format!("answered without {:?}", expected.to_string()));
    }
    if let Some(unwanted) = &check.lacks
        && Sought::new(unwanted)?.is_in(body)
    {
        return Err(format!("answered with {:?}", unwanted.to_string()));
    }
    Ok(())
}

fn request(server: &Server, check: &HttpCheck) -> String {
    let HttpCheck {
        method, path, host, ..
    } = check;
    let host = match host {
        Some(host) => host.clone(),
        None => self::host(&server.key.endpoint),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tandem-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

/// The Host field for an endpoint.
fn host(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(_) => "localhost".into(),
    }
}

/// Opens a connection as one for requests is opened, unless the check is at another port, or wants TLS.
async fn connect(server: &Server, settings: &Settings) -> Result<Socket, String> {
    let key = &server.key.endpoint;
    if server.node {
        return open(server, key, None, None).await;
    }
    // Other checks than requests may be of servers that speak something else.
    let (within, wants_tls) = match &settings.check {
        Check::Http(http, _) => (Within::Http1, http.tls),
        Check::Tls(_) => (Within::Unknown, true),
        _ => (Within::Unknown, false),
    };
    let own = settings.tls.as_deref();
    if wants_tls && own.is_none() {
        // A server that requests reach without TLS of ours may still speak it: whether it does is all that is asked.
        let any = BackendTls {
            verify: false,
            ..BackendTls::default()
        };
        let tls = ClientTls::load(&any).map_err(|error| error.to_string())?;
        return at(server, settings, Some((&*tls, within))).await;
    }
    let inherits = wants_tls || port(settings).is_none();
    let tls = own.filter(|_| inherits).map(|tls| (tls, within));
    at(server, settings, tls).await
}

/// Another port than that of requests.
fn port(settings: &Settings) -> Option<u16> {
    settings.check.timing()?.port
}

/// Opens a connection to where a server is checked.
async fn at(
    server: &Server,
    settings: &Settings,
    tls: Option<(&ClientTls, Within)>,
) -> Result<Socket, String> {
    match (&server.key.endpoint, port(settings)) {
        (Endpoint::Tcp(address), Some(port)) => {
            let mut address = *address;
            address.set_port(port);
            open(server, &Endpoint::Tcp(address), None, tls).await
        }
        (endpoint, _) => open(server, endpoint, settings.proxy, tls).await,
    }
}

async fn open(
    server: &Server,
    endpoint: &Endpoint,
    proxy: Option<ProxyVersion>,
    tls: Option<(&ClientTls, Within)>,
) -> Result<Socket, String> {
    let tls = tls.map(|(tls, within)| (tls, server.host.as_ref(), within));
    let opened = client::open(endpoint, server.from, proxy, tls).await;
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => format!("cannot connect to {}: {error}", show(endpoint)),
    })
}

/// Sends a request and reads the status of the answer; the rest of it is not waited for.
async fn ask(server: &Server, settings: &Settings, request: String) -> Result<u16, String> {
    exchange(connect(server, settings).await?, &request).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<u16, String> {
    let broken = |error: io::Error| format!("the connection broke: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut line = [0; STATUS_LINE];
    let mut length = 0;
    while !line[..length].contains(&b'\n') {
        let more = stream.read(&mut line[length..]).await.map_err(broken)?;
        if more == 0 {
            return Err(match length {
                0 => "it closed the connection without an answer".into(),
                _ => "its answer is not HTTP".into(),
            });
        }
        length += more;
    }
    status(&line[..length]).ok_or_else(|| "its answer is not HTTP".into())
}

/// The status of a status line (RFC 9112 section 4).
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0'..=b'9', b' ', code @ ..] = rest else {
        return None;
    };
    let [code @ .., after] = code.get(..4)? else {
        return None;
    };
    if !matches!(after, b' ' | b'\r' | b'\n') || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(code).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_line_is_read_strictly() {
        for (line, expected) in [
            ("HTTP/1.1 204 No Content\r\n", Some(204)),
            ("HTTP/1.0 200\r\n", Some(200)),
            ("HTTP/1.1 503 \r\n", Some(503)),
            ("HTTP/1.1 20\r\n", None),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/2 200\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("HTTP/1.1  200\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_checker_panic(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = status(&line);
            let mut http = b"HTTP/1.1 ".to_vec();
            http.extend(line);
            let _ = status(&http);
        }
    }
}
