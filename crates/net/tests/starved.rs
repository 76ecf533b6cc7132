//! A process without descriptors. A file of its own, as the limit is the whole process's.

use std::cell::Cell;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tandem_model::Address;
use tandem_net::{Acceptor, listen};

#[tokio::test]
async fn connections_are_taken_again_once_there_are_descriptors() {
    let mut bound = listen::bind(&Address::tcp("127.0.0.1", 0), 1).unwrap();
    let address = bound[0].address.unwrap();
    let acceptor = Acceptor::new(bound[0].sockets.remove(0)).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let told = Cell::new(0);
    let accept = acceptor.accept(|error| {
        told.set(told.get() + 1);
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        if told.get() == 3 {
            setrlimit(Resource::Nofile, limit).unwrap();
        }
    });
    let begun = std::time::Instant::now();
    tokio::time::timeout(Duration::from_secs(20), accept)
        .await
        .expect("it never took the connection")
        .unwrap();
    assert_eq!(told.get(), 3);
    // It rested in between and did not spin.
    assert!(begun.elapsed() >= Duration::from_millis(50));
}
