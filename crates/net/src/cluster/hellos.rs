//! Connections whose hello is not over: whoever they are of.
//!
//! They have places of their own, so that those who say nothing keep nobody out who has proved who it is. When all places are
//! taken the oldest of the source that has most of them gives its own up: a source that takes all of them takes them from itself,
//! and a node that comes from elsewhere finishes its hello.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// All of them.
pub struct Hellos(Arc<Mutex<State>>);

struct State {
    most: usize,
    next: u64,
    /// In the order in which they came: from where, and who is told when its place is another's.
    waiting: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
}

/// A place. It is free again when this is dropped.
pub struct Place {
    state: Arc<Mutex<State>>,
    number: u64,
    taken: oneshot::Receiver<()>,
}

impl Hellos {
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most,
            next: 0,
            waiting: BTreeMap::new(),
        })))
    }

    /// Gives whoever comes from this address a place.
    pub fn enter(&self, address: IpAddr) -> Place {
        let (tell, taken) = oneshot::channel();
        let mut state = lock(&self.0);
        if state.waiting.len() >= state.most
            && let Some(number) = state.superfluous(source(address))
            && let Some((_, told)) = state.waiting.remove(&number)
        {
            // It may have ended just now.
            let _ = told.send(());
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, (source(address), tell));
        drop(state);
        Place {
            state: self.0.clone(),
            number,
            taken,
        }
    }
}

impl State {
    /// The oldest of the source that has most when another one comes from there.
    fn superfluous(&self, from: IpAddr) -> Option<u64> {
        let mut sources: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        for (number, (source, _)) in &self.waiting {
            let (count, _) = sources.entry(*source).or_insert((0, *number));
            *count += 1;
        }
        if let Some((count, _)) = sources.get_mut(&from) {
            *count += 1;
        }
        let most = sources.into_values().max_by_key(|(count, oldest)| {
            // Of several that have as many, the one whose oldest is oldest.
            (*count, std::cmp::Reverse(*oldest))
        });
        most.map(|(_, oldest)| oldest)
    }
}

impl Place {
    /// Waits until it is another's.
    pub async fn taken(&mut self) {
        // Told, or with the state that it was of: then nobody takes it any more.
        if (&mut self.taken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.state).waiting.remove(&self.number);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who has one address of IPv6 mostly has all of its network's.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(place: &mut Place) -> bool {
        place.taken.try_recv().is_ok()
    }

    #[test]
    fn the_oldest_of_whoever_has_most_gives_way_and_nobody_else() {
        let [flood, node]: [IpAddr; 2] = ["10.0.0.9", "10.0.0.1"].map(|ip| ip.parse().unwrap());
        let hellos = Hellos::new(4);
        let mut real = hellos.enter(node);
        let mut silent: Vec<_> = (0..3).map(|_| hellos.enter(flood)).collect();
        let mut another = hellos.enter(node);
        assert_eq!(
            silent.iter_mut().map(is_taken).collect::<Vec<_>>(),
            [true, false, false]
        );
        // A flood that goes on takes its own places.
        for _ in 0..10 {
            silent.push(hellos.enter(flood));
        }
        assert!(!is_taken(&mut real) && !is_taken(&mut another));
        assert_eq!(lock(&hellos.0).waiting.len(), 4);
        drop((silent, real, another));
        assert!(lock(&hellos.0).waiting.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let of = |ip: &str| source(ip.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
