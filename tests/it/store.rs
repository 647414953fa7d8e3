//! The conformance suite of [`JobStore`]: what `queue.md` promises of a store, run on every store there is.
//!
//! `suite` holds the promises that any store keeps, `model` compares random operations with a reference, `sqlite` holds what is
//! particular to files. Time is moved by [`Clock`], never waited for.

mod model;
mod sqlite;
mod suite;

use kiln::job::spec::AssetRef;
use kiln::job::*;
use kiln::limits::*;
use kiln::store::sqlite::{Clock, SqliteOptions, SqliteStore};
use kiln::store::*;
use std::sync::Arc;

/// A store under test, with its clock and its place.
struct Bench {
    store: Arc<SqliteStore>,
    clock: Clock,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::default();
        let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
        let store = Arc::new(SqliteStore::open_with(dir.path(), options).await.unwrap());
        Self { store, clock, dir }
    }

    fn store(&self) -> &dyn JobStore {
        &*self.store
    }

    /// Closes the store and opens it again, as a restart of the server does.
    async fn restart(&mut self) {
        self.store.close().await;
        let options = SqliteOptions { clock: self.clock.clone(), ..SqliteOptions::default() };
        self.store = Arc::new(SqliteStore::open_with(self.dir.path(), options).await.unwrap());
    }

    /// A new job, on disk.
    async fn submit(&self) -> Job {
        self.submit_as(Priority::Normal).await
    }

    async fn submit_as(&self, priority: Priority) -> Job {
        match self.store.submit(new_job(spec(priority))).await.unwrap() {
            Submitted::Created(job) => job,
            other => panic!("{other:?}"),
        }
    }

    async fn claim(&self) -> Option<Claim> {
        self.store.claim("worker", LEASE_MS, &ClaimWant::default()).await.unwrap()
    }

    async fn job(&self, id: JobId) -> Job {
        self.store.job(id).await.unwrap().expect("the job is there")
    }

    /// The names of a job's events; their numbers are checked on the way.
    async fn events(&self, id: JobId) -> Vec<&'static str> {
        let events = self.store.events(id, 0, 10_000).await.unwrap();
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event.seq, index as i64 + 1, "the events of a job are numbered from 1 without gaps");
        }
        events.iter().map(|event| event.kind.name()).collect()
    }

    /// Commits an end, which must be taken.
    async fn end(&self, claim: &Claim, end: AttemptEnd) -> Job {
        match self.store.commit(claim, end).await.unwrap() {
            Committed::Done(job) => job,
            Committed::Stale => panic!("the commit of {claim:?} was refused"),
        }
    }

    /// Lets every delay of a retry pass.
    fn pass_retry_delay(&self) {
        self.clock.advance_ms(RETRY_DELAY_MS_MAX);
    }
}

fn spec(priority: Priority) -> JobSpec {
    let mut scene = SceneSpec::new(AssetRef::from_sha256(&"ab".repeat(32)));
    scene.options.priority = priority;
    JobSpec::Scene(scene)
}

fn new_job(spec: JobSpec) -> NewJob {
    NewJob::new(JobId::now_v7(), "local", spec)
}

/// The spec of a job that carries a label, which also tells it from other specs.
fn labelled(key: &str, value: &str) -> JobSpec {
    let JobSpec::Scene(mut scene) = spec(Priority::Normal) else { panic!("expected a scene") };
    scene.options.labels.insert(key.into(), value.into());
    JobSpec::Scene(scene)
}

fn output(name: &str, blob: &str) -> NewOutput {
    let output = Output { name: name.into(), media_type: "image/png".into(), bytes: 812_345, sha256: "cd".repeat(32) };
    NewOutput { output, blob: blob.into() }
}

fn success(job: JobId) -> AttemptEnd {
    let outputs = vec![output("image.png", &format!("outputs/{job}/1/image.png"))];
    AttemptEnd::Succeeded { outputs, report: serde_json::json!({"triangles": 12}) }
}

fn failed(reason: FailureReason) -> AttemptEnd {
    AttemptEnd::Failed(Failure { reason, message: format!("it was {reason:?}"), details: Vec::new() })
}

/// The promises of `suite`, each as a test on each store. Another store is another module here.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::suite::$promise(super::Bench::sqlite().await).await;
                }
            )+
        }
    };
}

promises! {
    a_new_job_is_queued_and_can_be_read_back,
    the_same_id_with_the_same_spec_is_the_same_job,
    the_same_idempotency_key_with_the_same_request_is_the_same_job,
    many_submits_of_one_id_at_once_make_one_job,
    jobs_are_claimed_by_class_and_then_in_order_of_arrival,
    racing_claims_take_each_job_exactly_once,
    a_success_is_committed_with_its_outputs_exactly_once,
    a_commit_with_an_old_fence_changes_nothing,
    a_repeated_commit_is_answered_like_the_first,
    an_expired_lease_is_rescued_and_a_live_one_is_not,
    a_heartbeat_renews_the_lease_and_stores_progress,
    a_heartbeat_on_a_lost_lease_says_so,
    a_queued_job_is_cancelled_at_once,
    a_running_job_is_cancelled_by_its_worker,
    success_that_was_committed_first_wins_over_a_cancel,
    a_cancel_races_with_a_success_and_one_of_them_wins,
    a_cancelled_job_is_not_retried_by_a_fault,
    a_jobs_own_fault_is_not_retried,
    a_machines_fault_is_retried_later_until_attempts_are_used_up,
    a_job_that_kills_its_gpu_process_twice_is_quarantined,
    a_released_attempt_does_not_count,
    a_person_may_retry_what_failed_and_the_history_stays,
    a_deleted_job_is_gone_and_its_blobs_are_named,
    pages_of_a_list_hold_every_job_once_newest_first,
    a_list_is_filtered_by_client_state_kind_and_label,
    positions_count_what_goes_before,
    events_are_told_in_order_and_only_once_they_are_stored,
    log_lines_are_events_and_bounded,
    waiting_workers_are_woken_by_work,
    waiting_workers_are_woken_when_a_retry_is_due,
    assets_are_recorded_once_and_their_blobs_are_named,
    everything_survives_a_restart_and_what_ran_is_queued_again,
    restarts_alone_do_not_use_up_a_jobs_attempts,
    a_clock_that_goes_backwards_keeps_the_order_and_delays_nothing,
    an_operation_that_fails_does_not_fail_its_neighbours,
    ten_thousand_queued_jobs_are_claimed_listed_and_counted,
    unknown_ids_are_answered_and_not_invented,
}
