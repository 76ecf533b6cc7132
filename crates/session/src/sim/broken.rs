//! Deliberately broken variants of the code, which the checker must find. They exist in test builds only.

use std::cell::Cell;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A retried operation is applied again.
    NoOperationIds,
    /// A replica that believes that it leads answers reads at once.
    ReadsWithoutLease,
    /// A plain `set` is acknowledged when it is proposed.
    AcknowledgedBeforeCommit,
    /// With `durable` an entry is acknowledged when it is written and not when it is on the disk.
    AcknowledgedBeforeTheDisk,
    /// A snapshot does not say which keys are guarded.
    GuardsNotInSnapshots,
    /// Entries are stamped by the machine's wall clock.
    WallClockExpiry,
    /// A node that lost its state goes on under its old identity.
    OldIdentityAfterLostState,
    /// A snapshot says that it holds what was applied while it was taken.
    SnapshotWithoutItsLog,
    /// What compares is done whatever version the item has.
    NothingCompared,
    /// A new leader stamps entries before it has applied those of the leaders before it.
    StampedBeforeTheTerm,
}

thread_local! {
    static BROKEN: Cell<Option<Broken>> = const { Cell::new(None) };
}

/// Whether the simulation of this thread runs with this part broken.
pub fn is_broken(what: Broken) -> bool {
    BROKEN.get() == Some(what)
}

/// From now on simulations of this thread run with this part broken.
pub fn set(broken: Option<Broken>) {
    BROKEN.set(broken);
}
