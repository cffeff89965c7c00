//! Process 1 of the gateway: it puts up the fence before a tenant exists, and holds it.

mod board;
mod names;
mod pools;
pub mod probe;
mod proxy;
mod rules;
mod shaping;
mod traffic;

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use nightjar_core::network::{DefaultRoute, default_route};
use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::{
    GatewayBoot, GuestCommand, GuestEvent, NAMES_ADDRESS, NAMES_PORT, PROXY_PORT, Service,
};

use crate::line::{End, Heard, Line};
use crate::report;
use crate::services::{Services, await_listening, await_listening_at, not_listening};

/// Two seconds in all.
const MOST_SPAWNS: u32 = 40;
const SPAWN_AGAIN: Duration = Duration::from_millis(50);
const FIRST_PORT_FILE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Until the agent ends it or falls silent.
pub fn run() -> End {
    serve().unwrap_or_else(|end| end)
}

fn serve() -> Result<End, End> {
    let (mut line, boot) = Line::open::<GatewayBoot>()?;
    rules::check(&boot).map_err(|why| End::Failed { what: "configuration", why })?;
    shaping::check(boot.up_kbit, boot.down_kbit).map_err(|why| End::Failed { what: "configuration", why })?;
    check_ports(&boot)?;
    let route = way_out()?;
    let [best, second] = rules::rulesets(&boot, route.by);
    feed("nft", &["-f", "-"], &best)
        .or_else(|_| feed("nft", &["-f", "-"], &second))
        .map_err(|why| End::Failed { what: "netfilter", why })?;
    let shaper = shaping::Shaper::set_up(&route.device, boot.up_kbit, boot.down_kbit)
        .map_err(|why| End::Failed { what: "shaping", why })?;
    let board = board::serve(&boot)
        .map_err(|error| End::Failed { what: "notice", why: format!("it cannot be served: {error}") })?;

    let mut services = Services::new()?;
    traffic::watch(&route.device);
    pools::watch();
    let ready = GuestEvent::GatewayReady { shaping: shaper.kind() };
    let mut awaited = start_services(&boot, &mut services, &line)?;
    if awaited.is_empty() {
        report::event(&ready);
    }
    loop {
        match line.next()? {
            Heard::Listening { service, took_ms } => {
                report::event(&GuestEvent::Listening { service, took_ms });
                awaited.retain(|other| *other != service);
                if awaited.is_empty() {
                    report::event(&ready);
                }
            }
            Heard::NotListening { service } => return Err(not_listening(service)),
            Heard::Command(GuestCommand::SetBandwidth { up_kbit, down_kbit }) => {
                shaping::check(up_kbit, down_kbit)
                    .and_then(|()| shaper.change(up_kbit, down_kbit))
                    .map_err(|why| End::Failed { what: "shaping", why })?;
                board.set_bandwidth(up_kbit, down_kbit);
            }
            Heard::Command(GuestCommand::OwnAddresses { addresses }) => {
                let more = rules::more_own(&addresses);
                more.and_then(|more| more.map_or(Ok(()), |more| feed("nft", &["-f", "-"], &more)))
                    .map_err(|why| End::Failed { what: "netfilter", why })?;
            }
            Heard::Command(GuestCommand::Notice(notice)) => board.set_notice(Some(notice)),
            Heard::Command(GuestCommand::NoticeOver) => board.set_notice(None),
            Heard::Command(GuestCommand::Terminate | GuestCommand::CardChecked) | Heard::Nothing => {}
        }
        services.tend()?;
    }
}

/// Starts what curated egress needs, and gives what has to answer before a tenant comes.
fn start_services(boot: &GatewayBoot, services: &mut Services, line: &Line) -> Result<Vec<Service>, End> {
    if boot.egress != EgressMode::Curated {
        return Ok(Vec::new());
    }
    let mut awaited = vec![Service::Proxy];
    if rules::asks_itself(boot) {
        services.become_user(rules::PROXY_USER);
        services.start(names::prepare(&boot.allow_proxy_domains, &boot.name_servers)?)?;
        await_listening_at(Service::Names, (NAMES_ADDRESS, NAMES_PORT).into(), line.sender());
        awaited.push(Service::Names);
    }
    services.start(proxy::prepare(&boot.allow_proxy_domains)?)?;
    await_listening(Service::Proxy, PROXY_PORT, line.sender());
    Ok(awaited)
}

/// The worker has no capability, so the ports that it serves have to be open to everybody in this network.
fn check_ports(boot: &GatewayBoot) -> Result<(), End> {
    let first: u16 = std::fs::read_to_string(FIRST_PORT_FILE)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1_024);
    let own = rules::asks_itself(boot).then_some(NAMES_PORT);
    match boot.worker_ports.iter().copied().chain(own).find(|port| *port < first) {
        None => Ok(()),
        Some(port) => Err(End::Failed {
            what: "ports",
            why: format!(
                "an ordinary user cannot serve port {port} here: start the gateway with the sysctl \
                 net.ipv4.ip_unprivileged_port_start=0"
            ),
        }),
    }
}

/// Where packets leave: the way to the Engine's bridge.
fn way_out() -> Result<DefaultRoute, End> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    default_route(&table).ok_or_else(|| End::Failed {
        what: "network",
        why: "there is no default route: is the gateway on a bridge network of the Engine's?".to_owned(),
    })
}

/// A process that there is no room for right now is tried again: it may be a tenant who takes it.
fn patiently<T>(mut spawn: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    let mut tries = 1;
    loop {
        match spawn() {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::OutOfMemory)
                    && tries < MOST_SPAWNS =>
            {
                tries += 1;
                std::thread::sleep(SPAWN_AGAIN);
            }
            spawned => return spawned,
        }
    }
}

/// Runs a program with a text on its standard input; what it complains of is the error.
fn feed(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        patiently(|| command.spawn()).map_err(|error| format!("{program} cannot be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read to the end says why below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&output.stderr).chars().take(600).collect();
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_tried_again_and_nothing_else_is() {
        let mut tries = 0;
        let spawned = patiently(|| {
            tries += 1;
            if tries < 3 { Err(ErrorKind::WouldBlock.into()) } else { Ok(tries) }
        });
        assert_eq!(spawned.unwrap(), 3);
        let mut tries = 0;
        let refused = patiently(|| {
            tries += 1;
            Err::<(), _>(ErrorKind::NotFound.into())
        });
        assert_eq!((refused.unwrap_err().kind(), tries), (ErrorKind::NotFound, 1));
    }
}
