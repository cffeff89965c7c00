use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use futures_util::{StreamExt, stream};
use nightjar_core::parting::{Cause, Step};
use nightjar_core::time::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

use super::*;
use crate::engine::fake::FakeEngine;
use crate::second_road::{Done, RoadError};

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
) -> (LeaseTask, mpsc::UnboundedSender<Order>, mpsc::UnboundedReceiver<WorkerReport>) {
    let ((sender, orders), (reports, heard)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let task = LeaseTask {
        engine: Engine::new(fake.address()),
        config: Arc::new(WorkersConfig::shipped(fake.address()).unwrap()),
        road: None,
        lease: lease.clone(),
        epoch: Epoch(1),
        reports,
        orders,
        stop,
        ports: Ports::default(),
        traffic: Arc::default(),
        shelf: Arc::new(Shelf::open(None)),
        volumes: Arc::default(),
        own: watch::channel(OwnAddresses::default()).1,
        predecessors: Vec::new(),
        held: watch::channel(Held::nothing()).1,
    };
    (task, sender, heard)
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
    let (mut task, orders, _reports) = task(&fake, &lease, stopped);
    let (cut, is_cut) = oneshot::channel();
    let (_keep, never) = oneshot::channel();
    let ((gateway, mut heard), (worker, _end)) = (line(is_cut), line(never));
    let ice = Ice::new(task.engine.clone(), Names::new(&lease, Epoch(1)).worker, None);
    let mut alive = Alive { lines: Some(Lines { gateway, worker }), ..Alive::new(ice) };
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

/// The event that is waited for, of all that are reported.
async fn reported(reports: &mut mpsc::UnboundedReceiver<WorkerReport>, wanted: fn(&WorkerEvent) -> bool) {
    let heard = async { while !wanted(&reports.recv().await.expect("the task is over").event) {} };
    timeout(SOON, heard).await.expect("it was not reported");
}

#[tokio::test]
async fn a_gateway_keeps_its_limits_and_its_count_while_its_tenant_is_asked_to_end() {
    let fake = FakeEngine::start(|call| match call {
        "GET /info" => "{}".into(),
        call if call.starts_with("GET ") => "[]".into(),
        call if call.ends_with("/update") => "{}".into(),
        _ => String::new(),
    });
    let lease = LeaseId("6b1f7a52".into());
    let (stop, stopped) = watch::channel(None);
    let (task, orders, mut reports) = task(&fake, &lease, stopped);
    let ((mut says, output), (ours, theirs)) = (tokio::io::duplex(4_096), tokio::io::duplex(4_096));
    let gateway = Line::take_up(AttachContainerResults {
        output: tokio_util::io::ReaderStream::new(output)
            .map(|bytes| Ok(LogOutput::StdOut { message: bytes.unwrap() }))
            .boxed(),
        input: Box::pin(ours),
    });
    let (_keep, never) = oneshot::channel();
    let (worker, _end) = line(never);
    let ice = Ice::new(task.engine.clone(), Names::new(&lease, Epoch(1)).worker, None);
    let listed = Some(task.traffic.list(&lease));
    let alive = Alive { lines: Some(Lines { gateway, worker }), listed, ..Alive::new(ice) };
    let mut passed = task.traffic.subscribe();
    let mut heard = tokio::io::BufReader::new(theirs).lines();
    let at = Timestamp(0);
    let parting = Parting { step: Step::End, cause: Cause::Game, at, deadline: at };
    let soft = Ending::Soft { grace: SOON * 10, parting };
    stop.send_replace(Some(soft));
    let making = TaskTracker::new();
    making.close();
    let ending = tokio::spawn(async move { task.end(Over::Stopped(soft), &making, alive).await });

    orders.send(Order::Bandwidth(Rates { up_kbit: 700, down_kbit: 900 })).unwrap();
    let told = async { while !heard.next_line().await.unwrap().unwrap().contains("\"up_kbit\":700") {} };
    timeout(SOON, told).await.expect("the limits did not reach the gateway");
    says.write_all(b"{\"event\":\"traffic\",\"up_bytes\":5,\"down_bytes\":7,\"at_ms\":9}\n").await.unwrap();
    let counts =
        passed.wait_for(|table| table.get(&lease).is_some_and(|gateway| gateway.total.down_bytes == 7));
    timeout(SOON, counts).await.expect("what passed did not count").unwrap();
    orders.send(restrain(25).0).unwrap();
    reported(&mut reports, |event| matches!(event, WorkerEvent::Restrained { .. })).await;
    stop.send_replace(Some(Ending::Kill));
    reported(&mut reports, |event| matches!(event, WorkerEvent::Gone { .. })).await;
    timeout(SOON, ending).await.unwrap().unwrap();
    assert!(passed.borrow().is_empty());
}

#[tokio::test]
async fn a_freeze_does_not_wait_for_a_line_that_is_lost() {
    // One that answers, and not what was asked: nothing can be looked at, and nothing is over either.
    let fake = FakeEngine::start(|call| if call.starts_with("GET ") { "?".into() } else { "{}".into() });
    let lease = LeaseId("6b1f7a52".into());
    let (stop, stopped) = watch::channel(None);
    let (mut task, orders, mut reports) = task(&fake, &lease, stopped);
    let (cut, is_cut) = oneshot::channel();
    let (_keep, never) = oneshot::channel();
    let ((worker, _end), (gateway, _other)) = (line(is_cut), line(never));
    let ice = Ice::new(task.engine.clone(), Names::new(&lease, Epoch(1)).worker, None);
    let mut alive = Alive { lines: Some(Lines { gateway, worker }), ..Alive::new(ice) };
    let names = Names::new(&lease, Epoch(1));
    cut.send(()).unwrap();
    // Right there, so that no order is read before the line is known to be lost.
    let lost = tokio::spawn(async move { task.line_lost(&mut alive, &names, Part::Worker).await.err() });
    let at = Timestamp(0);
    let parting = Parting { step: Step::Freeze, cause: Cause::OwnerBack, at, deadline: at };
    orders.send(Order::Freeze { called: std::time::Instant::now(), parting }).unwrap();
    reported(&mut reports, |event| matches!(event, WorkerEvent::Frozen { .. })).await;
    stop.send_replace(Some(Ending::Kill));
    let over = timeout(SOON, lost).await.unwrap().unwrap();
    assert!(matches!(over, Some(Over::Stopped(Ending::Kill))));
}

/// An Engine that answers what limits a worker when it is told what; all it hears, in order.
fn slow_to_limit() -> (FakeEngine, mpsc::UnboundedReceiver<String>, std::sync::mpsc::Sender<&'static str>) {
    let ((heard, calls), (answers, told)) = (mpsc::unbounded_channel(), std::sync::mpsc::channel::<&str>());
    let told = std::sync::Mutex::new(told);
    let fake = FakeEngine::start(move |call| {
        let _ = heard.send(call.to_owned());
        if call.ends_with("/update") {
            let answer = tokio::task::block_in_place(|| told.lock().unwrap().recv());
            return answer.unwrap_or_default().to_owned();
        }
        if call.starts_with("GET /containers/") { "?".into() } else { "{}".into() }
    });
    (fake, calls, answers)
}

/// Until the Engine hears it; all the calls that change a container, that one with them.
async fn called(calls: &mut mpsc::UnboundedReceiver<String>, what: &str) -> Vec<String> {
    let mut changes = Vec::new();
    let heard = async {
        while changes.last().is_none_or(|last| last != what) {
            let call = calls.recv().await.expect("the Engine is gone");
            if call.starts_with("POST ") {
                changes.push(call.rsplit('/').next().unwrap_or_default().to_owned());
            }
        }
    };
    timeout(SOON, heard).await.expect("it was not called");
    changes
}

async fn next(reports: &mut mpsc::UnboundedReceiver<WorkerReport>) -> WorkerEvent {
    timeout(SOON, reports.recv()).await.expect("nothing is reported").expect("the task is over").event
}

fn restrain(cpu_percent: u32) -> (Order, WorkerEvent) {
    let sharing = Some(Sharing { cpu_percent, ..Sharing::default() });
    (Order::Restrain { cores: 4, sharing }, WorkerEvent::Restrained { sharing })
}

fn freeze() -> Order {
    let at = Timestamp(0);
    let parting = Parting { step: Step::Freeze, cause: Cause::OwnerBack, at, deadline: at };
    Order::Freeze { called: std::time::Instant::now(), parting }
}

/// A worker that runs; whether its line is lost while it does.
fn running(fake: &FakeEngine, is_lost: bool) -> Running {
    let lease = LeaseId("6b1f7a52".into());
    let (stop, stopped) = watch::channel(None);
    let (mut task, orders, reports) = task(fake, &lease, stopped);
    let ((cut, is_cut), (keep, never)) = (oneshot::channel(), oneshot::channel());
    let ((worker, worker_end), (gateway, gateway_end)) = (line(is_cut), line(never));
    let ice = Ice::new(task.engine.clone(), Names::new(&lease, Epoch(1)).worker, None);
    let mut alive = Alive { lines: Some(Lines { gateway, worker }), ..Alive::new(ice) };
    let serving = tokio::spawn(async move {
        match is_lost {
            true => drop(task.line_lost(&mut alive, &Names::new(&lease, Epoch(1)), Part::Worker).await),
            false => drop(task.serve(&mut alive).await),
        }
    });
    Running { orders, reports, stop, serving, _lines: (cut, keep, worker_end, gateway_end) }
}

struct Running {
    orders: mpsc::UnboundedSender<Order>,
    reports: mpsc::UnboundedReceiver<WorkerReport>,
    stop: watch::Sender<Option<Ending>>,
    serving: tokio::task::JoinHandle<()>,
    _lines: (oneshot::Sender<()>, oneshot::Sender<()>, DuplexStream, DuplexStream),
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_freeze_nor_an_end_waits_for_limits_that_the_engine_is_slow_to_set() {
    for is_lost in [false, true] {
        let (fake, mut calls, answers) = slow_to_limit();
        let mut worker = running(&fake, is_lost);
        let (order, _) = restrain(25);
        worker.orders.send(order).unwrap();
        called(&mut calls, "update").await;
        worker.orders.send(freeze()).unwrap();
        let first = next(&mut worker.reports).await;
        assert!(matches!(first, WorkerEvent::Frozen { .. }), "{first:?}");
        worker.orders.send(Order::Thaw).unwrap();
        assert_eq!(next(&mut worker.reports).await, WorkerEvent::Thawed);
        worker.stop.send_replace(Some(Ending::Kill));
        timeout(SOON, worker.serving).await.unwrap().unwrap();
        // Nothing was answered up to now.
        drop(answers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_limits_that_are_wanted_meanwhile_the_last_ones_are_set_and_never_two_at_once() {
    for is_lost in [false, true] {
        let (fake, mut calls, answers) = slow_to_limit();
        let mut worker = running(&fake, is_lost);
        let ((first, is_first), (second, _), (last, is_last)) = (restrain(50), restrain(40), restrain(25));
        worker.orders.send(first).unwrap();
        called(&mut calls, "update").await;
        worker.orders.send(second).unwrap();
        worker.orders.send(last).unwrap();
        // They are heard by then.
        worker.orders.send(Order::Thaw).unwrap();
        assert_eq!(next(&mut worker.reports).await, WorkerEvent::Thawed);
        assert_eq!(called(&mut calls, "unpause").await, ["unpause"]);
        answers.send("{}").unwrap();
        assert_eq!(next(&mut worker.reports).await, is_first);
        assert_eq!(called(&mut calls, "update").await, ["update"]);
        answers.send("{}").unwrap();
        assert_eq!(next(&mut worker.reports).await, is_last);
        worker.orders.send(freeze()).unwrap();
        assert_eq!(called(&mut calls, "pause").await, ["pause"]);
        worker.stop.send_replace(Some(Ending::Kill));
        timeout(SOON, worker.serving).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_refused_to_a_worker_that_was_frozen_meanwhile_are_set_when_it_goes_on() {
    let (fake, mut calls, answers) = slow_to_limit();
    let mut worker = running(&fake, false);
    let (order, is_done) = restrain(25);
    worker.orders.send(order).unwrap();
    called(&mut calls, "update").await;
    worker.orders.send(freeze()).unwrap();
    reported(&mut worker.reports, |event| matches!(event, WorkerEvent::Frozen { .. })).await;
    answers.send("!it is frozen").unwrap();
    worker.orders.send(Order::Thaw).unwrap();
    assert_eq!(next(&mut worker.reports).await, WorkerEvent::Thawed);
    assert_eq!(called(&mut calls, "update").await, ["pause", "unpause", "update"]);
    answers.send("{}").unwrap();
    assert_eq!(next(&mut worker.reports).await, is_done);
    // What is refused to one that runs is refused.
    worker.orders.send(restrain(50).0).unwrap();
    answers.send("!no such thing here").unwrap();
    let refused = next(&mut worker.reports).await;
    assert!(matches!(refused, WorkerEvent::RestrainFailed { .. }), "{refused:?}");
    worker.stop.send_replace(Some(Ending::Kill));
    timeout(SOON, worker.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_adopted_sandbox_is_frozen_with_one_call_and_thawed_before_its_end() {
    let heard: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let hearing = heard.clone();
    let running = r#"{"Id":"a","State":{"Running":true},"Config":{"Labels":{"nightjar.sandbox":"gvisor"}}}"#;
    let fake = FakeEngine::start(move |call| {
        hearing.lock().unwrap().push(call.to_owned());
        match call {
            "GET /containers/json" | "GET /networks" => "[]".to_owned(),
            call if call.starts_with("GET /containers/") => running.to_owned(),
            _ => "{}".to_owned(),
        }
    });
    let lease = LeaseId("6b1f7a52".into());
    let (stop, stopped) = watch::channel(None);
    let (task, orders, mut reports) = task(&fake, &lease, stopped);
    let at = Timestamp(0);
    let parting = Parting { step: Step::Freeze, cause: Cause::OwnerBack, at, deadline: at };
    orders.send(Order::Freeze { called: std::time::Instant::now(), parting }).unwrap();
    let running = tokio::spawn(task.run(Begin::Adopt { kept: None }));
    reported(&mut reports, |event| matches!(event, WorkerEvent::Frozen { .. })).await;
    stop.send_replace(Some(Ending::Kill));
    reported(&mut reports, |event| matches!(event, WorkerEvent::Gone { .. })).await;
    timeout(SOON, running).await.unwrap().unwrap();
    let worker = Names::new(&lease, Epoch(1)).worker;
    let heard = heard.lock().unwrap().clone();
    let frozen = heard.iter().position(|call| call.ends_with("/pause")).unwrap();
    let call = |what: &str| format!("POST /containers/{worker}/{what}");
    assert_eq!(heard[frozen..frozen + 3], [call("pause"), call("unpause"), call("kill")]);
    let looks = heard
        .iter()
        .filter(|call| call.starts_with("GET /containers/") && !call.ends_with("/containers/json"));
    assert_eq!(looks.count(), 2, "each container once, at the adoption: {heard:?}");
}

/// A slow Engine has carried out the earlier run's last word, and its process 1 is about to read why.
#[tokio::test]
async fn an_adopted_worker_that_is_paused_goes_on_and_reads_that_its_notice_is_over() {
    let heard: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let hearing = heard.clone();
    let fake = FakeEngine::start(move |call| {
        hearing.lock().unwrap().push(call.to_owned());
        match call {
            "GET /containers/json" | "GET /networks" => "[]".to_owned(),
            call if call.starts_with("GET ") => {
                r#"{"Id":"a","State":{"Running":true,"Paused":true}}"#.to_owned()
            }
            _ => "{}".to_owned(),
        }
    });
    let lease = LeaseId("6b1f7a52".into());
    let (stop, stopped) = watch::channel(None);
    let (task, _orders, mut reports) = task(&fake, &lease, stopped);
    let running = tokio::spawn(task.run(Begin::Adopt { kept: None }));
    reported(&mut reports, |event| matches!(event, WorkerEvent::Thawed)).await;
    let unpause = format!("POST /containers/{}/unpause", Names::new(&lease, Epoch(1)).worker);
    assert_eq!(heard.lock().unwrap().iter().filter(|call| **call == unpause).count(), 1);
    let mut attached = fake.attached();
    let both = attached.wait_for(|said| said.matches(r#""command":"notice_over""#).count() == 2);
    timeout(SOON, both).await.expect("the notice stays").unwrap();
    stop.send_replace(Some(Ending::Kill));
    timeout(SOON, running).await.unwrap().unwrap();
}

/// A helper that can be away.
#[derive(Default)]
struct Road {
    is_away: AtomicBool,
}

impl Road {
    fn answer(&self) -> Done {
        let answer = match self.is_away.load(SeqCst) {
            true => Err(RoadError::Refused("the helper is not installed".into())),
            false => Ok(()),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl SecondRoad for Road {
    fn guard(&self, _: &str) {}
    fn release(&self, _: &str) {}
    fn freeze(&self, _: &str) -> Done {
        self.answer()
    }
    fn thaw(&self, _: &str) -> Done {
        self.answer()
    }
    fn end(&self, _: &str) -> Done {
        self.answer()
    }
}

#[tokio::test]
async fn what_may_stand_frozen_is_not_over_without_the_word_of_who_can_end_it() {
    let is_silent = Arc::new(AtomicBool::new(true));
    let silent = is_silent.clone();
    let fake = FakeEngine::start(move |_| if silent.load(SeqCst) { "?".into() } else { "[]".into() });
    let lease = LeaseId("6b1f7a52".into());
    let (task, _orders, _reports) = task(&fake, &lease, watch::channel(None).1);
    let road = Arc::new(Road::default());
    let ice = |road: &Arc<Road>| Ice::new(task.engine.clone(), "w".to_owned(), Some(road.clone()));
    let mut sandbox = ice(&road);
    sandbox.know(Cell::Sandbox);
    sandbox.guard("id".to_owned());
    assert!(matches!(sandbox.freeze(std::time::Instant::now()).await, WorkerEvent::Frozen { .. }));
    road.is_away.store(true, SeqCst);
    let mut found = ice(&road);
    found.find();
    for ice in [&mut sandbox, &mut found] {
        let over = timeout(Duration::from_millis(1_500), task.nothing_runs(Instant::now(), ice)).await;
        assert!(over.is_err(), "{over:?}");
    }
    // Its process 1 has heard that its line is cut.
    let cause = timeout(SOON, task.nothing_runs(Instant::now(), &mut ice(&road))).await.unwrap();
    assert!(cause.contains("it ended itself"), "{cause}");
    road.is_away.store(false, SeqCst);
    let cause = timeout(SOON, task.nothing_runs(Instant::now(), &mut sandbox)).await.unwrap();
    assert!(cause.contains("the helper ended it"), "{cause}");
    is_silent.store(false, SeqCst);
    let cause = timeout(SOON, task.nothing_runs(Instant::now(), &mut found)).await.unwrap();
    assert!(cause.contains("not yet removed"), "{cause}");
}
