//! Routes, balancing, health, retries.
