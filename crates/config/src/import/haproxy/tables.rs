//! Stick tables: clients that stay with their server (`stick on src`), and clients that ask too often
//! (`http-request deny if { sc_http_req_rate(0) gt 20 }`). Whatever else they count is refused where it is asked for.

use std::time::Duration;

use super::super::document::{Table, Value};
use super::super::logic::{Counted, Either, Excess, Literal, Measured, Subject, Together};
use super::super::sources::Spot;
use super::Translator;
use super::acl::{Acls, Connection, Refusal};
use super::proxy::Proxy;
use super::rules::{self, Deed, Step};
use super::units::{self, MILLISECONDS};
use super::words::Line;

impl Excess {
    /// `sc_http_req_rate(0) gt 20`, `src_conn_cur ge 10`: reads the fetch `name(arg)` and what its number is compared with;
    /// `None`: it is another one.
    pub fn read(
        name: &str,
        arg: Option<&str>,
        values: &[&str],
        at: Spot,
    ) -> Option<Result<Self, Refusal>> {
        let (of, name) = [
            ("http_req_rate", Measured::Requests),
            ("http_err_rate", Measured::Errors),
            ("conn_cur", Measured::Connections),
            ("conn_rate", Measured::Connects),
        ]
        .into_iter()
        .find_map(|(end, of)| Some((of, name.strip_suffix(end)?)))?;
        let by = match (name, arg) {
            ("sc_", Some(arg)) => {
                let counter = arg.split(',').next().unwrap_or_default().trim();
                Counted::Tracked(counter.parse().ok()?)
            }
            ("sc0_", None) => Counted::Tracked(0),
            ("sc1_", None) => Counted::Tracked(1),
            ("sc2_", None) => Counted::Tracked(2),
            ("src_", arg) => Counted::Source(arg.map(str::to_owned)),
            _ => return None,
        };
        let most = match values {
            ["gt", number] => number.parse().ok(),
            ["ge", number] => number.parse().ok().and_then(|n: u32| n.checked_sub(1)),
            _ => None,
        };
        Some(match most {
            Some(most) if most > 0 => Ok(Self { of, by, most }),
            _ => Err(Refusal::new(
                at,
                "what is asked of a counter is whether it is greater than a number: gt 20",
            )),
        })
    }

    /// The one that a step asks about, if any.
    pub fn among(together: &Together) -> Option<&Self> {
        together.iter().find_map(|literal| match &literal.subject {
            Subject::Excess(excess) => Some(excess),
            _ => None,
        })
    }
}

/// Refuses conditions on rates and on users, where nothing here can ask about them.
pub(crate) fn without_rates(when: Either, at: Spot) -> Result<Either, Refusal> {
    if super::users::asks(&when) {
        let message =
            "who a client is, is asked by `http-request auth unless { http_auth(LIST) }` alone";
        return Err(Refusal::new(at, message));
    }
    if when
        .0
        .iter()
        .all(|together| Excess::among(together).is_none())
    {
        return Ok(when);
    }
    let message = "who asks too often can be denied, and nothing else be done to: `rate` of routes";
    Err(Refusal::new(at, message))
}

/// `stick-table type ip size 100k expire 30m store http_req_rate(10s)`.
#[derive(Debug, Default)]
pub(crate) struct StickTable {
    pub by_address: bool,
    pub expire: Option<Duration>,
    /// In what time requests are counted.
    period: Option<Duration>,
    /// In what time those are that are answered with an error.
    errors: Option<Duration>,
    /// In what time connections are.
    connects: Option<Duration>,
}

impl StickTable {
    fn read(line: &Line) -> Self {
        let mut table = Self::default();
        for (at, word) in line.words.iter().enumerate() {
            match word.text.as_str() {
                "type" => table.by_address = matches!(line.word(at + 1), "ip" | "ipv6"),
                "expire" => table.expire = units::time(line.word(at + 1), MILLISECONDS),
                "store" => {
                    let period = |name: &str| {
                        let mut stored = line.word(at + 1).split(',');
                        stored.find_map(|what| {
                            let rest = what.strip_prefix(name)?.strip_prefix('(')?;
                            units::time(rest.strip_suffix(')')?, MILLISECONDS)
                        })
                    };
                    table.period = period("http_req_rate").or(table.period);
                    table.errors = period("http_err_rate").or(table.errors);
                    table.connects = period("conn_rate").or(table.connects);
                }
                _ => {}
            }
        }
        table
    }
}

impl Translator<'_> {
    /// The table of a section by its name, or of this one.
    pub fn stick_table(&mut self, proxy: &Proxy<'_>, name: Option<&str>) -> Option<StickTable> {
        let sections = self.sections;
        let line = match name {
            Some(name) if name != proxy.name() => {
                let section = sections.iter().find(|section| section.name == name)?;
                let lines = section.lines.iter();
                lines.rev().find(|line| line.word(0) == "stick-table")?
            }
            _ => proxy.own("stick-table").last()?,
        };
        self.verdicts.translated(line.spot);
        if line.words.iter().any(|word| word.text == "peers") {
            self.verdicts
                .note(line.spot, "each node knows of the clients that came to it");
        }
        Some(StickTable::read(line))
    }

    /// A rule that asks how often a client came, as a `rate` for what follows; others as they are.
    pub fn limited(
        &mut self,
        proxy: &Proxy<'_>,
        step: Step,
        acls: &Acls,
        connection: Connection,
    ) -> Vec<Step> {
        let (rates, plain): (Vec<_>, Vec<_>) = step
            .when
            .0
            .iter()
            .cloned()
            .partition(|together| Excess::among(together).is_some());
        if rates.is_empty() {
            return vec![step];
        }
        // To deny, to reject, to drop.
        let denies =
            matches!(&step.deed, Deed::Answer(table) if table.has("deny") || is_bare(table));
        let mut steps = Vec::new();
        for together in rates {
            let of = Excess::among(&together).map(|excess| excess.of);
            if denies && of == Some(Measured::Connections) {
                if let Err(refusal) = self.connections(proxy, &step, &together) {
                    refusal.tell(step.spot, &mut self.verdicts);
                    return Vec::new();
                }
                continue;
            }
            if denies && of == Some(Measured::Connects) {
                let limited = self.connects(proxy, &step, &together, acls, connection);
                if let Err(refusal) = limited {
                    refusal.tell(step.spot, &mut self.verdicts);
                    return Vec::new();
                }
                continue;
            }
            let made = if denies {
                self.rate(proxy, &step, together, acls, connection)
            } else {
                without_rates(step.when.clone(), step.spot).map(|_| step.clone())
            };
            match made {
                Ok(step) => steps.push(step),
                Err(refusal) => {
                    refusal.tell(step.spot, &mut self.verdicts);
                    return Vec::new();
                }
            }
        }
        if !plain.is_empty() {
            let when = Either(plain);
            steps.push(Step { when, ..step });
        }
        steps
    }

    /// How often a client connects, as a limit of the listener.
    fn connects(
        &mut self,
        proxy: &Proxy<'_>,
        step: &Step,
        together: &Together,
        acls: &Acls,
        connection: Connection,
    ) -> Result<(), Refusal> {
        let wrong = |message: &str| Refusal::new(step.spot, message);
        let (excess, is_counted) = Self::counted_connections(proxy, step, together)?;
        let name = match excess.by {
            Counted::Source(name) => name,
            Counted::Tracked(counter) => {
                let (name, counts) = self.tracking(proxy, counter, acls, connection)?;
                if !counts.0.iter().all(Vec::is_empty) {
                    return Err(wrong(
                        "connections of clients are counted for all of a listener: track-sc0 src, under no condition",
                    ));
                }
                name
            }
        };
        let table = self.stick_table(proxy, name.as_deref());
        let table = table.filter(|table| table.by_address);
        let period = table.and_then(|table| table.connects);
        let Some(period) = period.filter(|period| !period.is_zero()) else {
            return Err(wrong(
                "there is no table for it: stick-table type ip size 100k expire 1m store conn_rate(10s)",
            ));
        };
        let burst = excess.most.saturating_add((!is_counted).into());
        let rate = rate(excess.most, burst, period);
        self.limit_connects(rate, burst, step.spot)
    }

    fn rate(
        &mut self,
        proxy: &Proxy<'_>,
        step: &Step,
        mut together: Together,
        acls: &Acls,
        connection: Connection,
    ) -> Result<Step, Refusal> {
        let wrong = |message: &str| Refusal::new(step.spot, message);
        let excess = Excess::among(&together).cloned();
        let is_rate = |literal: &Literal| matches!(literal.subject, Subject::Excess(_));
        let is_one = together.iter().filter(|l| is_rate(l)).count() == 1
            && together
                .iter()
                .all(|literal| !(is_rate(literal) && literal.not));
        let Some(excess) = excess.filter(|_| is_one) else {
            return Err(wrong(
                "a rule asks about one rate, and whether it is exceeded",
            ));
        };
        together.retain(|literal| !is_rate(literal));
        let mut when = Either(vec![together]);
        let table = match &excess.by {
            Counted::Source(name) => self.stick_table(proxy, name.as_deref()),
            Counted::Tracked(counter) => {
                let (name, counts) = self.tracking(proxy, *counter, acls, connection)?;
                when = when
                    .and(&counts)
                    .map_err(|_| wrong("this condition has too many alternatives"))?;
                self.stick_table(proxy, name.as_deref())
            }
        };
        let period = table
            .filter(|table| table.by_address)
            .and_then(|table| match excess.of {
                Measured::Errors => table.errors,
                _ => table.period,
            });
        let Some(period) = period.filter(|period| !period.is_zero()) else {
            return Err(wrong(
                "there is no table for it: stick-table type ip size 100k expire 1m store http_req_rate(10s),http_err_rate(10s)",
            ));
        };
        let is_of_errors = excess.of == Measured::Errors;
        // A request is counted before the rule asks; an error when it is over, so that one more goes through.
        let burst = excess.most.saturating_add(is_of_errors.into());
        let mut rate = rate(excess.most, burst, period);
        let (what, beyond) = if is_of_errors {
            rate.put("counts", Value::text("errors"));
            (
                "requests that are answered with an error",
                "all it asks is answered 429",
            )
        } else {
            ("requests", "the answer is 429")
        };
        let limit = match rate.get("limit") {
            Some(Value::Text(limit)) => limit.clone(),
            _ => String::new(),
        };
        self.verdicts.note(
            step.spot,
            format!(
                "a client has {burst} {what} at once and gets them back by {limit}; beyond that {beyond} with Retry-After"
            ),
        );
        Ok(Step {
            when,
            deed: Deed::Change(Table::default().with("rate", Value::Table(rate))),
            ..step.clone()
        })
    }

    /// The rule that sets a counter: the table it names, and for which requests it does.
    fn tracking(
        &mut self,
        proxy: &Proxy<'_>,
        counter: u8,
        acls: &Acls,
        connection: Connection,
    ) -> Result<(Option<String>, Either), Refusal> {
        let wanted = format!("track-sc{counter}");
        let lines = proxy.section.lines.iter();
        let mut tracking = lines.filter_map(|line| {
            let at = (1..3).find(|at| line.word(*at) == wanted)?;
            Some((line, at))
        });
        let Some((line, at)) = tracking.next() else {
            let message = format!("no rule sets this counter: http-request {wanted} src");
            return Err(Refusal::new(proxy.section.head.spot, message));
        };
        let (words, condition) = rules::split(line.from(at + 1));
        let name = match words {
            [_] => None,
            [_, table, name] if table.text == "table" => Some(name.text.clone()),
            _ => {
                return Err(Refusal::new(
                    line.at(at),
                    format!("{wanted} src [table NAME]"),
                ));
            }
        };
        let counts = rules::when(condition, acls, connection, line.spot, &mut self.verdicts)?;
        Ok((name, counts))
    }
}

/// An answer that is a status alone.
fn is_bare(table: &Table) -> bool {
    matches!(table.get("respond"), Some(Value::Plain(_)))
}

/// So many requests in a time, in the units of the cluster file, and so many at once.
fn rate(most: u32, burst: u32, period: Duration) -> Table {
    let (most, millis) = (u64::from(most), period.as_millis().max(1) as u64);
    let whole = |unit: u64| {
        (most * unit)
            .is_multiple_of(millis)
            .then(|| most * unit / millis)
    };
    let units = [(1_000, "s"), (60_000, "m"), (3_600_000, "h")];
    let exact = units
        .iter()
        .find_map(|(unit, name)| Some((whole(*unit)?, *name)));
    let (count, unit) = exact.unwrap_or(((most * 3_600_000).div_ceil(millis), "h"));
    Table::default()
        .with("limit", Value::text(format!("{count}/{unit}")))
        .with("burst", Value::plain(burst))
}
