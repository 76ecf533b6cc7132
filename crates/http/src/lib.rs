//! HTTP/1.1 codec without I/O, the engine, its Handler traits and route policies.
