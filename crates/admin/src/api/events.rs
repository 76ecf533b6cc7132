//! The events of a node, also as they come.

use std::time::Duration;

use serde_json::json;
use tandem_telemetry::{Event, Events, Severity};
use tokio::time::{Instant, sleep};

use super::{Answer, Api, Call, Endpoint, Outcome};

/// How many events an answer has at most.
const MOST: usize = 1_000;
/// The longest that a caller may wait for news.
const LONGEST: Duration = Duration::from_secs(30);
/// Between two looks for news.
const LOOK: Duration = Duration::from_millis(100);

pub(super) static ENDPOINTS: &[Endpoint] = &[Endpoint {
    changes: false,
    path: "/api/v1/events",
    parameters: "`after=SEQ`, `wait=SECONDS` (at most 30), `level=LEVEL`, `subject=TEXT` (part of it)",
    what: "The last events, oldest first, each with a number `seq` that only grows; with `after` those after that one, and with `wait` as soon as there are any.",
    run: events,
}];

/// Which events are wanted.
struct Wanted {
    after: u64,
    level: Severity,
    subject: String,
}

impl Wanted {
    fn of(&self, events: &Events) -> Vec<Event> {
        // A node that was started again numbers anew: a number it has not reached is another process's.
        let after = Some(self.after).filter(|after| *after <= events.last_number());
        let mut found = events.after(after.unwrap_or(0), MOST);
        found.retain(|event| event.severity >= self.level && event.subject.contains(&self.subject));
        found
    }
}

fn events(api: &Api, call: &Call, _: &[&str]) -> Outcome {
    let number = |name: &str| call.parameter(name).map_or(Ok(0), str::parse::<u64>);
    let (Ok(after), Ok(wait)) = (number("after"), number("wait")) else {
        return Answer::error(400, "after and wait are numbers").into();
    };
    let level = call
        .parameter("level")
        .map_or(Some(Severity::Debug), Severity::parse);
    let Some(level) = level else {
        return Answer::error(400, "level is debug, info, warning or error").into();
    };
    let wanted = Wanted {
        after,
        level,
        subject: call.parameter("subject").unwrap_or_default().to_owned(),
    };
    let events = api.telemetry().events.clone();
    let answer = |found: &[Event], events: &Events| {
        Answer::ok(json!({ "events": found, "last": events.last_number() }))
    };
    let found = wanted.of(&events);
    if wait == 0 || !found.is_empty() {
        return answer(&found, &events).into();
    }
    let until = Instant::now() + Duration::from_secs(wait).min(LONGEST);
    Outcome::Later(Box::pin(async move {
        loop {
            sleep(LOOK).await;
            let found = wanted.of(&events);
            if !found.is_empty() || Instant::now() >= until {
                return answer(&found, &events);
            }
        }
    }))
}
