//! The outbox of webhooks: a row is written in the transaction that writes the event, and stays until somebody has told it. It holds all
//! that is told, and so needs neither its job nor its event any more.

use super::json;
use super::read::{self, json_of};
use super::sql::{Row, get, sql};
use super::writer::Tx;
use crate::job::*;
use crate::limits::{WEBHOOK_DELIVERIES_MAX, WEBHOOK_GIVE_UP_MS};
use crate::store::{Delivery, StoreError};
use rusqlite::Connection;

/// Puts an event into the outbox where its job's webhook asks for events of its kind.
pub(super) fn write(tx: &mut Tx, seq: i64, webhook: &str, event: &Event) -> Result<(), StoreError> {
    let webhook: Webhook = match json_of(webhook, "webhook") {
        Ok(webhook) => webhook,
        Err(error) => {
            // It tells nobody, and must not stop the queue.
            tracing::error!(job.seq = seq, %error, "a webhook cannot be read");
            return Ok(());
        }
    };
    if !webhook.wants(&event.kind) {
        return Ok(());
    }
    let insert = sql(
        "INSERT INTO delivery (job_seq, job_id, event_seq, time_ms, event, labels, url, secret, host, run_at_ms, give_up_ms)
         SELECT seq, id, ?2, ?3, ?4, (SELECT json_group_object(key, value) FROM label WHERE job_seq = ?1), ?5, ?6, ?7, ?3, ?3 + ?8
         FROM job WHERE seq = ?1",
    );
    let insert = insert.bind(seq).bind(event.seq).bind(event.time_ms).bind(json(&event.kind)?).bind(&webhook.url);
    let secret = webhook.secret.as_ref().map(json).transpose()?;
    tx.run(insert.bind(secret).bind(webhook.host()).bind(WEBHOOK_GIVE_UP_MS)).map(drop)
}

/// What is due, and the ids of messages that cannot be read. A moment further away than a message is tried for was written before the
/// clock went back.
pub(super) fn due(
    connection: &Connection,
    now_ms: TimeMs,
    per_host: u32,
    without: &[String],
) -> Result<(Vec<Delivery>, Vec<i64>), StoreError> {
    // Goes from host to host in the index and reads the first rows of each.
    let rows = sql(
        "WITH RECURSIVE hosts (host) AS (
             SELECT min(host) FROM delivery
             UNION ALL SELECT (SELECT min(host) FROM delivery WHERE host > hosts.host) FROM hosts WHERE hosts.host IS NOT NULL)
         SELECT delivery.id AS delivery_id, job_id AS id, event_seq, time_ms, event, labels, url, secret, delivery.host, attempt, give_up_ms
         FROM hosts CROSS JOIN delivery ON delivery.id IN (
             SELECT id FROM (SELECT id FROM delivery AS due WHERE due.host = hosts.host AND run_at_ms <= ?1
                             ORDER BY run_at_ms, id LIMIT ?3)
             UNION ALL
             SELECT id FROM (SELECT id FROM delivery AS due WHERE due.host = hosts.host AND run_at_ms > ?1 + ?2 LIMIT ?3))
         WHERE hosts.host NOT IN (SELECT value FROM json_each(?4)) ORDER BY run_at_ms, delivery.id LIMIT ?5",
    )
    .bind(now_ms)
    .bind(WEBHOOK_GIVE_UP_MS)
    .bind(per_host)
    .bind(json(&without)?)
    .bind(WEBHOOK_DELIVERIES_MAX)
    .all(connection)?;
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

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    let secret = get::<Option<&str>>(row, "secret")?;
    Ok(Delivery {
        id: get(row, "delivery_id")?,
        job: read::id_of(row)?,
        event: Event {
            seq: get(row, "event_seq")?,
            time_ms: get(row, "time_ms")?,
            kind: json_of(get(row, "event")?, "event")?,
        },
        labels: json_of(get(row, "labels")?, "labels")?,
        url: get(row, "url")?,
        host: get(row, "host")?,
        secret: secret.map(|text| json_of(text, "secret")).transpose()?,
        attempt: get(row, "attempt")?,
        give_up_ms: get(row, "give_up_ms")?,
    })
}

pub(super) fn done(tx: &mut Tx, id: i64) -> Result<bool, StoreError> {
    Ok(tx.run(sql("DELETE FROM delivery WHERE id = ?1").bind(id))? > 0)
}

pub(super) fn retry(tx: &mut Tx, id: i64, run_at_ms: TimeMs) -> Result<bool, StoreError> {
    let update = sql("UPDATE delivery SET attempt = attempt + 1, run_at_ms = ?2 WHERE id = ?1");
    Ok(tx.run(update.bind(id).bind(run_at_ms))? > 0)
}
