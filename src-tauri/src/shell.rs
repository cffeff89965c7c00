//! The desktop's side of the app: what runs it, until the owner quits or the session ends.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod session;
#[cfg(not(target_os = "linux"))]
mod tauri_loop;

#[cfg(target_os = "linux")]
pub use linux::run;
#[cfg(target_os = "linux")]
pub use session::Session;
#[cfg(not(target_os = "linux"))]
pub use tauri_loop::run;

/// Windows tells of a session's end in its main loop.
#[cfg(not(target_os = "linux"))]
pub struct Session;

#[cfg(not(target_os = "linux"))]
impl Session {
    pub async fn watch() -> Self {
        Self
    }

    pub async fn over(self) {
        std::future::pending().await
    }
}
