//! The faults: one at a time, and the next only when the cluster is whole again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Random;
use super::links::{self, Links};
use super::processes::signal;
use super::stage::{PATIENCE, Row, Stage};

/// Between a recovery and the next fault, at most, in milliseconds.
const REST: u64 = 800;

pub struct Nemesis<'a> {
    stage: &'a dyn Stage,
    random: Random,
    begun: Instant,
    /// What is stopped and must go on, whatever happens.
    stopped: Option<u32>,
}

impl<'a> Nemesis<'a> {
    pub fn new(stage: &'a dyn Stage, seed: u64, begun: Instant) -> Self {
        Self {
            stage,
            random: Random::new(seed, 0),
            begun,
            stopped: None,
        }
    }

    /// Makes at most `most` faults until `length` is over or `enough` is set; when each began, in seconds, and what it
    /// was.
    pub fn run(
        mut self,
        length: Duration,
        most: usize,
        enough: &AtomicBool,
    ) -> Result<Vec<(f64, String)>, String> {
        let mut faults = Vec::new();
        let begun = self.begun;
        let over = || begun.elapsed() >= length || enough.load(Ordering::Relaxed);
        while faults.len() < most && !over() {
            self.pause(200, REST);
            let at = self.begun.elapsed().as_secs_f64();
            let what = self.fault()?;
            faults.push((at, what));
            self.stage
                .until_whole()
                .map_err(|error| format!("{error}\nafter {faults:?}"))?;
        }
        while !over() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(faults)
    }

    fn pause(&mut self, least: u64, more: u64) {
        std::thread::sleep(Duration::from_millis(least + self.random.below(more)));
    }

    fn fault(&mut self) -> Result<String, String> {
        let rows = self.stage.rows()?;
        if let Some(network) = self.stage.network()
            && self.random.below(2) == 0
        {
            let (cut, what) = links::cut(&rows, &mut self.random);
            let begun = Instant::now();
            let links = Links::cut(network, cut)?;
            self.pause(200, 5000);
            links.mend()?;
            let seconds = begun.elapsed().as_secs_f64();
            return Ok(format!("{what} for {seconds:.2} s"));
        }
        let agents = self.random.below(8) == 0;
        let leader = self.random.below(2) == 0;
        let mut victims: Vec<&Row> = rows
            .iter()
            .filter(|row| row.is_agent == agents && (agents || !leader || row.leads))
            // Clients of plain memcached have no agent.
            .filter(|row| row.pid.is_some())
            .collect();
        if victims.is_empty() {
            victims = rows.iter().filter(|row| !row.is_agent).collect();
        }
        let victim = victims[self.random.below(victims.len() as u64) as usize];
        self.strike(victim)
    }

    fn strike(&mut self, victim: &Row) -> Result<String, String> {
        let (name, who) = (victim.name.as_str(), victim.called());
        let Some(pid) = victim.pid else {
            return Err(format!("{name} has no process"));
        };
        match self.random.below(5) {
            0 => {
                self.stage.kill(name)?;
                self.pause(0, 1500);
                self.start(name)?;
                Ok(format!("{who} was killed"))
            }
            1 | 2 => {
                signal(pid, Signal::STOP);
                self.stopped = Some(pid);
                let begun = Instant::now();
                self.pause(100, 3000);
                self.go_on();
                let seconds = begun.elapsed().as_secs_f64();
                Ok(format!("{who} stood still for {seconds:.2} s"))
            }
            3 if !victim.is_agent => {
                self.stage.kill(name)?;
                self.stage.forget(name)?;
                self.pause(0, 500);
                self.start(name)?;
                Ok(format!("{who} was killed and lost its state"))
            }
            _ => {
                signal(pid, Signal::TERM);
                self.start(name)?;
                Ok(format!("{who} was restarted"))
            }
        }
    }

    /// Starts a node as soon as its process is gone.
    fn start(&self, name: &str) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            match self.stage.start(name) {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn go_on(&mut self) {
        if let Some(pid) = self.stopped.take() {
            signal(pid, Signal::CONT);
        }
    }
}

impl Drop for Nemesis<'_> {
    fn drop(&mut self) {
        self.go_on();
    }
}
