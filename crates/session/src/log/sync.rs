//! Group commit: a thread that flushes files to disk, many appends to one flush, and does what else waits for the disk, so
//! that nobody who is served does.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
#[cfg(not(test))]
use std::sync::mpsc::{Receiver, Sender, channel};
#[cfg(not(test))]
use std::thread;

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Work {
    /// This file was written to.
    Flush(Arc<File>),
    Do(Box<dyn FnOnce() -> io::Result<()> + Send>),
}

/// Something to be done in its turn, and who waits for it.
pub struct Job {
    work: Option<Work>,
    /// Told when it is done.
    done: Option<Done>,
}

impl Job {
    /// What was written to the file is to be on the disk.
    pub fn flush(file: Arc<File>, done: impl FnOnce(io::Result<()>) + Send + 'static) -> Self {
        Self {
            work: Some(Work::Flush(file)),
            done: Some(Box::new(done)),
        }
    }

    /// This is to be done when all that was asked for before is on the disk, and only then.
    pub fn after(
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> Self {
        Self {
            work: Some(Work::Do(Box::new(work))),
            done: Some(Box::new(done)),
        }
    }

    fn tell(mut self, result: &io::Result<()>) {
        if let Some(done) = self.done.take() {
            done(copy(result));
        }
    }
}

impl Drop for Job {
    /// What a panic of the thread leaves undone is told as that: whoever waits must not wait for ever.
    fn drop(&mut self) {
        if let Some(done) = self.done.take().filter(|_| std::thread::panicking()) {
            done(Err(gone()));
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the flushing thread is gone")
}

fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Whether a flush has failed. What it was for may be gone: the kernel counts it as written from then on, and the next flush
/// would succeed without it. So there is no next one; whoever opens the log anew writes again what was not flushed.
#[derive(Clone, Default)]
struct Broken(Arc<AtomicBool>);

impl Broken {
    fn unless(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.0.load(SeqCst) {
            return Err(io::Error::other("a flush before this one has failed"));
        }
        work().inspect_err(|_| self.0.store(true, SeqCst))
    }
}

/// The thread. It ends when this is dropped. Openraft bounds what is in flight.
#[cfg(not(test))]
pub struct Flusher(Sender<Job>);

#[cfg(not(test))]
impl Flusher {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = channel();
        let broken = Broken::default();
        thread::Builder::new()
            .name("session-flush".into())
            .spawn(move || run(&queue, &broken))?;
        Ok(Self(jobs))
    }

    /// Has it done, after everything asked for before.
    pub fn ask(&self, job: Job) {
        if let Err(back) = self.0.send(job) {
            back.0.tell(&Err(gone()));
        }
    }
}

#[cfg(not(test))]
fn run(queue: &Receiver<Job>, broken: &Broken) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter());
        work_off(jobs, broken);
    }
}

/// Has what was written to a file put on the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    {
        crate::sim::disk::waits();
        crate::sim::disk::flushed(file)?;
    }
    file.sync_data()
}

fn work_off(jobs: Vec<Job>, broken: &Broken) {
    let mut result = Ok(());
    let mut flushing = Vec::new();
    for mut job in jobs {
        match job.work.take() {
            Some(Work::Flush(file)) => flushing.push((file, job)),
            Some(Work::Do(work)) => {
                flush(std::mem::take(&mut flushing), &mut result, broken);
                result = result.and_then(|()| broken.unless(work));
                job.tell(&result);
            }
            None => {}
        }
    }
    flush(flushing, &mut result, broken);
}

fn flush(jobs: Vec<(Arc<File>, Job)>, result: &mut io::Result<()>, broken: &Broken) {
    // Appends go to one segment after another: one flush a segment, in order.
    let mut flushed: Option<&Arc<File>> = None;
    for (file, _) in &jobs {
        if flushed.is_none_or(|f| !Arc::ptr_eq(f, file)) {
            if result.is_ok() {
                *result = broken.unless(|| sync_data(file));
            }
            flushed = Some(file);
        }
    }
    for (_, job) in jobs {
        job.tell(result);
    }
}

/// In a simulation: a task, whose disk is slow at times.
#[cfg(test)]
pub struct Flusher(tokio::sync::mpsc::UnboundedSender<Job>);

#[cfg(test)]
impl Flusher {
    pub fn start() -> io::Result<Self> {
        let (jobs, mut queue) = tokio::sync::mpsc::unbounded_channel();
        let broken = Broken::default();
        crate::rt::spawn(async move {
            while let Some(first) = queue.recv().await {
                let mut jobs = vec![first];
                while let Ok(job) = queue.try_recv() {
                    jobs.push(job);
                }
                let broken = broken.clone();
                crate::rt::blocking(move || {
                    work_off(jobs, &broken);
                    Ok(())
                })
                .await?;
            }
            io::Result::Ok(())
        });
        Ok(Self(jobs))
    }

    pub fn ask(&self, job: Job) {
        // The task lives as long as its host.
        let _ = self.0.send(job);
    }
}
