//! The forward proxy of the curated mode: names of a list, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nightjar_protocol::guest::{PROXY_CLIENTS, PROXY_PORT, Service};

use crate::line::End;
use crate::services::Recipe;

const CONFIGURATION: &str = "/run/nightjar/proxy.conf";
const FILTER: &str = "/run/nightjar/proxy-domains";

/// Writes its files.
pub fn prepare(domains: &[String]) -> Result<Recipe, End> {
    write_file(Service::Proxy, FILTER, &filter(domains))?;
    write_file(Service::Proxy, CONFIGURATION, &configuration())?;
    Ok(Recipe {
        service: Service::Proxy,
        program: "tinyproxy",
        arguments: ["-d", "-c", CONFIGURATION].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), path())]),
        folder: PathBuf::from("/"),
    })
}

/// A file that a service reads, whoever runs it, and process 1 alone writes.
pub fn write_file(service: Service, file: &str, text: &str) -> Result<(), End> {
    fs::write(file, text).and_then(|()| fs::set_permissions(file, Permissions::from_mode(0o644))).map_err(
        |error| End::Failed {
            what: service.name(),
            why: format!("{file} cannot be written ({error}): does the gateway have a tmpfs at /run?"),
        },
    )
}

/// Where programs are looked for.
pub fn path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())
}

/// It names no user to change to: it is started as the one that it is to be, without capabilities.
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
