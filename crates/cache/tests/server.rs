//! The server as the binary runs it: threads, sockets, a stop.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use tandem_cache::server::{Options, Server};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<std::io::Result<()>>,
}

fn options() -> Options {
    let mut options = Options::new("1.6.18");
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    options.threads = 3;
    options
}

fn start(options: Options) -> Running {
    let server = Server::bind(options).unwrap();
    let address = server.addresses().unwrap()[0];
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::spawn(move || server.run(stopped));
    Running {
        address,
        stop,
        thread,
    }
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    BufReader::new(stream)
}

fn ask(client: &mut BufReader<TcpStream>, request: &str) -> String {
    client.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

#[test]
fn all_workers_serve_the_same_items() {
    let server = start(options());
    let mut clients: Vec<_> = (0..6).map(|_| connect(server.address)).collect();
    assert_eq!(ask(&mut clients[0], "set n 0 0 1\r\n0\r\n"), "STORED\r\n");
    for round in 0..5 {
        for (i, client) in clients.iter_mut().enumerate() {
            let expected = format!("{}\r\n", round * 6 + i + 1);
            assert_eq!(ask(client, "incr n 1\r\n"), expected);
        }
    }
    server.stop.send(true).unwrap();
    server.thread.join().unwrap().unwrap();
}

#[test]
fn a_value_of_the_largest_size_goes_in_and_out() {
    let server = start(options());
    let mut client = connect(server.address);
    let value = "v".repeat(1_048_576 - 63);
    let stored = ask(
        &mut client,
        &format!("set big 0 0 {}\r\n{value}\r\n", value.len()),
    );
    assert_eq!(stored, "STORED\r\n");
    let head = ask(&mut client, "get big\r\n");
    assert_eq!(head, format!("VALUE big 0 {}\r\n", value.len()));
    let mut body = vec![0; value.len() + "\r\nEND\r\n".len()];
    client.read_exact(&mut body).unwrap();
    assert!(body.starts_with(value.as_bytes()) && body.ends_with(b"\r\nEND\r\n"));
}

#[test]
fn a_stop_lets_idle_clients_go_and_frees_the_port() {
    let server = start(options());
    let mut client = connect(server.address);
    assert_eq!(ask(&mut client, "version\r\n"), "VERSION 1.6.18\r\n");
    server.stop.send(true).unwrap();
    server.thread.join().unwrap().unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let mut again = options();
    again.listen = vec![server.address];
    assert!(Server::bind(again).is_ok());
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let server = start(options());
    let mut second = options();
    second.listen = vec![server.address];
    let error = Server::bind(second).err().expect("the port is taken");
    assert_eq!(error.error.kind(), std::io::ErrorKind::AddrInUse);
    let told = format!("cannot listen on {}: ", server.address);
    assert!(error.to_string().starts_with(&told), "{error}");
}

#[test]
fn both_families_can_have_the_same_port() {
    let Ok(first) = Server::bind(options()) else {
        panic!("no port on 127.0.0.1")
    };
    let port = first.addresses().unwrap()[0].port();
    let mut second = options();
    second.listen = vec![SocketAddr::new("::1".parse().unwrap(), port)];
    match Server::bind(second) {
        Ok(_) => {}
        Err(error) if error.error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            eprintln!("skipped: this machine has no IPv6");
        }
        Err(error) => panic!("{error}"),
    }
}
