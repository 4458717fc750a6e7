//! Stored state: what comes back, and what is refused.

use super::Paper;
use super::world::World;
use crate::role::{Mediator, Provider, RestoreError, Role, User};
use proptest::prelude::*;

#[test]
fn what_was_saved_is_saved_again() {
    let mut w = World::new(20, false, false);
    w.slots(3);
    let a = w.user("Ada", None);
    w.go(6);
    w.book(a, 0).expect("booked");
    w.go(1);
    fn same<R: Role>(paper: &Paper, role: &R) {
        assert_eq!(*role.save(), *paper.restarted(role).save());
    }
    same(&w.paper, &w.mediator);
    same(&w.paper, &w.provider);
    same(&w.paper, &w.users[a]);
}

#[test]
fn other_roles_and_later_versions_are_refused() {
    let w = World::new(21, false, false);
    let saved = w.provider.save();
    assert_eq!(User::restore(&saved).err(), Some(RestoreError::Other));
    assert_eq!(Mediator::restore(&saved).err(), Some(RestoreError::Other));
    assert_eq!(Provider::restore(&[]).err(), Some(RestoreError::Other));
    let mut newer = saved.to_vec();
    let at = 1 + 2 + "lapwing/v1/role-provider".len();
    assert_eq!(newer[at], 2, "the version");
    newer[at] = 3;
    assert_eq!(
        Provider::restore(&newer).err(),
        Some(RestoreError::Newer { found: 3 })
    );
    assert!(matches!(
        Provider::restore(&saved[..saved.len() - 1]).err(),
        Some(RestoreError::Damaged(_))
    ));
}

#[test]
fn secrets_do_not_print() {
    let mut w = World::new(22, false, false);
    let a = w.user("Ada", None);
    assert_eq!(format!("{:?}", w.users[a]), "User(redacted)");
    assert_eq!(format!("{:?}", w.provider), "Provider(redacted)");
    assert_eq!(
        format!("{:?}", w.mediator),
        format!("Mediator({})", w.mediator.id())
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn damaged_state_never_panics(at in 0usize..4000, flip in 1u8..=255) {
        let paper = Paper::new(23);
        let mut rng = paper.rng.clone();
        let mut user = User::create(
            crate::token::UserData {
                name: crate::testing::text("Ada"),
                address: crate::testing::text("x"),
                email: crate::testing::text(""),
                telephone: crate::testing::text(""),
            },
            paper.view.clone(),
            paper.node(),
        );
        user.request(paper.fixture.region(0), crate::testing::list(vec![]), &mut rng).expect("idle");
        let mut saved = user.save().to_vec();
        let at = at % saved.len();
        saved[at] ^= flip;
        let _outcome = User::restore(&saved);
    }
}
