//! Answering: what this node says when a peer, or a flow of its own, asks it as a holder or issuer.

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::CheckedLock;
use lapwing_protocol::cose::{Verified, parse, sign_verified};
use lapwing_protocol::hash::hash;
use lapwing_protocol::id::{NodeId, RecordId, RegionId, RequestId};
use lapwing_protocol::item::{CheckedItem, ItemBytes, ItemKey, ItemKind};
use lapwing_protocol::mailbox::{Ack, ack_message};
use lapwing_protocol::peer::{
    CheckedPeerCall, Hello, MAX_ITEMS, OpenedOrder, PeerReply, PushResult,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{
    Challenge, ChallengeOrder, Claim, LockGrant, TicketGrant, claim_id, ticket_id,
};
use lapwing_protocol::seal::{Purpose, short_seal};
use rand_core::CryptoRng;

use crate::accept::How;
use crate::core::{Core, ReplyTo};
use crate::effect::Severity;
use crate::flow::{item_list, list};
use crate::queue::Decision;
use crate::rows;
use crate::store::{Reader, prefix_end};

/// How long a challenge may be answered: this window and the one before, in seconds.
const CHALLENGE_WINDOW: u64 = 120;
/// How long a claim's picks are remembered for a repeated call, in milliseconds.
const CLAIM_MEMORY_MS: u64 = 600_000;

impl<R: Reader> Core<R> {
    /// Answers a call.
    pub(crate) fn serve(
        &mut self,
        to: ReplyTo,
        from: NodeId,
        call: CheckedPeerCall,
        rng: &mut dyn CryptoRng,
    ) {
        let reply = match call {
            CheckedPeerCall::Hello(hello) => self.hello(from, &hello),
            CheckedPeerCall::Push(items) => {
                let results = items
                    .into_iter()
                    .map(|i| i.and_then(|i| self.take(&i)))
                    .collect::<Vec<_>>();
                let results = results.into_iter().map(|r| match r {
                    Ok(ack) => PushResult::Stored(ack),
                    Err(problem) => PushResult::Refused(problem),
                });
                return self.reply_after(to, PeerReply::Push(list(results.collect())));
            }
            CheckedPeerCall::Read(proof, after) => {
                let page =
                    crate::flow::stored_page(proof.mailbox.id().as_bytes(), after, |a, b, n| {
                        self.scan(a, b, n)
                    });
                items_or_refusal(page)
            }
            CheckedPeerCall::ReadMarks(ids) => {
                let found = ids
                    .iter()
                    .map(|id| self.stored(&kind_prefix(id.as_bytes(), ItemKind::Mark)))
                    .collect::<Result<Vec<_>, _>>();
                items_or_refusal(found.map(|f| (f.into_iter().flatten().collect(), false)))
            }
            CheckedPeerCall::Opened(order) => items_or_refusal(self.stored_opening(&order)),
            CheckedPeerCall::Admit(request) => return self.admit(to, &request),
            CheckedPeerCall::Challenge(order) => match self.challenge(&order, rng) {
                Ok(challenge) => PeerReply::Challenge(challenge),
                Err(problem) => PeerReply::Refused(problem),
            },
            CheckedPeerCall::Grant(claim, requests) => {
                let reply = match self.grant(&claim, requests) {
                    Ok(items) => PeerReply::Grants(item_list(items, false)),
                    Err(problem) => PeerReply::Refused(problem),
                };
                return self.reply_after(to, reply);
            }
            CheckedPeerCall::Lock(lock) => {
                let reply = match self.grant_lock(&lock) {
                    Ok(item) => PeerReply::Lock(item),
                    Err(problem) => PeerReply::Refused(problem),
                };
                return self.reply_after(to, reply);
            }
            CheckedPeerCall::Digests(hour) => PeerReply::Digests(list(self.digests(&from, hour))),
            CheckedPeerCall::Ids(order) => match self.shard_keys(&from, &order) {
                Ok(keys) => PeerReply::Ids(list(keys)),
                Err(problem) => PeerReply::Refused(problem),
            },
            CheckedPeerCall::Items(keys) => items_or_refusal(self.items_for(&from, &keys)),
            CheckedPeerCall::TrustIds => PeerReply::TrustIds(list(
                self.view.records().into_iter().map(|(id, _)| id).collect(),
            )),
            CheckedPeerCall::TrustRecords(ids) => {
                PeerReply::TrustRecords(list(self.trust_records(&ids)))
            }
        };
        self.reply(to, reply);
    }

    fn hello(&mut self, from: NodeId, hello: &Hello) -> PeerReply {
        if hello.federation != self.view.federation_id() {
            self.fault(from, Severity::Major, "a node of another federation");
            return PeerReply::Refused(Problem::WrongFederation);
        }
        PeerReply::Hello(self.own_hello())
    }

    /// What this node says of itself.
    pub(crate) fn own_hello(&self) -> Hello {
        Hello {
            federation: self.view.federation_id(),
            roster: self.view.roster().map_or(0, |r| r.sequence),
            time: self.time(),
        }
    }

    /// Takes a fresh item; the acknowledgement leaves when it is on disk.
    fn take(&mut self, item: &CheckedItem) -> Result<Ack, Problem> {
        match (self.accept(item, How::Fresh), item.kind()) {
            // A coordinator brings what opened an id to a holder that missed it, however old it is.
            (
                Err(Problem::StaleTime),
                ItemKind::Opening | ItemKind::Admission | ItemKind::Entry,
            ) => self.accept(item, How::Sync)?,
            (taken, _) => taken?,
        };
        let holder = self.me.id();
        let roster = self.view.roster().map_or(0, |r| r.sequence);
        let signature = self
            .me
            .signing()
            .sign(&ack_message(&holder, roster, &item.id()));
        Ok(Ack {
            holder,
            roster,
            signature,
        })
    }

    /// The stored items under a prefix, as they travel; at most 64.
    fn stored(&self, prefix: &[u8]) -> Result<Vec<ItemBytes>, Problem> {
        let mut out = Vec::new();
        for (k, value) in self.scan(prefix, &prefix_end(prefix), 64)? {
            let (Some(key), Some((head, body))) =
                (rows::parse_item_key(&k), rows::parse_item(&value))
            else {
                return Err(Problem::Internal);
            };
            let body = Bytes::try_from(body.to_vec()).map_err(|_| Problem::Internal)?;
            out.push(ItemBytes {
                stamp: head.stamp,
                kind: key.kind,
                body,
            });
        }
        Ok(out)
    }

    fn stored_opening(&self, order: &OpenedOrder) -> Result<(Vec<ItemBytes>, bool), Problem> {
        let found = match &order.request {
            Some(request) => self.stored(&rows::request_kind(
                &order.placement,
                request,
                ItemKind::Entry,
            ))?,
            None => {
                let mut found = self.stored(&kind_prefix(&order.placement, ItemKind::Opening))?;
                found
                    .append(&mut self.stored(&kind_prefix(&order.placement, ItemKind::Admission))?);
                found
            }
        };
        if found.is_empty() {
            Err(Problem::NotOpened)
        } else {
            Ok((found, false))
        }
    }

    /// Items by key, of what both nodes hold.
    fn items_for(
        &self,
        peer: &NodeId,
        keys: &[ItemKey],
    ) -> Result<(Vec<ItemBytes>, bool), Problem> {
        let mut out = Vec::new();
        for key in keys
            .iter()
            .filter(|k| self.keepers(&k.placement).contains(peer))
        {
            if let Some(value) = self.get(&rows::item_key(key))? {
                let (head, body) = rows::parse_item(&value).ok_or(Problem::Internal)?;
                let body = Bytes::try_from(body.to_vec()).map_err(|_| Problem::Internal)?;
                out.push(ItemBytes {
                    stamp: head.stamp,
                    kind: key.kind,
                    body,
                });
            }
        }
        Ok((out, false))
    }

    fn trust_records(&self, ids: &[RecordId]) -> Vec<Bytes<1_052_672>> {
        let mut left = lapwing_protocol::peer::MAX_MESSAGE - 64 * 1024;
        let mut out = Vec::new();
        for record in ids.iter().filter_map(|id| self.view.record(id)) {
            let Some(rest) = left.checked_sub(record.len()) else {
                break;
            };
            left = rest;
            out.extend(Bytes::try_from(record.to_vec()).ok());
        }
        out
    }

    fn challenge_nonce(&self, region: &RegionId, certificate: &RecordId, window: u64) -> [u8; 32] {
        hash(
            "lapwing/v1/node/challenge-nonce",
            &(**self.me.challenge(), *region, *certificate, window),
        )
    }

    fn challenge(
        &mut self,
        order: &ChallengeOrder,
        rng: &mut dyn CryptoRng,
    ) -> Result<Challenge, Problem> {
        if !self.serves(order.region.as_bytes()) {
            return Err(Problem::NotHolder);
        }
        let now = self.time();
        let certificate = self.view.provider(&order.certificate, now)?;
        if !certificate.regions.contains(&order.region) {
            return Err(Problem::WrongRegion);
        }
        let (_, region) = self
            .view
            .region(&order.region)
            .ok_or(Problem::UnknownRegion)?;
        let nonce = self.challenge_nonce(
            &order.region,
            &order.certificate,
            now.get() / CHALLENGE_WINDOW,
        );
        let binding = lapwing_protocol::booking::challenge_binding(&order.region, &self.me.id());
        let sealed = short_seal(
            &region.sealing,
            Purpose::Challenge,
            &binding,
            region.key_version,
            &[],
            &nonce,
            rng,
        )
        .map_err(|_| Problem::Internal)?;
        Ok(Challenge {
            holder: self.me.id(),
            key_version: region.key_version,
            sealed: Bytes::try_from(sealed).map_err(|_| Problem::Internal)?,
        })
    }

    /// Grants tickets for a claim: for these requests, or for the first of the list.
    fn grant(
        &mut self,
        claim: &Verified<Claim>,
        requests: Vec<RequestId>,
    ) -> Result<Vec<ItemBytes>, Problem> {
        let me = self.me.id();
        let now = self.time();
        if !self.serves(claim.region.as_bytes()) {
            return Err(Problem::NotHolder);
        }
        let window = now.get() / CHALLENGE_WINDOW;
        let right = |nonce: &[u8; 32]| {
            [window, window.saturating_sub(1)]
                .iter()
                .any(|w| self.challenge_nonce(&claim.region, &claim.certificate, *w) == *nonce)
        };
        if !claim
            .answers
            .iter()
            .any(|a| a.holder == me && right(&a.nonce))
        {
            return Err(Problem::ChallengeFailed);
        }
        let id = claim_id(claim.bytes());
        // Each takes two places in the reply: its entry and the grant.
        let count = usize::from(claim.count).min(MAX_ITEMS / 2);
        let (asked, picking) = match (requests.is_empty(), self.claims.get(&id)) {
            (false, _) => (requests.into_iter().take(count).collect(), false),
            (true, Some((before, _))) => (before.clone(), true),
            (true, None) => (
                self.queue.pick(&claim.region, count, now, Some(&claim.key)),
                true,
            ),
        };
        let params = self.view.params().ok_or(Problem::NotReady)?.clone();
        let mut out = Vec::new();
        let mut granted = Vec::new();
        for request in asked {
            let ticket = ticket_id(&id, &request);
            let entry = match self.queue.entry(&claim.region, &request) {
                Some(entry) => entry,
                None => continue,
            };
            let item = match self.queue.may_grant(&claim.region, &request, &ticket, now) {
                Err(_) => continue,
                Ok(Decision::Already) => self.own_ticket(&claim.region, &request, &ticket)?,
                Ok(Decision::Granted) => {
                    let grant = TicketGrant {
                        holder: me,
                        region: claim.region,
                        request,
                        claim: id,
                        key: claim.key,
                        inbox: entry.inbox,
                        lapses: now.plus(params.ticket_life),
                        expires: entry.expires,
                    };
                    let item =
                        CheckedItem::ticket(sign_verified(&grant, self.me.signing()), self.hour());
                    self.accept(&item, How::Fresh)?;
                    Some(item.to_wire())
                }
            };
            let entries = self.stored(&rows::request_kind(
                claim.region.as_bytes(),
                &request,
                ItemKind::Entry,
            ))?;
            if let (Some(entry), Some(item)) = (entries.into_iter().next(), item) {
                out.push(entry);
                out.push(item);
                granted.push(request);
            }
        }
        if picking {
            self.claims
                .insert(id, (granted, self.now.plus_millis(CLAIM_MEMORY_MS)));
        }
        Ok(out)
    }

    /// This node's own grant of a ticket, as stored.
    fn own_ticket(
        &self,
        region: &RegionId,
        request: &RequestId,
        ticket: &lapwing_protocol::id::TicketId,
    ) -> Result<Option<ItemBytes>, Problem> {
        let stored = self.stored(&rows::request_kind(
            region.as_bytes(),
            request,
            ItemKind::Ticket,
        ))?;
        Ok(stored.into_iter().find(|i| {
            parse::<TicketGrant>(&i.body).is_ok_and(|g| {
                g.unverified().holder == self.me.id() && g.unverified().ticket() == *ticket
            })
        }))
    }

    /// Grants a booking lock, once for each token until it is released.
    fn grant_lock(&mut self, lock: &CheckedLock) -> Result<ItemBytes, Problem> {
        let me = self.me.id();
        let ticket = lock.ticket();
        let said = ticket.grant();
        let (region, request) = (said.region, said.request);
        if !self.serves(region.as_bytes()) {
            return Err(Problem::NotHolder);
        }
        // What the order brings as proof is kept like what other holders bring.
        for grant in ticket.grants() {
            let item = CheckedItem::ticket(grant.clone(), self.hour());
            self.accept(&item, How::Sync)?;
        }
        let id = lock.accept().lock();
        let now = self.time();
        let decision = self.queue.may_lock(
            &region,
            &request,
            &id,
            &ticket.id(),
            lock.accept().signer(),
            now,
        )?;
        if decision == Decision::Already {
            let stored = self.stored(&rows::request_kind(
                region.as_bytes(),
                &request,
                ItemKind::Lock,
            ))?;
            return stored
                .into_iter()
                .find(|i| {
                    parse::<LockGrant>(&i.body)
                        .is_ok_and(|g| g.unverified().holder == me && g.unverified().lock == id)
                })
                .ok_or(Problem::Internal);
        }
        let grant = LockGrant {
            holder: me,
            region,
            request,
            ticket: ticket.id(),
            lock: id,
            expires: said.expires,
        };
        let item = CheckedItem::lock(sign_verified(&grant, self.me.signing()), self.hour());
        self.accept(&item, How::Fresh)?;
        Ok(item.to_wire())
    }
}

/// The items of one kind at slot zero of a mailbox or mark.
fn kind_prefix(placement: &[u8; 32], kind: ItemKind) -> Vec<u8> {
    let mut prefix = rows::slot_prefix(placement, 0);
    prefix.push(u8::try_from(kind.code()).unwrap_or(u8::MAX));
    prefix
}

fn items_or_refusal(found: Result<(Vec<ItemBytes>, bool), Problem>) -> PeerReply {
    match found {
        Ok((items, more)) => PeerReply::Items(item_list(items, more)),
        Err(problem) => PeerReply::Refused(problem),
    }
}
