//! Workers, listeners, client address, the cluster port.

pub mod cluster;
