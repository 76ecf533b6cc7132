//! A client of memcached's text protocol that knows what it does not know.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::network::enter;
use crate::{Call, Outcome};

/// An agent gives up after 5 s; whoever waits longer has lost its agent.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where a client asks.
#[derive(Clone, Debug)]
pub enum Door {
    /// An agent, in this process's network or as seen from a namespace.
    Agent {
        server: SocketAddr,
        namespace: Option<String>,
    },
    /// A program of the client's own that takes requests on its standard input, which is a socket, and answers there.
    Program { command: String, args: Vec<String> },
}

/// One connection, opened anew after it broke.
pub struct Client {
    door: Door,
    stream: Option<BufReader<Box<dyn Stream>>>,
    program: Option<Child>,
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

impl Client {
    /// A client that lives on the calling thread, which is where the door is from now on.
    pub fn new(door: Door) -> Result<Self, String> {
        if let Door::Agent {
            namespace: Some(namespace),
            ..
        } = &door
        {
            enter(namespace)?;
        }
        Ok(Self {
            door,
            stream: None,
            program: None,
        })
    }

    /// Opens the connection if there is none. An error here means that nothing was asked.
    pub fn open(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = match self.door.clone() {
                Door::Agent { server, .. } => knock(server)?,
                Door::Program { command, args } => self.start(&command, &args)?,
            };
            self.stream = Some(BufReader::new(stream));
        }
        Ok(())
    }

    fn start(&mut self, command: &str, args: &[String]) -> io::Result<Box<dyn Stream>> {
        self.stop();
        let (ours, its) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let child = Command::new(command)
            .args(args)
            .stdin(OwnedFd::from(its))
            .stdout(Stdio::null())
            .spawn()?;
        self.program = Some(child);
        Ok(Box::new(ours))
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.program.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks one thing. A connection that breaks leaves the outcome unknown.
    pub fn call(&mut self, key: &str, call: &Call) -> Outcome {
        let answered = self
            .ask(&request(key, call))
            .and_then(|line| self.read(line, call));
        answered.unwrap_or_else(|_| {
            self.stream = None;
            Outcome::Unknown
        })
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<String> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.get_mut().write_all(request)?;
        line(stream)
    }

    fn read(&mut self, first: String, call: &Call) -> io::Result<Outcome> {
        let words: Vec<&str> = first.split(' ').collect();
        Ok(match words[..] {
            ["STORED"] => Outcome::Stored,
            ["NOT_STORED"] => Outcome::NotStored,
            ["EXISTS"] => Outcome::Exists,
            ["NOT_FOUND"] => Outcome::NotFound,
            ["DELETED"] => Outcome::Deleted,
            ["TOUCHED"] => Outcome::Touched,
            ["OK"] => Outcome::Ok,
            ["HD"] if *call.change() == Call::Delete => Outcome::Deleted,
            ["HD"] => Outcome::Stored,
            ["EX"] => Outcome::Exists,
            ["NF"] => Outcome::NotFound,
            ["NS"] => Outcome::NotStored,
            ["VA", _] => {
                let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                Outcome::Number(line(stream)?.trim().parse().map_err(io::Error::other)?)
            }
            ["END"] => Outcome::Miss,
            ["VALUE", _, _, length, ref rest @ ..] => {
                let length: usize = length.parse().map_err(io::Error::other)?;
                let token = rest.first().map(|token| token.parse());
                let token = token.transpose().map_err(io::Error::other)?;
                let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                let mut value = vec![0; length + 2];
                stream.read_exact(&mut value)?;
                value.truncate(length);
                if line(stream)? != "END" {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Outcome::Hit(value.into(), token)
            }
            ["CLIENT_ERROR", ..] => Outcome::Failed,
            ["SERVER_ERROR", "not", "stored", ..] | ["SERVER_ERROR", "out", "of", "memory", ..] => {
                Outcome::Failed
            }
            ["SERVER_ERROR", ..] => Outcome::Unknown,
            _ => Outcome::Number(first.trim().parse().map_err(io::Error::other)?),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop();
    }
}

fn knock(server: SocketAddr) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.by_ref().take(4096).read_line(&mut line)?;
    let whole = line.strip_suffix("\r\n");
    whole
        .map(str::to_owned)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn request(key: &str, call: &Call) -> Vec<u8> {
    let seconds = |life: &Option<u64>| life.unwrap_or(0) / 1_000_000;
    let store = |verb: &str, value: &[u8], life: &Option<u64>, token: &str| {
        let head = format!(
            "{verb} {key} 0 {} {}{token}\r\n",
            seconds(life),
            value.len()
        );
        [head.as_bytes(), value, b"\r\n"].concat()
    };
    match call {
        Call::Get => format!("get {key}\r\n").into_bytes(),
        Call::Gets => format!("gets {key}\r\n").into_bytes(),
        Call::Set { value, life } => store("set", value, life, ""),
        Call::Add { value, life } => store("add", value, life, ""),
        Call::Replace { value, life } => store("replace", value, life, ""),
        Call::Cas { value, life, token } => store("cas", value, life, &format!(" {token}")),
        Call::Append { tail } => store("append", tail, &None, ""),
        Call::Prepend { head } => store("prepend", head, &None, ""),
        Call::Delete => format!("delete {key}\r\n").into_bytes(),
        Call::Incr { delta } => format!("incr {key} {delta}\r\n").into_bytes(),
        Call::Decr { delta } => format!("decr {key} {delta}\r\n").into_bytes(),
        Call::Count {
            delta,
            initial,
            life,
        } => {
            let (initial, life) = (initial.escape_ascii(), seconds(life));
            format!("ma {key} D{delta} J{initial} N{life} v\r\n").into_bytes()
        }
        Call::At { token, change } => at(key, *token, change),
        Call::Touch { life } => format!("touch {key} {}\r\n", seconds(life)).into_bytes(),
        Call::GetAndTouch { life } => format!("gat {} {key}\r\n", seconds(life)).into_bytes(),
        Call::FlushAll { delay } => {
            format!("flush_all {}\r\n", seconds(&Some(*delay))).into_bytes()
        }
    }
}

/// Only meta commands compare before these.
fn at(key: &str, token: u64, change: &Call) -> Vec<u8> {
    let join = |mode: char, value: &[u8]| {
        let head = format!("ms {key} {} M{mode} C{token}\r\n", value.len());
        [head.as_bytes(), value, b"\r\n"].concat()
    };
    match change {
        Call::Append { tail } => join('A', tail),
        Call::Prepend { head } => join('P', head),
        Call::Incr { delta } => format!("ma {key} D{delta} C{token} v\r\n").into_bytes(),
        Call::Decr { delta } => format!("ma {key} MD D{delta} C{token} v\r\n").into_bytes(),
        Call::Delete => format!("md {key} C{token}\r\n").into_bytes(),
        // Nobody asks for others.
        other => request(key, other),
    }
}
