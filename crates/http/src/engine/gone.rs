//! Whether a client is still there while its server thinks.
//!
//! A reset says that it is not, and so does the end of a TLS connection or of an HTTP/2 stream. The end of a plain
//! connection's one half says nothing: the client may have no more to say and still listen (RFC 9112 section 9.6), or be
//! gone. It is asked: an interim answer, which every client of HTTP/1.1 passes over (RFC 9110 section 15.2), makes the
//! machine of one that is gone send a reset.

use std::cell::RefCell;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tandem_net::Socket;
use tandem_net::socket::Sight;
use tokio::time::{Instant, Sleep};

use super::client::Client;

/// From the end of the client's half to the question: most answers come sooner, and are the question themselves.
const PAUSE: Duration = Duration::from_secs(1);
/// The question.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Watches a client that has sent its whole request.
pub(super) struct Watch<'a> {
    client: &'a Client,
    state: RefCell<State>,
}

enum State {
    /// Nothing is known.
    Watching,
    /// Its half has ended.
    Ended { pause: Pin<Box<Sleep>>, asked: bool },
    /// It has sent its next request: the end is behind that.
    Busy,
}

impl<'a> Watch<'a> {
    pub fn new(client: &'a Client) -> Self {
        Self {
            client,
            state: RefCell::new(State::Watching),
        }
    }

    /// Ready when the client is gone. It can be asked (`may_ask`) when it knows interim answers and no other was begun.
    /// Makes no system call as long as nothing comes.
    pub fn poll(&self, cx: &mut Context<'_>, may_ask: bool) -> Poll<()> {
        let socket = match self.client {
            Client::Http1(socket) => socket,
            Client::Http2(stream) => return stream.poll_gone(cx),
        };
        let mut state = self.state.borrow_mut();
        loop {
            match &mut *state {
                State::Busy => return Poll::Pending,
                State::Watching => {
                    *state = match ready!(socket.poll_sight(cx)) {
                        Sight::Bytes => State::Busy,
                        Sight::Broken => return Poll::Ready(()),
                        Sight::End if socket.is_tls() => return Poll::Ready(()),
                        Sight::End => State::Ended {
                            pause: Box::pin(tokio::time::sleep(PAUSE)),
                            asked: false,
                        },
                    };
                }
                State::Ended { pause, asked } => {
                    ready!(pause.as_mut().poll(cx));
                    if socket.is_broken() || (may_ask && !*asked && !ask(socket, cx)) {
                        return Poll::Ready(());
                    }
                    *asked |= may_ask;
                    pause.as_mut().reset(Instant::now() + PAUSE);
                }
            }
        }
    }
}

/// `false` when the connection is broken.
fn ask(socket: &Socket, cx: &mut Context<'_>) -> bool {
    match socket.poll_write(cx, &[IoSlice::new(CONTINUE)], false) {
        // What was sent before fills its window, and will tell by itself.
        Poll::Pending => true,
        Poll::Ready(Ok(n)) => n == CONTINUE.len(),
        Poll::Ready(Err(_)) => false,
    }
}
