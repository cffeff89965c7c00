//! An address that stands for one on the internet: what a lease's tenant sends there is turned to a listener on this PC. And
//! name servers, by which every name is there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::engine::Engine;
use crate::process::{output, output_with_input};

/// Routed nowhere else from here.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(11, 77, 8, 9);

/// As long as it is there.
pub struct Turned(String);

impl Turned {
    /// `port` of [`ADDRESS`], over TCP, is `here` of this PC.
    ///
    /// # Errors
    /// When this is not root, or the lease has no network.
    pub fn to_here(engine: &Engine, lease: &str, port: u16, here: u16) -> anyhow::Result<Self> {
        let which = format!("ip daddr {ADDRESS} tcp dport {port}");
        Self::rule(engine, lease, &port.to_string(), &which, here)
    }

    /// Every name server that is asked over UDP is `names`.
    ///
    /// # Errors
    /// As for [`Turned::to_here`].
    pub fn names(engine: &Engine, lease: &str, names: &Names) -> anyhow::Result<Self> {
        Self::rule(engine, lease, "names", "udp dport 53", names.port)
    }

    fn rule(engine: &Engine, lease: &str, name: &str, which: &str, here: u16) -> anyhow::Result<Self> {
        ensure!(is_possible(), "turning a tenant's traffic needs root");
        let label = format!("label=nightjar.lease={lease}");
        let id = engine.ask(["network", "ls", "--no-trunc", "--quiet", "--filter", &label])?;
        let bridge = id.trim().get(..12).context("the lease has no network")?;
        let turned = Self(format!("nightjar_turned_{bridge}_{name}"));
        turned.forget();
        let rules = format!(
            "table ip {} {{\n chain to_here {{\n  type nat hook prerouting priority -100;\n  iifname \"br-{bridge}\" \
             {which} redirect to :{here}\n }}\n}}\n",
            turned.0
        );
        output_with_input(Command::new("nft").args(["-f", "-"]), &rules)?;
        Ok(turned)
    }

    fn forget(&self) {
        let _ = output(Command::new("nft").args(["delete", "table", "ip", &self.0]).stderr(Stdio::null()));
    }
}

impl Drop for Turned {
    fn drop(&mut self) {
        self.forget();
    }
}

#[must_use]
pub fn is_possible() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a server of files answers with, by path.
pub type Pages = Vec<(String, Vec<u8>)>;

const REQUEST_LIMIT_BYTES: u64 = 16 * 1024;
const REQUEST_WITHIN: Duration = Duration::from_secs(20);

/// A server of files over HTTP, whatever name it is asked by. It is there until the program ends.
///
/// # Errors
/// When no port is free.
pub fn serve(pages: Pages) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    let pages = Arc::new(pages);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let pages = pages.clone();
            // Whoever hangs up has had enough.
            std::thread::spawn(move || drop(give(&pages, &stream)));
        }
    });
    Ok(port)
}

fn give(pages: &Pages, mut stream: &TcpStream) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(REQUEST_WITHIN))?;
    let mut lines = BufReader::new(stream.take(REQUEST_LIMIT_BYTES)).lines();
    let request = lines.next().context("no request")??;
    lines.by_ref().map_while(Result::ok).find(String::is_empty).context("no end of the request")?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let page = pages.iter().find(|(known, _)| known == path);
    let (status, bytes) = page.map_or(("404 Not Found", &b""[..]), |(_, bytes)| ("200 OK", bytes));
    let kind = if path.ends_with('/') { "text/html" } else { "application/octet-stream" };
    let length = bytes.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    Ok(stream.write_all(bytes)?)
}

/// A name server. It is there until the program ends.
pub struct Names {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    /// # Errors
    /// When no port is free.
    pub fn start() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let port = socket.local_addr()?.port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        std::thread::spawn(move || {
            let mut query = [0_u8; 1_024];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let Some((name, answer)) = query.get(..length).and_then(answered) else { continue };
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                let _ = socket.send_to(&answer, from);
            }
        });
        Ok(Self { port, asked })
    }

    /// All names that it was asked for, in small letters.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The name that a query of RFC 1035 asks for, and its answer: [`ADDRESS`], or nothing where it asks for something else.
fn answered(query: &[u8]) -> Option<(String, Vec<u8>)> {
    const HEADER: usize = 12;
    const ADDRESS_OF_HOST: [u8; 2] = [0, 1];
    let (mut at, mut labels) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let question = query.get(HEADER..at + 4)?;
    let is_known = query.get(at..at + 2)? == ADDRESS_OF_HOST;
    let mut answer = query.get(..2)?.to_vec();
    // An answer, and recursion was wanted and had; one question, so many answers.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_known), 0, 0, 0, 0]);
    answer.extend(question);
    if is_known {
        // The name above, an address, the internet's; for a minute; four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ADDRESS.octets());
    }
    Some((labels.join("."), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_and_answered() {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x04PyPI\x03org\x00\x00\x01\x00\x01");
        let (name, answer) = answered(&query).unwrap();
        assert_eq!(name, "pypi.org");
        assert_eq!((&answer[..2], answer[7]), (&[7, 9][..], 1));
        assert_eq!(answer[answer.len() - 4..], ADDRESS.octets());
        let kind = query.len() - 3;
        query[kind] = 28;
        assert_eq!(answered(&query).unwrap().1[7], 0);
        assert_eq!(answered(&query[..query.len() - 1]), None);
        assert_eq!(answered(&[]), None);
    }
}
