//! What a tenant may ask of its lease, on the loopback address: `GET /v1/lease` and `GET /v1/notice`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nightjar_protocol::guest::{GatewayBoot, NOTICE_PORT, Notice};
use serde_json::{Value, json};

use crate::notice::now;

const REQUEST_LIMIT_BYTES: u64 = 4 * 1024;
/// A caller that dawdles keeps others waiting for no longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is shown; process 1 writes it.
#[derive(Clone)]
pub struct Board(Arc<Mutex<Shown>>);

struct Shown {
    lease: Value,
    notice: Option<Notice>,
}

impl Board {
    pub fn set_bandwidth(&self, up_kbit: u32, down_kbit: u32) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.lease["up_kbit"] = up_kbit.into();
        shown.lease["down_kbit"] = down_kbit.into();
    }

    pub fn set_notice(&self, notice: Option<Notice>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).notice = notice;
    }

    /// Status line and body for a path.
    fn answer(&self, path: &str) -> (&'static str, String) {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (path, &shown.notice) {
            ("/v1/lease", _) => ("200 OK", shown.lease.to_string()),
            ("/v1/notice", Some(notice)) => ("200 OK", notice.shown(now()).to_string()),
            ("/v1/notice", None) => ("204 No Content", String::new()),
            _ => ("404 Not Found", json!({ "paths": ["/v1/lease", "/v1/notice"] }).to_string()),
        }
    }
}

/// Begins to serve, one caller after the other.
pub fn serve(boot: &GatewayBoot) -> std::io::Result<Board> {
    let lease = json!({
        "lease_id": boot.lease_id, "egress": boot.egress, "up_kbit": boot.up_kbit, "down_kbit": boot.down_kbit,
    });
    let board = Board(Arc::new(Mutex::new(Shown { lease, notice: None })));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, NOTICE_PORT))?;
    let own = board.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A caller that breaks off harms itself alone.
            let _ = reply(&own, &stream);
        }
    });
    Ok(board)
}

fn reply(board: &Board, mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = BufReader::new(stream.take(REQUEST_LIMIT_BYTES));
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => board.answer(path),
        _ => ("405 Method Not Allowed", String::new()),
    };
    // The rest is read to its end, or closing would cut the answer off.
    let mut line = String::new();
    while request.read_line(&mut line).is_ok_and(|read| read > 2) {
        line.clear();
    }
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use nightjar_core::parting::{Cause, Parting, Step};

    use super::*;

    #[test]
    fn there_is_a_notice_only_while_something_is_to_be_told() {
        let board = Board(Arc::new(Mutex::new(Shown { lease: json!({ "up_kbit": 1 }), notice: None })));
        board.set_bandwidth(64, 128);
        assert_eq!(board.answer("/v1/lease").1, r#"{"down_kbit":128,"up_kbit":64}"#);
        assert_eq!(board.answer("/v1/notice"), ("204 No Content", String::new()));
        let at = now();
        let parting = Parting { step: Step::End, cause: Cause::TooHot, at, deadline: at.plus_ms(60_000) };
        board.set_notice(Some(Notice::of(&parting)));
        let (status, body) = board.answer("/v1/notice");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, body["cause"].as_str(), body["step"].as_str()),
            ("200 OK", Some("too_hot"), Some("end"))
        );
        assert!((50..=60).contains(&body["seconds_left"].as_u64().unwrap()), "{body}");
        board.set_notice(None);
        assert_eq!(board.answer("/v1/notice").0, "204 No Content");
        assert_eq!(board.answer("/notice").0, "404 Not Found");
    }
}
