//! Webhooks: tells receivers what happened to jobs, from the store's durable outbox.
//!
//! One tokio task a server ([`run`]) looks for messages that are due and sends each in a task of its own; a job never waits for any
//! of it. A message is sent at least once: a crash between the receiver's answer and the row's end repeats it, with the same
//! `webhook-id`. Receivers are strangers' machines. They may hang, redirect, answer garbage or live where this server must not call:
//! every try is bounded in time and bytes, every host in tries at once, and a host that cannot be reached or says nothing again and
//! again is left alone for a while. The outbox is read by host, so that messages to one do not hold up those to others. What a host
//! answers about one message says nothing of its other addresses, and does not count against it.
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
use tokio::task::{self, JoinSet};
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
        if let Err(error) = courier.send_due().await {
            tracing::warn!(%error, "the outbox cannot be read");
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(Duration::from_millis(WEBHOOK_POLL_MS)) => {}
            Some(ended) = courier.tries.join_next_with_id() => courier.on_ended(ended).await,
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
    /// Hosts that have a try running, or were silent lately.
    hosts: HashMap<String, Host>,
    /// Each answers whether the host was silent; the row is up to date by then.
    tries: JoinSet<bool>,
    /// What the tries are about.
    sending: HashMap<task::Id, Sending>,
}

struct Sending {
    delivery: Arc<Delivery>,
    started: Instant,
}

/// What is known of a host.
#[derive(Debug, Default)]
struct Host {
    /// Tries that run now.
    tries: usize,
    /// Times in a row that it was silent. Tries that ran at the same time count once.
    silences: u32,
    /// When the last of them was noticed.
    silent_at: Option<Instant>,
    /// Not called before this.
    rest_until: Option<Instant>,
}

impl Host {
    /// A try that began at `started` has ended.
    fn on_ended(&mut self, silent: bool, started: Instant, now: Instant, retry_ms: u64) {
        self.tries = self.tries.saturating_sub(1);
        if !silent {
            (self.silences, self.silent_at, self.rest_until) = (0, None, None);
        } else if self.silent_at.is_none_or(|silent_at| silent_at <= started) {
            self.silences += 1;
            self.silent_at = Some(now);
            if self.silences >= WEBHOOK_HOST_FAILURES_MAX {
                let rest = backoff(retry_ms, self.silences - WEBHOOK_HOST_FAILURES_MAX);
                self.rest_until = Some(now + jittered(rest.min(Duration::from_millis(WEBHOOK_HOST_REST_MS_MAX))));
            }
        }
    }

    fn may_be_called(&self, now: Instant) -> bool {
        self.tries < WEBHOOK_TRIES_PER_HOST_MAX && self.rest_until.is_none_or(|until| until <= now)
    }
}

impl Courier {
    /// Starts what is due and may be started.
    async fn send_due(&mut self) -> Result<(), StoreError> {
        if self.tries.len() >= WEBHOOK_TRIES_MAX {
            return Ok(());
        }
        let now = Instant::now();
        // What is known of a silent host is kept for a while: if it still is, it rests longer.
        let memory = Duration::from_millis(WEBHOOK_RETRY_MS_MAX);
        self.hosts.retain(|_, host| host.tries > 0 || host.silent_at.is_some_and(|at| at + memory > now));
        // Those that cannot be called are not asked for, so that their backlog hides nobody else's messages.
        let without: Vec<String> =
            self.hosts.iter().filter(|(_, host)| !host.may_be_called(now)).map(|(name, _)| name.clone()).collect();
        for delivery in self.store.deliveries_due(WEBHOOK_TRIES_PER_HOST_MAX as u32, &without).await? {
            if self.sending.values().any(|sending| sending.delivery.id == delivery.id) {
                continue;
            }
            let host = self.hosts.entry(delivery.host.clone()).or_default();
            if self.tries.len() >= WEBHOOK_TRIES_MAX || !host.may_be_called(now) {
                continue;
            }
            host.tries += 1;
            let delivery = Arc::new(delivery);
            let (store, sender) = (Arc::clone(&self.store), self.sender.clone());
            let task = self.tries.spawn(try_once(store, sender, self.config, Arc::clone(&delivery)));
            self.sending.insert(task.id(), Sending { delivery, started: now });
        }
        Ok(())
    }

    async fn on_ended(&mut self, ended: Result<(task::Id, bool), task::JoinError>) {
        let (id, silent) = match &ended {
            Ok((id, silent)) => (*id, *silent),
            Err(error) => (error.id(), false),
        };
        let Some(Sending { delivery, started }) = self.sending.remove(&id) else { return };
        if let Err(error) = ended {
            // A fault of this program, not of the receiver's. The row must not come again at once, nor for ever.
            tracing::error!(job.id = %delivery.job, %error, "sending a webhook failed");
            let outcome = Outcome::Retry { cause: "it could not be sent".to_owned(), after: None, host_silent: false };
            settle(self.store.as_ref(), self.config, &delivery, outcome).await;
        }
        if let Some(host) = self.hosts.get_mut(&delivery.host) {
            host.on_ended(silent, started, Instant::now(), self.config.retry_ms);
        }
    }
}

/// Sends one message and brings its row up to date. True: the host was silent.
async fn try_once(store: Arc<dyn JobStore>, sender: Sender, config: WebhookConfig, delivery: Arc<Delivery>) -> bool {
    let outcome = sender.send(&delivery.url, &Message::of(&delivery), delivery.secret.as_ref()).await;
    let silent = matches!(outcome, Outcome::Retry { host_silent: true, .. });
    settle(store.as_ref(), config, &delivery, outcome).await;
    silent
}

/// Brings a row up to date with what became of a try.
async fn settle(store: &dyn JobStore, config: WebhookConfig, delivery: &Delivery, outcome: Outcome) {
    let now_ms = store.now_ms();
    let (result, stored) = match outcome {
        Outcome::Delivered => ("delivered", store.delivery_done(delivery.id).await),
        Outcome::Stop { cause } => {
            tracing::warn!(job.id = %delivery.job, cause, "a webhook is given up");
            ("stopped", store.delivery_done(delivery.id).await)
        }
        Outcome::Retry { cause, .. } if now_ms >= delivery.give_up_ms => {
            tracing::warn!(job.id = %delivery.job, cause, tries = delivery.attempt + 1, "a webhook is given up");
            ("given_up", store.delivery_done(delivery.id).await)
        }
        Outcome::Retry { cause, after, .. } => {
            tracing::debug!(job.id = %delivery.job, cause, tries = delivery.attempt + 1, "a webhook is tried again later");
            let wait = backoff(config.retry_ms, delivery.attempt).max(after.unwrap_or_default());
            let at_ms = now_ms.saturating_add(i64::try_from(jittered(wait).as_millis()).unwrap_or(i64::MAX));
            // The last try is made when the time is up, not after it.
            ("retried", store.delivery_retry(delivery.id, at_ms.min(delivery.give_up_ms)).await)
        }
    };
    metrics::counter!(crate::telemetry::WEBHOOKS, "result" => result).increment(1);
    if let Err(error) = stored {
        tracing::warn!(job.id = %delivery.job, %error, "the result of a webhook could not be stored; it is sent again");
        tokio::time::sleep(Duration::from_millis(config.retry_ms)).await;
    }
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
    wait.saturating_add(wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0))
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
    fn a_host_rests_when_it_is_silent_and_only_then() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let silent_again_and_again = |host: &mut Host, count: u64| {
            for step in 0..count {
                host.on_ended(true, at(step * 10), at(step * 10 + 5), WEBHOOK_RETRY_MS);
            }
        };
        // Tries that ran at the same time are one silence.
        let mut burst = Host { tries: 4, ..Host::default() };
        for _ in 0..4 {
            burst.on_ended(true, start, at(5), WEBHOOK_RETRY_MS);
        }
        assert_eq!((burst.silences, burst.tries, burst.may_be_called(at(6))), (1, 0, true));
        let mut silent = Host::default();
        silent_again_and_again(&mut silent, 4);
        assert!(silent.may_be_called(at(100)));
        silent_again_and_again(&mut silent, 60);
        assert!(!silent.may_be_called(at(700)));
        let longest = Duration::from_millis(WEBHOOK_HOST_REST_MS_MAX).mul_f64(1.25);
        assert!(silent.may_be_called(at(600) + longest), "it rests for ever");
        silent.on_ended(false, at(700), at(701), WEBHOOK_RETRY_MS);
        assert!(silent.may_be_called(at(702)), "it has answered");
    }
}
