//! Addresses that we call or hand out: encrypted unless they stay on this machine, and
//! free of secrets, because addresses are logged.

use url::{Host, Url};

/// Checks what every address must be. `allow_key` is the setting that allows plain http.
pub(super) fn parse_http_url(url: &Url, allow_http: bool, allow_key: &str) -> Result<(), String> {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback || allow_http => {}
        "http" => {
            return Err(format!(
                "plain http is accepted for loopback addresses, for others set {allow_key} = true"
            ));
        }
        _ => return Err("expected an https:// address".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a name or password in the address is not accepted".to_owned());
    }
    if url.fragment().is_some() {
        return Err("a fragment (#…) in the address is not accepted".to_owned());
    }
    Ok(())
}
