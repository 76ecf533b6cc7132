//! One call to a node's admin API, over its socket or over TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tandem_model::Address;

use crate::exit::{Failure, Result};
use crate::service::exit_codes::forbidden;

/// For an answer to an order: a reload or an upgrade may take a while.
const PATIENCE: Duration = Duration::from_mins(3);
/// For one to a question: the node asks others for a second or two, and the leader of the sessions for five.
const PROMPT: Duration = Duration::from_secs(15);
/// From a word that a call is to be made again until it is.
const AGAIN: Duration = Duration::from_millis(50);
/// The largest answer that is read, in bytes.
const MOST: u64 = 64 << 20;

/// A node that is asked.
pub struct Client {
    address: Address,
    token: Option<String>,
    /// For an answer to a question.
    prompt: Duration,
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
        match self.status {
            ..400 => Ok(self.body),
            // The words of the command are wrong, whichever node is asked.
            400 => Err(Failure::usage(super::refusal(&self.body))),
            _ => Err(Failure::failed(super::refusal(&self.body))),
        }
    }

    /// Nothing was done: another process is taking, or has taken, the place of the one that answered.
    fn is_again(&self) -> bool {
        self.status == 503 && self.body["again"] == true
    }
}

impl Client {
    /// Asks at this address.
    pub fn new(address: Address, token: Option<String>) -> Self {
        Self {
            address,
            token,
            prompt: PROMPT,
        }
    }

    /// Asks a node of this machine by its own socket.
    pub fn at(socket: &Path) -> Self {
        let path = socket.to_string_lossy().into_owned();
        Self::new(Address::Unix(path), None)
    }

    /// Waits so long for an answer to a question.
    pub fn prompt(mut self, limit: Duration) -> Self {
        self.prompt = limit;
        self
    }

    /// Finds out whether somebody listens there whom this user may ask.
    pub fn reach(&self) -> std::io::Result<()> {
        self.connect(self.prompt).map(drop)
    }

    /// Reads.
    pub fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Reply> {
        of_whoever_serves(|| self.call("GET", path, parameters))
    }

    /// Changes. A node that hangs is not waited for as long as an order may take: whether it answers at all is asked first.
    pub fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Reply> {
        of_whoever_serves(|| {
            self.call("GET", "/api/v1/node", &[])?;
            self.call("POST", path, parameters)
        })
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
            "GET" => self.prompt + Duration::from_secs(waits.unwrap_or(0)),
            _ => PATIENCE,
        };
        self.exchange(&head, limit).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                    "it took the connection and said nothing for {} s: it hangs, is stopped, or has no descriptors left",
                    limit.as_secs()
                ),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    "its process ended before it answered, and whether it did what was asked is not known: `tandem \
                     status` says whether it runs, `tandem logs` why it ended"
                        .into()
                }
                ErrorKind::PermissionDenied => return not_allowed(&self.address.to_string()),
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
        if !is_whole(&answer) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        parse(&answer).ok_or_else(|| std::io::Error::other("it is not understood"))
    }
}

/// Calls again until the answer is that of the process that serves: during an upgrade another one may be asked, which says
/// so and does nothing.
fn of_whoever_serves(call: impl Fn() -> Result<Reply>) -> Result<Reply> {
    let begun = Instant::now();
    loop {
        let reply = call()?;
        if !reply.is_again() || begun.elapsed() >= PATIENCE {
            return Ok(reply);
        }
        std::thread::sleep(AGAIN);
    }
}

/// What is said to a user who may not ask a node.
pub fn not_allowed(address: &str) -> Failure {
    forbidden(format!(
        "the node's socket {address} may be opened by root and by the node's user only: run this as one of them (sudo), or \
         ask the node at its admin address with --admin HOST:PORT"
    ))
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Whether there is an end of the head and as much behind it as the head says. What is no answer at all is for [`parse`].
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return !b"HTTP/1.1 ".starts_with(answer) && !answer.starts_with(b"HTTP/1.1 ");
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    length.is_none_or(|length| answer.len() >= end + 4 + length)
}

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
        let wrong = parse(b"HTTP/1.1 400 Bad Request\r\n\r\n{\"error\":\"no\"}\n").unwrap();
        assert_eq!(wrong.good().unwrap_err().code, crate::exit::USAGE);
    }

    #[test]
    fn an_answer_that_was_cut_off_is_told_from_one_that_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert!(is_whole(whole));
        for end in 0..whole.len() {
            assert!(!is_whole(&whole[..end]), "{end}");
        }
        assert!(is_whole(b"220 mail.example ESMTP\r\n"));
    }
}
