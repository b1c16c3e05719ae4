//! Which shop a webhook's body is about, as far as it says.
//!
//! A signature proves that the gateway wrote a body, and not for whom: where two shops have one key by
//! mistake, only this tells. Only transactions are looked at: from nothing else does anything follow. What
//! it deliberately cannot do: believe anything else in it.

use serde_json::Value;

/// Whether the body of a transaction names another shop than this one: in `shop_id`, `shop`, `shop.id`, `shop.shop_id`,
/// `merchant.id` or `merchant.shop_id`, at the top or in its transaction, as a text or a number.
pub fn names_another_shop(body: &[u8], shop: &str) -> bool {
    // Most bodies name none, and are not read for it.
    let text = super::decode::text(body);
    if !["shop", "merchant"].iter().any(|name| text.contains(name)) && !body.contains(&b'\\') {
        return false;
    }
    // Read as what follows from it is read: mended where it is damaged.
    let Ok(body) = super::webhook_json::read_value(&super::decode::readable(body)) else {
        return false;
    };
    let transaction = &body["transaction"];
    if !transaction.is_object() && body.get("uid").is_none() {
        return false;
    }
    let mut named = [&body, transaction].into_iter().flat_map(|section| {
        let (theirs, merchant) = (&section["shop"], &section["merchant"]);
        let ids = [
            &section["shop_id"],
            &theirs["id"],
            &theirs["shop_id"],
            &merchant["id"],
            &merchant["shop_id"],
        ];
        let ids = ids.into_iter().filter_map(id);
        // What a shop is called is a text as well.
        ids.chain(id(theirs).filter(|id| id.bytes().all(|b| b.is_ascii_digit())))
    });
    named.any(|id| id != shop)
}

/// An id, as a text or a number; anything else names nothing.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn another(body: &Value) -> bool {
        names_another_shop(body.to_string().as_bytes(), "1004")
    }

    #[test]
    fn a_shop_is_found_in_every_field_of_a_body() {
        for other in [json!(1001), json!("1001"), json!(" 1001 ")] {
            for body in [
                json!({"transaction": {"uid": "u", "shop": {"id": other}}}),
                json!({"transaction": {"uid": "u", "shop_id": other}}),
                json!({"transaction": {"uid": "u"}, "shop": {"id": other}}),
                json!({"uid": "u", "shop_id": other}),
                json!({"uid": "u", "shop": other}),
                json!({"transaction": {"uid": "u", "shop": other}}),
                json!({"transaction": {"uid": "u", "shop": {"shop_id": other}}}),
                json!({"transaction": {"uid": "u", "merchant": {"shop_id": other}}}),
                json!({"transaction": {"uid": "u"}, "merchant": {"id": other}}),
                // One right name does not make up for a wrong one.
                json!({"shop_id": 1004, "transaction": {"uid": "u", "shop": {"id": other}}}),
            ] {
                assert!(another(&body), "{body}");
            }
        }
    }

    #[test]
    fn a_body_that_names_ours_or_none_is_about_ours() {
        for body in [
            json!({"transaction": {"uid": "u", "shop": {"id": 1004}}}),
            json!({"transaction": {"uid": "u", "shop_id": "1004"}}),
            json!({"transaction": {"uid": "u", "return_url": "https://shop.example/1001"}}),
            json!({"transaction": {"uid": "u", "shop": null}}),
            json!({"transaction": {"uid": "u", "shop": {"name": "1001"}}}),
            json!({"transaction": {"uid": "u", "shop": "Sports"}}),
            json!({"transaction": {"uid": "u", "shop": "1004", "merchant": {"id": 1004}}}),
            json!({"transaction": {"uid": "u", "merchant": "Sports"}}),
            json!({"transaction": {"uid": "u", "merchant": {"name": "1001"}}}),
            json!([{"shop_id": 1001}]),
            json!({"token": "t", "shop_id": 1001, "expired": true}),
        ] {
            assert!(!another(&body), "{body}");
        }
        assert!(!names_another_shop(b"<shop>1001</shop>", "1004"));
        let torn = b"{\"transaction\":{\"uid\":\"u\",\"message\":\"\xff\",\"shop_id\":1001}}";
        assert!(names_another_shop(torn, "1004"));
    }
}
