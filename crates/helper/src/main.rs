//! `nightjar-helper`: a root service; see the library's text.

#[cfg(target_os = "linux")]
mod linux {
    use std::path::PathBuf;
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
    }

    pub fn main() -> anyhow::Result<()> {
        let arguments = Arguments::parse();
        // The journal adds the time.
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut term, mut int) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let listener = listener(arguments.socket.as_deref())?;
        let desk = Arc::new(Desk::open(Box::new(Driver), Memory::open(&arguments.state_dir)?));
        let server =
            Server::new(desk.clone(), Guards::new(Cgroups::at(&arguments.cgroups)), PathBuf::from("/"));
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

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!(
        "nightjar-helper is a service of Linux; on this system Nightjar lends a card with the power limit that it has"
    )
}
