//! A lease's language model on a port of this PC, for as long as the lease lives.

use std::time::Duration;

use nightjar_protocol::market_api::Lease;
use serde_json::json;

use super::arguments::Api;
use crate::failure::Failure;
use crate::output::{Output, note};

use super::market::Market;
use super::ssh::reachable;
use super::state::RenterState;
use super::{choice, port, show, tunnel};

const ASK_EVERY: Duration = Duration::from_secs(1);
/// A server that is busy with a model answers late.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// After so many questions without an answer, where to look is said.
const LONG: u32 = 10;

/// Prints address and key once the model answers, and forwards until Ctrl-C or the end of the lease.
///
/// # Errors
/// When the lease serves no model, the port is taken, or the lease cannot be reached.
pub async fn api(state: &RenterState, arguments: &Api, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.lease.as_deref()).await?;
    let key = reachable(&lease)?.jupyter_token.clone();
    let Some(model) = lease.serve_model.clone() else {
        let name = show::short(&lease.lease.0).to_owned();
        return Err(Failure::failed(format!("lease {name} was not rented to serve a language model"))
            .advise("`nightjar rent --serve MODEL` makes one that does"));
    };
    let (listener, port) = port::open(arguments.port).await?;
    let base_url = format!("http://127.0.0.1:{port}/v1");
    let link = tunnel::dial(state, &market, &lease).await?;
    let said = async {
        loaded(&base_url, &key, &lease).await?;
        let text = format!("OPENAI_BASE_URL={base_url}\nOPENAI_API_KEY={key}");
        let object = json!({ "lease": lease.lease, "model": model, "base_url": base_url, "api_key": key });
        output.print(&object, &text)?;
        note(&format!("{model} answers; keep the key to yourself. Ctrl-C ends the tunnel."));
        std::future::pending::<Result<(), Failure>>().await
    };
    let ended = tokio::select! {
        ended = port::forward(&link, listener, tunnel::API, &market, &lease, false) => ended,
        failed = said => failed,
    };
    link.close().await;
    ended
}

/// Waits until the model's server answers, however long it loads: the renter sees its log and can end it.
async fn loaded(base_url: &str, key: &str, lease: &Lease) -> Result<(), Failure> {
    let client =
        reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build().map_err(anyhow::Error::from)?;
    let mut asked = 0;
    loop {
        let answer = client.get(format!("{base_url}/models")).bearer_auth(key).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        asked += 1;
        if asked == LONG {
            let name = show::short(&lease.lease.0);
            note(&format!(
                "The model is still being fetched and loaded: nightjar ssh {name} -- tail /run/nightjar/log/api.log"
            ));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
