//! `nightjar-helper`: a root service; see the library's text.

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use clap::Parser;
    use nightjar_helper::cgroup::Cgroups;
    use nightjar_helper::desk::{Desk, Driver};
    use nightjar_helper::guards::Guards;
    use nightjar_helper::listen::listener;
    use nightjar_helper::memory::Memory;
    use nightjar_helper::server::Server;
    use tokio::signal::unix::{SignalKind, signal};

    /// Sets power limits for Nightjar and puts them back, and freezes or ends a worker whose Docker Engine or host is gone.
    #[derive(Parser, Debug)]
    #[command(name = "nightjar-helper", version)]
    struct Arguments {
        /// Listen here instead of on the socket that systemd hands over
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Remember in this folder what has to be put back after a crash
        #[arg(
            long,
            value_name = "FOLDER",
            env = "STATE_DIRECTORY",
            default_value = "/var/lib/nightjar-helper"
        )]
        state_dir: PathBuf,
        /// The kernel's control groups
        #[arg(long, value_name = "FOLDER", default_value = "/sys/fs/cgroup", hide = true)]
        cgroups: PathBuf,
        /// Do nothing but end those of Nightjar's jobs that stand frozen, as before the package is removed
        #[arg(long)]
        end_frozen: bool,
    }

    /// Without a helper nobody could thaw them.
    fn end_frozen(cgroups: &Cgroups, proc: &Path) -> anyhow::Result<()> {
        let mut failed = None;
        for id in cgroups.frozen_ones(proc) {
            match cgroups.end(&id) {
                Ok(()) => tracing::info!(%id, "it stood frozen, and was ended"),
                Err(error) => {
                    tracing::error!(%id, "it stands frozen, and is not ended: {error}");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    pub fn main() -> anyhow::Result<()> {
        let arguments = Arguments::parse();
        // The journal adds the time.
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
        let (cgroups, proc) = (Cgroups::at(&arguments.cgroups), Path::new("/proc"));
        if arguments.end_frozen {
            return end_frozen(&cgroups, proc);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut term, mut int) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let listener = listener(arguments.socket.as_deref())?;
        let desk = Arc::new(Desk::open(Box::new(Driver), Memory::open(&arguments.state_dir)?));
        let guards = Guards::new(cgroups, proc);
        let server = Server::new(desk.clone(), guards, PathBuf::from("/"));
        let keeping = desk.clone();
        let keeper = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || keeping.keep())?;
        let (failed, failure) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("listener".to_owned()).spawn(move || {
            let _ = failed.send(server.run(&listener));
        })?;
        tracing::info!("ready");
        let ended = runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => Ok(()),
                _ = int.recv() => Ok(()),
                failure = failure => failure.unwrap_or(Ok(())),
            }
        });
        desk.close();
        let _ = keeper.join();
        tracing::info!("every limit is put back; ended");
        Ok(ended?)
    }
}

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    linux::main()
}

#[cfg(windows)]
mod windows {
    use std::ffi::OsString;
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use anyhow::Context;
    use clap::{Parser, Subcommand};
    use nightjar_helper::desk::{Desk, Driver};
    use nightjar_helper::memory::Memory;
    use nightjar_helper::windows::{SERVICE, serve, state_dir};
    use tokio::sync::Notify;
    use windows_service::service::{
        ServiceAccess, ServiceControl, ServiceControlAccept, ServiceErrorControl, ServiceExitCode,
        ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
    };
    use windows_service::service_control_handler::{ServiceControlHandlerResult, register};
    use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
    use windows_service::{define_windows_service, service_dispatcher};

    /// Sets power limits for Nightjar and puts them back. Without a command it is the service itself.
    #[derive(Parser, Debug)]
    #[command(name = "nightjar-helper", version)]
    struct Arguments {
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Subcommand, Debug)]
    enum Command {
        /// Make the service and start it; an administrator's command
        Install,
        /// Stop the service and remove it; what it has set is put back
        Uninstall,
    }

    pub fn main() -> anyhow::Result<()> {
        match Arguments::parse().command {
            None => service_dispatcher::start(SERVICE, service_main).context(
                "Windows starts this program as a service; `nightjar-helper install` makes one of it",
            ),
            Some(Command::Install) => install(),
            Some(Command::Uninstall) => uninstall(),
        }
    }

    fn install() -> anyhow::Result<()> {
        let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
        let manager = ServiceManager::local_computer(None::<&str>, access)
            .context("services are an administrator's to make: run this in an administrator's terminal")?;
        let info = ServiceInfo {
            name: OsString::from(SERVICE),
            display_name: OsString::from("Nightjar's helper"),
            service_type: ServiceType::OWN_PROCESS,
            // Before anybody has logged in, so that nobody else can take the pipe's name.
            start_type: ServiceStartType::AutoStart,
            error_control: ServiceErrorControl::Normal,
            executable_path: std::env::current_exe()?,
            launch_arguments: Vec::new(),
            dependencies: Vec::new(),
            // LocalSystem.
            account_name: None,
            account_password: None,
        };
        let service = manager.create_service(&info, ServiceAccess::CHANGE_CONFIG | ServiceAccess::START)?;
        service
            .set_description("Sets a card's power limit while it is rented, and puts back what was there.")?;
        service.start::<&str>(&[])?;
        println!("the service {SERVICE} is installed and runs");
        Ok(())
    }

    fn uninstall() -> anyhow::Result<()> {
        let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?;
        let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
        let service = manager.open_service(SERVICE, access).context("there is no such service to remove")?;
        service.delete()?;
        if service.query_status()?.current_state != ServiceState::Stopped {
            service.stop()?;
        }
        println!("the service {SERVICE} is removed");
        Ok(())
    }

    define_windows_service!(service_main, in_service);

    fn in_service(_: Vec<OsString>) {
        // A service has no terminal: what it says goes to a file beside its state.
        let log = state_dir().and_then(|folder| {
            std::fs::create_dir_all(&folder)?;
            File::create(folder.join("helper.log")).map(|file| (folder, file))
        });
        let Ok((folder, file)) = log else { return };
        tracing_subscriber::fmt().with_writer(Mutex::new(file)).with_ansi(false).init();
        if let Err(error) = run(folder) {
            tracing::error!("the service ended: {error:#}");
        }
    }

    fn run(folder: PathBuf) -> anyhow::Result<()> {
        let asked = Arc::new(Notify::new());
        let ending = asked.clone();
        let status = register(SERVICE, move |control| match control {
            ServiceControl::Stop | ServiceControl::Shutdown => {
                ending.notify_one();
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            _ => ServiceControlHandlerResult::NotImplemented,
        })?;
        let say = |state: ServiceState, code: u32| {
            status.set_service_status(ServiceStatus {
                service_type: ServiceType::OWN_PROCESS,
                current_state: state,
                controls_accepted: ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
                exit_code: ServiceExitCode::Win32(code),
                checkpoint: 0,
                wait_hint: Duration::from_secs(15),
                process_id: None,
            })
        };
        let desk = Arc::new(Desk::open(Box::new(Driver), Memory::open(&folder)?));
        let keeping = desk.clone();
        let keeper = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || keeping.keep())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        say(ServiceState::Running, 0)?;
        let ended = runtime.block_on(async {
            tokio::select! {
                () = asked.notified() => Ok(()),
                served = serve(desk.clone()) => served,
            }
        });
        desk.close();
        let _ = keeper.join();
        tracing::info!("every limit is put back; ended");
        say(ServiceState::Stopped, u32::from(ended.is_err()))?;
        Ok(ended?)
    }
}

#[cfg(windows)]
fn main() -> anyhow::Result<()> {
    windows::main()
}

#[cfg(not(any(target_os = "linux", windows)))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!(
        "nightjar-helper is a service of Linux and Windows; on this system Nightjar lends a card with the power limit that it has"
    )
}
