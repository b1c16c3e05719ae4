//! Reading transactions: one, a list, the evidence behind one, and why it is where it is.
//!
//! What it deliberately cannot do: look anything up at the gateway. It tells what is known.

use crate::api::auth::AuthorizedCaller;
use crate::api::context::ApiContext;
use crate::api::cursor::{self, ListKind};
use crate::api::openapi::params::{IfNoneMatchHeader, TransactionFilter, WaitHeader};
use crate::api::prefer::Preference;
use crate::api::request::{self, QueryParams, transaction_not_found};
use crate::api::respond;
use crate::api::wait;
use crate::config::Scope;
use crate::http::problem::Problem;
use crate::ledger::{EvidenceView, Explanation};
use crate::store::StoredTransaction;
use crate::store::read::{self, TransactionQuery};
use crate::view::TransactionView;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use domain::{Origin, ShopId, State, Timestamp, TransactionType};
use leaves::clock;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Rows of a page, unless `limit` is given.
const DEFAULT_LIMIT: i64 = 50;

/// Most rows of a page.
const MAX_LIMIT: i64 = 200;

/// The transaction that the path names.
pub(crate) async fn find_by_path(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    req: &HttpRequest,
) -> Result<StoredTransaction, Problem> {
    let name = request::name(req)?;
    read::find(&context.store, &caller.shop.id, &name)
        .await?
        .ok_or_else(transaction_not_found)
}

/// A page of transactions.
#[derive(Serialize, ToSchema)]
pub(crate) struct TransactionPage<'a> {
    /// The newest first.
    transactions: Vec<TransactionView<'a>>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// What was said about a transaction.
#[derive(Serialize, ToSchema)]
pub(crate) struct EvidenceList {
    /// In order of arrival.
    evidence: Vec<EvidenceView>,
}

/// Read a transaction
///
/// As it is now. With `Prefer: wait=N` it is answered when the state is final, or `pending` with a
/// `redirect_url`; with `If-None-Match` as well, when it has changed.
#[utoipa::path(
    get,
    path = "/v1/shops/{shop}/transactions/{tracking_id}",
    tag = "Transactions",
    operation_id = "getTransaction",
    params(WaitHeader, IfNoneMatchHeader),
    responses(
        (status = 200, description = "The transaction.", body = TransactionView,
            headers(("ETag" = String, description = "Names this version of the transaction."),
                ("Preference-Applied" = String, description = "What was done of `Prefer`."))),
        (status = 304, description = "It has not changed since the `ETag` that was named.",
            headers(("ETag" = String, description = "The same as was named."))),
    )
)]
pub(crate) async fn get(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let caller = context.authorize_plain(&req, Scope::Read)?;
    let prefer = Preference::of(req.headers()).waiting();
    let mut stored = find_by_path(&context, &caller, &req).await?;
    let is_known = |stored: &StoredTransaction| request::none_match(&req, &respond::etag(stored));
    if let Some(wait) = prefer.wait {
        let wanted = |stored: &StoredTransaction| match is_known(stored) {
            Some(known) => !known,
            None => stored.view().is_answer(),
        };
        let (shop, id) = (&caller.shop.id, stored.record.id);
        if !wanted(&stored) {
            stored = wait::wait_for_transaction(&context, shop, id, started + wait, wanted).await?;
        }
    }
    if is_known(&stored) == Some(true) {
        return Ok(
            respond::transaction_response(StatusCode::NOT_MODIFIED, &stored, prefer).finish(),
        );
    }
    Ok(respond::transaction(StatusCode::OK, &stored, prefer))
}

/// List transactions
///
/// The newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/shops/{shop}/transactions",
    tag = "Transactions",
    operation_id = "listTransactions",
    params(TransactionFilter),
    responses((status = 200, description = "A page of transactions.", body = TransactionPage))
)]
pub(crate) async fn list(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize(&req, Scope::Read)?;
    let shop = &caller.shop.id;
    let (filter, limit) = filter(&req, shop)?;
    // One more than asked for tells whether there is another page.
    let mut page = read::list(&context.store, shop, &filter, limit + 1).await?;
    let next = next_cursor(&mut page, limit, |last| {
        cursor::encode(ListKind::Transactions, shop, last.record.id)
    });
    let transactions: Vec<TransactionView<'_>> = page.iter().map(StoredTransaction::view).collect();
    let page = TransactionPage {
        transactions,
        next_cursor: next,
    };
    Ok(respond::json(StatusCode::OK, &page))
}

/// Cuts a page to its size, and writes the cursor to the next one if there is one.
pub(crate) fn next_cursor<T>(
    page: &mut Vec<T>,
    limit: i64,
    write: impl FnOnce(&T) -> String,
) -> Option<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if page.len() <= limit {
        return None;
    }
    page.truncate(limit);
    page.last().map(write)
}

fn filter(req: &HttpRequest, shop: &ShopId) -> Result<(TransactionQuery, i64), Problem> {
    let mut params = QueryParams::of(
        req,
        &[
            "state",
            "type",
            "origin",
            "tracking_id",
            "uid",
            "parent_uid",
            "created_from",
            "created_to",
            "limit",
            "cursor",
        ],
    );
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let time = "a time of RFC 3339, such as 2026-11-22T10:00:00Z";
    let filter = TransactionQuery {
        state: params.read("state", &parse_enum(State::ALL), State::parse),
        kind: params.read(
            "type",
            &parse_enum(TransactionType::ALL),
            TransactionType::parse,
        ),
        origin: params.read("origin", &parse_enum(Origin::ALL), Origin::parse),
        tracking_id: params.read("tracking_id", "a tracking id", text),
        uid: params.read("uid", "a uid of the gateway", text),
        parent_uid: params.read("parent_uid", "a uid of the gateway", text),
        created_from: params.read("created_from", time, parse_time),
        created_to: params.read("created_to", time, parse_time),
        before: params.read("cursor", "a next_cursor of this list", |text| {
            cursor::decode(ListKind::Transactions, shop, text)
        }),
    };
    let limit = request::limit(&mut params, DEFAULT_LIMIT, MAX_LIMIT);
    params.finish()?;
    Ok((filter, limit))
}

/// The words that a parameter may have.
pub(crate) fn parse_enum(words: &[impl ToString]) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    format!("one of {}", words.join(", "))
}

/// A plus that nobody escaped comes out of a query string as a blank.
fn parse_time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&text.replace(' ', "+")))
}

/// Read the evidence about a transaction
///
/// Everything that is known about it and by which way it was learned, in order of arrival. Bodies
/// are kept without card data.
#[utoipa::path(
    get,
    path = "/v1/shops/{shop}/transactions/{tracking_id}/evidence",
    tag = "Transactions",
    operation_id = "listEvidence",
    responses((status = 200, description = "The evidence.", body = EvidenceList))
)]
pub(crate) async fn evidence(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize_plain(&req, Scope::Read)?;
    let stored = find_by_path(&context, &caller, &req).await?;
    let rows = read::evidence(&context.store, &caller.shop.id, stored.record.id).await?;
    let evidence: Vec<EvidenceView> = rows.into_iter().map(EvidenceView::from).collect();
    Ok(respond::json(StatusCode::OK, &EvidenceList { evidence }))
}

/// Explain a transaction
///
/// Why it is in its state, what happens next and when, and what would change it, in plain words.
#[utoipa::path(
    get,
    path = "/v1/shops/{shop}/transactions/{tracking_id}/explain",
    tag = "Transactions",
    operation_id = "explainTransaction",
    responses((status = 200, description = "The explanation.", body = Explanation,
        headers(("ETag" = String, description = "The version of the transaction that is explained."))))
)]
pub(crate) async fn explain(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize_plain(&req, Scope::Read)?;
    let stored = find_by_path(&context, &caller, &req).await?;
    let rows = read::evidence(&context.store, &caller.shop.id, stored.record.id).await?;
    let explanation = Explanation::explain(&stored, &rows, clock::now_utc().into());
    let response = HttpResponse::Ok()
        .insert_header((header::ETAG, respond::etag(&stored)))
        .json(explanation);
    Ok(response)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use actix_web::test::TestRequest;

    fn read_filter(query: &str) -> Result<(TransactionQuery, i64), Problem> {
        let path = format!("/v1/shops/1001/transactions?{query}");
        let req = TestRequest::with_uri(&path).to_http_request();
        filter(&req, &ShopId::parse("1001").unwrap())
    }

    #[test]
    fn a_list_is_narrowed_down_by_known_words() {
        let (filter, limit) = read_filter(
            "state=in_doubt&type=refund&origin=api&uid=u&parent_uid=p&tracking_id=a%3Ab&limit=7\
             &created_from=2026-11-22T13:00:00+03:00&created_to=2026-11-22T10:00:01Z",
        )
        .unwrap();
        assert_eq!(filter.state, Some(State::InDoubt));
        assert_eq!(filter.kind, Some(TransactionType::Refund));
        assert_eq!(filter.origin, Some(Origin::Api));
        assert_eq!(filter.tracking_id.as_deref(), Some("a:b"));
        assert_eq!(
            filter.created_from,
            Timestamp::parse("2026-11-22T10:00:00Z")
        );
        assert_eq!(limit, 7);
        assert_eq!(read_filter("").unwrap().1, 50);
        for bad in [
            "state=done",
            "state=",
            "type=x",
            "origin=us",
            "limit=201",
            "cursor=AAAA",
            "cursor=",
            "created_from=yesterday",
            "uid=",
            "sort=asc",
            "uid=%00",
        ] {
            assert!(read_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_has_a_cursor_if_there_are_more() {
        let mut page = vec![3, 2, 1];
        assert_eq!(next_cursor(&mut page, 3, i32::to_string), None);
        assert_eq!(
            next_cursor(&mut page, 2, i32::to_string).as_deref(),
            Some("2")
        );
        assert_eq!(page, [3, 2]);
        assert_eq!(next_cursor(&mut Vec::<i32>::new(), 2, i32::to_string), None);
    }
}
