//! The one window. It is made when it is asked for and destroyed when it closes, so that nothing of a browser runs beside
//! a game.

use nightjar_protocol::text::Texts;
use tauri::webview::PageLoadEvent;
use tauri::{AppHandle, Manager, WebviewUrl, WebviewWindowBuilder, WindowEvent};

use crate::engine::Engine;

pub const LABEL: &str = "main";

pub fn is_open(app: &AppHandle) -> bool {
    app.get_webview_window(LABEL).is_some()
}

/// Shows the window, or brings the one that is there to the front.
pub fn open(app: &AppHandle) {
    let app = app.clone();
    // On Windows a window that is made inside an event handler blocks the event loop.
    tauri::async_runtime::spawn(async move {
        let shown = match app.get_webview_window(LABEL) {
            Some(window) => {
                window.unminimize().and_then(|()| window.show()).and_then(|()| window.set_focus())
            }
            None => build(&app),
        };
        if let Err(error) = shown {
            tracing::error!("the window cannot be shown: {error}");
        }
    });
}

fn build(app: &AppHandle) -> tauri::Result<()> {
    let host = app.state::<Engine>().host_now();
    let title = host.as_ref().map_or_else(
        || String::from("Nightjar"),
        |host| Texts::of(host.view().borrow().language).plain("ui-title"),
    );
    let window = WebviewWindowBuilder::new(app, LABEL, WebviewUrl::default())
        .title(title)
        .inner_size(900.0, 660.0)
        .min_inner_size(720.0, 480.0)
        // The page is the app's own; nothing in it leads elsewhere.
        .on_navigation(|url| url.scheme() == "tauri" || url.host_str() == Some("tauri.localhost"))
        .on_page_load(|_, load| {
            if load.event() == PageLoadEvent::Finished {
                tracing::debug!("the window's page is loaded");
            }
        })
        .build()?;
    let Some(host) = host else { return Ok(()) };
    host.window_open(true);
    window.on_window_event(move |event| {
        if let WindowEvent::Destroyed = event {
            host.window_open(false);
        }
    });
    Ok(())
}
