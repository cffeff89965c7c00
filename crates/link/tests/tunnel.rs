//! The tunnel over real sockets on loopback, with the relay in this process.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::time::{Duration, Instant};

use common::{HOST_KEY, LEASE, Leases, RENTER_KEY, STRANGER_KEY, Scene, Worker, dial, echoes, host, v4, v6};
use nightjar_link::{Admission, LinkError, PathKind, Refusal, RenterLink, public_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reaches_the_worker_through_the_relay() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v6()).await;
    let mut stream = renter.open(LEASE, "ssh").await.unwrap();
    echoes(&mut stream, b"hello").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    echoes(&mut stream, b"still here").await.unwrap();
    assert_eq!(renter.path_kind(), PathKind::Relayed);
    assert_eq!(scene.host.path_kind(LEASE), PathKind::Relayed);
    assert_eq!(scene.host.path_kind("another"), PathKind::Unknown);
    let bytes = scene.host.lease_bytes(LEASE);
    assert_eq!((bytes.to_worker, bytes.from_worker), (15, 15));
    // An end in one direction leaves the other open until its own end.
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_moves_to_a_direct_path_and_carries_much() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    let mut stream = renter.open(LEASE, "jupyter").await.unwrap();
    echoes(&mut stream, b"x").await.unwrap();
    let started = Instant::now();
    while stream.path_kind() != PathKind::Direct {
        assert!(started.elapsed() < Duration::from_secs(15), "no direct path after 15 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("direct after {:?}", started.elapsed());
    let block: Vec<u8> = (0..32_u32 << 20).map(|i| (i % 251) as u8).collect();
    let (mut from, mut to) = tokio::io::split(stream);
    let sent = block.clone();
    let started = Instant::now();
    let sender = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    from.read_to_end(&mut back).await.unwrap();
    sender.await.unwrap();
    println!("32 MiB there and back in {:?}", started.elapsed());
    assert!(back == block);
    assert_eq!(scene.host.lease_bytes(LEASE).from_worker, block.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_an_unknown_lease_are_refused_before_any_byte() {
    let scene = Scene::new(&v4()).await;
    let stranger = dial(&STRANGER_KEY, scene.relay.info(), &v4()).await.unwrap();
    let refused = |refusal| Some(LinkError::Refused(refusal));
    assert_eq!(stranger.open(LEASE, "ssh").await.err(), refused(Refusal::NotYours));
    let renter = scene.renter(&v4()).await;
    assert_eq!(renter.open("lease-2", "ssh").await.err(), refused(Refusal::NotYours));
    assert_eq!(renter.open(LEASE, "smtp").await.err(), refused(Refusal::UnknownService));
    assert_eq!(scene.worker.connections(), 0);
    scene.leases.add("lease-3", public_key(&RENTER_KEY), "127.0.0.1:1".parse().unwrap());
    assert_eq!(renter.open("lease-3", "ssh").await.err(), refused(Refusal::NotThere));
    echoes(&mut renter.open(LEASE, "ssh").await.unwrap(), b"the rightful one").await.unwrap();
    assert_eq!(scene.worker.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_lease_cuts_its_running_streams_and_no_others() {
    let scene = Scene::new(&v4()).await;
    scene.leases.add("lease-2", public_key(&RENTER_KEY), scene.worker.address);
    let renter = scene.renter(&v4()).await;
    let mut cut = renter.open(LEASE, "ssh").await.unwrap();
    let mut other = renter.open("lease-2", "ssh").await.unwrap();
    echoes(&mut cut, b"one").await.unwrap();
    echoes(&mut other, b"two").await.unwrap();
    scene.leases.remove(LEASE);
    let started = Instant::now();
    assert_eq!(scene.host.close_lease(LEASE).to_worker, 3);
    let error = cut.read_u8().await.unwrap_err();
    println!("cut after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(1));
    let reason = error.get_ref().and_then(|cause| cause.downcast_ref::<LinkError>());
    assert_eq!(reason, Some(&LinkError::Refused(Refusal::LeaseClosed)));
    echoes(&mut other, b"still").await.unwrap();
    assert_eq!(renter.open(LEASE, "ssh").await.err(), Some(LinkError::Refused(Refusal::NotYours)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_host_is_an_error_within_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let relay = common::relay(&folder, Admission::Everyone).await;
    let started = Instant::now();
    let error = dial(&RENTER_KEY, relay.info(), &v4()).await.err().unwrap();
    println!("offline after {:?}: {error}", started.elapsed());
    assert!(matches!(error, LinkError::PeerOffline { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_away_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let relay = common::relay(&folder, Admission::Everyone).await;
    let info = relay.info().clone();
    relay.shutdown().await;
    let started = Instant::now();
    let error = dial(&RENTER_KEY, &info, &v4()).await.err().unwrap();
    println!("no relay after {:?}: {error}", started.elapsed());
    assert!(
        matches!(&error, LinkError::RelayUnreachable { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_another_authority_is_not_trusted() {
    let scene = Scene::new(&v4()).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = common::relay(&elsewhere, Admission::Everyone).await;
    let mut info = scene.relay.info().clone();
    info.ca_der.clone_from(&other.info().ca_der);
    let error = dial(&RENTER_KEY, &info, &v4()).await.err().unwrap();
    println!("{error}");
    assert!(matches!(error, LinkError::RelayUnreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_relay_does_not_admit_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let known = [public_key(&HOST_KEY), public_key(&RENTER_KEY)];
    let admission =
        Admission::Ask(std::sync::Arc::new(move |key| Box::pin(async move { known.contains(&key) })));
    let relay = common::relay(&folder, admission).await;
    let _host = host(relay.info(), &Leases::default(), &v4()).await;
    dial(&RENTER_KEY, relay.info(), &v4()).await.unwrap();
    let error = dial(&STRANGER_KEY, relay.info(), &v4()).await.err().unwrap();
    println!("{error}");
    assert!(matches!(error, LinkError::RelayDenied { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_host_the_next_open_works() {
    let mut scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    let mut stream = renter.open(LEASE, "ssh").await.unwrap();
    echoes(&mut stream, b"before").await.unwrap();
    // Without a word to the other side, as when the process is killed.
    let gone = std::mem::replace(&mut scene.host, host(scene.relay.info(), &scene.leases, &v4()).await);
    drop(gone);
    let started = Instant::now();
    let mut stream = renter.open(LEASE, "ssh").await.unwrap();
    echoes(&mut stream, b"after").await.unwrap();
    println!("open again after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_relay_the_host_is_reachable_again() {
    let scene = Scene::new(&v4()).await;
    let port = scene.relay.info().url.rsplit(':').next().unwrap().parse().unwrap();
    let old = scene.relay.info().clone();
    // At once after the host was admitted: the moment in which iroh-relay alone would overlook it.
    scene.relay.shutdown().await;
    let mut config = common::relay_config(&scene.folder, port, Admission::Everyone);
    config.quic_port = old.quic_port;
    let relay = nightjar_link::RelayServer::start(config).await.unwrap();
    assert_eq!(*relay.info(), old, "hosts must not need to be told anew");
    let started = Instant::now();
    while !scene.host.is_online() || dial(&RENTER_KEY, relay.info(), &v6()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "not reachable after a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("reachable after {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_dropped_lets_go_of_everybody() {
    let scene = Scene::new(&v4()).await;
    assert!(scene.host.is_online());
    drop(scene.relay);
    let started = Instant::now();
    while scene.host.is_online() {
        assert!(started.elapsed() < Duration::from_secs(5), "the host still believes itself online");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_moves_to_a_relay_of_the_same_authority() {
    let scene = Scene::new(&v4()).await;
    let next =
        nightjar_link::RelayServer::start(common::relay_config(&scene.folder, 0, Admission::Everyone)).await;
    let next = next.unwrap();
    assert!(scene.host.move_to_relay(next.info()).await.unwrap());
    scene.relay.shutdown().await;
    let started = Instant::now();
    while dial(&RENTER_KEY, next.info(), &v6()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "not reachable after a minute");
    }
    println!("reachable after {:?}", started.elapsed());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = common::relay(&elsewhere, Admission::Everyone).await;
    assert!(!scene.host.move_to_relay(other.info()).await.unwrap());
}

/// Returns once the worker has got so many connections.
async fn reached(worker: &Worker, connections: usize) {
    let started = Instant::now();
    while worker.connections() < connections {
        assert!(started.elapsed() < Duration::from_secs(15), "{} came", worker.connections());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_port_serves_many_connections_until_the_lease_ends() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let forward = tokio::spawn(async move { renter.forward_port(listener, LEASE, "jupyter").await });
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40_u8 {
        tasks.spawn(async move {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            echoes(&mut tcp, &vec![number; 10_000]).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(scene.worker.connections(), 40);
    let _open = TcpStream::connect(address).await.unwrap();
    reached(&scene.worker, 41).await;
    scene.leases.remove(LEASE);
    scene.host.close_lease(LEASE);
    let ended = tokio::time::timeout(Duration::from_secs(5), forward).await.unwrap().unwrap();
    assert_eq!(ended, Err(LinkError::Refused(Refusal::LeaseClosed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn input_and_output_are_joined_to_a_service() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    let text: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 253) as u8).collect();
    let mut output = Vec::new();
    let input = std::io::Cursor::new(text.clone());
    renter.forward_io(input, &mut output, LEASE, "ssh").await.unwrap();
    assert!(output == text);
    // An input that never ends, as a terminal's: the lease's end ends the call.
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut output = Vec::new();
    let cut = async {
        reached(&scene.worker, 2).await;
        scene.host.close_lease(LEASE);
    };
    let (ended, ()) = tokio::join!(renter.forward_io(reader, &mut output, LEASE, "ssh"), cut);
    assert_eq!(ended, Err(LinkError::Refused(Refusal::LeaseClosed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_its_relay_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let relay = common::relay(&folder, Admission::Everyone).await;
    let info = relay.info().clone();
    relay.shutdown().await;
    let gate = |_: &[u8; 32], _: &str, _: &str| Err(Refusal::NotYours);
    let host =
        nightjar_link::HostLink::start(&HOST_KEY, &info, std::sync::Arc::new(gate), &v4()).await.unwrap();
    assert!(!host.is_online());
    let error = host.online(Duration::from_millis(500)).await.unwrap_err();
    assert!(
        matches!(&error, LinkError::RelayUnreachable { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_shuts_down_ends_its_streams_at_once() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    let mut stream = renter.open(LEASE, "ssh").await.unwrap();
    echoes(&mut stream, b"x").await.unwrap();
    let started = Instant::now();
    let cut = async { (stream.read_u8().await, started.elapsed()) };
    let (_, (read, after)) = tokio::join!(scene.host.shutdown(), cut);
    assert!(read.is_err());
    assert!(after < Duration::from_secs(3), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_of_the_relay_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = common::relay_config(&folder, port, Admission::Everyone);
    let error = nightjar_link::RelayServer::start(config).await.err().unwrap();
    println!("{error}");
    assert!(error.to_string().contains(&port.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_on_this_side() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    assert_eq!(renter.open("", "ssh").await.err().unwrap().code(), "local");
    assert_eq!(renter.open(&"x".repeat(1000), "ssh").await.err().unwrap().code(), "local");
    let key = public_key(&RENTER_KEY);
    assert_eq!(renter.id(), key);
    let mut info = scene.relay.info().clone();
    info.url = "http://127.0.0.1:1".to_owned();
    let error = RenterLink::prepare(&RENTER_KEY, &key, &info, &v4()).await.err().unwrap();
    assert_eq!(error.code(), "local");
    drop(Worker::start().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_of_one_renter_share_the_relay() {
    let scene = Scene::new(&v4()).await;
    let first = scene.renter(&v6()).await;
    let mut ssh = first.open(LEASE, "ssh").await.unwrap();
    echoes(&mut ssh, b"first").await.unwrap();
    let second = scene.renter(&v6()).await;
    let mut jupyter = second.open(LEASE, "jupyter").await.unwrap();
    echoes(&mut jupyter, b"second").await.unwrap();
    for _ in 0..5 {
        let again = tokio::time::timeout(Duration::from_secs(2), echoes(&mut ssh, b"first again")).await;
        again.expect("the first program was cut off by the second").unwrap();
        echoes(&mut jupyter, b"second again").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_pauses_in_a_bulk_transfer_does_not_cost_the_connection() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    let (mut from, mut to) = tokio::io::split(renter.open(LEASE, "ssh").await.unwrap());
    let sender = tokio::spawn(async move {
        for _ in 0..200 {
            to.write_all(&[b'x'; 100_000]).await.unwrap();
        }
        to.shutdown().await.unwrap();
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        from.read_exact(&mut vec![0; 3_000_000]).await.unwrap();
    }
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), 11_000_000);
    sender.await.unwrap();
}

/// A program that prints line by line, while the renter's terminal has stopped: each line is a packet of its own, and noq
/// ends a connection that holds more than 2048 of them unread.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_pauses_does_not_cost_the_connection() {
    const LINES: usize = 4_000;
    let scene = Scene::new(&v4()).await;
    let printer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.leases.add("printing", public_key(&RENTER_KEY), printer.local_addr().unwrap());
    let printing = tokio::spawn(async move {
        let (mut tcp, _) = printer.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        for _ in 0..LINES {
            tcp.write_all(&[b'x'; 100]).await.unwrap();
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        tcp.shutdown().await.unwrap();
        let _ = tcp.read_u8().await;
    });
    let renter = scene.renter(&v4()).await;
    let (input, _writer) = std::io::pipe().unwrap();
    let (output, mut terminal) = tokio::io::duplex(1000);
    let watch = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(LINES as u64 * 2)).await;
        let mut text = Vec::new();
        terminal.read_to_end(&mut text).await.unwrap();
        text.len()
    });
    assert_eq!(renter.forward_io(input, output, "printing", "ssh").await, Ok(()));
    assert_eq!(watch.await.unwrap(), LINES * 100);
    drop(renter);
    printing.abort();
}
