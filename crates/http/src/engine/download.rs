//! An answer on its way from a server to the client.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tandem_net::{Pipe, Socket};
use tandem_telemetry::{Phase, Stopped};

use super::authorize::{DROPPED, DROPPED_WITHIN};
use super::buffers::Buf;
use super::connection::{After, Exchange};
use super::exchange::{Flow, Waits};
use super::hand_over::{self, HandedOver};
use super::stream::{End, Moved, PIECE, WORTH, stream};
use super::upload::{Framing, emit};
use super::{reply, tunnel};
use crate::chunked::Chunked;
use crate::fastcgi::{self, Answer, Records};
use crate::handler::{Attempts, Cause, CookieEdits, Stage, Upstream};
use crate::head::MAX_HEAD;
use crate::policy::authorize::Heard;
use crate::policy::compress::Encoder;
use crate::response::{Delimited, Malformed, ResponseHead};
use crate::rewrite::{self, Keep};
use crate::trailers;

/// Interim answers (1xx) to one request.
const MOST_INTERIM: usize = 16;

/// How the way back ended.
pub(super) enum Down {
    /// The client has all of it.
    Complete { after: After, reusable: bool },
    /// Something else is sent in its place.
    Instead { what: Instead, reusable: bool },
    /// A gateway says that its own try failed.
    Marked(Stage, Cause),
    /// It is one that may be tried again.
    Failure(u16),
    /// The server failed.
    Server(Cause),
    /// The client takes no more.
    Client(Stopped),
}

/// What is sent in place of an answer, of which the client gets nothing.
pub(super) enum Instead {
    /// Another handler's answer: it is 404.
    Another,
    /// The page of an error, which is in the file.
    Page(u16),
    /// Nothing: all that is wanted of it is its head, which was noted.
    Heard,
    /// What is at the path that it names.
    HandedOver(Box<HandedOver>),
}

impl From<Malformed> for Down {
    fn from(_: Malformed) -> Self {
        Self::Server(Cause::Malformed)
    }
}

/// A compressor that fails, which none has a reason to: the answer cannot go on.
fn unfit(_: std::io::Error) -> Down {
    Down::Server(Cause::Broken)
}

/// Has what a program complained about written to the node's log, a line each.
fn complain(x: &Exchange<'_>, complaints: &[u8]) {
    if complaints.is_empty() {
        return;
    }
    let events = x.conn.shared().telemetry.events.clone();
    let service = x.record.service.clone().unwrap_or_default();
    let mut lines = complaints.to_vec();
    if lines.len() == fastcgi::COMPLAINTS {
        lines.extend_from_slice(b" ... (there was more)");
    }
    // The log may make who writes to it wait.
    tokio::task::spawn_blocking(move || {
        for line in lines.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end) {
            if !line.is_empty() {
                events.output(&service, line);
            }
        }
    });
}

/// An answer that passes as it is, but for what the pool changes of its cookies.
fn returned(to_node: bool, cookies: Option<&CookieEdits>) -> rewrite::Returned<'_> {
    rewrite::Returned {
        chunk: false,
        keep: Keep::Implied,
        to_node,
        edits: None,
        cookies,
        coded: None,
        date: b"",
    }
}

/// The way back.
pub(super) struct Download<'d, 'x> {
    pub x: &'d mut Exchange<'x>,
    pub attempts: &'d dyn Attempts,
    pub upstream: &'d Upstream,
    pub socket: &'d Socket,
    pub flow: &'d Flow<'d>,
    pub missing: bool,
    /// The request may be repeated although it was answered.
    pub again: bool,
    /// The connection to the client ends with this answer.
    pub is_last: bool,
    /// Of a program that speaks FastCGI: the records that its answer comes in.
    pub records: Option<Records>,
    pub response: &'d mut ResponseHead,
    pub out: &'d mut Vec<u8>,
}

impl Download<'_, '_> {
    pub async fn run(mut self) -> Down {
        let down = match self.answer().await {
            Ok(down) | Err(down) => down,
        };
        if let Some(records) = self.records.take() {
            complain(self.x, records.complaints());
        }
        down
    }

    async fn answer(&mut self) -> Result<Down, Down> {
        // No buffer is held while the server thinks.
        if poll_fn(|cx| self.socket.poll_readable(cx)).await.is_err() {
            return Err(Down::Server(Cause::Broken));
        }
        let mut buf = self.x.conn.shared().buffers.small();
        let (length, made) = if self.is_http(&mut buf).await? {
            (self.final_head(&mut buf).await?, None)
        } else {
            let (length, head) = self.cgi_head(&mut buf).await?;
            (length, Some(head))
        };
        let status = self.response.status();
        let head = made.as_deref().unwrap_or(&buf.filled()[..length]);
        if status == 101 {
            return self.upgrade(buf, length).await;
        }
        let delimited = self.response.body(self.x.is_head());
        if self.upstream.node
            && let Some((stage, cause)) = self.response.mark(head)
        {
            return Err(Down::Marked(stage, cause));
        }
        let retried = |on: &Arc<[u16]>| on.contains(&status);
        // Else a part of the body would be sent as the whole, or this answer be lost for nothing.
        let replays = self.flow.replays.get();
        if self.upstream.retry_on.as_ref().is_some_and(retried) && self.again && replays {
            return Err(Down::Failure(status));
        }
        // A script that is there has answered.
        let script = self.upstream.fastcgi.as_ref();
        let answers = script.is_some_and(|script| script.is_there);
        let missing = self.missing && status == 404 && replays && !answers;
        let pages = self.x.pages(status).filter(|pages| {
            // An error of a node's own, of a site there for example, is one of ours.
            let ours = self.upstream.node && self.response.is_nodes_own(head);
            pages.replaces(status) || ours && pages.has(status)
        });
        let hands_over = self.x.snapshot.config.hands_over;
        let instead = if missing {
            Some(Instead::Another)
        } else if self.x.request.only_asks() {
            // It is known whatever becomes of the rest.
            self.x.heard = Some(Box::new(Heard::of_head(status, head)));
            let what = Instead::Heard;
            let reusable = self.drop_rest(buf, length, delimited).await;
            return Ok(Down::Instead { what, reusable });
        } else if pages.is_some() {
            Some(Instead::Page(status))
        } else {
            let to = hands_over.then(|| self.handed_over(head)).flatten();
            to.map(Instead::HandedOver)
        };
        if let Some(what) = instead {
            let reusable = self.response.keep_alive()
                && match delimited {
                    Delimited::Empty => buf.filled().len() == length,
                    Delimited::Known(n) => (buf.filled().len() - length) as u64 == n,
                    Delimited::Chunked | Delimited::ByClose => false,
                };
            return Ok(Down::Instead { what, reusable });
        }
        let rules = (self.x.edits.as_deref()).and_then(|edits| edits.compress.as_ref());
        let mut coded = rules.and_then(|rules| rules.decide(self.response, head));
        let mut encoder = None;
        if let Some(coded) = &mut coded
            && delimited != Delimited::Empty
        {
            encoder = coded.coding.and_then(Encoder::new);
            if encoder.is_none() {
                coded.coding = None;
            }
        }
        let unknown =
            encoder.is_some() || matches!(delimited, Delimited::Chunked | Delimited::ByClose);
        let http2 = self.x.conn.client.is_http2();
        let chunk = unknown && self.x.request.head.minor() == 1 && !http2;
        let keep = reply::keep(self.x, self.flow.left.get(), unknown && !chunk && !http2);
        let to_node = self.to_node();
        self.out.clear();
        let mut date = Vec::new();
        if !self.response.is_dated() {
            self.x.conn.shared().date.line(&mut date);
        }
        let edits = self.x.edits.as_deref();
        let cookies = self.upstream.cookies.as_deref();
        rewrite::response(
            self.out,
            self.response,
            head,
            &rewrite::Returned {
                chunk,
                keep,
                to_node,
                edits,
                cookies,
                coded: coded.as_ref(),
                date: &date,
            },
        );
        drop(date);
        buf.consume(length);
        self.x.record.status = self.x.shown(status);
        self.x.record.head_bytes += self.out.len() as u64;
        self.is_last = reply::after(keep) == After::Close;
        let clean = self.body(buf, delimited, chunk, encoder).await?;
        Ok(Down::Complete {
            after: reply::after(keep),
            reusable: clean && self.response.keep_alive(),
        })
    }

    /// Reads the rest of an answer that nobody gets, if that is worth it; whether the connection can be used again.
    #[cold]
    async fn drop_rest(&mut self, mut buf: Buf, head: usize, delimited: Delimited) -> bool {
        // One connection, one request.
        if self.upstream.fastcgi.is_some() || !self.response.keep_alive() {
            return false;
        }
        buf.consume(head);
        let mut chunked = Chunked::default();
        let mut left = match delimited {
            Delimited::Empty => return buf.filled().is_empty(),
            Delimited::Known(n) => n,
            Delimited::Chunked => DROPPED,
            Delimited::ByClose => return false,
        };
        if left > DROPPED {
            return false;
        }
        self.flow.clock.allow(self.upstream.timeouts.body);
        let socket = self.socket;
        let dropped = async {
            loop {
                let here = buf.filled().len() as u64;
                let is_over = if delimited == Delimited::Chunked {
                    let decoded = chunked.decode(buf.filled_mut()).ok()?;
                    buf.consume(decoded.consumed);
                    left = left.checked_sub(decoded.consumed as u64)?;
                    chunked.is_done()
                } else {
                    let taken = here.min(left);
                    buf.consume(taken as usize);
                    left -= taken;
                    left == 0
                };
                if is_over {
                    return Some(buf.filled().is_empty());
                }
                match socket.read(buf.space()).await {
                    Ok(n) if n > 0 => buf.fill(n),
                    _ => return None,
                }
            }
        };
        let dropped = tokio::time::timeout(DROPPED_WITHIN, dropped).await;
        dropped == Ok(Some(true))
    }

    /// Where the answer hands the request over to, if it does, with the cookies that the client gets besides.
    #[cold]
    fn handed_over(&mut self, head: &[u8]) -> Option<Box<HandedOver>> {
        let mut to = Box::new(HandedOver::read(self.response, head)?);
        self.out.clear();
        let cookies = self.upstream.cookies.as_deref();
        let returned = returned(false, cookies);
        rewrite::response(self.out, self.response, head, &returned);
        to.with_cookies(self.out);
        Some(to)
    }

    /// Whether words between nodes pass: of a node to a node. What else says them has no word among nodes.
    fn to_node(&self) -> bool {
        self.x.request.from_node && self.upstream.node
    }

    /// Whether an answer begins as one of HTTP does: those of programs without records may, or else have a CGI head.
    async fn is_http(&mut self, buf: &mut Buf) -> Result<bool, Down> {
        if self.upstream.fastcgi.is_none() || self.records.is_some() {
            return Ok(self.records.is_none());
        }
        const BEGINS: &[u8] = b"HTTP/";
        loop {
            let filled = buf.filled();
            if filled.len() >= BEGINS.len() || !BEGINS.starts_with(filled) {
                return Ok(filled.starts_with(BEGINS));
            }
            if !self.read(buf).await? {
                return Err(Down::Server(Cause::Broken));
            }
        }
    }

    /// As [`final_head`](Self::final_head), of a CGI answer; returns also what its head is in HTTP.
    async fn cgi_head(&mut self, buf: &mut Buf) -> Result<(usize, Vec<u8>), Down> {
        loop {
            if let Some((length, head)) = Answer::read(buf.filled())? {
                self.response.read(&head)?;
                // There is nothing to go on with in another protocol, and nothing comes before the answer.
                return match self.response.status() {
                    ..200 => Err(Down::Server(Cause::Malformed)),
                    _ => Ok((length, head)),
                };
            }
            let more = match self.records {
                Some(_) => self.unpack(buf).await?,
                None => self.read(buf).await?,
            };
            if !more {
                return Err(Down::Server(Cause::Malformed));
            }
        }
    }

    /// Reads until the final answer's head is complete; interim answers are passed on or over. Returns its length.
    async fn final_head(&mut self, buf: &mut Buf) -> Result<usize, Down> {
        let (mut seen, mut interim) = (0, 0);
        loop {
            let Some(length) = self.response.take(buf.filled(), &mut seen)? else {
                if !self.read(buf).await? {
                    return Err(Down::Server(Cause::Broken));
                }
                continue;
            };
            match self.response.status() {
                101 if self.x.request.head.upgrade() => return Ok(length),
                101 => return Err(Down::Server(Cause::Malformed)),
                status @ 100..200 => {
                    interim += 1;
                    if interim > MOST_INTERIM {
                        return Err(Down::Server(Cause::Malformed));
                    }
                    let is_told = self.x.request.head.minor() == 1 && !self.x.request.only_asks();
                    if status == 103 && is_told {
                        self.early_hints(&buf.filled()[..length]).await?;
                    }
                    buf.consume(length);
                    seen = 0;
                }
                _ => return Ok(length),
            }
        }
    }

    async fn early_hints(&mut self, head: &[u8]) -> Result<(), Down> {
        self.out.clear();
        let to_node = self.to_node();
        let mut returned = returned(to_node, None);
        // Where it is a word between an application and a node it is none for clients.
        let hidden = self.x.snapshot.config.hands_over.then(hand_over::hidden);
        returned.edits = hidden.as_ref();
        rewrite::response(self.out, self.response, head, &returned);
        self.x.record.head_bytes += self.out.len() as u64;
        // As long as a part of them may be sent and not the rest, nothing else can be said to the client.
        self.flow.answering.set(true);
        let sent = self.send(b"", false, None).await;
        self.flow.answering.set(false);
        sent
    }

    /// Passes the body on. `true` when it ended where its framing says and nothing follows: the connection can be used
    /// again.
    async fn body(
        &mut self,
        mut buf: Buf,
        delimited: Delimited,
        chunk: bool,
        mut encoder: Option<Encoder>,
    ) -> Result<bool, Down> {
        let mut left = match delimited {
            Delimited::Empty => {
                self.pass(b"", false, Some(b"")).await?;
                return Ok(buf.filled().is_empty());
            }
            Delimited::Known(n) => n,
            Delimited::Chunked | Delimited::ByClose => u64::MAX,
        };
        let mut chunked = (delimited == Delimited::Chunked).then(Chunked::default);
        let mut is_large = false;
        loop {
            let (data, consumed, last) = match (delimited, &mut chunked) {
                (Delimited::Known(_), _) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX);
                    let here = here.min(buf.filled().len());
                    left -= here as u64;
                    (here, here, left == 0)
                }
                (_, Some(chunked)) => {
                    let decoded = chunked
                        .decode(buf.filled_mut())
                        .map_err(|_| Down::Server(Cause::Malformed))?;
                    (decoded.data, decoded.consumed, chunked.is_done())
                }
                _ => (buf.filled().len(), buf.filled().len(), false),
            };
            let filled = buf.filled().len() == buf.capacity();
            // The head goes out at once, with what is there of the body.
            if let Some(encoder) = &mut encoder
                && !last
            {
                self.encode(encoder, &buf.filled()[..data], chunk).await?;
            } else if data > 0 || last || !self.out.is_empty() {
                let trailers = match &mut chunked {
                    Some(chunked) if last && self.x.request.wants_trailers() => {
                        trailers::passed(chunked.take_trailers())
                    }
                    _ => Vec::new(),
                };
                let end = last.then_some(&*trailers);
                let mut coded = None;
                if let Some(encoder) = &mut encoder {
                    let whole = encoder.write(&buf.filled()[..data]);
                    whole.and_then(|()| encoder.finish()).map_err(unfit)?;
                    coded = Some(encoder.take());
                }
                let data = coded.as_deref().unwrap_or(&buf.filled()[..data]);
                self.pass(data, chunk, end).await?;
            }
            buf.consume(consumed);
            if last {
                return Ok(buf.filled().is_empty());
            }
            is_large |= match delimited {
                Delimited::Known(_) => left > MAX_HEAD as u64,
                _ => filled,
            };
            // All of it was consumed, and a server that takes its time (events, long polls) holds no buffer meanwhile.
            drop(buf);
            let as_it_is =
                encoder.is_none() && chunked.is_none() && !chunk && self.records.is_none();
            let streams = data >= PIECE && as_it_is;
            let mut moved = Moved::Waits { streams };
            while moved == (Moved::Waits { streams: true }) && left >= WORTH {
                moved = self.unseen(&mut left).await?;
            }
            match moved {
                Moved::Waits { .. } => {}
                Moved::All => return Ok(true),
                Moved::Ended if delimited == Delimited::ByClose => return Ok(false),
                Moved::Ended => return Err(Down::Server(Cause::Broken)),
            }
            self.flow.clock.allow(self.upstream.timeouts.body);
            let socket = self.socket;
            let readable = poll_fn(|cx| socket.poll_readable(cx)).await;
            let buffers = &self.x.conn.shared().buffers;
            buf = if is_large {
                buffers.large()
            } else {
                buffers.small()
            };
            readable.map_err(|_| Down::Server(Cause::Broken))?;
            let more = match self.records {
                None => self.read(&mut buf).await?,
                Some(_) => self.unpack(&mut buf).await?,
            };
            if !more {
                if delimited != Delimited::ByClose {
                    return Err(Down::Server(Cause::Broken));
                }
                let mut rest = Vec::new();
                if let Some(encoder) = &mut encoder {
                    encoder.finish().map_err(unfit)?;
                    rest = encoder.take();
                }
                self.pass(&rest, chunk, Some(b"")).await?;
                return Ok(false);
            }
        }
    }

    /// Has the kernel move what is there of a large body.
    async fn unseen(&mut self, left: &mut u64) -> Result<Moved, Down> {
        let (conn, server, flow) = (self.x.conn, self.socket, self.flow);
        let Some(client) = conn.client.moves(server) else {
            return Ok(Moved::Waits { streams: false });
        };
        flow.clock.allow(self.upstream.timeouts.body);
        let readable = poll_fn(|cx| server.poll_readable(cx)).await;
        readable.map_err(|_| Down::Server(Cause::Broken))?;
        let Some(pipe) = Pipe::take() else {
            return Ok(Moved::Waits { streams: false });
        };
        let limit = self.x.snapshot.config.timeouts.body;
        let taken = |_| {
            flow.clock.allow(limit);
            flow.download.set(Waits::Client);
        };
        let bytes = &mut self.x.record.bytes;
        let passed = |n: usize| {
            flow.clock.allow(limit);
            *bytes += n as u64;
        };
        let moved = stream(server, client, pipe, left, taken, passed).await;
        flow.download.set(Waits::Server);
        moved.map_err(|end| match end {
            End::From => Down::Server(Cause::Broken),
            End::To => Down::Client(Stopped::Client),
        })
    }

    /// Compresses a piece of the body and sends what that makes. Before the server is waited for all of it is sent.
    async fn encode(
        &mut self,
        encoder: &mut Encoder,
        data: &[u8],
        chunk: bool,
    ) -> Result<(), Down> {
        encoder.write(data).map_err(unfit)?;
        let socket = self.socket;
        let more = poll_fn(|cx| Poll::Ready(socket.poll_readable(cx).is_ready())).await;
        if !more {
            encoder.flush().map_err(unfit)?;
        }
        let made = encoder.take();
        if more && made.is_empty() {
            return Ok(());
        }
        self.pass(&made, chunk, None).await
    }

    /// Sends a part of the final answer. Until then there is still time for an error of our own.
    async fn pass(&mut self, data: &[u8], chunk: bool, last: Option<&[u8]>) -> Result<(), Down> {
        self.flow.answering.set(true);
        self.send(data, chunk, last).await?;
        if let Some(trailers) = last {
            let ended = self.x.conn.client.end(trailers);
            ended.map_err(|_| Down::Client(Stopped::Client))?;
        }
        Ok(())
    }

    /// Sends what is in `out` and a piece of the body to the client.
    async fn send(&mut self, data: &[u8], chunk: bool, last: Option<&[u8]>) -> Result<(), Down> {
        let limit = self.x.snapshot.config.timeouts.body;
        let flow = self.flow;
        flow.clock.allow(limit);
        flow.download.set(Waits::Client);
        let client = &self.x.conn.client;
        if self.is_last && last.is_some() {
            client.conclude_with_next_write();
        }
        let took = |_| flow.clock.allow(limit);
        let framing = if chunk {
            Framing::Chunks
        } else {
            Framing::Plain
        };
        let sent = emit(client, self.out, data, framing, last, took).await;
        flow.download.set(Waits::Server);
        self.x.record.bytes += data.len() as u64;
        sent.map_err(|_| Down::Client(Stopped::Client))
    }

    /// As [`read`](Self::read), of an answer in records: the end is what these say.
    async fn unpack(&mut self, buf: &mut Buf) -> Result<bool, Down> {
        loop {
            if self.records.as_ref().is_some_and(Records::is_over) {
                return Ok(false);
            }
            let before = buf.filled().len();
            if !self.read(buf).await? {
                // It breaks off.
                return Err(Down::Server(Cause::Broken));
            }
            let Some(records) = &mut self.records else {
                return Ok(true);
            };
            let came = &mut buf.filled_mut()[before..];
            let length = came.len();
            let data = records.decode(came);
            let data = data.map_err(|_| Down::Server(Cause::Malformed))?;
            buf.drop_last(length - data);
            if data > 0 {
                self.hear();
                return Ok(true);
            }
        }
    }

    /// Reads more from the server; `false` at its end.
    async fn read(&mut self, buf: &mut Buf) -> Result<bool, Down> {
        // What a program complains about is no answer yet.
        let in_records = self.records.is_some();
        if !in_records || self.flow.heard.get() {
            self.flow.clock.allow(self.upstream.timeouts.body);
        }
        // The answer's beginning was just waited for; what reads more and more of a body has to mind others' turns.
        let told = if self.flow.heard.get() {
            None
        } else {
            self.socket.read_now(buf.space())
        };
        let read = match told {
            Some(read) => read,
            None => self.socket.read(buf.space()).await,
        };
        match read {
            Ok(0) => Ok(false),
            Ok(n) => {
                buf.fill(n);
                if !in_records {
                    self.hear();
                }
                Ok(true)
            }
            Err(_) => Err(Down::Server(Cause::Broken)),
        }
    }

    /// A byte of the answer is there.
    fn hear(&mut self) {
        if !self.flow.heard.replace(true) {
            self.x.record.first_byte = Some(self.flow.clock.now());
        }
    }

    /// The server goes on in another protocol: from here on bytes are passed as they are, both ways.
    async fn upgrade(&mut self, mut buf: Buf, length: usize) -> Result<Down, Down> {
        self.out.clear();
        let head = &buf.filled()[..length];
        let to_node = self.to_node();
        rewrite::response(
            self.out,
            self.response,
            head,
            &rewrite::Returned {
                chunk: false,
                keep: Keep::Upgrade,
                to_node,
                edits: None,
                cookies: self.upstream.cookies.as_deref(),
                coded: None,
                date: b"",
            },
        );
        self.x.record.status = 101;
        self.x.record.head_bytes += self.out.len() as u64;
        self.flow.answering.set(true);
        self.send(b"", false, None).await?;
        buf.consume(length);
        self.flow.tunnels.set(true);
        let (bytes, stopped) = tunnel::run(
            self.x,
            self.socket,
            buf,
            self.upstream.idle,
            self.attempts.cut(),
        )
        .await;
        self.x.record.bytes += bytes;
        self.x.record.end_by(stopped, Phase::Body);
        Ok(Down::Complete {
            after: After::Abort,
            reusable: false,
        })
    }
}
