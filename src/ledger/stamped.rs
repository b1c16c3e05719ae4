//! The right to send one attempt. The compiler keeps the rule that a stamp comes before a send.

use crate::ledger::Lease;
use crate::store::StoredTransaction;

/// An attempt whose stamp is committed.
///
/// Only the ledger makes one, in the commit that stamps. Sending consumes it, and it cannot be copied,
/// so that nothing is sent unstamped, and no stamp is sent twice. One that is dropped is never sent: its
/// transaction comes into doubt when the lease ends.
#[derive(Debug)]
#[must_use = "a stamped attempt that is not sent leaves its transaction in doubt"]
pub struct StampedAttempt {
    transaction: Box<StoredTransaction>,
    number: u32,
    lease: Lease,
}

impl StampedAttempt {
    pub(super) fn new(transaction: Box<StoredTransaction>, number: u32, lease: Lease) -> Self {
        Self {
            transaction,
            number,
            lease,
        }
    }

    /// The transaction, as the stamp left it: `submitting`.
    pub fn transaction(&self) -> &StoredTransaction {
        &self.transaction
    }

    /// The attempt's number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The lease under which it may be sent.
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// What is left when it has been sent: the transaction, for what is recorded of it.
    pub fn into_transaction(self) -> Box<StoredTransaction> {
        self.transaction
    }
}
