//! Packages without root: an ordinary tenant's `pip` fetches from an index through the gateway's egress, installs what it
//! finds, and the programs and modules of it are there, in the next lease too.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::internet::{self, Turned};
use nightjar_testbed::process::{output, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";
const INDEX: Ipv4Addr = internet::ADDRESS;
/// A wheel as any build makes it: a module, and a program that calls it.
const MAKE_WHEEL: &str = r#"
import base64, hashlib, sys, zipfile
info = "nightjar_sample-1.0.dist-info"
files = {
    "nightjar_sample.py": "def main():\n    print('made on the spot')\n",
    f"{info}/METADATA": "Metadata-Version: 2.1\nName: nightjar-sample\nVersion: 1.0\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{info}/entry_points.txt": "[console_scripts]\nnightjar-sample = nightjar_sample:main\n",
}
digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
record = "".join(f"{name},sha256={digest(text)},{len(text.encode())}\n" for name, text in files.items())
files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#;

/// An index of one package on this PC, gone with the value.
struct Index {
    server: Child,
    port: u16,
}

impl Index {
    fn serve(folder: &Path) -> Self {
        let (files, page) = (folder.join("index/files"), folder.join("index/simple/nightjar-sample"));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::create_dir_all(&page).unwrap();
        let wheel = "nightjar_sample-1.0-py3-none-any.whl";
        output(Command::new("python3").args(["-c", MAKE_WHEEL]).arg(files.join(wheel))).unwrap();
        let link = format!("<!DOCTYPE html><a href=\"../../files/{wheel}\">{wheel}</a>\n");
        std::fs::write(page.join("index.html"), link).unwrap();
        let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new("python3");
        server.args(["-m", "http.server", &port.to_string(), "--bind", "0.0.0.0", "--directory"]);
        server.arg(folder.join("index")).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { server: server.spawn().unwrap(), port };
        wait_for("the index", SOON, || Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok())).unwrap();
        server
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn an_ordinary_tenant_installs_packages_from_an_index_and_keeps_them() {
    if !internet::is_possible() {
        println!("SKIPPED: turning a tenant's traffic to an index of the test's own needs root");
        return;
    }
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let settings = Settings { egress: EgressMode::Open, ..quick_settings() };
    let (host, _) = stage.host("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let index = Index::serve(stage.folder());
    let lease = renter.rent(IMAGE).unwrap();
    let turned = Turned::to_here(&stage.engine, &lease, 80, index.port).unwrap();
    // As a login has it.
    let inside = |lease: &str, script: &str| {
        renter.ssh(lease, &[&format!("bash -lc '( {script} ) 2>&1; echo status=$?'")]).unwrap()
    };
    assert!(inside(&lease, "id -u").contains("52814"), "this tenant is not an ordinary user");
    let from = format!("--no-cache-dir --index-url http://{INDEX}/simple --trusted-host {INDEX}");
    let said = inside(&lease, &format!("pip install {from} nightjar-sample"));
    assert!(
        said.contains("Successfully installed nightjar-sample-1.0") && said.contains("status=0"),
        "{said}"
    );
    let works = |lease: &str| {
        let said =
            inside(lease, "python3 -c \"import nightjar_sample; nightjar_sample.main()\"; nightjar-sample");
        assert_eq!(said.matches("made on the spot").count(), 2, "{said}");
    };
    works(&lease);
    // In an environment of the tenant's own too.
    let made = format!(
        "python3 -m venv mine && mine/bin/pip install {from} nightjar-sample && mine/bin/nightjar-sample"
    );
    let said = inside(&lease, &made);
    assert!(said.contains("made on the spot") && said.contains("status=0"), "{said}");
    let from_by_uv = format!("--no-cache --index-url http://{INDEX}/simple --allow-insecure-host {INDEX}");
    let said = inside(
        &lease,
        &format!(
            "uv venv fast && uv pip install --python fast {from_by_uv} nightjar-sample && fast/bin/nightjar-sample"
        ),
    );
    assert!(said.contains("made on the spot") && said.contains("status=0"), "{said}");
    for tool in ["conda", "micromamba"] {
        if inside(&lease, &format!("command -v {tool}")).contains("status=0") {
            let said = inside(&lease, &format!("{tool} --version"));
            assert!(said.contains("status=0"), "{tool} does not run without root: {said}");
        } else {
            println!("SKIPPED: this image brings no {tool}");
        }
    }
    renter.run(&["stop", &lease, "--wait"]).unwrap();
    drop(turned);

    // They are kept as everything of the renter's is; only the index is out of reach where nothing is let out to it.
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let again = renter.rent(IMAGE).unwrap();
    works(&again);
    renter.run(&["stop", &again, "--wait"]).unwrap();
}
