//! Rehearsals: every node of a file on this machine, each as a process of its own.
//!
//! ```text
//! stage       claims a loopback network, ports and a directory
//! certificates  stand in for those that are not here
//! sites       likewise
//! supervisor  starts, kills and stops the node processes
//! watch       asks each node how it is
//! control     takes orders from `tandem node`
//! prove       plays the demo's scene without a browser
//! ```
//!
//! Node processes are tethered: each reads a pipe from here and stops at its end, so that nothing outlives a
//! rehearsal, however it ends.

pub mod browser;
mod certificates;
pub mod control;
mod pages;
pub mod play;
pub mod prove;
mod sites;
pub mod stage;
pub mod state;
pub mod supervisor;
pub mod table;
pub mod watch;
