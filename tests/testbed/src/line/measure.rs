//! What is measured on a line, for tests and for the bench.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::Context;
use nightjar_core::network::Rates;

use super::flows::{Game, Greedy, Server, Way};
use super::{Gateway, Line, Place, SERVER};

/// A full packet on the wire and what of it a program gets: limits count the first, programs see the second.
const WIRE_BYTES: f64 = 1_514.0;
const GOOD_BYTES: f64 = 1_448.0;
/// Until connections have found their speed.
const WARM_UP: Duration = Duration::from_secs(2);
/// Of a tenant that wants all it can get, and how long they take to fill a modem.
const CONNECTIONS: usize = 12;
const FILLED_AFTER: Duration = Duration::from_secs(8);
/// A limit is looked at for so long at a time.
const SLICE: Duration = Duration::from_secs(1);
const SLOT: Duration = Duration::from_millis(10);
/// A rate is what passes in this time.
const WINDOW_SLOTS: usize = 5;
/// So near a new limit counts as there.
const THERE: f64 = 0.15;

fn one_way(way: Way, kbit: u32) -> Rates {
    let wide = 1_000_000;
    match way {
        Way::Up => Rates { up_kbit: kbit, down_kbit: wide },
        Way::Down => Rates { up_kbit: wide, down_kbit: kbit },
    }
}

/// Bytes that a greedy tenant has brought over, at the receiving end.
fn delivered(way: Way, greedy: &Greedy, server: &Server) -> u64 {
    match way {
        Way::Up => server.taken(),
        Way::Down => greedy.taken(),
    }
}

/// How far what passes is from the limit, in percent of it; above it is positive. It is that of the median second, from
/// which a machine that stands still for a moment takes nothing; or that of the whole time, where more passed than may.
///
/// # Errors
/// When a part fails.
pub fn shaping_error(
    line: &Line,
    server: &Server,
    way: Way,
    kbit: u32,
    time: Duration,
) -> anyhow::Result<f64> {
    let gateway = Gateway::start(line, one_way(way, kbit))?;
    let greedy = Greedy::start(line, way, 2)?;
    std::thread::sleep(WARM_UP);
    let began = Instant::now();
    let mut marks = vec![(began, delivered(way, &greedy, server))];
    while began.elapsed() < time {
        std::thread::sleep(SLICE);
        marks.push((Instant::now(), delivered(way, &greedy, server)));
    }
    drop((greedy, gateway));
    let error = |from: (Instant, u64), to: (Instant, u64)| {
        let kbit_seen = (to.1 - from.1) as f64 * 8.0 / 1_000.0 / (to.0 - from.0).as_secs_f64();
        (kbit_seen * WIRE_BYTES / GOOD_BYTES / f64::from(kbit) - 1.0) * 100.0
    };
    let mut of_slices: Vec<f64> = marks.windows(2).map(|pair| error(pair[0], pair[1])).collect();
    of_slices.sort_unstable_by(f64::total_cmp);
    let median = of_slices.get(of_slices.len() / 2).copied().context("no time to measure in")?;
    let whole = error(marks[0], marks[marks.len() - 1]);
    Ok(if whole > median.abs() { whole } else { median })
}

/// Between the word and the end of the first twentieth of a second in which what passes is within 15 % of the new limit,
/// on connections that go on.
///
/// # Errors
/// When a part fails, or the new limit is not kept within two seconds.
pub fn live_change(line: &Line, server: &Server, way: Way, times: usize) -> anyhow::Result<Vec<Duration>> {
    let rates = [20_000, 60_000];
    let gateway = Gateway::start(line, one_way(way, rates[1]))?;
    let greedy = Greedy::start(line, way, 2)?;
    std::thread::sleep(WARM_UP);
    let mut taken = Vec::new();
    for number in 0..times {
        let kbit = rates[number % 2];
        let said = Instant::now();
        gateway.set(one_way(way, kbit))?;
        let mut seen = vec![(said, delivered(way, &greedy, server))];
        while said.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(SLOT);
            seen.push((Instant::now(), delivered(way, &greedy, server)));
        }
        let there = seen.windows(WINDOW_SLOTS + 1).find_map(|window| {
            let [(from, before), .., (to, after)] = window else { return None };
            let kbit_seen = (after - before) as f64 * 8.0 / 1_000.0 / (*to - *from).as_secs_f64();
            let wire = kbit_seen * WIRE_BYTES / GOOD_BYTES;
            ((wire / f64::from(kbit) - 1.0).abs() <= THERE).then_some(*to - said)
        });
        taken.push(there.with_context(|| format!("{kbit} kbit/s were not kept within two seconds"))?);
    }
    Ok(taken)
}

/// A game's round trips on the idle line, beside a tenant without the automatic, and with it.
pub struct Pings {
    pub idle: Vec<Duration>,
    pub unshaped: Vec<Duration>,
    pub automatic: Vec<Duration>,
    /// Of the line's width, what the tenant got meanwhile.
    pub used_percent: f64,
}

/// On a line that is `kbit` wide in that direction. The owner's limits are far above it, as with somebody who never
/// touched a slider.
///
/// # Errors
/// When a part fails.
pub fn pings(way: Way, kbit: u32, settle: Duration, time: Duration) -> anyhow::Result<Pings> {
    let line = match way {
        Way::Up => Line::lay(Some(kbit), None)?,
        Way::Down => Line::lay(None, Some(kbit))?,
    };
    let server = Server::start(&line)?;
    let limits = Rates { up_kbit: 1_000_000, down_kbit: 1_000_000 };
    let gateway = Gateway::start(&line, limits)?;
    let game = Game::start(&line)?;
    let idle = game.trips_of(time);
    let greedy = Greedy::start(&line, way, CONNECTIONS)?;
    std::thread::sleep(FILLED_AFTER);
    let unshaped = game.trips_of(Duration::from_secs(3));
    drop(greedy);
    std::thread::sleep(Duration::from_secs(2));

    let watching = gateway.automatic(&line, limits)?;
    std::thread::sleep(Duration::from_secs(2));
    let greedy = Greedy::start(&line, way, CONNECTIONS)?;
    std::thread::sleep(settle);
    let (began, before) = (Instant::now(), delivered(way, &greedy, &server));
    let automatic = game.trips_of(time);
    let bytes = delivered(way, &greedy, &server) - before;
    let used_kbit = bytes as f64 * 8.0 / 1_000.0 / began.elapsed().as_secs_f64() * WIRE_BYTES / GOOD_BYTES;
    eprintln!("the automatic allows {:?}", watching.rates());
    Ok(Pings { idle, unshaped, automatic, used_percent: used_kbit / f64::from(kbit) * 100.0 })
}

/// Round trips of a small packet from the tenant's place to the server.
///
/// # Errors
/// When the server does not answer.
pub fn round_trips(line: &Line, times: usize) -> anyhow::Result<Vec<Duration>> {
    let trips = line.within(Place::Tenant, move || -> std::io::Result<Vec<Duration>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((SERVER, super::flows::GAME_PORT))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (packet, mut back) = ([7; 64], [0; 64]);
        let mut trips = Vec::new();
        for _ in 0..times {
            let sent = Instant::now();
            socket.send(&packet)?;
            socket.recv(&mut back)?;
            trips.push(sent.elapsed());
        }
        Ok(trips)
    })?;
    let trips = trips.join().map_err(|_| anyhow::anyhow!("the thread of the round trips ended"))?;
    trips.context("a packet did not come back")
}
