//! `maintenance`: everyone but a few is shown a page while works go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ipnet::IpNet;
use tandem_model as model;
use tandem_telemetry::{Control, ControlError};

use super::edits::Edits;
use super::page::{PLAIN, Page};
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};

/// When clients are asked to come back, in seconds: long enough that they do not crowd a service that returns.
const RETRY_AFTER: u16 = 60;

/// Whether works go on at a listener. It outlives reloads, so that what was ordered at run time holds until the file
/// says something else than before.
#[derive(Debug)]
pub struct Works {
    now: AtomicBool,
    /// What the file said last.
    file: AtomicBool,
}

impl Works {
    /// As the file says.
    pub fn new(active: bool) -> Self {
        Self {
            now: AtomicBool::new(active),
            file: AtomicBool::new(active),
        }
    }

    /// Follows a file that says something else than before.
    pub fn follow(&self, active: bool) {
        if self.file.swap(active, Relaxed) != active {
            self.now.store(active, Relaxed);
        }
    }

    /// Whether works go on.
    pub fn go_on(&self) -> bool {
        self.now.load(Relaxed)
    }
}

/// Switches a listener's maintenance.
impl Control for Works {
    fn drain(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }

    fn maintenance(&self) -> Result<(), ControlError> {
        self.now.store(true, Relaxed);
        Ok(())
    }

    fn ready(&self) -> Result<(), ControlError> {
        self.now.store(false, Relaxed);
        Ok(())
    }

    fn weight(&self, _: u16) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }

    fn kill(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }
}

/// Shows the page while works go on.
pub struct Maintenance {
    works: Arc<Works>,
    allow: Vec<IpNet>,
    reply: Reply,
    /// The page is the listener's own, and no page of an error takes its place.
    own: bool,
    inner: Arc<dyn Handler>,
}

impl Maintenance {
    /// Around `inner`. `service` is who answers, for the log.
    ///
    /// # Errors
    /// In words: a page that cannot be read.
    pub fn new(
        said: &model::Maintenance,
        works: Arc<Works>,
        service: &Arc<str>,
        inner: Arc<dyn Handler>,
    ) -> Result<Self, String> {
        let mut reply = Reply::text(503, service, "Works are going on: try again in a minute\n");
        let mut kind = PLAIN;
        if let Some(path) = &said.page {
            let page = Page::read(path)?;
            (reply.body, kind) = (page.content, page.kind);
        }
        let fields = format!(
            "Content-Type: {kind}\r\nCache-Control: no-store\r\nRetry-After: {RETRY_AFTER}\r\n"
        );
        reply.fields = fields.into();
        Ok(Self {
            works,
            allow: said.allow.clone(),
            reply,
            own: said.page.is_some(),
            inner,
        })
    }
}

impl Handler for Maintenance {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        if !self.works.go_on() {
            return self.inner.step(request, cx);
        }
        let client = request.client.to_canonical();
        if self.allow.iter().any(|net| net.contains(&client)) {
            return self.inner.step(request, cx);
        }
        let plan = Plan::Bytes(self.reply.clone());
        Step::Plan(if self.own { Edits::kept(plan) } else { plan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_until_the_file_says_something_new() {
        let works = Works::new(false);
        works.maintenance().unwrap();
        works.follow(false);
        assert!(works.go_on(), "a reload for another reason");
        works.follow(true);
        works.ready().unwrap();
        works.follow(true);
        assert!(!works.go_on());
        works.follow(false);
        works.follow(true);
        assert!(works.go_on());
        assert!(works.kill().is_err() && works.weight(1).is_err() && works.drain().is_err());
    }
}
