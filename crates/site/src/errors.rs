//! Step 10: an error's page from a file of the site.
//!
//! A page that cannot be had is no second error: the small one of ours is sent then.

use bytes::Bytes;
use tandem_http::policy::Edits;
use tandem_http::policy::coding::Preference;
use tandem_http::{Cx, FileBody, Plan, Reply, Step};

use crate::entry::{Content, Entry};
use crate::find::{Found, Wanted};
use crate::listing::Sort;
use crate::reply::HTML;
use crate::root::{Closed, Patience};
use crate::{Shared, SiteHandler};

/// The answer, with the page of its error in place of ours.
pub(crate) fn dressed(site: &SiteHandler, step: Step, cx: &Cx) -> Step {
    let (shared, cx) = (site.0.clone(), cx.clone());
    match step {
        Step::Plan(plan) => match in_memory(&shared, plan, &cx) {
            Ok(plan) => Step::Plan(plan),
            Err(reply) => Step::Later(Box::pin(from_disk(shared, reply, cx))),
        },
        Step::Later(later) => Step::Later(Box::pin(async move {
            match in_memory(&shared, later.await, &cx) {
                Ok(plan) => plan,
                Err(reply) => from_disk(shared, reply, cx).await,
            }
        })),
    }
}

/// With what is in memory; the answer is given back when the disk must be asked.
fn in_memory(shared: &Shared, plan: Plan, cx: &Cx) -> Result<Plan, Reply> {
    let reply = match plan {
        Plan::Bytes(reply) if shared.site.errors.contains_key(&reply.status) => reply,
        other => return Ok(other),
    };
    match look(shared, reply.status, cx, Patience::None) {
        Ok(entry) => Ok(with(reply, &entry)),
        // What is short of descriptors or of a disk is not asked for more.
        Err(Closed::Patience) if reply.status < 500 => Err(reply),
        Err(_) => Ok(Plan::Bytes(reply)),
    }
}

async fn from_disk(shared: std::sync::Arc<Shared>, reply: Reply, cx: Cx) -> Plan {
    let status = reply.status;
    let looked = shared.on_disk(move |shared| look(shared, status, &cx, Patience::Disk));
    match looked.await.and_then(|looked| looked) {
        Ok(entry) => with(reply, &entry),
        Err(_) => Plan::Bytes(reply),
    }
}

fn look(
    shared: &Shared,
    status: u16,
    cx: &Cx,
    patience: Patience,
) -> Result<std::sync::Arc<Entry>, Closed> {
    let name = shared.site.errors.get(&status).ok_or(Closed::Missing)?;
    let name = name.trim_start_matches('/').as_bytes();
    let worker = shared.worker(cx.worker);
    if let Some(entry) = worker.cache.fresh(name, cx.now) {
        return Ok(entry);
    }
    let wanted = Wanted {
        preference: Preference::default(),
        sort: Sort::default(),
    };
    match shared.search(wanted, worker, cx, patience).look_for(name)? {
        Found::File(entry, _) => Ok(entry),
        Found::Directory | Found::Listing(_) => Err(Closed::Missing),
    }
}

/// The page has the type of its file, and what the error says besides (`Allow`, `Content-Range`). It has no validators:
/// nobody asked for it.
fn with(reply: Reply, page: &Entry) -> Plan {
    let own = reply
        .fields
        .strip_prefix(HTML.as_bytes())
        .unwrap_or_default();
    let fields = Bytes::from([page.content_type(), own].concat());
    match &page.content {
        Content::Memory(body) => Edits::kept(Plan::Bytes(Reply {
            fields,
            body: body.clone(),
            ..reply
        })),
        Content::File(file) => Plan::File(FileBody {
            status: reply.status,
            fields,
            before: Bytes::new(),
            file: file.clone(),
            offset: 0,
            length: page.size,
            service: reply.service,
        }),
    }
}
