//! The session tier under load and faults, for as long as one likes: operations, faults, broken promises.

use std::time::Duration;

use tandem_history::torture::{Mix, Plan, Target, run};

use crate::stage::Dir;

/// What it is asked for by.
pub const USAGE: &str = "torture [PATH-OF-TANDEM] [--against memcached] [--sessions] [--minutes N] [--faults N] \
                         [--clients N] [--seed N]";

struct Wanted {
    tandem: String,
    memcached: bool,
    mix: Mix,
    minutes: f64,
    faults: usize,
    clients: u32,
    seed: u64,
}

/// Does what the words say. Ends the process with 1 when Tandem broke a promise; memcached makes none.
pub fn main(built: &str, words: &[&str]) {
    let Some(wanted) = wanted(built, words) else {
        eprintln!("usage: bench {USAGE}");
        std::process::exit(2);
    };
    let dir = Dir::new("torture");
    let mut plan = Plan {
        target: if wanted.memcached {
            Target::Memcached
        } else {
            Target::Nodes(wanted.tandem.clone().into())
        },
        mix: wanted.mix,
        dir: dir.path().into(),
        seed: wanted.seed,
        length: Duration::from_secs_f64(wanted.minutes * 60.0),
        faults: wanted.faults,
        clients: wanted.clients,
        until_broken: !wanted.memcached,
    };
    let ended = match run(&plan) {
        Err(why) if why.is_missing_right() && !wanted.memcached => {
            eprintln!("{why}\ntherefore a rehearsal, whose links are not cut");
            plan.target = Target::Rehearsal(wanted.tandem.into());
            run(&plan)
        }
        ended => ended,
    };
    let is_well = ended
        .as_ref()
        .is_ok_and(|report| report.holds() || wanted.memcached);
    match ended {
        Ok(report) => print!("{report}"),
        Err(why) => eprintln!("seed {}: {why}", plan.seed),
    }
    if !is_well {
        // What the nodes logged is wanted now.
        eprintln!("state and logs: {}", dir.keep().display());
        std::process::exit(1);
    }
}

fn wanted(built: &str, words: &[&str]) -> Option<Wanted> {
    let mut wanted = Wanted {
        tandem: built.to_owned(),
        memcached: false,
        mix: Mix::All,
        minutes: 1.0,
        faults: usize::MAX,
        clients: 16,
        seed: 1,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--against" => wanted.memcached = (*words.next()? == "memcached").then_some(true)?,
            "--sessions" => wanted.mix = Mix::Sessions,
            "--faults" => wanted.faults = words.next()?.parse().ok()?,
            "--minutes" => wanted.minutes = words.next()?.parse().ok().filter(|n| *n > 0.0)?,
            "--seed" => wanted.seed = words.next()?.parse().ok()?,
            "--clients" => wanted.clients = words.next()?.parse().ok().filter(|n| *n > 0)?,
            path if !path.starts_with('-') => path.clone_into(&mut wanted.tandem),
            _ => return None,
        }
    }
    Some(wanted)
}
