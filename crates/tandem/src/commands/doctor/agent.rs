//! Whether an agent answers and keeps what it is given.

use std::io::{self, BufRead, BufReader, Error, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::finding::Findings;

/// To connect: an agent is on this machine or near.
const CONNECT: Duration = Duration::from_secs(2);
/// For an answer: more than an agent itself takes to give up.
const ANSWER: Duration = Duration::from_secs(7);
/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 8192;
/// Statistics are not more lines than this.
const MAX_LINES: usize = 1000;
/// Seconds the item lives if it cannot be removed.
const LIFE: u32 = 60;

/// Looks at the agent at `host:port`.
pub fn look(address: &str, findings: &mut Findings) {
    let mut agent = match Agent::connect(address) {
        Ok(agent) => agent,
        Err(error) => {
            findings.wrong(format!(
                "No agent answers at {address} ({error}): start Tandem on this machine with a file whose [sessions] has an agent \
                 here, or set `sessions` in context.xml to where it is."
            ));
            return;
        }
    };
    match agent.round_trip() {
        Ok(()) => findings.good(format!(
            "The session tier keeps what it is given through {address}: an item was stored, read and removed."
        )),
        Err(error) => {
            findings.wrong(format!(
                "{address} answers, but does not keep what it is given ({error}): look at `tandem status` and the nodes of \
                 [sessions]; a memcached of its own must be version 1.6 or newer."
            ));
            return;
        }
    }
    match agent.is_tandem() {
        Ok(true) => findings.good("It is an agent of Tandem: every session is on several nodes."),
        Ok(false) => findings.note(format!(
            "{address} is a memcached, and no agent of Tandem: sessions are lost with it. Point Tomcat at an agent."
        )),
        Err(error) => findings.note(format!("{address} does not say what it is ({error}).")),
    }
}

struct Agent(BufReader<TcpStream>);

impl Agent {
    fn connect(address: &str) -> io::Result<Self> {
        let mut why = Error::other("it names no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(ANSWER))?;
                    stream.set_write_timeout(Some(ANSWER))?;
                    return Ok(Self(BufReader::new(stream)));
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn round_trip(&mut self) -> io::Result<()> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Error::other(error.to_string()))?;
        let token = format!("{:016x}", u64::from_be_bytes(random));
        let key = format!("tandem-doctor-{token}");
        self.expect(
            &format!("ms {key} {} ME T{LIFE}\r\n{token}\r\n", token.len()),
            "HD",
        )?;
        self.expect(&format!("mg {key} v\r\n"), &format!("VA {}", token.len()))?;
        let value = self.line()?;
        if value != token {
            return Err(Error::other(format!("it gave back {value:?}")));
        }
        self.expect(&format!("md {key}\r\n"), "HD")?;
        self.expect(&format!("mg {key} v\r\n"), "EN")
    }

    fn is_tandem(&mut self) -> io::Result<bool> {
        self.0.get_mut().write_all(b"stats\r\n")?;
        let mut tandem = false;
        for _ in 0..MAX_LINES {
            let line = self.line()?;
            if line == "END" {
                return Ok(tandem);
            }
            if !line.starts_with("STAT ") {
                return Err(Error::other(line));
            }
            tandem |= line.starts_with("STAT tandem_leader ");
        }
        Err(Error::other("statistics without end"))
    }

    fn expect(&mut self, command: &str, answer: &str) -> io::Result<()> {
        self.0.get_mut().write_all(command.as_bytes())?;
        let line = self.line()?;
        if line.trim_end() == answer {
            Ok(())
        } else {
            let verb = command.split(' ').next().unwrap_or_default();
            Err(Error::other(format!("{verb} was answered {line:?}")))
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').into())
    }
}
