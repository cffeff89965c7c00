//! The tray icon as a real desktop's panel draws it, XFCE's: seen in its pixels, and clicked with a mouse.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use nightjar_testbed::host::Host;
use nightjar_testbed::panel::{Button, HEIGHT, Icon, Panel};
use nightjar_testbed::process::wait_for;
use nightjar_testbed::stage::Room;

const SOON: Duration = Duration::from_secs(40);

fn until<T>(what: &str, look: impl FnMut() -> anyhow::Result<Option<T>>) -> T {
    wait_for(what, SOON, look).unwrap()
}

#[test]
fn a_real_panel_draws_the_icon_by_its_state_and_its_clicks_open_menu_and_window() {
    let room = Room::set().unwrap();
    let panel = Panel::start(&room.desktop).unwrap();
    assert!(panel.icon().unwrap().is_none(), "nothing is there yet");
    let mut app = Host::start_app(room.place().unwrap(), &["--hidden"]).unwrap();
    let is_whole = |icon: &Icon| icon.size().0 >= 12 && icon.size().1 >= 12;
    let icon = until("the icon", || Ok(panel.icon_at_rest()?.filter(is_whole)));
    let (width, height) = icon.size();
    println!("the panel draws an icon of {width} × {height} pixels");
    assert!(width <= usize::from(HEIGHT) && height <= usize::from(HEIGHT), "{width} × {height}");

    // It is out of order for want of an Engine, which a pause is not.
    app.around.owner(&["pause", "--for", "1h"]).unwrap();
    let paused =
        until("another picture", || Ok(panel.icon_at_rest()?.filter(|now| *now != icon && is_whole(now))));
    app.around.owner(&["resume"]).unwrap();
    until("the first picture", || Ok(panel.icon()?.filter(|now| *now == icon && *now != paused)));

    panel.click(&icon, Button::Right).unwrap();
    until("the menu", || Ok(panel.shows_menu()?.then_some(())));
    if let Some(folder) = std::env::var_os("NIGHTJAR_SCREENSHOTS") {
        room.desktop.screenshot(&std::path::Path::new(&folder).join("panel-menu.png")).unwrap();
    }
    // A key that comes before the menu has the keyboard is lost.
    until("the menu is gone", || {
        panel.escape()?;
        Ok((!panel.shows_menu()?).then_some(()))
    });
    assert!(room.desktop.windows("Nightjar").is_empty(), "the menu is all that was asked for");

    panel.click(&icon, Button::Left).unwrap();
    until("the window", || Ok((!room.desktop.windows("Nightjar").is_empty()).then_some(())));

    app.around.owner(&["quit"]).unwrap();
    until("the icon is gone", || Ok(panel.icon()?.is_none().then_some(())));
    until("it has ended", || Ok((!app.process.is_running()).then_some(())));
}
