//! Static files: the handler of a `site`.
//!
//! It looks at a request and answers with a plan, which the engine carries out. It must never read anything outside
//! the root, whatever a path or a link says; never keep a worker waiting for a disk; and never crash or hang on
//! something that is no file, or not there any more.
//!
//! The way of a request, which [`Handler::step`] follows line by line:
//!
//! 1. `method`: GET and HEAD; OPTIONS is told so, everything else refused.
//! 2. `access`: the client may ask, by `deny` and `allow`.
//! 3. `name`: the path becomes a name below the root; hidden ones do not exist.
//! 4. `cache`: a file checked within the last half second is answered from memory.
//! 5. `root`, `entry`: the name, or its index, is opened below the root and made ready: at once when the kernel
//!    has it all in memory, else by another thread.
//! 6. `condition`: the client may have it already.
//! 7. `range`: it may want a part only.
//! 8. `reply`: the plan.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tandem_http::{Cx, Handler, Plan, Request, Step};
use tandem_model::Site;
use tandem_telemetry::Telemetry;
use tokio::sync::Semaphore;

mod access;
mod cache;
mod condition;
mod date;
mod entry;
mod media;
mod method;
mod name;
mod range;
mod reply;
mod root;
mod types;
mod walk;

#[cfg(test)]
mod tests;

use cache::Cache;
use condition::Conditions;
use entry::Entry;
use method::Asked;
use root::{Closed, Opened, Patience, Root};
use types::Types;

/// Files opened from disk at the same time, for one site: a disk that does not answer holds so many threads.
const OPENING: usize = 64;
/// How long a client waits for a disk to open a file before it is told that the server is busy.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// Answers requests for files. Cheap to clone.
#[derive(Clone)]
pub struct SiteHandler(Arc<Shared>);

struct Shared {
    site: Site,
    types: Types,
    root: Root,
    opening: Arc<Semaphore>,
    workers: Box<[Worker]>,
    telemetry: Telemetry,
    /// The root could be opened when it was last looked at.
    readable: AtomicBool,
}

/// What belongs to a worker.
struct Worker {
    cache: Cache,
    /// The site's name; its own copy, so that workers do not count references on a shared cache line.
    service: Arc<str>,
}

/// What a request wants of a file.
struct Ask<'a> {
    /// The path in its normal form.
    path: Cow<'a, [u8]>,
    query: Cow<'a, [u8]>,
    head: bool,
    conditions: Conditions<'a>,
}

/// What there is at a path.
enum Found {
    File(Arc<Entry>),
    /// A directory, asked for without the slash.
    Directory,
}

impl SiteHandler {
    /// Opens a site's root for so many workers (those of [`Cx::worker`]).
    ///
    /// # Errors
    /// The root is missing or cannot be entered, or a type of the site cannot be sent.
    pub fn new(site: &Site, workers: usize, telemetry: Telemetry) -> Result<Self, SiteError> {
        let fault = |fault| SiteError {
            site: site.name.clone(),
            fault,
        };
        let root =
            Root::open(&site.root).map_err(|errno| fault(Fault::Root(site.root.clone(), errno)))?;
        let types = Types::new(&site.types).map_err(|suffix| fault(Fault::Type(suffix)))?;
        let worker = |_| Worker {
            cache: Cache::share(workers.max(1)),
            service: Arc::from(site.name.as_str()),
        };
        Ok(Self(Arc::new(Shared {
            site: site.clone(),
            types,
            root,
            opening: Arc::new(Semaphore::new(OPENING)),
            workers: (0..workers.max(1)).map(worker).collect(),
            telemetry,
            readable: AtomicBool::new(true),
        })))
    }
}

impl Handler for SiteHandler {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let shared = &self.0;
        let worker = shared.worker(cx.worker);
        let head = match method::read(request.method()) {
            Asked::Get => false,
            Asked::Head => true,
            Asked::Options => return Step::Plan(reply::options(&worker.service)),
            Asked::Unknown => return Step::Plan(reply::page(405, &worker.service)),
        };
        if !access::permits(&shared.site, request.client) {
            return Step::Plan(reply::page(403, &worker.service));
        }
        let Some(name) = name::below_root(request.path(), shared.site.hidden) else {
            return Step::Plan(reply::page(404, &worker.service));
        };
        let ask = Ask {
            path: Cow::Borrowed(request.path()),
            query: Cow::Borrowed(request.query()),
            head,
            conditions: Conditions::of(request),
        };
        if let Some(entry) = worker.cache.fresh(name, cx.now) {
            return Step::Plan(answer(&ask, Ok(Found::File(entry)), worker));
        }
        match shared.look(name, worker, cx.now, Patience::None) {
            Err(Closed::Patience) => self.later(name, ask.into_owned(), *cx),
            found => Step::Plan(answer(&ask, found, worker)),
        }
    }
}

impl SiteHandler {
    /// Has another thread wait for the disk.
    fn later(&self, name: &[u8], ask: Ask<'static>, cx: Cx) -> Step {
        let shared = self.0.clone();
        let name = name.to_vec();
        Step::Later(Box::pin(async move {
            let found = tokio::time::timeout(OPENED_WITHIN, shared.clone().look_on_disk(name, cx));
            let found = found.await.unwrap_or(Err(Closed::Busy));
            answer(&ask, found, shared.worker(cx.worker))
        }))
    }
}

impl Shared {
    fn worker(&self, index: usize) -> &Worker {
        &self.workers[index % self.workers.len()]
    }

    /// As [`look`](Self::look), on a thread that may wait.
    async fn look_on_disk(self: Arc<Self>, name: Vec<u8>, cx: Cx) -> Result<Found, Closed> {
        // Never closed, so this fails only after a bug; the client is then told to try again.
        let permit = self
            .opening
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Closed::Busy)?;
        let look = tokio::task::spawn_blocking(move || {
            let found = self.look(&name, self.worker(cx.worker), cx.now, Patience::Disk);
            drop(permit);
            found
        });
        look.await.unwrap_or(Err(Closed::Failed))
    }

    /// Finds a name, or the index of a directory (a name that is empty or ends with a slash), and keeps it.
    fn look(
        &self,
        name: &[u8],
        worker: &Worker,
        now: Instant,
        patience: Patience,
    ) -> Result<Found, Closed> {
        let mut found = self.find(name, worker, now, patience);
        if matches!(found, Err(Closed::Busy)) {
            // The descriptors that are missing may be the cache's own.
            worker.cache.clear();
            found = self.find(name, worker, now, patience);
        }
        match &found {
            Ok(Found::File(entry)) => worker.cache.keep(name, entry.clone(), now),
            Err(Closed::Patience | Closed::Busy) => {}
            Ok(Found::Directory) | Err(_) => worker.cache.forget(name),
        }
        found
    }

    fn find(
        &self,
        name: &[u8],
        worker: &Worker,
        now: Instant,
        patience: Patience,
    ) -> Result<Found, Closed> {
        let held = self.root.directory(now, patience)?;
        self.report(held.fd().err());
        if !name.is_empty() && !name.ends_with(b"/") {
            return match self.root.find(&held, name, patience)? {
                Opened::Directory => Ok(Found::Directory),
                Opened::File(file, stat) => self.ready(name, name, file, &stat, worker, patience),
            };
        }
        for index in &self.site.index {
            let file_name = [name, index.as_bytes()].concat();
            match self.root.find(&held, &file_name, patience) {
                Ok(Opened::File(file, stat)) => {
                    return self.ready(name, &file_name, file, &stat, worker, patience);
                }
                Ok(Opened::Directory) | Err(Closed::Missing) => {}
                Err(closed) => return Err(closed),
            }
        }
        // A directory without an index is not listed; what is not even a directory is not there.
        match self.root.find(&held, name, patience)? {
            Opened::Directory => Err(Closed::Forbidden),
            Opened::File(..) => Err(Closed::Missing),
        }
    }

    /// The file as it was kept under `name`, if it is unchanged; else read anew.
    fn ready(
        &self,
        name: &[u8],
        file_name: &[u8],
        file: rustix::fd::OwnedFd,
        stat: &rustix::fs::Stat,
        worker: &Worker,
        patience: Patience,
    ) -> Result<Found, Closed> {
        if let Some(known) = worker.cache.known(name)
            && known.is(stat)
        {
            return Ok(Found::File(known));
        }
        let kind = self.types.of(file_name);
        Entry::load(file, stat, &kind, patience).map(|entry| Found::File(Arc::new(entry)))
    }

    /// Says once that the root cannot be opened any more, and once that it can again.
    fn report(&self, fault: Option<Errno>) {
        let readable = fault.is_none();
        if self.readable.load(Relaxed) == readable
            || self.readable.swap(readable, Relaxed) == readable
        {
            return;
        }
        let subject = format!("site {}", self.site.name);
        let path = self.root.path().display();
        match fault {
            None => self
                .telemetry
                .events
                .info(subject, format!("the root {path} is readable again")),
            Some(errno) => {
                let why = std::io::Error::from(errno);
                let events = &self.telemetry.events;
                events.error(
                    subject,
                    format!("the root {path} cannot be opened any more: {why}"),
                );
            }
        }
    }
}

impl Ask<'_> {
    fn into_owned(self) -> Ask<'static> {
        Ask {
            path: Cow::Owned(self.path.into_owned()),
            query: Cow::Owned(self.query.into_owned()),
            head: self.head,
            conditions: self.conditions.into_owned(),
        }
    }
}

fn answer(ask: &Ask<'_>, found: Result<Found, Closed>, worker: &Worker) -> Plan {
    let service = &worker.service;
    match found {
        Ok(Found::File(entry)) => reply::file(&entry, ask.head, &ask.conditions, service),
        Ok(Found::Directory) => reply::redirect(&name::with_slash(&ask.path, &ask.query), service),
        Err(Closed::Missing) => reply::page(404, service),
        Err(Closed::Forbidden) => reply::page(403, service),
        Err(Closed::Busy | Closed::Patience) => reply::page(503, service),
        Err(Closed::Failed) => reply::page(500, service),
    }
}

/// Why a site cannot be served, in one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteError {
    site: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Root(PathBuf, Errno),
    Type(String),
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "site \"{}\": ", self.site)?;
        match &self.fault {
            Fault::Root(path, errno) => {
                let path = path.display();
                match *errno {
                    Errno::NOENT => write!(
                        f,
                        "its root {path} does not exist: create it or correct `root`"
                    ),
                    Errno::NOTDIR => {
                        write!(f, "its root {path} is not a directory: correct `root`")
                    }
                    Errno::ACCESS => write!(
                        f,
                        "its root {path} may not be entered by this user: give it the permission (chmod +x on it and \
                         the directories above) or correct `root`"
                    ),
                    errno => {
                        let why = std::io::Error::from(errno);
                        write!(f, "its root {path} cannot be opened: {why}")
                    }
                }
            }
            Fault::Type(suffix) => write!(
                f,
                "the type of \"{suffix}\" cannot be sent: use a media type like \"text/html\" in `types`"
            ),
        }
    }
}

impl std::error::Error for SiteError {}
