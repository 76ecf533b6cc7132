//! Items: what they are, how long they live, what memory they take and which go first.
//!
//! A library without sockets or threads. `tandem memcached` serves it as a cache; the session tier uses its rules
//! ([`rules`]) and takes time and versions from its log. It must never read a clock on its own: every call says
//! what time it is.

#![forbid(unsafe_code)]

pub mod rules;
