//! Process 1 of a tenant's container. It runs as the tenant's own user with no capability at all.
//!
//! The tenant has the same user id, and still cannot touch it: the kernel lets no process of a container signal its
//! process 1 without a handler, and a process that is not dumpable is neither traced nor read by its own user. gVisor's does
//! not hold to that, so the tenant does not even see it there: see [`crate::apart`].

mod environment;
mod jupyter;
mod model;
mod programs;
mod ssh;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nightjar_core::lease::check_model;
use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::{GuestCommand, GuestEvent, JUPYTER_PORT, SSH_PORT, Service, WorkerBoot};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::line::{End, Heard, Line};
use crate::services::{Services, await_listening, not_listening};
use crate::{apart, notice, report, shared_folder};

/// What is made at each start lies in memory.
const RUN_FOLDER: &str = "/run/nightjar";
/// What a login shell shows first.
const GREETING_FILE: &str = "/run/nightjar/greeting";
/// There while the tenant has a parting to expect.
const NOTICE_FILE: &str = "/run/nightjar/notice.json";
const PASSWD: &str = "/etc/passwd";
const SHADOW: &str = "/etc/shadow";
const TENANT: &str = "nightjar";
/// Beside the greeting where it does not come up.
const WITHOUT_JUPYTER: &str = "JupyterLab does not start, maybe for what is in your home: its log is /run/nightjar/log/jupyter.log, and it is \
     tried again every 30 seconds.\n";
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
    shared_folder::write(Path::new(GREETING_FILE), &greeting(&boot, false)).map_err(failed)?;
    if boot.root_inside {
        make_root().map_err(|why| End::Failed { what: "start", why })?;
    }
    let is_apart = boot.sandboxed && !boot.root_inside;
    // Beside what is prepared meanwhile it costs no time.
    let trial = is_apart.then(apart::Trial::begin);
    let env = environment::of_services(std::env::vars(), &boot);
    let ssh_host_key = ssh::prepare(&boot, &env)?;
    jupyter::prepare(&boot).map_err(failed)?;
    trial.map_or(Ok(()), apart::Trial::end)?;

    let mut services = Services::new()?;
    if boot.root_inside {
        services.keep_capabilities();
    } else if is_apart {
        services.set_apart();
    }
    if boot.sandboxed {
        programs::watch();
    }
    // Of the tenant's home it reads nothing before somebody logs in, which nobody can yet.
    services.start(ssh::recipe(&env))?;
    await_listening(Service::Ssh, SSH_PORT, line.sender());
    let mut attendant =
        Attendant { boot, env, ssh_host_key, services, known: Known::default(), at_home: false };
    if !attendant.boot.await_check {
        attendant.open_home(&line)?;
    }
    attendant.attend(&mut line)
}

/// What looks after a tenant.
struct Attendant {
    boot: WorkerBoot,
    env: BTreeMap<String, String>,
    ssh_host_key: String,
    services: Services,
    known: Known,
    /// What reads the home was started.
    at_home: bool,
}

impl Attendant {
    fn attend(&mut self, line: &mut Line) -> Result<End, End> {
        loop {
            match line.next()? {
                Heard::Listening { service, took_ms } => {
                    report::event(&GuestEvent::Listening { service, took_ms });
                    self.hear(service, true);
                }
                Heard::NotListening { service: Service::Jupyter } => self.hear(Service::Jupyter, false),
                Heard::NotListening { service } => return Err(not_listening(service)),
                Heard::Command(GuestCommand::Notice(notice)) => {
                    notice::write(Path::new(NOTICE_FILE), &notice)
                }
                Heard::Command(GuestCommand::NoticeOver) => notice::remove(Path::new(NOTICE_FILE)),
                Heard::Command(GuestCommand::CardChecked) => self.open_home(line)?,
                Heard::Command(GuestCommand::Terminate) => {
                    self.services.end_all();
                    line.hurry();
                }
                Heard::Command(GuestCommand::SetBandwidth { .. } | GuestCommand::OwnAddresses { .. })
                | Heard::Nothing => {}
            }
            if self.services.tend()? {
                return Ok(End::Asked);
            }
            if self.services.is_hopeless(Service::Jupyter) {
                self.hear(Service::Jupyter, false);
            }
        }
    }

    /// Starts what reads the tenant's home, once.
    fn open_home(&mut self, line: &Line) -> Result<(), End> {
        if std::mem::replace(&mut self.at_home, true) {
            return Ok(());
        }
        self.services.start(jupyter::recipe(&self.env))?;
        await_listening(Service::Jupyter, JUPYTER_PORT, line.sender());
        if let Some(model) = &self.boot.serve_model {
            // It comes when it comes: a model may have to be fetched first.
            self.services.start(model::recipe(model, &self.boot.jupyter_token, &self.env))?;
        }
        Ok(())
    }

    /// The tenant can log in as soon as SSH answers: what keeps Jupyter from coming up may lie in its home, and has to be
    /// reached to be put right.
    fn hear(&mut self, service: Service, answers: bool) {
        match self.known.hear(service, answers) {
            Some(News::Ready) => {
                // SSH is a service too: that it answers shows that what sets it apart did.
                report::event(&GuestEvent::WorkerReady {
                    ssh_host_key: self.ssh_host_key.clone(),
                    is_apart: self.services.are_apart(),
                });
            }
            Some(News::WithoutJupyter) => self.greet(true),
            Some(News::WithJupyter) => self.greet(false),
            None => {}
        }
    }

    fn greet(&self, without_jupyter: bool) {
        // A full disk is no reason to keep the tenant out.
        let _ = shared_folder::write(Path::new(GREETING_FILE), &greeting(&self.boot, without_jupyter));
    }
}

/// What is known of the services.
#[derive(Default)]
struct Known {
    is_ready: bool,
    /// Whether it has answered, once that is known. Later it is started again where it ends.
    jupyter: Option<bool>,
}

/// What somebody is to hear of.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Ready,
    WithoutJupyter,
    /// After all: it was frozen while it came up, say, or what kept it from that was put right.
    WithJupyter,
}

impl Known {
    fn hear(&mut self, service: Service, answers: bool) -> Option<News> {
        match service {
            Service::Ssh => {
                let was_ready = std::mem::replace(&mut self.is_ready, true);
                (!was_ready).then_some(News::Ready)
            }
            Service::Jupyter => match (self.jupyter, answers) {
                (Some(true), _) => None,
                (before, true) => {
                    self.jupyter = Some(true);
                    before.is_some().then_some(News::WithJupyter)
                }
                (before, false) => {
                    self.jupyter = Some(false);
                    before.is_none().then_some(News::WithoutJupyter)
                }
            },
            Service::Api | Service::Proxy | Service::Names => None,
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

fn greeting(boot: &WorkerBoot, without_jupyter: bool) -> String {
    let network = match boot.egress {
        EgressMode::Off => "none but this connection",
        EgressMode::Curated => "package indexes, model hubs and code hosts, by the proxy that is set",
        EgressMode::Open => "the public internet, without mail",
    };
    let jupyter = if without_jupyter { WITHOUT_JUPYTER } else { "" };
    format!(
        "\nNightjar, lease {}\n\
         This machine is lent by somebody who may take it back at any time: what is in {WORKSPACE} stays.\n\
         Before that, {NOTICE_FILE} says so. Network: {network}.\n{jupyter}",
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
    use super::*;

    fn boot() -> WorkerBoot {
        WorkerBoot {
            lease_id: "8e2f-1".to_owned(),
            authorized_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJhc2U2NA== someone".to_owned(),
            jupyter_token: "0123456789abcdef".to_owned(),
            egress: EgressMode::Curated,
            root_inside: false,
            serve_model: None,
            await_check: false,
            sandboxed: false,
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
    fn ssh_makes_a_worker_ready_and_a_jupyter_that_does_not_come_up_is_told_until_it_does() {
        let heard = |words: &[(Service, bool)]| {
            let mut known = Known::default();
            words.iter().filter_map(|(service, answers)| known.hear(*service, *answers)).collect::<Vec<_>>()
        };
        let (ssh, jupyter) = ((Service::Ssh, true), (Service::Jupyter, true));
        let (hopeless, api) = ((Service::Jupyter, false), (Service::Api, true));
        assert_eq!(heard(&[api, jupyter]), []);
        assert_eq!(heard(&[jupyter, ssh, hopeless]), [News::Ready]);
        assert_eq!(heard(&[hopeless, hopeless, ssh, ssh]), [News::WithoutJupyter, News::Ready]);
        let after_all = [hopeless, ssh, hopeless, jupyter, hopeless, jupyter];
        assert_eq!(heard(&after_all), [News::WithoutJupyter, News::Ready, News::WithJupyter]);
        let told = |without_jupyter| greeting(&boot(), without_jupyter).contains("jupyter.log");
        assert!(told(true) && !told(false));
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
