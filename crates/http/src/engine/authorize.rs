//! Asking whether a request may pass: another one is asked of the listener's routes on its behalf, and nobody gets more of
//! its answer than the head.
//!
//! It is a GET without a body, with the fields of the client's request but those that speak of its body, of its connection or
//! of what the client has already. It is none of the log's and of no limit's; policies that keep clients out let it pass.

use std::time::Duration;

use tandem_model::Authorization;

use super::body::Body;
use super::connection::{After, Exchange, Outs, answer};
use super::hand_over::{self, Copied};
use super::record::Record;
use crate::Request;
use crate::head::{BodyLength, Head, HeadLimits};
use crate::policy::authorize::Heard;
use crate::request::Came;

/// The most of an answer's body that is read and dropped to keep the connection to the server, in bytes.
pub(super) const DROPPED: u64 = 64 * 1024;
/// How long that may take. Whoever asked waits meanwhile; a new connection is cheaper than more.
pub(super) const DROPPED_WITHIN: Duration = Duration::from_secs(1);

/// Asks, and has the answer noted. Fails when the client is gone.
pub(super) async fn ask(
    x: &mut Exchange<'_>,
    by: &Authorization,
    outs: &mut Outs<'_>,
) -> Result<(), After> {
    let heard = hear(x, by, outs).await?;
    if !matches!(heard.status, 200..300 | 401 | 403) {
        let shared = x.conn.shared();
        let (listener, status) = (&x.snapshot.config.name, heard.status);
        shared.undecided.tell(shared, || {
            let what = format!(
                "`authorize` of {:?} was answered with {status}, which decides nothing: the client got a 500",
                by.path
            );
            (format!("listener {listener}"), what)
        });
    }
    x.cx.decide(heard);
    Ok(())
}

async fn hear(
    x: &mut Exchange<'_>,
    by: &Authorization,
    outs: &mut Outs<'_>,
) -> Result<Heard, After> {
    let nothing = |status| Heard::new(status, Vec::new());
    let bytes = hand_over::head(x, by.path.as_bytes(), true, Copied::Question);
    let mut parsed = Box::new(Head::default());
    let limits = HeadLimits::from(&x.snapshot.config.limits);
    if parsed.take(&bytes, &mut 0, &limits) != Ok(Some(bytes.len())) {
        // With another target the head is larger than it may be.
        return Ok(nothing(431));
    }
    let (mut body, _) = Body::new(BodyLength::None, b"", &x.conn.shared().buffers);
    let mut y = Exchange {
        conn: x.conn,
        snapshot: x.snapshot,
        request: Request {
            head: &parsed,
            bytes: &bytes,
            came: Some(Came {
                asks: true,
                // The file names the path as it is.
                by_client: false,
                ..x.request.as_it_came()
            }),
            ..x.request
        },
        peer: x.peer,
        cx: x.cx.clone(),
        record: Record::new(x.cx.now),
        edits: None,
        waits: false,
        behind: &[],
        handed: x.handed,
        stays: None,
        heard: None,
    };
    let outs = Outs {
        response: outs.response,
        request_out: outs.request_out,
        response_out: outs.response_out,
        whole: outs.whole,
    };
    let asked = Box::pin(answer(&mut y, &mut body, outs));
    let asked = tokio::time::timeout(by.timeout, asked).await;
    let (heard, ended) = (y.heard, y.record.ended);
    match (heard, asked) {
        (Some(heard), _) => Ok(*heard),
        (None, Err(_)) => Ok(nothing(504)),
        (None, Ok(after)) => {
            x.record.ended = ended;
            Err(after)
        }
    }
}

impl Exchange<'_> {
    /// The answer to a request that only asks, of which nobody gets more.
    pub fn hear(&mut self, status: u16, lines: &[u8]) -> After {
        self.heard = Some(Box::new(Heard::new(status, lines.to_vec())));
        After::Keep
    }
}
