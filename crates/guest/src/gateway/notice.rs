//! What a tenant may ask of its lease, on the loopback address: `GET /` and `GET /notice`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nightjar_protocol::guest::{GatewayBoot, NOTICE_PORT, Notice};
use serde_json::{Value, json};

const REQUEST_LIMIT_BYTES: u64 = 4 * 1024;
/// A caller that dawdles keeps others waiting for no longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is shown; process 1 writes it.
#[derive(Clone)]
pub struct Board(Arc<Mutex<Shown>>);

struct Shown {
    lease: Value,
    notice: Option<Value>,
}

impl Board {
    pub fn set_bandwidth(&self, up_kbit: u32, down_kbit: u32) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.lease["up_kbit"] = up_kbit.into();
        shown.lease["down_kbit"] = down_kbit.into();
    }

    pub fn set_notice(&self, notice: &Notice) {
        let notice = json!({ "reason": notice.reason, "deadline_ms": notice.deadline_ms });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).notice = Some(notice);
    }

    /// Status line and body for a path.
    fn answer(&self, path: &str) -> (&'static str, String) {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (path, &shown.notice) {
            ("/", _) => ("200 OK", shown.lease.to_string()),
            ("/notice", Some(notice)) => ("200 OK", notice.to_string()),
            ("/notice", None) => ("204 No Content", String::new()),
            _ => ("404 Not Found", json!({ "paths": ["/", "/notice"] }).to_string()),
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
