//! A mediator of its own, a provider, and users, on one federation on paper.

use super::Paper;
use crate::cose::sign_multi;
use crate::id::RegionId;
use crate::role::Role;
use crate::role::mediator::{Mediator, MediatorEvent, MediatorRoot, RegionPlan, WorkingKeys};
use crate::role::provider::{BookState, Provider, ProviderEvent};
use crate::role::user::{BookError, User, UserEvent, UserStatus};
use crate::testing::{list, text};
use crate::time::Seconds;
use crate::token::UserData;

pub(super) fn data(name: &str) -> UserData {
    UserData {
        name: text(name),
        address: text("Street 1, 10115 Berlin"),
        email: text("u@example.org"),
        telephone: text(""),
    }
}

pub(super) fn practice() -> crate::mediation::Practice {
    crate::mediation::Practice {
        name: text("Dr. Test"),
        street: text("Street 2"),
        postal_code: text("10115"),
        city: text("Berlin"),
        notes: text("Ring twice."),
    }
}

/// A mediator, registered for areas and certified by its root; nothing is on its way to a node yet.
pub(super) fn mediator(paper: &mut Paper, areas: &[&str]) -> (MediatorRoot, Mediator) {
    let mut root = MediatorRoot::create(&mut paper.rng);
    let mut mediator = Mediator::create(
        root.id(),
        text("Mediator"),
        paper.view.clone(),
        paper.node(),
        &mut paper.rng,
    );
    let areas = list(areas.iter().map(|a| text(a)).collect());
    let order = mediator.registration_order(areas, Seconds::days(365), paper.now);
    let operator = &paper.fixture.operators[0].key;
    mediator
        .registered(&sign_multi(&order, &[operator]), paper.now)
        .expect("registered");
    certify(paper, &mut root, &mut mediator, WorkingKeys::Same);
    (root, mediator)
}

/// Carries an order to the root, and the certificate back.
pub(super) fn certify(
    paper: &mut Paper,
    root: &mut MediatorRoot,
    mediator: &mut Mediator,
    keys: WorkingKeys,
) {
    let order = mediator
        .order(keys, paper.now.day(), paper.now, &mut paper.rng)
        .expect("ordered");
    let certificate = root
        .certify(&order, paper.now.plus(Seconds::days(120)))
        .expect("signed");
    mediator
        .certified(&certificate, paper.now, &mut paper.rng)
        .expect("certified");
}

/// A mediator of its own, one provider, users, on one federation.
pub(in crate::role) struct World {
    pub(in crate::role) paper: Paper,
    pub(in crate::role) root: MediatorRoot,
    pub(in crate::role) mediator: Mediator,
    pub(in crate::role) provider: Provider,
    pub(in crate::role) users: Vec<User>,
    pub(in crate::role) restart: bool,
    pub(in crate::role) to_mediator: Vec<MediatorEvent>,
    pub(in crate::role) to_provider: Vec<ProviderEvent>,
    pub(in crate::role) to_users: Vec<(usize, UserEvent)>,
    pub(in crate::role) region: RegionId,
}

impl World {
    pub(in crate::role) fn new(seed: u64, restart: bool, lossy: bool) -> Self {
        let mut paper = Paper::new(seed);
        paper.lossy = lossy;
        let node = paper.node();
        let (root, mut mediator) = mediator(&mut paper, &["10"]);
        let plan = RegionPlan {
            name: text("Berlin Mitte"),
            criteria: vec![(text("vaccine"), text("any"))],
            postal_codes: vec![text("10117"), text("10115")],
        };
        mediator
            .add_regions(&[plan], paper.now, &mut paper.rng)
            .expect("published");
        let region = mediator.regions().next().expect("a region").0;
        let provider = Provider::create(
            practice(),
            text("licence 7"),
            paper.view.clone(),
            node,
            &mut paper.rng,
        );
        let mut world = World {
            paper,
            root,
            mediator,
            provider,
            users: Vec::new(),
            restart,
            to_mediator: Vec::new(),
            to_provider: Vec::new(),
            to_users: Vec::new(),
            region,
        };
        world.go(5);
        assert!(world.mediator.ready(), "published, and the inbox open");
        let id = world.mediator.id();
        world.provider.apply(id, list(vec![region]));
        world.go(4);
        let application = world
            .mediator
            .applications()
            .next()
            .expect("an application")
            .0;
        world
            .mediator
            .approve(
                &application,
                None,
                90,
                world.paper.now,
                &mut world.paper.rng,
            )
            .expect("approved");
        world.go(4);
        assert!(
            world.provider.certificate().is_some(),
            "{:?}",
            world.to_provider
        );
        world
    }

    /// Lets everybody act, and half a minute pass, so many times.
    pub(in crate::role) fn go(&mut self, times: usize) {
        // A call whose first answer is lost takes a round more.
        let times = if self.paper.lossy { times * 5 } else { times };
        for _ in 0..times {
            self.mediator
                .set_view(self.paper.view.clone())
                .expect("one federation");
            self.to_mediator
                .extend(self.paper.turn(&mut self.mediator, self.restart));
            self.provider
                .set_view(self.paper.view.clone())
                .expect("one federation");
            self.to_provider
                .extend(self.paper.turn(&mut self.provider, self.restart));
            for (i, user) in self.users.iter_mut().enumerate() {
                user.set_view(self.paper.view.clone())
                    .expect("one federation");
                let events = self.paper.turn(user, self.restart);
                self.to_users.extend(events.into_iter().map(|e| (i, e)));
            }
            self.paper.pass(31);
        }
    }

    pub(in crate::role) fn slots(&mut self, n: u32) {
        let start = self.paper.now.plus(Seconds::days(3));
        for i in 0..n {
            let at = start.plus(Seconds::minutes(15 * i));
            self.provider
                .add_slot(at, 15, text("mRNA"), self.paper.now, &mut self.paper.rng)
                .expect("a slot");
        }
        self.go(2);
    }

    pub(in crate::role) fn user(&mut self, name: &str, wish: Option<&str>) -> usize {
        let mut user = User::create(data(name), self.paper.view.clone(), self.paper.node());
        let wishes = list(
            wish.map(|w| (text("vaccine"), text(w)))
                .into_iter()
                .collect(),
        );
        user.request(self.region, wishes, &mut self.paper.rng)
            .expect("idle");
        self.users.push(user);
        self.users.len() - 1
    }

    pub(in crate::role) fn book(&mut self, user: usize, slot: u8) -> Result<(), BookError> {
        let offer = self.users[user].offers().last().expect("an offer").id;
        self.users[user].book(&offer, slot, self.paper.now, &mut self.paper.rng)
    }

    pub(super) fn booked(&self) -> usize {
        self.provider
            .bookings()
            .iter()
            .filter(|(_, b)| b.state == BookState::Confirmed)
            .count()
    }

    pub(super) fn status(&self, user: usize) -> UserStatus {
        self.users[user].status()
    }
}

impl World {
    /// The provider's signing key.
    pub(super) fn provider_key(&self) -> crate::key::SigningKey {
        self.provider.signing_key()
    }
}
