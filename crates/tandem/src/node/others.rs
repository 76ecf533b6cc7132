//! The admin API from node to node: a purpose of the cluster port.
//!
//! A call is passed on as it was made, the answer comes back as it was given; both are JSON. The links live on the
//! control thread, whoever asks may be on any.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tandem_admin::{Answer, Api, Call, Others};
use tandem_model::NodePlan;
use tandem_net::cluster::{self, Accepted, ClusterKey, Link, LinkOptions, Purposes, serve};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, spawn_local};

use super::cluster_port::one_address;

/// What a connection for these calls is opened for.
const PURPOSE: &str = "admin";
/// How long another node may take: a reload that starts programs.
const LIMIT: Duration = Duration::from_secs(40);
/// Calls that wait for the control thread.
const QUEUE: usize = 64;

/// A call to one node, and where its answer goes.
struct Asked {
    node: String,
    call: Call,
    answer: oneshot::Sender<Answer>,
}

/// The other nodes of the file as it was when this node started.
pub struct Peers {
    names: Vec<String>,
    asked: mpsc::Sender<Asked>,
}

impl Peers {
    /// Begins to pass calls on. To be called within a local runtime.
    pub fn start(plan: &NodePlan, key: &ClusterKey) -> Self {
        let (asked, mut queue) = mpsc::channel::<Asked>(QUEUE);
        let (plan, key) = (plan.clone(), key.clone());
        let names = plan.peers.iter().map(|(name, _)| name.clone()).collect();
        spawn_local(async move {
            let mut links = BTreeMap::new();
            while let Some(asked) = queue.recv().await {
                let link = links
                    .entry(asked.node.clone())
                    .or_insert_with(|| open(&plan, &key, &asked.node));
                let link = link.clone();
                spawn_local(async move {
                    let answer = match link {
                        Ok(link) => ask(&link, &asked.call).await,
                        Err(why) => failed(why),
                    };
                    let _ = asked.answer.send(answer);
                });
            }
        });
        Self { names, asked }
    }
}

fn open(plan: &NodePlan, key: &ClusterKey, node: &str) -> Result<Arc<Link>, String> {
    let host = plan.peers.iter().find(|(name, _)| name == node);
    let (_, host) = host.ok_or_else(|| format!("there is no node `{node}`"))?;
    let address = one_address(host, plan.cluster_port).map_err(|failure| failure.to_string())?;
    Ok(Arc::new(Link::new(LinkOptions {
        node: plan.node.clone(),
        peer: node.to_owned(),
        address,
        purpose: PURPOSE,
        key: key.clone(),
        outgoing: plan.outgoing,
    })))
}

async fn ask(link: &Link, call: &Call) -> Answer {
    let body = match serde_json::to_vec(call) {
        Ok(body) => Bytes::from(body),
        Err(error) => return failed(error.to_string()),
    };
    match link.request(body, LIMIT).await {
        Ok(answer) => serde_json::from_slice(&answer)
            .unwrap_or_else(|error| failed(format!("its answer is not understood: {error}"))),
        Err(error) => failed(error.to_string()),
    }
}

fn failed(why: String) -> Answer {
    Answer {
        status: 502,
        body: serde_json::json!({ "error": why }),
    }
}

impl Others for Peers {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn ask(&self, node: &str, call: &Call) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            node: node.to_owned(),
            call: call.clone(),
            answer,
        };
        let queued = self.asked.try_send(asked);
        Box::pin(async move {
            if queued.is_err() {
                return failed("too many calls wait".into());
            }
            let lost = || failed("the node stops".into());
            answered.await.unwrap_or_else(|_| lost())
        })
    }
}

/// Answers the calls that other nodes pass on, until it is aborted. `api` is this node's.
pub fn answer(purposes: &Purposes, api: Api) -> AbortHandle {
    let (given, mut accepted) = mpsc::channel::<Accepted>(QUEUE);
    purposes.register(PURPOSE, move |connection| {
        // A node that opens more than that at once tries again.
        let _ = given.try_send(connection);
    });
    let answering = spawn_local(async move {
        let mut connections = JoinSet::new();
        while let Some(connection) = accepted.recv().await {
            while connections.try_join_next().is_some() {}
            let api = api.clone();
            connections.spawn_local(async move {
                let from = connection.peer.clone();
                // A connection that breaks is opened again by whoever needs it.
                let _ = serve(connection, move |body| {
                    cluster::Answer::Later(respond(api.clone(), from.clone(), body))
                })
                .await;
            });
        }
    });
    answering.abort_handle()
}

async fn respond(api: Api, from: String, body: Bytes) -> Bytes {
    let answer = match serde_json::from_slice::<Call>(&body) {
        Ok(mut call) => {
            call.by = format!("{}, through {from}", call.by);
            api.answer(&call).await
        }
        Err(error) => Answer {
            status: 400,
            body: serde_json::json!({ "error": format!("the call is not understood: {error}") }),
        },
    };
    Bytes::from(serde_json::to_vec(&answer).unwrap_or_default())
}
