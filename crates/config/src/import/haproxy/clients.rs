//! Who a client is (`http-request set-src`), and how many connections one may have (`src_conn_cur`): what listeners say,
//! and not routes.

use super::super::document::{Section, Table, Value};
use super::super::logic::{Either, Excess, Subject, Together};
use super::super::sources::Spot;
use super::Translator;
use super::acl::{Acls, Connection, Refusal};
use super::order;
use super::proxy::Proxy;
use super::rules::{self, Step};
use super::table::{FRONTEND, LISTEN};
use super::words::Line;

/// What the rules of a section say of all who come to its listener.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// Connections that each may have at once.
    per_source: Option<(u64, Spot)>,
    /// How often each may connect.
    connects: Option<(Table, Spot)>,
    /// Networks of proxies that are believed.
    trust: Vec<String>,
    trusted_by: Option<Spot>,
}

/// Fields whose last value is what a proxy knows of its client, as it has it in X-Forwarded-For, too.
const FORWARDED: [&str; 2] = ["x-forwarded-for", "cf-connecting-ip"];

impl Translator<'_> {
    /// A rule against too many connections of one client, as a limit of the listener.
    pub fn connections(
        &mut self,
        proxy: &Proxy<'_>,
        step: &Step,
        together: &Together,
    ) -> Result<(), Refusal> {
        let (excess, is_counted) = Self::counted_connections(proxy, step, together)?;
        let most = u64::from(excess.most) + u64::from(!is_counted);
        let fewer = self
            .clients
            .per_source
            .is_none_or(|(known, _)| most < known);
        if fewer {
            self.clients.per_source = Some((most, step.spot));
        }
        self.verdicts.note(
            step.spot,
            format!("{most} connections of one address at once; those beyond are answered 429 by a listener of HTTP, and closed in TCP mode; what a proxy in `trust` brings is not counted"),
        );
        Ok(())
    }

    /// Notes how often a client may connect.
    pub fn limit_connects(&mut self, rate: Table, most: u32, at: Spot) -> Result<(), Refusal> {
        if self.clients.connects.is_some() {
            let message = "a listener has one limit of how often an address may connect";
            return Err(Refusal::new(at, message));
        }
        self.clients.connects = Some((rate, at));
        self.verdicts.note(
            at,
            format!("an address has {most} connections at once and gets them back in the table's time; those beyond are answered 429 by a listener of HTTP, and closed in TCP mode; what a proxy in `trust` brings is not counted"),
        );
        Ok(())
    }

    /// What a rule asks of the connections of a client, of all who come; and whether it has counted this one already.
    pub fn counted_connections(
        proxy: &Proxy<'_>,
        step: &Step,
        together: &Together,
    ) -> Result<(Excess, bool), Refusal> {
        let wrong = |message: &str| Err(Refusal::new(step.spot, message));
        let [literal] = &together[..] else {
            return wrong(
                "how many connections a client has is limited for all of a listener, under no other condition: \
                 `limits = { per-source = N }`",
            );
        };
        let Some(excess) = Excess::among(together).filter(|_| !literal.not) else {
            return wrong("a rule asks whether a client has too many connections");
        };
        if proxy.section.kind & (FRONTEND | LISTEN) == 0 {
            return wrong("connections of clients are counted where they come in: in the frontend");
        }
        // A rule that counts the connection before this one is asked has it among them.
        let tracks = |line: &Line| {
            let at = usize::from(line.word(0) == "tcp-request") + 1;
            order::turn(line).is_some() && line.word(at).starts_with("track-sc")
        };
        let lines = proxy.section.lines.iter();
        let this = lines.clone().find(|line| line.spot == step.spot);
        let place = |line: &Line| (order::turn(line), line.spot);
        let before = |line: &&Line| this.is_some_and(|this| place(line) < place(this));
        if !lines.clone().any(tracks) {
            return wrong(
                "no rule counts the connections of clients: tcp-request connection track-sc0 src",
            );
        }
        let is_counted = lines.filter(before).any(tracks);
        Ok((excess.clone(), is_counted))
    }

    /// `http-request set-src hdr(X-Forwarded-For) if { src NETWORKS }`: proxies that are believed. `asked`: a rule
    /// before it looks at the address.
    pub fn set_source(
        &mut self,
        line: &Line,
        asked: bool,
        proxy: &Proxy<'_>,
        acls: &Acls,
        connection: Connection,
    ) -> Result<(), Refusal> {
        let wrong = |at: Spot, message: &str| Err(Refusal::new(at, message));
        if proxy.section.kind & (FRONTEND | LISTEN) == 0 {
            return wrong(
                line.spot,
                "who a client is, is known where it comes in: in the frontend",
            );
        }
        let (words, condition) = rules::split(line.from(2));
        let [sample] = words else {
            return wrong(
                line.at(2),
                "http-request set-src hdr(X-Forwarded-For) if { src NETWORKS }",
            );
        };
        let Some(name) = field(&sample.text) else {
            return wrong(
                sample.spot,
                "the client of a proxy is the last value of X-Forwarded-For, or what Cloudflare says in CF-Connecting-IP: of another \
                 field it is not known who has filled it in. Let the proxy add to X-Forwarded-For: http-request set-src hdr(X-Forwarded-For) if ...",
            );
        };
        let when = rules::when(condition, acls, connection, line.spot, &mut self.verdicts)?;
        let Some(networks) = networks(&when, &name) else {
            return wrong(
                line.spot,
                "whom is this believed? of clients that may say it themselves, of all: name the networks of the proxies, \
                 `if { src 10.0.0.0/8 }`",
            );
        };
        if asked {
            return wrong(
                line.spot,
                "a rule before this one looks at the address of the proxy, and here that of the client is known from the \
                 beginning: leave that to a firewall, or to another listener",
            );
        }
        for network in networks {
            if !self.clients.trust.contains(&network) {
                self.clients.trust.push(network);
            }
        }
        self.clients.trusted_by = Some(line.spot);
        let mut what = "`trust` of the listener: the client is the last of X-Forwarded-For that is in none of these networks".to_owned();
        if !name.eq_ignore_ascii_case(FORWARDED[0]) {
            what.push_str(", which Cloudflare has from CF-Connecting-IP, too");
        }
        self.verdicts.note(line.spot, what);
        Ok(())
    }

    /// Says it in the listener.
    pub fn put_clients(&mut self, out: &mut Section) {
        let clients = std::mem::take(&mut self.clients);
        if let Some((most, spot)) = clients.per_source {
            let mut limits = match out.table.get("limits") {
                Some(Value::Table(table)) => table.clone(),
                _ => Table::default(),
            };
            limits.put("per-source", Value::plain(most));
            out.put_at("limits", Value::Table(limits), spot);
        }
        if let Some((rate, spot)) = clients.connects {
            let mut limits = match out.table.get("limits") {
                Some(Value::Table(table)) => table.clone(),
                _ => Table::default(),
            };
            limits.put("per-source-rate", Value::Table(rate));
            out.put_at("limits", Value::Table(limits), spot);
        }
        // Who is believed in PROXY headers is believed in this, too.
        if let Some(spot) = clients.trusted_by.filter(|_| !out.table.has("trust")) {
            out.put_at("trust", Value::texts(clients.trust), spot);
        }
    }
}

/// The field of `hdr(X-Forwarded-For)`, whose last value is meant.
fn field(sample: &str) -> Option<String> {
    let (fetch, rest) = sample.split_once('(')?;
    let (name, which) = rest
        .strip_suffix(')')?
        .split_once(',')
        .unwrap_or((rest.strip_suffix(')')?, "-1"));
    let is_last = which.trim() == "-1";
    let is_field = matches!(fetch, "hdr" | "req.hdr" | "req.hdr_ip" | "hdr_ip");
    let name = name.trim();
    let is_known = FORWARDED
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name));
    (is_field && is_last && is_known).then(|| name.to_owned())
}

/// The networks of a condition that asks for these alone, and whether the field is there.
fn networks(when: &Either, field: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for together in &when.0 {
        let mut networks = None;
        for literal in together {
            match &literal.subject {
                Subject::Source if !literal.not && networks.is_none() => {
                    networks = Some(literal.patterns.clone());
                }
                Subject::Header(name)
                    if name.eq_ignore_ascii_case(field)
                        && !literal.not
                        && literal.patterns == ["*"] => {}
                _ => return None,
            }
        }
        all.extend(networks?);
    }
    (!all.is_empty()).then_some(all)
}

/// Whether a rule looks at the address of who has connected.
pub(crate) fn asks_for_source(step: &Step) -> bool {
    let asks = |literal: &super::super::logic::Literal| literal.subject == Subject::Source;
    step.when.0.iter().flatten().any(asks)
}
