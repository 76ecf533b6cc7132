//! Group commit: a thread that flushes files to disk, many appends to one flush.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Something to be flushed, and who waits for it.
pub struct Job {
    /// The file that was written to.
    pub file: Arc<File>,
    /// Told when it is on the disk.
    pub done: Box<dyn FnOnce(io::Result<()>) + Send>,
}

/// The thread. It ends when this is dropped. Openraft bounds what is in flight.
pub struct Flusher(Sender<Job>);

impl Flusher {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = channel();
        thread::Builder::new()
            .name("session-flush".into())
            .spawn(move || run(&queue))?;
        Ok(Self(jobs))
    }

    /// Has the file flushed, after everything asked for before.
    pub fn flush(&self, job: Job) {
        if let Err(gone) = self.0.send(job) {
            (gone.0.done)(Err(io::Error::other("the flushing thread is gone")));
        }
    }
}

fn run(queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter());
        // Appends go to one segment after another: one flush a segment, in order.
        let mut result = Ok(());
        let mut flushed: Option<Arc<File>> = None;
        for file in jobs.iter().map(|job| &job.file) {
            if flushed.as_ref().is_none_or(|f| !Arc::ptr_eq(f, file)) {
                result = result.and_then(|()| file.sync_data());
                flushed = Some(file.clone());
            }
        }
        for job in jobs {
            let copy = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            (job.done)(copy);
        }
    }
}
