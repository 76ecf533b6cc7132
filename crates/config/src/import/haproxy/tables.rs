//! Stick tables: clients that stay with their server (`stick on src`), and clients that ask too often
//! (`http-request deny if { sc_http_req_rate(0) gt 20 }`). Whatever else they count is refused where it is asked for.

use std::time::Duration;

use super::super::document::{Table, Value};
use super::super::logic::{Counted, Either, Excess, Literal, Subject, Together};
use super::super::sources::Spot;
use super::Translator;
use super::acl::{Acls, Connection, Refusal};
use super::proxy::Proxy;
use super::rules::{self, Deed, Step};
use super::units::{self, MILLISECONDS};
use super::words::Line;

impl Excess {
    /// `sc_http_req_rate(0) gt 20`: reads the fetch `name(arg)` and what its number is compared with; `None`: it is another one.
    pub fn read(
        name: &str,
        arg: Option<&str>,
        values: &[&str],
        at: Spot,
    ) -> Option<Result<Self, Refusal>> {
        let by = match (name, arg) {
            ("sc_http_req_rate", Some(arg)) => {
                let counter = arg.split(',').next().unwrap_or_default().trim();
                Counted::Tracked(counter.parse().ok()?)
            }
            ("sc0_http_req_rate", None) => Counted::Tracked(0),
            ("sc1_http_req_rate", None) => Counted::Tracked(1),
            ("sc2_http_req_rate", None) => Counted::Tracked(2),
            ("src_http_req_rate", arg) => Counted::Source(arg.map(str::to_owned)),
            _ => return None,
        };
        let most = match values {
            ["gt", number] => number.parse().ok(),
            ["ge", number] => number.parse().ok().and_then(|n: u32| n.checked_sub(1)),
            _ => None,
        };
        Some(match most {
            Some(most) if most > 0 => Ok(Self { by, most }),
            _ => Err(Refusal::new(
                at,
                "what is asked of a rate is whether it is greater than a number: gt 20",
            )),
        })
    }

    /// The one that a step asks about, if any.
    fn of(together: &Together) -> Option<&Self> {
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
    if when.0.iter().all(|together| Excess::of(together).is_none()) {
        return Ok(when);
    }
    let message = "who asks too often can be denied, and nothing else be done to: `rate` of routes";
    Err(Refusal::new(at, message))
}

/// `stick-table type ip size 100k expire 30m store http_req_rate(10s)`.
#[derive(Debug, Default)]
struct StickTable {
    by_address: bool,
    expire: Option<Duration>,
    /// In what time requests are counted.
    period: Option<Duration>,
}

impl StickTable {
    fn read(line: &Line) -> Self {
        let mut table = Self::default();
        for (at, word) in line.words.iter().enumerate() {
            match word.text.as_str() {
                "type" => table.by_address = matches!(line.word(at + 1), "ip" | "ipv6"),
                "expire" => table.expire = units::time(line.word(at + 1), MILLISECONDS),
                "store" => {
                    let stored = line.word(at + 1).split(',');
                    let period = stored
                        .filter_map(|what| what.strip_prefix("http_req_rate("))
                        .find_map(|rest| units::time(rest.strip_suffix(')')?, MILLISECONDS));
                    table.period = period.or(table.period);
                }
                _ => {}
            }
        }
        table
    }
}

impl Translator<'_> {
    /// The table of a section by its name, or of this one.
    fn stick_table(&mut self, proxy: &Proxy<'_>, name: Option<&str>) -> Option<StickTable> {
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

    /// `stick on src`, as `stick` of the backend.
    pub fn stick_on(&mut self, proxy: &Proxy<'_>) -> Option<Value> {
        let lines: Vec<&Line> = proxy.own("stick on").collect();
        let line = *lines.first()?;
        let words: Vec<&str> = line.from(2).iter().map(|word| word.text.as_str()).collect();
        let table = match words[..] {
            ["src"] => self.stick_table(proxy, None),
            ["src", "table", name] => self.stick_table(proxy, Some(name)),
            _ => {
                self.verdicts.refuse(
                    line.spot,
                    line.at(2),
                    "a client is known by its address, `stick on src`, or by a `cookie`",
                );
                return None;
            }
        };
        if lines.len() > 1 || proxy.get("cookie").is_some() {
            self.verdicts.refuse(
                line.spot,
                line.spot,
                "a client stays with its server for one reason: one `stick on`, or a `cookie`",
            );
            return None;
        }
        let Some(table) = table.filter(|table| table.by_address) else {
            self.verdicts.refuse(
                line.spot,
                line.spot,
                "there is no `stick-table type ip` for it",
            );
            return None;
        };
        self.verdicts.translated(line.spot);
        let mut stick = Table::default().with("by", Value::text("source"));
        if let Some(time) = table.expire.and_then(units::shown) {
            stick.put("expires", Value::text(time));
        }
        Some(Value::Table(stick))
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
            .partition(|together| Excess::of(together).is_some());
        if rates.is_empty() {
            return vec![step];
        }
        let denies =
            matches!(&step.deed, Deed::Answer(table) if table.has("deny") || is_bare(table));
        let mut steps = Vec::new();
        for together in rates {
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

    fn rate(
        &mut self,
        proxy: &Proxy<'_>,
        step: &Step,
        mut together: Together,
        acls: &Acls,
        connection: Connection,
    ) -> Result<Step, Refusal> {
        let wrong = |message: &str| Refusal::new(step.spot, message);
        let excess = Excess::of(&together).cloned();
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
            .and_then(|table| table.period);
        let Some(period) = period.filter(|period| !period.is_zero()) else {
            return Err(wrong(
                "there is no table for it: stick-table type ip size 100k expire 1m store http_req_rate(10s)",
            ));
        };
        let rate = rate(excess.most, period);
        let limit = match rate.get("limit") {
            Some(Value::Text(limit)) => limit.clone(),
            _ => String::new(),
        };
        self.verdicts.note(
            step.spot,
            format!(
                "a client has {} requests at once and gets them back by {limit}; beyond that the answer is 429 with Retry-After",
                excess.most
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

/// So many requests in a time, in the units of the cluster file.
fn rate(most: u32, period: Duration) -> Table {
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
        .with("burst", Value::plain(most))
}
