//! Keeps one attempt's lease alive: a tokio task of its own, which neither the GPU nor a slow commit can hold up.

use super::Context;
use crate::job::Claim;
use crate::limits::{LEASE_MS, LEASE_RENEW_MS, LEASE_RETRY_MS};
use crate::store::LeaseState;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A lease; it is renewed until this is dropped.
pub struct Lease {
    state: watch::Receiver<LeaseState>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Lease {
    /// Starts renewing the lease of a task that was claimed just now.
    pub fn keep(context: Arc<Context>, claim: Claim) -> Self {
        let (sender, state) = watch::channel(LeaseState::Held);
        let keeper = tokio::spawn(renew_forever(context, claim, sender));
        Self { state, keeper }
    }

    /// As of the last renewal. [`LeaseState::Lost`] also when none succeeded for the length of a lease.
    pub fn state(&self) -> LeaseState {
        *self.state.borrow()
    }

    /// Waits until the lease is no longer merely held.
    pub async fn troubled(&mut self) -> LeaseState {
        match self.state.wait_for(|state| *state != LeaseState::Held).await {
            Ok(state) => *state,
            // The keeper ends only after it has said `Lost`, or with the runtime.
            Err(_) => LeaseState::Lost,
        }
    }

    /// Waits until the lease is lost.
    pub async fn lost(&mut self) {
        let _ = self.state.wait_for(|state| *state == LeaseState::Lost).await;
    }
}

async fn renew_forever(context: Arc<Context>, claim: Claim, state: watch::Sender<LeaseState>) {
    let (renew, lease) = (Duration::from_millis(LEASE_RENEW_MS), Duration::from_millis(LEASE_MS as u64));
    let mut valid_until = Instant::now() + lease;
    let mut next = renew;
    loop {
        tokio::time::sleep(next).await;
        // The lease counts from before the question was asked: the store may have answered late.
        let asked = Instant::now();
        let progress = context.hub.attempt_progress(claim.job, claim.fence).unwrap_or_default();
        let answer = tokio::time::timeout(renew, context.store.heartbeat(&claim, progress, LEASE_MS)).await;
        next = match answer {
            Ok(Ok(found)) => {
                valid_until = asked + lease;
                state.send_replace(found);
                if found == LeaseState::Lost {
                    return;
                }
                renew
            }
            failed => {
                let error = failed.map_or_else(|_| "no answer".to_owned(), |answer| format!("{:?}", answer.err()));
                tracing::warn!(job.id = %claim.job, error, "a lease could not be renewed");
                if Instant::now() >= valid_until {
                    state.send_replace(LeaseState::Lost);
                    return;
                }
                Duration::from_millis(LEASE_RETRY_MS)
            }
        };
    }
}
