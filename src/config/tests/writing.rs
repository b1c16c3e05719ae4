//! What is wrong with the file as such.

use std::path::Path;

use super::super::load;
use super::{minimal, minimal_and, only_error};

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = load(Some(Path::new("/no/such/config.toml")), Vec::new()).unwrap_err();
    let expected = "the configuration is not valid\n  /no/such/config.toml: cannot read the file: ";
    assert!(errors.to_string().starts_with(expected), "{errors}");
}

#[test]
fn a_toml_error_has_its_position() {
    let error = only_error("[api]\nlisten = \"127.0.0.1:80\nx = 1\n");
    assert!(error.starts_with("file, line 2, column "), "{error}");
    let error = only_error("[api]\nlisten = '127.0.0.1:80'\nlisten = '127.0.0.1:81'\n");
    assert!(
        error.starts_with("file, line 3, column 1: not toml: duplicate key"),
        "{error}"
    );
}

#[test]
fn sections_have_their_shape() {
    for (text, expected) in [
        (
            "[clients]\nname = 'x'",
            "clients: expected a list of tables, write [[clients]] for each",
        ),
        (
            "[[gateway]]\nbase_url = 'x'",
            "gateway: expected a table, write [gateway]",
        ),
    ] {
        assert_eq!(only_error(&minimal_and(text)), expected);
    }
    let error = only_error(&format!("subscribers = ['x']\n{}", minimal()));
    assert_eq!(
        error,
        "subscribers: expected a list of tables, write [[subscribers]] for each"
    );
    let error = only_error(&format!("api = 5\n{}", minimal()));
    assert_eq!(error, "api: expected a table, write [api]");
}

#[test]
fn a_key_that_needs_quotes_is_quoted_in_the_error() {
    let error = only_error(&minimal_and("\"a.b c\" = 1"));
    assert!(
        error.starts_with("shops[0].\"a.b c\": unknown key"),
        "{error}"
    );
}
