//! One connection: lines come in, answers go out, each with an empty line behind it.
//!
//! Without a prompt the connection ends when what has come is answered. Whoever says nothing, or does not read, for as long as
//! `stats timeout` says is let go; a line has a bound, as it has in HAProxy.

use std::rc::Rc;
use std::time::Duration;

use tandem_config::import::Level;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::sockets::Stream;
use super::table::{self, Outcome};
use super::{Inner, servers, words};

/// The longest line, in bytes: HAProxy's buffer.
const LONGEST: usize = 16_384;
/// What is read, and written, at once.
const PIECE: usize = 16_384;

/// Whoever sends commands.
pub struct Session {
    pub(super) runtime: Rc<Inner>,
    pub(super) level: Level,
    /// What may be at most: `operator` brings nobody up.
    pub(super) timeout: Duration,
    pub(super) prompts: bool,
    pub(super) by: String,
    /// Lines are the payload of a command that was refused.
    in_payload: bool,
}

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
}

impl Session {
    pub fn new(runtime: Rc<Inner>, level: Level, by: String) -> Self {
        let timeout = runtime.commands().timeout;
        Self {
            runtime,
            level,
            timeout,
            prompts: false,
            by,
            in_payload: false,
        }
    }

    /// Answers until it ends.
    pub async fn serve(mut self, mut stream: Box<dyn Stream>) {
        let mut input = Vec::new();
        let mut piece = vec![0; PIECE];
        loop {
            let mut answered = false;
            while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = input.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).into_owned();
                answered = true;
                if self.line(line.trim_end(), &mut *stream).await == Then::Ends {
                    return;
                }
            }
            if answered && !self.prompts && !self.in_payload {
                let _ = timeout(self.timeout, stream.shutdown()).await;
                return;
            }
            if input.len() >= LONGEST {
                return;
            }
            match timeout(self.timeout, stream.read(&mut piece)).await {
                Ok(Ok(n @ 1..)) => input.extend_from_slice(&piece[..n]),
                _ => return,
            }
        }
    }

    async fn line(&mut self, line: &str, stream: &mut dyn Stream) -> Then {
        if self.in_payload {
            self.in_payload = !line.is_empty();
            return Then::GoesOn;
        }
        for words in words::commands(line) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.in_payload = words.last().is_some_and(|word| word.starts_with("<<"));
            let text = match table::run(self, &words) {
                Outcome::Text(text) => text,
                Outcome::Orders(orders) => servers::carry_out(self, orders).await,
                Outcome::Quit => return Then::Ends,
            };
            let prompt = if self.prompts { "\n> " } else { "\n" };
            let sent = self.send(stream, &[text.as_str(), prompt]).await;
            if sent == Then::Ends {
                return sent;
            }
        }
        Then::GoesOn
    }

    async fn send(&self, stream: &mut dyn Stream, texts: &[&str]) -> Then {
        for text in texts {
            for piece in text.as_bytes().chunks(PIECE) {
                let written = timeout(self.timeout, stream.write_all(piece)).await;
                if !matches!(written, Ok(Ok(()))) {
                    return Then::Ends;
                }
            }
        }
        Then::GoesOn
    }
}
