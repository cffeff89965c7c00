//! What the program says when something is not as it must be, and with which exit code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stage;

use std::time::{Duration, Instant};

use stage::{Stage, command, finish};

#[tokio::test]
async fn without_a_login_renters_commands_say_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["offers"][..], &["leases"], &["account"], &["rent"], &["ssh"], &["stop", "3f2a"]] {
        let run = finish(command(folder.path(), arguments), "").await;
        assert_eq!(run.code, 5, "{arguments:?}: {run:?}");
        assert!(run.stderr.contains("nightjar login URL"), "{run:?}");
    }
}

#[tokio::test]
async fn without_a_host_local_commands_say_where_they_looked() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["status"][..], &["pause"], &["resume"], &["stop-job"], &["quit"]] {
        let run = finish(command(folder.path(), arguments), "").await;
        assert_eq!(run.code, 4, "{arguments:?}: {run:?}");
        assert!(run.stderr.contains("nightjar host"), "{run:?}");
    }
    let run = finish(command(folder.path(), &["status", "--json"]), "").await;
    assert_eq!(run.json()["error"]["kind"], "not_running");
    assert_eq!(run.json()["error"]["exit_code"], 4);
}

#[tokio::test]
async fn wrong_usage_is_two_and_help_is_zero() {
    let folder = tempfile::tempdir().unwrap();
    let wrong: [&[&str]; 6] = [
        &[],
        &["rent", "--vram", "lots"],
        &["login", "market.example", "--token", "-"],
        &["login", "http://203.0.113.1", "--token", "-"],
        &["host", "--pair", "CODE"],
        &["stop", "../../etc"],
    ];
    for arguments in wrong {
        let run = finish(command(folder.path(), arguments), "token\n").await;
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
    }
    assert_eq!(finish(command(folder.path(), &["help", "rent"]), "").await.code, 0);
}

#[tokio::test]
async fn a_market_that_is_away_is_told_within_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let started = Instant::now();
    let run = finish(command(folder.path(), &["login", &url, "--token", "-"]), "token\n").await;
    assert_eq!(run.code, 6, "{run:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(silent);
    let run = finish(command(folder.path(), &["login", &url, "--token", "-", "--json"]), "token\n").await;
    assert_eq!(run.code, 6, "{run:?}");
    assert_eq!(run.json()["error"]["kind"], "unreachable");
}

#[tokio::test]
async fn a_token_that_the_market_does_not_know_is_not_kept() {
    let stage = Stage::start().await;
    let login = stage.run_with(&["login", stage.market.url(), "--token", "-"], "nj_wrong\n").await;
    assert_eq!(login.code, 5, "{login:?}");
    assert!(!login.stderr.contains("nj_wrong"), "{login:?}");
    assert_eq!(stage.run(&["account"]).await.code, 5);
    let empty = stage.run_with(&["login", stage.market.url(), "--token", "-"], "\n").await;
    assert_eq!(empty.code, 2, "{empty:?}");
    stage.market.shutdown().await;
}

#[tokio::test]
async fn a_market_without_cards_says_so() {
    let stage = Stage::with_renter("20.00").await;
    let account = stage.run(&["account", "--json"]).await;
    assert_eq!(account.json()["balance"]["micros"], 20_000_000, "{account:?}");

    let offers = stage.run(&["offers", "--json"]).await;
    assert_eq!(offers.code, 3, "{offers:?}");
    assert_eq!(offers.json()["offers"], serde_json::json!([]));
    assert_eq!(stage.run(&["offers"]).await.code, 3);

    let rent = stage.run(&["rent", "--model", "4090", "--max-price", "2", "--json"]).await;
    assert_eq!(rent.code, 3, "{rent:?}");
    assert_eq!(rent.json()["error"]["code"], "no_match");
    assert!(rent.stderr.contains("nightjar offers"), "{rent:?}");

    assert_eq!(stage.run(&["leases"]).await.code, 0);
    assert_eq!(stage.run(&["show"]).await.code, 3);
    assert_eq!(stage.run(&["statement", "3f2a"]).await.code, 3);
    assert_eq!(stage.run(&["ssh", "3f2a91bc-aaaa-4aaa-8aaa-aaaaaaaaaaaa"]).await.code, 3);
    assert_eq!(stage.run(&["logout"]).await.code, 0);
    assert_eq!(stage.run(&["account"]).await.code, 5);
    stage.market.shutdown().await;
}
