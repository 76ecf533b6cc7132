//! The binary protocol, from a packet to an operation and its answer.

use std::io;

use tokio::io::AsyncWrite;

use super::{Client, Next, crowded, delay, gather_stats, life};
use crate::auth::Method;
use crate::binary::reply::{self, Item, Show};
use crate::binary::{self, Header, NO_CREATE, Parsed, Request, Status, Verb};
use crate::extended::{Action, Extended, Nothing};
use crate::input::{Input, Wanted};
use crate::keyspace::{Keyspace, Sink};
use crate::op::{Mode, Op, Reply};
use crate::output::{Granted, Output};

impl<'k, K: Keyspace + ?Sized> Client<'k, K> {
    /// Carries out the binary request at the beginning of the input.
    pub(super) async fn binary<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        input: &mut Input<'_>,
        output: &mut Output<'k>,
    ) -> io::Result<Next> {
        let sasl = self.users(Method::Sasl).is_some();
        match binary::parse(input.bytes(), self.limits(), sasl) {
            Parsed::Request {
                header,
                request,
                quiet,
                consumed,
            } => {
                if matches!(request, Request::Quit) {
                    if !quiet {
                        reply::write_status(output.bytes(), header, Status::Ok);
                    }
                    return Ok(Next::Over);
                }
                let open = matches!(
                    request,
                    Request::SaslMechanisms | Request::SaslAuth { .. } | Request::Version
                );
                if !self.trusted && !open {
                    reply::write_status(output.bytes(), header, Status::AuthFailed);
                    return Ok(Next::Over);
                }
                let packet = Packet { header, quiet };
                self.packet(&packet, request, stream, output).await?;
                output.settle();
                input.consume(consumed);
                Ok(Next::Again)
            }
            Parsed::Refused {
                header,
                status,
                consumed,
                swallow,
                set_refused,
            } => {
                if let (Some(key), true) = (set_refused, self.trusted) {
                    self.set_refused(key);
                }
                if self.crowded {
                    reply::write_error(output.bytes(), header, &crowded(true));
                } else {
                    reply::write_status(output.bytes(), header, status);
                }
                input.consume(consumed);
                Ok(if swallow == 0 {
                    Next::Again
                } else {
                    Next::Swallow(swallow)
                })
            }
            Parsed::Close(answer) => {
                if let Some((header, status)) = answer {
                    reply::write_status(output.bytes(), header, status);
                }
                Ok(Next::Over)
            }
            Parsed::More { need } => Ok(Next::Wait {
                wanted: Wanted::exactly(need),
                scanned: 0,
            }),
        }
    }

    async fn packet<S: AsyncWrite + Unpin>(
        &mut self,
        packet: &Packet,
        request: Request<'_>,
        stream: &mut S,
        output: &mut Output<'k>,
    ) -> io::Result<()> {
        match request {
            Request::Retrieve {
                key,
                exptime,
                with_key,
                with_value,
            } => {
                let action = Action::Get {
                    life: exptime.map(|exptime| life(self.cx, i64::from(exptime))),
                    vivify: None,
                    recache: None,
                    unnoticed: false,
                };
                let show = match (with_value, with_key) {
                    (false, _) => Show::Flags,
                    (true, false) => Show::Value,
                    (true, true) => Show::KeyAndValue,
                };
                let op = operation(packet.header, key, action);
                return self.retrieve(packet, op, show, stream, output).await;
            }
            Request::Store {
                verb,
                key,
                flags,
                exptime,
                value,
            } => {
                let action = Action::Store {
                    mode: match verb {
                        Verb::Set => Mode::Set,
                        Verb::Add => Mode::Add,
                        Verb::Replace => Mode::Replace,
                        Verb::Append => Mode::Append,
                        Verb::Prepend => Mode::Prepend,
                    },
                    flags,
                    life: life(self.cx, i64::from(exptime)),
                    value,
                    invalidate: false,
                    vivify: None,
                };
                let op = operation(packet.header, key, action);
                return self.store(packet, op, verb, stream, output).await;
            }
            request => self.small(packet, request, output.bytes()).await,
        }
        Ok(())
    }

    async fn retrieve<S: AsyncWrite + Unpin>(
        &self,
        packet: &Packet,
        op: Extended<'_>,
        show: Show,
        stream: &mut S,
        output: &mut Output<'k>,
    ) -> io::Result<()> {
        let Packet { header, quiet } = *packet;
        // The value is known to take room.
        let mut waits = false;
        loop {
            let granted = output.reserve_for(stream, self.keyspace, &op, waits);
            let granted = granted.await?;
            let out = output.bytes();
            let mut item = Item::new(out, header, show);
            let reply = match granted {
                Granted::Nothing => crowded(false),
                Granted::All => self.observed().extended(op, &mut item).await,
                Granted::Little(bytes) => {
                    let observed = self.observed();
                    observed.get_within(&[op.key], bytes, &mut item).await
                }
            };
            match (reply, item.version) {
                (Reply::Partly(_), _) if matches!(granted, Granted::Little(_)) => {
                    waits = true;
                    continue;
                }
                (Reply::End, Some(_)) => {}
                (Reply::End, None) if quiet => {}
                (Reply::End, None) if show == Show::KeyAndValue => {
                    reply::write(out, header, Status::NotFound, 0, [b"", op.key, b""]);
                }
                (Reply::End, None) => reply::write_status(out, header, Status::NotFound),
                (error, _) => reply::write_error(out, header, &error),
            }
            return Ok(());
        }
    }

    async fn store<S: AsyncWrite + Unpin>(
        &self,
        packet: &Packet,
        op: Extended<'_>,
        verb: Verb,
        stream: &mut S,
        output: &mut Output<'k>,
    ) -> io::Result<()> {
        let header = packet.header;
        let granted = output.reserve_for(stream, self.keyspace, &op, true);
        let granted = granted.await?;
        let out = output.bytes();
        let mut item = Item::new(out, header, Show::Version);
        let reply = match granted {
            Granted::Nothing => crowded(true),
            _ => self.observed().extended(op, &mut item).await,
        };
        let version = item.version;
        let status = match (reply, verb) {
            (Reply::Stored, _) => {
                packet.done(out, version, b"");
                return Ok(());
            }
            (Reply::Exists, _) | (Reply::NotStored, Verb::Add) => Status::Exists,
            (Reply::NotFound, _) | (Reply::NotStored, Verb::Replace) => Status::NotFound,
            (Reply::NotStored, _) => Status::NotStored,
            (error, _) => {
                reply::write_error(out, header, &error);
                return Ok(());
            }
        };
        reply::write_status(out, header, status);
        Ok(())
    }

    /// Carries out what takes no room.
    async fn small(&mut self, packet: &Packet, request: Request<'_>, out: &mut Vec<u8>) {
        let header = packet.header;
        match request {
            Request::Delete { key } => {
                let action = Action::Delete {
                    invalidate: false,
                    clear: false,
                    life: None,
                };
                match self.extended(header, key, action, &mut Nothing).await {
                    Reply::Deleted => packet.done(out, None, b""),
                    Reply::NotFound => reply::write_status(out, header, Status::NotFound),
                    Reply::Exists => reply::write_status(out, header, Status::Exists),
                    error => reply::write_error(out, header, &error),
                }
            }
            Request::Arithmetic {
                key,
                delta,
                down,
                initial,
                exptime,
            } => {
                let create =
                    (exptime != NO_CREATE).then(|| (life(self.cx, i64::from(exptime)), initial));
                let action = Action::Arithmetic {
                    delta,
                    down,
                    life: None,
                    create,
                };
                let mut item = Item::new(out, header, Show::Version);
                let reply = self.extended(header, key, action, &mut item).await;
                let version = item.version;
                match reply {
                    Reply::Number(number) => packet.done(out, version, &number.to_be_bytes()),
                    Reply::NotFound => reply::write_status(out, header, Status::NotFound),
                    Reply::Exists => reply::write_status(out, header, Status::Exists),
                    error => reply::write_error(out, header, &error),
                }
            }
            Request::FlushAll { .. } if !self.cx.options.flush => {
                reply::write_status(out, header, Status::AuthFailed);
            }
            Request::FlushAll { exptime } => {
                let delay = delay(self.cx, i64::from(exptime));
                match self
                    .observed()
                    .call(Op::FlushAll { delay }, &mut Nothing)
                    .await
                {
                    Reply::Ok => packet.done(out, None, b""),
                    error => reply::write_error(out, header, &error),
                }
            }
            Request::Stats { argument } => self.stats(header, argument, out).await,
            Request::Noop | Request::Verbosity => packet.done(out, None, b""),
            Request::Version => packet.done(out, None, self.cx.options.version.as_bytes()),
            Request::SaslMechanisms => packet.done(out, None, b"PLAIN"),
            Request::SaslAuth { mechanism, message } => {
                self.trusted = mechanism == b"PLAIN" && self.admits(message);
                self.cx.stats.count_auth(self.trusted);
                if self.trusted {
                    packet.done(out, None, b"Authenticated");
                } else {
                    reply::write_status(out, header, Status::AuthFailed);
                }
            }
            // These are answered elsewhere.
            Request::Retrieve { .. } | Request::Store { .. } | Request::Quit => {}
        }
    }

    /// SASL PLAIN (RFC 4616): an identity to act for, which is ignored, a name, and a password.
    fn admits(&self, message: &[u8]) -> bool {
        let mut parts = message.splitn(3, |&b| b == 0).skip(1);
        let (Some(name), Some(password)) = (parts.next(), parts.next()) else {
            return false;
        };
        self.users(Method::Sasl)
            .is_some_and(|users| users.admit(name, password))
    }

    async fn extended<'a>(
        &'a self,
        header: Header,
        key: &'a [u8],
        action: Action<'a>,
        sink: &'a mut dyn Sink,
    ) -> Reply {
        let op = operation(header, key, action);
        self.observed().extended(op, sink).await
    }

    async fn stats(&self, header: Header, argument: &[u8], out: &mut Vec<u8>) {
        match argument {
            b"detail on" | b"detail off" => {
                self.cx.stats.set_detail(argument.ends_with(b"on"));
                return reply::write_status(out, header, Status::Ok);
            }
            b"detail dump" => {
                let mut lines = Vec::new();
                self.cx.stats.prefixes.dump(&mut lines);
                reply::write(out, header, Status::Ok, 0, [b"", b"detailed", &lines]);
                return reply::write_status(out, header, Status::Ok);
            }
            _ => {}
        }
        match gather_stats(self.keyspace, self.cx, self.number, argument).await {
            Some(Reply::Stats(lines)) => {
                for (name, value) in lines {
                    let parts = [b"", name.as_bytes(), value.as_bytes()];
                    reply::write(out, header, Status::Ok, 0, parts);
                }
                reply::write_status(out, header, Status::Ok);
            }
            Some(Reply::Ok) => reply::write_status(out, header, Status::Ok),
            Some(error) => reply::write_error(out, header, &error),
            None => reply::write_status(out, header, Status::NotFound),
        }
    }
}

fn operation<'a>(header: Header, key: &'a [u8], action: Action<'a>) -> Extended<'a> {
    // For a retrieval it means nothing.
    let compare = !matches!(action, Action::Get { .. }) && header.cas != 0;
    Extended {
        key,
        action,
        compare: compare.then_some(header.cas),
        new_version: None,
        details: false,
    }
}

/// What an answer repeats of its request.
struct Packet {
    header: Header,
    quiet: bool,
}

impl Packet {
    /// As expected.
    fn done(&self, out: &mut Vec<u8>, version: Option<u64>, value: &[u8]) {
        if !self.quiet {
            // 0 is what a server without versions says (memcached's -C).
            let version = version.unwrap_or(0);
            reply::write(out, self.header, Status::Ok, version, [b"", b"", value]);
        }
    }
}
