//! Group commit: a thread that flushes files to disk, many appends to one flush.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
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

/// Whether a flush has failed. What it was for may be gone: the kernel counts it as written from then on, and the next flush
/// would succeed without it. So there is no next one; whoever opens the log anew writes again what was not flushed.
#[derive(Clone, Default)]
struct Broken(Arc<AtomicBool>);

impl Broken {
    fn sync(&self, file: &File) -> io::Result<()> {
        if self.0.load(SeqCst) {
            return Err(io::Error::other("a flush before this one has failed"));
        }
        sync_data(file).inspect_err(|_| self.0.store(true, SeqCst))
    }
}

/// The thread. It ends when this is dropped. Openraft bounds what is in flight.
#[cfg(not(test))]
pub struct Flusher(Sender<Job>, Broken);

#[cfg(not(test))]
impl Flusher {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = channel();
        let broken = Broken::default();
        let flushing = broken.clone();
        thread::Builder::new()
            .name("session-flush".into())
            .spawn(move || run(&queue, &flushing))?;
        Ok(Self(jobs, broken))
    }

    /// Has the file flushed, after everything asked for before.
    pub fn flush(&self, job: Job) {
        if let Err(gone) = self.0.send(job) {
            (gone.0.done)(Err(io::Error::other("the flushing thread is gone")));
        }
    }
}

impl Flusher {
    /// Flushes the file at once.
    pub fn sync(&self, file: &File) -> io::Result<()> {
        self.1.sync(file)
    }
}

#[cfg(not(test))]
fn run(queue: &Receiver<Job>, broken: &Broken) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter());
        flush(jobs, broken);
    }
}

/// Has what was written to a file put on the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    crate::sim::disk::flushed(file)?;
    file.sync_data()
}

fn flush(jobs: Vec<Job>, broken: &Broken) {
    // Appends go to one segment after another: one flush a segment, in order.
    let mut result = Ok(());
    let mut flushed: Option<Arc<File>> = None;
    for file in jobs.iter().map(|job| &job.file) {
        if flushed.as_ref().is_none_or(|f| !Arc::ptr_eq(f, file)) {
            result = result.and_then(|()| broken.sync(file));
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
pub struct Flusher(tokio::sync::mpsc::UnboundedSender<Job>, Broken);

#[cfg(test)]
impl Flusher {
    pub fn start() -> io::Result<Self> {
        let (jobs, mut queue) = tokio::sync::mpsc::unbounded_channel();
        let broken = Broken::default();
        let flushing = broken.clone();
        crate::rt::spawn(async move {
            while let Some(first) = queue.recv().await {
                let mut jobs = vec![first];
                while let Ok(job) = queue.try_recv() {
                    jobs.push(job);
                }
                let broken = flushing.clone();
                crate::rt::blocking(move || {
                    flush(jobs, &broken);
                    Ok(())
                })
                .await?;
            }
            io::Result::Ok(())
        });
        Ok(Self(jobs, broken))
    }

    pub fn flush(&self, job: Job) {
        // The task lives as long as its host.
        let _ = self.0.send(job);
    }
}
