//! The requests of a run. Everything follows from the seed, so that the process that opens mailboxes
//! and those that write and read agree without telling each other.

use lapwing_protocol::bounded::{Bytes, List};
use lapwing_protocol::client::ReadOrder;
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::{NodeId, TokenHash};
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::mailbox::{
    BlobWrite, Life, Mailbox, ReadProof, SlotClass, WriteAuth, Writers, write_message,
};
use lapwing_protocol::size::SizeClass;
use lapwing_protocol::time::{Day, Time};
use lapwing_protocol::token::{TokenOrder, TokenWork};
use lapwing_testnet::seeds::Seeds;
use rand_core::Rng;

/// Slots of a channel's mailbox: how many writes one takes.
pub(crate) const SLOTS: u64 = 16;
/// How much work a token costs in a run, in bits. It is the client's work; checking it costs the same
/// whatever it is.
pub(crate) const WORK_BITS: u8 = 8;

/// One direction of a channel, with the keys of both sides.
pub(crate) struct Channel {
    pub(crate) mailbox: Mailbox,
    reader: SigningKey,
    writer: SigningKey,
}

impl Channel {
    /// The `n`th channel of a run.
    pub(crate) fn of(seeds: Seeds, n: u64, day: Day) -> Self {
        let mut rng = seeds.stream("channel", n);
        let reader = SigningKey::generate(&mut rng);
        let writer = SigningKey::generate(&mut rng);
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let mut writers = List::new();
        // One is within any bound.
        let _fits = writers.push(writer.verifying_key());
        let mailbox = Mailbox {
            read: reader.verifying_key(),
            writers: Writers::Keys(writers),
            size: SizeClass::Small,
            slots: SlotClass::Sixteen,
            life: Life::Days14,
            day,
            nonce,
        };
        Channel {
            mailbox,
            reader,
            writer,
        }
    }

    /// The body of a write of 4 KiB to a slot.
    pub(crate) fn write(&self, slot: u32, blob: Vec<u8>) -> Vec<u8> {
        let signature = self
            .writer
            .sign(&write_message(&self.mailbox.id(), slot, &blob));
        to_bytes(&BlobWrite {
            mailbox: self.mailbox.clone(),
            slot,
            // An envelope of the smallest size is far below the bound.
            blob: Bytes::try_from(blob).unwrap_or_default(),
            auth: WriteAuth::Key(signature),
        })
    }

    /// The body of a read at a node.
    pub(crate) fn read(&self, node: NodeId, time: Time) -> Vec<u8> {
        let proof = ReadProof {
            mailbox: self.mailbox.clone(),
            node,
            time,
        };
        let proof = Bytes::try_from(sign(&proof, &self.reader)).unwrap_or_default();
        to_bytes(&ReadOrder { proof, after: None })
    }
}

/// The body of the `n`th write of a run: sixteen to a channel.
pub(crate) fn write(
    seeds: Seeds,
    n: u64,
    day: Day,
    channel: &mut Option<(u64, Channel)>,
) -> Vec<u8> {
    let at = n / SLOTS;
    let channel = match channel {
        Some((number, channel)) if *number == at => channel,
        other => &mut other.insert((at, Channel::of(seeds, at, day))).1,
    };
    let mut blob = vec![0; SizeClass::Small.bytes()];
    seeds.stream("blob", n).fill_bytes(&mut blob);
    // The suite byte of an envelope.
    if let Some(first) = blob.first_mut() {
        *first = 1;
    }
    channel.write(u32::try_from(n % SLOTS).unwrap_or(0), blob)
}

/// The body of the `n`th order of a token.
pub(crate) fn token(seeds: Seeds, n: u64, work: &TokenWork) -> Vec<u8> {
    let mut rng = seeds.stream("token", n);
    let key = SigningKey::generate(&mut rng).verifying_key();
    let mut hash = [0; 32];
    rng.fill_bytes(&mut hash);
    let hash = TokenHash::from_bytes(hash);
    // With so few bits one is found long before the numbers end.
    let proof = work.search(&hash, WORK_BITS, 0, u64::MAX).unwrap_or(0);
    to_bytes(&TokenOrder { hash, proof, key })
}
