//! A renter's way through all commands: a real market, a real tunnel, the real OpenSSH client. Only the host is scripted,
//! and its worker is a port of this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stage;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use stage::host::{ScriptedHost, Worker};
use stage::{Run, Stage};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);
/// Any key: nobody checks it where no SSH server is.
const SOME_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6ClB3pHtrZkRlX3qiLHuyRWvYQjXhpVfMOgmZBzA6p";

/// Starts a shell of this account's; part of OpenSSH.
const PROGRAM: &str = "/usr/sbin/sshd";

/// Sends back what it gets.
async fn echo() -> SocketAddr {
    echo_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
}

/// Where nobody listens yet.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn echo_at(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

/// What the market lists of the host's card, as soon as it lists it.
async fn offered(stage: &Stage) -> Run {
    let listed = async {
        loop {
            let offers = stage.run(&["offers", "--model", "rtx 4090"]).await;
            if offers.code == 0 {
                return offers;
            }
            assert_eq!(offers.code, 3, "{offers:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(WITHIN, listed).await.expect("the card was never listed")
}

async fn rent(stage: &Stage) -> String {
    let rent =
        timeout(WITHIN, stage.run(&["rent", "--vram", "24G", "--image", "pytorch-cuda:lite"])).await.unwrap();
    assert_eq!(rent.code, 0, "{rent:?}");
    for step in ["offered to a host in cn-east: NVIDIA GeForce RTX 4090", "ready: NVIDIA GeForce RTX 4090"] {
        assert!(rent.stderr.contains(step), "{step}: {rent:?}");
    }
    rent.stdout.trim().to_owned()
}

#[tokio::test]
async fn from_offers_to_the_statement() {
    let stage = Stage::with_renter("20.00").await;
    let worker = Worker { ssh: echo().await, jupyter: echo().await, ssh_host_key: SOME_KEY.into() };
    let host = ScriptedHost::start(&stage, worker).await;
    let offers = offered(&stage).await;
    assert!(offers.stdout.contains("CN¥1.50") && offers.stdout.contains("curated"), "{offers:?}");

    let too_dear = stage.run(&["rent", "--max-price", "1", "--image", "pytorch-cuda:lite"]).await;
    assert_eq!(too_dear.code, 3, "{too_dear:?}");
    let lease = rent(&stage).await;
    let key = host.terms.lock().unwrap().as_ref().unwrap().ssh_public_key.clone();
    assert!(key.starts_with("ssh-ed25519 "), "{key}");

    let show = stage.run(&["show", "--json"]).await;
    assert_eq!(show.json()["lease"], lease.as_str());
    assert!(!show.stdout.contains(&"ab".repeat(32)), "the Jupyter token is in {show:?}");
    assert!(stage.run(&["leases"]).await.stdout.contains(&lease[..8]));

    through_the_proxy(&stage, &lease[..8]).await;

    let mut cut = stage.spawn(&["proxy", &lease]);
    cut.stdin.as_mut().unwrap().write_all(b"x").await.unwrap();
    timeout(WITHIN, cut.stdout.as_mut().unwrap().read_u8()).await.unwrap().unwrap();
    let stop = timeout(WITHIN, stage.run(&["stop", "--wait", &lease[..6]])).await.unwrap();
    assert_eq!(timeout(WITHIN, cut.wait()).await.unwrap().unwrap().code(), Some(3));
    let mut said = String::new();
    cut.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert!(said.contains("The renter stopped it."), "{said}");

    assert_eq!(stop.code, 0, "{stop:?}");
    assert!(stop.stdout.contains("over: The renter stopped it."), "{stop:?}");
    let statement = stage.run(&["statement", &lease, "--json"]).await;
    assert_eq!(statement.json()["lease"], lease.as_str(), "{statement:?}");
    let ssh = stage.run(&["ssh", &lease]).await;
    assert_eq!(ssh.code, 3, "{ssh:?}");
    assert!(stage.run(&["leases", "--all"]).await.stdout.contains("over"));
    stage.market.shutdown().await;
}

/// Bytes there and back, and an end when the far side has ended.
async fn through_the_proxy(stage: &Stage, lease: &str) {
    let mut proxy = stage.spawn(&["proxy", lease]);
    let mut stdin = proxy.stdin.take().unwrap();
    let mut stdout = proxy.stdout.take().unwrap();
    let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        stdin.write_all(&sent).await.unwrap();
        drop(stdin);
    });
    let mut got = Vec::new();
    timeout(WITHIN, stdout.read_to_end(&mut got)).await.unwrap().unwrap();
    writing.await.unwrap();
    assert!(got == expected, "{} of {} bytes came back", got.len(), expected.len());
    assert!(timeout(WITHIN, proxy.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn jupyter_is_on_a_port_of_this_pc_until_the_lease_ends() {
    let stage = Stage::with_renter("20.00").await;
    // It comes up later than SSH.
    let later = free_address().await;
    let worker = Worker { ssh: echo().await, jupyter: later, ssh_host_key: SOME_KEY.into() };
    let _host = ScriptedHost::start(&stage, worker).await;
    offered(&stage).await;
    let lease = rent(&stage).await;

    let mut jupyter = stage.spawn(&["jupyter", "--json"]);
    let mut lines = BufReader::new(jupyter.stdout.take().unwrap()).lines();
    let early = timeout(Duration::from_secs(2), lines.next_line()).await;
    assert!(early.is_err(), "an address that does not answer yet: {early:?}");
    echo_at(later).await;
    let line = timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    let port = object["port"].as_u64().unwrap();
    assert_eq!(object["url"], format!("http://127.0.0.1:{port}/lab?token={}", "ab".repeat(32)));
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    stream.write_all(b"GET /lab").await.unwrap();
    let mut back = [0; 8];
    timeout(WITHIN, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(&back, b"GET /lab");

    let taken = stage.run(&["jupyter", "--port", &port.to_string()]).await;
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(taken.stderr.contains("--port 0"), "{taken:?}");

    assert_eq!(stage.run(&["stop", &lease]).await.code, 0);
    assert!(timeout(WITHIN, jupyter.wait()).await.unwrap().unwrap().success());
    stage.market.shutdown().await;
}

/// An SSH server of this account on a free port of this machine.
struct SshServer {
    child: Child,
    address: SocketAddr,
    host_key: String,
}

impl SshServer {
    /// `None`, with the reason on standard error, where this machine has no SSH server that can be started.
    async fn start(folder: &Path, authorized_key: &Path) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("SKIPPED: this machine has no {PROGRAM}, so no shell is opened");
            return None;
        }
        let key = folder.join("host_key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.await.unwrap().success());
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile \"{}\"\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nStrictModes no\nPermitRootLogin prohibit-password\n",
            key.display(),
            authorized_key.display()
        );
        let file = folder.join("sshd_config");
        std::fs::write(&file, config).unwrap();
        // As root it wants a folder that only its service makes; in a mount namespace it has one of its own.
        let is_root = Command::new("id").arg("-u").output().await.unwrap().stdout == b"0\n";
        let room = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \"$@\"";
        let mut command = if is_root {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", room, "sh", PROGRAM]);
            command
        } else {
            Command::new(PROGRAM)
        };
        command.args(["-D", "-e", "-f"]).arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                eprintln!("SKIPPED: {PROGRAM} does not start here ({status}), so no shell is opened");
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let line = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        Some(Self { child, address, host_key: line.trim().to_owned() })
    }
}

#[tokio::test]
async fn the_real_openssh_client_goes_through_the_tunnel() {
    let stage = Stage::with_renter("20.00").await;
    let authorized = stage.folder.path().join("renter of mine").join("id_ed25519.pub");
    let Some(mut server) = SshServer::start(stage.folder.path(), &authorized).await else { return };
    let worker =
        Worker { ssh: server.address, jupyter: server.address, ssh_host_key: server.host_key.clone() };
    let _host = ScriptedHost::start(&stage, worker).await;
    offered(&stage).await;
    let lease = rent(&stage).await;

    let me = String::from_utf8(Command::new("id").arg("-un").output().await.unwrap().stdout).unwrap();
    let user = format!("User={}", me.trim());
    let arguments = ["ssh", "-o", &user, &lease, "--", "echo", "there; exit 7"];
    let ssh = timeout(WITHIN, stage.run(&arguments)).await.unwrap();
    assert_eq!((ssh.code, ssh.stdout.trim()), (7, "there"), "{ssh:?}");

    // The block works in a file of the user's, whatever the environment is then.
    let block = stage.run(&["ssh-config", "--alias", "gpu"]).await;
    let file = stage.folder.path().join("ssh_config");
    std::fs::write(&file, format!("Host gpu\n    {}\n{}", user.replace('=', " "), block.stdout)).unwrap();
    let mut plain_ssh = Command::new("ssh");
    plain_ssh.arg("-F").arg(&file).args(["gpu", "cat"]).env_remove("NIGHTJAR_RENTER_DIR");
    plain_ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut plain_ssh = plain_ssh.spawn().unwrap();
    let sent = vec![b'x'; 1_000_000];
    let mut stdin = plain_ssh.stdin.take().unwrap();
    let copy = sent.clone();
    let writing = tokio::spawn(async move { stdin.write_all(&copy).await });
    let output = timeout(WITHIN, plain_ssh.wait_with_output()).await.unwrap().unwrap();
    writing.await.unwrap().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == sent, "{} bytes came back", output.stdout.len());

    assert_eq!(stage.run(&["stop", "--wait"]).await.code, 0);
    server.child.kill().await.unwrap();
    stage.market.shutdown().await;
}
