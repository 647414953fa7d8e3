//! The order of claims.

use super::super::*;
use futures::future::join_all;

pub async fn jobs_are_claimed_by_class_and_then_in_order_of_arrival(bench: Bench) {
    use Priority::*;
    let mut arrived = Vec::new();
    for priority in [Batch, Normal, Interactive, Normal, Batch, Interactive] {
        arrived.push((priority, bench.submit_as(priority).await.id));
    }
    // A stable sort keeps the order of arrival within a class.
    arrived.sort_by_key(|(priority, _)| *priority);
    for (position, (priority, id)) in arrived.iter().enumerate() {
        assert_eq!(bench.store().position(*id).await.unwrap(), position as u64);
        assert!(position < 6, "{priority:?}");
    }
    for (priority, id) in arrived {
        let claim = bench.claim().await.unwrap();
        assert_eq!((claim.job, claim.priority, claim.attempt, claim.task, claim.deaths), (id, priority, 1, 0, 0));
        assert_eq!(bench.job(id).await.state, JobState::Running);
    }
    assert_eq!(bench.claim().await, None);
    assert_eq!(bench.store().counts().await.unwrap(), (0, 6));
}

pub async fn positions_count_what_goes_before(bench: Bench) {
    use Priority::*;
    let batch = bench.submit_as(Batch).await;
    let normal = bench.submit_as(Normal).await;
    let interactive = bench.submit_as(Interactive).await;
    let position = async |job: &Job| bench.store().position(job.id).await.unwrap();
    assert_eq!((position(&interactive).await, position(&normal).await, position(&batch).await), (0, 1, 2));
    let claim = bench.claim().await.unwrap();
    assert_eq!((position(&interactive).await, position(&normal).await, position(&batch).await), (0, 0, 1));
    bench.store().cancel(normal.id).await.unwrap();
    assert_eq!((position(&normal).await, position(&batch).await), (0, 0));
    bench.end(&claim, AttemptEnd::Released).await;
    assert_eq!(position(&batch).await, 1, "what was put back goes before again");
    let late = bench.submit_as(Normal).await;
    let queued = bench.store().events(late.id, 0, 1).await.unwrap();
    assert_eq!(queued[0].kind, EventKind::Queued { position: 1 });
}

pub async fn ten_thousand_queued_jobs_are_claimed_listed_and_counted(bench: Bench) {
    let mut ids = Vec::new();
    for _ in 0..10 {
        let jobs = join_all((0..1000).map(|_| bench.submit())).await;
        ids.extend(jobs.iter().map(|job| job.id));
    }
    assert_eq!(bench.store().counts().await.unwrap(), (10_000, 0));
    for place in [0, 1, 5_000, 9_999] {
        assert_eq!(bench.store().position(ids[place]).await.unwrap(), place as u64);
    }
    for id in &ids[..5] {
        assert_eq!(bench.claim().await.unwrap().job, *id);
    }
    assert_eq!(bench.store().position(ids[9_999]).await.unwrap(), 9_994);
    let page =
        bench.store().list(ListFilter { limit: 200, state: Some(JobState::Queued), ..ListFilter::default() }).await;
    assert_eq!(page.unwrap().len(), 200);
}

/// The clients of the next `count` claims, each of which uses the GPU for `gpu_seconds` and succeeds.
async fn serve(bench: &Bench, count: usize, gpu_seconds: f64) -> Vec<String> {
    let mut served = Vec::new();
    for _ in 0..count {
        let claim = bench.claim_next().await;
        bench.use_gpu(&claim, gpu_seconds).await;
        bench.end(&claim, success(claim.job)).await;
        served.push(claim.client);
    }
    served
}

fn shares(served: &[String], client: &str) -> usize {
    served.iter().filter(|served| *served == client).count()
}

pub async fn clients_share_the_gpu_by_seconds_and_not_by_jobs(bench: Bench) {
    // Long jobs of one client, short ones of another; both estimates are right.
    for _ in 0..20 {
        bench.submit_new(NewJob { cost_seconds: 10.0, ..job_of("long", spec(Priority::Normal)) }).await;
        for _ in 0..10 {
            bench.submit_new(NewJob { cost_seconds: 1.0, ..job_of("short", spec(Priority::Normal)) }).await;
        }
    }
    let (mut long, mut short) = (0.0_f64, 0.0_f64);
    for _ in 0..110 {
        let claim = bench.claim_next().await;
        let seconds = if claim.client == "long" { 10.0 } else { 1.0 };
        bench.use_gpu(&claim, seconds).await;
        bench.end(&claim, success(claim.job)).await;
        *(if claim.client == "long" { &mut long } else { &mut short }) += seconds;
        assert!((long - short).abs() <= 11.0, "{long} s and {short} s: more than one job of each apart");
    }
}

pub async fn a_wrong_estimate_is_corrected_by_what_was_used(bench: Bench) {
    for _ in 0..60 {
        // Says a second, needs nine.
        bench.submit_new(NewJob { cost_seconds: 1.0, ..job_of("liar", spec(Priority::Normal)) }).await;
        bench.submit_new(NewJob { cost_seconds: 1.0, ..job_of("honest", spec(Priority::Normal)) }).await;
    }
    let (mut liar, mut honest) = (0.0, 0.0);
    for _ in 0..50 {
        let claim = bench.claim_next().await;
        let (used, seconds) = if claim.client == "liar" { (&mut liar, 9.0) } else { (&mut honest, 1.0) };
        bench.use_gpu(&claim, seconds).await;
        bench.end(&claim, success(claim.job)).await;
        *used += seconds;
    }
    assert!(f64::abs(liar - honest) <= 10.0, "{liar} s and {honest} s");
}

pub async fn an_estimate_that_was_too_high_is_given_back(bench: Bench) {
    for _ in 0..20 {
        bench.submit_new(NewJob { cost_seconds: 100.0, ..job_of("a", spec(Priority::Normal)) }).await;
        bench.submit_new(NewJob { cost_seconds: 1.0, ..job_of("b", spec(Priority::Normal)) }).await;
    }
    let served = serve(&bench, 20, 1.0).await;
    assert!((9..=11).contains(&shares(&served, "a")), "{served:?}");
}

pub async fn a_client_with_twice_the_weight_gets_twice_the_seconds(bench: Bench) {
    let limits = ClientLimits { weight: 2.0, ..ClientLimits::default() };
    bench.store().set_client_limits("heavy", limits).await.unwrap();
    for _ in 0..40 {
        bench.submit_new(job_of("heavy", spec(Priority::Normal))).await;
        bench.submit_new(job_of("light", spec(Priority::Normal))).await;
    }
    let served = serve(&bench, 30, 1.0).await;
    assert!((19..=21).contains(&shares(&served, "heavy")), "{served:?}");
}

pub async fn a_client_that_was_idle_has_no_credit(bench: Bench) {
    for _ in 0..40 {
        bench.submit_new(job_of("busy", spec(Priority::Normal))).await;
    }
    bench.submit_new(job_of("idle", spec(Priority::Normal))).await;
    serve(&bench, 21, 1.0).await;
    // It has used one second where the other one used twenty, and gets half of what comes, not all.
    for _ in 0..20 {
        bench.submit_new(job_of("idle", spec(Priority::Normal))).await;
    }
    let served = serve(&bench, 10, 1.0).await;
    assert!((4..=6).contains(&shares(&served, "idle")), "{served:?}");
}

pub async fn a_client_is_served_in_the_order_of_its_submits_whatever_its_jobs_cost(bench: Bench) {
    let mut submitted = Vec::new();
    for cost_seconds in [50.0, 1.0, f64::NAN, f64::INFINITY, -3.0, 0.0, 7.0] {
        submitted.push(bench.submit_new(NewJob { cost_seconds, ..new_job(spec(Priority::Normal)) }).await.id);
    }
    for (position, id) in submitted.iter().enumerate() {
        assert_eq!(bench.store().position(*id).await.unwrap(), position as u64);
    }
    for id in submitted {
        assert_eq!(bench.claim_next().await.job, id);
    }
}

pub async fn a_class_that_is_passed_over_for_long_gets_one_task_in(bench: Bench) {
    use Priority::*;
    let classes = async |count: usize| {
        let mut claimed = Vec::new();
        for _ in 0..count {
            let claim = bench.claim_next().await;
            bench.end(&claim, success(claim.job)).await;
            claimed.push((bench.job(claim.job).await.priority, claim.priority));
        }
        claimed
    };
    for _ in 0..10 {
        for priority in [Batch, Normal, Interactive] {
            bench.submit_as(priority).await;
        }
    }
    assert_eq!(classes(2).await, [(Interactive, Interactive); 2]);
    bench.clock.advance_ms(AGEING_NORMAL_MS);
    // It runs as what it was let in before, or that would put it aside again.
    assert_eq!(classes(2).await, [(Normal, Interactive), (Interactive, Interactive)]);
    bench.clock.advance_ms(AGEING_BATCH_MS - AGEING_NORMAL_MS);
    assert_eq!(classes(3).await, [(Normal, Interactive), (Batch, Interactive), (Interactive, Interactive)]);
}

pub async fn positions_are_the_order_of_claims(bench: Bench) {
    let mut ids = Vec::new();
    for round in 0..12 {
        for (client, cost_seconds) in [("a", 3.0), ("b", 1.0), ("c", 0.25)] {
            let priority = if round % 4 == 0 { Priority::Interactive } else { Priority::Normal };
            ids.push(bench.submit_new(NewJob { cost_seconds, ..job_of(client, spec(priority)) }).await.id);
        }
    }
    let all = bench.store().ahead_of_all(&ids).await.unwrap();
    let mut order = Vec::new();
    for (id, ahead) in ids.iter().zip(all) {
        let position = bench.store().position(*id).await.unwrap();
        assert_eq!(ahead, bench.store().ahead(*id).await.unwrap(), "a page says the same as a single question");
        assert_eq!(ahead.unwrap().tasks, position);
        order.push((position, *id));
    }
    order.sort_unstable();
    assert_eq!(order.iter().map(|(position, _)| *position).collect::<Vec<_>>(), (0..36).collect::<Vec<_>>());
    for (position, id) in order {
        assert_eq!(bench.claim_next().await.job, id, "the job at position {position}");
    }
}

pub async fn what_is_ahead_is_counted_in_gpu_seconds_too(bench: Bench) {
    let costing = |cost_seconds: f64| NewJob { cost_seconds, ..new_job(spec(Priority::Normal)) };
    let running = bench.submit_new(costing(60.0)).await;
    let first = bench.submit_new(costing(5.0)).await;
    let second = bench.submit_new(costing(7.0)).await;
    let claim = bench.claim_next().await;
    assert_eq!(claim.job, running.id);
    bench.use_gpu(&claim, 20.0).await;
    let ahead = async |id| bench.store().ahead(id).await.unwrap();
    assert_eq!(ahead(first.id).await, Some(Ahead { tasks: 0, gpu_seconds: 40.0 }));
    assert_eq!(ahead(second.id).await, Some(Ahead { tasks: 1, gpu_seconds: 45.0 }));
    assert_eq!(ahead(running.id).await, None, "nothing is before what runs");
    // An interactive job does not wait for a normal one that runs.
    let urgent = bench.submit_as(Priority::Interactive).await;
    assert_eq!(ahead(urgent.id).await, Some(Ahead { tasks: 0, gpu_seconds: 0.0 }));
    bench.use_gpu(&claim, 90.0).await;
    assert_eq!(
        ahead(first.id).await.unwrap().gpu_seconds,
        1.0,
        "a job that takes longer than estimated is about to end"
    );
}

pub async fn a_busy_worker_gets_only_better_classes(bench: Bench) {
    use Priority::*;
    let better_than = async |class| {
        let want = ClaimWant { better_than: Some(class), ..ClaimWant::default() };
        bench.store().claim("busy", LEASE_MS, &want).await.unwrap().map(|claim| claim.priority)
    };
    for priority in [Batch, Normal, Interactive] {
        bench.submit_as(priority).await;
    }
    assert_eq!(better_than(Interactive).await, None);
    assert_eq!(better_than(Batch).await, Some(Interactive));
    assert_eq!(better_than(Normal).await, None);
    assert_eq!(better_than(Batch).await, Some(Normal));
    assert_eq!(better_than(Batch).await, None);
    assert_eq!(bench.claim_next().await.priority, Batch);
}

pub async fn a_running_task_that_gets_nothing_of_the_device_is_not_put_aside_for_ever(bench: Bench) {
    bench.submit_as(Priority::Batch).await;
    let batch = bench.claim_next().await;
    let renders = async |gpu_seconds| {
        let progress = Progress { phase: Phase::Rendering, gpu_seconds, ..Progress::default() };
        bench.store().heartbeat(&batch, progress, LEASE_MS).await.unwrap();
    };
    renders(1.0).await;
    let want = ClaimWant { better_than: Some(Priority::Batch), ..ClaimWant::default() };
    let urgent = async || {
        bench.submit_as(Priority::Interactive).await;
        bench.store().claim("busy", LEASE_MS, &want).await.unwrap().is_some()
    };
    assert!(urgent().await);
    bench.clock.advance_ms(AGEING_BATCH_MS);
    renders(1.0).await;
    assert!(!urgent().await, "it has starved on the device for an ageing period, and a heartbeat alone is no progress");
    renders(1.5).await;
    assert!(urgent().await);
    bench.clock.advance_ms(AGEING_BATCH_MS);
    assert!(urgent().await, "its lease has run out: nobody is there who could starve");
}

pub async fn a_task_that_does_not_want_the_device_does_not_hold_up_urgent_ones(bench: Bench) {
    let want = ClaimWant { better_than: Some(Priority::Batch), ..ClaimWant::default() };
    bench.submit_as(Priority::Batch).await;
    let batch = bench.claim_next().await;
    for phase in [Phase::Loading, Phase::Encoding] {
        bench.clock.advance_ms(AGEING_BATCH_MS);
        let progress = Progress { phase, gpu_seconds: 1.0, ..Progress::default() };
        bench.store().heartbeat(&batch, progress, LEASE_MS).await.unwrap();
        bench.clock.advance_ms(AGEING_BATCH_MS);
        bench.store().heartbeat(&batch, progress, LEASE_MS).await.unwrap();
        bench.submit_as(Priority::Interactive).await;
        assert!(bench.store().claim("busy", LEASE_MS, &want).await.unwrap().is_some(), "{phase:?}");
    }
}

pub async fn a_client_that_was_held_back_has_no_credit(bench: Bench) {
    let bounded = |tasks_running_max| ClientLimits { tasks_running_max, ..ClientLimits::default() };
    bench.store().set_client_limits("held", bounded(Some(0))).await.unwrap();
    for _ in 0..20 {
        bench.submit_new(job_of("held", spec(Priority::Normal))).await;
        bench.submit_new(job_of("other", spec(Priority::Normal))).await;
    }
    for _ in 0..10 {
        let claim = bench.claim_next().await;
        assert_eq!(claim.client, "other");
        bench.use_gpu(&claim, 1.0).await;
        bench.end(&claim, success(claim.job)).await;
    }
    bench.store().set_client_limits("held", bounded(None)).await.unwrap();
    let mut held = 0;
    for _ in 0..10 {
        let claim = bench.claim_next().await;
        held += usize::from(claim.client == "held");
        bench.use_gpu(&claim, 1.0).await;
        bench.end(&claim, success(claim.job)).await;
    }
    assert!((4..=6).contains(&held), "it got {held} of 10 turns, and has a right to half of them");
}

pub async fn what_ends_under_its_worker_is_charged_for_what_it_used(bench: Bench) {
    let film = NewJob { cost_seconds: 2_000.0, ..job_of("film", turntable(2, false)) };
    let film = bench.submit_new(film).await;
    let (bad, under) = (bench.claim_next().await, bench.claim_next().await);
    bench.use_gpu(&bad, 1.0).await;
    bench.use_gpu(&under, 2.0).await;
    let now = bench.end(&bad, failed(FailureReason::InvalidScene)).await;
    assert_eq!((now.id, now.progress.gpu_seconds), (film.id, 3.0));
    // It used three seconds and not two thousand, so that it is soon its turn again.
    for _ in 0..10 {
        bench.submit_new(job_of("other", spec(Priority::Normal))).await;
    }
    bench.submit_new(job_of("film", spec(Priority::Normal))).await;
    let mut turn = 0;
    while bench.claim_next().await.client != "film" {
        turn += 1;
    }
    assert!(turn <= 4, "it waited for {turn} jobs of another client");
}

pub async fn virtual_time_does_not_overflow(bench: Bench) {
    let least = ClientLimits { weight: CLIENT_WEIGHT_MIN, ..ClientLimits::default() };
    bench.store().set_client_limits("dear", least).await.unwrap();
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, CLIENT_WEIGHT_MIN / 2.0, CLIENT_WEIGHT_MAX * 2.0] {
        let limits = ClientLimits { weight, ..ClientLimits::default() };
        assert!(bench.store().set_client_limits("dear", limits).await.is_err(), "{weight}");
    }
    let dear = || NewJob { cost_seconds: f64::MAX, ..job_of("dear", spec(Priority::Normal)) };
    let most = (VTIME_MAX as f64 / (JOB_COST_SECONDS_MAX * 1e6 / CLIENT_WEIGHT_MIN)) as usize;
    // Fills virtual time without as many jobs behind one another.
    for _ in 0..most + 10 {
        let job = bench.submit_new(dear()).await;
        bench.store().cancel(job.id).await.unwrap();
    }
    let (first, second) = (bench.submit_new(dear()).await, bench.submit_new(dear()).await);
    assert_eq!(bench.store().position(second.id).await.unwrap(), 1);
    assert_eq!([bench.claim_next().await.job, bench.claim_next().await.job], [first.id, second.id]);
}

pub async fn a_job_whose_scene_is_on_the_gpu_is_preferred_within_bounds(bench: Bench) {
    let of_scene = |digit: &str, client: &str| {
        let JobSpec::Scene(mut scene) = spec(Priority::Normal) else { panic!("expected a scene") };
        scene.scene.asset = AssetRef::from_sha256(&digit.repeat(64));
        job_of(client, JobSpec::Scene(scene))
    };
    let head = bench.submit_new(of_scene("a", "local")).await;
    for _ in 0..20 {
        bench.submit_new(of_scene("b", "local")).await;
    }
    let want = ClaimWant { resident: vec![format!("sha256:{}", "b".repeat(64))], better_than: None };
    let claim = async || bench.store().claim("worker", LEASE_MS, &want).await.unwrap().unwrap();
    for pass in 0..RESIDENT_PASSES_MAX {
        assert_ne!(claim().await.job, head.id, "pass {pass}");
    }
    assert_eq!(claim().await.job, head.id, "it was passed over often enough");
    // Beyond the window nothing is preferred.
    let far = of_scene("c", "other");
    let far_want = ClaimWant { resident: vec![format!("sha256:{}", "c".repeat(64))], better_than: None };
    let next = bench.submit_new(far).await;
    for _ in 0..RESIDENT_WINDOW_TASKS * 2 {
        let claim = bench.store().claim("worker", LEASE_MS, &far_want).await.unwrap().unwrap();
        bench.end(&claim, success(claim.job)).await;
        if claim.job == next.id {
            return;
        }
    }
    panic!("a job that is resident never came");
}

pub async fn a_client_at_its_bound_does_not_hold_up_the_others(bench: Bench) {
    let limits = ClientLimits { tasks_running_max: Some(1), ..ClientLimits::default() };
    bench.store().set_client_limits("bounded", limits).await.unwrap();
    for _ in 0..3 {
        bench.submit_new(job_of("bounded", spec(Priority::Normal))).await;
    }
    let other = bench.submit_new(job_of("other", spec(Priority::Normal))).await;
    let first = bench.claim_next().await;
    assert_eq!(first.client, "bounded");
    assert_eq!(bench.claim_next().await.job, other.id);
    assert_eq!(bench.claim().await, None);
    let notify = bench.store().work_notify();
    bench.end(&first, success(first.job)).await;
    notify.notified().await;
    assert_eq!(bench.claim_next().await.client, "bounded");
}

pub async fn a_client_with_too_many_queued_jobs_is_told_so(bench: Bench) {
    let limits = ClientLimits { jobs_queued_max: Some(2), ..ClientLimits::default() };
    bench.store().set_client_limits("local", limits).await.unwrap();
    bench.submit().await;
    let second = bench.submit_as(Priority::Batch).await;
    let refused = bench.store().submit(new_job(spec(Priority::Normal))).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Quota { queued: 2, queued_max: 2, client } if client == "local"),
        "{refused}"
    );
    bench.submit_new(job_of("other", spec(Priority::Normal))).await;
    bench.store().cancel(second.id).await.unwrap();
    bench.submit().await;
    let refused = bench.store().retry(second.id).await.unwrap_err();
    assert!(matches!(refused, StoreError::Quota { .. }), "a retry is bounded like a submit: {refused}");
}

pub async fn the_queue_is_seen_by_class_and_by_client(bench: Bench) {
    bench.submit_new(NewJob { cost_seconds: 4.0, ..job_of("a", spec(Priority::Normal)) }).await;
    bench.submit_new(NewJob { cost_seconds: 6.0, ..job_of("b", spec(Priority::Normal)) }).await;
    bench.submit_new(NewJob { cost_seconds: 2.0, ..job_of("b", turntable(2, true)) }).await;
    bench.submit_new(job_of("c", spec(Priority::Batch))).await;
    bench.claim_next().await;
    let queue = bench.store().queue().await.unwrap();
    assert_eq!(queue.mode, QueueMode::Open);
    let load = |jobs_queued, jobs_running, tasks_queued, tasks_running, gpu_seconds| Load {
        jobs_queued,
        jobs_running,
        tasks_queued,
        tasks_running,
        gpu_seconds,
    };
    let classes = [
        (Priority::Interactive, Load::default()),
        (Priority::Normal, load(2, 1, 3, 1, 8.0)),
        (Priority::Batch, load(1, 0, 1, 0, 1.0)),
    ];
    assert_eq!(queue.classes, classes);
    let clients = [
        ("b".to_owned(), load(2, 0, 3, 0, 8.0)),
        ("c".to_owned(), load(1, 0, 1, 0, 1.0)),
        ("a".to_owned(), load(0, 1, 0, 1, 0.0)),
    ];
    assert_eq!(queue.clients, clients);
}
