//! The status page of a rehearsal, gathered from its nodes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tandem_admin::AdminHandler;
use tandem_http::Engine;
use tandem_model::Address;
use tandem_net::listen;
use tandem_telemetry::Telemetry;
use tandem_telemetry::event::Log;

use super::watch::Watched;
use crate::exit::{Failure, Result};
use crate::node::admin_config;

/// Connections from browsers at most.
const MOST: usize = 256;

/// Serves the page at a port of 127.0.0.1 as long as the result lives. Needs a local runtime.
pub fn serve(port: u16, watched: &Watched) -> Result<Engine> {
    let address = Address::tcp(Ipv4Addr::LOCALHOST.to_string(), port);
    let bound = listen::bind(&address, 1).map_err(|error| Failure::usage(error.to_string()))?;
    let engine = Engine::new(0, MOST, Telemetry::new("rehearsal", 1, Log::Silent));
    let handler = AdminHandler::gathered(Arc::new(watched.clone()));
    let config = Arc::new(ArcSwap::from_pointee(admin_config(Arc::new(handler))));
    for socket in bound.into_iter().flat_map(|place| place.sockets) {
        engine
            .listen(socket, config.clone())
            .map_err(|error| Failure::failed(format!("the status page cannot listen: {error}")))?;
    }
    Ok(engine)
}
