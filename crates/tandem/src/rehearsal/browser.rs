//! A small HTTP client: what the proof looks with, and how nodes are asked how they are.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 8 << 20;

/// An answer.
#[derive(Debug)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The head, as text.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Page {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One request on a connection of its own. The whole takes no longer than `limit`.
pub async fn fetch(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    body: &[u8],
    limit: Duration,
) -> Result<Page> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        parse(&answer)
    };
    tokio::time::timeout(limit, talk)
        .await
        .map_err(|_| Error::from(ErrorKind::TimedOut))?
}

fn parse(answer: &[u8]) -> Result<Page> {
    let invalid = || {
        Error::new(
            ErrorKind::InvalidData,
            "the answer is not HTTP or not whole",
        )
    };
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(invalid)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(invalid)?;
    let mut page = Page {
        status,
        head,
        body: answer[end + 4..].to_vec(),
    };
    if page
        .field("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        page.body = unchunk(&page.body).ok_or_else(invalid)?;
    } else if let Some(length) = page
        .field("content-length")
        .and_then(|text| text.parse::<usize>().ok())
        && page.body.len() != length
    {
        return Err(invalid());
    }
    Ok(page)
}

/// Puts chunks together (RFC 9112 section 7.1); `None` when the last is missing.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line])
            .ok()?
            .split(';')
            .next()?
            .trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// A client that keeps its session cookie.
pub struct Browser {
    address: SocketAddr,
    cookie: Option<String>,
}

/// For one page, retries of the edge included.
const PAGE: Duration = Duration::from_secs(10);

impl Browser {
    /// A browser at a front door.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            cookie: None,
        }
    }

    /// Loads a page.
    pub async fn get(&mut self, path: &str) -> Result<Page> {
        self.request("GET", path, "", b"").await
    }

    /// Sends JSON.
    pub async fn post(&mut self, path: &str, json: &str) -> Result<Page> {
        self.request(
            "POST",
            path,
            "Content-Type: application/json\r\n",
            json.as_bytes(),
        )
        .await
    }

    async fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
        body: &[u8],
    ) -> Result<Page> {
        let cookie = self
            .cookie
            .as_ref()
            .map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
        let page = fetch(
            self.address,
            method,
            path,
            &format!("{fields}{cookie}"),
            body,
            PAGE,
        )
        .await?;
        if let Some(set) = page.field("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_and_half_an_answer_is_none() {
        assert_eq!(
            unchunk(b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n").as_deref(),
            Some(&b"abcde"[..])
        );
        assert_eq!(unchunk(b"3\r\nabc\r\n2\r\nd"), None);
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").is_err());
        let page =
            parse(b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc").unwrap();
        assert_eq!((page.status, page.field("x-a")), (404, Some("b")));
    }
}
