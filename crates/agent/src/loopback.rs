//! Servers on this PC's own address.

use axum::http::{HeaderMap, header};

/// Whether a request names this PC as its host. A web page can make a browser ask this PC under a name of its own (DNS
/// rebinding); such a page learns nothing.
#[must_use]
pub fn is_named(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    ["127.0.0.1", "localhost"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_pcs_own_names_are_taken() {
        let named = |host: &str| is_named(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for own in ["127.0.0.1", "127.0.0.1:4000", "localhost:80"] {
            assert!(named(own), "{own}");
        }
        for other in ["", "evil.example", "127.0.0.1.evil.example:80", "localhost.evil:1", "[::1]:80"] {
            assert!(!named(other), "{other}");
        }
        assert!(!is_named(&HeaderMap::new()));
    }
}
