//! Static files: the handler of a `site`.
//!
//! It looks at a request and answers with a plan, which the engine carries out. It must never read anything outside
//! the root, whatever a path or a link says; never keep a worker waiting for a disk; and never crash or hang on
//! something that is no file, or not there any more.
//!
//! The way of a request, which `SiteHandler::answer` follows line by line:
//!
//! 1. `method`: GET and HEAD; OPTIONS is told so, everything else refused.
//! 2. `access`: the client may ask, by `deny` and `allow`.
//! 3. `name`: the path becomes a name below the root; hidden ones do not exist. `status` has a path of its own.
//! 4. `coding`: what the client would rather have than the file as it is.
//! 5. `cache`: a file that is known to be unchanged (`watch`) or was checked within the last half second is answered from
//!    memory.
//! 6. `find`: the name, or its index, is opened below its `place` and `root`, and its `entry` made ready: at once when
//!    the kernel has it all in memory, else by another thread, which also `compress`es and makes a `listing`.
//! 7. `condition`: the client may have it already.
//! 8. `range`: it may want a part only, or several (`multipart`).
//!    A Flash video may be wanted from the middle (`flv`).
//! 9. `reply`: the plan.
//! 10. `errors`: the site's own page of an error.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tandem_http::apart::{Apart, Undone};
use tandem_http::policy::coding::Preference;
use tandem_http::{Cx, Handler, Plan, Reply, Request, Step};
use tandem_model::{Coding, Site};
use tandem_telemetry::{Telemetry, meters};

mod access;
mod cache;
mod coding;
mod compress;
mod condition;
mod date;
mod entry;
mod errors;
mod expires;
mod find;
mod flv;
mod listing;
mod media;
mod method;
mod multipart;
mod name;
mod place;
mod range;
mod reply;
mod root;
mod status;
mod turn;
mod types;
mod walk;
mod watch;

#[cfg(test)]
mod tests;

use access::Rules;
use cache::Cache;
use condition::Conditions;
use find::{Found, Search, Wanted, key};
use listing::Sort;
use method::Asked;
use multipart::Multipart;
use place::Places;
use reply::Sent;
use root::{Closed, Patience};
use turn::Turns;
use types::Types;
use watch::Watches;

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
    rules: Rules,
    places: Places,
    watches: Watches,
    /// What is being compressed.
    making: Turns,
    /// The codings it can answer with.
    offered: Vec<Coding>,
    opening: Apart,
    workers: Box<[Worker]>,
    telemetry: Telemetry,
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
    /// What a route took off before it.
    before: Cow<'a, [u8]>,
    /// A node passed it on, which may have taken off something that is not known here.
    passed_on: bool,
    query: Cow<'a, [u8]>,
    head: bool,
    preference: Preference,
    conditions: Conditions<'a>,
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
        let places = Places::open(site)?;
        for place in places.all() {
            place.say_if_closed(&telemetry.events);
        }
        let types = Types::new(&site.types, site.only_types, site.charset.as_deref());
        let types = types.map_err(|suffix| fault(Fault::Type(suffix)))?;
        let worker = |_| Worker {
            cache: Cache::share(workers.max(1)),
            service: Arc::from(site.name.as_str()),
        };
        Ok(Self(Arc::new(Shared {
            site: site.clone(),
            types,
            rules: Rules::of(site),
            places,
            watches: Watches::new(&site.name, telemetry.events.clone()),
            making: Turns::default(),
            offered: coding::offered(site),
            opening: Apart::new(OPENING, OPENED_WITHIN),
            workers: (0..workers.max(1)).map(worker).collect(),
            telemetry,
        })))
    }
}

impl Handler for SiteHandler {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let step = self.answer(request, cx);
        if self.0.site.errors.is_empty() {
            return step;
        }
        errors::dressed(self, step, cx)
    }
}

impl SiteHandler {
    /// All steps but the last.
    fn answer(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let shared = &self.0;
        let worker = shared.worker(cx.worker);
        let head = match method::read(request.method()) {
            Asked::Get => false,
            Asked::Head => true,
            Asked::Options => return Step::Plan(reply::options(&worker.service)),
            Asked::Unknown => return Step::Plan(reply::page(405, &worker.service)),
        };
        if !shared.rules.permit(request.client) {
            return Step::Plan(reply::page(403, &worker.service));
        }
        if shared.site.status.as_deref().map(str::as_bytes) == Some(request.path()) {
            let page = status::page(&shared.telemetry.counters.totals());
            return Step::Plan(reply::fresh(page, status::FIELDS, &worker.service));
        }
        let Some(name) = name::below_root(request.path(), shared.site.hidden) else {
            return Step::Plan(reply::page(404, &worker.service));
        };
        let conditions = Conditions::of(request);
        let ask = Ask {
            path: Cow::Borrowed(request.path()),
            before: Cow::Borrowed(request.stripped()),
            // As it was asked for, to its last slash: `%2F` is none to the client.
            passed_on: request.from_node
                && name::last(request.encoded_path()) == name::last(request.path()),
            query: Cow::Borrowed(request.query()),
            head,
            preference: Preference::read(conditions.accept_encoding(), &shared.offered),
            conditions,
        };
        let kept = worker.cache.fresh(&key(name, ask.preference), cx.now);
        let found = match kept {
            Some(entry) => Ok(Found::File(entry, None)),
            None => shared
                .search(ask.wanted(), worker, cx, Patience::None)
                .look(name),
        };
        match found {
            Err(Closed::Patience) => self.later(name, ask.into_owned(), cx),
            found => match answer(&ask, found, worker) {
                Sent::Plan(plan) => Step::Plan(plan),
                Sent::Parts(parts) if parts.is_on_disk() => {
                    let (shared, service) = (self.0.clone(), worker.service.clone());
                    Step::Later(Box::pin(async move { shared.read(parts, &service).await }))
                }
                Sent::Parts(parts) => Step::Plan(read(parts.read(), &worker.service)),
            },
        }
    }

    /// Has another thread wait for the disk.
    fn later(&self, name: &[u8], ask: Ask<'static>, cx: &Cx) -> Step {
        let (shared, cx) = (self.0.clone(), cx.clone());
        let name = name.to_vec();
        Step::Later(Box::pin(async move {
            let wanted = ask.wanted();
            let worker = cx.worker;
            let look = shared.clone().on_disk(move |shared| {
                let worker = shared.worker(cx.worker);
                shared
                    .search(wanted, worker, &cx, Patience::Disk)
                    .look(&name)
            });
            let found = look.await.and_then(|found| found);
            let worker = shared.worker(worker);
            match answer(&ask, found, worker) {
                Sent::Plan(plan) => plan,
                Sent::Parts(parts) => shared.clone().read(parts, &worker.service).await,
            }
        }))
    }
}

impl Shared {
    fn worker(&self, index: usize) -> &Worker {
        meters::own(&self.workers, index)
    }

    fn search<'a>(
        &'a self,
        wanted: Wanted,
        worker: &'a Worker,
        cx: &Cx,
        patience: Patience,
    ) -> Search<'a> {
        Search {
            shared: self,
            worker,
            now: cx.now,
            patience,
            wanted,
        }
    }

    /// Reads several parts of a file.
    async fn read(self: Arc<Self>, parts: Multipart, service: &Arc<str>) -> Plan {
        match self.on_disk(move |_| parts.read()).await {
            Ok(reply) => read(reply, service),
            Err(closed) => refused(closed, service),
        }
    }

    /// Does something on a thread that may wait, and waits for it as long as a client may be made to.
    async fn on_disk<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Closed> {
        let shared = self.clone();
        let done = self.opening.run(move || work(&shared)).await;
        done.map_err(|undone| match undone {
            // The client is told to try again.
            Undone::Late => Closed::Busy,
            Undone::Failed => Closed::Failed,
        })
    }
}

impl Ask<'_> {
    fn wanted(&self) -> Wanted {
        Wanted {
            preference: self.preference,
            sort: Sort::read(&self.query),
        }
    }

    fn into_owned(self) -> Ask<'static> {
        Ask {
            path: Cow::Owned(self.path.into_owned()),
            before: Cow::Owned(self.before.into_owned()),
            passed_on: self.passed_on,
            query: Cow::Owned(self.query.into_owned()),
            head: self.head,
            preference: self.preference,
            conditions: self.conditions.into_owned(),
        }
    }
}

fn answer(ask: &Ask<'_>, found: Result<Found, Closed>, worker: &Worker) -> Sent {
    let service = &worker.service;
    Sent::Plan(match found {
        Ok(Found::File(entry, _)) => return reply::file(&entry, ask, service),
        Ok(Found::Directory) if ask.passed_on => {
            reply::redirect(&name::beside(&ask.path, &ask.query), service)
        }
        Ok(Found::Directory) => {
            let location = name::with_slash(&ask.before, &ask.path, &ask.query);
            reply::redirect(&location, service)
        }
        Ok(Found::Listing(page)) => reply::fresh(page, reply::HTML, service),
        Err(closed) => refused(closed, service),
    })
}

/// Parts that were read, or could not be.
fn read(reply: Option<Reply>, service: &Arc<str>) -> Plan {
    reply.map_or_else(|| reply::page(500, service), Plan::Bytes)
}

fn refused(closed: Closed, service: &Arc<str>) -> Plan {
    let status = match closed {
        Closed::Missing => 404,
        Closed::Unlisted | Closed::Denied | Closed::Outside => 403,
        Closed::Busy | Closed::Patience => 503,
        Closed::Failed => 500,
    };
    reply::page(status, service)
}

/// Why a site cannot be served, in one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteError {
    site: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// Its root, or what is seen under another path.
    Place {
        alias: Option<String>,
        path: PathBuf,
        errno: Errno,
    },
    Type(String),
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "site \"{}\": ", self.site)?;
        match &self.fault {
            Fault::Place { alias, path, errno } => {
                match alias {
                    None => write!(f, "its root {}", path.display())?,
                    Some(at) => write!(f, "its alias \"{at}\", {},", path.display())?,
                }
                let key = if alias.is_some() { "aliases" } else { "root" };
                match *errno {
                    Errno::NOENT => write!(f, " does not exist: create it or correct `{key}`"),
                    Errno::NOTDIR => write!(f, " is not a directory: correct `{key}`"),
                    Errno::ACCESS => write!(
                        f,
                        " may not be entered by this user: give it the permission (chmod +x on it and the directories \
                         above) or correct `{key}`"
                    ),
                    errno => write!(f, " cannot be opened: {}", std::io::Error::from(errno)),
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
