//! What a host's owner has at the market, and is paid.

mod rig;

use std::time::Duration;

use nightjar_coordinator::operator::OperatorError;
use nightjar_core::money::{Currency, Money};
use rig::{Rig, card, record};

fn cny(micros: i64) -> Money {
    Money::new(micros, Currency::CNY)
}

#[tokio::test]
async fn what_was_earned_is_paid_once_and_the_owner_sees_it() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    host.disconnect().await;
    host.connect(&rig).await;
    let told = host.hears_account().await;
    assert_eq!((told.balance, told.paid_out, told.payouts.len()), (cny(0), cny(0), 0));
    host.list(vec![]).await;
    host.offer(vec![card("a", 3_600_000)]).await;
    alice.rent(&rig).await;
    let terms = host.run().await;
    host.use_up(&record(&terms, 1, 5_000)).await;
    host.hears_stored(&record(&terms, 1, 5_000)).await;

    let listed = rig.operator.hosts().await.unwrap();
    assert_eq!((listed.len(), listed[0].host.as_str(), listed[0].balance), (1, host.id.as_str(), cny(4_750)));
    let more = rig.operator.pay(&host.id, "0.004751", "too much").await;
    assert!(
        matches!(more, Err(OperatorError::NotEnough { balance, .. }) if balance == cny(4_750)),
        "{more:?}"
    );
    let account = rig.operator.pay(&host.id, "0.004", "2026-11/17").await.unwrap();
    assert_eq!((account.balance, account.paid_out), (cny(750), cny(4_000)));
    let again = rig.operator.pay(&host.id, "0.0005", "2026-11/17").await;
    assert!(matches!(again, Err(OperatorError::PaidBefore(_))), "{again:?}");
    rig.ledger_is_right().await;
    assert_eq!(rig.earned_micros().await, 750);

    // Booked by another hand than the coordinator's: it looks every quarter of a minute, and tells at once who connects.
    host.disconnect().await;
    host.connect(&rig).await;
    let told = host.hears_account().await;
    assert_eq!((told.balance, told.paid_out), (cny(750), cny(4_000)));
    assert_eq!((told.payouts[0].amount, told.payouts[0].reference.as_str()), (cny(4_000), "2026-11/17"));
    let entries = rig.operator.ledger(None, 10).await.unwrap().entries;
    assert_eq!(entries.last().unwrap().payout.as_deref(), Some("2026-11/17"));
}

#[tokio::test]
async fn what_is_no_payment_is_refused() {
    let rig = Rig::start().await;
    let host = rig.host("a", 3_600_000).await;
    let pay = |host: &str, amount: &str, reference: &str| {
        let (host, amount, reference) = (host.to_owned(), amount.to_owned(), reference.to_owned());
        let operator = &rig.operator;
        async move { operator.pay(&host, &amount, &reference).await.unwrap_err().to_string() }
    };
    let long = "x".repeat(81);
    for (id, amount, reference, says) in [
        ("nobody", "1", "r", "no host \"nobody\""),
        (&host.id, "0", "r", "above zero"),
        (&host.id, "-1", "r", "-1"),
        (&host.id, "1", "", "a reference of 1 to 80"),
        (&host.id, "1", "a\nb", "a reference of 1 to 80"),
        (&host.id, "1", &long, "a reference of 1 to 80"),
        (&host.id, "1", "r", "cannot be paid out"),
    ] {
        let refused = pay(id, amount, reference).await;
        assert!(refused.contains(says), "{refused}");
    }
    rig.ledger_is_right().await;
}

#[tokio::test]
async fn a_payment_is_told_to_a_host_that_stays_connected() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    alice.rent(&rig).await;
    let terms = host.run().await;
    host.use_up(&record(&terms, 1, 5_000)).await;
    host.hears_stored(&record(&terms, 1, 5_000)).await;
    rig.operator.pay(&host.id, "0.004", "1").await.unwrap();
    // The host must not fall silent while it waits.
    let paid = async {
        loop {
            host.say(nightjar_protocol::host_session::ToCoordinator::Heartbeat).await;
            let next = tokio::time::timeout(Duration::from_secs(4), host.hears_account()).await;
            if let Ok(account) = next
                && account.paid_out == cny(4_000)
            {
                return account;
            }
        }
    };
    let account = tokio::time::timeout(Duration::from_secs(40), paid).await.expect("it was never told");
    assert_eq!(account.balance, cny(750));
}
