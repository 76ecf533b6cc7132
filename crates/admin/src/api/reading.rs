//! Endpoints that only read.

use serde_json::json;

use super::{Answer, Api, Call, Endpoint, Outcome};
use crate::operations::Order;
use crate::{NodeView, Row};

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        changes: false,
        path: "/api/v1/node",
        parameters: "",
        what: "All that the node says of itself: process, status of its roles, counters, last events.",
        run: |api, _, _| Answer::ok(NodeView::now(api.info(), api.telemetry())).into(),
    },
    Endpoint {
        changes: false,
        path: "/api/v1/nodes",
        parameters: "",
        what: "A row for each node, as `tandem node list` shows them. A node knows itself; a rehearsal's page, and `nodes=all`, know them all.",
        run: |api, _, _| Answer::ok([Row::now(api.info(), api.telemetry())]).into(),
    },
    Endpoint {
        changes: false,
        path: "/api/v1/services",
        parameters: "",
        what: "The services that this node's listeners lead to, and their servers as this node sees them.",
        run: |api, _, _| Answer::ok(api.telemetry().registry.status().services).into(),
    },
    Endpoint {
        changes: false,
        path: "/api/v1/services/{service}",
        parameters: "",
        what: "One of them.",
        run: service,
    },
    Endpoint {
        changes: false,
        path: "/api/v1/apps",
        parameters: "",
        what: "The applications of this node and their instances.",
        run: |api, _, _| Answer::ok(api.telemetry().registry.status().apps).into(),
    },
    Endpoint {
        changes: false,
        path: "/api/v1/sessions",
        parameters: "",
        what: "The session tier as this node sees it; `null` without one.",
        run: |api, _, _| Answer::ok(api.telemetry().registry.status().sessions).into(),
    },
    Endpoint {
        changes: false,
        path: "/api/v1/controls",
        parameters: "",
        what: "The names of what can be drained, weighted or put into maintenance here.",
        run: |api, _, _| Answer::ok(api.telemetry().registry.controls()).into(),
    },
    Endpoint {
        changes: false,
        path: "/api/v1/config",
        parameters: "",
        what: "The configuration that is in effect, as checked, in the words of a cluster file, without secrets: what came from the environment is `${NAME}`. `{\"text\", \"hash\"}`",
        run: |api, _, _| api.ordered(Order::Configuration),
    },
    Endpoint {
        changes: false,
        path: "/api/v1/config/diff",
        parameters: "",
        what: "What is different in the file on disk: lines that a reload would take away (`-`) and add (`+`), or what is wrong with it. What waits for the next start of the node is named in `next_start`, also when it is a secret, which is in no line, and after the reload.",
        run: |api, _, _| api.ordered(Order::Difference),
    },
];

fn service(api: &Api, _: &Call, taken: &[&str]) -> Outcome {
    let services = api.telemetry().registry.status().services;
    let found = services
        .iter()
        .find(|service| taken == [service.name.as_str()]);
    match found {
        Some(service) => Answer::ok(service),
        None => {
            let names: Vec<&str> = services
                .iter()
                .map(|service| service.name.as_str())
                .collect();
            let mut answer = Answer::error(404, format!("there is no service `{}` here", taken[0]));
            answer.body["services"] = json!(names);
            answer
        }
    }
    .into()
}
