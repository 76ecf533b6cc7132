//! The network between the hosts: requests and answers that come late, twice, in another order, or not at all.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tandem_net::cluster::{Accepts, ClusterId, LinkError, LinkOptions, another_cluster};
use tokio::sync::oneshot;

use super::runtime::{Instant, sleep, sleep_until, timeout};
use super::world::{self, HostId};

/// The real link gives up on a peer that is silent for so long.
const SILENCE: Duration = Duration::from_secs(2);
/// Connecting takes at most so long.
const CONNECT: Duration = Duration::from_secs(1);
/// What of a message a packet of Ethernet holds.
const PACKET: usize = 1448;

/// Answers requests of one purpose, from one that is part of this cluster.
pub type Handler = Arc<dyn Fn(Bytes, Option<u64>) -> BoxFuture<'static, Bytes> + Send + Sync>;

/// What a host that listens does with what it gets.
#[derive(Clone)]
pub struct Port {
    pub cluster: ClusterId,
    pub raft: Handler,
    pub agent: Handler,
    /// The connection that the named node made to this one has ended.
    pub ended: Arc<dyn Fn(&str) + Send + Sync>,
}

/// How messages fare, in thousandths and microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: u64,
    pub twice: u64,
    /// Most take up to so long,
    pub delay: u64,
    /// some up to so long,
    pub slow: u64,
    pub slow_delay: u64,
    /// and a few up to so long: long after whoever sent them has given up.
    pub late: u64,
    pub late_delay: u64,
}

impl Weather {
    pub const FAIR: Self = Self {
        loss: 0,
        twice: 0,
        delay: 500,
        slow: 0,
        slow_delay: 0,
        late: 0,
        late_delay: 0,
    };
}

struct Network {
    weather: Weather,
    ports: Vec<Option<Port>>,
    /// From one host to another nothing arrives.
    cut: BTreeSet<(HostId, HostId)>,
    /// To and from it only small messages arrive.
    narrow: Option<HostId>,
}

thread_local! {
    static NETWORK: RefCell<Network> = const {
        RefCell::new(Network {
            weather: Weather::FAIR,
            ports: Vec::new(),
            cut: BTreeSet::new(),
            narrow: None,
        })
    };
}

/// A new network for so many hosts.
pub fn reset(hosts: usize) {
    let old = NETWORK.replace(Network {
        weather: Weather::FAIR,
        ports: vec![None; hosts + 1],
        cut: BTreeSet::new(),
        narrow: None,
    });
    drop(old);
}

pub fn set_weather(weather: Weather) {
    NETWORK.with_borrow_mut(|net| net.weather = weather);
}

/// The address of a host's cluster port.
pub fn address(host: HostId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8], 7411))
}

fn host_at(address: SocketAddr) -> HostId {
    match address {
        SocketAddr::V4(v4) => usize::from(v4.ip().octets()[3]),
        SocketAddr::V6(_) => 0,
    }
}

/// A host listens, or no more.
pub fn listen(host: HostId, port: Option<Port>) {
    let old = NETWORK.with_borrow_mut(|net| std::mem::replace(&mut net.ports[host], port));
    drop(old);
}

/// From now on nothing that `from` sends arrives at `to`.
pub fn cut(from: HostId, to: HostId) {
    NETWORK.with_borrow_mut(|net| net.cut.insert((from, to)));
}

/// It arrives again.
pub fn mend(from: HostId, to: HostId) {
    NETWORK.with_borrow_mut(|net| net.cut.remove(&(from, to)));
}

/// From now on only messages that fit into one packet arrive at this host, and from it.
pub fn narrow(host: HostId) {
    NETWORK.with_borrow_mut(|net| net.narrow = Some(host));
}

/// Everything arrives again.
pub fn heal() {
    NETWORK.with_borrow_mut(|net| {
        net.cut.clear();
        net.narrow = None;
    });
}

/// Whether a message of so many bytes is lost for its size.
fn is_too_large(bytes: usize, from: HostId, to: HostId) -> bool {
    let narrow = NETWORK.with_borrow(|net| net.narrow);
    bytes > PACKET && (narrow == Some(from) || narrow == Some(to))
}

fn port(host: HostId) -> Option<Port> {
    NETWORK.with_borrow(|net| net.ports.get(host).cloned().flatten())
}

fn is_cut(from: HostId, to: HostId) -> bool {
    NETWORK.with_borrow(|net| net.cut.contains(&(from, to)))
}

/// How long a message takes, if it arrives.
fn way(from: HostId, to: HostId) -> Option<u64> {
    let weather = NETWORK.with_borrow(|net| net.weather);
    if is_cut(from, to) || world::chance(weather.loss) {
        return None;
    }
    let longest = if world::chance(weather.late) {
        weather.late_delay
    } else if world::chance(weather.slow) {
        weather.slow_delay
    } else {
        weather.delay
    };
    Some(20_000 + world::below(longest * 1000))
}

/// Tells the others that the process `name` on `host` is gone, as their kernels would.
pub fn hang_up(host: HostId, name: &str) {
    let others = NETWORK.with_borrow(|net| net.ports.len());
    for other in (1..others).filter(|other| *other != host) {
        if is_cut(host, other) {
            continue;
        }
        let name = name.to_owned();
        world::later(world::below(2_000_000), move || {
            if let Some(port) = port(other) {
                (port.ended)(&name);
            }
        });
    }
}

type Answer = Arc<Mutex<Option<oneshot::Sender<Bytes>>>>;

fn deliver(
    from: HostId,
    to: HostId,
    (purpose, cluster): (&'static str, Option<u64>),
    body: Bytes,
    answer: Answer,
) {
    // Nobody there: the answer is dropped, as a connection is reset.
    let Some(port) = port(to) else {
        return;
    };
    world::spawn_on(to, async move {
        let handler = if purpose == crate::wire::RAFT {
            port.raft
        } else {
            port.agent
        };
        let reply = handler(body, cluster).await;
        if let Some(way) = way(to, from).filter(|_| !is_too_large(reply.len(), to, from)) {
            world::later(way, move || {
                if let Some(answer) = answer.lock().unwrap().take() {
                    // Whoever asked may have given up.
                    let _ = answer.send(reply);
                }
            });
        }
    });
}

/// What [`tandem_net::cluster::Link`] is to the code under test.
#[derive(Clone, Debug)]
pub struct Link {
    to: HostId,
    purpose: &'static str,
    /// Of whoever made it, then.
    cluster: Option<u64>,
    accepts: Option<Accepts>,
    node: String,
    peer: String,
}

impl Link {
    pub fn new(options: LinkOptions) -> Self {
        Self {
            to: host_at(options.address),
            purpose: options.purpose,
            cluster: options.cluster.get(),
            accepts: options.accepts,
            node: options.node,
            peer: options.peer,
        }
    }

    /// It has no task that could panic.
    #[expect(clippy::unused_self, reason = "the real one's can")]
    pub fn is_over(&self) -> bool {
        false
    }

    pub async fn request(&self, body: Bytes, limit: Duration) -> Result<Bytes, LinkError> {
        let (from, to) = (world::here(), self.to);
        let begun = Instant::now();
        if is_cut(from, to) && world::chance(500) {
            // There was no connection, and none comes about.
            sleep(limit.min(CONNECT)).await;
            return Err(if limit < CONNECT {
                LinkError::Timeout { sent: false }
            } else {
                LinkError::Unreachable("no answer to the hello".into())
            });
        }
        if port(to).is_none() && !is_cut(from, to) && !is_cut(to, from) {
            sleep(Duration::from_micros(world::below(300))).await;
            return Err(LinkError::Refused);
        }
        if let Some(theirs) = self.cluster
            && let Some(port) = port(to).filter(|_| !is_cut(from, to))
            && let Some(ours) = port.cluster.get().filter(|ours| *ours != theirs)
        {
            sleep(Duration::from_micros(world::below(300))).await;
            let why = another_cluster((&self.peer, ours), (&self.node, theirs));
            return Err(LinkError::Rejected(why));
        }
        if let Some(accepts) = &self.accepts
            && let Some(port) = port(to).filter(|_| !is_cut(from, to))
            && let Some(Err(why)) = port.cluster.get().map(|theirs| accepts.check(theirs))
        {
            sleep(Duration::from_micros(world::below(300))).await;
            return Err(LinkError::Rejected(why));
        }
        let (answer, mut answered) = oneshot::channel();
        let answer = Arc::new(Mutex::new(Some(answer)));
        let twice = NETWORK.with_borrow(|net| net.weather.twice);
        for copy in 0..2 {
            if copy == 1 && !world::chance(twice) {
                break;
            }
            let is_lost = is_too_large(body.len(), from, to);
            if let Some(way) = way(from, to).filter(|_| !is_lost) {
                let (body, answer) = (body.clone(), answer.clone());
                let purpose = (self.purpose, self.cluster);
                world::later(way, move || deliver(from, to, purpose, body, answer));
            }
        }
        drop(answer);
        let silence = limit.min(SILENCE);
        match timeout(silence, &mut answered).await {
            Ok(Ok(answer)) => return Ok(answer),
            // Its process died: the connection is reset.
            Ok(Err(_)) if port(to).is_none() && !is_cut(to, from) => return Err(LinkError::Lost),
            Ok(Err(_)) => sleep_until(begun + silence).await,
            Err(_) => {
                let silent = world::is_paused(to) || is_cut(from, to) || is_cut(to, from);
                if limit > SILENCE && !silent {
                    let left = limit.saturating_sub(SILENCE);
                    return match timeout(left, answered).await {
                        Ok(Ok(answer)) => Ok(answer),
                        Ok(Err(_)) => Err(LinkError::Lost),
                        Err(_) => Err(LinkError::Timeout { sent: true }),
                    };
                }
            }
        }
        Err(if limit <= SILENCE {
            LinkError::Timeout { sent: true }
        } else {
            LinkError::Lost
        })
    }
}
