//! Schemas of closed sets of words for the API description.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema, Type};

/// Returns the schema of a closed set of words, with their descriptions.
pub fn described(
    what: &str,
    words: impl Iterator<Item = (&'static str, &'static str)>,
) -> RefOr<Schema> {
    let (mut all, mut text) = (Vec::new(), format!("{}\n", what.trim()));
    for (word, meaning) in words {
        all.push(word);
        text.push_str(&format!("\n- `{word}`: {}", meaning.trim()));
    }
    Object::builder()
        .schema_type(Type::String)
        .enum_values(Some(all))
        .description(Some(text))
        .into()
}
