//! What is said of a mediator's events.

use lapwing_protocol::role::MediatorEvent;
use serde_json::json;

use super::keys::told;
use super::providers::{reason, report_json};
use crate::commands::role::Said;
use crate::commands::role::words::{exact, short, shown};

/// What is said of an event.
pub(super) fn tell(event: &MediatorEvent) -> Option<Said> {
    let said = match event {
        MediatorEvent::Published => Said::quiet("published", json!({})),
        MediatorEvent::PublishRefused(p) => Said::new(
            "publish_refused",
            format!("A record is refused: {p}"),
            json!({ "problem": p.text() }),
        ),
        MediatorEvent::InboxOpen => Said::new(
            "inbox_open",
            "The inbox is open: providers can apply",
            json!({}),
        ),
        MediatorEvent::Applied { id, application } => Said::new(
            "applied",
            format!(
                "{} applies ({})",
                application.practice.name.as_str(),
                short(&id.to_hex())
            ),
            json!({ "application": id.to_hex(), "name": application.practice.name.as_str() }),
        ),
        MediatorEvent::Reported(report) => Said::new(
            "reported",
            format!(
                "A user reports {}: {} ({})",
                report.practice.name.as_str(),
                reason(report.reason),
                short(&report.id.to_hex())
            ),
            report_json(report),
        ),
        MediatorEvent::Unanswerable { serial } => Said::new(
            "unanswerable",
            format!("Provider {serial} cannot be written to any more: it must apply anew"),
            json!({ "serial": serial }),
        ),
        MediatorEvent::ExpiresSoon { serial, expires } => Said::new(
            "expires_soon",
            format!(
                "Certificate {serial} ends {}: `lapwing mediator renew {serial}`",
                shown(*expires)
            ),
            json!({ "serial": serial, "expires": exact(*expires) }),
        ),
        MediatorEvent::CertificateEnds { expires } => Said::new(
            "certificate_ends",
            format!(
                "The root's certificate ends {}: `lapwing mediator certify`",
                shown(*expires)
            ),
            json!({ "expires": exact(*expires) }),
        ),
        MediatorEvent::InboxLost => Said::new(
            "inbox_lost",
            "The inbox could not be opened in time: `lapwing mediator certify`",
            json!({}),
        ),
        MediatorEvent::NotRefreshed(e) => Said::new(
            "not_refreshed",
            format!("The status was not dated anew: {}", told(e)),
            json!({ "why": e.to_string() }),
        ),
        MediatorEvent::NotRenewed(e) => Said::new(
            "not_renewed",
            format!("Region keys were not renewed: {}", told(e)),
            json!({ "why": e.to_string() }),
        ),
        MediatorEvent::ViewStale(p) => Said::quiet("view_stale", json!({ "problem": p.text() })),
        MediatorEvent::Refused(p) => Said::new(
            "refused",
            format!("A node refuses: {p}"),
            json!({ "problem": p.text() }),
        ),
        MediatorEvent::BadAnswer(p) => Said::new(
            "bad_answer",
            format!("A node's answer is wrong: {p}"),
            json!({ "problem": p.text() }),
        ),
        _ => return None,
    };
    Some(said)
}
