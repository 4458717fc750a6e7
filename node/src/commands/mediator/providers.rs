//! Applications, certificates, revocations and reports.

use anyhow::anyhow;
use clap::Args;
use lapwing_protocol::booking::{Application, ReportReason};
use lapwing_protocol::bounded::List;
use lapwing_protocol::id::RecordId;
use lapwing_protocol::role::Mediator;
use lapwing_protocol::role::mediator::{PublishError, ReportView};
use lapwing_protocol::time::Seconds;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keys::refused;
use super::order::done;
use super::regions::pick;
use crate::commands::role::words::{exact, short, shown};
use crate::commands::role::{Failure, Hand, words};

/// Which application.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Show {
    /// The beginning of an application's id, or a certificate's serial.
    which: String,
}

/// What to approve.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Approve {
    /// The beginning of the application's id.
    application: String,
    /// Only for these of the regions asked for: names, or beginnings of ids.
    #[arg(long = "regions", value_name = "NAME", num_args = 1..)]
    regions: Vec<String>,
    /// For how many days, 90 at most.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=90))]
    days: u16,
}

/// What to reject.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Reject {
    /// The beginning of the application's id.
    application: String,
    /// Why: the provider will read it.
    #[arg(long)]
    reason: String,
}

/// Which providers.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Providers {
    /// Only those whose certificate ends within so many days, and has no successor.
    #[arg(long, value_name = "DAYS")]
    expiring: Option<u16>,
    /// Those whose certificate is over or revoked, too.
    #[arg(long, conflicts_with = "expiring")]
    all: bool,
}

/// What to renew.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Renew {
    /// The certificate's serial.
    serial: u64,
    /// For how many days from now, 90 at most.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=90))]
    days: u16,
}

/// Whom to revoke.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Revoke {
    /// The certificate's serial.
    serial: u64,
    /// Why: it is kept here, and the provider will read it.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Which report.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Dismiss {
    /// The beginning of the report's id.
    report: String,
}

fn application_json(id: Option<&RecordId>, a: &Application) -> Value {
    let p = &a.practice;
    json!({
        "application": id.map(|id| id.to_hex()),
        "practice": {
            "name": p.name.as_str(), "street": p.street.as_str(),
            "postal_code": p.postal_code.as_str(), "city": p.city.as_str(),
            "notes": p.notes.as_str(),
        },
        "evidence": a.evidence.as_str(),
        "regions": a.regions.iter().map(|r| r.to_hex()).collect::<Vec<_>>(),
    })
}

fn region_names(mediator: &Mediator, a: &Application) -> Vec<String> {
    a.regions
        .iter()
        .map(|id| {
            mediator.region(id).map_or_else(
                || short(&id.to_hex()),
                |r| words::region(&r.plan.name, &r.plan.criteria),
            )
        })
        .collect()
}

fn application_text(mediator: &Mediator, a: &Application) -> String {
    let p = &a.practice;
    let notes = match p.notes.as_str() {
        "" => String::new(),
        notes => format!("\n  {notes}"),
    };
    format!(
        "{}\n  {}, {} {}{notes}\n  evidence: {}\n  regions: {}",
        p.name.as_str(),
        p.street.as_str(),
        p.postal_code.as_str(),
        p.city.as_str(),
        a.evidence.as_str(),
        region_names(mediator, a).join("; ")
    )
}

/// Lists the applications that wait.
pub(super) async fn applications(hand: &Hand<Mediator>) -> Result<(), Failure> {
    hand.settled().await?;
    let (lines, data): (Vec<String>, Vec<Value>) = hand
        .with(|mediator, _, _| {
            mediator
                .applications()
                .map(|(id, a)| {
                    let line = format!(
                        "{}  {}, {} {}  ({})",
                        short(&id.to_hex()),
                        a.practice.name.as_str(),
                        a.practice.postal_code.as_str(),
                        a.practice.city.as_str(),
                        region_names(mediator, a).join("; ")
                    );
                    (line, application_json(Some(&id), a))
                })
                .unzip()
        })
        .await?;
    let text = if lines.is_empty() {
        "No application waits.".to_owned()
    } else {
        format!(
            "{}\nNext: `lapwing mediator show ID`, then `approve ID` or `reject ID --reason WHY`.",
            lines.join("\n")
        )
    };
    hand.say("applications", text, json!({ "applications": data }));
    Ok(())
}

fn application(mediator: &Mediator, given: &str) -> Result<RecordId, Failure> {
    let all = mediator
        .applications()
        .map(|(id, _)| (id.to_hex(), None, id));
    words::pick("application", given, "lapwing mediator applications", all).map_err(|failure| {
        match failure {
            // It is no matter of how it is written: it may have been decided.
            Failure::Usage(error) => Failure::Failed(error),
            other => other,
        }
    })
}

/// Shows one application.
pub(super) async fn show(hand: &Hand<Mediator>, show: Show) -> Result<(), Failure> {
    let (text, data) = hand
        .with(move |mediator, _, _| {
            let held = mediator
                .applications()
                .any(|(id, _)| id.to_hex().starts_with(&show.which));
            match show.which.parse::<u64>() {
                Ok(serial) if !held => {
                    let a = mediator.application(serial).map_err(refused)?;
                    Ok((application_text(mediator, &a), application_json(None, &a)))
                }
                _ => {
                    let id = application(mediator, &show.which)?;
                    let found = mediator.applications().find(|(other, _)| *other == id);
                    let (_, a) = found.ok_or_else(|| refused(PublishError::UnknownApplication))?;
                    Ok((
                        application_text(mediator, a),
                        application_json(Some(&id), a),
                    ))
                }
            }
        })
        .await
        .and_then(|found: Result<_, Failure>| found)?;
    hand.say("application", text, data);
    Ok(())
}

/// Approves an application, and waits until the certificate is published and sent.
pub(super) async fn approve(hand: &Hand<Mediator>, order: Approve) -> Result<(), Failure> {
    hand.fed().await?;
    let (serial, name) = hand
        .with(move |mediator, now, rng| {
            let id = application(mediator, &order.application)?;
            let regions = if order.regions.is_empty() {
                None
            } else {
                let ids = pick(mediator, &order.regions)?;
                Some(List::try_from(ids).map_err(|e| Failure::Usage(anyhow!("--regions: {e}")))?)
            };
            let name = mediator
                .applications()
                .find(|(other, _)| *other == id)
                .map(|(_, a)| a.practice.name.as_str().to_owned());
            let serial = mediator
                .approve(&id, regions, order.days, now, rng)
                .map_err(refused)?;
            Ok::<_, Failure>((serial, name.unwrap_or_default()))
        })
        .await??;
    done(hand).await?;
    hand.say(
        "approved",
        format!("{name} is certified, serial {serial}."),
        json!({ "serial": serial, "name": name }),
    );
    Ok(())
}

/// Rejects an application.
pub(super) async fn reject(hand: &Hand<Mediator>, order: Reject) -> Result<(), Failure> {
    let reason = words::text("--reason", &order.reason)?;
    hand.fed().await?;
    hand.with(move |mediator, _, rng| {
        let id = application(mediator, &order.application)?;
        mediator.reject(&id, reason, rng).map_err(refused)
    })
    .await??;
    hand.settled().await?;
    hand.say("rejected", "Rejected.", json!({}));
    Ok(())
}

/// Lists the certified providers.
pub(super) async fn list(hand: &Hand<Mediator>, which: Providers) -> Result<(), Failure> {
    let (lines, data): (Vec<String>, Vec<Value>) = hand
        .with(move |mediator, now, _| {
            let in_force = match which.expiring {
                None => mediator.providers().collect(),
                Some(days) => mediator.expiring(Seconds::days(days.into()), now),
            };
            let mut rows: Vec<(String, Value)> = in_force
                .iter()
                .map(|p| {
                    let line = format!(
                        "{:>5}  {}  until {}  {}{}",
                        p.serial,
                        p.name.as_str(),
                        shown(p.expires),
                        words::count(p.regions.len(), "region"),
                        if p.superseded {
                            "  (has a later one)"
                        } else {
                            ""
                        }
                    );
                    let data = json!({
                        "serial": p.serial, "name": p.name.as_str(), "expires": exact(p.expires),
                        "regions": p.regions.iter().map(|r| r.to_hex()).collect::<Vec<_>>(),
                        "superseded": p.superseded, "in_force": true,
                    });
                    (line, data)
                })
                .collect();
            if which.all {
                rows.extend(mediator.past().map(|(serial, name, ended, reason)| {
                    let reason = reason.map(|r| r.as_str());
                    let why = reason.map_or_else(String::new, |r| format!("  revoked: {r}"));
                    let line = format!(
                        "{serial:>5}  {}  ended {}{why}",
                        name.as_str(),
                        shown(ended)
                    );
                    let data = json!({
                        "serial": serial, "name": name.as_str(), "ended": exact(ended),
                        "revoked": reason, "in_force": false,
                    });
                    (line, data)
                }));
            }
            rows.into_iter().unzip()
        })
        .await?;
    let text = if lines.is_empty() {
        "None.".to_owned()
    } else {
        lines.join("\n")
    };
    hand.say("providers", text, json!({ "providers": data }));
    Ok(())
}

/// Renews a certificate.
pub(super) async fn renew(hand: &Hand<Mediator>, order: Renew) -> Result<(), Failure> {
    hand.fed().await?;
    let serial = hand
        .with(move |mediator, now, rng| mediator.renew(order.serial, order.days, now, rng))
        .await?
        .map_err(refused)?;
    done(hand).await?;
    hand.say(
        "renewed",
        format!("Renewed: the new certificate has serial {serial}."),
        json!({ "serial": serial }),
    );
    Ok(())
}

/// Revokes a provider.
pub(super) async fn revoke(hand: &Hand<Mediator>, order: Revoke) -> Result<(), Failure> {
    let reason = words::text("--reason", &order.reason)?;
    let serial = order.serial;
    hand.fed().await?;
    hand.with(move |mediator, now, rng| mediator.revoke(serial, reason, now, rng))
        .await?
        .map_err(refused)?;
    done(hand).await?;
    hand.say(
        "revoked",
        format!("Revoked: {serial}. Its regions have new keys."),
        json!({ "serial": serial }),
    );
    Ok(())
}

pub(super) fn reason(reason: ReportReason) -> &'static str {
    match reason {
        ReportReason::Impostor => "is not the practice that it claims to be",
        ReportReason::Demands => "asks for money or data without right",
        ReportReason::NoAppointment => "does not keep its appointments",
        ReportReason::DataMisuse => "misuses data",
        ReportReason::Other => "other",
    }
}

pub(super) fn report_json(r: &ReportView) -> Value {
    json!({
        "report": r.id.to_hex(), "serial": r.serial, "in_force": r.in_force,
        "reason": format!("{:?}", r.reason), "text": r.text.as_str(),
        "practice": r.practice.name.as_str(), "offer": r.offer.to_hex(),
        "slots": r.slots.iter().map(|s| json!({
            "start": exact(s.start), "minutes": s.minutes, "what": s.what.as_str(),
        })).collect::<Vec<_>>(),
        "received": exact(r.received),
    })
}

/// Lists the reports.
pub(super) async fn reports(hand: &Hand<Mediator>) -> Result<(), Failure> {
    hand.settled().await?;
    let reports = hand.with(|mediator, _, _| mediator.reports()).await?;
    let lines: Vec<String> = reports
        .iter()
        .map(|r| {
            format!(
                "{}  {} (serial {}{}): {}\n  {}",
                short(&r.id.to_hex()),
                r.practice.name.as_str(),
                r.serial,
                if r.in_force {
                    ""
                } else {
                    ", no longer in force"
                },
                reason(r.reason),
                r.text.as_str()
            )
        })
        .collect();
    let text = if lines.is_empty() {
        "No reports.".to_owned()
    } else {
        format!(
            "{}\nNext: `lapwing mediator revoke SERIAL --reason WHY`, or `dismiss ID`.",
            lines.join("\n")
        )
    };
    let data: Vec<Value> = reports.iter().map(report_json).collect();
    hand.say("reports", text, json!({ "reports": data }));
    Ok(())
}

/// Puts a report away.
pub(super) async fn dismiss(hand: &Hand<Mediator>, order: Dismiss) -> Result<(), Failure> {
    hand.with(move |mediator, _, _| {
        let all: Vec<_> = mediator
            .reports()
            .iter()
            .map(|r| (r.id.to_hex(), None, r.id))
            .collect();
        let id = words::pick("report", &order.report, "lapwing mediator reports", all)?;
        mediator.dismiss(&id).map_err(refused)
    })
    .await??;
    hand.say("dismissed", "Put away.", json!({}));
    Ok(())
}
