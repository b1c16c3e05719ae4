//! Tests whether the queries exist in the asynchronous mode.

use super::payments::{classify_submit, classify_task};
use super::session::NoResponse;
use super::{Probe, TestPayment};
use gateway::{QueryKind, SubmitReading, TaskEndpoint};
use serde_json::{Map, json};

impl Probe {
    /// Sends status queries for the first payment, by uid and by tracking ID, and a balance query.
    pub(super) async fn queries(&mut self, paid: &TestPayment) {
        let currency = json!(self.options.currency.as_str());
        let asked = [
            (
                "async_status_uid",
                QueryKind::ByUid(paid.snapshot.uid.clone()),
            ),
            (
                "async_status_tracking_id",
                QueryKind::ByTrackingId(paid.tracking_id.clone()),
            ),
            (
                "async_balance",
                QueryKind::Balance(Map::from_iter([("currency".to_owned(), currency)])),
            ),
        ];
        for (question, query) in asked {
            if let Err(silence) = self.query(question, &query).await {
                self.notes.open(question, silence);
            }
        }
    }

    async fn query(&mut self, question: &'static str, query: &QueryKind) -> Result<(), NoResponse> {
        let heard = self.talk.query(query).await?;
        let told = classify_submit(&heard);
        match &heard.reading {
            SubmitReading::Ack { task, .. } => {
                let patience = self.options.patience;
                let ended = self
                    .talk
                    .wait_for_task(task, TaskEndpoint::Result, patience)
                    .await;
                let ended = ended.map_or_else(|silence| silence, |ended| classify_task(&ended));
                let told = format!("{told}; result: {ended}");
                self.notes.answer(question, "yes", told);
            }
            _ if heard.status == 404 => self.notes.answer(question, "no", told),
            _ => return Err(told),
        }
        Ok(())
    }
}
