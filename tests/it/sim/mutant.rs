//! Faults of ours, put in on purpose: for each rule at least one that breaks it, so that the
//! exploration can be seen to find it. They sit around the service's own code, which knows nothing of
//! them: in the hands of a step, in the tables of a batch, and in the listeners.

use super::invariants::rule;
use super::rules::name;

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
    /// Stamps and plans go through under any lease.
    FenceIgnored,
    /// A lease that has run out still counts while nobody else has taken it.
    LeaseNeverEnds,
    /// A worker sends although its lease has ended.
    LeaseNotChecked,
    /// A COMMIT whose fate is unknown is taken for done.
    CommitFateGuessed,
    /// A webhook is answered 200 before it is committed.
    WebhookAckedEarly,
    /// A webhook moves the state, and is not kept.
    EvidenceApart,
    /// Rows are read without a lock.
    RowsNotLocked,
    /// What a worker has read is dropped when its lease is gone.
    StaleReadDropped,
    /// Only what came last counts.
    OnlyLastCounts,
    /// The same evidence is recorded each time it comes.
    RepetitionNotKnown,
    /// Retention takes evidence of what has not ended.
    RetentionTooEager,
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
    /// What is older by the gateway's clock counts as not there.
    AgeIsBelieved,
}

/// Those that ordinary schedules do not show, since a proof of absence asks for more than they leave out: each
/// has a plan of its own, which breaks nothing without the mutant.
pub const PLANS: &[(Mutant, &str)] = &[
    (
        Mutant::TwoLookupsProve,
        "tests/data/plans/mutants/two-lookups-prove.plan",
    ),
    (
        Mutant::AgeIsBelieved,
        "tests/data/plans/mutants/age-is-believed.plan",
    ),
];

impl Mutant {
    /// All of them, each with a seed that is known to show it, and with the rules that it breaks. A
    /// seed may stop showing it when the service changes; then others are searched.
    pub const ALL: [(Self, u64, &[&str]); 24] = [
        (Self::ResendsInDoubt, 6, &[rule::ONCE]),
        (Self::ClientRetries, 1, &[rule::ONCE]),
        (
            Self::SilenceIsNotSent,
            1,
            &[rule::EVIDENCE, rule::ONCE, name::NO_FALSE_NO],
        ),
        (
            Self::SilenceIsRefusal,
            1,
            &[rule::EVIDENCE, name::NO_FALSE_NO],
        ),
        (Self::FenceIgnored, 0, &[rule::FENCE]),
        (Self::LeaseNeverEnds, 3, &[rule::FENCE]),
        (Self::LeaseNotChecked, 8, &[rule::FENCE]),
        (Self::CommitFateGuessed, 3, &[rule::LOST]),
        (Self::WebhookAckedEarly, 1, &[rule::LOST]),
        (Self::EvidenceApart, 1, &[rule::LOST]),
        (
            Self::RowsNotLocked,
            416,
            &[rule::FINAL, rule::LOST, rule::CHAIN],
        ),
        (Self::StaleReadDropped, 7, &[rule::LOST]),
        (Self::OnlyLastCounts, 1, &[rule::FINAL]),
        (Self::RepetitionNotKnown, 0, &[rule::CHAIN]),
        (Self::RetentionTooEager, 4, &[rule::LOST]),
        (Self::HintBelieved, 3, &[rule::EVIDENCE, name::NO_FALSE_YES]),
        (Self::UidNotClaimed, 6, &[rule::OWNER]),
        (Self::DoubtNotChecked, 1, &[rule::LEVEL, name::LIVELY]),
        (
            Self::TwoLookupsProve,
            47,
            &[rule::EVIDENCE, name::PROOFS, name::NO_FALSE_NO],
        ),
        (
            Self::HorizonIgnored,
            1,
            &[rule::EVIDENCE, name::PROOFS, name::NO_FALSE_NO],
        ),
        (
            Self::FailureIsEmpty,
            37,
            &[rule::EVIDENCE, name::PROOFS, name::NO_FALSE_NO],
        ),
        (Self::UpdatedAtIgnored, 9, &[rule::TRUTH]),
        (
            Self::CreatedAtIgnored,
            1,
            &[rule::TRUTH, rule::EVIDENCE, name::NO_FALSE_YES],
        ),
        (
            Self::AgeIsBelieved,
            70,
            &[
                rule::EVIDENCE,
                name::PROOFS,
                name::NO_FALSE_NO,
                // What is not looked at stands nowhere, long before its absence is proved.
                name::KNOWN,
            ],
        ),
    ];

    /// One of them by its name.
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::ALL.into_iter().map(|(mutant, ..)| mutant);
        all.into_iter().find(|mutant| format!("{mutant:?}") == name)
    }
}
