//! Linux: what notifications and tooltips show is markup, and names and causes in it are the words of others.

/// To be read as it stands.
pub fn literal(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
