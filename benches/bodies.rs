//! Requests of the loads: submits, and signed webhooks of final payments, 1.5 KB each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::net::SocketAddr;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use twin::{Signer, SigningKey};

/// Shop ID of all loads.
pub const SHOP: &str = "1001";
/// Secret key of the shop.
pub const SECRET: &str = "secret-of-the-bench";
/// Key of the API's only client.
pub const KEY: &str = "key-of-the-bench";

/// Returns the tracking ID of the n-th payment.
pub fn name(n: usize) -> String {
    format!("bench-order-{n:08}")
}

/// Returns the submit of the n-th payment to the service.
pub fn submit(n: usize) -> Vec<u8> {
    let path = format!("/v1/shops/{SHOP}/payments");
    request(
        &path,
        &format!("Authorization: Bearer {KEY}\r\n"),
        &payment(n),
    )
}

/// Returns the submit of the n-th payment to the plain handler.
pub fn plain_submit(n: usize) -> Vec<u8> {
    request("/payments", "", &payment(n))
}

fn payment(n: usize) -> Vec<u8> {
    let token = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name(n).as_bytes());
    json!({
        "amount": 3245, "currency": "EUR", "description": format!("Order {n}"),
        "tracking_id": name(n), "test": true, "credit_card": {"token": token},
        "customer": {"ip": "127.0.0.1", "email": "payer@example.com"},
    })
    .to_string()
    .into_bytes()
}

/// Returns the final webhook of each payment, ready to be sent to `/webhooks/{shop}`. Signing is
/// slow, so it is done once, on all CPUs.
pub fn webhooks(count: usize) -> Vec<Vec<u8>> {
    let at = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let part = count.div_ceil(threads);
    let mut all = Vec::with_capacity(count);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|k| {
                let at = &at;
                scope.spawn(move || {
                    let signer = Signer::new().expect("keys");
                    let mine = (k * part)..((k + 1) * part).min(count);
                    mine.map(|n| webhook(&signer, n, at)).collect::<Vec<_>>()
                })
            })
            .collect();
        for part in parts {
            all.extend(part.join().expect("a signer"));
        }
    });
    all
}

fn webhook(signer: &Signer, n: usize, at: &str) -> Vec<u8> {
    let body = ended(n, at);
    let signature = signer
        .sign(SigningKey::Default, &body)
        .expect("a signature");
    let credentials = STANDARD.encode(format!("{SHOP}:{SECRET}"));
    let head = format!("Authorization: Basic {credentials}\r\nContent-Signature: {signature}\r\n");
    request(&format!("/webhooks/{SHOP}"), &head, &body)
}

fn ended(n: usize, at: &str) -> Vec<u8> {
    let uid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, name(n).as_bytes());
    let body = json!({"transaction": {
        "uid": uid, "id": uid, "status": "successful", "type": "payment", "amount": 3245,
        "currency": "EUR", "description": format!("Order {n}"), "tracking_id": name(n),
        "payment_method_type": "credit_card", "language": "en", "test": true,
        "message": "Successfully processed", "created_at": at, "updated_at": at, "paid_at": at,
        "settled_at": null, "expired_at": null, "closed_at": null, "manually_corrected_at": null,
        "receipt_url": format!("https://checkout.example.com/customer/transactions/{uid}/receipt"),
        "customer": {"ip": "127.0.0.1", "email": "payer@example.com", "device_id": null, "birth_date": null},
        "billing_address": {"first_name": "Jane", "last_name": "Roe", "address": "1st Street 2",
            "country": "DE", "city": "Berlin", "zip": "10115", "state": null, "phone": "+493012345"},
        "credit_card": {"holder": "JANE ROE", "stamp": "3709786942408b77017a3aac8390d46d77d181e34554df527a71919a856d0f28",
            "brand": "visa", "last_4": "0000", "first_1": "4", "bin": "420000", "issuer_country": "DE",
            "issuer_name": "Test Bank", "product": "TRADITIONAL", "exp_month": 11, "exp_year": 2031,
            "token_provider": null, "token": "40bd001563085fc35165329ea1ff5c5ecbdbbeef40bd001563085fc35165329e"},
        "payment": {"auth_code": "654321", "bank_code": "05", "rrn": "999", "ref_id": "777888",
            "message": "The operation is successful.", "amount": 3245, "currency": "EUR",
            "billing_descriptor": "EXAMPLE.COM", "gateway_id": 152, "status": "successful"},
        "avs_cvc_verification": {"avs_verification": {"result_code": "1"}, "cvc_verification": {"result_code": "1"}},
    }});
    body.to_string().into_bytes()
}

fn request(path: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut whole = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{head}Content-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    whole.extend_from_slice(body);
    whole
}

/// Returns the size of a webhook, for the report.
pub fn webhook_bytes() -> usize {
    ended(0, "2026-01-01T00:00:00.000000000Z").len()
}

/// Returns a free loopback address.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
