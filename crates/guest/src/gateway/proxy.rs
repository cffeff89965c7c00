//! The forward proxy of the curated mode: names of a list, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nightjar_protocol::guest::{PROXY_CLIENTS, PROXY_PORT, Service};

use crate::line::End;
use crate::services::Recipe;

const CONFIGURATION: &str = "/run/nightjar/proxy.conf";
const FILTER: &str = "/run/nightjar/proxy-domains";

/// Writes its files.
pub fn prepare(domains: &[String]) -> Result<Recipe, End> {
    let failed = |error: std::io::Error| End::Failed {
        what: Service::Proxy.name(),
        why: format!("its configuration cannot be written ({error}): does the gateway have a tmpfs at /run?"),
    };
    fs::write(FILTER, filter(domains)).map_err(failed)?;
    fs::write(CONFIGURATION, configuration()).map_err(failed)?;
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    Ok(Recipe {
        service: Service::Proxy,
        program: "tinyproxy",
        arguments: ["-d", "-c", CONFIGURATION].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), path)]),
        folder: PathBuf::from("/"),
    })
}

/// It names no user to change to: it is started without capabilities already, and has none to change with.
fn configuration() -> String {
    format!(
        "Port {PROXY_PORT}\n\
         Listen 127.0.0.1\n\
         Allow 127.0.0.1\n\
         Timeout 600\n\
         MaxClients {PROXY_CLIENTS}\n\
         LogLevel Warning\n\
         DisableViaHeader Yes\n\
         ConnectPort 443\n\
         Filter \"{FILTER}\"\n\
         FilterType ere\n\
         FilterURLs Off\n\
         FilterCaseSensitive Off\n\
         FilterDefaultDeny Yes\n"
    )
}

/// One pattern a domain: itself and all below it.
fn filter(domains: &[String]) -> String {
    domains.iter().map(|domain| format!("(^|\\.){}$\n", domain.replace('.', "\\."))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_whole_names() {
        assert_eq!(filter(&["a.example.org".to_owned()]), "(^|\\.)a\\.example\\.org$\n");
    }
}
