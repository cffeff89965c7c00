//! Drives a page: the app's window through tauri-driver and WebKitWebDriver, or a browser through its driver.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::desktop::Desktop;
use crate::process::{Process, wait_for};

/// A session with one app or browser in it, which ends with it.
pub struct Window {
    _driver: Process,
    base: String,
    session: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Window {
    /// Starts `app` with the environment that `prepare` gives to the driver, which hands it on.
    ///
    /// # Errors
    /// When driver or app do not come up; the driver's log is in the error.
    pub fn open(
        folder: &Path,
        desktop: &Desktop,
        driver: &Path,
        app: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let (port, native) = (free_port()?, free_port()?);
        let mut command = Command::new(driver);
        command.args(["--port", &port.to_string(), "--native-port", &native.to_string()]);
        desktop.enter(&mut command);
        prepare(&mut command);
        // WebKitWebDriver resets the connection without this browser's name.
        let wanted = json!({"browserName": "wry", "tauri:options": {"application": app}});
        // tauri-driver listens before the native driver behind it does, and drops what comes in between.
        Self::start(folder, "tauri-driver", &mut command, &[native, port], wanted)
    }

    /// Opens `address` in Chromium without a screen, in a profile of its own in `folder`.
    ///
    /// # Errors
    /// When driver or browser do not come up, or the address cannot be opened.
    pub fn browse(folder: &Path, address: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let profile = folder.join(format!("chromium-{port}"));
        std::fs::create_dir_all(&profile)?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", &profile).env("TZ", "Asia/Shanghai");
        let arguments = [
            String::from("--headless=new"),
            // It asks nobody but the page's own server.
            String::from("--disable-background-networking"),
            String::from("--disable-component-update"),
            String::from("--no-first-run"),
            String::from("--no-default-browser-check"),
            String::from("--force-device-scale-factor=1"),
            String::from("--hide-scrollbars"),
            // Its sandbox cannot be had in a container as root; the page is ours.
            String::from("--no-sandbox"),
            format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({"browserName": "chrome", "goog:chromeOptions": {"args": arguments}});
        let window = Self::start(folder, "chromedriver", &mut command, &[port], wanted)?;
        window.go(address)?;
        Ok(window)
    }

    /// Starts a driver, waits until it listens on each of `ports`, and opens a session by the last.
    fn start(
        folder: &Path,
        name: &str,
        command: &mut Command,
        ports: &[u16],
        wanted: Value,
    ) -> anyhow::Result<Self> {
        let process = Process::start(folder, name, command)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        for port in ports {
            wait_for("the drivers", Duration::from_secs(40), || {
                Ok(std::net::TcpStream::connect(("127.0.0.1", *port)).ok().map(drop))
            })?;
        }
        let base = format!("http://127.0.0.1:{}", ports.last().context("a driver has a port")?);
        let mut window = Self { _driver: process, base, session: String::new(), client, runtime };
        // WebKitWebDriver wants an empty firstMatch, too.
        let wanted = json!({"capabilities": {"firstMatch": [{}], "alwaysMatch": wanted}});
        let answer = window.ask(reqwest::Method::POST, "/session", Some(&wanted))?;
        let session = answer["sessionId"].as_str().context("the driver opened no session")?;
        window.session = session.to_owned();
        Ok(window)
    }

    /// What a script gives to the function that is its only argument, within half a minute.
    ///
    /// # Errors
    /// When the script fails or gives nothing.
    pub fn run_later(&self, script: &str) -> anyhow::Result<Value> {
        let body = json!({"script": script, "args": []});
        self.ask(reqwest::Method::POST, &format!("/session/{}/execute/async", self.session), Some(&body))
    }

    /// What the page complains of, but for the Engine that a room without one does not have.
    ///
    /// # Errors
    /// When the page is gone.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let alerts =
            self.run("return [...document.querySelectorAll('[role=alert]')].map(alert => alert.innerText)")?;
        let alerts: Vec<String> = serde_json::from_value(alerts)?;
        Ok(alerts.into_iter().filter(|alert| !alert.contains("no-docker.sock")).collect())
    }

    /// What axe finds wrong with the page, by its own source.
    ///
    /// # Errors
    /// When axe cannot be run.
    pub fn violations(&self, axe: &str) -> anyhow::Result<Vec<String>> {
        self.run(axe)?;
        let found = self.run_later(
            "const done = arguments[0]; axe.run().then(found => done(found.violations.map(one => \
             `${one.id}: ${one.nodes.map(node => node.html).join(' | ')}`)), error => done([`${error}`]))",
        )?;
        Ok(serde_json::from_value(found)?)
    }

    /// # Errors
    /// When the address cannot be opened.
    pub fn go(&self, address: &str) -> anyhow::Result<()> {
        let path = format!("/session/{}/url", self.session);
        self.ask(reqwest::Method::POST, &path, Some(&json!({"url": address}))).map(drop)
    }

    /// Presses keys one after the other, and lets go of them the other way round; `\u{e004}` is Tab, `\u{e006}` Enter,
    /// `\u{e00a}` Alt.
    ///
    /// # Errors
    /// When the driver does not take them.
    pub fn press(&self, keys: &str) -> anyhow::Result<()> {
        let down = keys.chars().map(|key| json!({"type": "keyDown", "value": key}));
        let up = keys.chars().rev().map(|key| json!({"type": "keyUp", "value": key}));
        let steps: Vec<Value> = down.chain(up).collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": steps}]});
        let path = format!("/session/{}/actions", self.session);
        self.ask(reqwest::Method::POST, &path, Some(&actions)).map(drop)
    }

    /// What a script in the page returns.
    ///
    /// # Errors
    /// When the script fails.
    pub fn run(&self, script: &str) -> anyhow::Result<Value> {
        let body = json!({"script": script, "args": []});
        self.ask(reqwest::Method::POST, &format!("/session/{}/execute/sync", self.session), Some(&body))
    }

    /// The text of the element with this test id.
    ///
    /// # Errors
    /// When the page has no such element.
    pub fn text(&self, test_id: &str) -> anyhow::Result<String> {
        let found = self.run(&format!(
            "const e = document.querySelector('[data-testid=\"{test_id}\"]'); return e ? e.innerText : null;"
        ))?;
        found.as_str().map(str::to_owned).with_context(|| format!("the page has no element {test_id}"))
    }

    /// Clicks the element with this test id as a user would.
    ///
    /// # Errors
    /// When it is not there or cannot be clicked.
    pub fn click(&self, test_id: &str) -> anyhow::Result<()> {
        let body = json!({"using": "css selector", "value": format!("[data-testid=\"{test_id}\"]")});
        let session = &self.session;
        let found = self.ask(reqwest::Method::POST, &format!("/session/{session}/element"), Some(&body))?;
        let element = found.as_object().and_then(|o| o.values().next()).and_then(Value::as_str);
        let element = element.with_context(|| format!("the page has no element {test_id}"))?;
        let path = format!("/session/{session}/element/{element}/click");
        self.ask(reqwest::Method::POST, &path, Some(&json!({}))).map(drop)
    }

    /// The page as it is drawn, as PNG.
    ///
    /// # Errors
    /// When it cannot be taken or written.
    pub fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let taken = self.ask(reqwest::Method::GET, &format!("/session/{}/screenshot", self.session), None)?;
        let picture =
            data_encoding::BASE64.decode(taken.as_str().context("the driver gave no picture")?.as_bytes())?;
        std::fs::write(path, picture).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// # Errors
    /// When the driver does not answer.
    pub fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let path = format!("/session/{}/window/rect", self.session);
        let size = json!({"width": width, "height": height});
        self.ask(reqwest::Method::POST, &path, Some(&size)).map(drop)
    }

    /// The page's own size in a browser, whatever its window's frame takes.
    ///
    /// # Errors
    /// When the driver is not Chromium's.
    pub fn viewport(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let order = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size});
        let path = format!("/session/{}/goog/cdp/execute", self.session);
        self.ask(reqwest::Method::POST, &path, Some(&order)).map(drop)
    }

    fn ask(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            let mut request = self.client.request(method, format!("{}{path}", self.base));
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer: Value = request.send().await?.json().await?;
            let value = answer["value"].clone();
            if value.get("error").is_some() {
                bail!("the driver answers {value}");
            }
            Ok(value)
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.ask(reqwest::Method::DELETE, &format!("/session/{}", self.session), None);
        }
    }
}

/// Whether Chromium and its driver are installed; says so where they are not.
#[must_use]
pub fn has_chromium() -> bool {
    let there = ["/usr/bin/chromium", "/usr/bin/chromedriver"].iter().all(|path| Path::new(path).exists());
    if !there {
        println!("SKIPPED: chromium and chromedriver are not installed; `cargo xtask setup` installs them");
    }
    there
}

/// A port of the loopback that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
