//! Linux: no main loop of a toolkit, only the runtime. Tray, notifications and the second start are D-Bus.

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, Weak};

use anyhow::Context;
use nightjar_agent::update::begin_anew;
use nightjar_desktop::runtime;
use zbus::zvariant::OwnedValue;

use crate::app::App;
use crate::options::{ANEW, Options};
use crate::window;

/// The app's name on the session's bus: who has it is the app that runs.
const NAME: &str = "app.nightjar.desktop";
const PATH: &str = "/app/nightjar/desktop";
const INTERFACE: &str = "org.freedesktop.Application";

/// Runs until the owner quits, or the host could not be started and its window was closed.
///
/// # Errors
/// When there is no desktop to show anything on.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    require_display()?;
    let runtime = runtime()?;
    let app = App::new(runtime.handle().clone());
    let code = runtime.block_on(async {
        match claim(&app).await {
            // Its name is held as long as its connection.
            Ok(Claim::First(bus)) => {
                let code = app.live(options).await;
                // Whoever starts next is the first again.
                drop(bus.release_name(NAME).await);
                Ok(code)
            }
            Ok(Claim::Second) if options.hidden => Ok(0),
            Ok(Claim::Second) => show_first(options.link).await.map(|()| 0),
            Err(error) => {
                tracing::warn!("without a session bus a second start is not noticed: {error:#}");
                Ok(app.live(options).await)
            }
        }
    })?;
    // What still runs has nothing left to do; a blocked notification must not hold the end up.
    runtime.shutdown_background();
    // With the right time, and as the version that lies in its place by now.
    if app.engine.host_now().is_some_and(|host| host.begins_anew()) {
        // Nobody looked when it ended, and nobody asked for a window.
        return Err(begin_anew([OsString::from(ANEW)].into_iter()).into());
    }
    Ok(ExitCode::from(code))
}

enum Claim {
    First(zbus::Connection),
    /// The app runs already.
    Second,
}

async fn claim(app: &Arc<App>) -> zbus::Result<Claim> {
    let builder = zbus::connection::Builder::session()?
        .serve_at(PATH, Started { app: Arc::downgrade(app) })?
        .name(NAME)?
        .allow_name_replacements(false)
        .replace_existing_names(false);
    match builder.build().await {
        Ok(bus) => Ok(Claim::First(bus)),
        Err(zbus::Error::NameTaken) => Ok(Claim::Second),
        Err(error) => Err(error),
    }
}

/// The owner looks for the window of the app that runs, or has opened a link.
async fn show_first(link: Option<String>) -> anyhow::Result<()> {
    let ask = async {
        let bus = zbus::Connection::session().await?;
        let nothing_else: HashMap<&str, OwnedValue> = HashMap::new();
        match link {
            Some(link) => {
                bus.call_method(Some(NAME), PATH, Some(INTERFACE), "Open", &(vec![link], nothing_else)).await
            }
            None => bus.call_method(Some(NAME), PATH, Some(INTERFACE), "Activate", &nothing_else).await,
        }
    };
    ask.await.map(drop).context("Nightjar runs already and does not show its window")
}

/// What another start says to the app that runs.
struct Started {
    app: Weak<App>,
}

#[zbus::interface(name = "org.freedesktop.Application")]
impl Started {
    fn activate(&self, _platform_data: HashMap<String, OwnedValue>) {
        if let Some(app) = self.app.upgrade() {
            window::open(&app);
        }
    }

    fn open(&self, links: Vec<String>, _platform_data: HashMap<String, OwnedValue>) {
        if let Some(app) = self.app.upgrade() {
            // One at a time: a second would only hide the first.
            if let Some(link) = links.first() {
                app.invite(link);
            }
            window::open(&app);
        }
    }
}

/// Nothing shows a tray icon, a window or a notification where there is no display.
fn require_display() -> anyhow::Result<()> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    anyhow::ensure!(
        set("DISPLAY") || set("WAYLAND_DISPLAY"),
        "this session has no display (DISPLAY and WAYLAND_DISPLAY are empty); on a PC without a desktop use `nightjar host`"
    );
    Ok(())
}
