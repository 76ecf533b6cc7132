//! Lines on their way to the log, which may be stuck: a pipe that nobody reads, a disk that hangs.
//!
//! A thread of its own writes them. Events are queued without waiting; a program's lines wait a while for room, which
//! makes the program wait. What finds no room is left out and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of lines that may wait.
const ROOM: usize = 1 << 20;
/// Of those, bytes that programs' lines may take: events find room beside any flood of them.
const PRINTED: usize = 64 * 1024;
/// How long a program's line waits for room. Whoever stops listening to a program waits for that line, too.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) struct Writer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Lines came, or were written.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Left out since the last that said so.
    lost: u64,
    /// A thread writes.
    is_apart: bool,
    /// The thread has taken lines that are not written yet.
    is_writing: bool,
    ended: bool,
}

impl Writer {
    /// Lines go to standard error at first, written by whoever has one.
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// From now on a thread writes them, to `out`.
    pub(super) fn start(&self, out: impl Write + Send + 'static) -> io::Result<()> {
        let shared = self.0.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || shared.write(out))?;
        self.0.queue().is_apart = true;
        Ok(())
    }

    /// Takes a line without waiting; `lost` makes one that says how many were left out.
    pub(super) fn say(&self, line: Vec<u8>, lost: impl FnOnce(u64) -> Vec<u8>) {
        self.0.put(self.0.queue(), line, ROOM, lost);
    }

    /// Takes a line that a program printed; waits a while when there is no room.
    pub(super) fn print(&self, line: Vec<u8>, lost: impl FnOnce(u64) -> Vec<u8>) {
        let is_full = |queue: &mut Queue| queue.bytes >= PRINTED;
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.0.queue(), PATIENCE, is_full);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.0.put(queue, line, PRINTED, lost);
    }

    /// Waits until all lines are written, but no longer than this.
    pub(super) fn flush(&self, within: Duration) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.0.queue(), within, is_busy);
        drop(waited);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.queue().ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn put(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        line: Vec<u8>,
        room: usize,
        lost: impl FnOnce(u64) -> Vec<u8>,
    ) {
        if !queue.is_apart {
            drop(queue);
            // One write for a line, so that those of several threads do not mix. A full or closed log stops nothing.
            let _ = io::stderr().lock().write_all(&line);
            return;
        }
        if queue.bytes >= room {
            queue.lost += 1;
            return;
        }
        if queue.lost > 0 {
            let told = lost(std::mem::take(&mut queue.lost));
            queue.push(told);
        }
        queue.push(line);
        drop(queue);
        self.changed.notify_all();
    }

    /// The thread.
    fn write(&self, mut out: impl Write) {
        let mut queue = self.queue();
        loop {
            let is_idle = |queue: &mut Queue| queue.lines.is_empty() && !queue.ended;
            let waited = self.changed.wait_while(queue, is_idle);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(line) = queue.lines.pop_front() else {
                return;
            };
            queue.is_writing = true;
            drop(queue);
            // A full or closed log stops nothing.
            let _ = out.write_all(&line);
            queue = self.queue();
            queue.is_writing = false;
            // Not before: what is stuck takes its room.
            queue.bytes -= line.len();
            self.changed.notify_all();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_log_that_is_stuck_holds_up_nobody_and_what_was_left_out_is_counted() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = Writer::new();
        writer.start(pipe).unwrap();
        let line = vec![b'x'; 1023];
        let line = || [&line[..], b"\n"].concat();
        let lost = |n| format!("{n} lost\n").into_bytes();
        // A program, until its line has waited for as long as one does.
        while writer.0.queue().lost == 0 {
            writer.print(line(), lost);
        }
        // Events beside it, and more than there is room for.
        for _ in 0..2 * ROOM / 1024 {
            writer.say(line(), lost);
        }
        assert!(writer.0.queue().bytes < ROOM + 2048);
        let left_out = writer.0.queue().lost;
        assert!(left_out > 500, "{left_out}");
        // Somebody reads again.
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        writer.flush(Duration::from_mins(1));
        writer.say(b"the last\n".to_vec(), lost);
        drop(writer);
        let text = read.join().unwrap();
        assert!(text.contains("\n1 lost\n"), "of the program");
        let last = format!("\n{left_out} lost\nthe last\n");
        assert!(text.ends_with(&last), "{}", &text[text.len() - 100..]);
    }
}
