//! The loop of one connection.
//!
//! 1. Parse what is there; carry it out; append the answer; again, until the input is used up.
//! 2. Write all answers at once (earlier when much has gathered).
//! 3. Wait for more input.
//!
//! So a client's requests are carried out in their order, each after the one before it was answered by the
//! keyspace, silent ones too; and a request that arrives alone costs one recv and one send.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::context::ServerContext;
use crate::input::{Filled, Input};
use crate::keyspace::{Answer, Keyspace, Sink};
use crate::op::{Lifetime, Op, RELATIVE_LIMIT, Reply};
use crate::output::Output;
use crate::request::{Keys, Parsed, Refusal, Request, WireError};
use crate::stats;
use crate::text::{self, reply};

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
    let mut scanned = 0;
    loop {
        let need = match text::parse(input.bytes(), scanned, cx.limits) {
            Parsed::Request {
                request: Request::Quit,
                ..
            } => return output.flush(&mut stream).await,
            Parsed::Request {
                request,
                noreply,
                consumed,
            } => {
                let mut exchange = Exchange {
                    keyspace,
                    cx,
                    stream: &mut stream,
                    output: &mut output,
                    noreply,
                };
                exchange.carry_out(request).await?;
                input.consume(consumed);
                scanned = 0;
                if output.is_full() {
                    output.flush(&mut stream).await?;
                }
                continue;
            }
            Parsed::Refused(refusal) => {
                let Refusal {
                    error,
                    noreply,
                    consumed,
                    swallow,
                    set_refused,
                } = refusal;
                if let Some(key) = set_refused {
                    keyspace.set_refused(key);
                }
                if !noreply {
                    reply::write_error(output.bytes(), error);
                }
                input.consume(consumed);
                scanned = 0;
                if output.is_full() {
                    output.flush(&mut stream).await?;
                }
                if swallow == 0
                    || skip(&mut stream, &mut input, &mut output, swallow, &seat).await?
                {
                    continue;
                }
                return Ok(());
            }
            Parsed::Close(error) => {
                if let Some(error) = error {
                    reply::write_error(output.bytes(), error);
                }
                return output.flush(&mut stream).await;
            }
            Parsed::More {
                need,
                scanned: known,
            } => {
                scanned = known;
                need
            }
        };
        output.flush(&mut stream).await?;
        while input.bytes().len() < need {
            if input.fill(&mut stream, need, &seat).await? == Filled::Over {
                return Ok(());
            }
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
                life: self.life(exptime),
                value,
            },
            Request::Delete { key } => Op::Delete { key },
            Request::Touch { key, exptime } => Op::Touch {
                key,
                life: self.life(exptime),
            },
            Request::Arithmetic { key, delta, down } => Op::Arithmetic { key, delta, down },
            Request::FlushAll { exptime } => Op::FlushAll {
                delay: match self.life(exptime) {
                    Lifetime::Forever => 0,
                    Lifetime::Millis(delay) => delay,
                },
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
        let life = exptime.map(|exptime| self.life(exptime));
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
        let word = argument.split(|&b| b == b' ').next().unwrap_or_default();
        let mut lines = match word {
            b"" => stats::general(self.cx),
            b"settings" => stats::settings(self.cx),
            b"reset" | b"items" | b"slabs" | b"sizes" | b"detail" => Vec::new(),
            _ => return reply::write_error(self.output.bytes(), WireError::Unknown),
        };
        match call(self.keyspace, Op::Stats { argument }, &mut Nothing).await {
            Reply::ClientError(what) => self.answer(&Reply::ClientError(what)),
            Reply::ServerError(what) => self.answer(&Reply::ServerError(what)),
            _ if word == b"reset" => {
                self.cx.stats.reset();
                self.output.bytes().extend_from_slice(b"RESET\r\n");
            }
            Reply::Stats(more) => {
                lines.extend(more);
                self.answer(&Reply::Stats(lines));
            }
            other => self.answer(&other),
        }
    }

    fn answer(&mut self, reply: &Reply) {
        if !self.noreply {
            reply::write(self.output.bytes(), reply);
        }
    }

    fn life(&self, exptime: i64) -> Lifetime {
        let absolute = exptime > RELATIVE_LIMIT;
        let unix_now = if absolute {
            (self.cx.options.unix_clock)()
        } else {
            0
        };
        Lifetime::from_exptime(exptime, unix_now)
    }
}

/// One operation, awaited if it has to be.
async fn call<'a, K: Keyspace + ?Sized>(
    keyspace: &'a K,
    op: Op<'a>,
    sink: &'a mut dyn Sink,
) -> Reply {
    match keyspace.call(op, sink) {
        Answer::Now(reply) => reply,
        Answer::Later(reply) => reply.await,
    }
}

/// The sink of operations that have no hits.
struct Nothing;

impl Sink for Nothing {
    fn hit(&mut self, _: crate::keyspace::Hit<'_>) {}
}

#[cfg(test)]
mod tests;
