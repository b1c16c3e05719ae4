//! Secrets come as values or files, one or several, and never go into an error.

use super::{
    File, errors, errors_with_env, minimal, minimal_and, minimal_with, only, only_error, parse,
};

const FINGERPRINT: &str = "fingerprint_key = \"0123456789abcdef0123456789abcdef\"";

#[test]
fn secrets_can_be_files_beside_the_configuration() {
    let text = minimal()
        .replace(FINGERPRINT, "fingerprint_key_file = 'fingerprint'")
        .replace(
            "url = \"postgres://localhost/reconciler\"",
            "url_file = 'url'",
        )
        .replace("secret_key = \"shop-secret\"", "secret_key_file = 'shop'");
    let (before, _) = text.split_once("public_key = ").unwrap();
    let subscriber = "[[subscribers]]\nname='s'\nurl='https://x.example'\nshops=['*']\n";
    let text = format!("{before}public_key_file = 'public'\n{subscriber}secret_file='secret'\n");
    let file = File::new(&text)
        .beside("fingerprint", "0123456789abcdef0123456789abcdef\n")
        .beside("url", "postgres://app:pw@db/x\r\n")
        .beside("shop", "  secret with spaces \n\n")
        .beside("public", super::PUBLIC_KEY)
        .beside("secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n");
    let config = file.load(&[]).unwrap();
    let fingerprint = config.security.fingerprint_key.current();
    assert_eq!(
        fingerprint.key().expose(),
        b"0123456789abcdef0123456789abcdef"
    );
    assert_eq!(config.database.url.expose(), "postgres://app:pw@db/x");
    // Only the line end goes; blanks may belong to the secret.
    assert_eq!(
        config.shops[0].secret_key.current().expose(),
        "  secret with spaces "
    );
    assert_eq!(config.shops[0].public_key.len(), 1);
    assert_eq!(config.subscribers[0].secret.current().expose().len(), 24);
    let settings = file.explain(&[]);
    let shown = settings
        .iter()
        .find(|it| it.key == "shops[0].secret_key")
        .unwrap();
    let path = file.directory.path().join("shop");
    assert_eq!(
        shown.to_string(),
        format!(
            "shops[0].secret_key = ***  # file, read from {}",
            path.display()
        )
    );
}

#[test]
fn files_can_be_a_list_too() {
    let text = minimal_with(
        "secret_key = \"shop-secret\"",
        "secret_key_file = ['new', 'old']",
    );
    let config = File::new(&text)
        .beside("new", "n")
        .beside("old", "o")
        .load(&[])
        .unwrap();
    let keys: Vec<&str> = config.shops[0]
        .secret_key
        .iter()
        .map(|key| key.expose().as_str())
        .collect();
    assert_eq!(keys, ["n", "o"]);
}

#[test]
fn a_fingerprint_key_may_be_bytes_that_are_no_text() {
    let text = minimal_with(FINGERPRINT, "fingerprint_key_file = 'key'");
    let config = File::new(&text)
        .beside("key", [0xFF; 32])
        .load(&[])
        .unwrap();
    assert_eq!(
        config.security.fingerprint_key.current().key().expose(),
        &[0xFF; 32]
    );
    let text = minimal_with("secret_key = \"shop-secret\"", "secret_key_file = 'key'");
    let errors = File::new(&text)
        .beside("key", [0xFF; 32])
        .load(&[])
        .unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("shops[0].secret_key_file: is not utf-8"),
        "{errors}"
    );
}

#[test]
fn a_value_and_its_file_exclude_each_other() {
    let error = only_error(&minimal_with(
        FINGERPRINT,
        &format!("{FINGERPRINT}\nfingerprint_key_file='x'"),
    ));
    assert_eq!(
        error,
        "security.fingerprint_key: give either fingerprint_key or fingerprint_key_file, not both"
    );
    let env = [
        ("RECONCILER__SHOPS__1001__SECRET_KEY", "a"),
        ("RECONCILER__SHOPS__1001__SECRET_KEY_FILE", "b"),
    ];
    let error = only(errors_with_env(&minimal(), &env));
    assert!(
        error.starts_with(
            "shops[0].secret_key (from RECONCILER__SHOPS__1001__SECRET_KEY_FILE): give either"
        ),
        "{error}"
    );
}

#[test]
fn either_spelling_in_the_environment_replaces_both_in_the_file() {
    let file = File::new(&minimal()).beside("shop", "from-file\n");
    let path = file.directory.path().join("shop");
    let env = [(
        "RECONCILER__SHOPS__1001__SECRET_KEY_FILE",
        path.to_str().unwrap(),
    )];
    let config = file.load(&env).unwrap();
    assert_eq!(config.shops[0].secret_key.current().expose(), "from-file");
    let text = minimal_with("secret_key = \"shop-secret\"", "secret_key_file = 'gone'");
    let config = File::new(&text)
        .load(&[("RECONCILER__SHOPS__1001__SECRET_KEY", "direct")])
        .unwrap();
    assert_eq!(config.shops[0].secret_key.current().expose(), "direct");
}

#[test]
fn rotating_secrets_are_lists_in_the_environment_too() {
    for value in ["new,old", "['new', 'old']"] {
        let env = [("RECONCILER__SHOPS__1001__SECRET_KEY", value)];
        let config = File::new(&minimal()).load(&env).unwrap();
        let keys: Vec<&str> = config.shops[0]
            .secret_key
            .iter()
            .map(|key| key.expose().as_str())
            .collect();
        assert_eq!(keys, ["new", "old"]);
    }
    let env = [("RECONCILER__SHOPS__1001__SECRET_KEY", "['a,b']")];
    let config = File::new(&minimal()).load(&env).unwrap();
    assert_eq!(config.shops[0].secret_key.current().expose(), "a,b");
}

#[test]
fn a_secret_keeps_blanks_and_loses_line_ends() {
    let env = [("RECONCILER__SHOPS__1001__SECRET_KEY", " a b \r\n")];
    let config = File::new(&minimal()).load(&env).unwrap();
    assert_eq!(config.shops[0].secret_key.current().expose(), " a b ");
}

#[test]
fn fingerprint_keys_have_distinct_ids() {
    let keys = "fingerprint_key = ['0123456789abcdef0123456789abcdef', 'another key of more than 32 bytes!']";
    let config = parse(&minimal_with(FINGERPRINT, keys));
    let ids: Vec<&str> = config
        .security
        .fingerprint_key
        .iter()
        .map(|key| key.id())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    let again = parse(&minimal());
    assert_eq!(again.security.fingerprint_key.current().id(), ids[0]);
}

#[test]
fn secrets_that_cannot_work_are_refused() {
    for (from, to, expected) in [
        (
            FINGERPRINT,
            "fingerprint_key = '0123456789abcdef0123456789abcde'",
            "security.fingerprint_key: the key has 31 bytes, at least 32 are needed",
        ),
        (
            FINGERPRINT,
            "fingerprint_key = ['0123456789abcdef0123456789abcdef', 'x']",
            "security.fingerprint_key: item 2: the key has 1 bytes, at least 32 are needed",
        ),
        (
            FINGERPRINT,
            "fingerprint_key = []",
            "security.fingerprint_key: expected at least one value, the list is empty",
        ),
        (
            FINGERPRINT,
            "fingerprint_key = 5",
            "security.fingerprint_key: expected text in quotes or a list of texts, got an integer",
        ),
        (
            FINGERPRINT,
            "fingerprint_key = ['0123456789abcdef0123456789abcdef', 7]",
            "security.fingerprint_key: expected text in quotes or a list of texts, got an integer",
        ),
        (
            "secret_key = \"shop-secret\"",
            "secret_key = ''",
            "shops[0].secret_key: is empty",
        ),
        (
            "secret_key = \"shop-secret\"",
            "secret_key = \"a\\nb\"",
            "shops[0].secret_key: has a control character, such as a line break, in it",
        ),
        (
            "url = \"postgres://localhost/reconciler\"",
            "url = ['postgres://localhost/x']",
            "database.url: expected text in quotes, got a list",
        ),
    ] {
        assert_eq!(only_error(&minimal_with(from, to)), expected);
    }
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let text = minimal_with("secret_key = \"shop-secret\"", "secret_key_file = 'gone'");
    let error = only_error(&text);
    assert!(
        error.starts_with("shops[0].secret_key_file: cannot read the file: No such file"),
        "{error}"
    );
    let file = File::new(&text).beside("gone", vec![b'x'; 70_000]);
    let error = file.load(&[]).unwrap_err().to_string();
    assert!(
        error.contains("the file has 70000 bytes, 65536 are allowed"),
        "{error}"
    );
    let file = File::new(&text).beside("gone", "\n");
    let error = file.load(&[]).unwrap_err().to_string();
    assert!(
        error.contains("shops[0].secret_key_file: is empty"),
        "{error}"
    );
}

/// Whatever is wrong around a secret, the secret is not in the error.
#[test]
fn no_error_contains_a_secret() {
    const CANARY: &str = "hunter2canary";
    let broken = [
        format!("[database]\nurl = \"mysql://root:{CANARY}@db/x\""),
        format!("[database]\nurl = \"{CANARY}\""),
        format!("[database]\nurl = \"postgres://u:{CANARY}@:x/\""),
        format!("[database]\nurl_file = \"{CANARY}\""),
        format!("[security]\nfingerprint_key = \"{CANARY}\""),
        format!("[security]\nfingerprint_key = \"{CANARY}"),
        format!("[security]\nfingerprint_key = {{ a = \"{CANARY}\" }}"),
        format!("[gateway]\nbase_url = \"https://u:{CANARY}@gateway.example\""),
        format!("[gateway]\nbase_url = \"//{CANARY}\""),
        format!("[[shops]]\nid = \"1\"\nsecrte_key = \"{CANARY}\""),
        format!("[[shops]]\nid = \"1\"\npublic_key = \"{CANARY}\""),
        format!("[[clients]]\nname = \"x\"\nkey_sha256 = \"{CANARY}\""),
        format!("[[subscribers]]\nname = \"x\"\nsecret = \"{CANARY}\""),
        format!("[[subscribers]]\nname = \"x\"\nsecret = \"whsec_{CANARY}\""),
        format!("secret = \"{CANARY}\""),
    ];
    for text in broken {
        let printed = errors(&text).join("\n");
        assert!(!printed.contains(CANARY), "{text}\n{printed}");
        assert!(!printed.is_empty());
    }
    for variable in [
        "SECURITY__FINGERPRINT_KEY",
        "SHOPS",
        "SHOPS__1001__PUBLIC_KEY",
        "CLIENTS__X__KEY_SHA256",
    ] {
        let env = [(&*format!("RECONCILER__{variable}"), CANARY)];
        let printed = errors_with_env(&minimal(), &env).join("\n");
        assert!(!printed.contains(CANARY), "{variable}\n{printed}");
    }
}

#[test]
fn a_configuration_can_be_printed_without_its_secrets() {
    let text = minimal_and(
        "[[subscribers]]\nname='s'\nurl='https://x.example'\nshops=['*']\nsecret='whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz'",
    );
    let printed = format!("{:?}", parse(&text));
    for secret in [
        "shop-secret",
        "0123456789",
        "postgres://",
        "whsec",
        "[48, 49, 50",
    ] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
