//! Which names of fields say what their value may hold.

use super::scan;

/// Which card data a name announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// A card number.
    Number,
    /// A holder's name.
    Holder,
    /// A check value.
    Code,
    /// An expiry date, what is encrypted, the stripe: not looked for elsewhere.
    Other,
}

/// What may stand under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldSensitivity {
    /// Anything: digits are looked at.
    Plain,
    /// Card data, whatever it looks like.
    Sensitive(Secret),
    /// An id of a transaction or a task: never touched.
    Id,
    /// `id`, which repeats the uid of a transaction, and is a number elsewhere.
    LooseId,
    /// A time.
    Time,
    /// A sum.
    Amount,
    /// The gateway's token or fingerprint of a card: hexadecimal, with long runs of digits at times.
    Token,
    /// A word of the protocol or of the acquirer, or a part of a card's number that may be kept.
    Word,
    /// An address that a payer is sent to: whole, or null.
    Address,
}

/// The longest word or code that is taken for one, in bytes.
pub(super) const LONGEST_WORD: usize = 12;

/// The longest address that is kept, in bytes.
pub(super) const LONGEST_ADDRESS: usize = 8 * 1024;

/// Reads a key. Case, blanks, dashes, dots and underscores do not matter for card data, so that no
/// other spelling of `verification_value` slips through.
pub(super) fn classify(key: &[u8]) -> FieldSensitivity {
    match key {
        b"uid" | b"parent_uid" | b"tracking_id" | b"request_id" => return FieldSensitivity::Id,
        b"id" => return FieldSensitivity::LooseId,
        b"amount" => return FieldSensitivity::Amount,
        b"token" | b"stamp" => return FieldSensitivity::Token,
        b"redirect_url" | b"receipt_url" | b"acs_url" | b"pa_res_url" => {
            return FieldSensitivity::Address;
        }
        b"status" | b"code" | b"type" | b"currency" | b"rrn" | b"brand" | b"bin" | b"first_1"
        | b"last_4" => return FieldSensitivity::Word,
        _ => {}
    }
    if let Some(secret) = secret(key) {
        return FieldSensitivity::Sensitive(secret);
    }
    match key {
        key if key.ends_with(b"_at") => FieldSensitivity::Time,
        key if key.ends_with(b"_amount") => FieldSensitivity::Amount,
        key if [&b"_code"[..], b"_status", b"_type", b"_currency"]
            .iter()
            .any(|end| key.ends_with(end)) =>
        {
            FieldSensitivity::Word
        }
        _ => FieldSensitivity::Plain,
    }
}

/// Longer than every name of card data; a longer key can only be one of those told by their beginning.
const LONGEST: usize = 48;

/// Whether a key names card data.
pub(super) fn is_sensitive(key: &[u8]) -> bool {
    secret(key).is_some()
}

const fn is_separator(byte: u8) -> bool {
    // No name here has letters beyond ASCII: what else there is has no width, or stands for a lost byte.
    !byte.is_ascii() || matches!(byte, b' ' | b'-' | b'_' | b'\t' | b'.' | b'[' | b']')
}

/// The last step of a path such as `request[credit_card][holder]` or `card.holder`.
fn last_step(key: &[u8]) -> Option<&[u8]> {
    let is_step = |b: &u8| matches!(b, b'[' | b']' | b'.' | b'/' | b':');
    let end = key.iter().rposition(|b| !is_step(b))? + 1;
    let start = key[..end].iter().rposition(is_step)? + 1;
    Some(&key[start..end])
}

/// Which card data a key names, if any.
pub(super) fn secret(key: &[u8]) -> Option<Secret> {
    of_key(key).or_else(|| of_key(last_step(key)?))
}

fn of_key(key: &[u8]) -> Option<Secret> {
    let mut plain = [0_u8; LONGEST];
    let mut len = 0;
    for byte in key.iter().filter(|b| !is_separator(**b)) {
        if len == LONGEST {
            return is_encrypted(&plain).then_some(Secret::Other);
        }
        plain[len] = byte.to_ascii_lowercase();
        len += 1;
    }
    let name = &plain[..len];
    if is_encrypted(name) {
        return Some(Secret::Other);
    }
    of_name(name).or_else(|| of_name(bare(name)?))
}

fn is_encrypted(name: &[u8]) -> bool {
    name.starts_with(b"encrypted")
}

/// The usual spellings, without separators.
fn of_name(name: &[u8]) -> Option<Secret> {
    Some(match name {
        b"number"
        | b"cardnumber"
        | b"cardno"
        | b"cardnum"
        | b"pan"
        | b"fullpan"
        | b"primaryaccountnumber"
        | b"accountnumber" => Secret::Number,
        b"holder" | b"holdername" | b"cardholder" | b"cardholdername" | b"nameoncard"
        | b"cardowner" | b"cardname" | b"embossedname" | b"embossingname" | b"embossname"
        | b"nameembossed" | b"printedname" => Secret::Holder,
        b"verificationvalue" | b"verificationcode" | b"cvc" | b"cvv" | b"cvn" | b"cvd" | b"cid"
        | b"csc" | b"cvc2" | b"cvv2" | b"cvn2" | b"cav2" | b"cvccode" | b"cvvcode"
        | b"cvcvalue" | b"cvvvalue" | b"cvcnumber" | b"cvvnumber" | b"securitycode"
        | b"cardcode" => Secret::Code,
        b"expmonth" | b"expyear" | b"expdate" | b"exp" | b"expiry" | b"expiration" | b"expires"
        | b"expirymonth" | b"expiryyear" | b"expirydate" | b"expirationmonth"
        | b"expirationyear" | b"expirationdate" | b"expiremonth" | b"expireyear"
        | b"expiredate" | b"expiresmonth" | b"expiresyear" | b"expmm" | b"expyy" | b"expyyyy"
        | b"validthru" | b"goodthru" | b"track1" | b"track2" | b"track1data" | b"track2data"
        | b"trackdata" | b"magstripe" => Secret::Other,
        _ => return None,
    })
}

/// The name without what only says whose card it is.
fn bare(name: &[u8]) -> Option<&[u8]> {
    const WHOSE: [&[u8]; 14] = [
        b"recipient",
        b"payer",
        b"sender",
        b"receiver",
        b"source",
        b"destination",
        b"credit",
        b"debit",
        b"bank",
        b"payment",
        b"customer",
        b"new",
        b"card",
        b"cc",
    ];
    let mut left = name;
    while let Some(rest) = WHOSE.iter().find_map(|whose| left.strip_prefix(*whose)) {
        // `card_number` counts, `payment_number` and `customer_number` are no card's.
        if of_name(rest).is_some() && (rest.starts_with(b"card") || ends_as_card(name, rest)) {
            return Some(rest);
        }
        left = rest;
    }
    None
}

/// Whether what was taken off in front of `rest` says that it is a card's, or `rest` can be of nothing else.
fn ends_as_card(name: &[u8], rest: &[u8]) -> bool {
    let front = &name[..name.len() - rest.len()];
    let is_cards = front.ends_with(b"card") || front.ends_with(b"cc");
    is_cards
        || !matches!(
            rest,
            b"number" | b"holder" | b"exp" | b"expiration" | b"expiry"
        )
}

/// Whether a key names a card, so that what is called `number` in it is a card's.
pub(super) fn is_card(key: &[u8]) -> bool {
    let plain = key.to_ascii_lowercase();
    [&b"card"[..], b"payment_method", b"paymentmethod"]
        .iter()
        .any(|part| plain.windows(part.len()).any(|window| window == *part))
}

/// Whether the text can be nothing but an id of the gateway: a UUID, or its older form of a number,
/// a dash and hexadecimal digits with letters among them.
pub(super) fn is_uid(text: &str) -> bool {
    let older = || {
        text.split_once('-').is_some_and(|(shop, rest)| {
            (1..=8).contains(&shop.len())
                && (8..=12).contains(&rest.len())
                && shop.bytes().all(|b| b.is_ascii_digit())
                && rest.bytes().all(|b| b.is_ascii_hexdigit())
                && rest.bytes().any(|b| b.is_ascii_alphabetic())
        })
    };
    scan::is_uuid(text.as_bytes()) || older()
}

/// Whether the text is a token as the gateway makes them: 32 or more hexadecimal digits, letters
/// among them.
pub(super) fn is_token(text: &str) -> bool {
    text.len() >= 32
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Whether the text is a plain decimal number.
pub(super) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().filter(|b| *b == b'.').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_card_data() {
        for (secret, keys) in [
            (
                Secret::Number,
                "number Number card_number cardNumber CARD-NUMBER pan credit_card_number cc_number \
                 ccNumber credit_card.number card_no recipientCardNumber",
            ),
            (
                Secret::Holder,
                "holder HOLDER cardholder cardHolder card_holder cardholder_name holder_name \
                 cardHolderName card_holder_name credit_card_holder name_on_card",
            ),
            (
                Secret::Code,
                "verification_value verificationValue cvc CVV cvv2 cvc2 cvn cid csc security_code \
                 securityCode card_security_code card_cvc cardCvv card_code card_verification_value",
            ),
            (
                Secret::Other,
                "EXP_MONTH exp-year expiry expiration exp_date expDate expiry_month expiryYear \
                 expiration_date expirationMonth card_expiry card_exp_month encrypted_credit_card \
                 encrypted_data_of_some_card_with_a_name_that_never_ends track2",
            ),
        ] {
            for key in keys.split_whitespace() {
                assert_eq!(
                    classify(key.as_bytes()),
                    FieldSensitivity::Sensitive(secret),
                    "{key}"
                );
            }
        }
        assert_eq!(
            classify(b"holder "),
            FieldSensitivity::Sensitive(Secret::Holder)
        );
    }

    #[test]
    fn names_of_other_things() {
        for key in [
            "numbers",
            "account",
            "phone_number",
            "payment_number",
            "name",
            "customer_number",
            "holders_and_a_long_tail",
            "company",
            "expired",
            "stakeholder",
            "card",
            "cards",
            "avs_cvc_verification",
            "cvc_check",
            "order_number",
            "panel",
        ] {
            assert_eq!(classify(key.as_bytes()), FieldSensitivity::Plain, "{key}");
        }
        for key in [
            "last_4",
            "bin",
            "brand",
            "rrn",
            "auth_code",
            "currency",
            "status",
        ] {
            assert_eq!(classify(key.as_bytes()), FieldSensitivity::Word, "{key}");
        }
    }

    #[test]
    fn harmless_keys_are_kept() {
        assert_eq!(classify(b"tracking_id"), FieldSensitivity::Id);
        assert_eq!(classify(b"paid_at"), FieldSensitivity::Time);
        assert_eq!(classify(b"expired_at"), FieldSensitivity::Time);
        assert_eq!(classify(b"acs_url"), FieldSensitivity::Address);
        assert!(is_uid("4107-310b0da80b") && is_uid("6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1001"));
        assert!(!is_uid("4200000000000000") && !is_uid("4200-0000-0000-0000"));
        assert!(is_decimal("-12.5") && !is_decimal("4200 0000") && !is_decimal(""));
    }
}
