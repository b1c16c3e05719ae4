//! Creates a task, its plan and its timers for an accepted request, or refuses the request.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::behaviour::ErrorResponse;
use super::clock::ms;
use super::lifecycle::LifecyclePlan;
use super::random::{generator, uuid};
use super::request::{self, ParsedRequest};
use super::request_log::RequestHead;
use super::response::SimResponse;
use super::script::{Script, TaskEnd, TaskScript};
use super::settings::{RefusalsAt, VisibleFrom};
use super::state::{ParentHold, SimulatorState};
use super::tasks::{SimTask, TaskState};
use super::transactions::TransactionKind;

/// Result of a request: the id of its task, or a refusal.
pub type AcceptResult = Result<String, SimResponse>;

/// The parsed body of a POST.
pub struct ParsedBody<'a> {
    value: Result<Value, serde_json::Error>,
    call: &'a RequestHead,
}

impl<'a> ParsedBody<'a> {
    /// Parses the body.
    pub fn new(call: &'a RequestHead, body: &[u8]) -> Self {
        Self {
            value: serde_json::from_slice(body),
            call,
        }
    }

    /// Returns a text field of the request.
    pub fn field(&self, name: &str) -> Option<String> {
        let request = self.value.as_ref().ok()?.get("request")?;
        request.get(name)?.as_str().map(str::to_owned)
    }

    /// Returns the content of the `request` wrapper, or a refusal.
    pub fn request(&self) -> Result<&Map<String, Value>, ErrorResponse> {
        if !self.call.json {
            return Err(malformed(415, "E.1024", "Unsupported MIME type"));
        }
        let Ok(value) = &self.value else {
            return Err(malformed(400, "E.1026", "Invalid JSON"));
        };
        value
            .get("request")
            .and_then(Value::as_object)
            .ok_or_else(|| malformed(400, "E.1017", "Request is missing"))
    }
}

fn malformed(status: u16, code: &str, message: &str) -> ErrorResponse {
    let errors = json!({"base": [message]});
    ErrorResponse {
        status,
        code: code.into(),
        message: message.into(),
        errors,
        earlier: None,
    }
}

impl SimulatorState {
    /// Creates the task, or refuses the request.
    pub fn make(
        &mut self,
        call: &RequestHead,
        kind: TransactionKind,
        shop: &Arc<str>,
        read: &ParsedBody<'_>,
        script: Option<Arc<Script>>,
    ) -> AcceptResult {
        let v3 = self.v3(call, script.as_deref());
        let request = read
            .request()
            .map_err(|refusal| self.refused(&refusal, v3))?;
        let order = request::read(kind, request, self.switches.require_card);
        let examined = order.and_then(|order| {
            let (currency, shown_id) = self.examine(shop, &order)?;
            self.examine_duplicate(shop, &order)?;
            Ok((order, currency, shown_id))
        });
        match examined {
            Ok((order, currency, shown_id)) => {
                let named =
                    script.or_else(|| self.scripts.named(order.card_scenario.unwrap_or("ok")));
                let script = named.unwrap_or_default();
                let task = self.new_task(call, shop, order.tracking_id.as_deref(), script);
                self.go(shop, order, currency, shown_id, task.clone(), v3);
                Ok(task)
            }
            Err(refusal) if call.asynchronous && self.switches.refusals_at == RefusalsAt::Task => {
                let script = Arc::new(refusing(refusal));
                let id = read.field("tracking_id");
                let task = self.new_task(call, shop, id.as_deref(), script);
                self.go_nowhere(shop, kind, task.clone(), v3);
                Ok(task)
            }
            Err(refusal) => Err(self.refused(&refusal, v3)),
        }
    }

    /// Creates a running task. Its id is reproducible from run to run.
    pub fn new_task(
        &mut self,
        call: &RequestHead,
        shop: &Arc<str>,
        tracking_id: Option<&str>,
        script: Arc<Script>,
    ) -> String {
        let operation = call.operation.name();
        let nth = self
            .count_hit("task", shop, tracking_id.unwrap_or_default())
            .to_string();
        let names = [
            "task",
            shop,
            operation,
            tracking_id.unwrap_or_default(),
            &nth,
        ];
        let id = uuid(&mut generator(self.seed, &names));
        let unknown = script.task.end == TaskEnd::Unknown;
        let task = SimTask {
            id: id.clone(),
            shop: shop.clone(),
            operation,
            tracking_id: tracking_id.map(str::to_owned),
            created: self.now,
            state: if unknown {
                TaskState::Unknown
            } else {
                TaskState::Running
            },
            script,
            result_reads: 0,
            status_reads: 0,
            is_over: false,
            waiters: Vec::new(),
        };
        self.tasks.insert(id.clone(), task);
        id
    }

    /// Returns the end of a task with this script. The value is reproducible.
    pub fn task_end_time(&self, task: &str, script: &TaskScript) -> u64 {
        let delay = script.delay.unwrap_or(self.switches.task_delay);
        let seconds = delay.sample(&mut generator(self.seed, &["delay", task]));
        self.now.saturating_add(ms(seconds))
    }

    /// Starts the plan of an accepted request.
    fn go(
        &mut self,
        shop: &Arc<str>,
        order: ParsedRequest,
        currency: String,
        tracking_id: Option<String>,
        task: String,
        v3: bool,
    ) {
        let Some(script) = self.tasks.get(&task).map(|task| task.script.clone()) else {
            return;
        };
        let mut random = generator(self.seed, &["uids", &task]);
        let uids: Vec<_> = script
            .transactions
            .iter()
            .map(|_| uuid(&mut random))
            .collect();
        if let (Some(parent), false) = (&order.parent_uid, uids.is_empty()) {
            let claim = ParentHold {
                uids: uids.clone(),
                amount: order.amount,
                kind: order.kind,
            };
            self.claims.entry(parent.clone()).or_default().push(claim);
        }
        let ends = self.task_end_time(&task, &script.task);
        let plan = LifecyclePlan {
            shop: shop.clone(),
            kind: order.kind,
            amount: order.amount,
            currency,
            tracking_id,
            parent_uid: order.parent_uid,
            details: Arc::new(order.details),
            script,
            uids,
            v3,
            made_at: self.stamp,
            task,
        };
        self.start(
            &Arc::new(plan),
            ends,
            self.switches.appears == VisibleFrom::Start,
        );
    }

    /// Starts a task that ends with a refusal.
    fn go_nowhere(&mut self, shop: &Arc<str>, kind: TransactionKind, task: String, v3: bool) {
        let Some(script) = self.tasks.get(&task).map(|task| task.script.clone()) else {
            return;
        };
        let ends = self.task_end_time(&task, &script.task);
        let plan = LifecyclePlan {
            shop: shop.clone(),
            kind,
            amount: 0,
            currency: String::new(),
            tracking_id: None,
            parent_uid: None,
            details: Arc::default(),
            script,
            uids: Vec::new(),
            v3,
            made_at: self.stamp,
            task,
        };
        self.start(&Arc::new(plan), ends, false);
    }
}

fn refusing(refusal: ErrorResponse) -> Script {
    let task = TaskScript {
        end: TaskEnd::Refuse(refusal),
        ..TaskScript::default()
    };
    Script {
        task,
        transactions: Vec::new(),
        ..Script::default()
    }
}
