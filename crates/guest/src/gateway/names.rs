//! The name server of a sandboxed tenant's gateway: names of the proxy's list, and nothing else.
//!
//! What the Engine's own name server asks from here cannot be told from what such a tenant asks. So it asks this one, which
//! may ask on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use nightjar_protocol::guest::{NAMES_ADDRESS, NAMES_PORT, Service};

use super::proxy;
use crate::line::End;
use crate::services::Recipe;

const CONFIGURATION: &str = "/run/nightjar/names.conf";
/// As many as the proxy's clients can wait for, about.
const MOST_QUESTIONS: u32 = 256;

/// Writes its file.
pub fn prepare(domains: &[String], servers: &[Ipv4Addr]) -> Result<Recipe, End> {
    proxy::write_file(Service::Names, CONFIGURATION, &configuration(domains, servers))?;
    Ok(Recipe {
        service: Service::Names,
        program: "dnsmasq",
        arguments: vec!["--keep-in-foreground".to_owned(), format!("--conf-file={CONFIGURATION}")],
        env: BTreeMap::from([("PATH".to_owned(), proxy::path())]),
        folder: PathBuf::from("/"),
    })
}

/// Without a server for all other names, it refuses them. `no-ident`: else it tells anybody whom it asks, which may be the
/// home's router.
fn configuration(domains: &[String], servers: &[Ipv4Addr]) -> String {
    let known = domains
        .iter()
        .flat_map(|domain| servers.iter().map(move |server| format!("server=/{domain}/{server}\n")));
    format!(
        "port={NAMES_PORT}\n\
         listen-address={NAMES_ADDRESS}\n\
         bind-interfaces\n\
         no-resolv\n\
         no-hosts\n\
         no-ident\n\
         dns-forward-max={MOST_QUESTIONS}\n\
         pid-file=\n\
         log-facility=-\n\
         {}",
        known.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_for_names_of_the_list_alone() {
        let domains = ["example.org", "pypi.org"].map(str::to_owned);
        let servers = [Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(9, 9, 9, 9)];
        let text = configuration(&domains, &servers);
        let asked: Vec<&str> = text.lines().filter(|line| line.starts_with("server")).collect();
        assert_eq!(
            asked,
            [
                "server=/example.org/192.168.1.1",
                "server=/example.org/9.9.9.9",
                "server=/pypi.org/192.168.1.1",
                "server=/pypi.org/9.9.9.9",
            ]
        );
        for line in
            ["no-resolv", "no-hosts", "no-ident", "bind-interfaces", "listen-address=127.0.0.2", "port=53"]
        {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
    }
}
