//! What a run is judged by: one JSON object with fixed names, and what each number must be.

use serde::Serialize;

use crate::scenario::Scenario;

/// What was counted. Every figure is measured at nodes, in books or in what roles were told; none is
/// taken from what was played. The names are fixed: other programs read them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Nodes that answer at the end.
    pub nodes: u64,
    /// Mediators whose status is in force at every node.
    pub mediators: u64,
    /// Providers that were certified and had their region keys.
    pub providers: u64,
    /// Slots whose mark was set.
    pub slots: u64,
    /// Users whose request was admitted.
    pub users: u64,
    /// Postal codes in the region lists: the least that a node has.
    pub postal_codes: u64,
    /// Regions in force at the end, all mediators' together: the least that a node has.
    pub regions: u64,
    /// Tokens issued.
    pub tokens: u64,
    /// Of those, drawn anew because the issuer of an earlier one was away.
    pub redrawn: u64,
    /// Requests admitted.
    pub requests: u64,
    /// Requests claimed, each time one is granted to a provider.
    pub claims: u64,
    /// Offers sent, re-offers among them.
    pub offers: u64,
    /// Bookings that stand at the end, for the user.
    pub bookings_confirmed: u64,
    /// Of these, those that the provider's book or a read through another node lacks.
    pub bookings_lost: u64,
    /// Slots that had two people at any time.
    pub double_bookings: u64,
    /// People who had two bookings with one token at any time.
    pub token_multi_bookings: u64,
    /// Bookings that users cancelled.
    pub cancelled: u64,
    /// Of those users, how many took another offer.
    pub reoffered: u64,
    /// Bookings that were changed to another slot.
    pub changed: u64,
    /// Second uploads of a token for another request.
    pub token_reuse_attempts: u64,
    /// Of those, admitted.
    pub token_reuse_accepted: u64,
    /// Offers of the revoked provider that an app showed although its node knew.
    pub revoked_provider_offers_shown: u64,
    /// Nodes killed.
    pub nodes_killed: u64,
    /// Writes that nodes acknowledged and that some call reads back.
    pub acknowledged_writes: u64,
    /// Those of them that a node could not show at the end.
    pub acknowledged_writes_lost: u64,
    /// Pairs of nodes that hold different things of what both should hold, at the end.
    pub replicas_diverged: u64,
    /// Kendall's tau-b of the order in which users got their first offers against the order of their
    /// priority, mean over the areas.
    pub kendall_tau: f64,
    /// How long all of it took, in seconds.
    pub seconds: f64,
}

/// What the region lists must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lists {
    /// Regions.
    pub regions: u64,
    /// Postal codes.
    pub postal_codes: u64,
}

impl Counts {
    /// The counts that are not what they must be: name, found, expected.
    #[must_use]
    pub fn wrong(&self, scenario: &Scenario, lists: Lists) -> Vec<(&'static str, u64, String)> {
        let providers = scenario.provider_count() as u64;
        let users = scenario.users;
        let exactly = [
            ("nodes", self.nodes, scenario.nodes as u64),
            ("mediators", self.mediators, scenario.mediators.len() as u64),
            ("providers", self.providers, providers),
            (
                "slots",
                self.slots,
                providers * u64::from(scenario.providers.slots),
            ),
            ("users", self.users, users.count as u64),
            ("postal_codes", self.postal_codes, lists.postal_codes),
            ("regions", self.regions, lists.regions),
            (
                "bookings_confirmed",
                self.bookings_confirmed,
                scenario.standing() as u64,
            ),
            ("bookings_lost", self.bookings_lost, 0),
            ("double_bookings", self.double_bookings, 0),
            ("token_multi_bookings", self.token_multi_bookings, 0),
            (
                "cancelled",
                self.cancelled,
                (users.cancel + users.cancel_again) as u64,
            ),
            ("reoffered", self.reoffered, users.cancel_again as u64),
            ("changed", self.changed, users.change as u64),
            ("token_reuse_accepted", self.token_reuse_accepted, 0),
            (
                "revoked_provider_offers_shown",
                self.revoked_provider_offers_shown,
                0,
            ),
            ("nodes_killed", self.nodes_killed, scenario.kills() as u64),
            ("acknowledged_writes_lost", self.acknowledged_writes_lost, 0),
            ("replicas_diverged", self.replicas_diverged, 0),
        ];
        // Every user draws, asks and books at least once.
        let once = users.count as u64;
        let least = [
            ("redrawn", self.redrawn, users.at_killed as u64),
            (
                "token_reuse_attempts",
                self.token_reuse_attempts,
                users.double_upload as u64,
            ),
            ("tokens", self.tokens, once),
            ("requests", self.requests, once),
            ("claims", self.claims, once),
            ("offers", self.offers, once),
            ("acknowledged_writes", self.acknowledged_writes, once * 2),
        ];
        let exactly = exactly
            .into_iter()
            .filter(|(_, found, expected)| found != expected)
            .map(|(name, found, expected)| (name, found, expected.to_string()));
        let least = least
            .into_iter()
            .filter(|(_, found, least)| found < least)
            .map(|(name, found, least)| (name, found, format!("{least} or more")));
        exactly.chain(least).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::DAY;

    const LISTS: Lists = Lists {
        regions: 673,
        postal_codes: 8168,
    };

    fn right() -> Counts {
        Counts {
            nodes: 5,
            mediators: 2,
            providers: 20,
            slots: 400,
            users: 300,
            postal_codes: 8168,
            regions: 673,
            tokens: 305,
            redrawn: 5,
            requests: 300,
            claims: 500,
            offers: 500,
            bookings_confirmed: 290,
            cancelled: 20,
            reoffered: 10,
            changed: 5,
            token_reuse_attempts: 20,
            nodes_killed: 2,
            acknowledged_writes: 5000,
            ..Counts::default()
        }
    }

    #[test]
    fn every_count_of_the_day_must_be_right() {
        let day = Scenario::parse(DAY).unwrap();
        assert_eq!(right().wrong(&day, LISTS), []);
        let spoil: [fn(&mut Counts); 26] = [
            |c| c.nodes = 4,
            |c| c.mediators = 1,
            |c| c.providers = 19,
            |c| c.slots = 399,
            |c| c.users = 299,
            |c| c.postal_codes = 1,
            |c| c.regions = 671,
            |c| c.tokens = 299,
            |c| c.redrawn = 4,
            |c| c.requests = 299,
            |c| c.claims = 1,
            |c| c.offers = 1,
            |c| c.bookings_confirmed = 289,
            |c| c.bookings_lost = 1,
            |c| c.double_bookings = 1,
            |c| c.token_multi_bookings = 1,
            |c| c.cancelled = 19,
            |c| c.reoffered = 9,
            |c| c.changed = 4,
            |c| c.token_reuse_attempts = 9,
            |c| c.token_reuse_accepted = 1,
            |c| c.revoked_provider_offers_shown = 1,
            |c| c.nodes_killed = 1,
            |c| c.acknowledged_writes = 3,
            |c| c.acknowledged_writes_lost = 1,
            |c| c.replicas_diverged = 1,
        ];
        for spoil in spoil {
            let mut counts = right();
            spoil(&mut counts);
            assert_eq!(counts.wrong(&day, LISTS).len(), 1, "{counts:?}");
        }
    }

    #[test]
    fn the_json_has_the_fixed_names() {
        let json = serde_json::to_string(&right()).unwrap();
        let names: Vec<&str> = json.split('"').skip(1).step_by(2).collect();
        assert_eq!(
            names,
            [
                "nodes",
                "mediators",
                "providers",
                "slots",
                "users",
                "postal_codes",
                "regions",
                "tokens",
                "redrawn",
                "requests",
                "claims",
                "offers",
                "bookings_confirmed",
                "bookings_lost",
                "double_bookings",
                "token_multi_bookings",
                "cancelled",
                "reoffered",
                "changed",
                "token_reuse_attempts",
                "token_reuse_accepted",
                "revoked_provider_offers_shown",
                "nodes_killed",
                "acknowledged_writes",
                "acknowledged_writes_lost",
                "replicas_diverged",
                "kendall_tau",
                "seconds",
            ]
        );
    }
}
