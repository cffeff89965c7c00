//! Commands of a renter. Each asks the market, and what goes to a worker goes through the tunnel.

mod api;
pub mod arguments;
mod choice;
mod jupyter;
mod market;
mod port;
mod rent;
#[cfg(test)]
mod sample;
mod show;
mod ssh;
mod state;
mod tunnel;

use std::io::{BufRead, IsTerminal, Read};

use serde_json::json;

use arguments::{Filters, LeaseList, Login, OneLease, Stop};

use crate::failure::{Exit, Failure};
use crate::moment::clock;
use crate::output::{Output, note, texts};

pub use api::api;
pub use jupyter::jupyter;
pub use rent::rent;
pub use ssh::{ssh, ssh_config};
pub use state::RenterState;
pub use tunnel::proxy;

use market::{Market, market_url};
use state::Membership;

/// No token is longer.
const MAX_TOKEN_BYTES: u64 = 512;

/// # Errors
/// When the address or the token is not taken; nothing is kept then.
pub async fn login(state: &RenterState, arguments: &Login, output: Output) -> Result<(), Failure> {
    market_url(&arguments.url, arguments.allow_plain_http)?;
    let token = read_token(arguments.token.is_some())?;
    let coordinator = arguments.url.trim_end_matches('/').to_owned();
    let membership = Membership { coordinator, token, allow_plain_http: arguments.allow_plain_http };
    let account = Market::of(&membership)?.account().await?;
    state.log_in(&membership)?;
    let object = json!({ "coordinator": membership.coordinator, "account": account });
    output.print(&object, &show::account(&account, &membership.coordinator, texts()))
}

/// From the terminal without showing it, or the first line of standard input.
fn read_token(from_stdin: bool) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("the token cannot be read: {error}"));
    let text = if from_stdin || !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin().lock().take(MAX_TOKEN_BYTES + 1).read_line(&mut line).map_err(failed)?;
        line
    } else {
        rpassword::prompt_password("Token: ").map_err(failed)?
    };
    let token = text.trim();
    let fits =
        (1..=MAX_TOKEN_BYTES).contains(&(token.len() as u64)) && token.chars().all(|c| c.is_ascii_graphic());
    if !fits {
        return Err(Failure::usage("that is no token: one word of at most 512 characters is wanted")
            .advise("`nightjar-coordinator renter add NAME` prints one to the market's operator"));
    }
    Ok(token.to_owned())
}

/// # Errors
/// When the login cannot be removed.
pub fn logout(state: &RenterState, output: Output) -> Result<(), Failure> {
    let was_logged_in = state.log_out()?;
    let words = if was_logged_in {
        "logged out; your leases go on until you stop them"
    } else {
        "you were not logged in"
    };
    output.print(&json!({ "was_logged_in": was_logged_in }), words)
}

/// # Errors
/// When the market does not answer or does not know the token.
pub async fn account(state: &RenterState, output: Output) -> Result<(), Failure> {
    let membership = state.membership()?;
    let account = Market::of(&membership)?.account().await?;
    output.print(&account, &show::account(&account, &membership.coordinator, texts()))
}

/// # Errors
/// When the market does not answer. No card that is enough is no error but an exit code, so that with `--json` a script
/// reads an empty list.
pub async fn offers(state: &RenterState, filters: &Filters, output: Output) -> Result<u8, Failure> {
    let market = Market::of(&state.membership()?)?;
    let found = market.offers(&rent::query(filters)).await?;
    if !found.offers.is_empty() || output.json {
        output.print(&found, &show::offers(&found.offers, texts()))?;
    }
    if !found.offers.is_empty() {
        return Ok(0);
    }
    note(
        "no card on offer now is enough\n  cards come when their owners leave: ask again later, or for less",
    );
    Ok(Exit::NothingMatched as u8)
}

/// # Errors
/// When the market does not answer.
pub async fn leases(state: &RenterState, arguments: &LeaseList, output: Output) -> Result<(), Failure> {
    let mut found = Market::of(&state.membership()?)?.leases().await?;
    let over = found.leases.iter().filter(|lease| !choice::is_active(lease)).count();
    if !arguments.all {
        found.leases.retain(choice::is_active);
    }
    let objects: Vec<_> = found.leases.iter().map(show::lease_object).collect();
    if found.leases.is_empty() && !output.json {
        let hidden = if arguments.all || over == 0 { "" } else { "; --all shows those that are over" };
        note(&format!("you have no lease{hidden}"));
        return Ok(());
    }
    output.print(&json!({ "leases": objects }), &show::leases(&found.leases, texts()))
}

/// # Errors
/// When the market does not answer.
pub async fn volumes(state: &RenterState, output: Output) -> Result<(), Failure> {
    let found = Market::of(&state.membership()?)?.volumes().await?;
    if found.volumes.is_empty() && !output.json {
        note("you keep nothing on any host");
        return Ok(());
    }
    output.print(&found, &show::volumes(&found.volumes, &clock))
}

/// # Errors
/// When there is no such lease.
pub async fn show(state: &RenterState, arguments: &OneLease, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.as_deref()).await?;
    output.print(&show::lease_object(&lease), &show::lease(&lease, &clock, texts()))
}

/// # Errors
/// When there is no such lease, or the market does not end it.
pub async fn stop(state: &RenterState, arguments: &Stop, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.lease.as_deref()).await?;
    let mut lease = if !choice::is_active(&lease) { lease } else { market.stop(&lease.lease).await? };
    while arguments.wait && !lease.state.is_over() {
        lease = rent::next(&market, &lease).await?;
    }
    if lease.state.is_over() {
        state.forget(&lease.lease);
    }
    let words = format!(
        "{}: {}; ran {}, charged {}",
        show::short(&lease.lease.0),
        show::state(&lease, texts()),
        crate::quantity::spell_ms(lease.running_ms),
        texts().money(lease.charged)
    );
    output.print(&show::lease_object(&lease), &words)
}

/// # Errors
/// When there is no such lease.
pub async fn statement(state: &RenterState, arguments: &OneLease, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.as_deref()).await?;
    let (account, statement) = tokio::try_join!(market.account(), market.statement(&lease.lease))?;
    output.print(&statement, &show::statement(&statement, &account.renter, &clock, texts()))
}
