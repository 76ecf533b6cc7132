//! memcached's command line, read as memcached reads it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Arg::{Long, Short, Value};
use tandem_cache::server::{Options, UnixSocket};
use tandem_memcache::{COMPATIBLE_VERSION, Classes, Protocols};

use crate::exit::{Failure, Result};

/// memcached's largest `-t` that it takes without a word.
const MANY_THREADS: u64 = 64;
/// The largest item that `-I` may allow, in bytes.
const LARGEST_ITEM: usize = 128 << 20;

/// What the command line says.
pub struct Settings {
    /// What the server is to be; without addresses yet.
    pub server: Options,
    /// `-d`
    pub daemon: bool,
    /// `-u`
    pub user: Option<String>,
    /// `-P`
    pub pid_file: Option<PathBuf>,
    /// `-Y`
    pub auth_file: Option<PathBuf>,
    /// `-S`
    pub sasl: bool,
    /// `-A`
    pub shutdown: bool,
    /// `-v`, so often.
    pub verbose: u8,
    /// What was accepted and has no effect, or not the one that was wanted.
    pub notes: Vec<String>,
    listen: Vec<String>,
    port: i64,
    socket: Option<PathBuf>,
    mask: u32,
    /// `-f` and `-n`: how sizes are grouped in statistics.
    factor: f64,
    least: usize,
}

/// What to do.
pub enum Wanted {
    /// Serve.
    Serve(Box<Settings>),
    /// `-h`
    Help,
    /// `-V`
    Version,
    /// `-i`
    License,
}

/// Reads the arguments.
pub fn read(mut args: lexopt::Parser) -> Result<Wanted> {
    let mut settings = Settings {
        server: Options::new(COMPATIBLE_VERSION),
        daemon: false,
        user: None,
        pid_file: None,
        auth_file: None,
        sasl: false,
        shutdown: false,
        verbose: 0,
        notes: Vec::new(),
        listen: Vec::new(),
        port: 11211,
        socket: None,
        mask: 0o700,
        factor: 1.25,
        least: 48,
    };
    while let Some(arg) = args.next()? {
        let server = &mut settings.server;
        match arg {
            Short('p') | Long("port") => settings.port = number(&mut args, "-p", -1, 65_535)?,
            Short('l') | Long("listen") => {
                let list = text(&mut args)?;
                settings.listen.extend(list.split(',').map(str::to_owned));
            }
            Short('s') | Long("unix-socket") => settings.socket = Some(args.value()?.into()),
            Short('a') | Long("unix-mask") => {
                let mask = text(&mut args)?;
                settings.mask = u32::from_str_radix(&mask, 8)
                    .ok()
                    .filter(|&mask| mask <= 0o777)
                    .ok_or_else(|| {
                        Failure::usage(format!("-a takes permissions in octal, not `{mask}`"))
                    })?;
            }
            Short('m') | Long("memory-limit") => {
                server.cache.memory = (number(&mut args, "-m", 1, 1 << 24)? as usize) << 20;
            }
            Short('M') | Long("disable-evictions") => server.cache.evict = false,
            Short('c') | Long("conn-limit") => {
                server.max_connections = number(&mut args, "-c", 1, 1 << 24)? as usize;
            }
            Short('t') | Long("threads") => {
                let threads = number(&mut args, "-t", 1, 1 << 12)? as u64;
                if threads > MANY_THREADS {
                    settings.notes.push(
                        "a high number of worker threads is not recommended: more than cores only \
                         cost"
                            .into(),
                    );
                }
                server.threads = threads as usize;
            }
            Short('I') | Long("max-item-size") => server.cache.max_item = item_size(&mut args)?,
            Short('b') | Long("listen-backlog") => {
                server.backlog = number(&mut args, "-b", 1, 1 << 20)? as i32;
            }
            Short('U') | Long("udp-port") => {
                if number(&mut args, "-U", 0, 65_535)? != 0 {
                    settings
                        .notes
                        .push("-U: there is no UDP here; clients use TCP".into());
                }
            }
            Short('B') | Long("protocol") => server.protocols = protocol(&text(&mut args)?)?,
            Short('A') | Long("enable-shutdown") => settings.shutdown = true,
            Short('d') | Long("daemon") => settings.daemon = true,
            Short('u') | Long("user") => settings.user = Some(text(&mut args)?),
            Short('P') | Long("pidfile") => settings.pid_file = Some(args.value()?.into()),
            Short('Y') | Long("auth-file") => settings.auth_file = Some(args.value()?.into()),
            Short('S') | Long("enable-sasl") => settings.sasl = true,
            Short('F') | Long("disable-flush-all") => server.flush = false,
            Short('X') | Long("disable-dumping") => server.dump = false,
            Short('v') | Long("verbose") => settings.verbose += 1,
            Short('o') | Long("extended") => extended(&text(&mut args)?, &mut settings)?,
            Short('f') | Long("slab-growth-factor") => {
                let factor = text(&mut args)?;
                settings.factor = factor
                    .parse()
                    .ok()
                    .filter(|&factor: &f64| factor > 1.0 && factor.is_finite())
                    .ok_or_else(|| Failure::usage("-f takes a factor greater than 1"))?;
                settings.shows("growth_factor", format!("{:.2}", settings.factor));
            }
            Short('n') | Long("slab-min-size") => {
                settings.least = number(&mut args, "-n", 1, 1 << 20)? as usize;
                settings.shows("chunk_size", settings.least.to_string());
            }
            Short('R') | Long("max-reqs-per-event") => {
                let most = number(&mut args, "-R", 1, 1 << 30)?;
                settings.shows("reqs_per_event", most.to_string());
                settings.without_effect("-R");
            }
            Short('D') => {
                let delimiter = text(&mut args)?;
                let Some(&first) = delimiter.as_bytes().first() else {
                    return Err(Failure::usage("-D takes a character"));
                };
                server.prefixes = Some(first);
            }
            Short('N') | Long("napi-ids") => {
                args.value()?;
                settings.without_effect("-N");
            }
            Short('C') | Long("disable-cas") => settings.without_effect("-C"),
            Short('k') | Long("lock-memory") => settings.without_effect("-k"),
            Short('r') | Long("enable-coredumps") => settings.without_effect("-r"),
            Short('L') | Long("enable-largepages") => settings.without_effect("-L"),
            Short('W') | Long("disable-watch") => server.watch = false,
            Short('Z') | Long("enable-ssl") => {
                return Err(Failure::usage(
                    "-Z: there is no TLS here; a listener has it",
                ));
            }
            Short('e') | Long("memory-file") => {
                return Err(Failure::usage("-e: items do not outlive the server here"));
            }
            Short('V') | Long("version") => return Ok(Wanted::Version),
            Short('i') | Long("license") => return Ok(Wanted::License),
            Short('h') | Long("help") => return Ok(Wanted::Help),
            // memcached does not look at operands.
            Value(_) => {}
            _ => return Err(arg.unexpected().into()),
        }
    }
    settings.check()?;
    Ok(Wanted::Serve(Box::new(settings)))
}

impl Settings {
    fn without_effect(&mut self, option: &str) {
        self.notes.push(format!("{option} has no effect here"));
    }

    /// A line of `stats settings`.
    fn shows(&mut self, name: &str, value: impl Into<String>) {
        self.server.settings.push((name.to_owned(), value.into()));
    }

    /// What only all options together show.
    fn check(&mut self) -> Result<()> {
        self.server.classes = Classes::new(self.factor, self.least, self.server.cache.max_item);
        if self.server.cache.max_item > self.server.cache.memory / 2 {
            return Err(Failure::usage(
                "Cannot set item size limit higher than 1/2 of memory max. (-I, -m)",
            ));
        }
        if self.sasl {
            if self.server.protocols == Protocols::Ascii {
                return Err(Failure::usage(
                    "-S needs the binary protocol, which -B ascii turns off",
                ));
            }
            self.server.protocols = Protocols::Binary;
        } else if self.auth_file.is_some() {
            if self.server.protocols == Protocols::Binary {
                return Err(Failure::usage(
                    "-Y is of the text protocol, which -B binary turns off; -S is of the binary one",
                ));
            }
            self.server.protocols = Protocols::Ascii;
        }
        if let Some(path) = self.socket.take() {
            // As memcached: a socket in the file system instead of the network.
            self.server.unix = Some(UnixSocket {
                path,
                mode: self.mask,
            });
            return Ok(());
        }
        if self.port == 0 && self.listen.is_empty() {
            return Err(Failure::usage(
                "-p 0 turns TCP off, and there is no -s: nobody could connect",
            ));
        }
        // -1 is any free port.
        let port = self.port.max(0) as u16;
        if self.listen.is_empty() {
            self.server.listen = everywhere(port);
        }
        for word in &self.listen {
            self.server.listen.extend(addresses(word, port)?);
        }
        Ok(())
    }
}

fn text(args: &mut lexopt::Parser) -> Result<String> {
    Ok(args.value()?.to_string_lossy().into_owned())
}

fn number(args: &mut lexopt::Parser, option: &str, least: i64, most: i64) -> Result<i64> {
    let text = text(args)?;
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Failure::usage(format!(
            "{option} takes a number from {least} to {most}, not `{text}`"
        ))),
    }
}

fn item_size(args: &mut lexopt::Parser) -> Result<usize> {
    let text = text(args)?.to_lowercase();
    let (digits, shift) = match text.strip_suffix(['k', 'm']) {
        Some(digits) => (digits, if text.ends_with('k') { 10 } else { 20 }),
        None => (&*text, 0),
    };
    let size = digits
        .parse::<usize>()
        .ok()
        .and_then(|size| size.checked_mul(1 << shift));
    match size {
        Some(size) if (1024..=LARGEST_ITEM).contains(&size) => Ok(size),
        Some(0..1024) => Err(Failure::usage(
            "Item max size cannot be less than 1024 bytes. (-I)",
        )),
        _ => Err(Failure::usage(format!(
            "-I takes a size from 1024 to 128m, not `{text}`"
        ))),
    }
}

fn protocol(word: &str) -> Result<Protocols> {
    match word {
        "auto" => Ok(Protocols::Auto),
        "ascii" => Ok(Protocols::Ascii),
        "binary" => Ok(Protocols::Binary),
        _ => Err(Failure::usage(format!(
            "-B takes auto, ascii or binary, not `{word}`"
        ))),
    }
}

/// What a word of `-o` is followed by.
enum Wants {
    /// Nothing.
    Nothing,
    /// A whole number from one to another.
    Number(u64, u64),
    /// A number with or without a fraction, above 0.
    Factor,
    /// Anything.
    Text,
}

/// Words of `-o` about slabs, lists, hashing and threads that are not here, what each takes, and the line of
/// `stats settings` that shows it.
const WITHOUT_EFFECT: &[(&str, Wants, &str)] = &[
    ("maxconns_fast", Wants::Nothing, ""),
    ("hashpower", Wants::Number(12, 64), "hashpower_init"),
    (
        "tail_repair_time",
        Wants::Number(10, u32::MAX as u64),
        "tail_repair_time",
    ),
    ("hash_algorithm", Wants::Text, ""),
    ("slab_reassign", Wants::Nothing, "slab_reassign"),
    ("slab_automove", Wants::Number(0, 2), "slab_automove"),
    ("slab_automove_ratio", Wants::Factor, "slab_automove_ratio"),
    (
        "slab_automove_window",
        Wants::Number(3, u32::MAX as u64),
        "slab_automove_window",
    ),
    (
        "slab_automove_freeratio",
        Wants::Factor,
        "slab_automove_freeratio",
    ),
    ("slab_chunk_max", Wants::Number(1, 1 << 20), ""),
    ("slab_sizes", Wants::Text, ""),
    (
        "lru_crawler_sleep",
        Wants::Number(0, 1_000_000),
        "lru_crawler_sleep",
    ),
    (
        "lru_crawler_tocrawl",
        Wants::Number(0, u32::MAX as u64),
        "lru_crawler_tocrawl",
    ),
    ("lru_maintainer", Wants::Nothing, "lru_maintainer_thread"),
    ("hot_lru_pct", Wants::Number(1, 80), "hot_lru_pct"),
    ("warm_lru_pct", Wants::Number(1, 80), "warm_lru_pct"),
    ("hot_max_factor", Wants::Factor, "hot_max_factor"),
    ("warm_max_factor", Wants::Factor, "warm_max_factor"),
    (
        "temporary_ttl",
        Wants::Number(0, u32::MAX as u64),
        "temporary_ttl",
    ),
    ("hashexpand", Wants::Nothing, ""),
    ("modern", Wants::Nothing, ""),
    ("inline_ascii_resp", Wants::Nothing, ""),
    ("chunked_items", Wants::Nothing, ""),
    (
        "read_buf_mem_limit",
        Wants::Number(0, 1 << 20),
        "read_buf_mem_limit",
    ),
    ("resp_obj_mem_limit", Wants::Number(0, 1 << 20), ""),
    ("watcher_logbuf_size", Wants::Number(1, 1 << 20), ""),
    ("worker_logbuf_size", Wants::Number(1, 1 << 20), ""),
    ("sock_cookie_id", Wants::Number(0, u32::MAX as u64), ""),
    ("drop_privileges", Wants::Nothing, ""),
    ("relaxed_privileges", Wants::Nothing, ""),
];

/// `-o`: a list of words, which may be empty, and so may each of them.
fn extended(list: &str, settings: &mut Settings) -> Result<()> {
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let (on, bare) = match name.strip_prefix("no_") {
            Some(bare) => (false, bare),
            None => (true, name),
        };
        let yes = if on { "yes" } else { "no" };
        match bare {
            "idle_timeout" if on => {
                let seconds: u64 = value
                    .and_then(|value| value.parse().ok())
                    .ok_or_else(|| Failure::usage("-o idle_timeout takes a number of seconds"))?;
                settings.server.idle_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            // These two are obeyed as far as they show: the commands of the one, the statistics of the other.
            "lru_crawler" => settings.shows("lru_crawler", yes),
            "track_sizes" => settings.shows("track_sizes", yes),
            _ => tuning(word, name, on, bare, value, settings)?,
        }
    }
    Ok(())
}

/// A word of `-o` that has no effect here, read as closely as memcached reads it.
fn tuning(
    word: &str,
    name: &str,
    on: bool,
    bare: &str,
    value: Option<&str>,
    settings: &mut Settings,
) -> Result<()> {
    let Some((_, wants, shown)) = WITHOUT_EFFECT.iter().find(|(known, ..)| *known == bare) else {
        return Err(Failure::usage(format!("-o {word} is not known here")));
    };
    let text = match value {
        // Alone, as many a memcached.conf has it, this one is 1.
        None if bare == "slab_automove" => ["0", "1"][usize::from(on)],
        value => value.unwrap_or_default(),
    };
    let fits = match wants {
        Wants::Nothing => value.is_none(),
        // Turned off, it takes nothing.
        _ if !on => value.is_none(),
        Wants::Number(least, most) => text
            .parse()
            .is_ok_and(|number: u64| (*least..=*most).contains(&number)),
        Wants::Factor => text
            .parse()
            .is_ok_and(|number: f64| number > 0.0 && number.is_finite()),
        Wants::Text => !text.is_empty(),
    };
    if !fits {
        let what = match wants {
            _ if !on => "nothing".to_owned(),
            Wants::Nothing => "nothing".to_owned(),
            Wants::Number(least, most) => format!("a number from {least} to {most}"),
            Wants::Factor => "a number above 0".to_owned(),
            Wants::Text => "a value".to_owned(),
        };
        return Err(Failure::usage(format!(
            "-o {name} takes {what}, not `{text}`"
        )));
    }
    if !shown.is_empty() {
        let shown_value = match wants {
            Wants::Nothing => {
                if on {
                    "yes"
                } else {
                    "no"
                }
            }
            _ => text,
        };
        settings.shows(shown, shown_value);
    }
    settings.without_effect(&format!("-o {name}"));
    Ok(())
}

/// All addresses of this machine, in both families if it has both.
fn everywhere(port: u16) -> Vec<SocketAddr> {
    let mut all = vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)];
    let six = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    // With any free port the two families would get different ones.
    if port != 0 && std::net::TcpListener::bind(six).is_ok() {
        all.push(SocketAddr::new(six.ip(), port));
    }
    all
}

/// The socket addresses of one `-l` word: empty is all addresses, a port may follow.
fn addresses(word: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let word = word.strip_prefix("notls:").unwrap_or(word);
    if word.is_empty() || word == "*" {
        return Ok(everywhere(port));
    }
    let bare = word.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let with_port = if word.contains(':') {
        word.to_owned()
    } else {
        format!("{word}:{port}")
    };
    match with_port.to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(Failure::usage(format!("cannot listen on {word}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Settings {
        match read(lexopt::Parser::from_args(line.split(' '))) {
            Ok(Wanted::Serve(settings)) => *settings,
            Ok(_) => panic!("{line} does not serve"),
            Err(failure) => panic!("{line}: {failure}"),
        }
    }

    #[test]
    fn the_line_of_debians_init_script_is_read() {
        let read =
            settings("-d -m 64 -p 11311 -u memcache -l 127.0.0.1,::1 -P /run/m.pid -c 2048 stray");
        assert!(read.daemon && read.notes.is_empty());
        assert_eq!(read.server.cache.memory, 64 << 20);
        assert_eq!(read.server.max_connections, 2048);
        let addresses: Vec<_> = read.server.listen.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1:11311", "[::1]:11311"]);
        assert_eq!(read.user.as_deref(), Some("memcache"));
        assert_eq!(read.pid_file, Some("/run/m.pid".into()));
    }

    #[test]
    fn what_has_no_effect_is_accepted_and_listed() {
        let read = settings(
            "-f 1.1 -n 64 -R 10 -k -r -L -C -D : -o slab_reassign,hashpower=20,,modern -U 0 -p 1",
        );
        assert_eq!(read.notes.len(), 8, "{:?}", read.notes);
        assert_eq!(read.server.classes.size(1), 48 + 64);
        assert_eq!(read.server.prefixes, Some(b':'));
        assert!(settings("-o  -p 1").notes.is_empty());
        assert!(settings("-U 11211 -p 1").notes[0].contains("no UDP"));
    }

    #[test]
    fn a_unix_socket_stands_for_the_network() {
        let read = settings("-s /tmp/m.sock -a 0766 -p 11211");
        assert!(read.server.listen.is_empty());
        let socket = read.server.unix.unwrap();
        assert_eq!((socket.path, socket.mode), ("/tmp/m.sock".into(), 0o766));
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in [
            "-p x",
            "-p 65536",
            "-m 0",
            "-m -1",
            "-c 0",
            "-t 0",
            "-I 1",
            "-I 129m",
            "-I 40m",
            "-I 1g",
            "-f 1",
            "-f x",
            "-n 0",
            "-b 0",
            "-a 999",
            "-B foo",
            "-o foo",
            "-o hashpower",
            "-o hashpower=5",
            "-o slab_automove=3",
            "-o modern=1",
            "-o no_nothing",
            "-o lru_crawler_sleep=1000001",
            "-o idle_timeout",
            "-o idle_timeout=x",
            "-o ssl_chain_cert=x",
            "-S -B ascii",
            "-Y /x -B binary",
            "-Z",
            "-e /x",
            "-p 0",
            "--nope",
            "-q",
        ] {
            assert!(
                read(lexopt::Parser::from_args(line.split(' '))).is_err(),
                "{line}"
            );
        }
    }
}
