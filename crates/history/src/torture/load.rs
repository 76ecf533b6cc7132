//! What one client does: hot keys, numbers, keys that die for good, items that live by their touches, cold keys.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Random;
use super::client::Client;
use crate::{Call, Operation, Outcome, Value};

/// Between two operations of a client, at most.
const THINK: u64 = 8_000;
/// A key of those that die for good is worked on for so long, then deleted, then only looked at.
const LIFETIME: Duration = Duration::from_secs(2);
/// How many such keys there are at a time.
const MORTALS: u64 = 4;
/// Items that live by their touches are touched for so many milliseconds, then left alone for as many.
const PHASE: u64 = 5_000;

struct Worker {
    number: u32,
    random: Random,
    written: u64,
    tokens: HashMap<Arc<str>, u64>,
}

/// Works until `stop`. Times are counted from `begun`.
pub fn work(
    number: u32,
    agent: SocketAddr,
    seed: u64,
    begun: Instant,
    stop: &AtomicBool,
) -> Vec<Operation> {
    let mut worker = Worker {
        number,
        random: Random::new(seed, u64::from(number) + 1),
        written: 0,
        tokens: HashMap::new(),
    };
    let mut client = Client::new(agent);
    let mut history = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if client.open().is_err() {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let (key, call) = worker.choose(begun.elapsed());
        let invoked = begun.elapsed().as_micros() as u64;
        let outcome = client.call(&key, &call);
        let returned = begun.elapsed().as_micros() as u64;
        if let Outcome::Hit(_, Some(token)) = outcome {
            worker.tokens.insert(key.clone(), token);
        }
        history.push(Operation {
            client: number,
            key,
            invoked,
            returned,
            call,
            outcome,
        });
        std::thread::sleep(Duration::from_micros(worker.random.below(THINK)));
    }
    history
}

impl Worker {
    fn value(&mut self) -> Value {
        self.written += 1;
        format!("{}-{}", self.number, self.written)
            .into_bytes()
            .into()
    }

    /// A number far from every other that is stored.
    fn base(&mut self) -> Value {
        self.written += 1;
        let base = (u64::from(self.number) * 1_000_000 + self.written) * 1_000_000;
        base.to_string().into_bytes().into()
    }

    fn choose(&mut self, now: Duration) -> (Arc<str>, Call) {
        match self.random.below(10) {
            0..=2 => {
                let key = format!("hot{}", self.random.below(3)).into();
                self.any(key, None)
            }
            3 => {
                let key = format!("number{}", self.random.below(2)).into();
                self.number(key)
            }
            4..=5 => self.mortal(now),
            6..=7 => {
                let place = self.random.below(8);
                let dies = (now.as_millis() as u64 / PHASE + place).is_multiple_of(2);
                self.touched(format!("touched{place}").into(), dies)
            }
            _ => {
                let key = format!("cold{}", self.random.below(200)).into();
                let life = (self.random.below(4) == 0).then_some(1_000_000);
                self.any(key, life)
            }
        }
    }

    fn any(&mut self, key: Arc<str>, life: Option<u64>) -> (Arc<str>, Call) {
        let call = match self.random.below(20) {
            0..=5 => Call::Get,
            6..=8 => Call::Gets,
            9..=11 => Call::Set {
                value: self.value(),
                life,
            },
            12 => Call::Add {
                value: self.value(),
                life,
            },
            13 => Call::Replace {
                value: self.value(),
                life,
            },
            14..=15 => self.cas(&key, life),
            16 => Call::Append {
                tail: [b"+", &*self.value()].concat().into(),
            },
            17..=18 => Call::Delete,
            _ => Call::Touch { life },
        };
        (key, call)
    }

    fn cas(&mut self, key: &Arc<str>, life: Option<u64>) -> Call {
        match self.tokens.remove(key) {
            Some(token) => Call::Cas {
                value: self.value(),
                life,
                token,
            },
            None => Call::Gets,
        }
    }

    fn number(&mut self, key: Arc<str>) -> (Arc<str>, Call) {
        let call = match self.random.below(40) {
            0 => Call::Set {
                value: self.base(),
                life: None,
            },
            1..=2 => Call::Add {
                value: self.base(),
                life: None,
            },
            3..=8 => Call::Get,
            _ => Call::Incr {
                delta: 1 + self.random.below(3),
            },
        };
        (key, call)
    }

    /// Sessions: added, saved by `cas` and `replace`, logged out, and never to be seen again.
    fn mortal(&mut self, now: Duration) -> (Arc<str>, Call) {
        let place = self.random.below(MORTALS);
        let age = now.as_millis() as u64 + place * LIFETIME.as_millis() as u64 / MORTALS;
        let generation = age / LIFETIME.as_millis() as u64;
        let back = match self.random.below(4) {
            0 => self.random.below(4),
            _ => 0,
        };
        let key: Arc<str> = format!("mortal{place}.{}", generation.saturating_sub(back)).into();
        let part = age % LIFETIME.as_millis() as u64 * 10 / LIFETIME.as_millis() as u64;
        let call = match (part, self.random.below(12)) {
            // Its time is over: whoever comes now logs it out or saves too late.
            (8.., 0..=1) => Call::Delete,
            (_, 0) if back > 0 => Call::Delete,
            (0..=4, 1..=2) if back == 0 => Call::Add {
                value: self.value(),
                life: None,
            },
            (_, 3..=4) => Call::Replace {
                value: self.value(),
                life: None,
            },
            (_, 5..=8) => self.cas(&key, None),
            _ => Call::Get,
        };
        (key, call)
    }

    /// Items that live as long as they are touched, in turn with times in which they are left to die.
    fn touched(&mut self, key: Arc<str>, dies: bool) -> (Arc<str>, Call) {
        let life = Some((1 + self.random.below(3)) * 1_000_000);
        let call = match self.random.below(20) {
            _ if dies => Call::Get,
            0..=1 => Call::Add {
                value: self.value(),
                life,
            },
            2 => Call::Set {
                value: self.value(),
                life,
            },
            3..=10 => Call::Touch { life },
            _ => Call::Get,
        };
        (key, call)
    }
}
