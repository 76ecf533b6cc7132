//! The few memcached commands a store needs, over a small pool of connections.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Connections kept open between requests.
const KEPT: usize = 16;
/// To connect to the agent, which is on this machine.
const CONNECT: Duration = Duration::from_secs(1);
/// For one command: a second more than the agent itself gives up after.
const COMMAND: Duration = Duration::from_secs(6);
/// The largest value that is read, in bytes; the largest item memcached can be set to.
const MAX_VALUE: usize = 128 << 20;

/// A found item.
pub struct Found {
    /// Its version.
    pub cas: u64,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// How a storage command came out.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    Yes,
    /// `add`: something is there. `cas`: it was changed since.
    No,
    /// `cas`: nothing is there.
    Gone,
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: String,
    kept: Mutex<Vec<BufReader<TcpStream>>>,
}

impl Client {
    /// A client of `host:port`. Connections are opened when needed.
    pub fn new(address: String) -> Self {
        Self {
            address,
            kept: Mutex::default(),
        }
    }

    /// `gets`
    pub async fn get(&self, key: &str) -> Result<Option<Found>> {
        let command = format!("gets {key}\r\n");
        // A read may be asked again.
        match self.command(command.as_bytes()).await {
            Err(error) if is_connection(&error) => self.command(command.as_bytes()).await,
            other => other,
        }
        .and_then(|answer| match answer {
            Answer::Values(found) => Ok(found),
            Answer::Line(line) => Err(unexpected(&line)),
        })
    }

    /// `add`
    pub async fn add(&self, key: &str, exptime: i64, value: &[u8]) -> Result<Stored> {
        let head = format!("add {key} 0 {exptime} {}\r\n", value.len());
        self.store(&[head.as_bytes(), value, b"\r\n"].concat())
            .await
    }

    /// `set`
    pub async fn set(&self, key: &str, exptime: i64, value: &[u8]) -> Result<Stored> {
        let head = format!("set {key} 0 {exptime} {}\r\n", value.len());
        self.store(&[head.as_bytes(), value, b"\r\n"].concat())
            .await
    }

    /// `cas`
    pub async fn cas(&self, key: &str, exptime: i64, value: &[u8], cas: u64) -> Result<Stored> {
        let head = format!("cas {key} 0 {exptime} {} {cas}\r\n", value.len());
        self.store(&[head.as_bytes(), value, b"\r\n"].concat())
            .await
    }

    /// `touch`; false when nothing is there.
    pub async fn touch(&self, key: &str, exptime: i64) -> Result<bool> {
        self.word(format!("touch {key} {exptime}\r\n").as_bytes(), "TOUCHED")
            .await
    }

    /// `delete`; false when nothing was there.
    pub async fn delete(&self, key: &str) -> Result<bool> {
        let command = format!("delete {key}\r\n");
        match self.word(command.as_bytes(), "DELETED").await {
            Err(error) if is_connection(&error) => self.word(command.as_bytes(), "DELETED").await,
            other => other,
        }
    }

    async fn store(&self, command: &[u8]) -> Result<Stored> {
        match self.command(command).await? {
            Answer::Line(line) => match line.as_str() {
                "STORED" => Ok(Stored::Yes),
                "NOT_STORED" | "EXISTS" => Ok(Stored::No),
                "NOT_FOUND" => Ok(Stored::Gone),
                _ => Err(unexpected(&line)),
            },
            Answer::Values(_) => Err(unexpected("END")),
        }
    }

    async fn word(&self, command: &[u8], yes: &str) -> Result<bool> {
        match self.command(command).await? {
            Answer::Line(line) if line == yes => Ok(true),
            Answer::Line(line) if line == "NOT_FOUND" => Ok(false),
            Answer::Line(line) => Err(unexpected(&line)),
            Answer::Values(_) => Err(unexpected("END")),
        }
    }

    /// Sends a command and reads its answer, on a kept connection if there is one. A connection is kept again only
    /// when its answer was read whole.
    async fn command(&self, command: &[u8]) -> Result<Answer> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let whole = async {
            let mut connection = match kept {
                // The agent never speaks first: something to read is the end of the connection.
                Some(connection) if is_quiet(&connection) => connection,
                _ => self.connect().await?,
            };
            connection.get_mut().write_all(command).await?;
            let answer = answer(&mut connection).await?;
            Ok((connection, answer))
        };
        let (connection, answer) = tokio::time::timeout(COMMAND, whole)
            .await
            .map_err(|_| self.failed(ErrorKind::TimedOut, "no answer"))?
            .map_err(|error: Error| self.failed(error.kind(), &error.to_string()))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(connection);
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<BufReader<TcpStream>> {
        let connecting = TcpStream::connect(&self.address);
        let stream = tokio::time::timeout(CONNECT, connecting)
            .await
            .map_err(|_| Error::new(ErrorKind::TimedOut, "no connection"))??;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    fn failed(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("session store at {}: {what}", self.address))
    }
}

/// Nothing can be read: neither bytes nor the end.
fn is_quiet(connection: &BufReader<TcpStream>) -> bool {
    let error = connection.get_ref().try_read(&mut [0]).err();
    connection.buffer().is_empty()
        && error.is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Whether the connection failed, rather than the server refused.
pub fn is_connection(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Other | ErrorKind::InvalidData)
}

enum Answer {
    Line(String),
    Values(Option<Found>),
}

async fn answer(connection: &mut BufReader<TcpStream>) -> Result<Answer> {
    let mut found = None;
    loop {
        let line = line(connection).await?;
        let Some(rest) = line.strip_prefix("VALUE ") else {
            return Ok(if line == "END" {
                Answer::Values(found)
            } else {
                Answer::Line(line)
            });
        };
        let mut words = rest.split(' ').skip(2);
        let length: usize = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| unexpected(&line))?;
        let cas: u64 = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| unexpected(&line))?;
        if length > MAX_VALUE {
            return Err(unexpected(&line));
        }
        let mut value = vec![0; length + 2];
        connection.read_exact(&mut value).await?;
        value.truncate(length);
        found = Some(Found { cas, value });
    }
}

/// One line without its CRLF.
async fn line(connection: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    (&mut *connection)
        .take(2048)
        .read_until(b'\n', &mut line)
        .await?;
    if line.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| unexpected("bytes that are no text"))
}

fn unexpected(line: &str) -> Error {
    Error::other(line.to_owned())
}
