//! What users and providers ask of nodes: calls made with the keys at hand, without the role machines.

use lapwing_protocol::bounded::{Bytes, List};
use lapwing_protocol::client::{Answer, Call, CallKind, MarkOrder, ReadOrder};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{NodeId, RequestId, TokenHash};
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::mailbox::{
    BlobWrite, Deletion, Life, Mailbox, Mark, MarkState, MarkValue, NO_BOOKING, OpenOrder, Payment,
    Place, ReadProof, SlotClass, WriteAuth, Writers, write_message,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Request;
use lapwing_protocol::size::SizeClass;
use lapwing_protocol::testing::{TestProvider, bytes32, list};
use lapwing_protocol::time::Time;
use lapwing_protocol::token::{TokenOrder, TokenWork, epoch_at};
use rand_core::Rng;

use super::world::World;

/// Bytes within their bound.
///
/// # Panics
/// Where they are not.
#[must_use]
pub(super) fn bounded<const MAX: usize>(bytes: Vec<u8>) -> Bytes<MAX> {
    Bytes::try_from(bytes).expect("bytes within their bound")
}

/// A token with the key that signs its request.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The COSE token.
    pub token: Vec<u8>,
    /// The key.
    pub key: SigningKey,
}

/// A request, ready to be placed.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Places it.
    pub call: Call,
    /// Its id.
    pub id: RequestId,
    /// The user's inbox, read with `reading`.
    pub inbox: Mailbox,
    /// The inbox's read key.
    pub reading: SigningKey,
}

/// A mailbox with its keys.
#[derive(Clone, Debug)]
pub struct OwnMailbox {
    /// The mailbox: one writer.
    pub mailbox: Mailbox,
    /// The read key.
    pub reading: SigningKey,
    /// The write key.
    pub writing: SigningKey,
}

/// A mark with its key.
#[derive(Clone, Debug)]
pub struct OwnMark {
    /// The mark.
    pub mark: Mark,
    /// The key.
    pub key: SigningKey,
}

/// Deletes a slot of a mailbox.
#[must_use]
pub fn delete_call(mailbox: &Mailbox, reading: &SigningKey, slot: u32) -> Call {
    let deletion = Deletion {
        mailbox: mailbox.clone(),
        slot,
    };
    Call::new(CallKind::Delete, sign(&deletion, reading))
}

/// Reads a mailbox at a node.
#[must_use]
pub fn read_call(
    mailbox: &Mailbox,
    reading: &SigningKey,
    node: NodeId,
    time: Time,
    after: Option<u32>,
) -> Call {
    let proof = ReadProof {
        mailbox: mailbox.clone(),
        node,
        time,
    };
    let order = ReadOrder {
        proof: bounded(sign(&proof, reading)),
        after,
    };
    Call::new(CallKind::Read, to_bytes(&order))
}

impl OwnMailbox {
    /// Writes a blob of one repeated byte to a slot.
    #[must_use]
    pub fn write(&self, slot: u32, byte: u8) -> Call {
        self.write_blob(slot, vec![byte; self.mailbox.size.bytes()])
    }

    /// Writes a blob to a slot.
    #[must_use]
    pub fn write_blob(&self, slot: u32, blob: Vec<u8>) -> Call {
        let signature = self
            .writing
            .sign(&write_message(&self.mailbox.id(), slot, &blob));
        let write = BlobWrite {
            mailbox: self.mailbox.clone(),
            slot,
            blob: bounded(blob),
            auth: WriteAuth::Key(signature),
        };
        Call::new(CallKind::Write, to_bytes(&write))
    }

    /// Deletes what is in a slot.
    #[must_use]
    pub fn delete(&self, slot: u32) -> Call {
        delete_call(&self.mailbox, &self.reading, slot)
    }
}

impl OwnMark {
    /// Sets the mark, by no booking.
    #[must_use]
    pub fn set(&self, version: u64, value: MarkValue) -> Call {
        self.set_by(version, value, NO_BOOKING)
    }

    /// Sets the mark in the name of a booking.
    #[must_use]
    pub fn set_by(&self, version: u64, value: MarkValue, by: [u8; 16]) -> Call {
        let state = MarkState {
            mark: self.mark.clone(),
            version,
            value,
            by,
        };
        Call::new(CallKind::SetMark, sign(&state, &self.key))
    }
}

impl World {
    /// A signing key of the seed's.
    pub fn key(&mut self) -> SigningKey {
        SigningKey::generate(&mut self.rng)
    }

    fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        self.rng.fill_bytes(&mut nonce);
        nonce
    }

    /// An order for a token at a node, with its work done.
    ///
    /// # Panics
    /// Where the fixture's work is too much for a test.
    pub fn token_order(&mut self, node: usize) -> (TokenOrder, SigningKey) {
        let key = self.key();
        let hash = TokenHash::from_bytes(bytes32(&mut self.rng));
        (self.token_order_for(node, hash, &key), key)
    }

    /// The same for an H and a key.
    ///
    /// # Panics
    /// As [`World::token_order`].
    pub fn token_order_for(&self, node: usize, hash: TokenHash, key: &SigningKey) -> TokenOrder {
        let params = &self.fixture.params;
        let work = TokenWork {
            federation: self.fixture.federation.id(),
            issuer: self.id(node),
            epoch: epoch_at(self.now(), params.epoch),
        };
        let proof = work.search(&hash, params.token_work, 0, 1 << 20);
        TokenOrder {
            hash,
            proof: proof.expect("little work"),
            key: key.verifying_key(),
        }
    }

    /// Draws a token at a node.
    ///
    /// # Errors
    /// The node's refusal.
    ///
    /// # Panics
    /// Where the answer is no token.
    pub fn draw(&mut self, node: usize) -> Result<Drawn, Problem> {
        let (order, key) = self.token_order(node);
        match self.call(node, &Call::new(CallKind::Token, to_bytes(&order)))? {
            Answer::Token(token) => Ok(Drawn { token, key }),
            other => panic!("a token: {other:?}"),
        }
    }

    /// A request with a token, for a region by number.
    pub fn request(&mut self, drawn: &Drawn, region: usize) -> Placed {
        let reading = self.key();
        let inbox = Mailbox {
            read: reading.verifying_key(),
            writers: Writers::Tickets,
            size: SizeClass::Small,
            slots: SlotClass::Free,
            life: Life::Days42,
            day: self.now().day(),
            nonce: self.nonce(),
        };
        let key_version = self.fixture.mediator.regions[region].region.key_version;
        let request = Request {
            token: bounded(drawn.token.clone()),
            region: self.fixture.region(region),
            key_version,
            inbox: inbox.clone(),
            envelope: bounded(vec![7; 4096]),
        };
        let bytes = sign(&request, &drawn.key);
        let id = RequestId::from_bytes(*record_hash(&bytes).as_bytes());
        Placed {
            call: Call::new(CallKind::Request, bytes),
            id,
            inbox,
            reading,
        }
    }

    /// A new mailbox of small blobs with one writer; not opened yet.
    pub fn mailbox(&mut self, slots: SlotClass) -> OwnMailbox {
        self.sized_mailbox(SizeClass::Small, slots)
    }

    /// A new mailbox with one writer; not opened yet.
    pub fn sized_mailbox(&mut self, size: SizeClass, slots: SlotClass) -> OwnMailbox {
        let (reading, writing) = (self.key(), self.key());
        let mailbox = Mailbox {
            read: reading.verifying_key(),
            writers: Writers::Keys(list(vec![writing.verifying_key()])),
            size,
            slots,
            life: Life::Days14,
            day: self.now().day(),
            nonce: self.nonce(),
        };
        OwnMailbox {
            mailbox,
            reading,
            writing,
        }
    }

    /// A new mark; not opened yet.
    pub fn mark(&mut self) -> OwnMark {
        let key = self.key();
        let (day, nonce) = (self.now().day(), self.nonce());
        let mark = Mark {
            key: key.verifying_key(),
            life: Life::Days14,
            day,
            nonce,
        };
        OwnMark { mark, key }
    }

    /// Orders places to be opened at a node, paid for by the world's provider.
    #[must_use]
    pub fn open_call(&self, node: usize, places: Vec<Place>) -> Call {
        let order = OpenOrder {
            node: self.id(node),
            payment: Payment::Provider(self.provider.id),
            places: list(places),
            time: self.now(),
        };
        Call::new(CallKind::Open, sign(&order, &self.provider.signing))
    }

    /// Opens a mailbox at a node.
    ///
    /// # Errors
    /// The node's refusal.
    pub fn open_mailbox(&mut self, node: usize, own: &OwnMailbox) -> Result<(), Problem> {
        let call = self.open_call(node, vec![Place::Mailbox(own.mailbox.clone())]);
        self.call(node, &call).map(|_| ())
    }

    /// Opens a mark at a node.
    ///
    /// # Errors
    /// The node's refusal.
    pub fn open_mark(&mut self, node: usize, own: &OwnMark) -> Result<(), Problem> {
        let call = self.open_call(node, vec![Place::Mark(own.mark.clone())]);
        self.call(node, &call).map(|_| ())
    }

    /// All of a mailbox, read page by page at a node: slot and blob.
    ///
    /// # Errors
    /// The node's refusal.
    ///
    /// # Panics
    /// Where a page brings nothing and says that there is more.
    pub fn read_all(
        &mut self,
        node: usize,
        mailbox: &Mailbox,
        reading: &SigningKey,
    ) -> Result<Vec<(u32, Vec<u8>)>, Problem> {
        let mut out = Vec::new();
        let mut after = None;
        loop {
            let call = read_call(mailbox, reading, self.id(node), self.now(), after);
            let Answer::Page(page) = self.call(node, &call)? else {
                panic!("a page")
            };
            after = page.entries.last().map(|e| e.slot).or(after);
            assert!(
                !page.more || !page.entries.is_empty(),
                "a page that brings nothing ends the read"
            );
            out.extend(page.entries.iter().map(|e| (e.slot, e.blob.to_vec())));
            if !page.more {
                return Ok(out);
            }
        }
    }

    /// What marks say, read at a node: version and value, `None` where never set.
    ///
    /// # Errors
    /// The node's refusal.
    ///
    /// # Panics
    /// Where a state does not decode.
    pub fn read_mark(
        &mut self,
        node: usize,
        own: &OwnMark,
    ) -> Result<Option<(u64, MarkValue)>, Problem> {
        let order = MarkOrder {
            marks: list(vec![own.mark.id()]),
        };
        let Answer::Marks(marks) =
            self.call(node, &Call::new(CallKind::ReadMarks, to_bytes(&order)))?
        else {
            panic!("marks")
        };
        Ok(marks.states.first().map(|bytes| {
            let state = lapwing_protocol::cose::parse::<MarkState>(bytes)
                .expect("a state")
                .verify(&own.key.verifying_key())
                .expect("a good signature");
            (state.version, state.value)
        }))
    }

    /// Places a request: token drawn and request placed at one node.
    ///
    /// # Errors
    /// The node's refusal.
    pub fn place(&mut self, node: usize, region: usize) -> Result<(Drawn, Placed), Problem> {
        let drawn = self.draw(node)?;
        let placed = self.request(&drawn, region);
        self.call(node, &placed.call)?;
        Ok((drawn, placed))
    }
}

/// A bounded list as it is, for records of this module's callers.
#[must_use]
pub(super) fn listed<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    list(items)
}

impl World {
    /// Revokes the world's provider, and publishes that at a node.
    ///
    /// # Errors
    /// The node's refusal of the new status.
    pub fn revoke_provider(&mut self, node: usize) -> Result<(), Problem> {
        self.fixture.now = self.now();
        let serial = self.provider.serial;
        self.fixture.revoke(serial);
        self.publish_all(node)
    }

    /// Certifies another provider for all regions, and publishes that at a node.
    ///
    /// # Errors
    /// The node's refusal of the new status.
    pub fn certify_another(&mut self, node: usize) -> Result<TestProvider, Problem> {
        self.fixture.now = self.now();
        let all: Vec<usize> = (0..self.fixture.mediator.regions.len()).collect();
        let provider = self.fixture.certify(&all);
        self.publish_all(node)?;
        Ok(provider)
    }

    fn publish_all(&mut self, node: usize) -> Result<(), Problem> {
        let mut last = Ok(());
        for record in self.fixture.records() {
            let answer = self.call(node, &Call::new(CallKind::Publish, record));
            last = answer.map(|_| ());
        }
        last
    }
}
