//! Read operations: lookups by uid and by tracking ID, the balance, and the status and result of a
//! task. Queries can also run as tasks.

use std::sync::Arc;

use serde_json::json;

use super::accept::ParsedBody;
use super::behaviour::{Behaviour, ResponseAction};
use super::clock::ms;
use super::render;
use super::request_log::{LogResult, RequestHead, RequestKind};
use super::response::{PlannedResponse, SimResponse};
use super::script::Script;
use super::settings::{BodyShape, LookupOrder};
use super::state::{SimulatorState, TimerEvent};
use super::tasks::{self, TaskState};
use super::transactions::SimTransaction;

/// Maximum number of transactions in the result of a lookup by tracking ID.
const LOOKUP_PAGE_ROWS: usize = 10;

/// A query that runs as a task.
#[derive(Clone, Debug)]
pub struct LookupQuery {
    /// Shop that sent the query.
    pub shop: Arc<str>,
    /// Subject of the query.
    pub what: QueryTarget,
    /// Whether the response has the shape of API version 3.
    pub v3: bool,
}

/// The subject of a query.
#[derive(Clone, Debug)]
pub enum QueryTarget {
    /// The transaction with this uid.
    Uid(String),
    /// The latest transaction with this tracking ID.
    TrackingId(String),
    /// The balance in this currency and of this account.
    Balance(Option<String>, Option<String>),
}

impl SimulatorState {
    /// Handles a lookup.
    pub fn look_up(&mut self, call: RequestHead, what: QueryTarget) -> PlannedResponse {
        let tracking_id = match &what {
            QueryTarget::TrackingId(id) => Some(id.clone()),
            QueryTarget::Uid(uid) => self
                .transactions
                .get(uid)
                .and_then(|t| t.tracking_id.clone()),
            QueryTarget::Balance(..) => None,
        };
        let mut note = LogResult {
            tracking_id,
            ..LogResult::default()
        };
        let reply = self.looked_up(&call, what, &mut note);
        self.noted(call, note, reply)
    }

    /// Handles a POST of a balance query.
    pub fn balance(&mut self, call: RequestHead, body: &[u8]) -> PlannedResponse {
        let read = ParsedBody::new(&call, body);
        let asked = QueryTarget::Balance(read.field("currency"), read.field("account"));
        let refusal = read.request().err();
        let mut note = LogResult::default();
        let reply = match refusal {
            Some(refusal) if self.authenticate(&call).is_some() => {
                render::refusal(&refusal, self.switches.error_shape, call.v3).into()
            }
            _ => self.looked_up(&call, asked, &mut note),
        };
        self.noted(call, note, reply)
    }

    fn noted(
        &mut self,
        call: RequestHead,
        mut note: LogResult,
        reply: PlannedResponse,
    ) -> PlannedResponse {
        note.status = reply.status_seen();
        note.fate = reply.outcome_label();
        self.journal.record(self.stamp, self.now, call, note);
        reply
    }

    fn looked_up(
        &mut self,
        call: &RequestHead,
        what: QueryTarget,
        note: &mut LogResult,
    ) -> PlannedResponse {
        let Some(shop) = self.authenticate(call) else {
            return render::access_denied().into();
        };
        note.shop = Some(shop.clone());
        let tracking_id = note.tracking_id.clone().unwrap_or_default();
        let behaviour = self.bend_lookup(call, &shop, &tracking_id);
        let v3 = match self.switches.body_shape {
            BodyShape::Header => call.v3,
            BodyShape::V2 => false,
            BodyShape::V3 => true,
        };
        let query = LookupQuery {
            shop: shop.clone(),
            what,
            v3,
        };
        if !call.asynchronous {
            let answer = self.answer_query(&query);
            return self.reply(answer, &behaviour, v3);
        }
        if !self.switches.async_queries {
            let nothing = SimResponse::json(404, &json!({"message": "Not found"}));
            return self.reply(nothing, &behaviour, v3);
        }
        let script = Arc::new(Script::default());
        let ends_by = script.task.clone();
        let task = self.new_task(call, &shop, note.tracking_id.as_deref(), script);
        let ends = self.task_end_time(&task, &ends_by);
        self.schedule(ends, TimerEvent::QueryEnds(task.clone(), query));
        note.task = Some(task.clone());
        let answer = tasks::acknowledged(&task, self.task_origin());
        self.reply(answer, &behaviour, v3)
    }

    fn bend_lookup(&mut self, call: &RequestHead, shop: &str, tracking_id: &str) -> Behaviour {
        let id = Some(tracking_id);
        if let Some(fault) =
            self.faults
                .matching_fault(call.operation, id, self.now, &mut self.random)
        {
            return fault;
        }
        let script = self.scripts.find(tracking_id);
        match script.map(|script| script.lookup.clone()) {
            Some(behaviour) if behaviour != Behaviour::default() => {
                let nth = self.count_hit("lookup", shop, tracking_id);
                if behaviour.applies(nth) {
                    behaviour
                } else {
                    Behaviour::default()
                }
            }
            _ => Behaviour::default(),
        }
    }

    /// Ends the task of a query with the result at this moment.
    pub fn end_query(&mut self, task: &str, query: &LookupQuery) {
        let answer = self.answer_query(query);
        if let Some(task) = self.tasks.get_mut(task) {
            task.end(answer);
        }
    }

    fn answer_query(&self, query: &LookupQuery) -> SimResponse {
        match &query.what {
            QueryTarget::Uid(uid) => self.answer_uid(query, uid),
            QueryTarget::TrackingId(id) => self.answer_tracking_id(query, id),
            QueryTarget::Balance(currency, account) => {
                balance(currency.as_deref(), account.as_deref())
            }
        }
    }

    fn answer_uid(&self, query: &LookupQuery, uid: &str) -> SimResponse {
        match self
            .transactions
            .get(uid)
            .filter(|found| self.shows(found, &query.shop))
        {
            None => render::record_not_found(),
            Some(found) => {
                let v3 = query.v3 || found.v3;
                render::answer(found, &self.origin, v3, &self.switches)
            }
        }
    }

    fn answer_tracking_id(&self, query: &LookupQuery, tracking_id: &str) -> SimResponse {
        let nothing = || SimResponse::json(200, &json!({"transactions": []}));
        if !self.switches.lookups_work {
            return nothing();
        }
        let Some(tracking_id) = self.switches.router.reads(tracking_id) else {
            return nothing();
        };
        let key = (query.shop.clone(), tracking_id);
        let uids = self
            .by_tracking_id
            .get(&key)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut found: Vec<&SimTransaction> = uids
            .iter()
            .filter_map(|uid| self.transactions.get(uid))
            .filter(|found| self.shows(found, &query.shop))
            .filter(|found| self.switches.children_in_lookups || !found.kind.is_child())
            .collect();
        found.sort_by(|a, b| (b.created_at, &b.uid).cmp(&(a.created_at, &a.uid)));
        found.truncate(LOOKUP_PAGE_ROWS);
        if self.switches.lookup_order == LookupOrder::Oldest {
            found.reverse();
        }
        let row = |t: &SimTransaction| {
            let v3 = query.v3 || t.v3;
            t.form
                .row(&render::listed(t, &self.origin, v3, &self.switches))
        };
        let rows: Vec<Vec<u8>> = found.into_iter().map(row).collect();
        let list = [&b"{\"transactions\":["[..], &rows.join(&b','), b"]}"].concat();
        SimResponse::bytes(200, list.into())
    }

    /// Returns whether a lookup of this shop can see a transaction already.
    fn shows(&self, transaction: &SimTransaction, shop: &Arc<str>) -> bool {
        let visible = transaction
            .appeared
            .saturating_add(ms(self.switches.lookup_lag));
        transaction.shop == *shop && !transaction.hidden && visible <= self.now
    }

    /// Handles a read of a task's status or result.
    pub fn read_task(&mut self, call: RequestHead, id: &str) -> PlannedResponse {
        let tracking_id = self.tasks.get(id).and_then(|task| task.tracking_id.clone());
        let mut note = LogResult {
            tracking_id,
            task: Some(id.to_owned()),
            ..LogResult::default()
        };
        let reply = self.task_read(&call, id, &mut note);
        self.noted(call, note, reply)
    }

    fn task_read(&mut self, call: &RequestHead, id: &str, note: &mut LogResult) -> PlannedResponse {
        let Some(shop) = self.authenticate(call) else {
            return render::access_denied().into();
        };
        note.shop = Some(shop.clone());
        let tracking_id = note.tracking_id.as_deref();
        let fault =
            self.faults
                .matching_fault(call.operation, tracking_id, self.now, &mut self.random);
        let result = call.operation == RequestKind::TaskResult;
        let (now, origin) = (self.now, self.task_origin().to_owned());
        let Some(task) = self.tasks.get_mut(id).filter(|task| task.shop == shop) else {
            let behaviour = fault.unwrap_or_default();
            return self.reply(tasks::unknown(id), &behaviour, call.v3);
        };
        // A script changes reads of a finished task only. While a task runs, it has no result that
        // a read could lose.
        let ended = matches!(task.state, TaskState::Ended(_));
        let (bent, met) = if result {
            (&task.script.task.result, &mut task.result_reads)
        } else {
            (&task.script.task.status, &mut task.status_reads)
        };
        let scripted = (ended && bent.applies(*met)).then(|| bent.clone());
        if scripted.is_some() && fault.is_none() {
            *met += 1;
        }
        let behaviour = fault.or(scripted).unwrap_or_default();
        let answer = if !behaviour.effect && behaviour.act != ResponseAction::Normal {
            tasks::unknown(id)
        } else if result {
            task.read_result(now, &self.switches)
        } else {
            task.read_status(now, &origin, &self.switches)
        };
        self.reply(answer, &behaviour, call.v3)
    }
}

fn balance(currency: Option<&str>, account: Option<&str>) -> SimResponse {
    let account = account.unwrap_or("SYNTH-ACCOUNT-1");
    let body = json!({
        "status": "successful",
        "result": {
            "gatewayId": 101,
            "account": account,
            "amount": 123_456_789,
            "currency": currency.unwrap_or("EUR"),
            "bankInfo": {"Account": account, "Amount": 1_234_567.89},
        },
    });
    SimResponse::json(200, &body)
}
