//! The window's page as files in this program (`build.rs` takes them in), and what a browser may do with them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Name in an address and content; empty where the program was built without the page.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// As in the app's window, but that the page talks to this server and not to the app.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn is_there() -> bool {
    !FILES.is_empty()
}

/// The file of an address; the page itself for the first.
pub(super) fn file(path: &str) -> Response {
    let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    let Some((_, content)) = FILES.iter().find(|(known, _)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind)], Body::from(*content)).into_response()
}

/// What goes with every answer.
pub(super) fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_browser_may_do_what_the_window_may_and_talk_to_this_server() {
        let settings: serde_json::Value =
            serde_json::from_str(include_str!("../../../../../src-tauri/tauri.conf.json")).unwrap();
        let window = settings["app"]["security"]["csp"].as_object().unwrap();
        let own: BTreeMap<&str, &str> =
            POLICY.split("; ").map(|directive| directive.split_once(' ').unwrap()).collect();
        assert_eq!(own.len(), window.len());
        for (directive, sources) in window {
            let wanted = if directive == "connect-src" { "'self'" } else { sources.as_str().unwrap() };
            assert_eq!(own[directive.as_str()], wanted, "{directive}");
        }
    }

    #[test]
    fn nothing_beside_the_page_is_served() {
        for path in ["/../Cargo.toml", "/assets/../index.html", "//index.html/", "/index.html%00"] {
            assert_eq!(file(path).status(), StatusCode::NOT_FOUND, "{path}");
        }
        if is_there() {
            assert_eq!(file("/").status(), StatusCode::OK);
        }
    }
}
