//! `tandem memcached`

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::Arg::{Long, Short};
use tandem_cache::server::{Options, Server};
use tandem_telemetry::Events;
use tandem_telemetry::event::Log;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{self, Command};
use crate::exit::{Failure, Result};
use crate::process;

/// The command.
pub const COMMAND: Command = Command {
    name: "memcached",
    summary: "a memcached server",
    help: "\
usage: tandem memcached [OPTIONS]

A memcached server, text protocol. Options are memcached's own:

  -p, --port NUM               TCP port (11211)
  -l, --listen ADDR[,ADDR]     addresses to listen on, each with :PORT if another (all)
  -m, --memory-limit NUM       memory for items in megabytes (64)
  -M, --disable-evictions      refuse when memory is full instead of dropping items
  -c, --conn-limit NUM         connections at most (1024)
  -t, --threads NUM            worker threads (4)
  -I, --max-item-size NUM      largest item: bytes, or with k or m (1m)
  -b, --listen-backlog NUM     connections that wait to be accepted (1024)
  -o, --extended idle_timeout=SECONDS
                               close connections that are silent for so long
  -v, --verbose                accepted, without effect
  -V, --version                the version
  -h, --help                   this

SIGTERM and SIGINT stop it.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let mut options = Options::new(env!("CARGO_PKG_VERSION"));
    let (mut port, mut listen) = (11211, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('p') | Long("port") => port = number(&mut args, "-p", 0, 65_535)? as u16,
            Short('l') | Long("listen") => {
                let list = args.value()?.to_string_lossy().into_owned();
                listen.extend(list.split(',').map(str::to_owned));
            }
            Short('m') | Long("memory-limit") => {
                options.cache.memory = (number(&mut args, "-m", 1, 1 << 24)? as usize) << 20;
            }
            Short('M') | Long("disable-evictions") => options.cache.evict = false,
            Short('c') | Long("conn-limit") => {
                options.max_connections = number(&mut args, "-c", 1, 1 << 24)? as usize;
            }
            Short('t') | Long("threads") => {
                options.threads = number(&mut args, "-t", 1, 64)? as usize;
            }
            Short('I') | Long("max-item-size") => options.cache.max_item = item_size(&mut args)?,
            Short('b') | Long("listen-backlog") => {
                options.backlog = number(&mut args, "-b", 1, 1 << 20)? as i32;
            }
            Short('o') | Long("extended") => extended(&mut args, &mut options)?,
            Short('v') | Long("verbose") => {}
            Short('V') | Long("version") => {
                return cli::say(&format!(
                    "memcached {} (tandem)\n",
                    env!("CARGO_PKG_VERSION")
                ));
            }
            Short('h') => return cli::say(COMMAND.help),
            _ => return Err(arg.unexpected().into()),
        }
    }
    if listen.is_empty() {
        listen.push(String::new());
    }
    for address in &listen {
        options.listen.extend(addresses(address, port)?);
    }
    process::raise_descriptor_limit();
    options.events = Some(Events::new("memcached", Log::Stderr));
    let server = Server::bind(options).map_err(|error| Failure::usage(error.to_string()))?;
    serve(server)
}

/// Runs until SIGTERM or SIGINT.
fn serve(server: Server) -> Result {
    let failed = |error: std::io::Error| Failure::failed(error.to_string());
    let (stop, stopped) = watch::channel(false);
    let signals = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    std::thread::spawn(move || {
        signals.block_on(async {
            let (Ok(mut term), Ok(mut int)) = (
                signal(SignalKind::terminate()),
                signal(SignalKind::interrupt()),
            ) else {
                return;
            };
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        });
        stop.send_replace(true);
    });
    server.run(stopped).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn number(args: &mut lexopt::Parser, option: &str, least: u64, most: u64) -> Result<u64> {
    let value = args.value()?;
    let text = value.to_string_lossy();
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Failure::usage(format!(
            "{option} takes a number from {least} to {most}, not `{text}`"
        ))),
    }
}

fn item_size(args: &mut lexopt::Parser) -> Result<usize> {
    let value = args.value()?;
    let text = value.to_string_lossy().to_lowercase();
    let (digits, shift) = match text.strip_suffix(['k', 'm']) {
        Some(digits) => (digits, if text.ends_with('k') { 10 } else { 20 }),
        None => (&*text, 0),
    };
    let size = digits
        .parse::<usize>()
        .ok()
        .and_then(|size| size.checked_mul(1 << shift));
    match size {
        Some(size) if (1024..=128 << 20).contains(&size) => Ok(size),
        _ => Err(Failure::usage(format!(
            "-I takes a size from 1024 to 128m, not `{text}`"
        ))),
    }
}

fn extended(args: &mut lexopt::Parser, options: &mut Options) -> Result<()> {
    let value = args.value()?;
    for word in value
        .to_string_lossy()
        .split(',')
        .filter(|word| !word.is_empty())
    {
        match word.split_once('=') {
            Some(("idle_timeout", seconds)) => {
                let seconds: u64 = seconds
                    .parse()
                    .map_err(|_| Failure::usage("-o idle_timeout takes a number of seconds"))?;
                options.idle_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            _ => {
                return Err(Failure::usage(format!(
                    "-o {word} is not known here; idle_timeout=SECONDS is"
                )));
            }
        }
    }
    Ok(())
}

/// The socket addresses of one `-l` word: empty is all addresses, a port may follow.
fn addresses(word: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if word.is_empty() || word == "*" {
        return Ok(vec![SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port)]);
    }
    if let Ok(ip) = word.parse::<IpAddr>() {
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
