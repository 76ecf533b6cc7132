//! The access log: one record for each request, written in batches by the worker that served it.

mod format;
mod log;

use std::net::IpAddr;

pub use log::{AccessLog, Written};

/// Who ended a request before its answer was complete, or kept it from being what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopped {
    /// Nobody: the answer is complete.
    #[default]
    No,
    /// The client went away.
    Client,
    /// The client sent nothing, or took nothing, for too long.
    ClientTimeout,
    /// The server could not be reached, failed, or said something malformed.
    Server,
    /// The server did not answer in time, or stopped in the middle.
    ServerTimeout,
    /// There was no server that could be asked.
    NoServer,
    /// All servers were busy, and as many requests waited as may.
    QueueFull,
    /// All servers were busy for longer than a request may wait.
    QueueTimeout,
    /// Neither side said anything for too long.
    Idle,
    /// What was asked for is malformed, or beyond a limit.
    Refused,
    /// The file could not be read as far as was promised.
    File,
}

impl Stopped {
    /// In the log.
    pub fn words(self) -> &'static str {
        match self {
            Self::No => "complete",
            Self::Client => "client-left",
            Self::ClientTimeout => "client-timeout",
            Self::Server => "server-failed",
            Self::ServerTimeout => "server-timeout",
            Self::NoServer => "no-server",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Idle => "idle",
            Self::Refused => "refused",
            Self::File => "file-failed",
        }
    }
}

/// How far a request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client was sending it.
    Request,
    /// It was waiting for a server.
    Queue,
    /// A connection to a server was being opened.
    Connect,
    /// A server had it, or a part of it, and no byte of an answer had come.
    Answer,
    /// The answer was on its way.
    Body,
}

impl Phase {
    /// In the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Answer => "answer",
            Self::Body => "body",
        }
    }
}

/// By whom a request was ended early, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who.
    pub by: Stopped,
    /// When.
    pub phase: Phase,
}

/// What the log says of one request, or of a connection that was passed on as it is. Times are in microseconds.
#[derive(Clone)]
pub struct AccessRecord<'a> {
    /// The client (see the client address rule), not necessarily the peer.
    pub client: IpAddr,
    /// The port that its connection came from; 0 where the client is only stated.
    pub port: u16,
    /// The user that was let in, or empty.
    pub user: &'a [u8],
    /// The request line's method; `TCP` of a connection.
    pub method: &'a [u8],
    /// The request line's target, as it came; of a connection the name that its TLS asked for, or the listener's.
    pub target: &'a [u8],
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`; of a connection empty.
    pub version: &'a str,
    /// The host that was asked for, or empty.
    pub host: &'a [u8],
    /// The status sent; 0 when the client was gone before, or was to have no answer.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: u64,
    /// Of a connection, bytes from the client.
    pub received: Option<u64>,
    /// `Referer`, or empty.
    pub referer: &'a [u8],
    /// `User-Agent`, or empty.
    pub agent: &'a [u8],
    /// The listener.
    pub listener: &'a str,
    /// What the route is called, or empty.
    pub route: &'a str,
    /// The service that answered, or empty.
    pub service: &'a str,
    /// The server that answered, or empty.
    pub server: &'a str,
    /// Tries after the first.
    pub retries: u32,
    /// In the queue.
    pub queue: u64,
    /// Spent on opening connections to servers.
    pub connect: u64,
    /// From having a connection to the answer's first byte.
    pub first_byte: u64,
    /// From the request's head to the answer's end.
    pub total: u64,
    /// Who ended it early, and when.
    pub ended: Option<Ended>,
    /// What tells it from all others, or empty.
    pub id: &'a [u8],
    /// The value of the request's first field of a name, or empty.
    pub field: &'a dyn Fn(&str) -> &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that went well after one retry.
    pub(super) fn record<'a>() -> AccessRecord<'a> {
        AccessRecord {
            client: IpAddr::from([192, 168, 0, 5]),
            port: 4711,
            user: b"",
            method: b"GET",
            target: b"/a\"\nb",
            version: "HTTP/1.1",
            host: b"shop.example",
            status: 200,
            bytes: 12,
            received: None,
            referer: b"",
            agent: b"curl/8",
            listener: "web",
            route: "/a*",
            service: "shop",
            server: "app1",
            retries: 1,
            queue: 20,
            connect: 310,
            first_byte: 1_500,
            total: 12_000,
            ended: None,
            id: b"4f2a",
            field: &|name| if name == "X-A" { b"a b" } else { b"" },
        }
    }
}
