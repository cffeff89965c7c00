//! Process 1 of a tenant's container. It runs as the tenant's own user with no capability at all.
//!
//! The tenant has the same user id, and still cannot touch it: the kernel lets no process of a container signal its
//! process 1 without a handler, and a process that is not dumpable is neither traced nor read by its own user.

mod environment;
mod jupyter;
mod model;
mod ssh;

use std::fs::{self, DirBuilder, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nightjar_core::lease::check_model;
use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::{GuestCommand, GuestEvent, JUPYTER_PORT, SSH_PORT, Service, WorkerBoot};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::line::{End, Heard, Line};
use crate::services::{Services, await_listening};
use crate::{notice, report};

/// What is made at each start lies in memory.
const RUN_FOLDER: &str = "/run/nightjar";
/// There while the tenant has a parting to expect.
const NOTICE_FILE: &str = "/run/nightjar/notice.json";
const PASSWD: &str = "/etc/passwd";
const SHADOW: &str = "/etc/shadow";
const TENANT: &str = "nightjar";
/// The tenant's volume and home.
const WORKSPACE: &str = "/workspace";

/// Until the agent ends it or falls silent.
pub fn run() -> End {
    serve().unwrap_or_else(|end| end)
}

fn serve() -> Result<End, End> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| End::Failed { what: "start", why: format!("process 1 stays traceable: {error}") })?;
    let (mut line, boot) = Line::open::<WorkerBoot>()?;
    check(&boot).map_err(|why| End::Failed { what: "configuration", why })?;
    let failed = |why: std::io::Error| End::Failed {
        what: "start",
        why: format!(
            "{RUN_FOLDER} cannot be filled ({why}): does the container have a writable tmpfs at /run?"
        ),
    };
    private_folder(Path::new(RUN_FOLDER)).map_err(failed)?;
    fs::write(Path::new(RUN_FOLDER).join("greeting"), greeting(&boot)).map_err(failed)?;
    if boot.root_inside {
        make_root().map_err(|why| End::Failed { what: "start", why })?;
    }
    let env = environment::of_services(std::env::vars(), &boot);
    let ssh_host_key = ssh::prepare(&boot, &env)?;
    jupyter::prepare(&boot).map_err(failed)?;

    let mut services = Services::new()?;
    if boot.root_inside {
        services.keep_capabilities();
    }
    services.start(ssh::recipe(&env))?;
    services.start(jupyter::recipe(&env))?;
    if let Some(model) = &boot.serve_model {
        // It comes when it comes: a model may have to be fetched first.
        services.start(model::recipe(model, &boot.jupyter_token, &env))?;
    }
    await_listening(Service::Ssh, SSH_PORT, line.sender());
    await_listening(Service::Jupyter, JUPYTER_PORT, line.sender());
    attend(&mut line, &mut services, &ssh_host_key)
}

fn attend(line: &mut Line, services: &mut Services, ssh_host_key: &str) -> Result<End, End> {
    let mut listening = 0;
    loop {
        match line.next()? {
            Heard::Listening { service, took_ms } => {
                report::event(&GuestEvent::Listening { service, took_ms });
                listening += 1;
                if listening == 2 {
                    report::event(&GuestEvent::WorkerReady { ssh_host_key: ssh_host_key.to_owned() });
                }
            }
            Heard::Command(GuestCommand::Notice(notice)) => notice::write(Path::new(NOTICE_FILE), &notice),
            Heard::Command(GuestCommand::NoticeOver) => notice::remove(Path::new(NOTICE_FILE)),
            Heard::Command(GuestCommand::Terminate) => {
                services.end_all();
                line.hurry();
            }
            Heard::Command(GuestCommand::SetBandwidth { .. } | GuestCommand::OwnAddresses { .. })
            | Heard::Nothing => {}
        }
        if services.tend()? {
            return Ok(End::Asked);
        }
    }
}

fn check(boot: &WorkerBoot) -> Result<(), String> {
    let plain =
        |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
    if boot.lease_id.is_empty() || boot.lease_id.len() > 128 || !plain(&boot.lease_id) {
        return Err(
            "the lease's id is empty, too long, or holds other than letters, digits, -, _ and .".to_owned()
        );
    }
    let token = &boot.jupyter_token;
    if !(16..=128).contains(&token.len()) || !token.chars().all(|letter| letter.is_ascii_alphanumeric()) {
        return Err("the Jupyter token is not 16 to 128 letters and digits".to_owned());
    }
    ssh::check_key(&boot.authorized_key)?;
    boot.serve_model.as_deref().map_or(Ok(()), check_model)?;
    environment::check(&boot.env)
}

fn greeting(boot: &WorkerBoot) -> String {
    let network = match boot.egress {
        EgressMode::Off => "none but this connection",
        EgressMode::Curated => "package indexes, model hubs and code hosts, by the proxy that is set",
        EgressMode::Open => "the public internet, without mail",
    };
    format!(
        "\nNightjar, lease {}\n\
         This machine is lent by somebody who may take it back at any time: what is in {WORKSPACE} stays.\n\
         Before that, {NOTICE_FILE} says so. Network: {network}.\n",
        boot.lease_id
    )
}

/// The tenant logs in by its usual name, which is another name for root then. OpenSSH, started by root, looks up whether
/// the name is locked, and one without a password is.
fn make_root() -> Result<(), String> {
    let change = |path: &str, field: usize, values: &[&str]| {
        let failed = |error: std::io::Error| format!("{path}: {error}: is the root file system writable?");
        let text = fs::read_to_string(path).map_err(failed)?;
        fs::write(path, with_fields(&text, field, values)).map_err(failed)
    };
    change(PASSWD, 2, &["0", "0"])?;
    change(SHADOW, 1, &["*"])
}

/// The tenant's line with these values from the field of this number on.
fn with_fields(text: &str, field: usize, values: &[&str]) -> String {
    let lines = text.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if fields.first() == Some(&TENANT) {
            for (place, value) in fields.iter_mut().skip(field).zip(values) {
                *place = value;
            }
        }
        format!("{}\n", fields.join(":"))
    });
    lines.collect()
}

/// Makes a folder that only this user reads, or takes one that is there.
fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only this user reads, from its first byte on.
fn private_file(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn boot() -> WorkerBoot {
        WorkerBoot {
            lease_id: "8e2f-1".to_owned(),
            authorized_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJhc2U2NA== someone".to_owned(),
            jupyter_token: "0123456789abcdef".to_owned(),
            egress: EgressMode::Curated,
            root_inside: false,
            serve_model: None,
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn the_tenants_name_becomes_another_of_roots() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnightjar:x:1000:1000::/workspace:/bin/bash\n";
        let root = "root:x:0:0:root:/root:/bin/bash\nnightjar:x:0:0::/workspace:/bin/bash\n";
        assert_eq!(with_fields(passwd, 2, &["0", "0"]), root);
    }

    #[test]
    fn what_would_break_a_configuration_file_is_refused() {
        assert_eq!(check(&boot()), Ok(()));
        let worse: [fn(&mut WorkerBoot); 5] = [
            |boot| boot.lease_id = "a b".to_owned(),
            |boot| boot.jupyter_token = "short".to_owned(),
            |boot| boot.jupyter_token = "0123456789abcde\"".to_owned(),
            |boot| boot.authorized_key.push_str("\nssh-rsa AAAA"),
            |boot| drop(boot.env.insert("A".to_owned(), "b\nc".to_owned())),
        ];
        for make_worse in worse {
            let mut boot = boot();
            make_worse(&mut boot);
            assert!(check(&boot).is_err(), "{boot:?}");
        }
    }
}
