//! Health checks: one task a server, once a process, on the control thread.
//!
//! A checker asks its server ([`probe`]), gives the verdict to the pool, which applies the rules ([`state`]), and
//! waits: for the time that the state asks for, or until a failed request wakes it.

mod admission;
pub(crate) mod history;
mod probe;
pub(crate) mod state;
mod talk;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::Timing;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::pool::{Pool, Settings, any_changed};
use crate::server::{Mode, Server, ServerKey};
pub use admission::Admission;
use state::State;

/// A server that is not checked and could not be reached is left alone for so long.
const PARDON: Duration = Duration::from_secs(2);
/// Between two checks of a server at least, however many failed requests ask for one.
const GAP: Duration = Duration::from_millis(20);
/// A task of this file ends by a defect only. It is started again, but not at once, lest it ends at once again.
const AGAIN: Duration = Duration::from_secs(1);

/// Checks the servers of all pools, follows their instances and looks up their names, until `shutdown` is ready.
///
/// Spawns tasks on the runtime it is called in; they end with it.
pub async fn run_checks(pools: Vec<Arc<Pool>>, shutdown: impl Future<Output = ()>) {
    let all = async {
        let mut keepers = JoinSet::new();
        let mut kept = HashMap::new();
        for pool in pools {
            kept.insert(keepers.spawn(keep(pool.clone())).id(), pool);
        }
        while let Some(ended) = keepers.join_next_with_id().await {
            let id = match ended {
                Ok((id, ())) => id,
                Err(error) => error.id(),
            };
            sleep(AGAIN).await;
            if let Some(pool) = kept.remove(&id) {
                kept.insert(keepers.spawn(keep(pool.clone())).id(), pool);
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = shutdown => {}
        () = all => {}
    }
}

/// Keeps a checker for each server of a pool, as servers come and go.
async fn keep(pool: Arc<Pool>) {
    let mut tasks = JoinSet::new();
    let mut checkers: HashMap<ServerKey, (Arc<Server>, AbortHandle)> = HashMap::new();
    let mut resolver: Option<AbortHandle> = None;
    let mut updates = pool.updates();
    let mut sources = pool.sources();
    loop {
        if updates != pool.updates() {
            updates = pool.updates();
            sources = pool.sources();
        }
        if pool.has_names() && resolver.as_ref().is_none_or(AbortHandle::is_finished) {
            resolver = Some(tasks.spawn(resolve(pool.clone())));
        }
        let servers = pool.servers();
        checkers.retain(|_, (server, checker)| {
            let stays = servers.iter().any(|s| Arc::ptr_eq(s, server)) && !checker.is_finished();
            if !stays {
                checker.abort();
            }
            stays
        });
        for server in &*servers {
            checkers.entry(server.key.clone()).or_insert_with(|| {
                let checker = tasks.spawn(watch(pool.clone(), server.clone()));
                (server.clone(), checker)
            });
        }
        tokio::select! {
            () = pool.changed.notified() => {}
            () = step(pool.slow_start()) => pool.refresh(),
            () = any_changed(&mut sources) => pool.reconcile(),
            Some(ended) = tasks.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    sleep(AGAIN).await;
                }
            }
        }
    }
}

/// Until the next step of a slow start.
async fn step(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Looks up the names of a pool again and again, as long as it has some.
async fn resolve(pool: Arc<Pool>) {
    while pool.has_names() {
        pool.resolve().await;
        sleep(pool.settings().resolve).await;
    }
}

/// Watches one server, in the way that the pool's settings ask for at the time.
async fn watch(pool: Arc<Pool>, server: Arc<Server>) {
    loop {
        let settings = pool.settings();
        if server.mode() == Mode::Maintenance {
            while server.mode() == Mode::Maintenance {
                server.wake.notified().await;
            }
            pool.forget(&server);
        }
        match settings.check.timing() {
            Some(timing) => check(&pool, &server, &settings, &timing).await,
            None if server.node && server.is_cut_off() => {
                sleep(PARDON).await;
                let asked = timeout(PARDON, probe::gateway(&server, &settings)).await;
                if let Ok(Ok(false)) = asked {
                    pool.note_cut_off(&server, false);
                }
            }
            None => {
                server.wake.notified().await;
                if server.state() == State::Down && server.mode() != Mode::Maintenance {
                    sleep(PARDON).await;
                    pool.pardon(&server, "not checked, tried again after a failure");
                }
            }
        }
    }
}

/// Checks a server once and waits until it is to be checked again.
async fn check(pool: &Pool, server: &Server, settings: &Settings, timing: &Timing) {
    let began = Instant::now();
    let generation = server.vitals().generation();
    let checked = timeout(timing.timeout, probe::check(server, settings)).await;
    let said = checked.as_ref().ok();
    let said = said.map(|result| result.as_ref().map(drop).map_err(String::clone));
    let outcome = history::outcome(&settings.check, said.as_ref(), began.elapsed());
    server.history().checked(outcome);
    let result = checked.unwrap_or_else(|_| Err(probe::late(&settings.check, timing.timeout)));
    if let Ok(Some(is_cut_off)) = result {
        pool.note_cut_off(server, is_cut_off);
    }
    let result = result.map_err(|why| probe::told(&settings.check, &why));
    pool.checked(server, generation, result.map(drop));
    let pause = if pool.is_usable() {
        server.pause(timing)
    } else {
        // Nobody is served: whoever returns is to be known at once.
        timing.fast.min(timing.every)
    };
    let next = began + pause;
    let soonest = Instant::now() + GAP;
    tokio::select! {
        () = sleep_until(next.max(soonest)) => {}
        () = server.wake.notified() => sleep_until(soonest).await,
    }
}

#[cfg(test)]
mod tests;
