//! A new program takes the place of an old one.
//!
//! The old one goes on, watched and started again as before, until an instance of the new one accepts connections and has
//! passed the application's check once. Then the list of instances is the new one's, and the old one is stopped a moment
//! later. One that never gets there changes nothing, and an event says once that it is missing and why.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tandem_app::{Instance, Listing};
use tandem_edge::{Admission, InstanceAddress};
use tandem_telemetry::event::Events;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Running, follow, translate};

/// From the moment that the new program serves until the old one is stopped: its requests in flight finish.
const FINISH: Duration = Duration::from_secs(2);
/// A new program that does not serve for so long is told of. Most are there long before; those that take longer, as a large
/// Java application, are told of for nothing, but no harm is done by it.
const LATE: Duration = Duration::from_secs(10);

/// Why a program does not serve that has no instance.
const SILENT: &str = "it does not accept connections";

/// A new program, as far as its instances are concerned.
pub(super) struct New {
    pub app: String,
    pub node: String,
    /// There may be several instances.
    pub several: bool,
    pub instances: watch::Receiver<Vec<Instance>>,
    pub listing: Option<Listing>,
    /// What it must pass, beside that it accepts connections.
    pub admission: Option<Admission>,
    /// Where instances are told.
    pub list: watch::Sender<Vec<InstanceAddress>>,
    pub events: Events,
}

/// An old program, until it has been followed.
pub(super) struct HandOver(Rc<RefCell<Option<Running>>>);

impl HandOver {
    /// The hand-over; what does it, and passes on from then where the new program's instances are; and what stops the
    /// old one, to be waited for before the node ends.
    pub(super) fn new(
        old: Running,
        new: New,
    ) -> (
        Self,
        impl Future<Output = ()> + 'static,
        impl Future<Output = ()> + 'static,
    ) {
        let old = Rc::new(RefCell::new(Some(old)));
        let (done, over) = oneshot::channel();
        let retire = async {
            if let Ok(old) = over.await {
                let old: Running = old;
                sleep(FINISH).await;
                old.stop().await;
            }
        };
        (Self(old.clone()), hand_over(old, new, done), retire)
    }

    /// Takes the old program out, if it serves still: nothing follows it any more.
    pub(super) fn cancel(self) -> Option<Running> {
        self.0.borrow_mut().take()
    }

    /// Calls `look` with the old program if it serves still, and says whether it does.
    pub(super) fn look_at_old(&self, look: &mut impl FnMut(&Running)) -> bool {
        self.0.borrow().as_ref().map(look).is_some()
    }
}

async fn hand_over(
    old: Rc<RefCell<Option<Running>>>,
    mut new: New,
    done: oneshot::Sender<Running>,
) {
    let told = serves(&mut new).await;
    let Some(old) = old.borrow_mut().take() else {
        return;
    };
    old.follower.abort();
    if let Some(listing) = &new.listing {
        listing.publish();
    }
    if told {
        let what = "the new program serves now, and the old one is stopped";
        new.events.info(format!("app {}", new.app), what);
    }
    // Its other end is waited for, unless the node ends.
    let _ = done.send(old);
    follow(new.node, new.several, new.instances, new.list).await;
}

/// Waits until the new program serves; whether it was told meanwhile that it does not.
async fn serves(new: &mut New) -> bool {
    let late = Instant::now() + LATE;
    let mut told = false;
    loop {
        let why = match look(new).await {
            Ok(()) => return told,
            Err(why) => why,
        };
        let is_late = Instant::now() >= late;
        if is_late && !told {
            told = true;
            new.events.error(
                format!("app {}", new.app),
                format!("the new program does not serve yet, and the old one goes on: {why}"),
            );
        }
        let again = match &new.admission {
            Some(admission) if !new.instances.borrow().is_empty() => admission.pause(),
            _ => Duration::MAX,
        };
        tokio::select! {
            changed = new.instances.changed() => if changed.is_err() {
                // Its handle is gone: so is this hand-over.
                std::future::pending::<()>().await;
            },
            () = pause(again) => {}
            () = sleep_until(late), if !told => {}
        }
    }
}

async fn pause(time: Duration) {
    if time == Duration::MAX {
        std::future::pending::<()>().await;
    }
    sleep(time).await;
}

/// Whether one of its instances could serve now.
async fn look(new: &mut New) -> Result<(), String> {
    let instances = translate(&new.node, new.several, &new.instances.borrow_and_update());
    let Some(admission) = &new.admission else {
        return if instances.is_empty() {
            Err(SILENT.into())
        } else {
            Ok(())
        };
    };
    let mut why = SILENT.into();
    for instance in &instances {
        match admission.check(instance).await {
            Ok(()) => return Ok(()),
            Err(wrong) => why = wrong,
        }
    }
    Err(why)
}
