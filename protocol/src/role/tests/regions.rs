//! Regions: by area and criteria, changed and removed, of several mediators; and their keys.

use super::Paper;
use super::world::{World, mediator, practice};
use crate::cose::{parse, sign, sign_multi};
use crate::id::RegionId;
use crate::mediation::{ProviderCertificate, RegionList, region_id};
use crate::problem::Problem;
use crate::role::Role;
use crate::role::mediator::{Mediator, PublishError, RegionPlan};
use crate::role::provider::{Provider, ProviderEvent};
use crate::testing::{list, text};
use crate::time::Seconds;

pub(super) fn plan(name: &str, codes: &[&str]) -> RegionPlan {
    RegionPlan {
        name: text(name),
        criteria: vec![(text("vaccine"), text("mRNA"))],
        postal_codes: codes.iter().map(|c| text(c)).collect(),
    }
}

fn desk(seed: u64, areas: &[&str]) -> (Paper, Mediator) {
    let mut paper = Paper::new(seed);
    let (_, mediator) = mediator(&mut paper, areas);
    (paper, mediator)
}

fn add(paper: &mut Paper, m: &mut Mediator, plan: RegionPlan) -> Result<RegionId, PublishError> {
    m.add_regions(&[plan], paper.now, &mut paper.rng)
        .map(|ids| ids[0])
}

#[test]
fn one_area_has_several_regions_by_vaccine_and_age() {
    let (mut paper, mut m) = desk(320, &["10"]);
    let young = RegionPlan {
        criteria: vec![
            (text("vaccine"), text("mRNA")),
            (text("age"), text("12-59")),
        ],
        ..plan("Mitte", &["10115", "10117"])
    };
    let old = RegionPlan {
        criteria: vec![(text("vaccine"), text("mRNA")), (text("age"), text("60-"))],
        ..young.clone()
    };
    let ids = m
        .add_regions(&[young, old], paper.now, &mut paper.rng)
        .expect("published");
    paper.turn(&mut m, false);
    assert_ne!(ids[0], ids[1]);
    for (id, age) in ids.iter().zip(["12-59", "60-"]) {
        let (of, region) = paper.view.region(id).expect("in every view");
        assert_eq!(of, m.id());
        // Sorted by key, as every view wants them.
        let said: Vec<_> = region
            .criteria
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(said, [("age", age), ("vaccine", "mRNA")]);
    }
}

#[test]
fn bad_plans_are_refused_by_name() {
    let (mut paper, mut m) = desk(321, &["10", "20095"]);
    let table = [
        (
            plan("Elsewhere", &["10115", "80331"]),
            PublishError::OutsideAreas {
                code: text("80331"),
            },
        ),
        (plan("Nowhere", &[]), PublishError::NoPostalCodes),
        (
            RegionPlan {
                criteria: vec![(text("age"), text("1")), (text("age"), text("2"))],
                ..plan("Twice", &["10115"])
            },
            PublishError::SameCriterion { key: text("age") },
        ),
        (
            RegionPlan {
                criteria: (0..9).map(|i| (text(&i.to_string()), text("x"))).collect(),
                ..plan("Much", &["10115"])
            },
            PublishError::TooMany,
        ),
    ];
    let saved = m.save();
    for (bad, expected) in table {
        assert_eq!(add(&mut paper, &mut m, bad), Err(expected));
    }
    assert_eq!(*m.save(), *saved, "nothing changed");
    let message = PublishError::OutsideAreas {
        code: text("80331"),
    }
    .to_string();
    assert_eq!(
        message,
        "the postal code 80331 is outside the areas of the registration"
    );
    assert!(add(&mut paper, &mut m, plan("Altstadt", &["20095"])).is_ok());
}

#[test]
fn a_region_outside_the_areas_is_refused_by_every_view() {
    let (mut paper, mut m) = desk(322, &["10"]);
    paper.turn(&mut m, false);
    // A mediator that signs what it should not.
    let (name, salt) = (text("Munich"), [1; 32]);
    let region = crate::mediation::Region {
        id: region_id(&m.id(), &name, &salt),
        name,
        criteria: list(vec![]),
        postal_codes: list(vec![text("80331")]),
        salt,
        key_version: 1,
        sealing: crate::key::SealingSecret::generate(&mut paper.rng).public(),
    };
    let regions = RegionList {
        mediator: m.id(),
        sequence: 1000,
        issued: paper.now,
        regions: list(vec![region]),
    };
    let bytes = sign(&regions, m.signing_key());
    assert_eq!(
        paper
            .view
            .learn(&bytes, paper.now)
            .expect_err("outside")
            .problem,
        Problem::WrongRegion
    );
}

#[test]
fn a_second_mediator_has_areas_of_its_own() {
    let mut w = World::new(323, false, false);
    let (_, mut second) = mediator(&mut w.paper, &["20"]);
    let theirs = plan("Mitte", &["10115"]);
    assert_eq!(
        add(&mut w.paper, &mut second, theirs),
        Err(PublishError::OutsideAreas {
            code: text("10115")
        })
    );
    let hamburg = add(&mut w.paper, &mut second, plan("Altstadt", &["20095"])).expect("its own");
    w.paper.turn(&mut second, false);
    w.go(1);
    let of = |id| w.paper.view.region(id).expect("published").0;
    assert_eq!(
        (of(&w.region), of(&hamburg)),
        (w.mediator.id(), second.id())
    );
    // The first can certify for no region of the second.
    let (id, node) = (w.mediator.id(), w.paper.node());
    let view = w.paper.view.clone();
    let mut p = Provider::create(practice(), text(""), view, node, &mut w.paper.rng);
    let mut both = vec![w.region, hamburg];
    both.sort();
    p.apply(id, list(both));
    w.paper.turn(&mut p, false);
    w.go(1);
    let application = w.mediator.applications().next().expect("read").0;
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    assert_eq!(
        w.mediator.approve(&application, None, 90, now, rng),
        Err(PublishError::UnknownRegion(hamburg))
    );
    let ours = list(vec![w.region]);
    assert!(
        w.mediator
            .approve(&application, Some(ours), 90, now, rng)
            .is_ok()
    );
    w.go(2);
    p.set_view(w.paper.view.clone()).expect("one federation");
    w.paper.turn(&mut p, false);
    assert!(p.certificate().is_some());
    // It applies to the second as well, with the same keys.
    p.apply(second.id(), list(vec![hamburg]));
    w.paper.turn(&mut p, false);
    second
        .set_view(w.paper.view.clone())
        .expect("one federation");
    w.paper.pass(31);
    w.paper.turn(&mut second, false);
    assert_eq!(second.applications().count(), 1);
}

#[test]
fn a_region_is_changed_under_its_id() {
    let mut w = World::new(324, false, false);
    let (now, region) = (w.paper.now, w.region);
    let age = [(text("age"), text("60-"))];
    w.mediator
        .change_region(&region, &age, &[text("10119")], now)
        .expect("changed");
    w.go(2);
    let (_, published) = w.paper.view.region(&region).expect("the same id");
    assert_eq!(published.postal_codes.to_vec(), [text::<10>("10119")]);
    assert_eq!(published.criteria.to_vec(), age);
    assert_eq!(published.key_version, 1);
    let id = w.provider.certificate_id().expect("certified");
    assert!(w.paper.view.provider(&id, w.paper.now).is_ok());
    assert_eq!(
        w.mediator
            .change_region(&region, &age, &[text("80331")], now),
        Err(PublishError::OutsideAreas {
            code: text("80331")
        })
    );
    let none = RegionId::from_bytes([9; 32]);
    assert_eq!(
        w.mediator.change_region(&none, &age, &[text("10119")], now),
        Err(PublishError::UnknownRegion(none))
    );
}

#[test]
fn a_region_is_removed_and_its_providers_keep_the_others() {
    let mut w = World::new(325, false, false);
    let second = add(&mut w.paper, &mut w.mediator, plan("Wedding", &["10999"])).expect("added");
    w.go(2);
    let mut both = vec![w.region, second];
    both.sort();
    w.provider.apply(w.mediator.id(), list(both));
    w.go(3);
    let application = w.mediator.applications().next().expect("read").0;
    w.mediator
        .approve(&application, None, 60, w.paper.now, &mut w.paper.rng)
        .expect("approved");
    w.go(3);
    let none = RegionId::from_bytes([9; 32]);
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    assert_eq!(
        w.mediator.remove_regions(&[none], now, rng),
        Err(PublishError::UnknownRegion(none))
    );
    w.mediator
        .remove_regions(&[w.region], now, rng)
        .expect("removed");
    w.go(3);
    assert!(w.paper.view.region(&w.region).is_none());
    assert!(w.paper.view.region(&second).is_some());
    let in_force: Vec<Vec<RegionId>> = w.mediator.providers().map(|p| p.regions).collect();
    assert_eq!(
        in_force,
        [vec![second]],
        "the one for the first region alone is over"
    );
    // The copy of the application went with it.
    assert!(w.mediator.application(3).is_ok());
    let id = w.paper.view.mediator(&w.mediator.id()).expect("there");
    let listed = id.directory().expect("published").certificates.to_vec();
    assert_eq!(listed.len(), 1);
    let certificate: &ProviderCertificate = w.paper.view.certificate(&listed[0]).expect("held");
    assert_eq!(certificate.regions.to_vec(), [second]);
}

#[test]
fn operators_narrow_the_areas_only_of_what_is_there() {
    let mut w = World::new(326, false, false);
    let operator = w.paper.fixture.operators[0].key.clone();
    let life = Seconds::days(365);
    let order = w
        .mediator
        .registration_order(list(vec![text("20")]), life, w.paper.now);
    let narrow = sign_multi(&order, &[&operator]);
    let now = w.paper.now;
    assert!(matches!(
        w.mediator.registered(&narrow, now),
        Err(PublishError::OutsideAreas { .. })
    ));
    let rng = &mut w.paper.rng;
    w.mediator
        .remove_regions(&[w.region], now, rng)
        .expect("removed");
    w.mediator.registered(&narrow, now).expect("taken");
    w.go(3);
    assert!(w.paper.view.region(&w.region).is_none());
    assert_eq!(w.mediator.providers().count(), 0);
    let other = parse::<RegionList>(
        &w.paper
            .view
            .mediator(&w.mediator.id())
            .expect("there")
            .regions()
            .expect("published")
            .bytes()
            .clone(),
    )
    .expect("one");
    assert!(other.unverified().regions.is_empty());
}

#[test]
fn region_keys_are_renewed_on_schedule_and_on_request() {
    let mut w = World::new(327, false, false);
    w.mediator.set_region_life(Seconds::days(2));
    let version = |w: &World| w.paper.view.region(&w.region).expect("there").1.key_version;
    w.go(2);
    assert_eq!(version(&w), 1);
    // One that waits from before the renewal.
    let a = w.user("Ada", None);
    w.go(2);
    w.paper.pass(86_400);
    w.go(1);
    assert_eq!(version(&w), 1, "not yet");
    w.paper.pass(86_400);
    w.go(3);
    assert_eq!(version(&w), 2, "by itself");
    assert!(
        w.to_provider
            .iter()
            .any(|e| matches!(e, ProviderEvent::RegionKey { version: 2, .. }))
    );
    let b = w.user("Bob", None);
    w.slots(4);
    w.go(6);
    // The provider still opens what was sealed to the version before.
    assert_eq!(
        (w.users[a].offers().len(), w.users[b].offers().len()),
        (1, 1)
    );
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    assert_eq!(
        w.mediator.renew_region_keys(now, rng),
        Ok(0),
        "nothing is due"
    );
    let view = w.mediator.region(&w.region).expect("there");
    assert_eq!(view.version, 2);
    assert!(view.renewed < now);
    w.mediator.set_region_life(Seconds::ZERO);
    w.paper.pass(20 * 86_400);
    w.go(2);
    assert_eq!(version(&w), 2, "switched off");
}
