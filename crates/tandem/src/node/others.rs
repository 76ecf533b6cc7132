//! The admin API from node to node: a purpose of the cluster port.
//!
//! A call is passed on as it was made, the answer comes back as it was given; both are JSON. The links live on the
//! control thread, whoever asks may be on any.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tandem_admin::{Answer, Api, Call, Others};
use tandem_model::NodePlan;
use tandem_net::cluster::{
    self, Accepted, ClusterId, ClusterKey, Incarnation, Link, LinkOptions, Purposes, serve,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, spawn_local};
use tokio::time::sleep;

use super::names::one_address_apart;

/// What a connection for these calls is opened for.
const PURPOSE: &str = "admin";
/// How long another node may take: a reload that starts programs.
const LIMIT: Duration = Duration::from_secs(40);
/// From a word that a call is to be made again until it is.
const AGAIN: Duration = Duration::from_millis(50);
/// Calls that wait for the control thread.
const QUEUE: usize = 64;

/// A call to one node, and where its answer goes.
struct Asked {
    node: String,
    call: Call,
    answer: oneshot::Sender<Answer>,
}

/// The other nodes of the file that is in effect.
pub struct Peers {
    places: Arc<Mutex<Places>>,
    asked: mpsc::Sender<Asked>,
}

/// Where the file says that they are.
struct Places {
    hosts: Vec<(String, String)>,
    port: u16,
    /// Counts the files: links are of one of them.
    file: u64,
}

impl Peers {
    /// Begins to pass calls on, in the name of this start of the node. To be called within a local runtime.
    pub fn start(plan: &NodePlan, key: &ClusterKey, incarnation: Incarnation) -> Self {
        let (asked, queue) = mpsc::channel(QUEUE);
        let places = Arc::new(Mutex::new(Places {
            hosts: plan.peers.clone(),
            port: plan.cluster_port,
            file: 0,
        }));
        let dispatcher = Dispatcher {
            node: plan.node.clone(),
            key: key.clone(),
            incarnation,
            outgoing: plan.outgoing,
            places: places.clone(),
            links: RefCell::default(),
        };
        spawn_local(dispatcher.run(queue));
        Self { places, asked }
    }

    /// Calls go where this plan says from now on; those under way end where they are.
    pub fn follow(&self, plan: &NodePlan) {
        let mut places = lock(&self.places);
        places.hosts.clone_from(&plan.peers);
        places.port = plan.cluster_port;
        places.file += 1;
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the links, one to each node that was asked, on the control thread.
struct Dispatcher {
    node: String,
    key: ClusterKey,
    incarnation: Incarnation,
    outgoing: Option<IpAddr>,
    places: Arc<Mutex<Places>>,
    links: RefCell<Links>,
}

#[derive(Default)]
struct Links {
    open: BTreeMap<String, Link>,
    /// The file that they are of.
    file: u64,
}

impl Dispatcher {
    async fn run(self, mut queue: mpsc::Receiver<Asked>) {
        let this = Rc::new(self);
        while let Some(asked) = queue.recv().await {
            let this = this.clone();
            spawn_local(async move {
                let answer = match this.link(&asked.node).await {
                    Ok(link) => ask(&link, &asked.call).await,
                    Err(why) => failed(why),
                };
                let _ = asked.answer.send(answer);
            });
        }
    }

    async fn link(&self, node: &str) -> Result<Link, String> {
        let (host, port, file) = {
            let places = lock(&self.places);
            let mut links = self.links.borrow_mut();
            if links.file != places.file {
                // A name may be at another address too: all are looked up anew.
                links.open.clear();
                links.file = places.file;
            }
            if let Some(link) = links.open.get(node) {
                return Ok(link.clone());
            }
            let host = places.hosts.iter().find(|(name, _)| name == node);
            let (_, host) = host.ok_or_else(|| format!("there is no node `{node}`"))?;
            (host.clone(), places.port, places.file)
        };
        let address = one_address_apart(&host, port).await;
        let address = address.map_err(|failure| failure.to_string())?;
        let new = || {
            Link::new(LinkOptions {
                node: self.node.clone(),
                peer: node.to_owned(),
                address,
                purpose: PURPOSE,
                key: self.key.clone(),
                cluster: ClusterId::default(),
                accepts: None,
                incarnation: self.incarnation,
                outgoing: self.outgoing,
            })
        };
        let mut links = self.links.borrow_mut();
        if links.file != file {
            // The file was changed meanwhile: this call ends where it began to go.
            return Ok(new());
        }
        Ok(links
            .open
            .entry(node.to_owned())
            .or_insert_with(new)
            .clone())
    }
}

async fn ask(link: &Link, call: &Call) -> Answer {
    let body = match serde_json::to_vec(call) {
        Ok(body) => Bytes::from(body),
        Err(error) => return failed(error.to_string()),
    };
    let (begun, mut hands_over) = (Instant::now(), false);
    loop {
        let (answer, is_lost) = match link.request(body.clone(), LIMIT).await {
            Ok(answer) => (understood(&answer), false),
            Err(error) => (failed(error.to_string()), true),
        };
        // It is being upgraded. By the end of that the link breaks, and the next one is to the process that serves; the old
        // one has said that it does nothing, so that a call which is lost with the link is not made twice.
        hands_over = answer.is_again() || (hands_over && is_lost);
        if !hands_over || begun.elapsed() >= LIMIT {
            return answer;
        }
        sleep(AGAIN).await;
    }
}

fn understood(answer: &[u8]) -> Answer {
    serde_json::from_slice(answer)
        .unwrap_or_else(|error| failed(format!("its answer is not understood: {error}")))
}

fn failed(why: String) -> Answer {
    Answer {
        status: 502,
        body: serde_json::json!({ "error": why }),
    }
}

impl Others for Peers {
    fn names(&self) -> Vec<String> {
        let places = lock(&self.places);
        places.hosts.iter().map(|(name, _)| name.clone()).collect()
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
