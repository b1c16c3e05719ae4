//! Faults of ours, put in on purpose: for each rule one that breaks it, so that the exploration can
//! be seen to find it. They sit around the service's own code, which knows nothing of them.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// What is in doubt is sent again, to a gateway that keeps no `RequestID`.
    ResendsInDoubt,
    /// The HTTP client repeats a POST whose answer did not come.
    ClientRetries,
    /// "No answer" is recorded as "not sent".
    SilenceIsNotSent,
    /// "No answer" is recorded as a refusal.
    SilenceIsRefusal,
    /// A stamp goes through under any lease.
    FenceIgnored,
    /// A worker sends although its lease has ended.
    LeaseNotChecked,
    /// A COMMIT whose fate is unknown is taken for done.
    CommitFateGuessed,
    /// A webhook is answered 200 before it is committed.
    WebhookAckedEarly,
    /// A webhook without a signature is believed.
    HintBelieved,
    /// A uid may belong to several transactions.
    UidNotClaimed,
    /// What is in doubt is not looked at again.
    DoubtNotChecked,
    /// Two empty look-ups prove absence.
    TwoLookupsProve,
    /// Absence is proved without waiting for the horizon.
    HorizonIgnored,
    /// A look-up that failed counts as an empty one.
    FailureIsEmpty,
    /// Snapshots are not ordered by the gateway's time.
    UpdatedAtIgnored,
    /// A transaction made before ours is taken for ours.
    CreatedAtIgnored,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::ResendsInDoubt,
        Self::ClientRetries,
        Self::SilenceIsNotSent,
        Self::SilenceIsRefusal,
        Self::FenceIgnored,
        Self::LeaseNotChecked,
        Self::CommitFateGuessed,
        Self::WebhookAckedEarly,
        Self::HintBelieved,
        Self::UidNotClaimed,
        Self::DoubtNotChecked,
        Self::TwoLookupsProve,
        Self::HorizonIgnored,
        Self::FailureIsEmpty,
        Self::UpdatedAtIgnored,
        Self::CreatedAtIgnored,
    ];
}
