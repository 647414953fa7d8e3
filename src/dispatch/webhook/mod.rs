//! Webhooks: tells receivers what happened to jobs, from the store's durable outbox.
//!
//! One tokio task a server ([`run`]) looks for messages that are due and sends each in a task of its own; a job never waits for any
//! of it. A message is sent at least once: a crash between the receiver's answer and the row's end repeats it, with the same
//! `webhook-id`. Receivers are strangers' machines. They may hang, redirect, answer garbage or live where this server must not call:
//! every try is bounded in time and bytes, every host in tries at once, and a host that fails again and again is left alone for a
//! while, so that its messages do not hold up those of others.
//!
//! This is the one place besides `http` that knows status codes: those of the other side.

pub mod address;
pub mod message;
pub mod send;

pub use send::install_tls;

use crate::limits::*;
use crate::store::{Delivery, JobStore, StoreError};
use message::Message;
use send::{Outcome, Sender};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How webhooks are sent.
#[derive(Debug, Clone, Copy)]
pub struct WebhookConfig {
    /// Private, loopback and link-local addresses may be called too.
    pub allow_private: bool,
    /// Milliseconds after the first failed try; each further one waits [`WEBHOOK_RETRY_FACTOR`] times longer, at most
    /// [`WEBHOOK_RETRY_MS_MAX`].
    pub retry_ms: u64,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { allow_private: false, retry_ms: WEBHOOK_RETRY_MS }
    }
}

/// Sends what is in the outbox until `shutdown`; what is being sent then gets one try's time to end.
pub async fn run(store: Arc<dyn JobStore>, config: WebhookConfig, shutdown: CancellationToken) {
    let sender = Sender::new(config.allow_private);
    let mut courier =
        Courier { store, config, sender, hosts: HashMap::new(), tries: JoinSet::new(), sending: HashMap::new() };
    let mut events = courier.store.subscribe();
    loop {
        let wait = match courier.send_due().await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "the outbox cannot be read");
                Duration::from_millis(WEBHOOK_POLL_MS)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
            Some(ended) = courier.tries.join_next() => courier.on_ended(ended),
            // Any event may have put something into the outbox; lagging only means that there were many.
            event = events.recv() => match event {
                Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                _ => {
                    // Events come in bursts, and the outbox is looked at once for all of them.
                    tokio::time::sleep(Duration::from_millis(WEBHOOK_GATHER_MS)).await;
                    events = courier.store.subscribe();
                }
            },
        }
    }
    let end = Duration::from_millis(WEBHOOK_STOP_MS);
    if tokio::time::timeout(end, async { while courier.tries.join_next().await.is_some() {} }).await.is_err() {
        tracing::info!(tries = courier.tries.len(), "webhooks were still being sent; a restart sends them again");
    }
}

struct Courier {
    store: Arc<dyn JobStore>,
    config: WebhookConfig,
    sender: Sender,
    /// Hosts that have a try running, or have failed lately.
    hosts: HashMap<String, Host>,
    tries: JoinSet<Tried>,
    /// Deliveries that are being sent, and to which host.
    sending: HashMap<i64, String>,
}

#[derive(Default)]
struct Host {
    /// Tries that run now.
    tries: usize,
    /// Failures since the last success.
    failures: u32,
    /// Not called before this.
    rest_until: Option<Instant>,
}

/// A try that has ended; its row is up to date already.
struct Tried {
    id: i64,
    failed: bool,
}

impl Courier {
    /// Starts what is due and may be started. How long nothing more is expected to happen.
    async fn send_due(&mut self) -> Result<Duration, StoreError> {
        let poll = Duration::from_millis(WEBHOOK_POLL_MS);
        if self.tries.len() >= WEBHOOK_TRIES_MAX {
            return Ok(poll);
        }
        let now = Instant::now();
        // A host that has had its rest is remembered for a while: if it still fails, it rests longer.
        let memory = Duration::from_millis(WEBHOOK_RETRY_MS_MAX);
        self.hosts.retain(|_, host| host.tries > 0 || host.rest_until.is_some_and(|until| until + memory > now));
        let mut postponed = 0;
        let mut skipped: HashMap<String, u32> = HashMap::new();
        let due = self.store.deliveries_due(WEBHOOK_DELIVERIES_MAX).await?;
        let full = due.len() >= WEBHOOK_DELIVERIES_MAX as usize;
        for delivery in due {
            if self.sending.contains_key(&delivery.id) {
                continue;
            }
            let name = host_of(&delivery.url);
            let host = self.hosts.entry(name.clone()).or_default();
            if let Some(rest) =
                host.rest_until.map(|until| until.saturating_duration_since(now)).filter(|rest| !rest.is_zero())
            {
                // Out of the way, so that the page has room for other hosts' messages.
                let now_ms = self.store.now_ms();
                if now_ms >= delivery.give_up_ms {
                    tracing::warn!(job.id = %delivery.job, tries = delivery.attempt, "a webhook is given up");
                    self.store.delivery_done(delivery.id).await?;
                } else {
                    let at_ms = now_ms + i64::try_from(jittered(rest).as_millis()).unwrap_or(0);
                    self.store.delivery_retry(delivery.id, at_ms.min(delivery.give_up_ms)).await?;
                }
                postponed += 1;
                continue;
            }
            if host.tries >= WEBHOOK_TRIES_PER_HOST_MAX || self.tries.len() >= WEBHOOK_TRIES_MAX {
                let crowded =
                    *skipped.entry(name).and_modify(|count| *count += 1).or_insert(1) > WEBHOOK_DELIVERIES_MAX / 8;
                if full && crowded && self.store.now_ms() < delivery.give_up_ms {
                    // A slow host's backlog must not hide what is behind it either.
                    let later = jittered(Duration::from_millis(2 * WEBHOOK_POLL_MS));
                    let at_ms = self.store.now_ms() + i64::try_from(later.as_millis()).unwrap_or(0);
                    self.store.delivery_retry(delivery.id, at_ms).await?;
                    postponed += 1;
                }
                continue;
            }
            host.tries += 1;
            self.sending.insert(delivery.id, name);
            self.tries.spawn(try_once(Arc::clone(&self.store), self.sender.clone(), self.config, delivery));
        }
        // A page that was full of messages to resting hosts hides what comes behind it.
        Ok(if full && postponed > 0 { Duration::ZERO } else { poll })
    }

    fn on_ended(&mut self, ended: Result<Tried, tokio::task::JoinError>) {
        let Tried { id, failed } = match ended {
            Ok(tried) => tried,
            Err(error) => {
                // Its row is as it was, and `sending` keeps it from being tried again before a restart.
                tracing::error!(%error, "sending a webhook failed");
                return;
            }
        };
        let Some(host) = self.sending.remove(&id).and_then(|name| self.hosts.get_mut(&name)) else { return };
        host.tries -= 1;
        if !failed {
            (host.failures, host.rest_until) = (0, None);
            return;
        }
        host.failures += 1;
        if host.failures >= WEBHOOK_HOST_FAILURES_MAX {
            let rest = backoff(self.config.retry_ms, host.failures - WEBHOOK_HOST_FAILURES_MAX);
            host.rest_until = Some(Instant::now() + jittered(rest));
        }
    }
}

/// Sends one message and brings its row up to date.
async fn try_once(store: Arc<dyn JobStore>, sender: Sender, config: WebhookConfig, delivery: Delivery) -> Tried {
    let id = delivery.id;
    // A job that is gone took its outbox with it; one that cannot be read is told of without its labels.
    let job = store.job(delivery.job).await.ok().flatten();
    let message = Message::of(&delivery, job.as_ref());
    let outcome = sender.send(&delivery.url, &message, delivery.secret.as_ref()).await;
    let failed = matches!(outcome, Outcome::Retry { .. });
    let now_ms = store.now_ms();
    let (result, stored) = match outcome {
        Outcome::Delivered => ("delivered", store.delivery_done(id).await),
        Outcome::Stop { cause } => {
            tracing::warn!(job.id = %delivery.job, cause, "a webhook is given up");
            ("stopped", store.delivery_done(id).await)
        }
        Outcome::Retry { cause, after } => {
            let wait = backoff(config.retry_ms, delivery.attempt).max(after.unwrap_or_default());
            let at_ms = now_ms.saturating_add(i64::try_from(jittered(wait).as_millis()).unwrap_or(i64::MAX));
            if now_ms >= delivery.give_up_ms {
                tracing::warn!(job.id = %delivery.job, cause, tries = delivery.attempt + 1, "a webhook is given up");
                ("given_up", store.delivery_done(id).await)
            } else {
                tracing::debug!(job.id = %delivery.job, cause, tries = delivery.attempt + 1, "a webhook is tried again later");
                // The last try is made when the time is up, not after it.
                ("retried", store.delivery_retry(id, at_ms.min(delivery.give_up_ms)).await)
            }
        }
    };
    metrics::counter!(crate::telemetry::WEBHOOKS, "result" => result).increment(1);
    if let Err(error) = stored {
        tracing::warn!(job.id = %delivery.job, %error, "the result of a webhook could not be stored; it is sent again");
        tokio::time::sleep(Duration::from_millis(config.retry_ms)).await;
    }
    Tried { id, failed }
}

/// The wait before try `attempt` + 1, without jitter: `retry_ms` · factor^attempt, bounded.
fn backoff(retry_ms: u64, attempt: u32) -> Duration {
    let factor = WEBHOOK_RETRY_FACTOR.saturating_pow(attempt);
    Duration::from_millis(retry_ms.saturating_mul(factor).min(WEBHOOK_RETRY_MS_MAX))
}

/// Up to a quarter more, so that many messages that failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    // A fresh UUID's last bits are random, which spares a dependency.
    let random = uuid::Uuid::now_v7().as_u128() as u32;
    wait + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0)
}

/// What tries are counted by: the host and port of an address.
fn host_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default().unwrap_or(0))));
    host.map_or_else(String::new, |(host, port)| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_never_overflow() {
        let seconds = |attempt| backoff(WEBHOOK_RETRY_MS, attempt).as_secs();
        assert_eq!([seconds(0), seconds(1), seconds(2), seconds(3)], [5, 15, 45, 135]);
        assert_eq!(seconds(1000), WEBHOOK_RETRY_MS_MAX / 1000);
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(8));
            assert!((8.0..=10.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
    }

    #[test]
    fn hosts_are_told_apart_by_name_and_port() {
        assert_eq!(host_of("https://Example.com/a"), "example.com:443");
        assert_eq!(host_of("http://example.com:81/b?c"), "example.com:81");
        assert_eq!(host_of("nonsense"), "");
    }
}
