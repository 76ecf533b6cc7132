//! What the admin API asks of the replicated keyspace, carried to the control thread and from there to the leader.

use std::future::ready;

use serde_json::{Value, json};
use tandem_admin::Answer;
use tandem_admin::operations::{Ask, Told};
use tandem_session::agent::{Operator, Refusal};
use tandem_session::state::Wanted;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// Questions that wait for the control thread.
const QUEUE: usize = 64;

struct Asked {
    ask: Ask,
    answer: oneshot::Sender<Answer>,
}

/// Where the keyspace is asked.
#[derive(Clone)]
pub struct Keyspace(Option<mpsc::Sender<Asked>>);

impl Keyspace {
    /// Begins to ask the leader. A node without part in the session tier has no `operator`. To be called within a local
    /// runtime.
    pub fn start(operator: Option<Operator>) -> Self {
        Self(operator.map(|operator| {
            let (asked, mut queue) = mpsc::channel::<Asked>(QUEUE);
            spawn_local(async move {
                while let Some(Asked { ask, answer }) = queue.recv().await {
                    let operator = operator.clone();
                    spawn_local(async move {
                        let _ = answer.send(answered(&operator, ask).await);
                    });
                }
            });
            asked
        }))
    }

    /// Asks.
    pub fn ask(&self, ask: Ask) -> Told {
        let Some(asked) = &self.0 else {
            let why = "this node has no part in the session tier: ask one that has";
            return Box::pin(ready(error(421, why)));
        };
        let (answer, answered) = oneshot::channel();
        let queued = asked.try_send(Asked { ask, answer });
        Box::pin(async move {
            if queued.is_err() {
                return error(503, "too many questions wait");
            }
            let lost = || error(503, "the node stops");
            answered.await.unwrap_or_else(|_| lost())
        })
    }
}

fn error(status: u16, why: &str) -> Answer {
    answer(status, json!({ "error": why }))
}

fn answer(status: u16, body: Value) -> Answer {
    Answer { status, body }
}

async fn answered(operator: &Operator, ask: Ask) -> Answer {
    let told = match ask {
        Ask::Find {
            prefix,
            after,
            most,
        } => find(operator, prefix, after, most).await,
        Ask::Show { key } => show(operator, &key).await,
        Ask::Kill { key } => kill(operator, &key).await,
    };
    told.unwrap_or_else(|refusal| {
        let status = match refusal {
            Refusal::Malformed(_) => 400,
            Refusal::Unreachable(_) => 503,
            Refusal::Unknown(_) => 504,
        };
        error(status, &refusal.to_string())
    })
}

async fn find(
    operator: &Operator,
    prefix: String,
    after: String,
    most: u32,
) -> Result<Answer, Refusal> {
    let wanted = Wanted {
        prefix: prefix.into(),
        after: after.into(),
        most,
    };
    let found = operator.find(wanted).await?;
    let keys = found.keys.iter().map(|brief| {
        json!({
            "key": text(&brief.key).0,
            "size": brief.size,
            "remaining_ms": brief.remaining,
        })
    });
    let body = json!({
        "count": found.count,
        "bytes": found.bytes,
        "keys": keys.collect::<Vec<_>>(),
    });
    Ok(answer(200, body))
}

async fn show(operator: &Operator, key: &str) -> Result<Answer, Refusal> {
    let Some((item, remaining)) = operator.item(key.as_bytes()).await? else {
        return Ok(error(404, &format!("there is no session `{key}`")));
    };
    let (value, escaped) = text(&item.value);
    let body = json!({
        "key": key,
        "flags": item.flags,
        "version": item.version,
        "remaining_ms": remaining,
        "size": item.value.len(),
        "value": value,
        "escaped": escaped,
    });
    Ok(answer(200, body))
}

async fn kill(operator: &Operator, key: &str) -> Result<Answer, Refusal> {
    Ok(if operator.delete(key.as_bytes()).await? {
        answer(200, json!({ "done": format!("session {key} is gone") }))
    } else {
        error(404, &format!("there is no session `{key}`"))
    })
}

/// Bytes as text, and whether they had to be escaped for that.
fn text(bytes: &[u8]) -> (String, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (bytes.escape_ascii().to_string(), true),
    }
}
