//! Leases, their placements and the usage that was booked on them.

use std::collections::HashSet;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{Epoch, LeaseId, LeaseState, LeaseTerms, WorkerAccess};
use nightjar_core::market::{AfterInterruption, CardOffer, Requirements};
use nightjar_core::money::Money;
use nightjar_core::parting::Cause;
use nightjar_core::proof::{Nonce, Question};
use nightjar_core::time::Timestamp;
use nightjar_core::volume::Footing;
use nightjar_protocol::host_session::SignedUsage;
use nightjar_protocol::market_api::VolumeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::{StoreError, count, number};
use crate::secret;

/// One attempt at one card. A new one has a new epoch, and counts from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) epoch: Epoch,
    pub(crate) host_id: String,
    /// 64 hexadecimal digits.
    pub(crate) host_key: String,
    pub(crate) region: String,
    pub(crate) card: CardOffer,
    pub(crate) fee_basis_points: u32,
    pub(crate) offered_at: Timestamp,
    /// What the card is asked.
    pub(crate) nonce: Nonce,
    /// When the host was first told to start.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) access: Option<WorkerAccess>,
    /// What the renter's volume stands on there; is known longer than what opens the worker.
    pub(crate) volume: Option<Footing>,
    pub(crate) last_sequence: u64,
    pub(crate) running_ms_total: u64,
    /// End of the last record that was booked.
    pub(crate) metered_to: Timestamp,
}

/// A lease as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    pub(crate) id: LeaseId,
    pub(crate) renter: String,
    pub(crate) image: String,
    pub(crate) requirements: Requirements,
    pub(crate) renter_key: String,
    pub(crate) ssh_public_key: String,
    pub(crate) created_at: Timestamp,
    pub(crate) placement: Placement,
    pub(crate) state: LeaseState,
    pub(crate) state_since: Timestamp,
    /// When its end was decided: nothing that ran later is charged.
    pub(crate) closed_at: Option<Timestamp>,
    /// Over all placements.
    pub(crate) running_ms: u64,
    pub(crate) charged_micros: i64,
    /// Why it is frozen or ends, as its host tells it.
    pub(crate) cause: Option<Cause>,
    pub(crate) after_interruption: AfterInterruption,
    /// From which the key of what the renter keeps on the host is made.
    pub(crate) volume_secret: Option<VolumeSecret>,
    /// The lease that this one goes on for.
    pub(crate) continues: Option<LeaseId>,
    /// The lease as which it went on; as it was read.
    pub(crate) continued_by: Option<LeaseId>,
    /// Since when, and until when, it waits to go on; as it was read.
    pub(crate) waits: Option<(Timestamp, Timestamp)>,
}

impl LeaseRecord {
    pub(crate) fn price_per_hour(&self) -> Money {
        self.placement.card.price_per_hour
    }

    pub(crate) fn terms(&self) -> LeaseTerms {
        LeaseTerms {
            lease: self.id.clone(),
            epoch: self.placement.epoch,
            gpu: self.placement.card.gpu.clone(),
            image: self.image.clone(),
            renter: self.renter.clone(),
            renter_key: self.renter_key.clone(),
            ssh_public_key: self.ssh_public_key.clone(),
            root_inside: self.requirements.root_inside,
            no_sandbox: self.requirements.no_sandbox,
            serve_model: self.requirements.serve_model.clone(),
            volume: self.placement.card.volume,
            volume_key: self
                .volume_secret
                .as_ref()
                .map(|own| secret::volume_key(own, &self.placement.host_id)),
            price_per_hour: self.price_per_hour(),
            fee_basis_points: self.placement.fee_basis_points,
            offered_at: self.placement.offered_at,
            nonce: self.placement.nonce.clone(),
        }
    }

    /// What the card has to answer.
    pub(crate) fn question(&self) -> Question {
        let Placement { nonce, offered_at, card, .. } = &self.placement;
        Question {
            nonce: nonce.clone(),
            asked_at: *offered_at,
            gpu: card.gpu.clone(),
            model: card.model.clone(),
            vram_mib: card.vram_mib,
        }
    }
}

macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT leases.*, hosts.host_key, c.successor, c.since AS waits_since, c.until AS waits_until
             FROM leases JOIN hosts ON hosts.id = leases.host_id
             LEFT JOIN continuations c ON c.lease = leases.id ",
            $which
        )
    };
}

fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt(what, error))
}

fn parsed<T: DeserializeOwned>(row: &SqliteRow, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(row.try_get(what)?).map_err(|error| StoreError::corrupt(what, error))
}

/// A value of a closed set, kept by its name on the wire.
fn named<T: DeserializeOwned>(what: &'static str, name: String) -> Result<T, StoreError> {
    serde_json::from_value(name.into()).map_err(|error| StoreError::corrupt(what, error))
}

fn name(what: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        other => Err(StoreError::corrupt(what, format!("{other:?} is no name"))),
    }
}

/// While it has no successor.
fn waits(row: &SqliteRow) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let (since, until): (Option<i64>, Option<i64>) =
        (row.try_get("waits_since")?, row.try_get("waits_until")?);
    let waits = row.try_get::<Option<String>, _>("successor")?.is_none();
    Ok(since.zip(until).filter(|_| waits).map(|(since, until)| (Timestamp(since), Timestamp(until))))
}

fn read(row: &SqliteRow) -> Result<LeaseRecord, StoreError> {
    let access: Option<String> = row.try_get("access")?;
    let footing: Option<String> = row.try_get("footing")?;
    let volume = footing
        .map(|text| serde_json::from_str(&text).map_err(|error| StoreError::corrupt("footing", error)))
        .transpose()?;
    let access = access
        .map(|text| serde_json::from_str(&text).map_err(|error| StoreError::corrupt("access", error)))
        .transpose()?;
    Ok(LeaseRecord {
        id: LeaseId(row.try_get("id")?),
        renter: row.try_get("renter")?,
        image: row.try_get("image")?,
        requirements: parsed(row, "requirements")?,
        renter_key: row.try_get("renter_key")?,
        ssh_public_key: row.try_get("ssh_public_key")?,
        created_at: Timestamp(row.try_get("created_at")?),
        placement: Placement {
            epoch: Epoch(count(row.try_get("epoch")?)?),
            host_id: row.try_get("host_id")?,
            host_key: row.try_get("host_key")?,
            region: row.try_get("region")?,
            card: parsed(row, "card")?,
            fee_basis_points: u32::try_from(row.try_get::<i64, _>("fee_basis_points")?)?,
            offered_at: Timestamp(row.try_get("offered_at")?),
            nonce: Nonce(row.try_get("nonce")?),
            started_at: row.try_get::<Option<i64>, _>("started_at")?.map(Timestamp),
            access,
            volume,
            last_sequence: count(row.try_get("last_sequence")?)?,
            running_ms_total: count(row.try_get("running_ms_total")?)?,
            metered_to: Timestamp(row.try_get("metered_to")?),
        },
        state: parsed(row, "state")?,
        state_since: Timestamp(row.try_get("state_since")?),
        closed_at: row.try_get::<Option<i64>, _>("closed_at")?.map(Timestamp),
        running_ms: count(row.try_get("running_ms")?)?,
        charged_micros: row.try_get("charged_micros")?,
        cause: row.try_get::<Option<String>, _>("cause")?.map(|cause| named("cause", cause)).transpose()?,
        after_interruption: named("after_interruption", row.try_get("after_interruption")?)?,
        volume_secret: row.try_get::<Option<String>, _>("volume_secret")?.map(VolumeSecret),
        continues: row.try_get::<Option<String>, _>("continues")?.map(LeaseId),
        continued_by: row.try_get::<Option<String>, _>("successor")?.map(LeaseId),
        waits: waits(row)?,
    })
}

/// Enters a lease with its first placement.
pub(crate) async fn add(db: &mut SqliteConnection, lease: &LeaseRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO leases (id, renter, image, requirements, renter_key, ssh_public_key, created_at,
            epoch, host_id, gpu, region, card, fee_basis_points, offered_at, started_at, access,
            last_sequence, running_ms_total, metered_to, state, state_since, closed_at, over, running_ms,
            charged_micros, after_interruption, continues, volume_secret, nonce)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0, 0, 0, ?, ?, NULL, 0, 0, 0, ?, ?, ?, ?)",
    )
    .bind(&lease.id.0)
    .bind(&lease.renter)
    .bind(&lease.image)
    .bind(json("requirements", &lease.requirements)?)
    .bind(&lease.renter_key)
    .bind(&lease.ssh_public_key)
    .bind(lease.created_at.0)
    .bind(number(lease.placement.epoch.0)?)
    .bind(&lease.placement.host_id)
    .bind(&lease.placement.card.gpu.0)
    .bind(&lease.placement.region)
    .bind(json("card", &lease.placement.card)?)
    .bind(i64::from(lease.placement.fee_basis_points))
    .bind(lease.placement.offered_at.0)
    .bind(json("state", &lease.state)?)
    .bind(lease.state_since.0)
    .bind(name("after_interruption", &lease.after_interruption)?)
    .bind(lease.continues.as_ref().map(|id| &id.0))
    .bind(lease.volume_secret.as_ref().map(|secret| &secret.0))
    .bind(&lease.placement.nonce.0)
    .execute(&mut *db)
    .await?;
    add_placement(db, lease).await
}

/// Writes down where a lease was placed; [`save`] puts the placement in force.
pub(crate) async fn add_placement(db: &mut SqliteConnection, lease: &LeaseRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO placements (lease, epoch, host_id, gpu, price_micros, offered_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&lease.id.0)
    .bind(number(lease.placement.epoch.0)?)
    .bind(&lease.placement.host_id)
    .bind(&lease.placement.card.gpu.0)
    .bind(lease.price_per_hour().micros)
    .bind(lease.placement.offered_at.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes everything of a lease that can change.
pub(crate) async fn save(db: &mut SqliteConnection, lease: &LeaseRecord) -> Result<(), StoreError> {
    let placement = &lease.placement;
    // What opens a worker's door is of no use once the worker is gone.
    let access = placement.access.as_ref().filter(|_| !lease.state.is_over());
    sqlx::query(
        "UPDATE leases SET epoch = ?, host_id = ?, gpu = ?, region = ?, card = ?, fee_basis_points = ?,
            offered_at = ?, started_at = ?, access = ?, last_sequence = ?, running_ms_total = ?, metered_to = ?,
            state = ?, state_since = ?, closed_at = ?, over = ?, running_ms = ?, charged_micros = ?, cause = ?,
            nonce = ?, footing = ?, after_interruption = ?
         WHERE id = ?",
    )
    .bind(number(placement.epoch.0)?)
    .bind(&placement.host_id)
    .bind(&placement.card.gpu.0)
    .bind(&placement.region)
    .bind(json("card", &placement.card)?)
    .bind(i64::from(placement.fee_basis_points))
    .bind(placement.offered_at.0)
    .bind(placement.started_at.map(|at| at.0))
    .bind(access.map(|access| json("access", access)).transpose()?)
    .bind(number(placement.last_sequence)?)
    .bind(number(placement.running_ms_total)?)
    .bind(placement.metered_to.0)
    .bind(json("state", &lease.state)?)
    .bind(lease.state_since.0)
    .bind(lease.closed_at.map(|at| at.0))
    .bind(lease.state.is_over())
    .bind(number(lease.running_ms)?)
    .bind(lease.charged_micros)
    .bind(lease.cause.map(Cause::as_str))
    .bind(&placement.nonce.0)
    .bind(placement.volume.map(|footing| json("footing", &footing)).transpose()?)
    .bind(name("after_interruption", &lease.after_interruption)?)
    .bind(&lease.id.0)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn by_id(
    db: &mut SqliteConnection,
    id: &LeaseId,
) -> Result<Option<LeaseRecord>, StoreError> {
    let row = sqlx::query(select!("WHERE leases.id = ?")).bind(&id.0).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// Forgets what keys of volumes are made of, of leases whose end was decided before this.
pub(crate) async fn forget_secrets(db: &mut SqliteConnection, before: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE leases SET volume_secret = NULL WHERE volume_secret IS NOT NULL AND closed_at < ?")
        .bind(before.0)
        .execute(db)
        .await?;
    Ok(())
}

/// The renter's latest, the newest first.
pub(crate) async fn of_renter(
    db: &mut SqliteConnection,
    renter: &str,
    at_most: u32,
) -> Result<Vec<LeaseRecord>, StoreError> {
    let query = sqlx::query(select!("WHERE renter = ? ORDER BY created_at DESC, leases.id LIMIT ?"));
    let rows = query.bind(renter).bind(i64::from(at_most)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// Those of a renter that are not over.
pub(crate) async fn open_of_renter(
    db: &mut SqliteConnection,
    renter: &str,
) -> Result<Vec<LeaseRecord>, StoreError> {
    let query = sqlx::query(select!("WHERE renter = ? AND over = 0 ORDER BY created_at, leases.id"));
    query.bind(renter).fetch_all(db).await?.iter().map(read).collect()
}

/// Those on a host that are not over.
pub(crate) async fn open_on_host(
    db: &mut SqliteConnection,
    host_id: &str,
) -> Result<Vec<LeaseRecord>, StoreError> {
    let query = sqlx::query(select!("WHERE host_id = ? AND over = 0 ORDER BY created_at, leases.id"));
    query.bind(host_id).fetch_all(db).await?.iter().map(read).collect()
}

/// Every lease that is not over.
pub(crate) async fn open(db: &mut SqliteConnection) -> Result<Vec<LeaseRecord>, StoreError> {
    let query = sqlx::query(select!("WHERE over = 0 ORDER BY created_at, leases.id"));
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// Cards that are promised to a lease now: host and card.
pub(crate) async fn busy_cards(db: &mut SqliteConnection) -> Result<HashSet<(String, GpuUuid)>, StoreError> {
    cards(sqlx::query("SELECT host_id, gpu FROM leases WHERE over = 0").fetch_all(db).await?)
}

/// Cards that this lease was offered to.
pub(crate) async fn tried_cards(
    db: &mut SqliteConnection,
    lease: &LeaseId,
) -> Result<HashSet<(String, GpuUuid)>, StoreError> {
    let query = sqlx::query("SELECT host_id, gpu FROM placements WHERE lease = ?").bind(&lease.0);
    cards(query.fetch_all(db).await?)
}

fn cards(rows: Vec<SqliteRow>) -> Result<HashSet<(String, GpuUuid)>, StoreError> {
    rows.iter().map(|row| Ok((row.try_get("host_id")?, GpuUuid(row.try_get("gpu")?)))).collect()
}

/// Whether an endpoint of the tunnel belongs to this market: a host, or the renter of a lease that is not over.
pub(crate) async fn is_known_endpoint(db: &SqlitePool, key: &str) -> Result<bool, StoreError> {
    let known = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM hosts WHERE host_key = ?1)
             OR EXISTS (SELECT 1 FROM leases WHERE over = 0 AND renter_key = ?1)",
    )
    .bind(key)
    .fetch_one(db)
    .await?;
    Ok(known)
}

/// Writes down a usage record as it was signed.
pub(crate) async fn add_usage(
    db: &mut SqliteConnection,
    usage: &SignedUsage,
    now: Timestamp,
) -> Result<(), StoreError> {
    let record = &usage.record;
    sqlx::query(
        "INSERT INTO usage_records (lease, epoch, sequence, from_at, to_at, running_ms_total, millijoules,
            signature, received_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&record.lease.0)
    .bind(number(record.epoch.0)?)
    .bind(number(record.sequence)?)
    .bind(record.from.0)
    .bind(record.to.0)
    .bind(number(record.running_ms_total)?)
    .bind(number(record.millijoules)?)
    .bind(&usage.signature)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}
