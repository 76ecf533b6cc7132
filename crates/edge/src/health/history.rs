//! What became of a server over time: for those who watch it. Nothing is decided by it.

use std::time::Duration;

use tandem_model::Check;
use tandem_telemetry::status::{CheckKind, CheckOutcome, CheckStatus};
use tokio::time::Instant;

/// The history of a server.
#[derive(Debug)]
pub(crate) struct History {
    /// Since when it is as it is.
    pub(crate) since: Instant,
    is_down: bool,
    /// How often it went down.
    pub(crate) downs: u64,
    /// How long it was, without the time that it is down now.
    down: Duration,
    /// Checks that failed while it was up.
    pub(crate) failed_checks: u64,
    pub(crate) last: Option<CheckStatus>,
}

impl History {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            is_down: false,
            downs: 0,
            down: Duration::ZERO,
            failed_checks: 0,
            last: None,
        }
    }

    /// It went down, or came up; or it was told to do something else.
    pub(crate) fn changed(&mut self, now: Instant, is_down: bool) {
        if self.is_down {
            self.down += now - self.since;
        }
        self.downs += u64::from(is_down && !self.is_down);
        self.is_down = is_down;
        self.since = now;
    }

    /// It was told to do something else.
    pub(crate) fn ordered(&mut self, now: Instant) {
        self.changed(now, self.is_down);
    }

    /// A check ended.
    pub(crate) fn checked(&mut self, status: CheckStatus) {
        if status.outcome != CheckOutcome::Passed && !self.is_down {
            self.failed_checks += 1;
        }
        self.last = Some(status);
    }

    /// How long it was down.
    pub(crate) fn down(&self, now: Instant) -> Duration {
        let running = if self.is_down {
            now - self.since
        } else {
            Duration::ZERO
        };
        self.down + running
    }
}

/// What a check came to, by what it said. `None` is one that took too long.
pub(super) fn outcome(
    check: &Check,
    result: Option<&Result<(), String>>,
    took: Duration,
) -> CheckStatus {
    let kind = match check {
        Check::Off | Check::Tcp(_) => CheckKind::Tcp,
        Check::Tls(_) => CheckKind::Tls,
        Check::Http(..) => CheckKind::Http,
        Check::Talk(..) => CheckKind::Talk,
    };
    let mut status = None;
    let (outcome, what) = match result {
        None => (CheckOutcome::Late, "it took too long"),
        Some(Ok(())) => (CheckOutcome::Passed, ""),
        Some(Err(why)) => {
            let code = why.strip_prefix("answered ");
            status = code.and_then(|code| code.parse().ok());
            let is_unreachable =
                why.starts_with("connection refused") || why.starts_with("cannot connect");
            let outcome = if is_unreachable {
                CheckOutcome::Unreachable
            } else {
                CheckOutcome::Wrong
            };
            (outcome, why.as_str())
        }
    };
    CheckStatus {
        kind,
        outcome,
        status,
        what: what.to_owned(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_in_which_it_was_down_is_summed_and_goes_on() {
        let second = Duration::from_secs(1);
        let mut history = History::new(Instant::now());
        history.changed(Instant::now(), true);
        tokio::time::advance(second * 2).await;
        history.ordered(Instant::now());
        tokio::time::advance(second).await;
        assert_eq!(history.down(Instant::now()), second * 3);
        history.changed(Instant::now(), false);
        tokio::time::advance(second).await;
        assert_eq!(history.down(Instant::now()), second * 3);
        assert_eq!(history.downs, 1);
    }

    #[test]
    fn what_a_check_says_is_told_apart() {
        let tcp = Check::Off;
        let of = |why: &str| outcome(&tcp, Some(&Err(why.to_owned())), Duration::ZERO);
        assert_eq!(of("connection refused").outcome, CheckOutcome::Unreachable);
        let answered = of("answered 503");
        assert_eq!(
            (answered.outcome, answered.status),
            (CheckOutcome::Wrong, Some(503))
        );
        assert_eq!(
            outcome(&tcp, None, Duration::ZERO).outcome,
            CheckOutcome::Late
        );
    }

    #[test]
    fn only_checks_that_fail_while_it_is_up_are_counted() {
        let mut history = History::new(Instant::now());
        let fails = || outcome(&Check::Off, None, Duration::ZERO);
        history.checked(fails());
        history.changed(Instant::now(), true);
        history.checked(fails());
        assert_eq!(history.failed_checks, 1);
    }
}
