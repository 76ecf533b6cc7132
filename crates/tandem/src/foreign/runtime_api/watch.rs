//! Rates and maxima: what telemetry does not keep is looked at once a second. And from where `clear counters` has counters
//! begin.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Inner;
use super::counts::{self, Counted, Of, Seen};

const SECOND: Duration = Duration::from_secs(1);

/// All that is watched.
#[derive(Default)]
pub struct Watch {
    things: HashMap<(String, String), Watched>,
    /// The node as a whole.
    pub node: Watched,
    last: Option<Instant>,
    /// Processor time of the workers so far, in microseconds, and how much of the last second they rested.
    busy_micros: u64,
    pub idle_percent: Option<u64>,
}

/// One thing that is watched.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    before: Option<Counted>,
    /// What counts as nothing.
    base: Counted,
    pub session_rate: u64,
    pub session_rate_most: u64,
    pub request_rate: u64,
    pub request_rate_most: u64,
    pub current_most: u64,
    pub queued_most: u64,
}

impl Watched {
    fn look(&mut self, counted: &Counted, current: u64, queued: u64, took: Duration) {
        if let Some(before) = self.before.replace(counted.clone()) {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
            let news = counted.since(&before);
            self.session_rate = news.sessions.saturating_mul(1000) / millis;
            self.request_rate = news.requests.saturating_mul(1000) / millis;
            self.session_rate_most = self.session_rate_most.max(self.session_rate);
            self.request_rate_most = self.request_rate_most.max(self.request_rate);
        }
        self.meet(current, queued);
    }

    /// Whoever looks sees no more than the maximum.
    fn meet(&mut self, current: u64, queued: u64) {
        self.current_most = self.current_most.max(current);
        self.queued_most = self.queued_most.max(queued);
    }

    fn forget(&mut self) {
        self.session_rate_most = self.session_rate;
        self.request_rate_most = self.request_rate;
        (self.current_most, self.queued_most) = (0, 0);
    }

    /// What is counted of it.
    pub fn counted(&self, counted: &Counted) -> Counted {
        counted.since(&self.base)
    }
}

fn key(seen: &Seen<'_>) -> (String, String) {
    (seen.proxy.name.clone(), seen.of.name().to_owned())
}

fn queued(seen: &Seen<'_>) -> u64 {
    match seen.of {
        Of::Back(waiting) => waiting,
        _ => 0,
    }
}

impl Watch {
    /// What is known of a thing that is shown now.
    pub fn of(&mut self, seen: &Seen<'_>) -> &Watched {
        let watched = self.things.entry(key(seen)).or_default();
        watched.meet(seen.current, queued(seen));
        watched
    }

    fn look(&mut self, all: &[Seen<'_>], now: Instant) {
        let took = self.last.replace(now).map_or(SECOND, |last| now - last);
        for seen in all {
            let watched = self.things.entry(key(seen)).or_default();
            watched.look(&seen.counted, seen.current, queued(seen), took);
        }
        if self.things.len() > all.len() {
            // What a reload took away.
            let known: std::collections::HashSet<_> = all.iter().map(key).collect();
            self.things.retain(|key, _| known.contains(key));
        }
    }

    /// Maxima begin anew; with `all` everything that is counted does.
    pub fn clear(&mut self, seen: &[Seen<'_>], all: bool) {
        self.node.forget();
        self.things.values_mut().for_each(Watched::forget);
        if all {
            for seen in seen {
                let watched = self.things.entry(key(seen)).or_default();
                watched.base = seen.counted.clone();
            }
        }
    }
}

/// Looks at everything once a second, as long as there is a socket to ask by.
pub async fn every_second(runtime: &Rc<Inner>) {
    let mut ticks = interval(SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(node) = runtime.node() else { continue };
        if runtime.doors.borrow().is_empty() {
            continue;
        }
        let now = Instant::now();
        let commands = runtime.commands();
        let status = node.telemetry.registry.status();
        let all = counts::all_by(&commands, &node.telemetry, &status);
        let totals = node.telemetry.counters.totals();
        let workers = &status.process.workers;
        let mut watch = node.watch.borrow_mut();
        let took = watch.last.map_or(SECOND, |last| now - last);
        let counted = Counted {
            sessions: totals.accepted,
            requests: totals.requests,
            bytes: totals.bytes_out,
            ..Counted::default()
        };
        watch.node.look(&counted, totals.open, 0, took);
        let busy = workers.iter().map(|worker| worker.busy_micros).sum::<u64>();
        let before = std::mem::replace(&mut watch.busy_micros, busy);
        if watch.last.is_some() && !workers.is_empty() {
            let had = took.as_micros() as u64 * workers.len() as u64;
            let used = busy.saturating_sub(before).min(had);
            watch.idle_percent = (100 * (had - used)).checked_div(had);
        }
        watch.look(&all, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_came_and_maxima_stay_until_they_are_cleared() {
        let mut watched = Watched::default();
        let of = |sessions| Counted {
            sessions,
            ..Counted::default()
        };
        watched.look(&of(5), 3, 0, SECOND);
        assert_eq!(watched.session_rate, 0, "what came before is no rate");
        watched.look(&of(25), 1, 2, SECOND * 2);
        assert_eq!(watched.session_rate, 10);
        watched.look(&of(25), 1, 0, SECOND);
        let most = (watched.session_rate_most, watched.current_most);
        assert_eq!(
            (watched.session_rate, most, watched.queued_most),
            (0, (10, 3), 2)
        );
        watched.forget();
        assert_eq!((watched.session_rate_most, watched.current_most), (0, 0));
    }

    #[test]
    fn counters_that_are_cleared_begin_anew() {
        let watched = Watched {
            base: Counted {
                requests: 7,
                ..Counted::default()
            },
            ..Watched::default()
        };
        let now = Counted {
            requests: 9,
            ..Counted::default()
        };
        assert_eq!(watched.counted(&now).requests, 2);
        assert_eq!(watched.counted(&Counted::default()).requests, 0);
    }
}
