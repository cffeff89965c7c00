use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::oneshot;

use super::*;
use crate::engine::fake::FakeEngine;

const SOON: Duration = Duration::from_secs(20);

/// A line whose other end is in the test's hands, and is cut when that says so.
fn line(cut: oneshot::Receiver<()>) -> (Line, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(4_096);
    let end = async {
        let _ = cut.await;
        Err::<LogOutput, _>(ApiError::RequestTimeoutError)
    };
    let output = stream::once(end).boxed();
    (Line::take_up(AttachContainerResults { output, input: Box::pin(ours) }), theirs)
}

fn task(
    fake: &FakeEngine,
    lease: &LeaseId,
    stop: watch::Receiver<Option<Ending>>,
) -> (LeaseTask, mpsc::UnboundedSender<Order>) {
    let (sender, orders) = mpsc::unbounded_channel();
    let task = LeaseTask {
        engine: Engine::new(fake.address()),
        config: Arc::new(WorkersConfig::shipped(fake.address()).unwrap()),
        road: None,
        lease: lease.clone(),
        epoch: Epoch(1),
        reports: mpsc::unbounded_channel().0,
        orders,
        stop,
        ports: Ports::default(),
        traffic: Arc::default(),
        shelf: Arc::new(Shelf::open(None)),
        volumes: Arc::default(),
        own: watch::channel(OwnAddresses::default()).1,
        predecessors: Vec::new(),
    };
    (task, sender)
}

#[tokio::test]
async fn what_a_gateway_was_told_is_said_again_down_a_line_that_was_cut() {
    let running = r#"{"Id":"a","State":{"Running":true}}"#;
    let fake =
        FakeEngine::start(
            move |call| if call.starts_with("GET /containers/") { running.into() } else { "{}".into() },
        );
    let lease = LeaseId("6b1f7a52".into());
    let (stop, stopped) = watch::channel(None);
    let (mut task, orders) = task(&fake, &lease, stopped);
    let (cut, is_cut) = oneshot::channel();
    let (_keep, never) = oneshot::channel();
    let ((gateway, mut heard), (worker, _end)) = (line(is_cut), line(never));
    let ice = Ice::new(task.engine.clone(), Names::new(&lease, Epoch(1)).worker, None);
    let mut alive = Alive { lines: Some(Lines { gateway, worker }), ice };
    let serving = tokio::spawn(async move { drop(task.serve(&mut alive).await) });

    // It is on the line that is cut then: whether it was read, nobody knows.
    let limits = r#"{"command":"set_bandwidth","up_kbit":700,"down_kbit":900}"#;
    orders.send(Order::Bandwidth(Rates { up_kbit: 1, down_kbit: 1 })).unwrap();
    orders.send(Order::Bandwidth(Rates { up_kbit: 700, down_kbit: 900 })).unwrap();
    let mut said = Vec::new();
    let told = async {
        while !String::from_utf8_lossy(&said).contains(limits) {
            assert_ne!(heard.read_buf(&mut said).await.unwrap(), 0);
        }
    };
    timeout(SOON, told).await.expect("it was not told at all");
    cut.send(()).unwrap();
    let mut attached = fake.attached();
    let again = attached.wait_for(|said| said.contains(limits));
    let said = timeout(SOON, again).await.expect("it was not told again").unwrap().clone();
    assert!(!said.contains(r#""up_kbit":1,"#), "the limits before the last ones: {said}");
    stop.send_replace(Some(Ending::Kill));
    timeout(SOON, serving).await.unwrap().unwrap();
}
