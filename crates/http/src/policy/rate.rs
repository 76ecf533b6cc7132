//! `rate`: how often each client may ask.
//!
//! The generic cell rate algorithm: of each client one time is kept, at which it will have paid for all it had. A request
//! moves it on by the time that one request is worth; it may be ahead of now by as many of these as the burst has.
//! Times and the marks of their clients are words in a table of fixed size, changed by compare-and-exchange: no lock,
//! and no memory that clients could make grow. Where a row is full, the client goes that is the least ahead.

use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tandem_model as model;
use tandem_net::Moment;

use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};

/// Rows of the table: 1 MiB for each limit.
const ROWS: usize = 1 << 14;
/// Clients of a row: those of one cache line.
const WAYS: usize = 8;
/// Bits of a word that are its time; the others mark the client.
const TIME: u32 = 44;
const MASK: u64 = (1 << TIME) - 1;
/// How far the clock of who asks may be behind that of whom it asks after: requests know when their heads were complete, and may
/// have waited since for a password or another server.
const BEHIND: Duration = Duration::from_mins(2);

#[repr(align(64))]
struct Row([AtomicU64; WAYS]);

/// One limit, and where each client stands.
pub(crate) struct Rate {
    rows: Box<[Row]>,
    hasher: foldhash::fast::RandomState,
    begun: Moment,
    /// What a request is worth, in ticks.
    each: u64,
    /// How far ahead of now a client may be, in ticks.
    most: u64,
    /// [`BEHIND`], in ticks.
    behind: u64,
    /// Ticks of a microsecond, as a power of two: finer where many requests fit into one.
    fine: u32,
    counts: model::Counts,
    service: Arc<str>,
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").finish_non_exhaustive()
    }
}

impl Rate {
    /// `service` is who answers, for the log.
    pub(crate) fn new(said: &model::Rate, service: &Arc<str>) -> Self {
        let micros = said.per.as_micros() as u64;
        let fine = if micros / u64::from(said.requests) >= 1_000 {
            0
        } else {
            6
        };
        let each = ((micros << fine) / u64::from(said.requests)).max(1);
        Self {
            rows: (0..ROWS)
                .map(|_| Row([const { AtomicU64::new(0) }; WAYS]))
                .collect(),
            hasher: foldhash::fast::RandomState::default(),
            begun: Moment::now(),
            each,
            most: each * u64::from(said.burst.max(1)),
            behind: (BEHIND.as_micros() as u64) << fine,
            fine,
            counts: said.counts,
            service: service.clone(),
        }
    }

    /// Takes a request of a client, or says how long it has to wait.
    pub(crate) fn take(&self, client: IpAddr, now: Moment) -> Result<(), Duration> {
        let hash = self.hash(client);
        let row = &self.rows[hash as usize % ROWS].0;
        // Never zero: that is an empty place.
        let mark = (hash >> TIME | 1) << TIME;
        let now = ((now.since(self.begun).as_micros() as u64) << self.fine) & MASK;
        let ahead = |word| self.ahead(word, now);
        // Another worker may change the row at the same time; then it is looked at again. Each time somebody gets on.
        for _ in 0..WAYS * WAYS {
            let (mut place, mut least) = (0, u64::MAX);
            let mut own = None;
            for (at, word) in row.iter().enumerate() {
                let word = word.load(Relaxed);
                if word & !MASK == mark {
                    own = Some((at, word));
                    break;
                }
                let ahead = if word == 0 { 0 } else { ahead(word) };
                if ahead < least {
                    (place, least) = (at, ahead);
                }
            }
            let (place, word, before) = match own {
                Some((at, word)) => (at, word, ahead(word)),
                None => (place, row[place].load(Relaxed), 0),
            };
            let after = before + self.each;
            if after > self.most {
                let ticks = after - self.most;
                return Err(Duration::from_micros((ticks >> self.fine) + 1));
            }
            let next = mark | (now.wrapping_add(after) & MASK);
            if row[place]
                .compare_exchange(word, next, Relaxed, Relaxed)
                .is_ok()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How far ahead of now a word is; what is not within the bounds is of the past.
    fn ahead(&self, word: u64, now: u64) -> u64 {
        let ahead = (word & MASK).wrapping_sub(now) & MASK;
        if ahead <= self.most + self.behind {
            ahead
        } else {
            0
        }
    }

    /// How long a client has to wait that has used up what it had; `None`: it has some left.
    fn waits(&self, client: IpAddr, now: Moment) -> Option<Duration> {
        let hash = self.hash(client);
        let row = &self.rows[hash as usize % ROWS].0;
        let mark = (hash >> TIME | 1) << TIME;
        let now = ((now.since(self.begun).as_micros() as u64) << self.fine) & MASK;
        let words = row.iter().map(|word| word.load(Relaxed));
        let own = words.into_iter().find(|word| word & !MASK == mark)?;
        let beyond = (self.ahead(own, now) + self.each).checked_sub(self.most + 1)? + 1;
        Some(Duration::from_micros((beyond >> self.fine) + 1))
    }

    /// A request was answered; one of which errors count is taken for one.
    pub(crate) fn answered(&self, client: IpAddr, status: u16, now: Moment) {
        if (400..500).contains(&status) {
            // Beyond the limit it is at the limit.
            let _ = self.take(client, now);
        }
    }

    /// Of an IPv6 address the first half: the rest is its owner's to choose.
    fn hash(&self, client: IpAddr) -> u64 {
        match client.to_canonical() {
            IpAddr::V4(ip) => self.hasher.hash_one((4, u64::from(u32::from(ip)))),
            IpAddr::V6(ip) => self.hasher.hash_one((6, (u128::from(ip) >> 64) as u64)),
        }
    }

    fn refusal(&self, wait: Duration) -> Reply {
        let mut reply = Reply::text(429, &self.service, "Too many requests\n");
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        reply.fields =
            format!("Content-Type: text/plain; charset=utf-8\r\nRetry-After: {seconds}\r\n").into();
        reply
    }
}

/// Asks `inner` as often as each client may.
pub(super) struct Limited {
    pub rate: Arc<Rate>,
    pub inner: Arc<dyn Handler>,
}

impl Handler for Limited {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        if request.only_asks() || !cx.counts_for(Arc::as_ptr(&self.rate).addr()) {
            return self.inner.step(request, cx);
        }
        if self.rate.counts == model::Counts::Errors {
            if let Some(wait) = self.rate.waits(request.client, cx.now) {
                return Step::Plan(Plan::Bytes(self.rate.refusal(wait)));
            }
            cx.count_errors(self.rate.clone(), request.client);
            return self.inner.step(request, cx);
        }
        match self.rate.take(request.client, cx.now) {
            Ok(()) => self.inner.step(request, cx),
            Err(wait) => Step::Plan(Plan::Bytes(self.rate.refusal(wait))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn rate(text: &str, burst: u32) -> Rate {
        let said = model::Rate {
            burst,
            ..text.parse().unwrap()
        };
        Rate::new(&said, &"web".into())
    }

    fn ip(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    #[test]
    fn a_burst_may_come_at_once_and_then_so_many_in_a_time() {
        for (text, burst, each) in [
            ("10/s", 3, Duration::from_millis(100)),
            ("1/h", 2, Duration::from_hours(1)),
            ("100000/s", 50, Duration::from_micros(10)),
        ] {
            let rate = rate(text, burst);
            let at = |n: u32| rate.begun + each * 1_000 + each * n;
            for _ in 0..burst {
                assert_eq!(rate.take(ip(1), at(0)), Ok(()), "{text}");
            }
            let wait = rate.take(ip(1), at(0)).unwrap_err();
            assert!(
                wait <= each + Duration::from_micros(1) && wait > each / 2,
                "{text} {wait:?}"
            );
            assert_eq!(rate.take(ip(2), at(0)), Ok(()), "another client");
            // One for each time that passes, and no more.
            for n in 1..20 {
                assert_eq!(rate.take(ip(1), at(n)), Ok(()), "{text}");
                assert!(rate.take(ip(1), at(n)).is_err(), "{text}");
            }
            // After a long time all of the burst, and no more.
            for i in 0..=burst {
                assert_eq!(rate.take(ip(1), at(1_000)).is_ok(), i < burst, "{text}");
            }
        }
    }

    #[test]
    fn only_errors_count_where_they_do_and_nobody_else_is_refused() {
        let rate = rate("1/m", 3);
        let now = rate.begun;
        for status in [200, 404, 500, 403, 304, 0] {
            assert_eq!(rate.waits(ip(1), now), None);
            rate.answered(ip(1), status, now);
        }
        assert_eq!(rate.waits(ip(1), now), None, "two of three");
        rate.answered(ip(1), 404, now);
        let wait = rate.waits(ip(1), now).expect("three of three");
        assert!(wait <= Duration::from_secs(61), "{wait:?}");
        assert_eq!(rate.waits(ip(2), now), None, "another client");
        let later = now + Duration::from_secs(61);
        assert_eq!(rate.waits(ip(1), later), None, "one is back");
        rate.answered(ip(1), 404, later);
        assert!(rate.waits(ip(1), later).is_some());
    }

    #[test]
    fn a_request_that_began_before_the_others_does_not_forgive_them() {
        let rate = rate("10/m", 3);
        let early = rate.begun;
        let now = early + Duration::from_secs(30);
        for _ in 0..3 {
            rate.answered(ip(1), 404, now);
        }
        rate.answered(ip(1), 404, early);
        assert!(rate.waits(ip(1), now).is_some());
        assert!(rate.waits(ip(1), early).is_some());
        assert!(rate.take(ip(1), early).is_err());
        assert!(rate.take(ip(1), now).is_err());
    }

    #[test]
    fn an_error_counts_when_it_is_answered() {
        let rate = Arc::new(rate("1/h", 1));
        let cx = Cx::new(0, rate.begun);
        cx.count_errors(rate.clone(), ip(1));
        std::thread::sleep(Duration::from_millis(2));
        cx.let_go(404);
        let all = Duration::from_hours(1);
        let later = rate.begun + all + Duration::from_millis(1);
        assert!(rate.waits(ip(1), later).is_some());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let rate = rate("1/m", 1);
        let now = rate.begun;
        let at = |text: &str| rate.take(text.parse().unwrap(), now).is_ok();
        assert!(at("2001:db8::1"));
        assert!(!at("2001:db8::2"));
        assert!(at("2001:db8:0:1::1"));
        assert!(at("192.0.2.1"));
        assert!(!at("::ffff:192.0.2.1"));
    }

    #[test]
    fn many_clients_take_no_more_memory_and_the_busiest_are_not_forgotten() {
        let rate = rate("10/m", 10);
        let now = rate.begun;
        for _ in 0..10 {
            assert!(rate.take(ip(0), now).is_ok());
        }
        // Twice as many as there are places, one request each.
        for n in 1..(2 * ROWS * WAYS) as u32 {
            assert!(rate.take(ip(n), now).is_ok());
        }
        assert!(rate.take(ip(0), now).is_err());
        assert_eq!(size_of_val(&*rate.rows), 1 << 20);
    }

    #[test]
    fn workers_count_together() {
        let rate = rate("100/h", 100);
        let now = rate.begun;
        let taken = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..100).filter(|_| rate.take(ip(1), now).is_ok()).count()))
                .collect();
            all.into_iter()
                .map(|one| one.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(taken, 100);
    }
}
