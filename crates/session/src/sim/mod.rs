//! The tier in a simulation: agents and nodes, the real code from the agent's keyspace to the log on disk, in one
//! thread under a virtual network and virtual clocks. A seed decides everything: what is asked, how messages fare,
//! which task runs next, what breaks and when. What clients were told is checked by `tandem_history`.
//!
//! Disks are directories in memory (`/dev/shm`): what the code writes there is what it finds after a crash.

pub mod audit;
mod blank;
mod broken;
mod cluster;
pub mod disk;
mod foreign;
mod graves;
mod load;
mod nemesis;
pub mod network;
mod profile;
mod rot;
pub mod runtime;
mod scenario;
mod scripts;
mod tests;
pub mod world;

pub use broken::{Broken, is_broken};

/// Runs something asynchronous without a cluster.
pub fn alone<T: 'static>(work: impl Future<Output = T> + 'static) -> T {
    world::run(0, 1, work).0
}
