//! What the parts of the app have in common.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nightjar_agent::AgentHandle;
use nightjar_protocol::invitation::InvitationError;
use nightjar_protocol::window::Invitation;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::engine::{self, Engine};
use crate::options::Options;
use crate::tray::Tray;
use crate::window::Window;

/// How often an open window is asked after, where only it stands against a new start.
const WINDOW_AGAIN: Duration = Duration::from_secs(2);

/// The app: made once, handed to every part.
pub struct App {
    pub engine: Engine,
    pub window: Window,
    /// Set once, where this desktop takes a tray icon.
    pub tray: OnceLock<Tray>,
    /// A desktop's event may come on a thread that is no part of the runtime.
    pub runtime: Handle,
    /// The main loop in which Windows' tray lives.
    #[cfg(not(target_os = "linux"))]
    pub main_loop: tauri::AppHandle,
    /// The link that was opened last, until the window asks for it.
    opened: Mutex<Option<Result<Invitation, InvitationError>>>,
    exit: watch::Sender<Option<u8>>,
}

impl App {
    pub fn new(runtime: Handle, #[cfg(not(target_os = "linux"))] main_loop: tauri::AppHandle) -> Arc<Self> {
        Arc::new(Self {
            engine: Engine::default(),
            window: Window::default(),
            tray: OnceLock::new(),
            runtime,
            #[cfg(not(target_os = "linux"))]
            main_loop,
            opened: Mutex::new(None),
            exit: watch::Sender::new(None),
        })
    }

    /// Lives until the host has ended or a part wants the end, and gives the program's exit code.
    pub async fn live(self: &Arc<Self>, options: Options) -> u8 {
        let mut asked = self.exit.subscribe();
        if let Some(link) = &options.link {
            self.invite(link);
        }
        tokio::select! {
            code = engine::run(self.clone(), options) => code,
            Ok(code) = asked.wait_for(Option::is_some) => code.unwrap_or(1),
        }
    }

    /// A link was opened: the window is to ask about it, or to say what is wrong with it.
    pub fn invite(&self, link: &str) {
        let read = Invitation::read(link);
        if let Err(error) = &read {
            tracing::warn!("a link is not taken: {error}");
        }
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    /// To be shown once.
    pub fn take_link(&self) -> Option<Result<Invitation, InvitationError>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Once the host wants it, no job runs and no window is open.
    pub async fn begin_anew(&self, host: &AgentHandle) {
        loop {
            host.restart_due().await;
            if !self.window.is_open() {
                break;
            }
            tokio::time::sleep(WINDOW_AGAIN).await;
        }
        tracing::info!("begins anew: a newer version lies in its place, or the clock was set");
        host.restart().await;
    }

    /// Ends the program with this code. For where no host runs: one that does is shut down first.
    pub fn exit(&self, code: u8) {
        self.exit.send_replace(Some(code));
    }
}
