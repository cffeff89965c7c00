//! The real gateway's process 1 in the tenant's namespace, on its line as the agent holds it, and the automatic beside it.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nightjar_agent::network::Automatic;
use nightjar_core::bandwidth::Vantage;
use nightjar_core::network::{Rates, Traffic};
use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::{GatewayBoot, GuestCommand, GuestEvent, Shaping};

use super::{Line, Place, SERVER};
use crate::place::program;

const READY_WITHIN: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(200);

/// Ends with this value.
pub struct Gateway {
    process: Child,
    mouth: Mouth,
    seen: Arc<Mutex<Seen>>,
    /// How incoming traffic is held to its limit on this kernel.
    pub shaping: Shaping,
    _beats: Sender<()>,
}

#[derive(Clone)]
struct Mouth(Arc<Mutex<ChildStdin>>);

/// What it said last.
#[derive(Clone, Copy, Default)]
struct Seen {
    total: Traffic,
    at_ms: u64,
    rates: Rates,
    heard: Option<Instant>,
}

impl Mouth {
    fn say(&self, text: &str) -> std::io::Result<()> {
        let mut input = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        input.write_all(text.as_bytes())?;
        input.write_all(b"\n")
    }

    fn set(&self, rates: Rates) -> anyhow::Result<()> {
        let Rates { up_kbit, down_kbit } = rates;
        Ok(self.say(&serde_json::to_string(&GuestCommand::SetBandwidth { up_kbit, down_kbit })?)?)
    }
}

impl Gateway {
    /// # Errors
    /// When it does not come up; what it said is in the error.
    pub fn start(line: &Line, rates: Rates) -> anyhow::Result<Self> {
        line.tenant.clear("inside");
        let mut command = line.tenant.command(&program("nightjar-guest")?);
        command.arg("gateway").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mouth = Mouth(Arc::new(Mutex::new(process.stdin.take().context("it has no input")?)));
        let boot = GatewayBoot {
            lease_id: String::from("line"),
            egress: EgressMode::Open,
            up_kbit: rates.up_kbit,
            down_kbit: rates.down_kbit,
            worker_ports: vec![8888],
            allow_proxy_domains: Vec::new(),
            blocked_networks: Vec::new(),
            root_inside: false,
            sandboxed: false,
            name_servers: Vec::new(),
            own_addresses: Vec::new(),
        };
        mouth.say(&serde_json::to_string(&boot)?)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (events, heard) = channel();
        let said = BufReader::new(process.stdout.take().context("it has no output")?);
        let own = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(GuestEvent::Traffic { up_bytes, down_bytes, at_ms }) => {
                        note(&own, Traffic { up_bytes, down_bytes }, at_ms);
                    }
                    Ok(event) => drop(events.send(event)),
                    Err(_) => {}
                }
            }
        });
        let (beats, until) = channel::<()>();
        let beating = mouth.clone();
        std::thread::spawn(move || {
            while until.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let _ = beating.say("");
            }
        });
        let shaping = match heard.recv_timeout(READY_WITHIN) {
            Ok(GuestEvent::GatewayReady { shaping }) => shaping,
            other => {
                let _ = process.kill();
                let _ = process.wait();
                bail!("the gateway did not come up: {other:?}");
            }
        };
        Ok(Self { process, mouth, seen, shaping, _beats: beats })
    }

    /// Other limits from now on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set(&self, rates: Rates) -> anyhow::Result<()> {
        self.mouth.set(rates)
    }

    /// All that has passed it.
    #[must_use]
    pub fn total(&self) -> Traffic {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Has the automatic tell it its limits from now on, as the agent does. Ends with what is returned.
    ///
    /// # Errors
    /// When the line's latency cannot be measured.
    pub fn automatic(&self, line: &Line, limits: Rates) -> anyhow::Result<Watching> {
        let (stop, until) = tokio::sync::oneshot::channel::<()>();
        let (mouth, seen) = (self.mouth.clone(), Arc::clone(&self.seen));
        let rates = Arc::new(Mutex::new(limits));
        let shown = Arc::clone(&rates);
        let thread = line.within(Place::Home, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(follow(limits, mouth, seen, shown, until))
        })?;
        Ok(Watching { _stop: stop, rates, _thread: thread })
    }
}

/// The automatic at work.
pub struct Watching {
    _stop: tokio::sync::oneshot::Sender<()>,
    rates: Arc<Mutex<Rates>>,
    _thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Watching {
    /// What it allows now.
    #[must_use]
    pub fn rates(&self) -> Rates {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(
    limits: Rates,
    mouth: Mouth,
    seen: Arc<Mutex<Seen>>,
    shown: Arc<Mutex<Rates>>,
    mut until: tokio::sync::oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    // As with a router in a home, what is asked first lies before the narrow place and sees nothing of it.
    let first_hop = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut automatic =
        Automatic::start(&[(first_hop, Vantage::Near), (SERVER.into(), Vantage::Beyond)], limits)?;
    let mut told = Rates::default();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = &mut until => return Ok(()),
            () = automatic.heed() => {}
            _ = tick.tick() => {
                let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
                let is_fresh = seen.heard.is_some_and(|at| at.elapsed() < 3 * TICK);
                automatic.carried(if is_fresh { seen.rates } else { Rates::default() });
                automatic.tick();
            }
        }
        let rates = automatic.rates();
        if rates != told {
            told = rates;
            mouth.set(rates)?;
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = rates;
        }
    }
}

fn note(seen: &Mutex<Seen>, total: Traffic, at_ms: u64) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let (added, passed) = (total.since(seen.total), at_ms.saturating_sub(seen.at_ms).max(1));
    let kbit = |bytes: u64| u32::try_from(bytes * 8 / passed).unwrap_or(u32::MAX);
    let rates = Rates { up_kbit: kbit(added.up_bytes), down_kbit: kbit(added.down_bytes) };
    *seen = Seen { total, at_ms, rates, heard: Some(Instant::now()) };
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
