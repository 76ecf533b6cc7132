//! One call to a node's admin API, over its socket or over TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tandem_model::Address;

use crate::exit::{Failure, Result};

/// For an answer to an order: a reload or an upgrade may take a while.
const PATIENCE: Duration = Duration::from_mins(3);
/// For one to a question: the node asks others for a second or two, and the leader of the sessions for five.
const PROMPT: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const MOST: u64 = 64 << 20;

/// A node that is asked.
pub struct Client {
    address: Address,
    token: Option<String>,
}

/// What it answered.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Reply {
    /// The body of an answer that is no refusal.
    pub fn good(self) -> Result<Value> {
        if self.status < 400 {
            Ok(self.body)
        } else {
            Err(Failure::failed(super::refusal(&self.body)))
        }
    }
}

impl Client {
    /// Asks at this address.
    pub fn new(address: Address, token: Option<String>) -> Self {
        Self { address, token }
    }

    /// Asks a node of this machine by its own socket.
    pub fn at(socket: &Path) -> Self {
        let path = socket.to_string_lossy().into_owned();
        Self::new(Address::Unix(path), None)
    }

    /// Whether somebody listens there.
    pub fn answers(&self) -> bool {
        self.connect(PROMPT).is_ok()
    }

    /// Reads.
    pub fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Reply> {
        self.call("GET", path, parameters)
    }

    /// Changes. A node that hangs is not waited for as long as an order may take: whether it answers at all is asked first.
    pub fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Reply> {
        self.get("/api/v1/node", &[])?;
        self.call("POST", path, parameters)
    }

    fn call(&self, method: &str, path: &str, parameters: &[(&str, &str)]) -> Result<Reply> {
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let user = std::env::var("USER").unwrap_or_else(|_| {
            let uid = rustix::process::getuid().as_raw();
            format!("uid {uid}")
        });
        let token = self.token.as_ref().map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let head = format!(
            "{method} {}{mark}{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Tandem-User: {}\r\n{token}\
             Content-Length: 0\r\n\r\n",
            encoded_path(path),
            query.join("&"),
            user.replace(|c: char| c.is_control(), "?")
        );
        // A question may wait for what is still to come.
        let waits = parameters.iter().find(|(name, _)| *name == "wait");
        let waits = waits.and_then(|(_, seconds)| seconds.parse().ok());
        let limit = match method {
            "GET" => PROMPT + Duration::from_secs(waits.unwrap_or(0)),
            _ => PATIENCE,
        };
        self.exchange(&head, limit).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                    "it took the connection and said nothing for {} s: it hangs, is stopped, or has no descriptors left",
                    limit.as_secs()
                ),
                _ => error.to_string(),
            };
            Failure::failed(format!("no answer from the node at {}: {why}", self.address))
        })
    }

    fn connect(&self, limit: Duration) -> std::io::Result<Box<dyn Stream>> {
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(limit))?;
                Ok(Box::new(stream))
            }
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))?;
                stream.set_read_timeout(Some(limit))?;
                Ok(Box::new(stream))
            }
        }
    }

    fn exchange(&self, head: &str, limit: Duration) -> std::io::Result<Reply> {
        let mut stream = self.connect(limit)?;
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| std::io::Error::other("it is not understood"))
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// The API's answers have a Content-Length and JSON.
fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    Some(Reply {
        status: head.split(' ').nth(1)?.parse().ok()?,
        body: serde_json::from_slice(&answer[end + 4..]).ok()?,
    })
}

/// A value of a query.
fn encoded(value: &str) -> String {
    percent(value, |byte| {
        byte.is_ascii_alphanumeric() || b"-_.~,".contains(&byte)
    })
}

fn encoded_path(path: &str) -> String {
    percent(path, |byte| {
        byte.is_ascii_alphanumeric() || b"-_.~/:@".contains(&byte)
    })
}

fn percent(text: &str, plain: impl Fn(u8) -> bool) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded() {
        assert_eq!(encoded("a b&c=d/ü"), "a%20b%26c%3Dd%2F%C3%BC");
        assert_eq!(
            encoded_path("/api/v1/servers/shop/a b"),
            "/api/v1/servers/shop/a%20b"
        );
    }

    #[test]
    fn an_answer_is_status_and_json() {
        let reply = parse(b"HTTP/1.1 409 Conflict\r\nX: y\r\n\r\n{\"error\":\"no\"}\n").unwrap();
        assert_eq!(reply.status, 409);
        assert!(reply.good().is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\nnot json").is_none());
    }
}
