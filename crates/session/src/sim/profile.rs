//! What a seed's run is like: what is asked, how the network is, what breaks.

use std::time::Duration;

use super::network::Weather;
use super::world::Random;
use crate::node::Retention;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A session node's process is killed, and started after a while.
    Crash,
    /// All of them are, at once.
    CrashAll,
    /// One's machine loses its power, and comes back. Only with `durable` is that no lost state.
    PowerCut,
    /// All of them do, at once.
    PowerCutAll,
    /// One is killed inside the write of a record.
    Torn,
    /// One is killed and its state removed.
    Wiped,
    /// One's machine is started anew.
    Reboot,
    /// One is killed, and bits of its log are flipped.
    Corrupted,
    /// One is stopped, as by SIGSTOP, and goes on after a while.
    Pause,
    /// One is cut off from everybody, or everybody from it, or both.
    Isolated,
    /// Two hosts, agents included, cannot reach one another, or one cannot reach the other.
    LinkCut,
    /// A leader hands over and stops in good order, and starts again.
    Restart,
    /// An agent's process is killed with its operations, and started anew.
    AgentCrash,
    /// An agent is stopped, as by SIGSTOP, and goes on after a while.
    AgentPause,
    /// The file names other nodes.
    Members,
    /// A wall clock is set.
    WallClock,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// Weights of the kinds of keys.
    pub hot: u64,
    pub number: u64,
    pub mortal: u64,
    pub touched: u64,
    pub cold: u64,
    pub guarded: u64,
    pub large: u64,
    /// So many operations of a thousand are a `flush_all`.
    pub flush: u64,
    /// How many hot keys there are.
    pub hot_keys: u64,
}

#[derive(Clone, Debug)]
pub struct Profile {
    pub name: &'static str,
    pub weather: Weather,
    pub faults: Vec<(u64, Fault)>,
    /// Faults at a time.
    pub at_once: usize,
    /// A fault lasts up to so many milliseconds,
    pub longest: u64,
    /// and the next comes up to so many after.
    pub between: u64,
    pub mix: Mix,
    /// A client waits up to so many milliseconds between two operations.
    pub think: u64,
    pub clients: usize,
    pub length: Duration,
    pub retention: Retention,
    pub segment: u64,
    /// Bytes that items may take.
    pub memory: u64,
    /// Whether an acknowledgement waits for the disks.
    pub durable: bool,
    /// Whether no operation may fail: one fault at a time, and the next when all is whole again.
    pub available: bool,
}

const USUAL: Mix = Mix {
    hot: 3,
    number: 2,
    mortal: 2,
    touched: 2,
    cold: 2,
    guarded: 2,
    large: 0,
    flush: 4,
    hot_keys: 3,
};

const ROUGH: Weather = Weather {
    loss: 10,
    twice: 20,
    delay: 2_000,
    slow: 50,
    slow_delay: 100_000,
    late: 3,
    late_delay: 4_000_000,
};

/// How many profiles there are.
pub const PROFILES: u64 = 11;

impl Profile {
    /// The profile of a seed.
    pub fn of(seed: u64, random: &mut Random) -> Self {
        let mut below = |limit: u64| random.next() % limit;
        let small = Retention {
            log: 1 << (10 + below(6)),
            kept: 1 << (9 + below(6)),
            snapshot_every: Duration::from_millis(200 + below(1500)),
        };
        let mixed = Self {
            name: "mixed",
            weather: ROUGH,
            faults: vec![
                (3, Fault::Crash),
                (1, Fault::CrashAll),
                (1, Fault::Torn),
                (1, Fault::Wiped),
                (1, Fault::Reboot),
                (1, Fault::Corrupted),
                (3, Fault::Pause),
                (3, Fault::Isolated),
                (3, Fault::LinkCut),
                (1, Fault::Restart),
                (1, Fault::AgentCrash),
                (1, Fault::AgentPause),
                (1, Fault::Members),
                (1, Fault::WallClock),
            ],
            at_once: 2,
            longest: 1_500,
            between: 700,
            mix: USUAL,
            think: 60,
            clients: 4,
            length: Duration::from_secs(6),
            retention: small,
            segment: 1 << (9 + below(6)),
            memory: 64 << 20,
            durable: false,
            available: false,
        };
        match seed % PROFILES {
            1 => Self {
                name: "keys that die for good, long pauses",
                faults: vec![
                    (4, Fault::Pause),
                    (3, Fault::AgentPause),
                    (1, Fault::Crash),
                    (2, Fault::Isolated),
                    (1, Fault::Wiped),
                ],
                longest: 3_000,
                mix: Mix {
                    mortal: 2,
                    guarded: 1,
                    ..Mix::default()
                },
                ..mixed
            },
            2 => Self {
                name: "touches",
                faults: vec![
                    (3, Fault::Crash),
                    (3, Fault::Pause),
                    (2, Fault::Isolated),
                    (2, Fault::WallClock),
                    (1, Fault::Restart),
                ],
                longest: 1_000,
                mix: Mix {
                    touched: 4,
                    cold: 1,
                    flush: 4,
                    ..Mix::default()
                },
                ..mixed
            },
            3 => Self {
                name: "very late messages, stopped agents",
                weather: Weather {
                    twice: 100,
                    late: 60,
                    late_delay: 6_000_000,
                    ..ROUGH
                },
                faults: vec![
                    (3, Fault::AgentPause),
                    (3, Fault::AgentCrash),
                    (2, Fault::LinkCut),
                    (2, Fault::Crash),
                    (1, Fault::Pause),
                ],
                ..mixed
            },
            4 => Self {
                name: "one hot key",
                mix: Mix {
                    hot: 4,
                    hot_keys: 1,
                    number: 1,
                    ..Mix::default()
                },
                think: 40,
                ..mixed
            },
            5 => Self {
                name: "snapshots under a storm of writes",
                weather: Weather {
                    loss: 2,
                    late: 0,
                    ..ROUGH
                },
                faults: vec![
                    (2, Fault::Wiped),
                    (2, Fault::Pause),
                    (2, Fault::Crash),
                    (1, Fault::Isolated),
                    (1, Fault::Members),
                    (1, Fault::Corrupted),
                ],
                at_once: 1,
                longest: 2_000,
                mix: Mix {
                    large: 3,
                    hot: 1,
                    number: 1,
                    hot_keys: 2,
                    ..Mix::default()
                },
                think: 12,
                length: Duration::from_secs(5),
                retention: Retention {
                    log: 4 << 10,
                    kept: 2 << 10,
                    snapshot_every: Duration::from_millis(150),
                },
                segment: 1 << 10,
                ..mixed
            },
            6 => Self {
                name: "one fault at a time, nothing fails",
                weather: Weather::FAIR,
                faults: vec![
                    (4, Fault::Crash),
                    (1, Fault::Torn),
                    (1, Fault::Wiped),
                    (1, Fault::Reboot),
                    (1, Fault::Corrupted),
                    (3, Fault::Pause),
                    (3, Fault::Isolated),
                    (3, Fault::LinkCut),
                    (2, Fault::Restart),
                ],
                at_once: 1,
                longest: 2_000,
                between: 300,
                available: true,
                length: Duration::from_secs(10),
                ..mixed
            },
            7 => Self {
                name: "members come and go",
                faults: vec![
                    (5, Fault::Members),
                    (2, Fault::Crash),
                    (2, Fault::Pause),
                    (1, Fault::Isolated),
                    (1, Fault::Restart),
                    (1, Fault::Wiped),
                ],
                ..mixed
            },
            8 => Self {
                name: "states are lost while others lag behind",
                weather: Weather::FAIR,
                faults: vec![
                    (3, Fault::Wiped),
                    (2, Fault::Isolated),
                    (2, Fault::LinkCut),
                    (2, Fault::Crash),
                ],
                longest: 600,
                between: 100,
                at_once: 3,
                think: 30,
                mix: Mix {
                    hot: 1,
                    hot_keys: 3,
                    ..Mix::default()
                },
                ..mixed
            },
            9 => Self {
                name: "clocks lag behind, leaders change",
                weather: Weather {
                    loss: 0,
                    twice: 0,
                    delay: 20_000,
                    slow: 300,
                    slow_delay: 250_000,
                    late: 0,
                    late_delay: 0,
                },
                faults: vec![(2, Fault::Isolated), (1, Fault::Pause), (1, Fault::Crash)],
                longest: 700,
                between: 200,
                at_once: 1,
                think: 20,
                mix: Mix {
                    touched: 1,
                    ..Mix::default()
                },
                ..mixed
            },
            10 => Self {
                name: "durable: machines lose their power",
                durable: true,
                faults: vec![
                    (3, Fault::PowerCut),
                    (3, Fault::PowerCutAll),
                    (1, Fault::Crash),
                    (1, Fault::Torn),
                    (1, Fault::Wiped),
                    (1, Fault::Isolated),
                ],
                between: 500,
                think: 30,
                ..mixed
            },
            _ => mixed,
        }
    }
}
