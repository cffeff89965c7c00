//! Drives the app's window through tauri-driver and WebKitWebDriver.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::desktop::Desktop;
use crate::process::{Process, wait_for};

/// A session with one app in it. The app ends with it.
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
        let process = Process::start(folder, "tauri-driver", &mut command)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        let mut window = Self {
            _driver: process,
            base: format!("http://127.0.0.1:{port}"),
            session: String::new(),
            client,
            runtime,
        };
        // tauri-driver listens before the native driver behind it does, and drops what comes in between.
        for port in [native, port] {
            wait_for("the drivers", Duration::from_secs(10), || {
                Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop))
            })?;
        }
        // WebKitWebDriver resets the connection without an empty firstMatch and this browser's name.
        let wanted = json!({"capabilities": {
            "firstMatch": [{}],
            "alwaysMatch": {"browserName": "wry", "tauri:options": {"application": app}},
        }});
        let answer = window.ask(reqwest::Method::POST, "/session", Some(&wanted))?;
        let session = answer["sessionId"].as_str().context("the driver opened no session")?;
        window.session = session.to_owned();
        Ok(window)
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

/// A port of the loopback that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
