//! Workers, listeners, client address, the cluster port.
//!
//! What is needed to move bytes between this machine and others, and nothing about what the bytes say: threads with an
//! event loop each ([`workers`]), binding and accepting ([`listen`], [`accept`]), opening connections ([`connect`]), the
//! socket type of them all ([`socket`]), plain or with TLS ([`tls`]), whose word is taken on who the client is
//! ([`client`], [`proxy`]), sockets handed from process to process ([`parcel`]), and what is
//! left of root's rights ([`privilege`]). This crate must never block a worker, and never take a port from a program that has it.

#![deny(unsafe_code)]

pub mod accept;
pub mod client;
pub mod cluster;
pub mod connect;
pub mod hello;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
pub mod listen;
pub mod moment;
pub mod near;
pub mod parcel;
pub mod privilege;
pub mod proxy;
pub mod seldom;
pub mod socket;
pub mod splice;
mod sys;
pub mod tls;
pub mod workers;

pub use accept::{Accepted, Acceptor};
pub use client::{ClientRule, Peer};
pub use moment::Moment;
pub use seldom::Seldom;
pub use socket::Socket;
pub use splice::Pipe;
pub use sys::{coarse_time, free_memory, give_back_memory};
pub use tls::{ClientCertificate, ClientTls, ServerTls, TlsName, Within};
