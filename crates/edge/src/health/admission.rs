//! What a new program of an application must pass before it takes the place of the one that serves.

use std::sync::Arc;
use std::time::Duration;

use tandem_http::ClientTls;
use tandem_model::{Check, Member, Place, PoolPlan, Timing};
use tokio::time::timeout;

use super::probe;
use super::state::{State, Vitals};
use crate::pool::{InstanceAddress, Settings};
use crate::server::{Limits, Server, ServerKey};

/// The check of an application, for an instance that is in no pool yet.
pub struct Admission {
    member: Member,
    settings: Settings,
    timing: Timing,
}

impl Admission {
    /// The check that a pool makes of an application's instances; `None` when it asks for no more than a connection, or
    /// the pool has no such instances.
    pub fn of(plan: &PoolPlan, app: &str) -> Option<Self> {
        let is_here =
            |member: &&Member| matches!(&member.place, Place::Instances { app: at } if at == app);
        let member = plan.members.iter().find(is_here)?.clone();
        let (Check::Tls(timing) | Check::Http(_, timing)) = plan.check else {
            return None;
        };
        let mut settings = Settings::of(plan, &Arc::default());
        // What cannot be loaded has kept the file from being taken.
        let tls = plan.tls.as_ref().map(ClientTls::load);
        settings.tls = tls.and_then(Result::ok);
        Some(Self {
            member,
            settings,
            timing,
        })
    }

    /// Checks an instance once. The error says what was wrong, in the words of a check's event.
    ///
    /// # Errors
    /// It did not pass.
    pub async fn check(&self, instance: &InstanceAddress) -> Result<(), String> {
        let key = ServerKey {
            name: instance.name.as_str().into(),
            endpoint: instance.endpoint.clone(),
        };
        let limits = Limits::of(&self.member);
        let vitals = Vitals::new(State::Starting, "");
        let meter = Arc::default();
        let server = Server::new(key, false, self.member.from, limits, 0, vitals, meter);
        let within = self.timing.timeout;
        let result = match timeout(within, probe::check(&server, &self.settings)).await {
            Ok(result) => result,
            Err(_) => Err(probe::late(&self.settings.check, within)),
        };
        result
            .map(drop)
            .map_err(|why| probe::told(&self.settings.check, &why))
    }

    /// How long to wait between two checks.
    pub fn pause(&self) -> Duration {
        self.timing.fast.min(self.timing.every)
    }
}
