//! What a program prints becomes lines of the node's log.

use std::io::{self, PipeReader, PipeWriter, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

/// A longer line is cut, in bytes.
const LONGEST: usize = 8 * 1024;
/// What takes the place of what was cut off.
const CUT: &[u8] = b" [cut]";

/// The stack of a thread that only moves lines, in bytes.
const STACK: usize = 128 * 1024;

/// A thread that takes what a program prints, to its end. A thread, because a log that is stuck must not stop anything
/// but the program that prints.
pub(crate) struct Printing {
    prints: OwnedFd,
    stop: PipeWriter,
    thread: JoinHandle<Vec<u8>>,
}

impl Printing {
    /// Starts it. `begun` is the beginning of a line that was read before.
    pub(crate) fn start(
        name: &str,
        prints: OwnedFd,
        begun: Vec<u8>,
        line: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let from = Stoppable {
            prints: prints.try_clone()?.into(),
            stopped: Some(stopped),
            is_stopped: false,
        };
        let thread = std::thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || forward(from, begun, line))?;
        Ok(Self {
            prints,
            stop,
            thread,
        })
    }

    /// Stops reading. The pipe, and the beginning of a line that was read from it.
    pub(crate) fn stop(mut self) -> (OwnedFd, Vec<u8>) {
        // It cannot fail while the thread reads; and when it does not, it has ended.
        let _ = self.stop.write_all(b"s");
        (self.prints, self.thread.join().unwrap_or_default())
    }
}

/// What is printed, to its end or until it is to be read no more.
struct Stoppable {
    prints: PipeReader,
    /// A byte in it is the order to stop; without one its end means nothing.
    stopped: Option<PipeReader>,
    is_stopped: bool,
}

impl Read for Stoppable {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(stopped) = &mut self.stopped {
            let prints = self.prints.as_fd();
            let mut both =
                [stopped.as_fd(), prints].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            poll(&mut both, None)?;
            let [ordered, printed] = both.map(|one| !one.revents().is_empty());
            if ordered {
                self.is_stopped = stopped.read(&mut [0])? > 0;
                self.stopped = None;
            } else if printed {
                break;
            }
        }
        if self.is_stopped {
            return Ok(0);
        }
        self.prints.read(into)
    }
}

impl Stop for Stoppable {
    fn is_stopped(&self) -> bool {
        self.is_stopped
    }
}

/// Something that may end before its end.
trait Stop: Read {
    /// Whether more will come, to somebody else.
    fn is_stopped(&self) -> bool;
}

/// Calls `line` for every line of `from` until it ends, and returns the beginning of a line that somebody else is to
/// end. Memory is one line and one buffer, however much is printed: a program that prints faster than lines are taken
/// waits.
fn forward(mut from: impl Stop, mut held: Vec<u8>, mut line: impl FnMut(&[u8])) -> Vec<u8> {
    let mut buffer = [0; 4 * 1024];
    held.truncate(LONGEST);
    let mut cut = false;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for piece in buffer[..read].split_inclusive(|&b| b == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LONGEST - held.len();
            held.extend_from_slice(&text[..text.len().min(room)]);
            cut |= text.len() > room;
            if ends {
                emit(&mut held, &mut cut, &mut line);
            }
        }
    }
    if !held.is_empty() && !from.is_stopped() {
        emit(&mut held, &mut cut, &mut line);
    }
    held
}

fn emit(held: &mut Vec<u8>, cut: &mut bool, line: &mut impl FnMut(&[u8])) {
    if std::mem::take(cut) {
        held.extend_from_slice(CUT);
    }
    line(held.strip_suffix(b"\r").unwrap_or(held));
    held.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: impl Read) -> Vec<String> {
        let mut lines = Vec::new();
        let rest = forward(Whole(from), Vec::new(), |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
        });
        assert!(rest.is_empty());
        lines
    }

    /// Ends where it ends.
    struct Whole<R>(R);

    impl<R: Read> Read for Whole<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    impl<R: Read> Stop for Whole<R> {
        fn is_stopped(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_line_that_one_reader_began_another_ends() {
        let (prints, mut program) = io::pipe().unwrap();
        let (told, lines) = std::sync::mpsc::channel();
        let tell = move |told: std::sync::mpsc::Sender<String>| {
            move |line: &[u8]| {
                told.send(String::from_utf8_lossy(line).into_owned())
                    .unwrap();
            }
        };
        let first = Printing::start("a", prints.into(), Vec::new(), tell(told.clone())).unwrap();
        program.write_all(b"one\nha").unwrap();
        assert_eq!(lines.recv().unwrap(), "one");
        let (prints, begun) = first.stop();
        let second = Printing::start("b", prints, begun, tell(told)).unwrap();
        program.write_all(b"lf\nlast").unwrap();
        drop(program);
        assert_eq!(lines.recv().unwrap(), "half");
        assert_eq!(lines.recv().unwrap(), "last", "its end ends a line too");
        let (_, rest) = second.stop();
        assert!(rest.is_empty());
    }

    /// Gives a few bytes at a time.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(3).min(into.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let text = b"one\ntwo\r\n\nfour without end";
        let expected = ["one", "two", "", "four without end"];
        assert_eq!(lines(&text[..]), expected);
        assert_eq!(lines(Slowly(text)), expected);
    }

    #[test]
    fn a_flood_without_a_line_end_takes_one_line_of_memory() {
        let flood = io::repeat(b'x').take(64 << 20);
        let lines = lines(flood.chain(&b"\nnext\n"[..]));
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), LONGEST + CUT.len());
        assert!(lines[0].ends_with("x [cut]"));
        assert_eq!(lines[1], "next");
    }
}
