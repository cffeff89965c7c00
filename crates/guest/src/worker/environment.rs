//! What the tenant's programs find in their environment.

use std::collections::BTreeMap;

use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::{PROXY_PORT, WorkerBoot};

use super::WORKSPACE;

const MOST_ENTRIES: usize = 64;
const LONGEST_VALUE_BYTES: usize = 4_096;
/// Of the container's own, what a login makes anew or what tells of process 1 alone.
const LEFT_OUT: &[&str] = &["HOME", "HOSTNAME", "LOGNAME", "OLDPWD", "PWD", "SHELL", "SHLVL", "TERM", "USER"];

/// Names as in a shell, values of one line.
pub fn check(env: &BTreeMap<String, String>) -> Result<(), String> {
    if env.len() > MOST_ENTRIES {
        return Err(format!("more than {MOST_ENTRIES} environment variables"));
    }
    for (name, value) in env {
        let mut letters = name.chars();
        let starts = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
        if !starts
            || name.len() > 128
            || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            return Err("the name of an environment variable is not letters, digits and _".to_owned());
        }
        if value.len() > LONGEST_VALUE_BYTES || value.chars().any(char::is_control) {
            return Err(format!(
                "the value of {name} is longer than {LONGEST_VALUE_BYTES} bytes or not one line"
            ));
        }
    }
    Ok(())
}

/// The image's environment, the lease's over it, and the proxy's address where there is a proxy.
pub fn of_services(
    own: impl Iterator<Item = (String, String)>,
    boot: &WorkerBoot,
) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> =
        own.filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())).collect();
    if boot.egress == EgressMode::Curated {
        let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            env.insert(name.to_owned(), proxy.clone());
        }
        for name in ["no_proxy", "NO_PROXY"] {
            env.insert(name.to_owned(), "localhost,127.0.0.1".to_owned());
        }
    }
    env.insert("NIGHTJAR_LEASE".to_owned(), boot.lease_id.clone());
    env.extend(boot.env.clone());
    env
}

/// The same with what a login would add, for a service that starts programs without one.
pub fn with_login(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let login = [("HOME", WORKSPACE), ("USER", "nightjar"), ("LOGNAME", "nightjar"), ("SHELL", "/bin/bash")];
    let login = login.map(|(name, value)| (name.to_owned(), value.to_owned()));
    env.clone().into_iter().chain(login).collect()
}
