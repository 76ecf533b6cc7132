//! Group commit: a thread that flushes files to disk, many appends to one flush.

use std::fs::File;
use std::io;
use std::sync::Arc;
#[cfg(not(test))]
use std::sync::mpsc::{Receiver, Sender, channel};
#[cfg(not(test))]
use std::thread;

/// Something to be flushed, and who waits for it.
pub struct Job {
    /// The file that was written to.
    pub file: Arc<File>,
    /// Told when it is on the disk.
    pub done: Box<dyn FnOnce(io::Result<()>) + Send>,
}

/// The thread. It ends when this is dropped. Openraft bounds what is in flight.
#[cfg(not(test))]
pub struct Flusher(Sender<Job>);

#[cfg(not(test))]
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

#[cfg(not(test))]
fn run(queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter());
        flush(jobs);
    }
}

/// Has what was written to a file put on the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    crate::sim::disk::flushed(file);
    file.sync_data()
}

fn flush(jobs: Vec<Job>) {
    // Appends go to one segment after another: one flush a segment, in order.
    let mut result = Ok(());
    let mut flushed: Option<Arc<File>> = None;
    for file in jobs.iter().map(|job| &job.file) {
        if flushed.as_ref().is_none_or(|f| !Arc::ptr_eq(f, file)) {
            result = result.and_then(|()| sync_data(file));
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

/// In a simulation: a task, whose disk is slow at times.
#[cfg(test)]
pub struct Flusher(tokio::sync::mpsc::UnboundedSender<Job>);

#[cfg(test)]
impl Flusher {
    pub fn start() -> io::Result<Self> {
        let (jobs, mut queue) = tokio::sync::mpsc::unbounded_channel();
        crate::rt::spawn(async move {
            while let Some(first) = queue.recv().await {
                let mut jobs = vec![first];
                while let Ok(job) = queue.try_recv() {
                    jobs.push(job);
                }
                crate::rt::blocking(move || {
                    flush(jobs);
                    Ok(())
                })
                .await?;
            }
            io::Result::Ok(())
        });
        Ok(Self(jobs))
    }

    pub fn flush(&self, job: Job) {
        // The task lives as long as its host.
        let _ = self.0.send(job);
    }
}
