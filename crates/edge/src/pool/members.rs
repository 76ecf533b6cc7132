//! Who the servers of a pool are: the members of its plan, with names looked up and instances listed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tandem_http::TlsName;
use tandem_http::handler::Endpoint;
use tandem_model::{Address, Check, Member, Outgoing, Place};
use tandem_telemetry::meters::ServerMeter;
use tandem_telemetry::{Health, ServerStatus};
use tokio::sync::{Semaphore, watch};

use super::{InstanceAddress, Instances};
use crate::control::Order;
use crate::health::state::{State, Vitals};
use crate::server::{Limits, Server, ServerKey};

/// How long one lookup of a name may take: a resolver that does not answer must not hold up a start.
const LOOKUP: Duration = Duration::from_secs(5);

/// Names that are gone are remembered, in case they come back, up to so many in all.
const MOST_NAMES: usize = 4_096;

/// Lookups under way in the whole process. `getaddrinfo` cannot be stopped: a resolver that does not answer must not take
/// one thread after the other.
static LOOKUPS: Semaphore = Semaphore::const_new(8);

/// The members of a pool. Behind a lock that no request takes unless a try of it failed.
pub(super) struct Members {
    entries: Vec<Entry>,
    /// Names of servers that have a control.
    registered: BTreeSet<Arc<str>>,
    /// Orders by the name of a server, so that one that comes back under its name is as it was ordered to be.
    orders: BTreeMap<Arc<str>, Vec<Order>>,
    /// What stands for servers where a word has no room for their names.
    tokens: BTreeMap<Arc<str>, u16>,
    /// There was a server to take once.
    served: bool,
    /// The operator was told that no server is left.
    told_out: bool,
}

struct Entry {
    member: Member,
    source: Source,
    servers: Vec<Arc<Server>>,
}

impl Entry {
    /// What all servers of a member are called together, each of which has a name of its own by its address.
    fn name_of_all(&self) -> Option<Arc<str>> {
        let is_host = matches!(self.source, Source::Name { .. })
            && matches!(self.member.place, Place::Server(_));
        is_host.then(|| self.member.name.as_str().into())
    }
}

/// The file says what weight a name has: what was ordered before holds no more.
fn forget_weight(orders: &mut BTreeMap<Arc<str>, Vec<Order>>, name: &str) {
    if let Some(orders) = orders.get_mut(name) {
        orders.retain(|order| !matches!(order, Order::Weight(_)));
    }
}

/// Where a member's addresses come from.
enum Source {
    Fixed(Endpoint),
    Name {
        name: Name,
        found: Vec<SocketAddr>,
        error: Option<String>,
    },
    Instances(Option<watch::Receiver<Vec<InstanceAddress>>>),
}

/// A host name and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    host: String,
    port: u16,
}

/// A name and what the lookup said.
pub(super) type Found = (Name, Result<Vec<SocketAddr>, String>);

/// Looks a name up, for at most [`LOOKUP`].
pub(super) async fn look_up(name: Name) -> Found {
    let lookup = async {
        // Never closed.
        let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
        let host = name.host.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // It is given back when the resolver answers, also when nobody waits for that any more.
            let _permit = permit;
            (host, name.port).to_socket_addrs().map(Iterator::collect)
        });
        let found: BTreeSet<SocketAddr> = asked.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>(found.into_iter().collect())
    };
    let found = match tokio::time::timeout(LOOKUP, lookup).await {
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found;
            if found.is_empty() {
                Err("it has no address".into())
            } else {
                Ok(found)
            }
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {LOOKUP:?}")),
    };
    (name, found)
}

impl Members {
    pub(super) fn new(members: &[Member], instances: &Instances) -> Self {
        let entries = members.iter().map(|member| Entry {
            source: Source::of(&member.place, instances),
            member: member.clone(),
            servers: Vec::new(),
        });
        Self {
            entries: entries.collect(),
            registered: BTreeSet::new(),
            orders: BTreeMap::new(),
            tokens: BTreeMap::new(),
            served: false,
            told_out: false,
        }
    }

    /// Those that run on this node.
    pub(super) fn instances(&self) -> Vec<Arc<Server>> {
        let own = |entry: &&Entry| matches!(entry.source, Source::Instances(_));
        let servers = self.entries.iter().filter(own).flat_map(|e| &e.servers);
        servers.cloned().collect()
    }

    pub(super) fn servers(&self) -> Arc<[Arc<Server>]> {
        self.entries
            .iter()
            .flat_map(|e| &e.servers)
            .cloned()
            .collect()
    }

    /// Takes over the members of a new plan. Servers stay as they are for [`reconcile`](Self::reconcile) to keep.
    pub(super) fn update(&mut self, members: &[Member], instances: &Instances) {
        let mut before = std::mem::take(&mut self.entries);
        for member in members {
            let old = before.iter().position(|e| e.member.name == member.name);
            let old = old.map(|index| before.swap_remove(index));
            let mut source = Source::of(&member.place, instances);
            let mut servers = Vec::new();
            if let Some(old) = old {
                let node = matches!(member.place, Place::Node(_));
                servers = old.servers;
                let host = host(&member.place);
                servers.retain(|server| {
                    server.node == node && server.from == member.from && server.host == host
                });
                for server in &servers {
                    server.limit(&Limits::of(member));
                    if source.is_one() {
                        server.set_stick_id(member.stick_id.as_deref());
                    }
                    if old.member.weight != member.weight {
                        server.obey(Order::Weight(member.weight));
                        // The file's word is the newer one.
                        forget_weight(&mut self.orders, &server.key.name);
                    }
                }
                if old.member.weight != member.weight {
                    forget_weight(&mut self.orders, &member.name);
                }
                source.take_over(old.source);
            }
            self.entries.push(Entry {
                member: member.clone(),
                source,
                servers,
            });
        }
    }

    /// Makes the servers that are missing and forgets those that are gone.
    pub(super) fn reconcile(&mut self, check: &Check, meter: impl Fn(&str) -> Arc<ServerMeter>) {
        let vitals = || match check {
            Check::Off => Vitals::new(State::Up, "not checked"),
            Check::Tcp(_) | Check::Tls(_) | Check::Http(..) | Check::Talk(..) => {
                Vitals::new(State::Starting, "not checked yet")
            }
        };
        let mut free = free_tokens(&self.tokens);
        for Entry {
            member,
            source,
            servers,
        } in &mut self.entries
        {
            let listed = matches!(source, Source::Instances(_));
            *servers = source
                .keys(member)
                .into_iter()
                .map(|key| {
                    let kept = servers.iter().find(|server| server.key == key);
                    if let Some(server) = kept {
                        // It was listed anew: perhaps it is back.
                        if listed && server.state() == State::Down {
                            server.wake.notify_one();
                        }
                        return server.clone();
                    }
                    let node = matches!(member.place, Place::Node(_));
                    let token = match self.tokens.get(&key.name) {
                        Some(&token) => token,
                        None => free.next().unwrap_or(u16::MAX),
                    };
                    self.tokens.insert(key.name.clone(), token);
                    let limits = Limits::of(member);
                    let meter = meter(&key.name);
                    let from = member.from;
                    let server = Server::new(key, node, from, limits, token, vitals(), meter);
                    let server = server.at(host(&member.place));
                    if source.is_one() {
                        server.set_stick_id(member.stick_id.as_deref());
                    }
                    // What was ordered of one address is newer than what was ordered of all that the name has.
                    let of_all = (*server.key.name != *member.name)
                        .then(|| self.orders.get(member.name.as_str()))
                        .flatten();
                    let own = self.orders.get(&server.key.name);
                    for order in of_all.into_iter().chain(own).flatten() {
                        server.obey(*order);
                    }
                    Arc::new(server)
                })
                .collect();
        }
    }

    /// Forgets the names of servers that are gone, when there are many; those that have a control are returned. To be
    /// called before [`reconcile`](Self::reconcile): never is one forgotten that a server has or will have.
    pub(super) fn forget(&mut self) -> Vec<Arc<str>> {
        if self.tokens.len() < MOST_NAMES {
            return Vec::new();
        }
        let entries = self.entries.iter();
        let living: BTreeSet<Arc<str>> = entries
            .flat_map(|entry| {
                let now = entry.servers.iter().map(|server| server.key.clone());
                now.chain(entry.source.keys(&entry.member))
            })
            .map(|key| key.name)
            .chain(self.entries.iter().filter_map(Entry::name_of_all))
            .collect();
        self.tokens.retain(|name, _| living.contains(name));
        let gone = |name: &Arc<str>| !living.contains(name);
        self.registered.extract_if(.., gone).collect()
    }

    /// Gives an order to the servers of a name. Returns whether it changed something; `None` without such a server.
    ///
    /// A member that is given by a host name obeys under its own name, too, for all addresses that the host has and will
    /// have: also before the first lookup, so that no server of it serves that was ordered not to.
    pub(super) fn order(&mut self, name: &str, order: Order) -> Option<bool> {
        let named = self.named(name);
        let is_known = !named.is_empty()
            || self
                .entries
                .iter()
                .filter_map(Entry::name_of_all)
                .any(|known| *known == *name);
        if !is_known {
            return None;
        }
        // The last order of a kind holds.
        let is_of_kind = |old: &Order| match order {
            Order::Drain | Order::Maintain | Order::Ready => !matches!(old, Order::Weight(_)),
            Order::Weight(_) => matches!(old, Order::Weight(_)),
        };
        for server in &named {
            if *server.key.name != *name
                && let Some(orders) = self.orders.get_mut(&server.key.name)
            {
                orders.retain(|old| !is_of_kind(old));
            }
        }
        let orders = self.orders.entry(name.into()).or_default();
        let is_new = !orders.contains(&order);
        orders.retain(|old| !is_of_kind(old));
        orders.push(order);
        let changed = named.iter().filter(|server| server.obey(order)).count();
        Some(changed > 0 || (named.is_empty() && is_new))
    }

    /// The servers of a name, or all of a member that is called so.
    pub(super) fn named(&self, name: &str) -> Vec<Arc<Server>> {
        let servers = self.entries.iter().flat_map(|entry| {
            let all = entry.name_of_all().is_some_and(|known| *known == *name);
            let servers = entry.servers.iter();
            servers.filter(move |server| all || *server.key.name == *name)
        });
        servers.cloned().collect()
    }

    /// Names of servers that have no control yet; they are taken to have one from now on.
    pub(super) fn unregistered(&mut self) -> Vec<Arc<str>> {
        let servers = self.entries.iter().flat_map(|e| &e.servers);
        let names = servers.map(|server| server.key.name.clone());
        let names: BTreeSet<_> = names
            .chain(self.entries.iter().filter_map(Entry::name_of_all))
            .filter(|name| !self.registered.contains(name))
            .collect();
        self.registered.extend(names.iter().cloned());
        names.into_iter().collect()
    }

    /// Notes whether there is a server to take. Returns it when the operator is to be told: not before the first
    /// names are looked up and the first instances are listed.
    pub(super) fn serves(&mut self, serves: bool) -> Option<bool> {
        self.served |= serves;
        let out = self.served && !serves;
        (std::mem::replace(&mut self.told_out, out) != out).then_some(!out)
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.source {
                Source::Name { name, .. } => Some(name.clone()),
                Source::Fixed(_) | Source::Instances(_) => None,
            })
            .collect()
    }

    pub(super) fn sources(&self) -> Vec<watch::Receiver<Vec<InstanceAddress>>> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.source {
                Source::Instances(source) => source.clone(),
                Source::Fixed(_) | Source::Name { .. } => None,
            })
            .collect()
    }

    /// Takes what lookups said. Returns what the operator is to be told: a member, and what happened to it.
    pub(super) fn looked_up(&mut self, answers: Vec<Found>) -> Vec<(String, String)> {
        let mut news = Vec::new();
        for entry in &mut self.entries {
            let Source::Name { name, found, error } = &mut entry.source else {
                continue;
            };
            let Some((_, answer)) = answers.iter().find(|(asked, _)| asked == name) else {
                continue;
            };
            match answer {
                Ok(addresses) => {
                    *error = None;
                    let one = matches!(entry.member.place, Place::Node(_));
                    let chosen = choose(addresses, found, entry.member.from, one);
                    if !found.is_empty() && chosen != *found {
                        let what = format!("{} has other addresses now: {chosen:?}", name.host);
                        news.push((entry.member.name.clone(), what));
                    }
                    *found = chosen;
                }
                Err(why) => {
                    let what = format!("{} could not be looked up: {why}", name.host);
                    if error.as_ref() != Some(&what) {
                        news.push((entry.member.name.clone(), what.clone()));
                        *error = Some(what);
                    }
                }
            }
        }
        news
    }

    /// Members whose names were never found, as servers that are down.
    pub(super) fn not_found(&self) -> Vec<ServerStatus> {
        let unknown = self.entries.iter().filter_map(|entry| match &entry.source {
            Source::Name { name, found, error } if found.is_empty() => Some(ServerStatus {
                name: entry.member.name.clone(),
                address: Address::tcp(&*name.host, name.port).to_string(),
                health: match error {
                    None => Health::Starting,
                    Some(_) => Health::Down,
                },
                reason: error.clone().unwrap_or_else(|| "not looked up yet".into()),
                weight: entry.member.weight,
                in_flight: 0,
                requests: 0,
                failures: 0,
                changed_ms: 0,
                downs: 0,
                down_ms: 0,
                failed_checks: 0,
                check: None,
            }),
            _ => None,
        });
        unknown.collect()
    }
}

/// Which of a name's addresses are used: those that can be reached from where connections come from; of a node, which
/// is one machine, only one, and the same one for as long as it is among them.
fn choose(
    addresses: &[SocketAddr],
    before: &[SocketAddr],
    from: Option<Outgoing>,
    one: bool,
) -> Vec<SocketAddr> {
    let fits =
        |address: &&SocketAddr| from.is_none_or(|from| from.ip().is_ipv4() == address.is_ipv4());
    let mut chosen: Vec<SocketAddr> = addresses.iter().filter(fits).copied().collect();
    if chosen.is_empty() {
        chosen = addresses.to_vec();
    }
    if one {
        let same = chosen
            .iter()
            .find(|address| before.contains(address))
            .copied();
        chosen = same.or(chosen.first().copied()).into_iter().collect();
    }
    chosen
}

impl Source {
    fn of(place: &Place, instances: &Instances) -> Self {
        match place {
            Place::Instances { app } => Self::Instances(instances.get(app).cloned()),
            Place::Node(address) | Place::Server(address) => match address {
                Address::Unix(path) => Self::Fixed(Endpoint::Unix(path.as_str().into())),
                Address::Tcp { host, port } => match host.parse::<IpAddr>() {
                    Ok(ip) => Self::Fixed(Endpoint::Tcp((ip, *port).into())),
                    Err(_) => Self::Name {
                        name: Name {
                            host: host.clone(),
                            port: *port,
                        },
                        found: Vec::new(),
                        error: None,
                    },
                },
            },
        }
    }

    /// Whether it is one server, whatever becomes of it.
    fn is_one(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    /// Keeps the addresses of a name that is asked for as before.
    fn take_over(&mut self, before: Self) {
        if let (
            Self::Name { name, .. },
            Self::Name {
                name: same, found, ..
            },
        ) = (&*self, before)
            && *name == same
        {
            *self = Self::Name {
                name: same,
                found,
                error: None,
            };
        }
    }

    /// The servers there should be.
    fn keys(&self, member: &Member) -> Vec<ServerKey> {
        let key = |name: &str, endpoint| ServerKey {
            name: name.into(),
            endpoint,
        };
        match self {
            Self::Fixed(endpoint) => vec![key(&member.name, endpoint.clone())],
            Self::Name { found, .. } => {
                // A node is one machine. Of anything else each address is a server, called so however many there are,
                // so that it stays the same one when others come and go, and is called alike on every node.
                let one = matches!(member.place, Place::Node(_));
                let name = |address: &SocketAddr| {
                    if one {
                        member.name.clone()
                    } else {
                        format!("{}/{}", member.name, address.ip())
                    }
                };
                found
                    .iter()
                    .map(|address| key(&name(address), Endpoint::Tcp(*address)))
                    .collect()
            }
            Self::Instances(Some(source)) => source
                .borrow()
                .iter()
                .map(|instance| key(&instance.name, instance.endpoint.clone()))
                .collect(),
            Self::Instances(None) => Vec::new(),
        }
    }
}

/// The name that a server's certificate must have, where the place has one.
fn host(place: &Place) -> Option<TlsName> {
    match place {
        Place::Server(Address::Tcp { host, .. }) => TlsName::of(host),
        _ => None,
    }
}

/// Tokens that no name has, the lowest first.
fn free_tokens(tokens: &BTreeMap<Arc<str>, u16>) -> impl Iterator<Item = u16> + use<> {
    let taken: BTreeSet<u16> = tokens.values().copied().collect();
    (0..=u16::MAX).filter(move |token| !taken.contains(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Mode;

    #[test]
    fn of_a_nodes_addresses_one_is_used_and_kept() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (a, b, six) = (at("10.0.0.1:80"), at("10.0.0.2:80"), at("[fd00::1]:80"));
        assert_eq!(choose(&[a, b, six], &[], None, false), [a, b, six]);
        assert_eq!(choose(&[a, b], &[], None, true), [a]);
        assert_eq!(choose(&[a, b], &[b], None, true), [b]);
        let from = Some(Outgoing::Preferred("fd00::9".parse().expect("an address")));
        assert_eq!(choose(&[a, b, six], &[], from, false), [six]);
        assert_eq!(choose(&[a], &[], from, false), [a]);
    }

    #[test]
    fn each_address_of_a_name_is_a_server_that_stays_the_same_while_others_come_and_go() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (a, b) = (at("10.0.0.1:80"), at("10.0.0.2:80"));
        let member = Member {
            name: "shop.internal:80".into(),
            place: Place::Server(Address::tcp("shop.internal", 80)),
            weight: 1,
            backup: false,
            max_connections: None,
            stick_id: None,
            from: None,
        };
        let name = Name {
            host: "shop.internal".into(),
            port: 80,
        };
        let none = Instances::new();
        let mut members = Members::new(std::slice::from_ref(&member), &none);
        let found = |members: &mut Members, answer: Result<Vec<SocketAddr>, String>| {
            let news = members.looked_up(vec![(name.clone(), answer)]);
            members.reconcile(&Check::default(), |_| Arc::default());
            (members.servers(), news.len())
        };
        let (one, news) = found(&mut members, Ok(vec![a]));
        assert_eq!((&*one[0].key.name, news), ("shop.internal:80/10.0.0.1", 0));
        let (two, news) = found(&mut members, Ok(vec![a, b]));
        assert_eq!((two.len(), news), (2, 1));
        assert!(Arc::ptr_eq(&one[0], &two[0]), "it is the same one");
        assert_ne!(two[0].token, two[1].token);
        // A resolver that fails changes nothing, and is told of once.
        let (same, news) = found(&mut members, Err("no answer".into()));
        assert_eq!((same.len(), news), (2, 1));
        let (_, news) = found(&mut members, Err("no answer".into()));
        assert_eq!(news, 0);
        // A reload keeps what was found.
        members.update(std::slice::from_ref(&member), &none);
        members.reconcile(&Check::default(), |_| Arc::default());
        assert!(Arc::ptr_eq(&members.servers()[1], &two[1]));
        let (left, _) = found(&mut members, Ok(vec![b]));
        assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &two[1]));
    }

    /// A member that is called so, wherever it is.
    fn called(name: &str, host: &str) -> Member {
        Member {
            name: name.into(),
            place: Place::Server(Address::tcp(host, 443)),
            weight: 1,
            backup: false,
            max_connections: None,
            stick_id: None,
            from: None,
        }
    }

    #[test]
    fn an_order_to_a_host_holds_for_addresses_that_are_found_later() {
        let none = Instances::new();
        let name = Name {
            host: "shop.example".into(),
            port: 443,
        };
        let mut members = Members::new(&[called("a", "shop.example")], &none);
        assert_eq!(&*members.unregistered()[0], "a", "it can be ordered");
        assert_eq!(members.order("b", Order::Maintain), None);
        assert_eq!(members.order("a", Order::Maintain), Some(true));
        assert_eq!(members.order("a", Order::Maintain), Some(false));
        let found = |members: &mut Members, hosts: &[u8]| -> Vec<Arc<Server>> {
            let at = |host: &u8| SocketAddr::from(([10, 0, 0, *host], 443));
            let found = hosts.iter().map(at).collect();
            members.looked_up(vec![(name.clone(), Ok(found))]);
            members.reconcile(&Check::Off, |_| Arc::default());
            members.servers().to_vec()
        };
        let out = |servers: &[Arc<Server>]| -> Vec<bool> {
            let modes = servers.iter().map(|server| server.mode());
            modes.map(|mode| mode == Mode::Maintenance).collect()
        };
        assert_eq!(out(&found(&mut members, &[1])), [true]);
        assert_eq!(members.order("a/10.0.0.1", Order::Ready), Some(true));
        assert_eq!(out(&found(&mut members, &[2])), [true]);
        assert_eq!(
            out(&found(&mut members, &[1, 2])),
            [false, true],
            "one of them was ordered later"
        );
        assert_eq!(members.order("a", Order::Ready), Some(true));
        assert_eq!(out(&found(&mut members, &[1, 2, 3])), [false; 3]);
    }

    #[test]
    fn a_server_whose_host_has_another_name_in_the_file_is_another_one() {
        let none = Instances::new();
        let at = |host: &str| Name {
            host: host.into(),
            port: 443,
        };
        let address: SocketAddr = "10.0.0.1:443".parse().expect("an address");
        let mut members = Members::new(&[called("a", "old.example")], &none);
        let mut server = |host: &str| {
            members.update(&[called("a", host)], &none);
            members.looked_up(vec![(at(host), Ok(vec![address]))]);
            members.reconcile(&Check::default(), |_| Arc::default());
            members.servers()[0].clone()
        };
        let (old, same, new) = (
            server("old.example"),
            server("old.example"),
            server("new.example"),
        );
        assert!(Arc::ptr_eq(&old, &same));
        assert_eq!(old.host, TlsName::of("old.example"));
        // Its certificate is compared with this.
        assert_eq!(new.host, TlsName::of("new.example"));
    }

    #[test]
    fn no_two_servers_have_one_token_however_many_came_and_went() {
        let none = Instances::new();
        let name = Name {
            host: "shop.example".into(),
            port: 443,
        };
        let mut members = Members::new(&[called("a", "shop.example")], &none);
        let at = |number: u32| SocketAddr::new(IpAddr::from(number.to_be_bytes()), 443);
        let stays = at(0x0a00_0000);
        for round in 1..=5 {
            let come = (0..1_000).map(|i| at(0x0a00_0000 + round * 1_000 + i));
            let found = std::iter::once(stays).chain(come).collect();
            members.looked_up(vec![(name.clone(), Ok(found))]);
            members.forget();
            members.reconcile(&Check::default(), |_| Arc::default());
            let servers = members.servers();
            let tokens: BTreeSet<u16> = servers.iter().map(|server| server.token).collect();
            assert_eq!(tokens.len(), servers.len(), "round {round}");
        }
    }
}
