//! Placing a request: its token's issuer admits it once, then the region's holders list it.

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::Answer;
use lapwing_protocol::cose::{Verified, parse, sign_verified};
use lapwing_protocol::item::{self, CheckedEntry, CheckedItem, CheckedRequest, Item};
use lapwing_protocol::mailbox::Receipt;
use lapwing_protocol::peer::{CheckedPeerCall, CheckedReply, PeerCall, PeerReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Admission;
use rand_core::CryptoRng;

use super::{Flow, FlowId, Got, Then};
use crate::core::{Core, ReplyTo};
use crate::input::{CallFailure, ClientTag};
use crate::rows::{self, Counter};
use crate::store::Reader;

/// A request on its way.
pub(crate) struct Request {
    tag: ClientTag,
    request: CheckedRequest,
    admission: Vec<u8>,
}

/// An admission that is being brought to W holders before it is released.
pub(crate) struct Admit {
    to: ReplyTo,
    admission: Vec<u8>,
}

impl<R: Reader> Core<R> {
    pub(super) fn start_request(
        &mut self,
        tag: ClientTag,
        request: CheckedRequest,
        rng: &mut dyn CryptoRng,
    ) {
        let issuer = request.token().issuer;
        if !self.view.in_roster(&issuer) || self.cheats(&issuer) {
            return self.answer(tag, Err(Problem::EpochClosed));
        }
        let Ok(bytes) = Bytes::try_from(request.request().bytes().to_vec()) else {
            return self.answer(tag, Err(Problem::TooLarge));
        };
        let flow = self.start(Flow::Request(Request {
            tag,
            request: request.clone(),
            admission: Vec::new(),
        }));
        self.ask(
            flow,
            0,
            issuer,
            || PeerCall::Admit(bytes),
            || CheckedPeerCall::Admit(request),
            rng,
        );
    }

    pub(super) fn step_request(
        &mut self,
        id: FlowId,
        mut flow: Request,
        got: Got,
        rng: &mut dyn CryptoRng,
    ) -> Option<Request> {
        let admission = match got {
            Got::Peer(CheckedReply::Admission(item)) => match item.item() {
                Item::Admission(a) => Ok(a.clone()),
                _ => Err(Problem::Malformed),
            },
            Got::Own(PeerReply::Admission(bytes)) => self.own_admission(&bytes),
            Got::Failed(CallFailure::Unreachable | CallFailure::Timeout) => {
                Err(Problem::IssuerAway)
            }
            other => Err(other.problem().unwrap_or(Problem::Malformed)),
        };
        let fitted = admission.and_then(|a| {
            flow.admission = a.bytes().to_vec();
            CheckedEntry::fit(a, flow.request.clone())
        });
        match fitted.and_then(|entry| CheckedItem::entry(entry, self.hour())) {
            Ok(item) => {
                // The flow is not in the table while it steps, and a put may end at once.
                self.flows.insert(id, Flow::Request(flow));
                self.start_put(item, Then::Flow(id, 0), rng);
            }
            Err(problem) => self.answer(flow.tag, Err(problem)),
        }
        None
    }

    /// An admission of this node's own, out of its store.
    fn own_admission(&self, bytes: &[u8]) -> Result<Verified<Admission>, Problem> {
        Ok(parse::<Admission>(bytes)?.verify(&self.me.signing().verifying_key())?)
    }

    pub(super) fn request_put(
        &mut self,
        flow: Request,
        done: Result<Receipt, Problem>,
    ) -> Option<Request> {
        self.answer(flow.tag, done.map(|_| Answer::Admission(flow.admission)));
        None
    }

    /// Admits a request whose token this node issued: once, by bytes that stay the same.
    pub(crate) fn admit(&mut self, to: ReplyTo, request: &CheckedRequest) {
        match self.admission_of(request) {
            Ok(admission) => {
                let bytes = admission.bytes().to_vec();
                let item = CheckedItem::admission(admission, self.hour());
                let flow = self.start(Flow::Admit(Admit {
                    to,
                    admission: bytes,
                }));
                // This node's own row is on disk before anybody sees the admission: after a crash it
                // would else admit another request, and stand convicted.
                self.put_after(item, Then::Flow(flow, 0));
            }
            Err(problem) => self.reply(to, PeerReply::Refused(problem)),
        }
    }

    fn admission_of(&mut self, request: &CheckedRequest) -> Result<Verified<Admission>, Problem> {
        let token = request.token();
        if token.issuer != self.me.id() {
            return Err(Problem::WrongNode);
        }
        let id = item::request_id(request.request());
        let key = rows::admitted_key(&token.token_id());
        if let Some(row) = self.get(&key)? {
            let stored = rows::unversioned(&row).ok_or(Problem::Internal)?;
            let admission = self.own_admission(stored).map_err(|_| Problem::Internal)?;
            return if admission.request == id {
                Ok(admission)
            } else {
                Err(Problem::TokenUsed)
            };
        }
        self.proven()?;
        let params = self.view.params().ok_or(Problem::NotReady)?.clone();
        if u64::from(token.epoch) < self.counter(Counter::OpenEpoch)? {
            return Err(Problem::EpochClosed);
        }
        // Without the epoch's secret this store is not the one that issued the token.
        if self.get(&rows::lottery_key(token.epoch))?.is_none() {
            return Err(Problem::EpochClosed);
        }
        let expires = token.expires(params.epoch, params.token_life);
        if expires <= self.time() {
            return Err(Problem::EpochClosed);
        }
        let said = request.request();
        let (_, region) = self
            .view
            .region(&said.region)
            .ok_or(Problem::UnknownRegion)?;
        if region.key_version != said.key_version {
            return Err(Problem::WrongKeyVersion);
        }
        if said.inbox.expires() < expires || said.inbox.day > self.time().day().plus(1) {
            return Err(Problem::OutOfBounds);
        }
        let serial = self.counter(Counter::Admissions)?;
        self.set_counter(Counter::Admissions, serial + 1);
        let admission = Admission {
            issuer: self.me.id(),
            token: token.token_id(),
            request: id,
            region: said.region,
            inbox: said.inbox.id(),
            serial,
            expires,
            epoch: token.epoch,
            token_serial: token.serial,
        };
        let admission = sign_verified(&admission, self.me.signing());
        self.put(key, rows::versioned(admission.bytes()));
        self.numbers.admissions += 1;
        Ok(admission)
    }

    pub(super) fn admit_put(
        &mut self,
        flow: Admit,
        done: Result<Receipt, Problem>,
    ) -> Option<Admit> {
        let reply = match done
            .and_then(|_| Bytes::try_from(flow.admission).map_err(|_| Problem::TooLarge))
        {
            Ok(bytes) => PeerReply::Admission(bytes),
            Err(problem) => PeerReply::Refused(problem),
        };
        self.reply(flow.to, reply);
        None
    }
}
