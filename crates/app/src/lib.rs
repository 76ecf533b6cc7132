//! Starts, watches, restarts and stops applications.
