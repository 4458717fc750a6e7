//! What an offer holds.

use clap::Args;
use lapwing_protocol::role::Provider;
use lapwing_protocol::time::Seconds;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::commands::role::{Failure, Hand};

/// What an offer holds. Offers that are open stay as they are.
#[derive(Args, Serialize, Deserialize)]
#[command(after_help = "\
Examples:
  lapwing provider offers
  lapwing provider offers --hours 4 --per-slot 1

With more than one user to a slot fewer slots stay empty, and some users are told that somebody else was
quicker; these are offered another slot at once, if there is one.")]
pub(crate) struct Offers {
    /// How many slots an offer has at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    slots: Option<u8>,
    /// How long it can be accepted, in hours: at most so long, and never beyond its last slot.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: Option<u32>,
    /// To how many users one slot is offered at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    per_slot: Option<u8>,
}

impl Offers {
    /// Changes what is given, and says what holds.
    pub(super) async fn perform(self, hand: &Hand<Provider>) -> Result<(), Failure> {
        let policy = hand
            .with(move |provider, _, _| {
                let mut policy = provider.policy();
                policy.slots = self.slots.unwrap_or(policy.slots);
                policy.life = self.hours.map_or(policy.life, Seconds::hours);
                policy.per_slot = self.per_slot.unwrap_or(policy.per_slot);
                provider.set_policy(policy);
                policy
            })
            .await?;
        let hours = policy.life.get() / Seconds::HOUR.get();
        hand.say(
            "offers",
            format!(
                "An offer has up to {} slots and can be accepted for {hours} h; a slot is offered to up to {} users at once.",
                policy.slots, policy.per_slot
            ),
            json!({ "slots": policy.slots, "hours": hours, "per_slot": policy.per_slot }),
        );
        Ok(())
    }
}
