//! The endpoints of the public API. One list, from which the router and the API document are both
//! made: neither can have one that the other lacks.

use axum::routing::MethodFilter;
use lapwing_protocol::client::CallKind;

use crate::calls::{EXPENSIVE, price};

/// Something that can be asked of the node over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Whether the process answers.
    Live,
    /// Whether the node can serve.
    Ready,
    /// Who the node is.
    Node,
    /// Which records are in force.
    TrustIndex,
    /// The whole chain of trust.
    TrustAll,
    /// One record.
    TrustRecord,
    /// The latest roster.
    TrustRoster,
    /// The latest of a kind of one mediator's.
    TrustOfMediator,
    /// Begin a watch.
    OpenWatch,
    /// Follow a watch.
    WatchEvents,
    /// The API document.
    Document,
    /// The API document, to be read.
    Page,
    /// A call that carries protocol bytes.
    Call(CallKind),
}

/// The methods that endpoints take. Every GET takes HEAD as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// GET and HEAD.
    Get,
    /// POST.
    Post,
}

impl Method {
    /// As the router asks for it.
    pub(crate) fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
        }
    }

    /// As a request writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

impl Endpoint {
    /// All of them, in the order in which they are described.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let trust = [
            Self::TrustIndex,
            Self::TrustAll,
            Self::TrustRecord,
            Self::TrustRoster,
            Self::TrustOfMediator,
        ];
        let about = [
            Self::Node,
            Self::Document,
            Self::Page,
            Self::Live,
            Self::Ready,
        ];
        CallKind::ALL
            .into_iter()
            .map(Self::Call)
            .chain([Self::OpenWatch, Self::WatchEvents])
            .chain(trust)
            .chain(about)
    }

    /// How it is asked.
    pub(crate) fn method(self) -> Method {
        match self {
            Self::OpenWatch | Self::Call(_) => Method::Post,
            Self::Live
            | Self::Ready
            | Self::Node
            | Self::TrustIndex
            | Self::TrustAll
            | Self::TrustRecord
            | Self::TrustRoster
            | Self::TrustOfMediator
            | Self::WatchEvents
            | Self::Document
            | Self::Page => Method::Get,
        }
    }

    /// Where; what is in braces is a parameter. Matched byte by byte.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
            Self::Node => "/v1/node",
            Self::TrustIndex => "/v1/trust",
            Self::TrustAll => "/v1/trust/all",
            Self::TrustRecord => "/v1/trust/records/{id}",
            Self::TrustRoster => "/v1/trust/roster",
            Self::TrustOfMediator => "/v1/trust/{kind}/{mediator}",
            Self::OpenWatch => "/v1/watches",
            Self::WatchEvents => "/v1/watches/{watch}/events",
            Self::Document => "/v1/openapi.json",
            Self::Page => "/v1/docs",
            Self::Call(kind) => kind.path(),
        }
    }

    /// What it costs of a network's allowance: see [`crate::Rate`].
    pub(crate) fn cost(self) -> u32 {
        match self {
            Self::Call(kind) => price(kind),
            Self::OpenWatch | Self::TrustAll => EXPENSIVE,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `docs/spec/http.md` names every endpoint, and none that is not here.
    #[test]
    fn the_spec_page_has_the_same_endpoints() {
        let page = include_str!("../../../docs/spec/http.md");
        let here: BTreeSet<String> = Endpoint::all()
            .map(|e| match e {
                Endpoint::Call(kind) => kind.path().to_owned(),
                other => format!("{} {}", other.method().name(), other.path()),
            })
            .collect();
        let public = page.split("## Admin API").next().unwrap();
        let there: BTreeSet<String> = public
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|text| {
                let path = text.strip_prefix("GET ").or(text.strip_prefix("POST "));
                path.unwrap_or(text).starts_with("/") && !text.contains(['?', '*'])
            })
            .filter(|text| *text != "/v1/")
            .map(str::to_owned)
            .collect();
        assert_eq!(here, there);
    }
}
