//! The figures for Prometheus, in the OpenMetrics text format. `docs/metrics.md` says what each means;
//! a test holds the two together.
//!
//! Labels come from short fixed lists, and from the roster and the mediators, which are public. No
//! client's address, no mailbox, token or request is ever a label.

use lapwing_api::Event;
use lapwing_net::NetStatus;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

mod net;
mod page;
mod process;
mod snapshot;

use self::process::Process;
use crate::logging::Counts;
use crate::status::Status;

/// Label names and values.
type Labels = Vec<(&'static str, String)>;

/// Upper bounds of the buckets for answers, in seconds: a read takes a millisecond, a write a commit
/// here and one at another holder, a token some work, and after 15 s a call is given up.
const SECONDS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0,
];

/// What is counted while the node runs.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram>,
    connections: Gauge,
    connections_shed: Counter,
}

impl Metrics {
    /// Nothing counted yet, beside the lines of the log.
    pub(crate) fn new(log: &Counts) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Labels, Counter>::default();
        registry.register(
            "lapwing_http_requests",
            "Requests answered by the public API, by endpoint and status",
            requests.clone(),
        );
        let refused = Family::<Labels, Counter>::default();
        registry.register(
            "lapwing_http_refused",
            "Requests refused by the public API, by the refusal's code",
            refused.clone(),
        );
        let seconds = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register(
            "lapwing_http_request_seconds",
            "How long answers took, without long polls and event streams",
            seconds.clone(),
        );
        let connections = Gauge::default();
        registry.register(
            "lapwing_http_connections",
            "Open connections to the public API",
            connections.clone(),
        );
        let connections_shed = Counter::default();
        registry.register(
            "lapwing_http_connections_shed",
            "Connections turned away because there were too many, of all or of one network",
            connections_shed.clone(),
        );
        registry.register(
            "lapwing_log_warnings",
            "Warnings in the log",
            log.warnings.clone(),
        );
        registry.register(
            "lapwing_log_errors",
            "Errors in the log",
            log.errors.clone(),
        );
        Self {
            registry,
            requests,
            refused,
            seconds,
            connections,
            connections_shed,
        }
    }

    /// Counts what happened at the API.
    pub(crate) fn count(&self, event: Event) {
        match event {
            Event::Answered {
                endpoint,
                status,
                refused,
                took,
            } => {
                let endpoint = ("endpoint", endpoint.to_owned());
                if let Some(took) = took {
                    self.seconds
                        .get_or_create(&vec![endpoint.clone()])
                        .observe(took.as_secs_f64());
                }
                self.requests
                    .get_or_create(&vec![endpoint, ("status", status.to_string())])
                    .inc();
                if let Some(code) = refused {
                    self.refused
                        .get_or_create(&vec![("code", code.to_owned())])
                        .inc();
                }
            }
            Event::ConnectionOpened => {
                self.connections.inc();
            }
            Event::ConnectionClosed => {
                self.connections.dec();
            }
            Event::ConnectionShed => {
                self.connections_shed.inc();
            }
        }
    }

    /// Everything, as text.
    pub(crate) fn render(&self, status: &Status, network: &NetStatus, watched: usize) -> String {
        let mut page = page::Page::default();
        snapshot::write(&mut page, status, watched);
        net::write(&mut page, network);
        snapshot::write_process(&mut page, &Process::read());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &page.into_registry()))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use lapwing_net::CallCounters;

    use super::*;
    use crate::status::{Finding, Level, Peer, Taken, TrustList};

    /// One of everything, so that no family is left out for want of a member.
    fn full() -> String {
        let metrics = Metrics::new(&Counts::default());
        metrics.count(Event::ConnectionOpened);
        metrics.count(Event::ConnectionShed);
        metrics.count(Event::Answered {
            endpoint: "/v1/tokens",
            status: 429,
            refused: Some("rate_limited"),
            took: Some(Duration::from_millis(3)),
        });
        let mut status = Status {
            version: "1.2.3".to_owned(),
            trust: vec![TrustList {
                kind: "roster".to_owned(),
                expires: Some(10),
                ..TrustList::default()
            }],
            peers: vec![Peer {
                connected: true,
                transport: Some("tcp".to_owned()),
                ..Peer::default()
            }],
            findings: vec![Finding {
                level: Level::Error,
                code: "clock".to_owned(),
                text: String::new(),
            }],
            ..Status::default()
        };
        status.clock.offset = Some(-3);
        status.roster = Some(1);
        status.store.bytes = Some(1);
        status.store.disk_free = Some(1);
        status.store.disk_total = Some(1);
        status.alarms.insert("equivocation".to_owned(), 1);
        status.numbers.flow_kinds.insert("put".to_owned(), 2);
        status
            .numbers
            .kinds
            .insert("blob".to_owned(), Taken::default());
        let network = NetStatus {
            calls: BTreeMap::from([("push", CallCounters::default())]),
            ..NetStatus::default()
        };
        metrics.render(&status, &network, 3)
    }

    #[test]
    fn the_text_is_open_metrics() {
        let text = full();
        assert!(text.ends_with("# EOF\n"));
        for line in [
            "lapwing_http_requests_total{endpoint=\"/v1/tokens\",status=\"429\"} 1",
            "lapwing_http_refused_total{code=\"rate_limited\"} 1",
            "lapwing_http_request_seconds_bucket{le=\"0.005\",endpoint=\"/v1/tokens\"} 1",
            "lapwing_http_connections 1",
            "lapwing_clock_offset_seconds -3.0",
            "lapwing_ready 0.0",
            "lapwing_build_info{version=\"1.2.3\"} 1.0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
        // Each family once, each sample after its family's type.
        let mut family = "";
        let mut seen = BTreeSet::new();
        for line in text.lines().filter(|l| *l != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(seen.insert(family), "{family} twice");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} under {family}");
                let value = line.rsplit(' ').next().unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }

    /// The page names every figure that is served, and none that is not.
    #[test]
    fn the_page_lists_every_metric() {
        let served: BTreeSet<String> = full()
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE "))
            .filter_map(|l| l.split_once(' '))
            .map(|(name, kind)| match kind {
                "counter" => format!("{name}_total"),
                _ => name.to_owned(),
            })
            .collect();
        let page = include_str!("../../../docs/metrics.md");
        let listed: BTreeSet<String> = page
            .lines()
            .filter_map(|l| l.strip_prefix("| `"))
            .filter_map(|l| l.split(['`', '{']).next())
            .map(str::to_owned)
            .collect();
        assert_eq!(served, listed);
    }

    /// Every figure that an alert rests on is served.
    #[test]
    fn alerts_rest_on_what_is_served() {
        let text = full();
        let rules = include_str!("../../../configs/lapwing-alerts.yml");
        let mut names = BTreeSet::new();
        for line in rules
            .lines()
            .filter(|l| l.trim_start().starts_with("expr:"))
        {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                if word.starts_with("lapwing_") || word.starts_with("process_") {
                    names.insert(word);
                }
            }
        }
        assert!(names.len() > 10);
        for name in names {
            let known = text.lines().any(|l| {
                l.strip_prefix(name)
                    .is_some_and(|r| r.starts_with([' ', '{']))
            });
            assert!(known, "{name} is not served");
        }
    }
}
