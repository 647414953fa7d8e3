//! The conformance suite of [`JobStore`]: what `kiln::store` promises of a store, run on every store there is.
//!
//! `suite` holds the promises that any store keeps, one file a subject; `model` compares random operations with a reference;
//! `starvation` runs whole days of adversarial load through the real order of claims; `sqlite` and `power_loss` hold what is
//! particular to files. Time is moved by [`Clock`], never waited for.

mod model;
#[cfg(unix)]
mod power_loss;
mod sqlite;
mod starvation;
mod suite {
    pub mod attempts;
    pub mod cancels;
    pub mod durability;
    pub mod jobs;
    pub mod operators;
    pub mod order;
    pub mod outbox;
    pub mod retention;
    pub mod reuse;
    pub mod tasks;
}

use kiln::job::spec::{AssetRef, Format, SceneFrames, Turntable};
use kiln::job::*;
use kiln::limits::*;
use kiln::store::sqlite::{Clock, SqliteOptions, SqliteStore};
use kiln::store::*;
use std::sync::Arc;

/// A store under test, and its clock.
struct Bench {
    store: Arc<dyn JobStore>,
    clock: Clock,
    engine: Engine,
}

/// What is behind the trait. Another store is another variant here, and another module of [`promises`].
enum Engine {
    Sqlite { store: Arc<SqliteStore>, dir: tempfile::TempDir },
}

impl Bench {
    async fn sqlite() -> Self {
        Self::sqlite_in(&std::env::temp_dir()).await
    }

    async fn sqlite_in(parent: &std::path::Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let clock = Clock::default();
        let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
        let store = Arc::new(SqliteStore::open_with(dir.path(), options).await.unwrap());
        Self { store: store.clone(), clock, engine: Engine::Sqlite { store, dir } }
    }

    fn store(&self) -> &dyn JobStore {
        &*self.store
    }

    /// The folder of the store.
    fn dir(&self) -> &std::path::Path {
        let Engine::Sqlite { dir, .. } = &self.engine;
        dir.path()
    }

    async fn close(&self) {
        let Engine::Sqlite { store, .. } = &self.engine;
        store.close().await;
    }

    /// Closes the store and opens it again, as a restart of the server does.
    async fn restart(&mut self) {
        self.close().await;
        let Engine::Sqlite { store, dir } = &mut self.engine;
        let options = SqliteOptions { clock: self.clock.clone(), ..SqliteOptions::default() };
        *store = Arc::new(SqliteStore::open_with(dir.path(), options).await.unwrap());
        self.store = store.clone();
    }

    /// A new job, on disk.
    async fn submit(&self) -> Job {
        self.submit_as(Priority::Normal).await
    }

    async fn submit_as(&self, priority: Priority) -> Job {
        self.submit_new(new_job(spec(priority))).await
    }

    async fn submit_new(&self, new: NewJob) -> Job {
        match self.store.submit(new).await.unwrap() {
            Submitted::Created(job) => job,
            other => panic!("{other:?}"),
        }
    }

    async fn claim(&self) -> Option<Claim> {
        self.store.claim("worker", LEASE_MS, &ClaimWant::default()).await.unwrap()
    }

    /// Claims what must be there.
    async fn claim_next(&self) -> Claim {
        self.claim().await.expect("something can be claimed")
    }

    /// Uses the GPU for this long, as the worker's heartbeats say.
    async fn use_gpu(&self, claim: &Claim, gpu_seconds: f64) {
        let progress = Progress { gpu_seconds, ..Progress::default() };
        assert_eq!(self.store.heartbeat(claim, progress, LEASE_MS).await.unwrap(), LeaseState::Held);
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
        match self.store.commit(claim, end, None).await.unwrap() {
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

/// A job of another client than the usual one.
fn job_of(client: &str, spec: JobSpec) -> NewJob {
    NewJob { client: client.into(), ..new_job(spec) }
}

/// The spec of a turntable of this many frames; of one animation file where `assembled`.
fn turntable(frames: u32, assembled: bool) -> JobSpec {
    let JobSpec::Scene(mut scene) = spec(Priority::Normal) else { panic!("expected a scene") };
    scene.frames = Some(SceneFrames::Turntable(Turntable { turntable: frames, fps: 24.0 }));
    scene.output.format = if assembled { Format::Mp4 } else { Format::Png };
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

/// A small generator (Vigna, "xorshift*", 2016), so that a failure can be repeated from its seed.
fn random(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// The promises of `suite`, each as a test on each store. Another store is another module here.
macro_rules! promises {
    ($($subject:ident { $($promise:ident),+ $(,)? })+) => {
        mod on_sqlite {
            $(
                mod $subject {
                    $(
                        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                        async fn $promise() {
                            super::super::suite::$subject::$promise(super::super::Bench::sqlite().await).await;
                        }
                    )+
                }
            )+
        }
    };
}

promises! {
    jobs {
        a_new_job_is_queued_and_can_be_read_back,
        the_same_id_with_the_same_spec_is_the_same_job,
        the_same_idempotency_key_with_the_same_request_is_the_same_job,
        many_submits_of_one_id_at_once_make_one_job,
        pages_of_a_list_hold_every_job_once_newest_first,
        a_list_is_filtered_by_client_state_kind_and_label,
        events_are_told_in_order_and_only_once_they_are_stored,
        log_lines_are_events_and_bounded,
        an_operation_that_fails_does_not_fail_its_neighbours,
        unknown_ids_are_answered_and_not_invented,
    }
    attempts {
        racing_claims_take_each_job_exactly_once,
        a_success_is_committed_with_its_outputs_exactly_once,
        a_commit_with_an_old_fence_changes_nothing,
        a_repeated_commit_is_answered_like_the_first,
        an_expired_lease_is_rescued_and_a_live_one_is_not,
        a_heartbeat_renews_the_lease_and_stores_progress,
        a_heartbeat_on_a_lost_lease_says_so,
        a_jobs_own_fault_is_not_retried,
        a_machines_fault_is_retried_later_until_attempts_are_used_up,
        a_job_that_kills_its_gpu_process_twice_is_quarantined,
        a_released_attempt_does_not_count,
        a_person_may_retry_what_failed_and_the_history_stays,
        waiting_workers_are_woken_by_work,
        waiting_workers_are_woken_when_a_retry_is_due,
    }
    cancels {
        a_queued_job_is_cancelled_at_once,
        a_running_job_is_cancelled_by_its_worker,
        success_that_was_committed_first_wins_over_a_cancel,
        a_cancel_races_with_a_success_and_one_of_them_wins,
        a_cancelled_job_is_not_retried_by_a_fault,
        a_cancel_that_nobody_asked_for_puts_the_task_back,
    }
    order {
        jobs_are_claimed_by_class_and_then_in_order_of_arrival,
        positions_count_what_goes_before,
        ten_thousand_queued_jobs_are_claimed_listed_and_counted,
        clients_share_the_gpu_by_seconds_and_not_by_jobs,
        a_wrong_estimate_is_corrected_by_what_was_used,
        an_estimate_that_was_too_high_is_given_back,
        a_client_with_twice_the_weight_gets_twice_the_seconds,
        a_client_that_was_idle_has_no_credit,
        a_client_is_served_in_the_order_of_its_submits_whatever_its_jobs_cost,
        a_class_that_is_passed_over_for_long_gets_one_task_in,
        positions_are_the_order_of_claims,
        what_is_ahead_is_counted_in_gpu_seconds_too,
        a_busy_worker_gets_only_better_classes,
        a_running_task_that_gets_nothing_of_the_device_is_not_put_aside_for_ever,
        a_task_that_does_not_want_the_device_does_not_hold_up_urgent_ones,
        a_client_that_was_held_back_has_no_credit,
        what_ends_under_its_worker_is_charged_for_what_it_used,
        virtual_time_does_not_overflow,
        a_job_whose_scene_is_on_the_gpu_is_preferred_within_bounds,
        a_client_at_its_bound_does_not_hold_up_the_others,
        a_client_with_too_many_queued_jobs_is_told_so,
        the_queue_is_seen_by_class_and_by_client,
    }
    tasks {
        each_frame_is_a_task_and_can_be_had_as_soon_as_it_is_done,
        fences_name_an_attempt_within_its_job,
        the_assembly_comes_when_all_frames_are_there,
        progress_is_that_of_the_whole_job,
        a_frame_that_fails_for_good_fails_the_job_and_only_the_rest_is_done_again,
        a_fault_in_one_frame_is_retried_while_the_others_go_on,
        a_cancel_ends_a_job_when_the_last_of_its_tasks_has_let_go,
        lost_frames_of_one_job_are_rescued_together,
        frames_of_clients_are_interleaved_by_gpu_seconds,
        a_preempted_task_goes_on_from_its_checkpoint_and_the_attempt_does_not_count,
        checkpoints_are_recorded_under_the_fence,
        a_preempted_class_goes_on_waiting,
        a_finished_scene_can_be_given_more_samples,
        more_samples_are_not_refused_by_a_deadline_that_was_met,
        a_put_back_that_is_repeated_is_answered_like_the_first,
    }
    reuse {
        a_job_that_was_done_before_is_answered_at_once,
        nothing_else_answers_for_a_job,
        what_failed_or_was_deleted_answers_for_nothing,
        a_job_joins_one_that_is_queued_or_running,
        a_follower_waits_where_its_leader_does,
        when_a_leader_ends_otherwise_the_first_follower_leads,
        a_follower_can_be_cancelled_alone,
        a_leader_that_fails_for_good_fails_those_that_would_only_repeat_it,
        deaths_and_attempts_of_the_same_work_go_on_counting,
        what_is_done_of_common_work_is_not_thrown_away_with_its_leader,
        a_leader_goes_as_the_most_urgent_of_those_that_follow_it,
        followers_of_one_leader_are_bounded,
        a_follower_does_not_expire_once_its_leader_has_started,
        bytes_that_are_lost_answer_for_nothing,
        an_id_that_is_used_again_does_not_reach_the_blobs_of_the_first,
        followers_survive_a_restart,
    }
    operators {
        a_job_that_did_not_start_in_time_expires,
        a_job_whose_deadline_has_passed_is_not_begun,
        a_job_that_has_started_does_not_expire,
        a_queued_job_can_be_changed,
        a_patch_that_changes_nothing_keeps_the_place,
        a_paused_queue_takes_jobs_and_hands_out_none,
        a_pause_is_no_reason_to_let_a_lower_class_in,
        a_draining_queue_refuses_what_is_new,
        what_a_cost_model_learnt_is_remembered,
    }
    durability {
        everything_survives_a_restart_and_what_ran_is_queued_again,
        restarts_alone_do_not_use_up_a_jobs_attempts,
        a_clock_that_goes_backwards_keeps_the_order_and_delays_nothing,
        a_lease_ends_in_time_though_the_clock_goes_back_an_hour,
        what_goes_with_the_clock_stays_where_the_first_change_after_it_is_refused,
        a_clock_that_went_back_between_two_runs_is_noticed,
        a_class_is_let_in_in_time_though_the_clock_goes_back_an_hour,
        every_part_of_the_store_survives_a_restart,
    }
    retention {
        a_deleted_job_is_gone_and_its_blobs_are_named,
        assets_are_recorded_once_and_their_blobs_are_named,
        jobs_are_forgotten_by_age_and_leave_a_tombstone,
        what_is_still_to_be_told_or_known_is_not_forgotten,
        what_runs_does_not_drive_out_what_is_finished,
        outputs_are_bounded_by_bytes_and_the_oldest_go_first,
        bytes_that_a_kept_job_names_are_never_given_away,
        events_of_ended_jobs_are_forgotten_but_for_the_last,
        checkpoints_of_ended_jobs_are_bounded_by_bytes,
        an_asset_that_a_job_reads_is_never_forgotten,
    }
    outbox {
        an_event_that_is_asked_for_is_in_the_outbox_until_it_is_told,
        a_message_that_was_not_taken_is_due_again_later,
        what_was_undone_is_not_told,
        a_job_that_is_answered_at_once_is_told_of_too,
    }
}
