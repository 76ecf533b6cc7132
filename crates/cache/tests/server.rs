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

/// Lines until one has `what`, without what differs from run to run.
fn lines_until(watcher: &mut BufReader<TcpStream>, what: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(
            watcher.read_line(&mut line).unwrap() > 0,
            "the watcher was hung up on after {lines:?}"
        );
        let told = line
            .split_once(" type=")
            .unwrap_or(("", &line))
            .1
            .trim_end()
            .to_owned();
        let told = told.split(" cfd=").next().unwrap().to_owned();
        let found = told.contains(what);
        lines.push(told);
        if found {
            return lines;
        }
    }
}

#[test]
fn who_watches_is_told_what_is_fetched_stored_deleted_and_evicted() {
    let mut options = options();
    options.cache.memory = 4 << 20;
    let server = start(options);
    let mut watcher = connect(server.address);
    let all = "watch fetchers mutations evictions deletions connevents\r\n";
    assert_eq!(ask(&mut watcher, all), "OK\r\n");
    let mut other = connect(server.address);
    assert_eq!(ask(&mut other, "watch evictions\r\n"), "OK\r\n");
    // A watcher's commands are no commands any more.
    watcher.get_mut().write_all(b"flush_all\r\n").unwrap();

    let mut client = connect(server.address);
    assert_eq!(ask(&mut client, "get a\r\n"), "END\r\n");
    assert_eq!(ask(&mut client, "set a 1 60 3\r\nabc\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut client, "mg a s\r\n"), "HD s3\r\n");
    assert_eq!(ask(&mut client, "add a 0 0 1\r\nx\r\n"), "NOT_STORED\r\n");
    assert_eq!(ask(&mut client, "delete a\r\n"), "DELETED\r\n");
    assert_eq!(ask(&mut client, "ms b%20 1\r\nx\r\n"), "HD\r\n");
    let too_large = format!("set big 0 0 3000000\r\n{}\r\n", "x".repeat(3_000_000));
    assert!(ask(&mut client, &too_large).starts_with("SERVER_ERROR object too large"));
    let told = lines_until(&mut watcher, "key=big");
    let told: Vec<_> = told
        .iter()
        .filter(|line| !line.starts_with("conn_"))
        .collect();
    assert_eq!(
        told,
        [
            "item_get key=a status=not_found clsid=0",
            "item_store key=a status=stored cmd=set ttl=60 clsid=1",
            "item_get key=a status=found clsid=1",
            "item_store key=a status=not_stored cmd=add ttl=0 clsid=1",
            "deleted key=a cmd=delete clsid=0",
            "item_store key=b%2520 status=stored cmd=set ttl=0 clsid=1",
            "item_store key=big status=too_large cmd=set ttl=0 clsid=1",
        ]
    );

    let value = "v".repeat(100_000);
    for number in 0..60 {
        let set = format!("set e{number} 0 100 100000\r\n{value}\r\n");
        assert_eq!(ask(&mut client, &set), "STORED\r\n");
    }
    let evicted = lines_until(&mut other, "eviction key=e").pop();
    let evicted = evicted.unwrap();
    assert!(
        evicted.starts_with("eviction key=e") && evicted.contains(" fetch=no ttl="),
        "{evicted}"
    );
    drop(client);
    assert!(
        lines_until(&mut watcher, "conn_close")
            .pop()
            .unwrap()
            .contains("reason=normal")
    );

    // A stop ends watchers like any others that wait.
    server.stop.send_replace(true);
    server.thread.join().unwrap().unwrap();
    let mut rest = Vec::new();
    watcher.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_watcher_that_does_not_read_disturbs_nobody_and_is_told_what_it_missed() {
    let server = start(options());
    let mut watcher = connect(server.address);
    assert_eq!(ask(&mut watcher, "watch fetchers\r\n"), "OK\r\n");
    let mut client = connect(server.address);
    let gets = format!(
        "{}mn\r\n",
        format!("get {}\r\n", "k".repeat(200)).repeat(500)
    );
    // More than all buffers on the way hold.
    for _ in 0..200 {
        client.get_mut().write_all(gets.as_bytes()).unwrap();
        let mut line = String::new();
        while line != "MN\r\n" {
            line.clear();
            client.read_line(&mut line).unwrap();
        }
    }
    let mut stats = String::new();
    client.get_mut().write_all(b"stats\r\n").unwrap();
    while !stats.ends_with("END\r\n") {
        client.read_line(&mut stats).unwrap();
    }
    let number = |name: &str| -> u64 {
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap().parse().unwrap()
    };
    assert_eq!(number("log_watchers"), 1);
    assert_eq!(
        number("log_watcher_sent") + number("log_watcher_skipped"),
        100_000
    );
    assert!(number("log_watcher_skipped") > 0);
    let mut line = String::new();
    let mut told = 0;
    while !line.starts_with("skipped=") {
        line.clear();
        watcher.read_line(&mut line).unwrap();
        told += 1;
        if told > 1_000 {
            // One more, so that there is a line to tell it with.
            client.get_mut().write_all(b"get one\r\n").unwrap();
            let mut end = String::new();
            client.read_line(&mut end).unwrap();
        }
    }
    let skipped = line.trim_end().strip_prefix("skipped=").unwrap();
    assert!(skipped.parse::<u64>().unwrap() > 0);
    server.stop.send_replace(true);
    server.thread.join().unwrap().unwrap();
}

#[test]
fn what_is_not_allowed_is_refused_in_memcacheds_words() {
    let mut options = options();
    (options.watch, options.dump, options.flush) = (false, false, false);
    let server = start(options);
    let mut client = connect(server.address);
    for (command, answer) in [
        ("watch fetchers", "CLIENT_ERROR watch commands not allowed"),
        (
            "stats cachedump 1 1",
            "CLIENT_ERROR stats cachedump not allowed",
        ),
        ("lru_crawler metadump all", "ERROR metadump not allowed"),
        ("flush_all", "CLIENT_ERROR flush_all not allowed"),
        ("shutdown", "ERROR: shutdown not enabled"),
    ] {
        assert_eq!(
            ask(&mut client, &format!("{command}\r\n")),
            format!("{answer}\r\n")
        );
    }
    server.stop.send_replace(true);
    server.thread.join().unwrap().unwrap();
}
