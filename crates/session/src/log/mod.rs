//! Vote and log on disk: what a replica may not forget.
//!
//! By default nothing waits for the disk: what was given to the kernel survives the death of the process, and a
//! reboot is noticed by the kernel's boot id ([`crate::home`]). With `durable` an entry is acknowledged when it is on
//! the disk, many entries to one flush.

pub mod files;
mod mark;
pub mod segment;
mod store;
mod sync;

pub use store::LogStore;
pub(crate) use store::VOTE;
