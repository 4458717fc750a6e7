//! Figures that are read at the moment they are asked for.

use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use super::Labels;

/// A page of them.
#[derive(Default)]
pub(super) struct Page(Registry);

impl Page {
    /// Something that rises and falls.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.0.register(name, help, ConstGauge::new(value));
    }

    /// As [`Page::gauge`], where it is known.
    pub(super) fn known(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    /// Something that only rises; `_total` is added to its name.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    /// As [`Page::counter`], in seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    /// Gauges with labels.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(name, help, family);
    }

    /// Counters with labels.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }

    /// The page, to be written.
    pub(super) fn into_registry(self) -> Registry {
        self.0
    }
}

/// One label.
pub(super) fn label(name: &'static str, value: impl Into<String>) -> Labels {
    vec![(name, value.into())]
}

/// As a figure: beyond 2^53 the last digits are lost, which no graph shows.
#[allow(clippy::cast_precision_loss)]
pub(super) fn figure(value: u64) -> f64 {
    value as f64
}
