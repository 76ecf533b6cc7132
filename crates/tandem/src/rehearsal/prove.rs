//! The demo's scene, played and judged without a browser.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tandem_admin::Rows as _;

use super::browser::Browser;
use super::control::kill_apps;
use super::supervisor::Supervisor;
use super::watch::{Watched, all_up};

/// How long the cluster may take until all is well again.
const HEALED: Duration = Duration::from_mins(1);
/// Reloads after each fault.
const RELOADS: usize = 6;
/// Where the application shows its session.
const SESSION: &str = "/test/session";

/// What the application says of its session.
#[derive(Clone, Debug, Deserialize)]
struct View {
    served_by: String,
    session_id: String,
    created: String,
    visits: u64,
    attributes: serde_json::Map<String, Value>,
}

struct Proof<'a> {
    browser: Browser,
    supervisor: &'a Supervisor,
    watched: &'a Watched,
    last: View,
}

type Outcome<T = ()> = Result<T, String>;

/// Plays the scene at the front door and prints a line for each step; the first step that fails ends it.
pub async fn prove(front: SocketAddr, supervisor: &Supervisor, watched: &Watched) -> Outcome {
    let mut browser = Browser::at(front);
    let page = browser
        .get("/")
        .await
        .map_err(|error| format!("the static page: {error}"))?;
    if page.status != 200
        || !String::from_utf8_lossy(&page.body).contains("<title>Tandem demo</title>")
    {
        return Err(format!("the static page was answered {}", page.status));
    }
    ok("the static page comes from the files node");
    let last = view(
        &browser
            .get(SESSION)
            .await
            .map_err(|error| format!("the first visit: {error}"))?,
    )?;
    let mut proof = Proof {
        browser,
        supervisor,
        watched,
        last,
    };
    proof.alternates().await?;
    proof.split_by_suffix().await?;
    proof.attribute().await?;
    for (app, cache) in [("app1", "cache1"), ("app2", "cache2")] {
        proof.app_process(app).await?;
        proof.nodes(&[app]).await?;
        proof.nodes(&[cache]).await?;
        proof.nodes(&[app, cache]).await?;
    }
    ok(&format!(
        "after all: the same session {}, seen {} times",
        proof.last.session_id, proof.last.visits
    ));
    Ok(())
}

fn ok(what: &str) {
    println!("ok      {what}");
}

fn view(page: &super::browser::Page) -> Outcome<View> {
    let text = String::from_utf8_lossy(&page.body);
    if page.status != 200 {
        return Err(format!(
            "{SESSION} was answered {}: {}",
            page.status,
            text.trim()
        ));
    }
    serde_json::from_str(&text)
        .map_err(|error| format!("{SESSION} answered what is no session ({error}): {text}"))
}

impl Proof<'_> {
    /// Ten reloads come from the two application servers exactly in turn.
    async fn alternates(&mut self) -> Outcome {
        for _ in 0..10 {
            let before = self.last.served_by.clone();
            self.reload().await?;
            if self.last.served_by == before {
                return Err(format!("two reloads in a row came from {before}"));
            }
        }
        ok("ten reloads alternate between app1 and app2; id and creation time stay");
        Ok(())
    }

    /// Pages of the classic application servers go to the application wherever they are.
    async fn split_by_suffix(&mut self) -> Outcome {
        for path in ["/test/", "/test/index.jsp", "/test/index.do"] {
            let page = self
                .browser
                .get(path)
                .await
                .map_err(|error| format!("{path}: {error}"))?;
            if page.status != 200
                || !String::from_utf8_lossy(&page.body).contains(&self.last.session_id)
            {
                return Err(format!(
                    "{path} was answered {} without the session",
                    page.status
                ));
            }
        }
        ok("/test/, /test/index.jsp and /test/index.do show the session");
        Ok(())
    }

    async fn attribute(&mut self) -> Outcome {
        let page = self
            .browser
            .post(SESSION, r#"{"key":"cart","value":["tea","milk"]}"#)
            .await;
        self.last = view(&page.map_err(|error| format!("storing an attribute: {error}"))?)?;
        for _ in 0..2 {
            self.reload().await?;
        }
        ok("an attribute is stored and seen by both");
        Ok(())
    }

    async fn app_process(&mut self, node: &str) -> Outcome {
        kill_apps(self.watched, node)?;
        self.reloads().await?;
        ok(&format!(
            "kill -9 of the application on {node}: the session goes on"
        ));
        self.healed().await
    }

    /// Kills these nodes together, reloads, brings them back.
    async fn nodes(&mut self, names: &[&str]) -> Outcome {
        for name in names {
            self.supervisor.kill(name).await?;
        }
        self.reloads().await?;
        ok(&format!(
            "kill -9 of {}: the session goes on",
            names.join(" and ")
        ));
        for name in names {
            self.supervisor.start(name)?;
        }
        self.healed().await?;
        self.reload().await?;
        ok(&format!("{} back, all nodes well", names.join(" and ")));
        Ok(())
    }

    async fn healed(&self) -> Outcome {
        match self.watched.wait(HEALED, all_up).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let rows = self.watched.rows();
                let sick: Vec<String> = rows
                    .iter()
                    .filter(|row| !row.reason.is_empty())
                    .map(|row| format!("{}: {}", row.node, row.reason))
                    .collect();
                Err(format!(
                    "not all nodes are well again after {} s: {}",
                    HEALED.as_secs(),
                    sick.join("; ")
                ))
            }
        }
    }

    async fn reloads(&mut self) -> Outcome {
        for _ in 0..RELOADS {
            self.reload().await?;
        }
        Ok(())
    }

    /// One reload: no error, the same session, nothing lost.
    async fn reload(&mut self) -> Outcome {
        let page = self
            .browser
            .get(SESSION)
            .await
            .map_err(|error| format!("a reload failed: {error}"))?;
        let now = view(&page)?;
        let last = &self.last;
        if (&now.session_id, &now.created) != (&last.session_id, &last.created) {
            return Err(format!("another session: {now:?} after {last:?}"));
        }
        if now.visits <= last.visits {
            return Err(format!(
                "seen {} times after {} times",
                now.visits, last.visits
            ));
        }
        if now.attributes != last.attributes {
            return Err(format!(
                "attributes {:?} became {:?}",
                last.attributes, now.attributes
            ));
        }
        self.last = now;
        Ok(())
    }
}
