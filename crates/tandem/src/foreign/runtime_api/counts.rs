//! What telemetry knows, under the names of the haproxy.cfg.

use std::collections::HashMap;

use tandem_config::import::{Commands, ProxyNames, ServerNames};
use tandem_telemetry::meters::Answered;
use tandem_telemetry::{NodeStatus, ServerStatus, Telemetry};

/// What only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Connections of a frontend; requests, or connections of TCP mode, that were sent to a server.
    pub sessions: u64,
    pub requests: u64,
    pub bytes: u64,
    /// Answers by the first digit of their status; the last are those without one.
    pub codes: [u64; 6],
    pub failures: u64,
    pub retries: u64,
    pub failed_checks: u64,
    pub downs: u64,
    pub down_ms: u64,
}

impl Counted {
    fn add(&mut self, answered: &Answered) {
        for (sum, code) in self.codes.iter_mut().zip(answered.codes) {
            *sum += code;
        }
        self.requests += answered.codes.iter().sum::<u64>();
        self.bytes += answered.bytes;
        self.retries += answered.retries;
    }

    /// What came since then.
    pub fn since(&self, base: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let mut codes = self.codes;
        for (code, base) in codes.iter_mut().zip(base.codes) {
            *code = less(*code, base);
        }
        Self {
            sessions: less(self.sessions, base.sessions),
            requests: less(self.requests, base.requests),
            bytes: less(self.bytes, base.bytes),
            codes,
            failures: less(self.failures, base.failures),
            retries: less(self.retries, base.retries),
            failed_checks: less(self.failed_checks, base.failed_checks),
            downs: less(self.downs, base.downs),
            down_ms: less(self.down_ms, base.down_ms),
        }
    }
}

/// A line of `show stat`: the clients' side of a section, a server, or the servers' side.
pub enum Of<'c> {
    Front,
    /// With how it is, at each of its addresses.
    Server(&'c ServerNames, Vec<ServerStatus>),
    /// With the number of requests that wait for a server.
    Back(u64),
}

impl Of<'_> {
    /// Its name in the second column.
    pub fn name(&self) -> &str {
        match self {
            Self::Front => "FRONTEND",
            Self::Back(_) => "BACKEND",
            Self::Server(server, _) => &server.name,
        }
    }
}

/// What is known of one of them.
pub struct Seen<'c> {
    pub proxy: &'c ProxyNames,
    pub of: Of<'c>,
    pub counted: Counted,
    /// Connections, or requests, that are there now.
    pub current: u64,
    /// How long answers took on average, and until they began, in milliseconds.
    pub took_ms: Option<u64>,
    pub first_byte_ms: Option<u64>,
}

/// Everything, section by section: clients' side, servers, servers' side.
pub fn all<'c>(commands: &'c Commands, telemetry: &Telemetry) -> Vec<Seen<'c>> {
    all_by(commands, telemetry, &telemetry.registry.status())
}

/// The same by a status that was asked for already.
pub fn all_by<'c>(
    commands: &'c Commands,
    telemetry: &Telemetry,
    status: &NodeStatus,
) -> Vec<Seen<'c>> {
    let known = Known::of(telemetry, status);
    let mut all = Vec::new();
    for proxy in &commands.proxies {
        if proxy.is_front {
            all.push(known.front(proxy));
        }
        if proxy.is_back {
            let first = all.len();
            let servers = proxy.servers.iter();
            all.extend(servers.map(|server| known.server(proxy, server)));
            let back = known.back(proxy, &all[first..]);
            all.push(back);
        }
    }
    all
}

/// What a server answered, and the average time to its first byte, in milliseconds.
type Measured = (Answered, Option<u64>);

/// What telemetry has, by name.
struct Known<'s> {
    status: &'s NodeStatus,
    routes: HashMap<String, Vec<Answered>>,
    services: HashMap<String, Answered>,
    servers: HashMap<(String, String), Vec<Measured>>,
    listeners: HashMap<String, (u64, u64)>,
}

impl<'s> Known<'s> {
    fn of(telemetry: &Telemetry, status: &'s NodeStatus) -> Self {
        let meters = &telemetry.meters;
        let mut routes: HashMap<String, Vec<Answered>> = HashMap::new();
        for ([listener, _], answered) in meters.routes() {
            routes
                .entry(listener.to_string())
                .or_default()
                .push(answered);
        }
        let services = meters.services().into_iter();
        let services = services.map(|([service, _], answered)| (service.to_string(), answered));
        let servers = meters.servers().into_iter();
        // Each address of a host is a server, called `name/address`: together they are the one of the file.
        let mut of_servers: HashMap<_, Vec<_>> = HashMap::new();
        for ([service, server], (answered, first_byte)) in servers {
            let called = server.split('/').next().unwrap_or_default();
            let key = (service.to_string(), called.to_owned());
            let first_byte = average(first_byte.micros, first_byte.count());
            of_servers
                .entry(key)
                .or_default()
                .push((answered, first_byte));
        }
        let listeners = meters.listeners().into_iter();
        let listeners = listeners.map(|([listener, _], counts)| (listener.to_string(), counts));
        Self {
            status,
            routes,
            services: services.collect(),
            servers: of_servers,
            listeners: listeners.collect(),
        }
    }

    fn front<'c>(&self, proxy: &'c ProxyNames) -> Seen<'c> {
        let (mut counted, mut current) = (Counted::default(), 0);
        for listener in &proxy.listeners {
            let (accepted, open) = self.listeners.get(listener).copied().unwrap_or_default();
            counted.sessions += accepted;
            current += open;
            for answered in self.routes.get(listener).into_iter().flatten() {
                counted.add(answered);
            }
        }
        Seen {
            proxy,
            of: Of::Front,
            counted,
            current,
            took_ms: None,
            first_byte_ms: None,
        }
    }

    fn server<'c>(&self, proxy: &'c ProxyNames, server: &'c ServerNames) -> Seen<'c> {
        let (mut counted, mut current, mut all) = (Counted::default(), 0, Vec::new());
        let (mut took_ms, mut first_byte_ms) = (None, None);
        for place in &server.places {
            for status in self.statuses(place) {
                counted.sessions += status.requests;
                counted.failures += status.failures;
                counted.failed_checks += status.failed_checks;
                counted.downs += status.downs;
                counted.down_ms += status.down_ms;
                current += status.in_flight;
                all.push(status.clone());
            }
            for (answered, first_byte) in self.servers.get(place).into_iter().flatten() {
                counted.add(answered);
                took_ms = took_ms.or(average(answered.time.micros, answered.time.count()));
                first_byte_ms = first_byte_ms.or(*first_byte);
            }
        }
        Seen {
            proxy,
            of: Of::Server(server, all),
            counted,
            current,
            took_ms,
            first_byte_ms,
        }
    }

    fn statuses(
        &self,
        (service, server): &(String, String),
    ) -> impl Iterator<Item = &ServerStatus> {
        let services = self.status.services.iter();
        let servers = services.filter(move |s| s.name == *service);
        let servers = servers.flat_map(|s| &s.servers);
        servers.filter(move |s| is_of(&s.name, server))
    }

    fn back<'c>(&self, proxy: &'c ProxyNames, servers: &[Seen<'c>]) -> Seen<'c> {
        let mut counted = Counted::default();
        let service = proxy.service.as_ref();
        let answered = service.and_then(|service| self.services.get(service));
        if let Some(answered) = answered {
            counted.add(answered);
        }
        for Seen {
            counted: server, ..
        } in servers
        {
            counted.sessions += server.sessions;
            counted.failures += server.failures;
        }
        let status = self.status.services.iter();
        let mut status = status.filter(|s| service.is_some_and(|service| s.name == *service));
        Seen {
            proxy,
            of: Of::Back(status.next().map_or(0, |status| status.waiting)),
            counted,
            current: servers.iter().map(|server| server.current).sum(),
            took_ms: answered.and_then(|a| average(a.time.micros, a.time.count())),
            first_byte_ms: servers
                .iter()
                .filter_map(|server| server.first_byte_ms)
                .max(),
        }
    }
}

/// Whether a server is the one of the file that is called so: of one that is given by a host name, each address is a server.
pub fn is_of(name: &str, called: &str) -> bool {
    name.strip_prefix(called)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// In milliseconds.
fn average(micros: u64, count: u64) -> Option<u64> {
    micros.checked_div(count).map(|micros| micros / 1000)
}
