//! Letters to a mediator's inbox: whoever writes there pays with work, a slice at a time.

use rand_core::CryptoRng;

use super::kept::Blob;
use super::talk::{check_receipt, seal_for};
use crate::bounded::Bytes;
use crate::client::{Call, CallKind};
use crate::codec::to_bytes;
use crate::hash::work_bits;
use crate::id::MailboxId;
use crate::item::ItemKind;
use crate::key::SealingKey;
use crate::mailbox::{BlobWrite, Mailbox, Receipt, WriteAuth, Writers, write_message, write_work};
use crate::problem::Problem;
use crate::seal::{Purpose, SealError};
use crate::trust::TrustView;
use crate::wire_struct;

wire_struct! {
    /// A letter to a mailbox that is paid for by work.
    pub(crate) struct Letter {
        mailbox: Mailbox,
        slot: u32,
        blob: Blob,
        /// The next nonce to try.
        tried: u64,
        /// The encoded write, once the work is done: always the same bytes.
        write: Option<Blob>,
    }
}

impl Letter {
    /// Seals content for a mailbox, to lie in some slot of it.
    ///
    /// # Errors
    /// As [`crate::seal::seal`].
    pub(crate) fn new<R: CryptoRng + ?Sized>(
        mailbox: &Mailbox,
        to: &SealingKey,
        purpose: Purpose,
        content: &[u8],
        rng: &mut R,
    ) -> Result<Self, SealError> {
        Ok(Letter {
            blob: seal_for(mailbox, to, purpose, content, rng)?.into(),
            mailbox: mailbox.clone(),
            slot: rng.next_u32(),
            tried: 0,
            write: None,
        })
    }

    /// Where it goes.
    pub(crate) fn mailbox(&self) -> MailboxId {
        self.mailbox.id()
    }

    /// Whether there is work to do.
    pub(crate) fn working(&self) -> bool {
        self.write.is_none()
    }

    /// Tries some nonces.
    pub(crate) fn work(&mut self, tries: u64) {
        if self.write.is_some() {
            return;
        }
        let bits = match self.mailbox.writers {
            Writers::Work(bits) => u32::from(bits),
            _ => return,
        };
        let message = write_message(&self.mailbox.id(), self.slot, &self.blob);
        let end = self.tried.saturating_add(tries);
        let found =
            (self.tried..end).find(|nonce| work_bits(&write_work(&message, *nonce)) >= bits);
        self.tried = end;
        if let (Some(nonce), Ok(blob)) = (found, Bytes::try_from(&*self.blob)) {
            let write = BlobWrite {
                mailbox: self.mailbox.clone(),
                slot: self.slot,
                blob,
                auth: WriteAuth::Work(nonce),
            };
            self.write = Some(to_bytes(&write).into());
        }
    }

    /// The write to make, once the work is done.
    pub(crate) fn call(&self) -> Option<Call> {
        let write = self.write.as_ref()?;
        Some(Call::new(CallKind::Write, write.to_vec()))
    }

    /// Checks the receipt of the write.
    ///
    /// # Errors
    /// As [`check_receipt`]; [`Problem::NotFound`] before the work is done.
    pub(crate) fn written(&self, receipt: &Receipt, view: &TrustView) -> Result<(), Problem> {
        let write = self.write.as_ref().ok_or(Problem::NotFound)?;
        check_receipt(
            receipt,
            ItemKind::Blob,
            write,
            self.mailbox.id().as_bytes(),
            view,
        )
    }

    /// Somebody else's letter is in the slot: another one, and the work again.
    pub(crate) fn moved<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        self.slot = rng.next_u32();
        self.tried = 0;
        self.write = None;
    }
}
