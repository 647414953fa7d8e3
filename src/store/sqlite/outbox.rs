//! The outbox of webhooks: a row is written in the transaction that writes the event, and stays until somebody has told it.

use super::read::{self, json_of};
use super::writer::Tx;
use super::{failure, get};
use crate::job::*;
use crate::limits::{WEBHOOK_DELIVERIES_MAX, WEBHOOK_GIVE_UP_MS};
use crate::store::{Delivery, StoreError};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// Puts an event into the outbox where the job's webhook asks for events of its kind.
pub(super) async fn write(tx: &mut Tx, seq: i64, event: &Event) -> Result<(), StoreError> {
    // A webhook that cannot be read tells nobody, and must not stop the queue.
    let insert = sqlx::query(
        "INSERT INTO delivery (job_seq, event_seq, url, run_at_ms, give_up_ms)
         SELECT seq, ?2, json_extract(hook, '$.url'), ?3, ?3 + ?4
         FROM (SELECT seq, iif(json_valid(webhook), webhook, '{}') AS hook FROM job WHERE seq = ?1 AND webhook IS NOT NULL)
         WHERE json_type(hook, '$.url') = 'text' AND EXISTS (SELECT 1 FROM json_each(hook, '$.events') WHERE value = ?5)",
    );
    let insert = insert.bind(seq).bind(event.seq).bind(event.time_ms).bind(WEBHOOK_GIVE_UP_MS).bind(event.kind.name());
    tx.run(insert).await.map(drop)
}

/// What is due, and the ids of messages that cannot be read. A moment further away than a message is tried for was written before the
/// clock went back.
pub(super) async fn due(
    connection: &mut SqliteConnection,
    now_ms: TimeMs,
    limit: u32,
) -> Result<(Vec<Delivery>, Vec<i64>), StoreError> {
    let rows = sqlx::query(
        "SELECT delivery.id AS delivery_id, job.id, event.seq, event.time_ms, event.kind, delivery.url, delivery.attempt,
                delivery.give_up_ms, job.webhook
         FROM delivery JOIN job ON job.seq = delivery.job_seq
              JOIN event ON event.job_seq = delivery.job_seq AND event.seq = delivery.event_seq
         WHERE run_at_ms <= ?1 OR run_at_ms > ?1 + ?2 ORDER BY run_at_ms, delivery.id LIMIT ?3",
    )
    .bind(now_ms)
    .bind(WEBHOOK_GIVE_UP_MS)
    .bind(limit.min(WEBHOOK_DELIVERIES_MAX))
    .fetch_all(connection)
    .await
    .map_err(failure)?;
    let (mut deliveries, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        match delivery(row) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => {
                tracing::error!(%error, "a message of the outbox cannot be read; it is forgotten");
                unreadable.push(get(row, "delivery_id")?);
            }
        }
    }
    Ok((deliveries, unreadable))
}

fn delivery(row: &SqliteRow) -> Result<Delivery, StoreError> {
    let webhook = get::<Option<&str>>(row, "webhook")?;
    let webhook: Option<Webhook> = webhook.map(|text| json_of(text, "webhook")).transpose()?;
    Ok(Delivery {
        id: get(row, "delivery_id")?,
        job: read::id_of(row)?,
        event: Event {
            seq: get(row, "seq")?,
            time_ms: get(row, "time_ms")?,
            kind: json_of(get(row, "kind")?, "event")?,
        },
        url: get(row, "url")?,
        secret: webhook.and_then(|webhook| webhook.secret),
        attempt: get(row, "attempt")?,
        give_up_ms: get(row, "give_up_ms")?,
    })
}

pub(super) async fn done(tx: &mut Tx, id: i64) -> Result<bool, StoreError> {
    Ok(tx.run(sqlx::query("DELETE FROM delivery WHERE id = ?1").bind(id)).await? > 0)
}

pub(super) async fn retry(tx: &mut Tx, id: i64, run_at_ms: TimeMs) -> Result<bool, StoreError> {
    let update = sqlx::query("UPDATE delivery SET attempt = attempt + 1, run_at_ms = ?2 WHERE id = ?1");
    Ok(tx.run(update.bind(id).bind(run_at_ms)).await? > 0)
}
