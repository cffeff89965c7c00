//! A desktop without a screen: X server, session bus, window manager, notification daemon and an unlocked keyring, all
//! its own, all ended by process id.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, MOTION_NOTIFY_EVENT,
    PropMode, WindowClass,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::process::{Process, output, wait_for};

/// Often against any time after which an owner counts as away.
const TWITCH_EVERY: Duration = Duration::from_millis(200);

/// The order of the fields is the order of the end: clients before their servers.
pub struct Desktop {
    clients: Vec<Process>,
    servers: Vec<Process>,
    display: String,
    bus_address: String,
    home: PathBuf,
    folder: PathBuf,
}

impl Desktop {
    /// # Errors
    /// When a part of it does not come up; the message names it.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("desktop");
        let home = folder.join("home");
        for part in ["home/.config", "home/.cache", "home/.local/share/keyrings", "run"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        std::fs::set_permissions(folder.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let (server, display) = start_x(&folder)?;
        let bus_address = format!("unix:path={}", folder.join("run/bus").display());
        let bus = Process::start(
            &folder,
            "dbus",
            Command::new("dbus-daemon").args([
                "--session",
                "--nofork",
                "--nopidfile",
                "--address",
                &bus_address,
            ]),
        )?;
        let mut desktop =
            Self { clients: Vec::new(), servers: vec![bus, server], display, bus_address, home, folder };
        wait_for("the session bus", Duration::from_secs(10), || {
            Ok(desktop.folder.join("run/bus").exists().then_some(()))
        })?;
        desktop.start_clients()?;
        Ok(desktop)
    }

    fn start_clients(&mut self) -> anyhow::Result<()> {
        let mut openbox = Command::new("openbox");
        self.enter(&mut openbox);
        // A server without clients resets its idle counter; a window manager stays connected.
        self.clients.push(Process::start(&self.folder, "openbox", &mut openbox)?);
        self.configure_dunst()?;
        let mut dunst = Command::new("dunst");
        self.enter(dunst.arg("-print"));
        self.clients.push(Process::start(&self.folder, "dunst", &mut dunst)?);
        // Started unlocked: one that the bus starts by itself would wait for a password that nobody types.
        let password = self.folder.join("keyring-password");
        std::fs::File::create(&password)?.write_all(b"test")?;
        let mut keyring = Command::new("sh");
        keyring.arg("-c").arg("exec gnome-keyring-daemon --unlock --foreground --components=secrets <\"$0\"");
        self.enter(keyring.arg(&password));
        self.clients.push(Process::start(&self.folder, "keyring", &mut keyring)?);
        for name in ["org.freedesktop.Notifications", "org.freedesktop.secrets"] {
            wait_for(name, Duration::from_secs(15), || Ok(self.owns(name).then_some(())))?;
        }
        Ok(())
    }

    /// A notification stays until somebody answers it. Its buttons are a menu that [`Self::press`] chooses from.
    fn configure_dunst(&self) -> anyhow::Result<()> {
        let chooser = self.folder.join("choose");
        let wanted = self.folder.join("wanted-button");
        std::fs::write(
            &chooser,
            format!("#!/bin/sh\ngrep --max-count=1 --fixed-strings --file='{}'\n", wanted.display()),
        )?;
        std::fs::set_permissions(&chooser, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let settings = format!("[global]\ndmenu = {}\n[urgency_normal]\ntimeout = 0\n", chooser.display());
        let folder = self.home.join(".config/dunst");
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join("dunstrc"), settings)?)
    }

    /// Presses the button with this label of the notifications that are shown, as their owner would.
    ///
    /// # Errors
    /// When the notification daemon does not answer.
    pub fn press(&self, label: &str) -> anyhow::Result<()> {
        std::fs::write(self.folder.join("wanted-button"), format!("{label}\n"))?;
        self.dunst(&["context"]).map(drop)
    }

    /// Whether notifications wait until this is off again.
    ///
    /// # Errors
    /// When the notification daemon does not answer.
    pub fn do_not_disturb(&self, on: bool) -> anyhow::Result<()> {
        self.dunst(&["set-paused", if on { "true" } else { "false" }]).map(drop)
    }

    /// How many notifications stand on the screen, and how many wait until they may.
    ///
    /// # Errors
    /// When the notification daemon does not answer.
    pub fn notifications_now(&self) -> anyhow::Result<(u32, u32)> {
        let count = |which: &str| anyhow::Ok(self.dunst(&["count", which])?.trim().parse()?);
        Ok((count("displayed")?, count("waiting")?))
    }

    fn dunst(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut control = Command::new("dunstctl");
        self.enter(control.args(args));
        output(&mut control)
    }

    /// A window over the whole screen, as a film's. It goes with what is returned.
    ///
    /// # Errors
    /// When the X server is gone, or the window manager does not make it the active window.
    pub fn full_screen(&self, title: &str) -> anyhow::Result<RustConnection> {
        let (connection, screen) = RustConnection::connect(Some(&self.display))?;
        let root = connection.setup().roots[screen].root;
        let atom = |name: &str| anyhow::Ok(connection.intern_atom(false, name.as_bytes())?.reply()?.atom);
        let (name, utf8) = (atom("_NET_WM_NAME")?, atom("UTF8_STRING")?);
        let (state, full) = (atom("_NET_WM_STATE")?, atom("_NET_WM_STATE_FULLSCREEN")?);
        let active = atom("_NET_ACTIVE_WINDOW")?;
        let window = connection.generate_id()?;
        let (depth, visual) = (x11rb::COPY_DEPTH_FROM_PARENT, x11rb::COPY_FROM_PARENT);
        let (class, plain) = (WindowClass::INPUT_OUTPUT, CreateWindowAux::new());
        connection.create_window(depth, window, root, 0, 0, 200, 100, 0, class, visual, &plain)?;
        connection.change_property8(PropMode::REPLACE, window, name, utf8, title.as_bytes())?;
        connection.map_window(window)?;
        let ask = |what, data: [u32; 5]| {
            let message = ClientMessageEvent::new(32, window, what, data);
            let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
            connection.send_event(false, root, mask, message)?;
            anyhow::Ok(connection.flush()?)
        };
        // A window manager need not make a window that comes the active one; its owner's click in the task bar does.
        wait_for("the window to be the active one", Duration::from_secs(20), || {
            ask(active, [2, 0, 0, 0, 0])?;
            let now = connection.get_property(false, root, active, AtomEnum::WINDOW, 0, 1)?.reply()?;
            Ok(now.value32().and_then(|mut value| value.next()).filter(|found| *found == window).map(drop))
        })?;
        ask(state, [1, full, 0, 1, 0])?;
        Ok(connection)
    }

    /// Whether somebody has this name on the session bus.
    #[must_use]
    pub fn owns(&self, name: &str) -> bool {
        let mut ask = Command::new("dbus-send");
        self.enter(&mut ask);
        ask.args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/",
            "org.freedesktop.DBus.NameHasOwner",
        ]);
        ask.arg(format!("string:{name}"));
        output(&mut ask).is_ok_and(|answer| answer.contains("boolean true"))
    }

    /// The session that this program was started in, where there is one: nothing is started, nothing is ended.
    #[must_use]
    pub fn of_the_user() -> Option<Self> {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (display, bus_address) = (given("DISPLAY")?, given("DBUS_SESSION_BUS_ADDRESS")?);
        Mouse::connect(&display).ok()?;
        let (home, folder) = (given("HOME")?.into(), given("XDG_RUNTIME_DIR")?.into());
        Some(Self { clients: Vec::new(), servers: Vec::new(), display, bus_address, home, folder })
    }

    /// It was started here, and is not somebody's own.
    #[must_use]
    pub fn is_private(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Puts a program onto this desktop.
    pub fn enter(&self, command: &mut Command) {
        if !self.is_private() {
            return;
        }
        let in_home = |part: &str| self.home.join(part);
        command
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus_address)
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", self.folder.join("run"))
            .env("XDG_CONFIG_HOME", in_home(".config"))
            .env("XDG_CACHE_HOME", in_home(".cache"))
            .env("XDG_DATA_HOME", in_home(".local/share"))
            .env("XDG_SESSION_TYPE", "x11")
            .env("GDK_BACKEND", "x11")
            .env("LIBGL_ALWAYS_SOFTWARE", "1")
            .env("NO_AT_BRIDGE", "1")
            .env("GTK_A11Y", "none")
            .env_remove("WAYLAND_DISPLAY");
    }

    /// Where its sockets lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    #[must_use]
    pub fn bus_address(&self) -> &str {
        &self.bus_address
    }

    /// As a log-out ends it for programs that are told nothing: the X server is gone.
    ///
    /// # Errors
    /// When the server does not end.
    pub fn log_out(&mut self) -> anyhow::Result<()> {
        self.servers.last_mut().context("this session is somebody's own")?.terminate(Duration::from_secs(10))
    }

    /// How many notifications with this title the daemon was given.
    #[must_use]
    pub fn notified(&self, title: &str) -> usize {
        self.notifications().matches(&format!("summary: '{title}'")).count()
    }

    /// What the notification daemon has shown.
    #[must_use]
    pub fn notifications(&self) -> String {
        std::fs::read_to_string(self.folder.join("dunst.log")).unwrap_or_default()
    }

    /// # Errors
    /// When the X server is gone.
    pub fn mouse(&self) -> anyhow::Result<Mouse> {
        Mouse::connect(&self.display)
    }

    /// Ids of the windows that the window manager shows with `name` in their title.
    #[must_use]
    pub fn windows(&self, name: &str) -> Vec<String> {
        let mut list = Command::new("wmctrl");
        self.enter(list.arg("-l"));
        let listed = output(&mut list).unwrap_or_default();
        let named = listed.lines().filter(|line| line.contains(name));
        named.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// As its owner does with the button in its corner.
    ///
    /// # Errors
    /// When there is no window manager.
    pub fn close(&self, window: &str) -> anyhow::Result<()> {
        let mut close = Command::new("wmctrl");
        self.enter(close.args(["-i", "-c", window]));
        output(&mut close).map(drop)
    }

    /// # Errors
    /// When there is no such window.
    pub fn minimise(&self, window: &str) -> anyhow::Result<()> {
        let mut minimise = Command::new("xdotool");
        self.enter(minimise.args(["windowminimize", window]));
        output(&mut minimise).map(drop)
    }

    /// The whole screen as PNG.
    ///
    /// # Errors
    /// When the picture cannot be taken.
    pub fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let mut import = Command::new("import");
        self.enter(&mut import);
        output(import.args(["-window", "root"]).arg(path)).map(drop)
    }
}

fn start_x(folder: &Path) -> anyhow::Result<(Process, String)> {
    let mut command = Command::new("Xvfb");
    command.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"]);
    let (server, mut said) = Process::start_piped(folder, "xvfb", &mut command)?;
    let number = crate::process::line(&mut said).context("the X server does not start")?;
    Ok((server, format!(":{number}")))
}

/// A hand on the mouse of one display: input of its own by XTEST, without starting a program for it.
pub struct Mouse {
    connection: RustConnection,
    root: u32,
    at_left: bool,
}

impl Mouse {
    /// # Errors
    /// When there is no such display.
    pub fn connect(display: &str) -> anyhow::Result<Self> {
        let (connection, screen) = RustConnection::connect(Some(display))?;
        let root = connection.setup().roots[screen].root;
        Ok(Self { connection, root, at_left: false })
    }

    /// Moves the pointer by a few pixels. It has happened when this returns.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn twitch(&mut self) -> anyhow::Result<()> {
        self.at_left = !self.at_left;
        let x = if self.at_left { 300 } else { 310 };
        self.connection.xtest_fake_input(MOTION_NOTIFY_EVENT, 0, 0, self.root, x, 300, 0)?;
        // An answer to a later question says that the motion was carried out.
        self.connection.get_input_focus()?.reply()?;
        Ok(())
    }

    /// Twitches at once and again and again, whatever the test waits for meanwhile.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn stays(mut self) -> anyhow::Result<Staying> {
        self.twitch()?;
        let (until, over) = channel::<()>();
        std::thread::spawn(move || {
            while over.recv_timeout(TWITCH_EVERY) == Err(RecvTimeoutError::Timeout) && self.twitch().is_ok() {
            }
        });
        Ok(Staying { _until: until })
    }
}

/// A hand that stays on the mouse. It leaves with this value.
pub struct Staying {
    _until: Sender<()>,
}
