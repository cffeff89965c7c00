//! A language model's server in a worker, asked by its renter through the tunnel, once the owner agreed to such work.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::images;
use nightjar_testbed::process::{LogsOfAFailure, Process, line, output, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);
const IMAGE: &str = "llm-inference:lite";

#[test]
fn a_renter_asks_a_language_model_through_the_tunnel() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    images::lite(&stage.engine, "llm-inference", &mut |step| println!("{step}")).unwrap();
    let logs = ["host/host.log", "server.log"].map(|log| stage.folder().join(log));
    let _logs = LogsOfAFailure(logs.to_vec());
    let (host, _) = stage.host("host", &quick_settings()).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();

    // The image is here; the owner was not asked yet.
    let nobody = renter.run(&["offers", "--image", IMAGE]).unwrap_err().to_string();
    assert!(nobody.contains("exit status: 3"), "{nobody}");
    host.around.owner(&["images", "kinds", "--allow", "inference"]).unwrap();
    wait_for("an offer of the image", SOON, || Ok(renter.run(&["offers", "--image", IMAGE]).ok())).unwrap();

    // By hand, with whatever options: on the worker's loopback, through OpenSSH's own forwarding.
    let lease = renter.rent(IMAGE).unwrap();
    let unserved = renter.run(&["api", &lease]).unwrap_err().to_string();
    assert!(unserved.contains("was not rented to serve"), "{unserved}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forward = format!("LocalForward={port} localhost:8000");
    let mut ssh = renter.command(&["ssh", "-o", &forward, &lease, "--", "serve-llm"]).unwrap();
    let server = Process::start(stage.folder(), "server", &mut ssh).unwrap();
    let base_url = format!("http://127.0.0.1:{port}/v1");
    wait_for("the model's server", SOON, || Ok(ask(&base_url, "models", None, None).ok())).unwrap();
    completes(&base_url, None).unwrap();
    drop(server);
    renter.run(&["stop", &lease, "--wait"]).unwrap();

    // In one command, with a key of its own.
    wait_for("an offer anew", SOON, || Ok(renter.run(&["offers", "--image", IMAGE]).ok())).unwrap();
    let served = renter.ask(&["rent", "--image", IMAGE, "--serve", "tiny"]).unwrap();
    assert_eq!(served["serve_model"], "tiny", "{served}");
    let lease = served["lease"].as_str().unwrap();
    let mut api = renter.command(&["--json", "api", lease]).unwrap();
    let (mut tunnel, mut said) = Process::start_piped(stage.folder(), "api", &mut api).unwrap();
    let opened: Value =
        serde_json::from_str(&line(&mut said).unwrap_or_else(|_| panic!("{}", tunnel.log()))).unwrap();
    let base_url = opened["base_url"].as_str().unwrap();
    completes(base_url, opened["api_key"].as_str()).unwrap();
    for wrong in [None, Some("guessed")] {
        let refused = ask(base_url, "completions", Some(QUESTION), wrong).unwrap_err().to_string();
        assert!(refused.contains("401"), "{refused}");
    }
    renter.run(&["stop", lease, "--wait"]).unwrap();
    wait_for("the tunnel ends with the lease", SOON, || Ok(tunnel.ended())).unwrap();
}

const QUESTION: &str =
    r#"{"model": "tiny", "prompt": "Once upon a time", "max_tokens": 16, "ignore_eos": true}"#;

fn ask(base_url: &str, path: &str, body: Option<&str>, key: Option<&str>) -> anyhow::Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "30"]);
    curl.args(
        body.into_iter().flat_map(|body| ["--header", "content-type: application/json", "--data", body]),
    );
    if let Some(key) = key {
        curl.args(["--header", &format!("authorization: Bearer {key}")]);
    }
    output(curl.arg(format!("{base_url}/{path}")))
}

fn completes(base_url: &str, key: Option<&str>) -> anyhow::Result<()> {
    let said: Value = serde_json::from_str(&ask(base_url, "completions", Some(QUESTION), key)?)?;
    assert_eq!(said["object"], "text_completion", "{said}");
    assert_eq!(said["usage"]["completion_tokens"], 16, "{said}");
    assert!(said["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()), "{said}");
    Ok(())
}
