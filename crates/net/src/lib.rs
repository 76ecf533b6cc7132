//! Workers, listeners, client address, the cluster port.
