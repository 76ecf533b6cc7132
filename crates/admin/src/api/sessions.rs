//! Endpoints about single sessions: they are asked of the leader, through whichever node has part in the tier.

use super::{Answer, Api, Call, Endpoint, Outcome};
use crate::operations::Ask;

/// Keys that are named when nothing else is wanted.
const MOST: u32 = 100;
/// Keys that are named at most.
pub const MOST_KEYS: u32 = 10_000;

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        changes: false,
        path: "/api/v1/sessions/keys",
        parameters: "`prefix=TEXT`, `after=KEY`, `most=COUNT` (100; at most 10000)",
        what: "How many keys begin with the prefix, the bytes their items take, and the first of them in the order of bytes, without values. `{\"count\", \"bytes\", \"keys\": [{\"key\", \"size\", \"remaining_ms\"}]}`; what lives for ever has a `remaining_ms` of `null`. 421 from a node without part in the session tier.",
        run: keys,
    },
    Endpoint {
        changes: false,
        path: "/api/v1/sessions/key",
        parameters: "`key=KEY`",
        what: "One item, as its leader has it now. `{\"key\", \"flags\", \"version\", \"remaining_ms\", \"size\", \"value\", \"escaped\"}`; a value that is no UTF-8 is `escaped` with `\\xNN`. 404 when there is none.",
        run: |api, call, _| match key(call) {
            Ok(key) => api.asked(Ask::Show { key }),
            Err(answer) => answer.into(),
        },
    },
    Endpoint {
        changes: true,
        path: "/api/v1/sessions/key",
        parameters: "`key=KEY`, `kill=true`",
        what: "Deletes an item, as a logout does: it stays away under the file's `guard`. 404 when there was none.",
        run: kill,
    },
];

impl Api {
    fn asked(&self, ask: Ask) -> Outcome {
        Outcome::Later(self.operations().sessions(ask))
    }
}

fn key(call: &Call) -> Result<String, Answer> {
    match call.parameter("key") {
        Some(key) if !key.is_empty() => Ok(key.to_owned()),
        _ => Err(Answer::error(400, "which? key=KEY is missing")),
    }
}

fn keys(api: &Api, call: &Call, _: &[&str]) -> Outcome {
    let text = |name| call.parameter(name).unwrap_or_default().to_owned();
    let most = match call.parameter("most").map(str::parse) {
        None => MOST,
        Some(Ok(most)) if most <= MOST_KEYS => most,
        Some(_) => {
            let why = format!("most=COUNT takes a number, at most {MOST_KEYS}");
            return Answer::error(400, why).into();
        }
    };
    api.asked(Ask::Find {
        prefix: text("prefix"),
        after: text("after"),
        most,
    })
}

fn kill(api: &Api, call: &Call, _: &[&str]) -> Outcome {
    let key = match key(call) {
        Ok(key) => key,
        Err(answer) => return answer.into(),
    };
    if call.parameter("kill") != Some("true") {
        return Answer::error(400, "what is to be done with it? kill=true").into();
    }
    api.audit(
        call,
        &format!("session {}: kill ordered", key.escape_debug()),
    );
    api.asked(Ask::Kill { key })
}
