//! Continuity: a node whose store is older than its word (restored, refilled) must not keep that word twice.
//!
//! What it signed under a number or for a token, other holders have. When an admission of its own comes
//! back that it does not know, it closes every lottery epoch up to the present one: nothing issued before
//! is admitted, and no serial is given out twice.

use lapwing_protocol::cose::Verified;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Admission;
use lapwing_protocol::token::epoch_at;

use crate::accept::expiry_hour;
use crate::core::Core;
use crate::effect::Alarm;
use crate::rows::{self, Counter};
use crate::store::{Reader, prefix_end};

/// More lottery epochs than are ever kept.
const LOTTERIES: usize = 256;

impl<R: Reader> Core<R> {
    /// Looks at an admission that another node may have brought.
    ///
    /// # Errors
    /// [`Problem::NotReady`] without a roster, [`Problem::Internal`] where the store cannot be read.
    pub(crate) fn prove_continuity(
        &mut self,
        admission: &Verified<Admission>,
    ) -> Result<(), Problem> {
        if admission.issuer != self.me.id() {
            return Ok(());
        }
        let row = rows::admitted_key(&admission.token);
        match self.get(&row)? {
            Some(known) if rows::unversioned(&known) == Some(&**admission.bytes()) => return Ok(()),
            Some(_) => {}
            None => {
                // From here on it is known again, and goes when it has long expired.
                let hour = expiry_hour(admission.expires).plus(1);
                self.put(&row, rows::versioned(admission.bytes()));
                self.put(rows::expiry_key(hour, &row), rows::versioned(&[]));
            }
        }
        let serial = self.counter(Counter::Admissions)?;
        if serial <= admission.serial {
            self.set_counter(Counter::Admissions, admission.serial.saturating_add(1));
        }
        let length = self.view.params().ok_or(Problem::NotReady)?.epoch;
        let next = u64::from(epoch_at(self.time(), length)).saturating_add(1);
        if self.counter(Counter::OpenEpoch)? >= next {
            return Ok(());
        }
        self.set_counter(Counter::OpenEpoch, next);
        self.lottery = None;
        let space = [rows::LOTTERY];
        for (key, _) in self.scan(&space, &prefix_end(&space), LOTTERIES)? {
            self.delete(&key);
        }
        self.alarm(Alarm::LostContinuity);
        Ok(())
    }
}
