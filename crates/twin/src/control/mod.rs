//! Control API under `/_twin/`: its routes, and the endpoints that set scripts, switches, faults
//! and the clock.
//!
//! Requests need no credentials. Requests from other machines are rejected unless the simulator was
//! started with `--control-from-anywhere`.

use std::fmt;

mod backoffice;
mod inspect;
mod send_webhook;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::GatewayFault;
use crate::scenario;
use crate::script::Script;
use crate::server::Twin;
use crate::settings::BehaviourSwitches;

/// Registers the routes of the control API.
pub fn configure(config: &mut ServiceConfig) {
    let scope = web::scope("/_twin")
        .wrap(from_fn(local_only))
        .route("/health", web::get().to(inspect::health))
        .route("/keys", web::get().to(inspect::keys))
        .route("/scenarios", web::get().to(inspect::scenarios))
        .route("/scripts", web::post().to(set_script))
        .route("/scripts", web::delete().to(clear_scripts))
        .route("/settings", web::get().to(settings))
        .route("/settings", web::post().to(change_settings))
        .route("/faults", web::post().to(add_fault))
        .route("/faults", web::delete().to(clear_faults))
        .route("/advance", web::post().to(advance))
        .route("/reset", web::post().to(reset))
        .route("/log", web::get().to(inspect::log))
        .route("/counts", web::get().to(inspect::counts))
        .route("/tasks", web::get().to(inspect::tasks))
        .route("/webhooks", web::get().to(inspect::webhooks))
        .route("/webhooks", web::post().to(send_webhook::send_webhook))
        .route("/transactions", web::get().to(inspect::transactions))
        .route("/transactions", web::post().to(backoffice::create))
        .route("/transactions/{uid}", web::post().to(backoffice::change));
    config.service(scope);
}

/// An error of the control API.
#[derive(Debug)]
pub struct ControlError {
    status: StatusCode,
    message: String,
}

impl ControlError {
    /// Returns a 422 error for an invalid body.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            message: message.into(),
        }
    }

    /// Returns a 404 error.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for ControlError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status).json(json!({"error": self.message}))
    }
}

/// Result of a handler of the control API.
pub type ControlResult = Result<HttpResponse, ControlError>;

/// Parses a JSON body. An empty body is an empty object.
pub fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ControlError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ControlError::bad_request(error.to_string()))
}

/// Returns a 200 response.
pub fn ok_response(body: Value) -> ControlResult {
    Ok(HttpResponse::Ok().json(body))
}

async fn local_only<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let open = request
        .app_data::<Data<Twin>>()
        .is_some_and(|twin| twin.control_from_anywhere);
    let local = request
        .peer_addr()
        .is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    if open || local {
        return next.call(request).await;
    }
    let message = "control API requests are accepted from this machine only".to_owned();
    Err(ControlError {
        status: StatusCode::FORBIDDEN,
        message,
    }
    .into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptRequest {
    tracking_id: Option<String>,
    prefix: Option<String>,
    scenario: Option<String>,
    script: Option<Value>,
}

/// Sets the script of a tracking ID or of a prefix: a scenario, a script, or a scenario with a
/// script merged over it.
async fn set_script(twin: Data<Twin>, body: Bytes) -> ControlResult {
    let post: ScriptRequest = parse(&body)?;
    let base = match &post.scenario {
        None => Script::default(),
        Some(name) => scenario::named(name)
            .ok_or_else(|| ControlError::bad_request(format!("unknown scenario {name}")))?,
    };
    let mut merged = json!(base);
    merge(&mut merged, post.script.unwrap_or(Value::Null));
    let script: Script = serde_json::from_value(merged.clone())
        .map_err(|error| ControlError::bad_request(error.to_string()))?;
    twin.with(|world| match (post.tracking_id, post.prefix) {
        (Some(tracking_id), None) => {
            world.scripts.set_exact(tracking_id, script);
            Ok(())
        }
        (None, Some(prefix)) => {
            world.scripts.set_prefix(prefix, script);
            Ok(())
        }
        _ => Err(ControlError::bad_request(
            "exactly one of tracking_id and prefix is required",
        )),
    })?;
    ok_response(json!({"script": merged}))
}

async fn clear_scripts(twin: Data<Twin>) -> ControlResult {
    twin.with(|world| world.scripts.clear());
    ok_response(json!({}))
}

/// Merges `patch` into `value`, object by object (RFC 7396, but null is a value).
///
/// If both are variants of one choice, such as `{"fixed": …}` and `{"bimodal": …}`, the patch
/// replaces the value.
fn merge(value: &mut Value, patch: Value) {
    match (value, patch) {
        (_, Value::Null) => {}
        (Value::Object(fields), Value::Object(patch)) if !is_choice(fields, &patch) => {
            for (name, part) in patch {
                match fields.get_mut(&name) {
                    Some(known) if part.is_object() && known.is_object() => merge(known, part),
                    _ => {
                        fields.insert(name, part);
                    }
                }
            }
        }
        (value, patch) => *value = patch,
    }
}

fn is_choice(
    fields: &serde_json::Map<String, Value>,
    patch: &serde_json::Map<String, Value>,
) -> bool {
    const CHOICES: [&str; 9] = [
        "fixed",
        "exponential",
        "bimodal",
        "trickle",
        "answer",
        "refuse",
        "transaction",
        "hang",
        "crash",
    ];
    let one = |map: &serde_json::Map<String, Value>| {
        map.len() == 1 && map.keys().all(|key| CHOICES.contains(&key.as_str()))
    };
    one(fields) && one(patch)
}

async fn settings(twin: Data<Twin>) -> ControlResult {
    ok_response(twin.with(|world| shown_settings(&twin, world)))
}

fn shown_settings(twin: &Twin, world: &crate::state::SimulatorState) -> Value {
    let mut shown = json!(world.switches);
    shown["faults"] = json!(world.faults.list());
    shown["time_scale"] = json!(twin.clock.scale());
    shown
}

/// Changes the switches that the body names. `faults` replaces all faults, and `time_scale` sets
/// the speed of the clock.
async fn change_settings(twin: Data<Twin>, body: Bytes) -> ControlResult {
    let mut patch: serde_json::Map<String, Value> = parse(&body)?;
    let scale = patch
        .remove("time_scale")
        .map(|scale| crate::cli::scale(&scale.to_string()))
        .transpose()
        .map_err(ControlError::bad_request)?;
    let faults = patch
        .remove("faults")
        .map(serde_json::from_value::<Vec<GatewayFault>>)
        .transpose()
        .map_err(|error| ControlError::bad_request(error.to_string()))?;
    let shown = twin.with(|world| {
        let mut merged = json!(world.switches);
        if let Some(fields) = merged.as_object_mut() {
            for (name, value) in patch {
                fields.insert(name, value);
            }
        }
        let switches: BehaviourSwitches = serde_json::from_value(merged)
            .map_err(|error| ControlError::bad_request(error.to_string()))?;
        world.switches = switches;
        if let Some(faults) = faults {
            world.faults.clear();
            for fault in faults {
                world.faults.add(fault, world.now);
            }
        }
        if let Some(scale) = scale {
            twin.set_scale(scale);
        }
        Ok(shown_settings(&twin, world))
    })?;
    ok_response(shown)
}

async fn add_fault(twin: Data<Twin>, body: Bytes) -> ControlResult {
    let fault: GatewayFault = parse(&body)?;
    let faults = twin.with(|world| {
        world.faults.add(fault, world.now);
        json!(world.faults.list())
    });
    ok_response(json!({"faults": faults}))
}

async fn clear_faults(twin: Data<Twin>) -> ControlResult {
    twin.with(|world| world.faults.clear());
    ok_response(json!({"faults": []}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceRequest {
    seconds: f64,
    #[serde(default)]
    stamps: bool,
}

/// Advances virtual time; with `stamps`, also the times in bodies.
async fn advance(twin: Data<Twin>, body: Bytes) -> ControlResult {
    const TEN_YEARS: f64 = 3.2e8;
    let jump: AdvanceRequest = parse(&body)?;
    if !(0.0..=TEN_YEARS).contains(&jump.seconds) {
        return Err(ControlError::bad_request(
            "seconds must be from 0 to 320000000",
        ));
    }
    twin.advance(jump.seconds, jump.stamps);
    ok_response(json!({"virtual_ms": twin.clock.now()}))
}

/// Restores the initial state. The clock is not reset.
async fn reset(twin: Data<Twin>) -> ControlResult {
    twin.reset();
    ok_response(json!({}))
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_patch_merges_fields_and_replaces_choices() {
        let mut script = json!(scenario::named("threeds"));
        let patch = json!({"task": {"delay": {"fixed": {"seconds": 9.0}}, "end": "crash"},
            "webhook": {"delay": 5.0}});
        merge(&mut script, patch);
        assert_eq!(script["task"]["delay"], json!({"fixed": {"seconds": 9.0}}));
        assert_eq!(script["webhook"]["delay"], json!(5.0));
        assert_eq!(script["webhook"]["copies"], json!(1));
        merge(
            &mut script,
            json!({"task": {"delay": {"exponential": {"mean": 1.0}}}}),
        );
        let script: Script = serde_json::from_value(script).expect("the merged value is a script");
        assert_eq!(
            script.task.delay,
            Some(crate::script::Delay::Exponential { mean: 1.0 })
        );
        assert_eq!(script.transactions[0].status, "incomplete");
    }
}
