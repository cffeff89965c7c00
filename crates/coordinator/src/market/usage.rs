//! Usage records: checked, booked once, acknowledged.

use nightjar_core::lease::{EndReason, LeaseEvent};
use nightjar_core::ledger::{Account, Transfer};
use nightjar_core::meter::{UsageRecord, UsageRefusal, owed};
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::{SignedUsage, ToHost};
use sqlx::sqlite::SqliteConnection;

use super::metering::{Known, Ruling, rule};
use super::report::is_metered;
use super::{Consequences, Failure, Market, funds, step};
use crate::bounds;
use crate::store::books::UsageKey;
use crate::store::leases::LeaseRecord;
use crate::store::{StoreError, books, leases};

impl Market {
    /// Takes one record. One that will never be booked is answered with the reason, so that its host stops sending it and
    /// both books agree; one that may be right later has no answer, nor has one that this host did not sign. An error is
    /// the database's. What got no answer is sent again at the next session.
    pub(crate) async fn take_usage(
        &self,
        host_id: &str,
        host_key: &iroh_base::PublicKey,
        usage: SignedUsage,
    ) -> Result<(), Failure> {
        let record = &usage.record;
        let refused = |why: &str, for_good: Option<UsageRefusal>| {
            let (lease, epoch, sequence) = (&record.lease, record.epoch.0, record.sequence);
            tracing::warn!(host_id, %lease, epoch, sequence, ?for_good, "usage refused: {why}");
            if for_good.is_some() {
                self.registry.send(host_id, answer(record, for_good));
            }
        };
        if !bounds::is_signed(host_key, &record.signing_bytes(), &usage.signature) {
            refused("the signature is not this host's over this record", None);
            return Ok(());
        }
        let now = self.clock.now();
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        let found = leases::by_id(tx.connection(), &record.lease).await?;
        let Some(mut lease) = found.filter(|lease| lease.placement.host_id == host_id) else {
            refused("this host has no such lease", Some(UsageRefusal::UnknownLease));
            return Ok(());
        };
        if lease.placement.epoch != record.epoch {
            refused("its epoch is not in force", Some(UsageRefusal::LeaseOver));
            return Ok(());
        }
        match rule(record, &known(&lease), now) {
            Ruling::Refuse(fault) => {
                refused(&fault.to_string(), fault.for_good(lease.closed_at.is_some()));
                return Ok(());
            }
            Ruling::StoredBefore => {}
            Ruling::Book => {
                self.book(tx.connection(), &mut lease, &usage, now).await?;
                self.end_if_exhausted(tx.connection(), &mut lease, now, &mut out).await?;
                leases::save(tx.connection(), &lease).await?;
            }
        }
        tx.commit().await?;
        out.order(host_id, answer(record, None));
        self.publish(out);
        Ok(())
    }

    async fn book(
        &self,
        db: &mut SqliteConnection,
        lease: &mut LeaseRecord,
        usage: &SignedUsage,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let record = &usage.record;
        let (price, fee) = (lease.price_per_hour(), lease.placement.fee_basis_points);
        let (before, after) = (lease.placement.running_ms_total, record.running_ms_total);
        let transfer = Transfer::usage(&lease.renter, &lease.placement.host_id, price, fee, before, after);
        leases::add_usage(db, usage, now).await?;
        let key = UsageKey { lease: lease.id.clone(), epoch: record.epoch, sequence: record.sequence };
        books::book(db, &transfer, Some(&key), now).await?;
        lease.charged_micros += owed(price, fee, after).gross.micros - owed(price, fee, before).gross.micros;
        lease.running_ms += record.running_ms();
        lease.placement.last_sequence = record.sequence;
        lease.placement.running_ms_total = after;
        lease.placement.metered_to = record.to;
        Ok(())
    }

    async fn end_if_exhausted(
        &self,
        db: &mut SqliteConnection,
        lease: &mut LeaseRecord,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<(), StoreError> {
        if !is_metered(lease) {
            return Ok(());
        }
        let balance = books::balance_micros(db, &Account::Renter { id: lease.renter.clone() }).await?;
        let open = leases::open_of_renter(db, &lease.renter).await?;
        let prices = open.iter().filter(|lease| is_metered(lease)).map(LeaseRecord::price_per_hour);
        if !funds::covers(balance, prices, funds::TO_GO_ON_MS)
            && step(lease, LeaseEvent::End { reason: EndReason::BalanceExhausted }, now, out)
        {
            let placement = &lease.placement;
            out.end(&placement.host_id, &lease.id, placement.epoch, EndReason::BalanceExhausted);
        }
        Ok(())
    }
}

fn answer(record: &UsageRecord, refused: Option<UsageRefusal>) -> ToHost {
    let UsageRecord { lease, epoch, sequence, .. } = record;
    ToHost::UsageStored { lease: lease.clone(), epoch: *epoch, sequence: *sequence, refused }
}

fn known(lease: &LeaseRecord) -> Known {
    Known {
        started_at: lease.placement.started_at,
        closed_at: lease.closed_at,
        last_sequence: lease.placement.last_sequence,
        running_ms_total: lease.placement.running_ms_total,
        metered_to: lease.placement.metered_to,
    }
}
