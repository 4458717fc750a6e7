//! A mediator: registered by the founders, publishes its regions, verifies providers, revokes one.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use lapwing_client::driver::{Handle, Options};
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{MediatorId, RecordId};
use lapwing_protocol::role::mediator::{
    Mediator, MediatorEvent, MediatorRoot, RegionPlan, WorkingKeys,
};
use lapwing_protocol::time::Seconds;
use lapwing_protocol::trust::TrustView;

use super::wait::{PATIENCE, learns, wait};
use crate::federation::Founders;
use crate::report::Say;
use crate::scenario::MediatorPlan;

/// The mediator at its desk.
#[derive(Debug)]
pub struct Desk {
    handle: Handle<Mediator>,
    id: MediatorId,
    who: String,
    place: String,
    say: Arc<Say>,
}

impl Desk {
    /// A mediator that the founders register and that publishes these regions.
    ///
    /// # Errors
    /// What a role, the founders or a node refuse.
    pub async fn open(
        mut options: Options,
        founders: &Founders,
        plan: &MediatorPlan,
        regions: Vec<RegionPlan>,
        say: Arc<Say>,
        (who, place): (String, String),
    ) -> anyhow::Result<Self> {
        let view = TrustView::new(founders.federation().clone())?;
        let node = options.places.first().context("no node")?.id;
        // On one machine here: a root of its own belongs offline.
        let mut root = MediatorRoot::create(&mut options.rng);
        let mediator = Mediator::create(root.id(), plan.name.clone(), view, node, &mut options.rng);
        let id = mediator.id();
        let handle = Handle::start(mediator, options);
        learns(&handle, "the roster", |view| view.roster().map(drop)).await?;
        let areas: List<Text<16>, 1024> = List::try_from(plan.prefixes.clone())?;
        let order = handle
            .with(|m, now, _| m.registration_order(areas, Seconds::days(365), now))
            .await?;
        let registration = founders.sign_registration(&order);
        let count = regions.len();
        let order = handle
            .with(move |m, now, rng| {
                m.order(WorkingKeys::Same, now.day(), now, rng)
                    .map(|order| (order, now.plus(Seconds::days(120))))
            })
            .await??;
        let certificate = root.certify(&order.0, order.1)?;
        handle
            .with(move |m, now, rng| {
                m.registered(&registration, now)?;
                m.certified(&certificate, now, rng)?;
                m.add_regions(&regions, now, rng)
            })
            .await??;
        let mut desk = Desk {
            handle,
            id,
            who,
            place,
            say,
        };
        desk.published("publishing the regions").await?;
        desk.good(format!(
            "is registered by {}, publishes {count} regions",
            founders.registrars().collect::<Vec<_>>().join(", ")
        ));
        Ok(desk)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> MediatorId {
        self.id
    }

    fn good(&self, what: String) {
        self.say.good(&self.who, &self.place, what);
    }

    async fn published(&mut self, what: &str) -> anyhow::Result<()> {
        let (say, who, place) = (&self.say, &self.who, &self.place);
        wait(&mut self.handle, PATIENCE, what, |event| match event {
            MediatorEvent::Published => Some(()),
            event => {
                trouble(say, who, place, &event);
                None
            }
        })
        .await
    }

    /// Verifies so many applications as they come.
    ///
    /// # Errors
    /// When they do not come in time, or cannot be approved.
    pub async fn verify(&mut self, count: usize) -> anyhow::Result<()> {
        let mut approved: BTreeSet<RecordId> = BTreeSet::new();
        while approved.len() < count {
            let (say, who, place) = (&self.say, &self.who, &self.place);
            let applied = |event| match event {
                MediatorEvent::Applied { id, application } => {
                    Some((id, application.practice.name.clone()))
                }
                event => {
                    trouble(say, who, place, &event);
                    None
                }
            };
            let (id, name) = wait(&mut self.handle, PATIENCE, "applications", applied).await?;
            if approved.insert(id) {
                self.handle
                    .with(move |m, now, rng| m.approve(&id, None, 90, now, rng))
                    .await??;
                self.say.detail(
                    &self.who,
                    &self.place,
                    format!("verifies {}", name.as_str()),
                );
            }
        }
        self.good(format!("has verified {count} providers"));
        Ok(())
    }

    /// Revokes a certificate.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn revoke(&mut self, serial: u64, name: &str) -> anyhow::Result<()> {
        let reason = Text::try_from("licence withdrawn")?;
        self.handle
            .with(move |m, now, rng| m.revoke(serial, reason, now, rng))
            .await??;
        self.say
            .bad(&self.who, &self.place, format!("revokes {name}"));
        Ok(())
    }

    /// The role's side.
    #[must_use]
    pub fn into_handle(self) -> Handle<Mediator> {
        self.handle
    }
}

fn trouble(say: &Say, who: &str, place: &str, event: &MediatorEvent) {
    if let MediatorEvent::PublishRefused(p)
    | MediatorEvent::Refused(p)
    | MediatorEvent::BadAnswer(p) = event
    {
        say.bad(who, place, format!("trouble: {}", p.text()));
    }
}
