//! How a closed set of words is described in the document of the API.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema, Type};

/// The schema of a closed set of words, with what each of them means.
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
