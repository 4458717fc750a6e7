//! The mediator: registered by the founders, publishes its regions, verifies providers.

use std::collections::BTreeSet;

use anyhow::Context;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{MediatorId, RecordId};
use lapwing_protocol::role::mediator::{
    Mediator, MediatorEvent, MediatorRoot, RegionPlan, WorkingKeys,
};
use lapwing_protocol::time::Seconds;
use lapwing_protocol::trust::TrustView;

use super::{learns, trouble, wait};
use crate::federation::Founders;
use crate::report::Say;
use lapwing_client::driver::{Handle, Options};

/// The mediator at its desk.
#[derive(Debug)]
pub struct Desk {
    handle: Handle<Mediator>,
    id: MediatorId,
}

impl Desk {
    /// A mediator that the founders register and that publishes these regions.
    ///
    /// # Errors
    /// What a role, the founders or a node refuse.
    pub async fn open(
        mut options: Options,
        founders: &Founders,
        plans: Vec<RegionPlan>,
        say: &Say,
        place: &str,
    ) -> anyhow::Result<Self> {
        let view = TrustView::new(founders.federation().clone())?;
        let node = options.places.first().context("no node")?.id;
        // On one machine here: a root of its own belongs offline.
        let mut root = MediatorRoot::create(&mut options.rng);
        let mediator = Mediator::create(
            root.id(),
            Text::try_from("Vermittlung Nord")?,
            view,
            node,
            &mut options.rng,
        );
        let id = mediator.id();
        let mut handle = Handle::start(mediator, options);
        learns(&handle, "the roster", |view| view.roster().map(drop)).await?;
        let everywhere = List::try_from(vec![Text::try_from("")?])?;
        let order = handle
            .with(|m, now, _| m.registration_order(everywhere, Seconds::days(365), now))
            .await?;
        let registration = founders.sign_registration(&order);
        let signers: Vec<&str> = founders.registrars().collect();
        say.line(
            "operators",
            "",
            format!("{} signs the mediator's registration", signers.join(", ")),
        );
        let count = plans.len();
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
                m.add_regions(&plans, now, rng)
            })
            .await??;
        wait(&mut handle, "publishing the regions", |event| match event {
            MediatorEvent::Published => Some(()),
            event => {
                trouble(say, "mediator", place, mediator_trouble(&event));
                None
            }
        })
        .await?;
        say.good(
            "mediator",
            place,
            format!("publishes certificate, {count} regions, directory, status"),
        );
        Ok(Desk { handle, id })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> MediatorId {
        self.id
    }

    /// Verifies so many applications as they come.
    ///
    /// # Errors
    /// When they do not come in time, or cannot be approved.
    pub async fn verify(&mut self, count: usize, say: &Say, place: &str) -> anyhow::Result<()> {
        let mut approved: BTreeSet<RecordId> = BTreeSet::new();
        while approved.len() < count {
            let (id, name) = wait(&mut self.handle, "applications", |event| match event {
                MediatorEvent::Applied { id, application } => {
                    Some((id, application.practice.name.clone()))
                }
                event => {
                    trouble(say, "mediator", place, mediator_trouble(&event));
                    None
                }
            })
            .await?;
            if approved.insert(id) {
                self.handle
                    .with(move |m, now, rng| m.approve(&id, None, 90, now, rng))
                    .await??;
                say.good("mediator", place, format!("verifies {}", name.as_str()));
            }
        }
        Ok(())
    }

    /// The role's side.
    #[must_use]
    pub fn into_handle(self) -> Handle<Mediator> {
        self.handle
    }
}

fn mediator_trouble(event: &MediatorEvent) -> Option<String> {
    match event {
        MediatorEvent::PublishRefused(p)
        | MediatorEvent::Refused(p)
        | MediatorEvent::BadAnswer(p) => Some(format!("trouble: {}", p.text())),
        _ => None,
    }
}
