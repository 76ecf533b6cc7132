//! The loop of one connection.
//!
//! 1. Parse what is there; carry it out; append the answer; again, until the input is used up.
//! 2. Write all answers at once (earlier when much has gathered).
//! 3. Wait for more input.
//!
//! So a client's requests are carried out in their order, each after the one before it was answered by the
//! keyspace, silent ones too; and a request that arrives alone costs one recv and one send.

mod admin;
mod binary;
mod meta;
mod observe;
mod watcher;

use std::borrow::Cow;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::admin::Admin;
use crate::auth::{Method, Users};
use crate::binary::MAGIC;
use crate::context::{Protocols, ServerContext};
use crate::extended::{Nothing, call};
use crate::input::{Filled, Input, SMALL_VALUE, Wanted};
use crate::keyspace::Keyspace;
use crate::op::{Lifetime, Mode, Op, RELATIVE_LIMIT, Reply};
use crate::output::{Granted, Output};
use crate::request::{Keys, Limits, Parsed, Refusal, Request, WireError};
use crate::stats::{self, Admitted};
use crate::text::{self, reply};

use observe::Observed;

/// What to do after a look at the input.
enum Next {
    /// Look again: a request was used up.
    Again,
    /// Wait until so much is there; so many bytes of it need not be looked at again.
    Wait { wanted: Wanted, scanned: usize },
    /// Throw away so many bytes first.
    Swallow(u64),
    /// Write what is left to say, and end.
    Over,
    /// Tell what happens from now on.
    Watch(u8),
}

/// Serves one client until it leaves, falls silent for too long, or the server stops.
///
/// Errors are those of the stream, `TimedOut` for a client that does not read its answers. Memory: a small fixed
/// amount while idle; at most one value of the maximal size coming in, and 64 KiB plus the hits of one call
/// ([`Keyspace::keys_per_call`]) going out, which count among what all may hold ([`crate::ServerOptions::incoming`],
/// [`crate::ServerOptions::room`]).
pub async fn serve_connection<S, K>(stream: S, keyspace: &K, cx: &ServerContext) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    K: Keyspace + ?Sized,
{
    serve_admitted(stream, keyspace, cx, None).await.map(|_| ())
}

/// How a connection ended.
pub(crate) enum End<S> {
    /// The client left, or the server stops.
    Normal,
    /// It was silent for too long.
    Idle,
    /// It has not: it waits for a request, which somebody else is to answer.
    Released(S),
}

/// As [`serve_connection`], for one that was counted.
pub(crate) async fn serve_admitted<S, K>(
    mut stream: S,
    keyspace: &K,
    cx: &ServerContext,
    admitted: Option<&Admitted>,
) -> io::Result<End<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    K: Keyspace + ?Sized,
{
    let last = admitted.map(Admitted::last);
    let seat = cx.drain.seat();
    let mut input = Input::new(cx);
    let mut output = Output::new(cx);
    let mut client = Client {
        keyspace,
        cx,
        number: admitted.map_or(0, Admitted::number),
        binary: None,
        trusted: cx.options.users.is_none(),
        crowded: false,
    };
    let mut scanned = 0;
    loop {
        output.set_request_room(input.room());
        let binary = client.is_binary(input.bytes());
        let next = match binary {
            None if input.bytes().is_empty() => Next::Wait {
                wanted: Wanted::exactly(1),
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
        client.crowded = false;
        // It is answered, and may have given its room back.
        output.set_request_room(input.room());
        if output.is_full() {
            output.flush(&mut stream).await?;
        }
        match next {
            Next::Again => {}
            Next::Swallow(left) => {
                seat.set_within(true);
                if !skip(&mut stream, &mut input, &mut output, left, &seat).await? {
                    return Ok(End::Normal);
                }
                seat.set_within(false);
            }
            Next::Over => {
                output.flush(&mut stream).await?;
                return Ok(End::Normal);
            }
            Next::Watch(classes) => {
                output.flush(&mut stream).await?;
                drop((input, output));
                watcher::serve(&mut stream, cx, classes, &seat).await?;
                return Ok(End::Normal);
            }
            Next::Wait {
                wanted,
                scanned: known,
            } => {
                scanned = known;
                output.flush(&mut stream).await?;
                if let Some(last) = &last {
                    last.store((cx.options.unix_clock)(), Relaxed);
                }
                while input.bytes().len() < wanted.need && !client.crowded {
                    match input.fill(&mut stream, wanted, &seat).await? {
                        Filled::Bytes => {}
                        Filled::Crowded => client.crowded = true,
                        // A client that has left is found out by whoever gets it.
                        Filled::Over if seat.is_released() && input.bytes().is_empty() => {
                            return Ok(End::Released(stream));
                        }
                        Filled::Over => return Ok(End::Normal),
                        Filled::Silent => {
                            cx.stats.count_idle_kick();
                            return Ok(End::Idle);
                        }
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
    /// Its number among the connections of the server.
    number: u64,
    /// Which protocol it speaks: its first byte said.
    binary: Option<bool>,
    /// It has proved itself, or need not.
    trusted: bool,
    /// There is no room for the request at the beginning of the input, which is a large one.
    crowded: bool,
}

impl<'k, K: Keyspace + ?Sized> Client<'k, K> {
    fn observed(&self) -> Observed<'k, K> {
        Observed {
            keyspace: self.keyspace,
            cx: self.cx,
            number: self.number,
        }
    }

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
    /// Nor is one whose request finds none.
    fn limits(&self) -> Limits {
        const CREDENTIALS: usize = 2048;
        let most = match (self.trusted, self.crowded) {
            (false, _) => CREDENTIALS,
            (true, true) => SMALL_VALUE,
            (true, false) => return self.cx.limits,
        };
        Limits {
            max_value: self.cx.limits.max_value.min(most),
        }
    }

    /// A `set` of this key comes to nothing.
    fn set_refused(&self, key: &[u8]) {
        self.keyspace.set_refused(key);
        let why = if self.crowded {
            "no_memory"
        } else {
            "too_large"
        };
        self.observed().refused(key, why);
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
                request: Request::Admin(Admin::Watch(classes)),
                ..
            } if self.cx.options.watch => return Ok(Next::Watch(classes)),
            Parsed::Request {
                request,
                noreply,
                consumed,
            } => {
                let mut exchange = Exchange {
                    keyspace: self.keyspace,
                    cx: self.cx,
                    number: self.number,
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
                    self.set_refused(key);
                }
                match (noreply, self.crowded) {
                    (true, _) => {}
                    (false, true) => reply::write(output.bytes(), &crowded(true)),
                    (false, false) => reply::write_error(output.bytes(), error),
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
            Parsed::More { .. } if self.crowded => {
                // A line without an end: nobody knows where the next request begins.
                reply::write(output.bytes(), &crowded(false));
                return Ok(Next::Over);
            }
            Parsed::More { need, scanned } => {
                let wanted = if scanned > 0 {
                    Wanted::line(need)
                } else {
                    Wanted::exactly(need)
                };
                return Ok(Next::Wait { wanted, scanned });
            }
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
        self.cx.stats.count_auth(admitted);
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
        if input.fill(stream, Wanted::exactly(1), seat).await? != Filled::Bytes {
            return Ok(false);
        }
    }
}

/// One request, from its parsing to its answer.
struct Exchange<'r, 'c, S, K: ?Sized> {
    keyspace: &'r K,
    cx: &'c ServerContext,
    /// The connection's.
    number: u64,
    stream: &'r mut S,
    output: &'r mut Output<'c>,
    noreply: bool,
}

impl<'r, 'c: 'r, S: AsyncWrite + Unpin, K: Keyspace + ?Sized> Exchange<'r, 'c, S, K> {
    fn observed(&self) -> Observed<'r, K> {
        Observed {
            keyspace: self.keyspace,
            cx: self.cx,
            number: self.number,
        }
    }

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
            Request::Verbosity(level) => {
                self.cx.stats.settings.set("verbosity", level.to_string());
                self.answer(&Reply::Ok);
                return Ok(());
            }
            Request::Quit => return Ok(()),
            Request::Meta(meta) => {
                return self.meta(&meta).await;
            }
            Request::MetaNoop => {
                self.output.bytes().extend_from_slice(b"MN\r\n");
                return Ok(());
            }
            Request::Shutdown { graceful } => {
                match (&self.cx.options.shutdown, graceful) {
                    (Some(shutdown), Some(graceful)) => shutdown(graceful),
                    (Some(_), None) => self.refuse(WireError::Client("invalid shutdown mode")),
                    (None, _) => self.refuse(WireError::Line("ERROR: shutdown not enabled")),
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
            Request::FlushAll { .. } if !self.cx.options.flush => {
                self.refuse(WireError::Client("flush_all not allowed"));
                return Ok(());
            }
            Request::Admin(admin) => return self.admin(admin).await,
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
        let room = self.output.reserve(self.stream, self.keyspace, &op);
        let reply = if room.await? == 0 {
            crowded(true)
        } else {
            self.observed().call(op, &mut Nothing).await
        };
        self.output.settle();
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
            last = self.find(batch, life, versions).await?;
            if last != Reply::End {
                break;
            }
        }
        self.answer(&last);
        Ok(())
    }

    /// Has `keys` looked for and writes the hits, piece by piece if they are large; the reply is `End`, or an error.
    async fn find(
        &mut self,
        mut keys: &[&[u8]],
        life: Option<Lifetime>,
        versions: bool,
    ) -> io::Result<Reply> {
        // The next value is known to take room.
        let mut waits = false;
        loop {
            let (mut asked, mut most) = (keys, None);
            let (stream, keyspace) = (&mut *self.stream, self.keyspace);
            if let Some(life) = life {
                let op = Op::GetAndTouch { keys, life };
                let fitting = self.output.reserve(stream, keyspace, &op).await?;
                asked = &keys[..fitting];
            } else {
                let output = &mut *self.output;
                let granted = output.reserve_all_or_little(stream, keyspace, keys, waits);
                match granted.await? {
                    Granted::All => {}
                    Granted::Little(bytes) => most = Some(bytes),
                    Granted::Nothing => asked = &[],
                }
            }
            if asked.is_empty() {
                return Ok(crowded(false));
            }
            let observed = self.observed();
            let out = self.output.bytes();
            let mark = out.len();
            let hits = &mut reply::Hits::new(out, versions);
            let reply = match (life, most) {
                (Some(life), _) => {
                    let op = Op::GetAndTouch { keys: asked, life };
                    observed.call(op, hits).await
                }
                (None, None) => observed.call(Op::Get { keys: asked }, hits).await,
                (None, Some(bytes)) => observed.get_within(asked, bytes, hits).await,
            };
            if !matches!(reply, Reply::End | Reply::Partly(_)) {
                // An error, not a miss: the hits of this call must not look like the whole answer.
                self.output.bytes().truncate(mark);
            }
            self.output.settle();
            if self.output.is_full() {
                self.output.flush(self.stream).await?;
            }
            match reply {
                Reply::End => keys = &keys[asked.len()..],
                Reply::Partly(count) => {
                    // Whatever is asked for without a bound comes to an end.
                    let count = count.clamp(usize::from(most.is_none()), asked.len());
                    waits = count == 0;
                    keys = &keys[count..];
                }
                error => return Ok(error),
            }
            if keys.is_empty() {
                return Ok(Reply::End);
            }
        }
    }

    fn answer(&mut self, reply: &Reply) {
        if !self.noreply {
            reply::write(self.output.bytes(), reply);
        }
    }

    fn refuse(&mut self, error: WireError) {
        if !self.noreply {
            reply::write_error(self.output.bytes(), error);
        }
    }
}

/// What is answered to an operation that found no room for its values. Nothing was done.
fn crowded(stores: bool) -> Reply {
    Reply::ServerError(Cow::Borrowed(if stores {
        "not stored (the large values of other clients take up all the room)"
    } else {
        "cannot be read now (the large values of other clients take up all the room)"
    }))
}

/// The lines of `stats [argument]`: those that the server knows, and those of the keyspace. `None`: there are none of
/// that name.
async fn gather_stats<K: Keyspace + ?Sized>(
    keyspace: &K,
    cx: &ServerContext,
    asking: u64,
    argument: &[u8],
) -> Option<Reply> {
    let word = argument.split(|&b| b == b' ').next().unwrap_or_default();
    match word {
        b"conns" => {
            let now = (cx.options.unix_clock)();
            return Some(Reply::Stats(cx.stats.connections(asking, now)));
        }
        b"sizes" if !cx.stats.settings.is_on("track_sizes") => {
            let line = ("sizes_status".to_owned(), "disabled".to_owned());
            return Some(Reply::Stats(vec![line]));
        }
        // There is none, and those who ask are told so.
        b"extstore" => return Some(Reply::Stats(Vec::new())),
        b"" | b"settings" | b"reset" | b"items" | b"slabs" | b"sizes" => {}
        _ => return None,
    }
    let reply = call(keyspace, Op::Stats { argument: word }, &mut Nothing).await;
    Some(match (word, reply) {
        (b"", Reply::Stats(more)) => {
            let mut lines = stats::general(cx);
            lines.extend(more);
            Reply::Stats(lines)
        }
        (b"settings", Reply::Stats(more)) => Reply::Stats(stats::settings(cx, more)),
        (b"reset", Reply::Stats(_) | Reply::Ok) => {
            cx.stats.reset();
            Reply::Ok
        }
        (_, other) => other,
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
