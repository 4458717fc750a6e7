//! The rules of the chain, one by one, and what holds whatever the order.

mod mediators;
mod orders;
mod proofs;
mod providers;
mod rosters;

use super::*;
use crate::cose::{Record, sign};
use crate::key::SigningKey;
use crate::testing::{Fixture, START};
use crate::time::Seconds;

/// Why a record is refused.
fn refusal(view: &mut TrustView, bytes: &[u8], now: Time) -> Problem {
    match view.learn(bytes, now) {
        Err(refused) => {
            assert_eq!(
                refused.proof.is_some(),
                refused.problem == Problem::Equivocation
            );
            refused.problem
        }
        Ok(accepted) => panic!("accepted as {accepted:?}"),
    }
}

fn learn(view: &mut TrustView, bytes: &[u8], now: Time) {
    let accepted = view.learn(bytes, now).unwrap();
    assert!(matches!(accepted, Accepted::New { .. }), "{accepted:?}");
}

fn empty(f: &Fixture) -> TrustView {
    TrustView::new(f.federation.clone()).unwrap()
}

fn days(n: u32) -> Time {
    START.plus(Seconds::days(n))
}

/// A record of the fixture, changed and signed anew.
fn changed<T: Record>(bytes: &[u8], key: &SigningKey, change: impl FnOnce(&mut T)) -> Vec<u8> {
    let mut value = crate::cose::parse::<T>(bytes)
        .unwrap()
        .verify_self()
        .unwrap()
        .into_value();
    change(&mut value);
    sign(&value, key)
}

impl Fixture {
    /// A view that learned earlier mediator certificates with the rest, after the current one.
    fn view_with(&self, earlier: &[Vec<u8>]) -> TrustView {
        let mut view = empty(self);
        let mut records = self.records();
        records.splice(3..3, earlier.iter().cloned());
        for r in records {
            view.learn(&r, self.now).unwrap();
        }
        view
    }
}

#[test]
fn a_fixture_is_believed_and_follows_from_its_seed() {
    let mut f = Fixture::new(1, 5);
    let p = f.certify(&[0, 2]);
    let view = f.view();
    assert_eq!(view, f.view());
    assert_eq!(view.provider(&p.id, f.now).unwrap().serial, p.serial);
    assert_eq!(view.region(&f.region(1)).unwrap().0, f.mediator.id);
    assert_eq!(view.regions().count(), 3);
    let mut again = Fixture::new(1, 5);
    assert_eq!(again.certify(&[0, 2]).certificate, p.certificate);
    assert_eq!(view, again.view());
    assert_ne!(view, Fixture::new(2, 5).view());
}

#[test]
fn the_examples_of_the_specification() {
    use crate::codec::to_bytes;
    use crate::mediation::region_id;
    use crate::testing::{list, text};
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    // The public key of RFC 8032's test 1.
    let root = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let bytes: [u8; 32] = data_encoding::HEXLOWER
        .decode(root.as_bytes())
        .unwrap()
        .try_into()
        .unwrap();
    let key = crate::key::VerifyingKey::from_bytes(&bytes).unwrap();
    let federation = crate::federation::Federation {
        name: text("Example"),
        roots: list(vec![key]),
        threshold: 1,
    };
    assert_eq!(
        hex(&to_bytes(&federation)),
        format!("83674578616d706c65815820{root}01")
    );
    assert_eq!(
        hex(federation.id().as_bytes()),
        "9f825d014f5b3e622340fb3d686e812e496e714f661c3a8de6c772b34736c1e5"
    );
    let region = region_id(&MediatorId::from_bytes(bytes), &text("North"), &[7; 32]);
    assert_eq!(
        hex(region.as_bytes()),
        "5398ee4d26ae52dd134ef2c5075eab2e86772267a758628bf2b7f7d50e8f51a4"
    );
}
