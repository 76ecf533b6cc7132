//! Up, down or not known yet: the rules, without sockets and clocks.

use std::time::Duration;

use tandem_model::Timing;

/// Whether a server can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No check has ended yet.
    Starting,
    Up,
    Down,
    /// It was down and its last check passed, but not as many in a row as it takes to be up. Used when no other is.
    Returning,
}

/// A server's state, why it is in it, and the checks since.
///
/// - Starting: the first check decides, whatever `rise` and `fall` are.
/// - Up: down after `fall` bad checks in a row, or at once when a request could not be sent.
/// - Down: returning after a good check, up after `rise` good ones in a row. Until a check fails only requests say so, and
///   it is tried where no other server is left.
/// - Returning: down after a bad check.
#[derive(Debug)]
pub(crate) struct Vitals {
    state: State,
    reason: String,
    good: u32,
    bad: u32,
    /// Counts failed requests that marked it down, so that a check which began before one says nothing after it.
    generation: u64,
}

/// A change of state, to be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Change {
    pub(crate) state: State,
    pub(crate) reason: String,
    /// The operator is to be told: what was down is up, or the other way round.
    pub(crate) news: bool,
}

impl Vitals {
    pub(crate) fn new(state: State, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
            good: 0,
            bad: 0,
            generation: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// A check that began in `generation` ended.
    pub(crate) fn checked(
        &mut self,
        generation: u64,
        result: Result<(), String>,
        timing: &Timing,
    ) -> Option<Change> {
        if generation != self.generation {
            return None;
        }
        match result {
            Ok(()) => {
                self.good = self.good.saturating_add(1);
                self.bad = 0;
            }
            Err(_) => {
                self.bad = self.bad.saturating_add(1);
                self.good = 0;
            }
        }
        let (state, reason) = match (self.state, result) {
            (State::Starting, Ok(())) => (State::Up, "the first check passed".into()),
            (State::Starting, Err(why)) => (State::Down, format!("first {why}")),
            (State::Up, Err(why)) if self.bad >= timing.fall => (
                State::Down,
                format!("{why}, {} of {}", self.bad, timing.fall),
            ),
            (State::Down | State::Returning, Ok(())) if self.good >= timing.rise => {
                let (good, rise) = (self.good, timing.rise);
                (State::Up, format!("{good} of {rise} checks passed"))
            }
            (State::Down, Ok(())) => {
                let rise = timing.rise;
                (
                    State::Returning,
                    format!("a check passed, up after {rise} in a row"),
                )
            }
            (State::Returning, Err(why)) => (State::Down, why),
            // Only requests said so until now.
            (State::Down, Err(_)) if self.bad == 1 => (State::Down, self.reason.clone()),
            (State::Up | State::Down, Err(_)) | (State::Up | State::Returning, Ok(())) => {
                return None;
            }
        };
        Some(self.change(state, reason))
    }

    /// Whether it is down for requests that failed alone: no check has failed since.
    pub(crate) fn is_accused(&self) -> bool {
        self.state == State::Down && self.bad == 0
    }

    /// A request could not be sent to it.
    pub(crate) fn unreachable(&mut self, why: &str) -> Option<Change> {
        self.knocked_out(format!("a request could not be sent to it: {why}"))
    }

    /// Requests say that it does not work, whatever checks said.
    pub(crate) fn knocked_out(&mut self, reason: String) -> Option<Change> {
        self.generation += 1;
        self.good = 0;
        if self.state == State::Down {
            return None;
        }
        self.bad = 0;
        Some(self.change(State::Down, reason))
    }

    /// It is back from maintenance: what was known of it before means nothing.
    pub(crate) fn forget(&mut self, checked: bool) -> Option<Change> {
        self.generation += 1;
        (self.good, self.bad) = (0, 0);
        let (state, reason) = if checked {
            (State::Starting, "not checked since its maintenance")
        } else {
            (State::Up, "not checked")
        };
        (self.state != state).then(|| self.change(state, reason.into()))
    }

    /// It is tried again although nothing was checked.
    pub(crate) fn pardon(&mut self, reason: &str) -> Option<Change> {
        (self.state != State::Up).then(|| self.change(State::Up, reason.into()))
    }

    fn change(&mut self, state: State, reason: String) -> Change {
        let out = |state| matches!(state, State::Down | State::Returning);
        let news = self.state == State::Starting || out(self.state) != out(state);
        self.state = state;
        self.reason.clone_from(&reason);
        Change {
            state,
            reason,
            news,
        }
    }

    /// How long to wait for the next check: `fast` until as many checks agree as a change of state takes, so that a
    /// failing server is known soon, a returning one is back soon, and one that is gone for good is not pestered.
    pub(crate) fn pause(&self, timing: &Timing) -> Duration {
        let settled = match self.state {
            State::Starting | State::Returning => false,
            State::Up => self.bad == 0,
            State::Down => self.good == 0 && self.bad >= timing.fall,
        };
        if settled {
            timing.every
        } else {
            timing.fast.min(timing.every)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        every: Duration::from_secs(2),
        fast: Duration::from_millis(200),
        rise: 2,
        fall: 3,
        timeout: Duration::from_secs(1),
        errors: 0,
        port: None,
    };

    /// Whether it is another state than before.
    fn news(change: Option<&Change>, before: State) -> bool {
        change.is_some_and(|change| change.state != before)
    }

    fn check(vitals: &mut Vitals, good: bool) -> State {
        let result = if good {
            Ok(())
        } else {
            Err("check: connection refused".into())
        };
        let before = vitals.state();
        let change = vitals.checked(vitals.generation(), result, &TIMING);
        assert_eq!(news(change.as_ref(), before), vitals.state() != before);
        vitals.state()
    }

    #[test]
    fn the_first_check_decides() {
        let mut vitals = Vitals::new(State::Starting, "not checked yet");
        assert_eq!(vitals.pause(&TIMING), TIMING.fast);
        assert_eq!(check(&mut vitals, true), State::Up);
        assert_eq!(vitals.pause(&TIMING), TIMING.every);
        let mut vitals = Vitals::new(State::Starting, "not checked yet");
        assert_eq!(check(&mut vitals, false), State::Down);
        assert_eq!(vitals.reason(), "first check: connection refused");
        assert_eq!(vitals.pause(&TIMING), TIMING.fast);
    }

    #[test]
    fn fall_bad_checks_in_a_row_take_it_down_and_rise_good_ones_bring_it_back() {
        let mut vitals = Vitals::new(State::Up, "");
        let states: Vec<_> = [false, false, true, false, false, false]
            .map(|good| check(&mut vitals, good))
            .into();
        assert_eq!(states[..5], [State::Up; 5]);
        assert_eq!(states[5], State::Down);
        assert_eq!(vitals.reason(), "check: connection refused, 3 of 3");
        assert_eq!(vitals.pause(&TIMING), TIMING.every);
        let states = [true, false, true, true].map(|good| check(&mut vitals, good));
        assert_eq!(
            states,
            [State::Returning, State::Down, State::Returning, State::Up]
        );
        assert_eq!(vitals.reason(), "2 of 2 checks passed");
    }

    #[test]
    fn checks_are_fast_while_the_state_changes() {
        let mut vitals = Vitals::new(State::Up, "");
        check(&mut vitals, false);
        assert_eq!(vitals.pause(&TIMING), TIMING.fast);
        check(&mut vitals, true);
        assert_eq!(vitals.pause(&TIMING), TIMING.every);
        assert!(vitals.unreachable("connection refused").is_some());
        assert_eq!(vitals.pause(&TIMING), TIMING.fast);
        for _ in 0..3 {
            check(&mut vitals, false);
        }
        assert_eq!(vitals.pause(&TIMING), TIMING.every);
        check(&mut vitals, true);
        assert_eq!(vitals.pause(&TIMING), TIMING.fast);
    }

    #[test]
    fn a_request_that_cannot_be_sent_takes_it_down_at_once() {
        let mut vitals = Vitals::new(State::Up, "");
        assert!(vitals.unreachable("connection refused").is_some());
        assert_eq!(vitals.unreachable("connection refused"), None);
        assert_eq!(vitals.state(), State::Down);
        assert_eq!(check(&mut vitals, true), State::Returning);
        assert_eq!(check(&mut vitals, true), State::Up);
    }

    #[test]
    fn requests_alone_accuse_it_until_a_check_fails() {
        let mut vitals = Vitals::new(State::Up, "");
        check(&mut vitals, false);
        assert!(vitals.unreachable("connection refused").is_some());
        assert!(vitals.is_accused());
        let change = vitals.checked(vitals.generation(), Err("no".into()), &TIMING);
        let change = change.expect("whoever uses it is to know");
        assert_eq!((change.state, change.news), (State::Down, false));
        assert!(!vitals.is_accused());
        assert_eq!(vitals.unreachable("connection refused"), None);
        assert!(!vitals.is_accused(), "what a check found stands");
    }

    #[test]
    fn what_returns_is_news_when_it_is_up() {
        let mut vitals = Vitals::new(State::Up, "");
        let mut check = |result: Result<(), String>| {
            let change = vitals.checked(vitals.generation(), result, &TIMING);
            change.map(|change| (change.state, change.news))
        };
        let bad = || Err("no".to_owned());
        let changes = [bad(), bad(), bad(), Ok(()), bad(), Ok(()), Ok(())].map(&mut check);
        assert_eq!(
            changes[2..],
            [
                Some((State::Down, true)),
                Some((State::Returning, false)),
                Some((State::Down, false)),
                Some((State::Returning, false)),
                Some((State::Up, true)),
            ]
        );
    }

    #[test]
    fn a_check_that_began_before_a_failed_request_says_nothing_after_it() {
        let mut vitals = Vitals::new(State::Up, "");
        let before = vitals.generation();
        assert!(vitals.unreachable("connection refused").is_some());
        assert_eq!(vitals.checked(before, Ok(()), &TIMING), None);
        assert_eq!(vitals.checked(before, Ok(()), &TIMING), None);
        assert_eq!(vitals.state(), State::Down);
    }
}
