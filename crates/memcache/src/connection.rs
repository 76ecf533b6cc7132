//! The loop of one connection.
//!
//! 1. Parse what is there; carry it out; append the answer; again, until the input is used up.
//! 2. Write all answers at once (earlier when much has gathered).
//! 3. Wait for more input.
//!
//! So a client's requests are carried out in their order, each after the one before it was answered by the
//! keyspace, silent ones too; and a request that arrives alone costs one recv and one send.

mod binary;
mod meta;

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::{Method, Users};
use crate::binary::MAGIC;
use crate::context::{Protocols, ServerContext};
use crate::extended::{Nothing, call};
use crate::input::{Filled, Input};
use crate::keyspace::Keyspace;
use crate::op::{Lifetime, Mode, Op, RELATIVE_LIMIT, Reply};
use crate::output::Output;
use crate::request::{Keys, Limits, Parsed, Refusal, Request, WireError};
use crate::stats;
use crate::text::{self, reply};

/// What to do after a look at the input.
enum Next {
    /// Look again: a request was used up.
    Again,
    /// Wait until so many bytes are there; `scanned` of them need not be looked at again.
    Wait { need: usize, scanned: usize },
    /// Throw away so many bytes first.
    Swallow(u64),
    /// Write what is left to say, and end.
    Over,
}

/// Serves one client until it leaves, falls silent for too long, or the server stops.
///
/// Errors are those of the stream, `TimedOut` for a client that does not read its answers. Memory: a small fixed
/// amount while idle; at most one value of the maximal size coming in, and 64 KiB plus the hits of one call
/// ([`Keyspace::keys_per_call`]) going out.
pub async fn serve_connection<S, K>(
    mut stream: S,
    keyspace: &K,
    cx: &ServerContext,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    K: Keyspace + ?Sized,
{
    let seat = cx.drain.seat();
    let mut input = Input::new(cx);
    let mut output = Output::new(cx);
    let mut client = Client {
        keyspace,
        cx,
        binary: None,
        trusted: cx.options.users.is_none(),
    };
    let mut scanned = 0;
    loop {
        let binary = client.is_binary(input.bytes());
        let next = match binary {
            None if input.bytes().is_empty() => Next::Wait {
                need: 1,
                scanned: 0,
            },
            None => Next::Over,
            Some(true) => client.binary(&mut stream, &mut input, &mut output).await?,
            Some(false) => {
                client
                    .text(&mut stream, &mut input, &mut output, scanned)
                    .await?
            }
        };
        scanned = 0;
        if output.is_full() {
            output.flush(&mut stream).await?;
        }
        match next {
            Next::Again => {}
            Next::Swallow(left) => {
                if !skip(&mut stream, &mut input, &mut output, left, &seat).await? {
                    return Ok(());
                }
            }
            Next::Over => return output.flush(&mut stream).await,
            Next::Wait {
                need,
                scanned: known,
            } => {
                scanned = known;
                output.flush(&mut stream).await?;
                while input.bytes().len() < need {
                    if input.fill(&mut stream, need, &seat).await? == Filled::Over {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// What is known of the client.
struct Client<'k, K: ?Sized> {
    keyspace: &'k K,
    cx: &'k ServerContext,
    /// Which protocol it speaks: its first byte said.
    binary: Option<bool>,
    /// It has proved itself, or need not.
    trusted: bool,
}

impl<'k, K: Keyspace + ?Sized> Client<'k, K> {
    /// `None`: not known yet, or a protocol that is not spoken here.
    fn is_binary(&mut self, input: &[u8]) -> Option<bool> {
        if self.binary.is_none() {
            let first = *input.first()?;
            self.binary = match (self.cx.options.protocols, first == MAGIC) {
                (Protocols::Auto, binary) => Some(binary),
                (Protocols::Ascii, _) => Some(false),
                (Protocols::Binary, true) => Some(true),
                (Protocols::Binary, false) => None,
            };
        }
        self.binary
    }

    /// Who is let in by `method`, if not everybody.
    fn users(&self, method: Method) -> Option<&Users> {
        let (wanted, users) = self.cx.options.users.as_ref()?;
        (*wanted == method).then_some(users)
    }

    /// A client that has not proved itself is not given room for more than a name and a password.
    fn limits(&self) -> Limits {
        const CREDENTIALS: usize = 2048;
        if self.trusted {
            self.cx.limits
        } else {
            Limits {
                max_value: self.cx.limits.max_value.min(CREDENTIALS),
            }
        }
    }

    /// Carries out the text request at the beginning of the input.
    async fn text<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        input: &mut Input<'_>,
        output: &mut Output<'k>,
        scanned: usize,
    ) -> io::Result<Next> {
        match text::parse(input.bytes(), scanned, self.limits()) {
            Parsed::Request {
                request: Request::Quit,
                ..
            } => return Ok(Next::Over),
            Parsed::Request {
                request, consumed, ..
            } if !self.trusted => {
                self.prove(&request, output.bytes());
                input.consume(consumed);
            }
            Parsed::Request {
                request,
                noreply,
                consumed,
            } => {
                let mut exchange = Exchange {
                    keyspace: self.keyspace,
                    cx: self.cx,
                    stream,
                    output,
                    noreply,
                };
                exchange.carry_out(request).await?;
                input.consume(consumed);
            }
            Parsed::Refused(Refusal {
                error,
                noreply,
                consumed,
                swallow,
                set_refused,
            }) => {
                if let (Some(key), true) = (set_refused, self.trusted) {
                    self.keyspace.set_refused(key);
                }
                if !noreply {
                    reply::write_error(output.bytes(), error);
                }
                input.consume(consumed);
                if swallow > 0 {
                    return Ok(Next::Swallow(swallow));
                }
            }
            Parsed::Close(error) => {
                if let Some(error) = error {
                    reply::write_error(output.bytes(), error);
                }
                return Ok(Next::Over);
            }
            Parsed::More { need, scanned } => return Ok(Next::Wait { need, scanned }),
        }
        Ok(Next::Again)
    }

    /// Authentication in the text protocol: a `set` of any key, whose value is `name password`.
    fn prove(&mut self, request: &Request<'_>, out: &mut Vec<u8>) {
        let Request::Store {
            mode: Mode::Set,
            value,
            ..
        } = *request
        else {
            return reply::write_error(out, WireError::Client("unauthenticated"));
        };
        let space = value.iter().position(|&b| b == b' ');
        let admitted = space
            .zip(self.users(Method::Ascii))
            .is_some_and(|(at, users)| users.admit(&value[..at], &value[at + 1..]));
        self.trusted = admitted;
        if admitted {
            reply::write(out, &Reply::Stored);
        } else {
            reply::write_error(out, WireError::Client("authentication failure"));
        }
    }
}

/// Throws away the bytes of a refused value; false when the client left before its end.
async fn skip<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    input: &mut Input<'_>,
    output: &mut Output<'_>,
    mut left: u64,
    seat: &crate::drain::Seat<'_>,
) -> io::Result<bool> {
    loop {
        let here = left.min(input.bytes().len() as u64);
        input.consume(here as usize);
        left -= here;
        if left == 0 {
            return Ok(true);
        }
        output.flush(stream).await?;
        if input.fill(stream, 1, seat).await? == Filled::Over {
            return Ok(false);
        }
    }
}

/// One request, from its parsing to its answer.
struct Exchange<'r, 'c, S, K: ?Sized> {
    keyspace: &'r K,
    cx: &'c ServerContext,
    stream: &'r mut S,
    output: &'r mut Output<'c>,
    noreply: bool,
}

impl<S: AsyncWrite + Unpin, K: Keyspace + ?Sized> Exchange<'_, '_, S, K> {
    async fn carry_out(&mut self, request: Request<'_>) -> io::Result<()> {
        let op = match request {
            Request::Retrieve {
                keys,
                exptime,
                versions,
            } => return self.retrieve(keys, exptime, versions).await,
            Request::Stats { argument } => {
                self.stats(argument).await;
                return Ok(());
            }
            Request::Version => {
                reply::write_version(self.output.bytes(), &self.cx.options.version);
                return Ok(());
            }
            Request::Verbosity => {
                self.answer(&Reply::Ok);
                return Ok(());
            }
            Request::Quit => return Ok(()),
            Request::Meta(meta) => {
                self.meta(&meta).await;
                return Ok(());
            }
            Request::MetaNoop => {
                self.output.bytes().extend_from_slice(b"MN\r\n");
                return Ok(());
            }
            Request::Shutdown { graceful } => {
                match &self.cx.options.shutdown {
                    Some(shutdown) => shutdown(graceful),
                    None => self.refuse(WireError::Line("ERROR: shutdown not enabled")),
                }
                return Ok(());
            }
            Request::MemoryLimit { megabytes } => {
                let bytes = usize::try_from(megabytes << 20).unwrap_or(usize::MAX);
                match self.keyspace.set_memory(bytes) {
                    Some(reply) => self.answer(&reply),
                    None => self.refuse(WireError::Line(
                        "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
                    )),
                }
                return Ok(());
            }
            Request::Dump if !self.cx.options.dump => {
                self.refuse(WireError::Client("metadump not allowed"));
                return Ok(());
            }
            Request::FlushAll { .. } if !self.cx.options.flush => {
                self.refuse(WireError::Client("flush_all not allowed"));
                return Ok(());
            }
            Request::Dump => return self.dump().await,
            Request::Tuning => {
                self.answer(&Reply::Ok);
                return Ok(());
            }
            Request::Store {
                mode,
                key,
                flags,
                exptime,
                value,
            } => Op::Store {
                mode,
                key,
                flags,
                life: life(self.cx, exptime),
                value,
            },
            Request::Delete { key } => Op::Delete { key },
            Request::Touch { key, exptime } => Op::Touch {
                key,
                life: life(self.cx, exptime),
            },
            Request::Arithmetic { key, delta, down } => Op::Arithmetic { key, delta, down },
            Request::FlushAll { exptime } => Op::FlushAll {
                delay: delay(self.cx, exptime),
            },
        };
        let reply = call(self.keyspace, op, &mut Nothing).await;
        self.answer(&reply);
        Ok(())
    }

    async fn retrieve(
        &mut self,
        keys: Keys<'_>,
        exptime: Option<i64>,
        versions: bool,
    ) -> io::Result<()> {
        let life = exptime.map(|exptime| life(self.cx, exptime));
        let at_once = self.keyspace.keys_per_call().max(1);
        let mut keys = keys.iter();
        let mut last = Reply::End;
        // Most retrievals have one key, which needs no list on the heap.
        while let Some(first) = keys.next() {
            let one = [first];
            let several: Vec<&[u8]>;
            let batch = if at_once == 1 {
                &one[..]
            } else {
                match keys.next() {
                    None => &one[..],
                    Some(second) => {
                        let more = keys.by_ref().take(at_once - 2);
                        several = [first, second].into_iter().chain(more).collect();
                        &several[..]
                    }
                }
            };
            let op = match life {
                None => Op::Get { keys: batch },
                Some(life) => Op::GetAndTouch { keys: batch, life },
            };
            let out = self.output.bytes();
            let mark = out.len();
            last = call(self.keyspace, op, &mut reply::Hits::new(out, versions)).await;
            if last != Reply::End {
                // An error, not a miss: the hits of this call must not look like the whole answer.
                self.output.bytes().truncate(mark);
                break;
            }
            if self.output.is_full() {
                self.output.flush(self.stream).await?;
            }
        }
        self.answer(&last);
        Ok(())
    }

    async fn stats(&mut self, argument: &[u8]) {
        if let Some(rest) = argument.strip_prefix(b"cachedump ") {
            return self.cachedump(rest);
        }
        match gather_stats(self.keyspace, self.cx, argument).await {
            None => self.refuse(WireError::Unknown),
            Some(Reply::Ok) if argument.starts_with(b"reset") => {
                self.output.bytes().extend_from_slice(b"RESET\r\n");
            }
            Some(Reply::Stats(lines)) if argument == b"detail dump" => {
                // Lines of their own kind, not `STAT` ones.
                for (prefix, counts) in lines {
                    for part in ["PREFIX ", &prefix, " ", &counts, "\r\n"] {
                        self.output.bytes().extend_from_slice(part.as_bytes());
                    }
                }
                self.answer(&Reply::End);
            }
            Some(reply) => self.answer(&reply),
        }
    }

    fn answer(&mut self, reply: &Reply) {
        if !self.noreply {
            reply::write(self.output.bytes(), reply);
        }
    }

    /// `stats cachedump CLASS LIMIT`: some items. There is one class of sizes, whatever its number.
    fn cachedump(&mut self, words: &[u8]) {
        let limit = words.rsplit(|&b| b == b' ').next().and_then(text::unsigned);
        let Some(limit) = limit.filter(|_| self.cx.options.dump) else {
            return self.refuse(WireError::Client("stats cachedump not allowed"));
        };
        let unix_now = (self.cx.options.unix_clock)();
        let mut items = reply::CacheDump::new(self.output.bytes(), unix_now, limit);
        let mut part = Some(0);
        while let Some(number) = part.filter(|_| !items.is_full()) {
            part = self.keyspace.dump(number, &mut items);
        }
        self.answer(&Reply::End);
    }

    fn refuse(&mut self, error: WireError) {
        if !self.noreply {
            reply::write_error(self.output.bytes(), error);
        }
    }

    /// `lru_crawler metadump`: all items, a part at a time.
    async fn dump(&mut self) -> io::Result<()> {
        let unix_now = (self.cx.options.unix_clock)();
        let mut part = Some(0);
        while let Some(number) = part {
            let mut lines = reply::Dump::new(self.output.bytes(), unix_now);
            part = self.keyspace.dump(number, &mut lines);
            if self.output.is_full() {
                self.output.flush(self.stream).await?;
            }
        }
        self.answer(&Reply::End);
        Ok(())
    }
}

/// The lines of `stats [argument]`: those that the server knows, and those of the keyspace. `None`: there are none of
/// that name.
async fn gather_stats<K: Keyspace + ?Sized>(
    keyspace: &K,
    cx: &ServerContext,
    argument: &[u8],
) -> Option<Reply> {
    let word = argument.split(|&b| b == b' ').next().unwrap_or_default();
    let mut lines = match word {
        b"" => stats::general(cx),
        b"settings" => stats::settings(cx),
        b"conns" => return Some(Reply::Stats(cx.stats.connections())),
        b"reset" | b"items" | b"slabs" | b"sizes" | b"detail" => Vec::new(),
        _ => return None,
    };
    let reply = call(keyspace, Op::Stats { argument }, &mut Nothing).await;
    Some(match reply {
        Reply::Stats(more) if word != b"reset" => {
            lines.extend(more);
            Reply::Stats(lines)
        }
        Reply::Stats(_) | Reply::Ok if word == b"reset" => {
            cx.stats.reset();
            Reply::Ok
        }
        other => other,
    })
}

/// What an `exptime` means now.
fn life(cx: &ServerContext, exptime: i64) -> Lifetime {
    let absolute = exptime > RELATIVE_LIMIT;
    let unix_now = if absolute {
        (cx.options.unix_clock)()
    } else {
        0
    };
    Lifetime::from_exptime(exptime, unix_now)
}

/// The milliseconds that a `flush_all` waits.
fn delay(cx: &ServerContext, exptime: i64) -> u64 {
    match life(cx, exptime) {
        Lifetime::Forever => 0,
        Lifetime::Millis(delay) => delay,
    }
}

#[cfg(test)]
mod tests;
