//! A small client for health checks: one request, one answer, one connection.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tandem_model::{Outgoing, ProxyVersion};
use tandem_net::{ClientTls, Socket, TlsName, Within, proxy as header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::chunked::Chunked;
use crate::handler::Endpoint;
use crate::head::MAX_HEAD;
use crate::response::{Delimited, ResponseHead};

/// The most of an answer's body that is kept, in bytes; the rest is not read.
pub const MAX_BODY: usize = 64 * 1024;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head as it came, with its empty line.
    pub head: Vec<u8>,
    /// The body, decoded; its first [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum FetchError {
    /// The connection could not be opened.
    Connect(io::Error),
    /// It broke before the answer was complete.
    Broken(io::Error),
    /// The answer is not HTTP/1.x.
    Malformed,
    /// It took longer than the given time.
    Timeout,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(e) => write!(f, "no connection: {e}"),
            Self::Broken(e) => write!(f, "the connection broke: {e}"),
            Self::Malformed => f.write_str("the answer is not HTTP"),
            Self::Timeout => f.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for FetchError {}

/// Opens a connection to `to` (from `from`, if given), as a check of the connection alone does.
///
/// # Errors
/// When it cannot be opened within `timeout`.
pub async fn connect(
    to: &Endpoint,
    from: Option<IpAddr>,
    timeout: Duration,
) -> Result<Socket, FetchError> {
    tokio::time::timeout(timeout, open(to, from.map(Outgoing::Preferred), None, None))
        .await
        .map_err(|_| FetchError::Timeout)?
        .map_err(FetchError::Connect)
}

/// Opens a connection as one for a request would be, to the end of the TLS handshake. The PROXY header, where there is
/// one, says that the proxy speaks for itself. Has no time limit of its own.
///
/// # Errors
/// What the kernel says, or TLS.
pub async fn open(
    to: &Endpoint,
    from: Option<Outgoing>,
    proxy: Option<ProxyVersion>,
    tls: Option<(&ClientTls, Option<&TlsName>, Within)>,
) -> io::Result<Socket> {
    let mut socket = crate::engine::open(to, from).await?;
    if let Some(version) = proxy {
        let header = header::header(version, None, None);
        AsyncWriteExt::write_all(&mut socket, &header).await?;
    }
    if let Some((tls, host, within)) = tls {
        socket.connect_tls(tls, host, within).await?;
    }
    Ok(socket)
}

/// Sends `request` (a whole HTTP/1.1 message, best with `Connection: close`) over a new connection and reads the answer.
/// An answer to HEAD must be told by the request's first bytes.
///
/// # Errors
/// When no complete answer comes within `timeout`, connecting included.
pub async fn fetch(
    to: &Endpoint,
    from: Option<IpAddr>,
    request: &[u8],
    timeout: Duration,
) -> Result<Answer, FetchError> {
    let whole = async {
        let mut socket = crate::engine::open(to, from.map(Outgoing::Preferred))
            .await
            .map_err(FetchError::Connect)?;
        ask(&mut socket, request).await
    };
    tokio::time::timeout(timeout, whole)
        .await
        .map_err(|_| FetchError::Timeout)?
}

/// Sends `request` over a connection and reads the answer, as [`fetch`] does. Has no time limit of its own.
///
/// # Errors
/// When there is no complete answer.
pub async fn ask(socket: &mut Socket, request: &[u8]) -> Result<Answer, FetchError> {
    AsyncWriteExt::write_all(socket, request)
        .await
        .map_err(FetchError::Broken)?;
    read(socket, request.starts_with(b"HEAD ")).await
}

async fn read(socket: &mut Socket, is_head: bool) -> Result<Answer, FetchError> {
    let mut bytes = Vec::with_capacity(4096);
    let mut head = ResponseHead::default();
    let length = loop {
        let mut seen = 0;
        let length = loop {
            let taken = head.take(&bytes, &mut seen);
            if let Some(length) = taken.map_err(|_| FetchError::Malformed)? {
                break length;
            }
            if !more(socket, &mut bytes, MAX_HEAD).await? {
                return Err(FetchError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        };
        match head.status() {
            100 | 102..200 => drop(bytes.drain(..length)),
            _ => break length,
        }
    };
    let mut body = bytes.split_off(length);
    let delimited = head.body(is_head);
    let mut chunked = Chunked::default();
    let mut decoded = 0;
    loop {
        let whole = match delimited {
            Delimited::Empty => Some(0),
            Delimited::Known(n) => usize::try_from(n).ok(),
            Delimited::ByClose => None,
            Delimited::Chunked => {
                let done = chunked
                    .decode(&mut body[decoded..])
                    .map_err(|_| FetchError::Malformed)?;
                decoded += done.data;
                body.truncate(decoded);
                chunked.is_done().then_some(decoded)
            }
        };
        let wanted = whole.map_or(MAX_BODY, |whole| whole.min(MAX_BODY));
        if body.len() >= wanted {
            body.truncate(wanted);
            break;
        }
        if !more(socket, &mut body, MAX_BODY).await? {
            if delimited == Delimited::ByClose {
                break;
            }
            return Err(FetchError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(Answer {
        status: head.status(),
        head: bytes,
        body,
    })
}

/// Reads more bytes, up to `most` in all; `false` at the end.
async fn more(socket: &mut Socket, bytes: &mut Vec<u8>, most: usize) -> Result<bool, FetchError> {
    let start = bytes.len();
    bytes.resize(most.min(start + 8192), 0);
    let read = AsyncReadExt::read(socket, &mut bytes[start..]).await;
    bytes.truncate(start + *read.as_ref().unwrap_or(&0));
    read.map(|n| n > 0).map_err(FetchError::Broken)
}
