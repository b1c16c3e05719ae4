//! Several hosts in one address of a database, as libpq takes them:
//! `postgres://user@one:5432,two:5432/name?target_session_attrs=read-write`.
//!
//! The driver knows one host. Each is tried in turn, and the first that takes writes is the right one, whatever
//! `target_session_attrs` says: nothing here works at a standby.

/// What `target_session_attrs` may say.
const TARGETS: [&str; 3] = ["any", "read-write", "primary"];

/// The same address for each of its hosts, in its order.
///
/// # Errors
/// When it asks for a server that takes no writes.
pub fn hosts(url: &str) -> Result<Vec<String>, String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok(vec![url.to_owned()]);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (user, places) = match authority.rsplit_once('@') {
        Some((user, places)) => (format!("{user}@"), places),
        None => (String::new(), authority),
    };
    let rest = without_target(rest)?;
    let address = |place: &str| format!("{scheme}://{user}{place}{rest}");
    Ok(places.split(',').map(address).collect())
}

/// Takes out the parameter, which the driver does not know.
fn without_target(rest: &str) -> Result<String, String> {
    let Some((path, query)) = rest.split_once('?') else {
        return Ok(rest.to_owned());
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("target_session_attrs", value)) if !TARGETS.contains(&value) => {
                return Err(format!(
                    "target_session_attrs must be one of {}",
                    TARGETS.join(", ")
                ));
            }
            Some(("target_session_attrs", _)) => {}
            _ => kept.push(pair),
        }
    }
    Ok(match kept.as_slice() {
        [] => path.to_owned(),
        kept => format!("{path}?{}", kept.join("&")),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn each_host_has_an_address_of_its_own() {
        let one = "postgres:///db?host=/run&port=5433";
        assert_eq!(hosts(one).unwrap(), [one]);
        let several =
            "postgres://u:p%40@a:1,b,[::1]:3/db?target_session_attrs=read-write&sslmode=require";
        assert_eq!(
            hosts(several).unwrap(),
            [
                "postgres://u:p%40@a:1/db?sslmode=require",
                "postgres://u:p%40@b/db?sslmode=require",
                "postgres://u:p%40@[::1]:3/db?sslmode=require"
            ]
        );
        let bare = "postgres://a,b?target_session_attrs=primary";
        assert_eq!(hosts(bare).unwrap(), ["postgres://a", "postgres://b"]);
    }

    #[test]
    fn a_database_url_without_writes_is_rejected() {
        for bad in ["standby", "read-only", "prefer-standby", ""] {
            assert!(hosts(&format!("postgres://a/db?target_session_attrs={bad}")).is_err());
        }
    }
}
