//! Records by which channels final states were reported.

use crate::{Channel, Fact, Summary};

impl Summary {
    /// Notes by which way ends were told, so that two ways that agree can spare further looks. Like
    /// every join it is a maximum. A webhook counts where its signature held.
    pub fn record_final_sources(
        &mut self,
        facts: &[&Fact],
        channel: Channel,
        signed: Option<bool>,
    ) {
        for fact in facts {
            let (Fact::Seen { snapshot, .. }
            | Fact::Answered { snapshot, .. }
            | Fact::TaskResult { snapshot, .. }) = fact
            else {
                continue;
            };
            let Some(candidate) = self.candidates.get_mut(&snapshot.uid) else {
                continue;
            };
            let slot = match channel {
                Channel::Webhook if signed == Some(true) => &mut candidate.final_via_webhook,
                Channel::TaskResult | Channel::Query => &mut candidate.final_via_query,
                _ => continue,
            };
            if snapshot.class.is_final() {
                *slot = (*slot).max(Some(snapshot.class));
            }
        }
    }
}
