//! Renting: ask, follow the lease until its worker is ready, and say each step with its time.

use std::time::{Duration, Instant};

use iroh_base::SecretKey;
use nightjar_core::lease::{EndReason, LeaseState};
use nightjar_core::market::AfterInterruption;
use nightjar_core::money::Money;
use nightjar_protocol::market_api::{Lease, OfferQuery, RentRequest, VolumeSecret};

use super::arguments::{Filters, Rent};
use crate::failure::{Exit, Failure};
use crate::output::{Output, note, printable, texts};
use crate::quantity::spell_ms;

use super::market::Market;
use super::show;
use super::state::RenterState;

/// What is rented when nothing is said: the image with the framework in it.
const USUAL_IMAGE: &str = "pytorch-cuda:full";
/// And what, when a language model is to be served.
const SERVING_IMAGE: &str = "llm-inference:full";
/// A market that answers at once although nothing changed is not asked more often than this.
const ASK_AT_MOST_EVERY: Duration = Duration::from_millis(300);
/// A market that restarts meanwhile is waited for: the lease goes on without it.
const SILENT_AT_MOST: Duration = Duration::from_secs(60);

#[must_use]
pub fn query(filters: &Filters) -> OfferQuery {
    OfferQuery {
        model: filters.model.clone(),
        min_vram_mib: filters.vram,
        region: filters.region.clone(),
        max_price_per_hour_micros: filters.max_price,
        image: filters.image.clone(),
        root_inside: filters.root_inside,
        no_sandbox: filters.no_sandbox,
    }
}

/// # Errors
/// When no card is enough, the market refuses, or the lease ends before its worker is ready.
pub async fn rent(state: &RenterState, arguments: &Rent, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let ssh_key = state.ssh_key(arguments.ssh_key.as_deref())?;
    let link_key = state.link_key()?;
    let usual = arguments.serve.as_ref().map_or(USUAL_IMAGE, |_| SERVING_IMAGE);
    let image = arguments.filters.image.clone().unwrap_or_else(|| usual.to_owned());
    let filters = Filters { image: Some(image.clone()), ..arguments.filters.clone() };
    let mut requirements = query(&filters).requirements(nightjar_core::money::Currency::CNY);
    requirements.serve_model.clone_from(&arguments.serve);
    if let Some(micros) = filters.max_price {
        // A limit in another currency than the market's would match nothing.
        requirements.max_price_per_hour = Some(Money::new(micros, market.about().await?.currency));
    }
    let request = RentRequest {
        requirements,
        image,
        renter_key: hex::encode(link_key.public().as_bytes()),
        ssh_public_key: ssh_key.public_line.clone(),
        after_interruption: match (arguments.interruptible, arguments.wait_for_host) {
            (_, true) => AfterInterruption::SameHostOnly,
            (true, false) => AfterInterruption::SameHostFirst,
            (false, false) => AfterInterruption::End,
        },
        volume_secret: Some(volume_secret(&link_key)),
    };
    let started = Instant::now();
    let lease = market.rent(&request).await.map_err(|failure| match failure.exit {
        Exit::Unreachable => {
            failure.advise("`nightjar leases` shows whether the lease was made all the same")
        }
        _ => failure,
    })?;
    state.remember_ssh_key(&lease.lease, &ssh_key)?;
    let lease = if arguments.no_wait {
        lease
    } else {
        let most = Duration::from_millis(arguments.timeout);
        let followed = tokio::select! {
            followed = follow(&market, lease.clone(), filters.no_sandbox, started) => followed,
            () = tokio::time::sleep(most) => {
                Err(give_up(&market, &lease, &format!("the worker was not ready after {}", spell_ms(arguments.timeout))).await)
            }
            _ = tokio::signal::ctrl_c() => Err(give_up(&market, &lease, "you stopped waiting").await),
        };
        followed?
    };
    note(&show::volume(&lease, texts()));
    output.print(&show::lease_object(&lease), &lease.lease.0)
}

/// What this renter keeps on hosts can be read with it: as secret as the link key, and the same as long as that is.
fn volume_secret(link_key: &SecretKey) -> VolumeSecret {
    VolumeSecret(hex::encode(link_key.sign(b"nightjar-volume/1").to_bytes()))
}

/// Until the worker can be reached.
async fn follow(
    market: &Market,
    mut lease: Lease,
    no_sandbox: bool,
    started: Instant,
) -> Result<Lease, Failure> {
    let mut told = None;
    loop {
        let line = progress(&lease);
        if told.as_ref() != Some(&line) {
            note(&format!("{:7.1} s  {line}", started.elapsed().as_secs_f64()));
            told = Some(line);
        }
        if lease.state.is_reachable() && lease.access.is_some() {
            return Ok(lease);
        }
        if let LeaseState::Ending { reason } | LeaseState::Ended { reason } = &lease.state {
            return Err(ended_early(reason, no_sandbox));
        }
        lease = next(market, &lease).await?;
    }
}

/// The lease as it is after its next change, over short absences of the market.
///
/// # Errors
/// When the market stays away, or says no.
pub async fn next(market: &Market, known: &Lease) -> Result<Lease, Failure> {
    let since = Instant::now();
    loop {
        let asked = Instant::now();
        match market.lease_after(known).await {
            Ok(lease) => {
                if lease.state == known.state {
                    tokio::time::sleep(ASK_AT_MOST_EVERY.saturating_sub(asked.elapsed())).await;
                }
                return Ok(lease);
            }
            Err(failure) if failure.exit == Exit::Unreachable && since.elapsed() < SILENT_AT_MOST => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn give_up(market: &Market, lease: &Lease, why: &str) -> Failure {
    let name = show::short(&lease.lease.0);
    match market.stop(&lease.lease).await {
        Ok(_) => Failure::failed(format!("{why}; lease {name} is ended and costs nothing more")),
        Err(failure) => {
            Failure::failed(format!("{why}, and lease {name} could not be ended: {}", failure.what))
                .advise(format!("`nightjar stop {name}` ends it"))
        }
    }
}

fn progress(lease: &Lease) -> String {
    let what = show::state(lease, texts());
    match lease.state {
        LeaseState::Offered => {
            let (model, region) = (printable(&lease.model), printable(&lease.region));
            let price = texts().money(lease.price_per_hour);
            format!("offered to a host in {region}: {model} for {price} an hour")
        }
        LeaseState::Ready | LeaseState::Running => {
            let card = lease.access.as_ref().map_or(&lease.model, |access| &access.device_name);
            format!("ready: {} passed its self-check", printable(card))
        }
        _ => what,
    }
}

fn ended_early(reason: &EndReason, no_sandbox: bool) -> Failure {
    let why = printable(&texts().end_reason(reason));
    match reason {
        // The offers that it was chosen from may be older than the host's gVisor.
        EndReason::Declined if no_sandbox => {
            Failure::new(Exit::NothingMatched, format!("no host took the job: {why}")).advise(
                "try again in a moment, or without --no-sandbox: a host that uses gVisor by now takes no such lease",
            )
        }
        EndReason::Declined | EndReason::OfferExpired => {
            Failure::new(Exit::NothingMatched, format!("no host took the job: {why}"))
                .advise("try again in a moment; `nightjar offers` shows what there is now")
        }
        EndReason::BalanceExhausted => {
            Failure::new(Exit::Refused, why).advise("`nightjar account` shows the balance")
        }
        _ => Failure::failed(format!("the lease ended before its worker was ready: {why}"))
            .advise("nothing was charged; `nightjar rent` again finds another card"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::renter::sample;

    #[test]
    fn each_step_says_what_happens() {
        let line = |state| progress(&sample::lease("3f2a", state));
        assert_eq!(
            line(LeaseState::Offered),
            "offered to a host in cn-east: NVIDIA GeForce RTX 4090 for CN¥1.50 an hour"
        );
        assert_eq!(line(LeaseState::Ready), line(LeaseState::Running));
        assert_eq!(line(LeaseState::Ready), "ready: NVIDIA GeForce RTX 4090 passed its self-check");
    }

    #[test]
    fn how_a_lease_ended_decides_the_exit() {
        let ended = |reason| ended_early(&reason, false);
        assert_eq!(ended(EndReason::Declined).exit, Exit::NothingMatched);
        assert_eq!(ended(EndReason::BalanceExhausted).exit, Exit::Refused);
        let bare = ended_early(&EndReason::Declined, true);
        assert_eq!(bare.exit, Exit::NothingMatched);
        assert!(format!("{bare}").contains("--no-sandbox"), "{bare}");
        let failure = ended(EndReason::SelfCheckFailed { cause: "cuInit: no device".into() });
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.what.contains("cuInit"), "{failure}");
    }
}
