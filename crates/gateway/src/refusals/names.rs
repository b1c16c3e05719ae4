//! The names under which an error can speak of a request: the fields that a request of its kind can have,
//! sent or not.
//!
//! What it deliberately cannot do: know what was sent, or what an acquirer adds to it.

use domain::TransactionType;

/// The fields of every kind.
const ALL: &str = "amount tracking_id description reason duplicate_check test language \
    notification_url verification_url additional_data custom_fields fiscalization";

/// Those of what has no parent.
const PARENTLESS: &str = "currency credit_card encrypted_credit_card customer billing_address \
    return_url expired_at dynamic_billing_descriptor three_d_secure travel";

/// Those of money that goes out.
const PAYOUT: &str = "recipient_credit_card encrypted_recipient_credit_card recipient \
    recipient_billing_address recipient_customer sender sender_billing_address";

/// What lies in the objects of a request with a card, where an error names it alone.
const INNER: &str = "number verification_value holder exp_month exp_year token date ip email device_id \
    birth_date first_name last_name country city state zip address phone";

/// Whether a name, nested or dotted, is that of a field that a request of this kind can have, or `base`.
/// Without a kind, of any.
pub(super) fn is_of_request(kind: Option<TransactionType>, path: &str) -> bool {
    let path = path.trim();
    let path = path.strip_prefix("request.").unwrap_or(path);
    let root = path.split(['.', '[', '/']).next().unwrap_or_default();
    let is_in = |names: &str| names.split_whitespace().any(|name| name == root);
    root == "base"
        || is_in(ALL)
        || match kind {
            None => {
                ["parent_uid"].contains(&root)
                    || [PARENTLESS, PAYOUT, INNER].map(is_in).contains(&true)
            }
            Some(kind) if kind.is_child() => root == "parent_uid",
            Some(TransactionType::Payout) => [PARENTLESS, PAYOUT, INNER].map(is_in).contains(&true),
            Some(_) => [PARENTLESS, INNER].map(is_in).contains(&true),
        }
}

/// Whether a name is of the request as a whole.
pub(super) fn is_whole(path: &str) -> bool {
    let path = path.trim();
    path.strip_prefix("request.").unwrap_or(path) == "base"
}
