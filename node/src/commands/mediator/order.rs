//! Publishing, and how far a mediator is.

use anyhow::anyhow;
use lapwing_protocol::role::mediator::PublishError;
use lapwing_protocol::role::{Mediator, Role};
use lapwing_protocol::time::Seconds;
use serde_json::json;

use super::keys::refused;
use crate::commands::role::words::{count, exact, shown};
use crate::commands::role::{Failure, Hand};

/// Certificates that end within this time are counted as such.
const SOON: Seconds = Seconds::days(14);

/// Publishes what waits, and opens the inbox.
pub(super) async fn publish(hand: &Hand<Mediator>) -> Result<(), Failure> {
    hand.fed().await?;
    hand.with(|mediator, _, _| {
        let id = mediator.id();
        let registered = mediator
            .view()
            .mediator(&id)
            .is_some_and(|m| m.registered());
        if mediator.certificate_expires().is_some() {
            Ok(())
        } else if registered {
            Err(refused(PublishError::NotCertified))
        } else {
            Err(refused(PublishError::NotRegistered))
        }
    })
    .await??;
    hand.until("not everything is published", |mediator, _| {
        mediator.ready().then_some(())
    })
    .await?;
    let regions = hand
        .with(|mediator, _, _| mediator.regions().count())
        .await?;
    let next = if regions == 0 {
        "`lapwing mediator regions import FILE`"
    } else {
        "`lapwing mediator run`, which takes applications"
    };
    hand.say(
        "ready",
        format!(
            "Everything is published: {}, and the inbox is open. Next: {next}.",
            count(regions, "region")
        ),
        json!({ "regions": regions }),
    );
    Ok(())
}

/// Says how far it is.
pub(super) async fn status(hand: &Hand<Mediator>) -> Result<(), Failure> {
    hand.settled().await?;
    let said = hand
        .with(|mediator, now, _| {
            let id = mediator.id();
            let held = mediator.view().mediator(&id).filter(|m| m.registered());
            let registered = held.map(|m| m.registration().expires);
            let status = held.and_then(|m| m.status()).map(|s| s.expires);
            let certificate = mediator.certificate_expires();
            let regions = mediator.regions().count();
            let providers = mediator.providers().filter(|p| !p.superseded).count();
            let expiring = mediator.expiring(SOON, now).len();
            let applications = mediator.applications().count();
            let reports = mediator.reports().len();
            let next = match (registered, certificate) {
                (None, _) => "`lapwing mediator register`",
                (_, None) => "`lapwing mediator certify`",
                (_, Some(at)) if at <= now => "`lapwing mediator certify`: the certificate is over",
                _ if regions == 0 => "`lapwing mediator regions import FILE`",
                _ if !mediator.ready() => "`lapwing mediator publish`",
                _ if applications > 0 => "`lapwing mediator applications`",
                _ if reports > 0 => "`lapwing mediator reports`",
                _ if expiring > 0 => "`lapwing mediator providers --expiring 14`",
                _ => "`lapwing mediator run`",
            };
            let until = |at: Option<lapwing_protocol::time::Time>| {
                at.map_or_else(|| "no".to_owned(), |at| format!("until {}", shown(at)))
            };
            let text = format!(
                "Mediator {id}\nregistered   {}\ncertificate  {}\nstatus       {}\n{}, {} (to end within 14 days: {expiring}), {}, {}\nNext: {next}.",
                until(registered),
                until(certificate),
                until(status),
                count(regions, "region"),
                count(providers, "provider"),
                count(applications, "application"),
                count(reports, "report"),
            );
            let data = json!({
                "mediator": id.to_hex(), "registered_until": registered.map(exact),
                "certificate_until": certificate.map(exact), "status_until": status.map(exact),
                "status_expired": status.is_some_and(|at| at < now), "ready": mediator.ready(),
                "regions": regions, "providers": providers, "expiring": expiring,
                "applications": applications, "reports": reports,
            });
            Ok::<_, Failure>((text, data))
        })
        .await??;
    hand.say("status", said.0, said.1);
    Ok(())
}

/// Waits until what was decided is published and sent.
pub(super) async fn done(hand: &Hand<Mediator>) -> Result<(), Failure> {
    hand.settled().await?;
    let ready = hand.with(|mediator, _, _| mediator.ready()).await?;
    if ready {
        Ok(())
    } else {
        Err(Failure::NotYet(anyhow!(
            "it is decided, and not yet published: `lapwing mediator publish` goes on with it"
        )))
    }
}
