//! Answering: what this node says when a peer, or a flow of its own, asks it as a holder or issuer.

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::id::{NodeId, RecordId};
use lapwing_protocol::item::{CheckedItem, ItemBytes, ItemKey, ItemKind};
use lapwing_protocol::mailbox::{Ack, ack_message};
use lapwing_protocol::peer::{
    CheckedHello, CheckedPeerCall, Hello, OpenedOrder, PeerReply, PushResult,
};
use lapwing_protocol::problem::Problem;
use rand_core::CryptoRng;

use crate::accept::How;
use crate::core::{Core, ReplyTo};
use crate::effect::Severity;
use crate::flow::{item_list, list};
use crate::rows;
use crate::store::{Reader, prefix_end};

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
                    .map(|id| self.stored_mark(id))
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
                let picks = requests.is_empty();
                let reply = match self.grant(&claim, requests) {
                    Ok(items) => PeerReply::Grants(item_list(items, false)),
                    Err(problem) => PeerReply::Refused(problem),
                };
                if !picks {
                    return self.reply_after(to, reply);
                }
                // Whom it picked promises nothing: the others are asked while its grants go to disk.
                reply
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
            CheckedPeerCall::Proofs => PeerReply::Proofs(list(self.double_admissions())),
            CheckedPeerCall::TrustIds => PeerReply::TrustIds(list(
                self.view
                    .records()
                    .into_iter()
                    .map(|(id, _)| id)
                    .chain(self.disputed.keys().copied())
                    .collect(),
            )),
            CheckedPeerCall::TrustRecords(ids) => {
                PeerReply::TrustRecords(list(self.trust_records(&ids)))
            }
        };
        self.reply(to, reply);
    }

    fn hello(&mut self, from: NodeId, hello: &CheckedHello) -> PeerReply {
        if hello.hello.federation != self.view.federation_id() {
            self.fault(from, Severity::Major, "a node of another federation");
            return PeerReply::Refused(Problem::WrongFederation);
        }
        if let Err(problem) = self.greeted(from, hello.latest.as_ref()) {
            return PeerReply::Refused(problem);
        }
        PeerReply::Hello(self.own_hello(&from))
    }

    /// What this node says of itself to another.
    pub(crate) fn own_hello(&self, to: &NodeId) -> Hello {
        Hello {
            federation: self.view.federation_id(),
            roster: self.view.roster().map_or(0, |r| r.sequence),
            time: self.time(),
            proofs: self.issuers.digest(),
            latest: self
                .issuers
                .latest(to)
                .and_then(|a| Bytes::try_from(a.to_vec()).ok()),
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
    pub(crate) fn stored(&self, prefix: &[u8]) -> Result<Vec<ItemBytes>, Problem> {
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
                let mut found =
                    self.stored(&rows::kind_prefix(&order.placement, ItemKind::Opening))?;
                found.append(
                    &mut self.stored(&rows::kind_prefix(&order.placement, ItemKind::Admission))?,
                );
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
        let record = |id: &RecordId| {
            let in_force = self.view.record(id);
            in_force.or_else(|| self.disputed.get(id).cloned())
        };
        for record in ids.iter().filter_map(record) {
            let Some(rest) = left.checked_sub(record.len()) else {
                break;
            };
            left = rest;
            out.extend(Bytes::try_from(record.to_vec()).ok());
        }
        out
    }
}

fn items_or_refusal(found: Result<(Vec<ItemBytes>, bool), Problem>) -> PeerReply {
    match found {
        Ok((items, more)) => PeerReply::Items(item_list(items, more)),
        Err(problem) => PeerReply::Refused(problem),
    }
}
