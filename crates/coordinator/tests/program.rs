//! The program itself: what it prints, and with which exit code it ends.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "what starts the program belongs to the tests")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nightjar_protocol::window::Invitation;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightjar-coordinator"));
    command.arg("--data-dir").arg(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let done = timeout(Duration::from_secs(30), program(folder).args(arguments).output());
    let output = done.await.expect("it did not end").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn served(folder: &Path, arguments: &[&str]) -> (Child, String) {
    let mut child = program(folder).arg("serve").args(arguments).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(30), lines.next_line()).await.expect("not ready").unwrap();
    (child, line.expect("it ended without a word"))
}

async fn end(mut child: Child) -> Option<i32> {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    timeout(Duration::from_secs(15), child.wait()).await.expect("it did not end").unwrap().code()
}

#[tokio::test]
async fn a_market_is_served_and_run_beside() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (child, line) = served(&data, &["--listen", "127.0.0.1:0"]).await;
    let address = line.strip_prefix("listening on http://127.0.0.1:").expect(&line);
    assert_ne!(address.parse::<u16>().unwrap(), 0);

    pairs(&data, &format!("http://127.0.0.1:{address}")).await;
    let (status, token, _) = run(&data, &["renter", "add", "alice", "--balance", "20.00"]).await;
    assert_eq!(status, Some(0));
    assert!(token.starts_with("nightjar_renter_"), "{token}");
    let url = format!("http://127.0.0.1:{address}/v1/account");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let account: serde_json::Value =
        http.get(url).bearer_auth(token.trim()).send().await.unwrap().json().await.unwrap();
    assert_eq!(account["balance"]["micros"], 20_000_000);

    let (status, _, error) = run(&data, &["renter", "add", "alice"]).await;
    assert_eq!(status, Some(1));
    assert!(error.contains("already"), "{error}");
    let (_, text, _) = run(&data, &["renter", "credit", "alice", "0.50"]).await;
    assert_eq!(text, "alice has 20.50 CNY\n");
    let (status, _, error) = run(&data, &["renter", "credit", "bob", "1"]).await;
    assert!(status == Some(1) && error.contains("no renter \"bob\""), "{error}");
    let (_, list, _) = run(&data, &["renter", "list"]).await;
    assert!(list.contains("alice") && list.contains("20.50 CNY"), "{list}");
    let (status, ledger, _) = run(&data, &["ledger", "--json"]).await;
    assert_eq!(status, Some(0));
    let ledger: serde_json::Value = serde_json::from_str(&ledger).unwrap();
    assert_eq!((&ledger["balanced"], &ledger["sum"]["micros"]), (&true.into(), &0.into()));
    assert!(!ledger.to_string().contains(token.trim()));

    let (status, _, error) = run(&data, &["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(status == Some(1) && error.contains("another coordinator serves"), "{error}");
    assert_eq!(end(child).await, Some(0));
}

/// A code, and the link with it as far as the market's address is one for a link.
async fn pairs(data: &Path, served_at: &str) {
    let market_of =
        |link: &str| Invitation::read(link).map(|invitation| (invitation.market, invitation.code));
    let (status, out, _) = run(data, &["pair"]).await;
    let (code, link) = out.trim().split_once('\n').expect("two lines");
    assert_eq!((status, code.len()), (Some(0), 19));
    assert_eq!(market_of(link), Ok((served_at.to_owned(), code.to_owned())));
    let asked = ["pair", "--json", "--public-url", "https://market.example/"];
    let said: serde_json::Value = serde_json::from_str(&run(data, &asked).await.1).unwrap();
    let code = said["pairing_code"].as_str().unwrap().to_owned();
    assert_eq!(code.len(), 19);
    assert_eq!(market_of(said["link"].as_str().unwrap()), Ok(("https://market.example".to_owned(), code)));
    let (status, out, error) = run(data, &["pair", "--public-url", "http://market.example"]).await;
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(error.contains("must begin with https://"), "{error}");
}

#[tokio::test]
async fn a_market_that_was_never_served_makes_a_code_without_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (status, out, error) = run(&data, &["pair"]).await;
    assert_eq!((status, out.trim().len()), (Some(0), 19));
    assert!(error.contains("--public-url"), "{error}");
    let arguments = ["--listen", "127.0.0.1:0", "--public-url", "http://market.example", "--no-relay"];
    let (child, _) = served(&data, &arguments).await;
    let (status, out, error) = run(&data, &["pair"]).await;
    assert_eq!((status, out.trim().len()), (Some(0), 19));
    assert!(error.contains("must begin with https://"), "{error}");
    assert_eq!(end(child).await, Some(0));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap();
    let (status, out, error) =
        run(&folder.path().join("data"), &["serve", "--listen", &taken.to_string(), "--no-relay"]).await;
    assert_eq!((status, out.as_str()), (Some(1), ""));
    let port = format!("{taken} is taken: another program listens on port {}", taken.port());
    assert!(error.contains(&port) && error.contains("--listen"), "{error}");

    let relay = taken.to_string();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--relay-listen", &relay];
    let (status, out, error) = run(&folder.path().join("data"), &arguments).await;
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(error.contains(&relay) && error.contains("--relay-listen"), "{error}");
}

#[tokio::test]
async fn json_tells_where_the_relay_is() {
    let folder = tempfile::tempdir().unwrap();
    let (child, line) = served(&folder.path().join("data"), &["--listen", "127.0.0.1:0", "--json"]).await;
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(ready["relay"]["url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{line}");
    assert_ne!(ready["relay"]["quic_port"], 0);
    assert_eq!(end(child).await, Some(0));
}

#[tokio::test]
async fn books_that_were_tampered_with_are_said_to_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    run(&data, &["renter", "add", "alice", "--balance", "5"]).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("market.sqlite"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("UPDATE balances SET micros = micros + 1 WHERE account_kind = 'renter'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let (status, out, error) = run(&data, &["ledger"]).await;
    assert_eq!(status, Some(1));
    assert!(out.contains("THE BOOKS DO NOT BALANCE") && error.contains("not the sum"), "{out}{error}");
}

#[tokio::test]
async fn a_wrong_command_line_is_exit_code_two() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [&["serve", "--fee-percent", "101"][..], &["serve", "--currency", "yuan"], &["nonsense"]] {
        assert_eq!(run(folder.path(), wrong).await.0, Some(2), "{wrong:?}");
    }
    let data = folder.path().join("data");
    run(&data, &["renter", "add", "alice", "--balance", "5"]).await;
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--no-relay", "--currency", "EUR"];
    let (status, _, error) = run(&data, &arguments).await;
    assert!(status == Some(1) && error.contains("kept in CNY"), "{error}");
}
