//! Clients of a memcached server that begin large `set`s and pause.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::{PATIENCE, peak};

const CLIENTS: usize = 200;
const VALUE: usize = 1_000_000;
/// What is sent of a value before the pause.
const BEGUN: usize = 900_000;
/// As many as there is room for at once.
const FITTING: usize = (32 << 20) / VALUE;
/// What the server may take for all of them, in MiB.
const BOUND: u64 = 80;

fn connect(server: &str) -> TcpStream {
    let stream = TcpStream::connect(server).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Says something, and reads a line.
fn ask(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<String> {
    stream.write_all(request)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// `set`s of which the end does not come, and what their clients are told.
struct Paused {
    streams: Vec<TcpStream>,
    told: Receiver<String>,
}

impl Paused {
    fn begin(server: &str) -> Self {
        let (tell, told) = channel();
        let streams = (0..CLIENTS).map(|number| {
            let stream = connect(server);
            let mut client = stream.try_clone().expect("a descriptor");
            let tell = tell.clone();
            thread::spawn(move || {
                let mut begun = format!("set paused{number} 0 300 {VALUE}\r\n").into_bytes();
                begun.resize(begun.len() + BEGUN, b'v');
                // Whoever is never told anything is let go at the end.
                if let Ok(answer) = ask(&mut client, &begun)
                    && !answer.is_empty()
                {
                    let _ = tell.send(answer);
                }
            });
            stream
        });
        Self {
            streams: streams.collect(),
            told,
        }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// What a server promises of them: they take a bounded part of its memory, are told when others need the room, and hold
/// up nobody who stores or asks for little; and who sends what it has begun is answered.
pub fn take_a_bounded_part_and_hold_up_nobody(server: &str, pid: u64) {
    let before = peak(pid);
    let paused = Paused::begin(server);
    let mut other = connect(server);
    let small = format!("set small 0 300 60000\r\n{}\r\n", "s".repeat(60_000));
    // Those who found no room are told so, and of those who had it as many as have to make room for others.
    let mut told = 0;
    while told < CLIENTS - FITTING {
        let stored = ask(&mut other, small.as_bytes()).expect("answered");
        assert_eq!(stored, "STORED\r\n");
        let found = ask(&mut other, b"get none\r\n").expect("answered");
        assert_eq!(found, "END\r\n");
        for answer in paused.told.try_iter() {
            assert!(answer.starts_with("SERVER_ERROR not stored ("), "{answer}");
            told += 1;
        }
        let taken = peak(pid) - before;
        assert!(taken < BOUND, "{taken} MiB for {CLIENTS} clients");
    }
    println!("{} MiB for {CLIENTS} clients", peak(pid) - before);
    // The last of them still have all the room.
    let whole = [
        format!("set large 0 300 {VALUE}\r\n").into_bytes(),
        vec![b'v'; VALUE],
        b"\r\n".to_vec(),
    ];
    let whole = whole.concat();
    thread::scope(|threads| {
        for _ in 0..FITTING / 2 {
            let whole = &whole;
            threads.spawn(move || {
                let stored = ask(&mut connect(server), whole).expect("answered");
                assert_eq!(stored, "STORED\r\n");
            });
        }
    });
}
