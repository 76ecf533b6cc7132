//! Metrics in Prometheus' text form (exposition format 0.0.4).
//!
//! [`table::METRICS`] is the table of all of them: the exposition and the reference page are made from it. Names are
//! stable: one that was published keeps its meaning. Labels have the names of the configuration and nothing that clients
//! send, so that there are as many series as the file has routes and servers.

mod table;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tandem_telemetry::Telemetry;
use tandem_telemetry::histogram::{BOUNDS, Spread};
use tandem_telemetry::meters::{Answered, CODES, Labels, QueueMeter};

use crate::NodeView;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only grows, until the node ends.
    Counter,
    /// It is what it is.
    Gauge,
    /// How durations spread, in seconds.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

struct Metric {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    /// Writes its series.
    series: fn(&Seen, &mut Series<'_>),
}

/// All that is known of a node at one moment.
struct Seen {
    view: NodeView,
    routes: Vec<(Labels, Answered)>,
    services: Vec<(Labels, Answered)>,
    servers: Vec<(Labels, (Answered, Spread))>,
    queues: Vec<(Labels, Arc<QueueMeter>)>,
    listeners: Vec<(Labels, (u64, u64))>,
    events: [u64; 4],
}

impl Seen {
    fn now(view: NodeView, telemetry: &Telemetry) -> Self {
        let meters = &telemetry.meters;
        Self {
            view,
            routes: meters.routes(),
            services: meters.services(),
            servers: meters.servers(),
            queues: meters.queues(),
            listeners: meters.listeners(),
            events: telemetry.events.counts(),
        }
    }
}

/// Where the series of one metric are written.
struct Series<'a> {
    out: String,
    metric: &'a Metric,
}

impl Series<'_> {
    fn begin(&mut self, suffix: &str, values: &[&str], more: Option<(&str, &str)>) {
        self.out.push_str(self.metric.name);
        self.out.push_str(suffix);
        let own = self.metric.labels.iter().copied();
        let labels: Vec<(&str, &str)> = own.zip(values.iter().copied()).chain(more).collect();
        for (index, (label, value)) in labels.iter().enumerate() {
            self.out.push(if index == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        self.out
            .push_str(if labels.is_empty() { " " } else { "} " });
    }

    /// A number.
    fn put(&mut self, labels: &[&str], value: u64) {
        self.begin("", labels, None);
        let _ = writeln!(self.out, "{value}");
    }

    /// Whether something is so.
    fn is(&mut self, labels: &[&str], so: bool) {
        self.put(labels, so.into());
    }

    /// A duration in microseconds, as seconds.
    fn seconds(&mut self, labels: &[&str], micros: u64) {
        self.begin("", labels, None);
        let _ = writeln!(self.out, "{}", seconds(micros));
    }

    /// One series for each class of answers.
    fn codes(&mut self, labels: &[&str], counts: &[u64]) {
        for (code, count) in CODES.iter().zip(counts) {
            self.put(&[labels, &[code]].concat(), *count);
        }
    }

    /// How durations spread.
    fn spread(&mut self, labels: &[&str], spread: &Spread) {
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(spread.buckets) {
            below += count;
            self.begin("_bucket", labels, Some(("le", &seconds(*bound))));
            let _ = writeln!(self.out, "{below}");
        }
        let all = spread.count();
        self.begin("_bucket", labels, Some(("le", "+Inf")));
        let _ = writeln!(self.out, "{all}");
        self.begin("_sum", labels, None);
        let _ = writeln!(self.out, "{}", seconds(spread.micros));
        self.begin("_count", labels, None);
        let _ = writeln!(self.out, "{all}");
    }
}

/// Microseconds as seconds, without zeros at the end.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// All metrics of a node.
pub(crate) fn exposition(view: NodeView, telemetry: &Telemetry) -> String {
    let seen = Seen::now(view, telemetry);
    let mut out = String::with_capacity(16 * 1024);
    for metric in table::METRICS.iter().copied().flatten() {
        let mut series = Series {
            out: String::new(),
            metric,
        };
        (metric.series)(&seen, &mut series);
        if !series.out.is_empty() {
            let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
            let lines = series.out;
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
        }
    }
    out
}

/// `docs/reference/metrics.md`
pub fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         <!-- Made from the table of metrics (crates/admin/src/metrics/table.rs): change it there. -->\n\n\
         `GET /metrics` at a node's admin address, in Prometheus' text form (0.0.4). Names and meanings are stable. Each\n\
         node tells what it sees itself: the node of a listener all its requests, an application's node those that\n\
         came to it.\n\n\
         Labels have names of the cluster file and nothing that clients send, so there are as many series as the file\n\
         has routes and servers. A route is called by its `name`, else by its conditions in short; `none` is for\n\
         requests that no route took. The door of a service for other nodes is the listener `SERVICE/door`. `code` is the\n\
         class of the answer's status: `2xx`, ...; `none` when the client was gone before there was one.\n\n",
    );
    let bounds: Vec<String> = BOUNDS.iter().map(|bound| seconds(*bound)).collect();
    let _ = writeln!(
        out,
        "The bounds of all histograms, in seconds: {}.\n",
        bounds.join(", ")
    );
    out.push_str("| metric | kind | labels | |\n|---|---|---|---|\n");
    for metric in table::METRICS.iter().copied().flatten() {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.help
        );
    }
    out.push_str(
        "\nExamples, in Prometheus' language:\n\n    \
         # errors of each route, of a hundred requests\n    \
         100 * sum by (listener, route) (rate(tandem_route_requests_total{code=\"5xx\"}[5m]))\n      \
         / sum by (listener, route) (rate(tandem_route_requests_total[5m]))\n    \
         # what 99 of a hundred requests to a service take at most\n    \
         histogram_quantile(0.99, sum by (service, le) (rate(tandem_service_duration_seconds_bucket[5m])))\n    \
         # which server begins its answers late\n    \
         histogram_quantile(0.9, sum by (service, server, le) (rate(tandem_server_first_byte_seconds_bucket[5m])))\n    \
         # how busy the busiest worker is\n    \
         max by (instance) (rate(tandem_worker_busy_seconds_total[1m]))\n",
    );
    out
}

/// A counter that several threads write.
fn shared(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_made_from_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/metrics.md"
        );
        let text = reference();
        if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            text,
            "write it anew: TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-admin the_reference"
        );
    }

    #[test]
    fn names_are_unique_and_say_their_kind_and_unit() {
        let mut names = std::collections::BTreeSet::new();
        for metric in table::METRICS.iter().copied().flatten() {
            let name = metric.name;
            assert!(names.insert(name), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            assert!(
                metric.kind != Kind::Histogram || name.ends_with("_seconds"),
                "{name}"
            );
        }
    }

    #[test]
    fn a_label_cannot_end_its_line_and_buckets_add_up() {
        let metric = Metric {
            name: "x_seconds",
            kind: Kind::Histogram,
            labels: &["route"],
            help: "",
            series: |_, _| {},
        };
        let mut series = Series {
            out: String::new(),
            metric: &metric,
        };
        let mut spread = Spread::default();
        (spread.buckets[0], spread.buckets[1]) = (2, 1);
        (spread.buckets[15], spread.micros) = (1, 1_500_000);
        series.spread(&["~\\d\"\n"], &spread);
        let lines: Vec<&str> = series.out.lines().collect();
        assert_eq!(
            lines[0],
            r#"x_seconds_bucket{route="~\\d\"\n",le="0.0005"} 2"#
        );
        assert!(lines[14].ends_with(r#"le="30"} 3"#), "{}", lines[14]);
        assert!(lines[15].ends_with(r#"le="+Inf"} 4"#), "{}", lines[15]);
        assert_eq!(lines[16], r#"x_seconds_sum{route="~\\d\"\n"} 1.5"#);
        assert_eq!(lines.len(), 18);
    }
}
