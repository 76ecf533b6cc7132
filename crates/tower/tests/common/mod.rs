//! What the tests of this crate share.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use tandem_cache::server::{Options, Server};
use tandem_tower_sessions::TandemStore;
use tokio::sync::watch;

/// A memcached of ours that ends with the test.
pub struct Memcached {
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Memcached {
    pub fn start() -> Self {
        let mut options = Options::new("test");
        options.listen = vec!["127.0.0.1:0".parse().unwrap()];
        options.threads = 1;
        let server = Server::bind(options).unwrap();
        let address = server.addresses().unwrap()[0];
        let (stop, stopped) = watch::channel(false);
        let thread = Some(std::thread::spawn(move || server.run(stopped).unwrap()));
        Self {
            address,
            stop,
            thread,
        }
    }

    #[allow(dead_code, reason = "not every test makes a store")]
    pub fn store(&self) -> TandemStore {
        TandemStore::new(self.address.to_string())
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
