//! Every answer of the API comes in time, whatever the database does.
//!
//! Who is not answered in time is told that it is not known what became of the request: work that must not
//! break off goes on in a task of its own. What it deliberately cannot do: end such work.

use crate::api::context::ApiContext;
use crate::api::prefer::Preference;
use crate::http::body::BODY_READ_TIMEOUT;
use crate::http::problem::Problem;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use std::time::Duration;
use tokio::time::timeout;

/// How much longer than the gateway, or the wait that was preferred, an answer may take. Ten seconds are
/// promised; some are left for the way.
const SLACK: Duration = Duration::from_secs(8);

const TOO_LATE: &str = "this took too long, and it is not known whether it was done; the same request may be made again";

/// Wraps each resource of the API.
pub(crate) async fn in_time(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(context) = req.app_data::<web::Data<ApiContext>>().cloned() else {
        return Ok(next.call(req).await?.map_into_boxed_body());
    };
    let wait = Preference::of(req.headers()).wait.unwrap_or_default();
    let longest = context.config.current().gateway.request_timeout.max(wait) + SLACK;
    // A body that does not come has an answer of its own.
    let longest = longest.max(BODY_READ_TIMEOUT + Duration::from_millis(500));
    let asked = req.request().clone();
    match timeout(longest, next.call(req)).await {
        Ok(answered) => Ok(answered?.map_into_boxed_body()),
        Err(_) => {
            let problem =
                Problem::unavailable(TOO_LATE).with_cause("the time for an answer is over");
            Ok(ServiceResponse::from_err(problem, asked).map_into_boxed_body())
        }
    }
}
