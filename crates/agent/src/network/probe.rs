//! Echo requests (ICMP) to addresses near the line, and how long each answer took.
//!
//! An ordinary account may send them on most Linux systems (`net.ipv4.ping_group_range`); where it may not, and on Windows,
//! the automatic says so and the owner's limits hold as they are.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nightjar_core::bandwidth::Vantage;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::near::Host;

/// Between two requests while something is carried, and while nothing is.
const HURRIED: Duration = Duration::from_millis(50);
const CALM: Duration = Duration::from_millis(500);
/// An answer that takes longer counts as none.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// A clock that strikes so late shows that this program had to wait for a processor: what it measured meanwhile is not the
/// line's.
const LATE: Duration = Duration::from_millis(3);
const HEADER: usize = 8;
/// So that an answer is no answer to somebody else's request.
const MARK: &[u8; 8] = b"nightjar";

/// One answer, or `None` where none came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub reflector: usize,
    pub rtt_us: Option<u64>,
}

/// Runs until it is dropped.
pub(super) struct Probes {
    answers: mpsc::UnboundedReceiver<Answer>,
    hurry: watch::Sender<bool>,
    vantages: Vec<Vantage>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Probes {
    /// Of each host the first address is asked that can be.
    ///
    /// # Errors
    /// When none can be: see [`has_no_way`].
    pub(super) fn start(hosts: &[Host]) -> io::Result<Self> {
        let (told, answers) = mpsc::unbounded_channel();
        let (hurry, hurried) = watch::channel(false);
        let (mut tasks, mut vantages) = (Vec::new(), Vec::new());
        let mut faults = Vec::new();
        for host in hosts {
            for (address, vantage) in host {
                match Reflector::open(*address, tasks.len()) {
                    Ok(reflector) => {
                        let run = reflector.run(hurried.clone(), told.clone());
                        tasks.push(AbortOnDropHandle::new(tokio::spawn(run)));
                        vantages.push(*vantage);
                        break;
                    }
                    Err(error) => faults.push(error),
                }
            }
        }
        if tasks.is_empty() {
            Err(cause(faults))
        } else {
            Ok(Self { answers, hurry, vantages, _tasks: tasks })
        }
    }

    /// Where those are that are asked, by their numbers.
    pub(super) fn vantages(&self) -> &[Vantage] {
        &self.vantages
    }

    /// Ask often, because something is carried.
    pub(super) fn hurry(&self, is_hurried: bool) {
        self.hurry.send_if_modified(|known| std::mem::replace(known, is_hurried) != is_hurried);
    }

    /// Can be called off and called again.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }
}

/// Nobody can be asked because the line leads to nobody, and not because it is forbidden: that may be over in a moment.
pub(super) fn has_no_way(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable, NotFound};
    matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkDown | NetworkUnreachable | NotFound)
}

/// Where one address failed for want of a way, asking is allowed.
fn cause(faults: Vec<io::Error>) -> io::Error {
    let nobody = || io::Error::new(io::ErrorKind::NotFound, "there is no address to ask");
    let (no_way, others): (Vec<_>, Vec<_>) = faults.into_iter().partition(has_no_way);
    no_way.into_iter().chain(others).next().unwrap_or_else(nobody)
}

struct Reflector {
    socket: UdpSocket,
    number: usize,
    is_v6: bool,
    /// A raw socket hears every answer that this PC gets, and with its IP header.
    raw_id: Option<u16>,
}

impl Reflector {
    fn open(address: SocketAddr, number: usize) -> io::Result<Self> {
        let (domain, protocol) = match address {
            SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let (socket, raw_id) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, None),
            // Root may, where accounts may not.
            Err(error) => match Socket::new(domain, Type::RAW, Some(protocol)) {
                Ok(socket) => (socket, Some(rand::random())),
                Err(_) => return Err(error),
            },
        };
        socket.set_nonblocking(true)?;
        socket.connect(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, number, is_v6: address.is_ipv6(), raw_id })
    }

    async fn run(self, mut hurry: watch::Receiver<bool>, told: mpsc::UnboundedSender<Answer>) {
        let mut buffer = [0; 256];
        let mut waiting: VecDeque<(u16, Instant)> = VecDeque::new();
        // Told when the clock has struck in time.
        let mut measured = Vec::new();
        let mut sequence = 0_u16;
        let mut beat = beat(*hurry.borrow_and_update());
        loop {
            tokio::select! {
                // An answer that lies there was there before the clock struck.
                biased;
                length = self.socket.recv(&mut buffer) => {
                    let arrived = Instant::now();
                    // What a router says of an address that is not there is an error here; the probe is lost.
                    let Ok(length) = length else { continue };
                    let answered = self.sequence_of(&buffer[..length]);
                    let found = answered.and_then(|it| waiting.iter().position(|(asked, _)| *asked == it));
                    let Some((_, sent)) = found.and_then(|place| waiting.remove(place)) else { continue };
                    let rtt_us = u64::try_from((arrived - sent).as_micros()).ok();
                    measured.push(Answer { reflector: self.number, rtt_us });
                }
                changed = hurry.changed() => match changed {
                    Ok(()) => beat = self::beat(*hurry.borrow_and_update()),
                    Err(_) => return,
                },
                due = beat.tick() => {
                    let is_late = due.elapsed() > LATE;
                    for answer in measured.drain(..).filter(|_| !is_late) {
                        let _ = told.send(answer);
                    }
                    while waiting.front().is_some_and(|(_, sent)| sent.elapsed() >= LOST_AFTER) {
                        waiting.pop_front();
                        let _ = told.send(Answer { reflector: self.number, rtt_us: None });
                    }
                    sequence = sequence.wrapping_add(1);
                    waiting.push_back((sequence, Instant::now()));
                    // One that cannot be sent (no network) is one that is not answered.
                    let _ = self.socket.send(&self.request(sequence)).await;
                }
            }
        }
    }

    fn request(&self, sequence: u16) -> Vec<u8> {
        let kind = if self.is_v6 { 128 } else { 8 };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend(self.raw_id.unwrap_or(0).to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(MARK);
        // For IPv6 the kernel does it, which knows the addresses that it covers.
        if !self.is_v6 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    fn sequence_of(&self, packet: &[u8]) -> Option<u16> {
        let packet = match (self.raw_id, self.is_v6) {
            (Some(_), false) => packet.get(usize::from(packet.first()? & 0x0f) * 4..)?,
            _ => packet,
        };
        let kind = if self.is_v6 { 129 } else { 0 };
        if packet.len() < HEADER + MARK.len()
            || packet[0] != kind
            || &packet[HEADER..HEADER + MARK.len()] != MARK
        {
            return None;
        }
        let id = u16::from_be_bytes([packet[4], packet[5]]);
        self.raw_id.is_none_or(|own| own == id).then(|| u16::from_be_bytes([packet[6], packet[7]]))
    }
}

fn beat(is_hurried: bool) -> tokio::time::Interval {
    let mut beat = tokio::time::interval(if is_hurried { HURRIED } else { CALM });
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words =
        packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_makes_the_whole_add_up_to_nothing() {
        let mut packet = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, b'n', b'i', b'g'];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }

    /// Needs the right to ask, which a container may lack: then that is what is said.
    #[tokio::test]
    async fn this_pc_answers_itself_or_says_that_it_may_not_be_asked() {
        let at = |address: &str| (address.parse::<SocketAddr>().unwrap(), Vantage::Near);
        // An address of a link is nobody's without the link's name: the host's next one is asked.
        match Probes::start(&[vec![at("[fe80::1]:0"), at("127.0.0.1:0"), at("127.0.0.2:0")]]) {
            Ok(mut probes) => {
                assert_eq!(probes.vantages(), [Vantage::Near]);
                probes.hurry(true);
                let answer =
                    tokio::time::timeout(Duration::from_secs(5), probes.next()).await.unwrap().unwrap();
                assert_eq!(answer.reflector, 0);
                assert!(answer.rtt_us.is_some_and(|us| us < 500_000), "{answer:?}");
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }

    #[tokio::test]
    async fn nobody_to_ask_is_an_error() {
        assert!(Probes::start(&[]).is_err_and(|error| has_no_way(&error)));
    }

    #[test]
    fn asking_is_allowed_where_one_address_has_only_no_way() {
        use io::ErrorKind::{NetworkUnreachable, PermissionDenied, Unsupported};
        for (faults, is_for_want_of_a_way) in [
            (vec![NetworkUnreachable, Unsupported], true),
            (vec![Unsupported, NetworkUnreachable], true),
            (vec![PermissionDenied, Unsupported], false),
            (vec![], true),
        ] {
            let error = cause(faults.iter().map(|kind| (*kind).into()).collect());
            assert_eq!(has_no_way(&error), is_for_want_of_a_way, "{faults:?}: {error}");
        }
    }
}
