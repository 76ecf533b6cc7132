//! One call to several nodes: `nodes=all`, or a list of names. Each node answers for itself.

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::{Answer, Api, Call, Outcome};

/// Asks them all at once. The answer has for each node its status code and body.
pub(super) fn call(api: &Api, call: &Call, nodes: &str) -> Outcome {
    let own = api.info().node.clone();
    let mut known = vec![own.clone()];
    known.extend(api.others().names());
    known.sort();
    let asked: Vec<String> = if nodes == "all" {
        known
    } else {
        let mut asked: Vec<String> = nodes
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect();
        // A change that is asked for twice is not made twice.
        asked.sort_unstable();
        asked.dedup();
        if let Some(stranger) = asked.iter().find(|name| !known.contains(name)) {
            let mut answer = Answer::error(404, format!("there is no node `{stranger}`"));
            answer.body["nodes"] = json!(known);
            return answer.into();
        }
        asked
    };
    let changes = call.changes;
    let mut single = call.clone();
    single.parameters.retain(|(name, _)| name != "nodes");
    let pending: Vec<_> = asked
        .into_iter()
        .map(|node| {
            let (api, call) = (api.clone(), single.clone());
            let is_own = node == *own;
            async move {
                let answer = if is_own {
                    api.answer(&call).await
                } else {
                    let pending = api.others().ask(&node, &call);
                    pending.await
                };
                (node, answer)
            }
        })
        .collect();
    Outcome::Later(Box::pin(async move {
        let answers = join_all(pending).await;
        // Nothing is lost by asking all of them again, when this process is no longer the one to ask.
        let own = answers.iter().find(|(node, _)| *node == own);
        if let Some((_, answer)) = own.filter(|(_, answer)| !changes && answer.is_again()) {
            return answer.clone();
        }
        let best = answers.iter().map(|(_, answer)| answer.status).min();
        let body: Map<String, Value> = answers
            .into_iter()
            .map(|(node, answer)| {
                let told = json!({ "status": answer.status, "body": answer.body });
                (node, told)
            })
            .collect();
        Answer {
            status: best.unwrap_or(404),
            body: Value::Object(body),
        }
    }))
}
