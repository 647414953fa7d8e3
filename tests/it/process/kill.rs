//! The promises of the queue when processes die, hang, or are told to stop. Linux only: they look into `/proc`.
#![cfg(target_os = "linux")]

use super::harness::*;

#[tokio::test]
async fn a_job_whose_gpu_process_is_killed_finishes_on_its_second_attempt() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let undisturbed = server.submit(small_scene(1), &format!("{}&seed=7", seconds())).await;
    let expected = server.picture(&server.wait_for_state(&undisturbed, "succeeded").await).await;

    let id = server.submit(small_scene(1), &format!("{}&seed=7", seconds())).await;
    server.wait_for_samples(&id, 1).await;
    let pid = server.gpu_pid().await;
    signal(pid, "KILL");
    let job = server.wait_for_state(&id, "succeeded").await;
    assert_eq!(job["attempt"], 2, "{job:#}");
    assert_eq!(server.picture(&job).await, expected, "the second attempt made another picture");
    assert_ne!(server.gpu_pid().await, pid);
    assert_eq!(server.get("/v1/workers").await["workers"][0]["deaths"], 1);
}

#[tokio::test]
async fn a_gpu_process_that_stands_still_is_killed_and_its_job_finishes() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let id = server.submit(small_scene(2), seconds()).await;
    server.wait_for_samples(&id, 1).await;
    let pid = server.gpu_pid().await;
    signal(pid, "STOP");
    let job = server.wait_for_state(&id, "succeeded").await;
    assert_eq!(job["attempt"], 2, "{job:#}");
    assert!(!is_alive(pid), "the process that stood still is still there");
    server.picture(&job).await;
}

#[tokio::test]
async fn every_accepted_job_finishes_after_the_server_was_killed_and_nothing_is_left_behind() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let mut ids = Vec::new();
    for tint in 0..5 {
        ids.push(server.submit(small_scene(tint), seconds()).await);
    }
    server.wait_for_samples(&ids[0], 1).await;
    let pid = server.gpu_pid().await;
    server.kill();
    wait_for("the GPU process to die with its parent", async || (!is_alive(pid)).then_some(())).await;
    // What a death between a blob and its row leaves behind.
    let orphan = data.path().join("blobs/outputs/00/01900000-0000-7000-8000-000000000000.9.image.png");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, b"nobody's").unwrap();

    let server = Server::start(data.path(), "auto");
    let mut expected = Vec::new();
    for (tint, id) in ids.iter().enumerate() {
        let job = server.wait_for_state(id, "succeeded").await;
        server.picture(&job).await;
        let keys = files_under(&data.path().join("blobs/outputs"));
        let of_job =
            |key: &&std::path::PathBuf| key.file_name().unwrap().to_string_lossy().starts_with(&format!("{id}."));
        let keys: Vec<_> = keys.iter().filter(of_job).collect();
        assert_eq!(keys.len(), 1, "job {id} has the blobs {keys:?}");
        expected.push(std::path::Path::new("outputs").join(keys[0]));
        let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(small_scene(tint as u8)));
        expected.push(std::path::Path::new("assets").join(&sha256[..2]).join(sha256));
    }
    expected.sort();
    // The state of a finished render of some seconds is kept, one for each job, so that it can be extended.
    let (kept, found): (Vec<_>, Vec<_>) =
        files_under(&data.path().join("blobs")).into_iter().partition(|file| file.starts_with("checkpoints"));
    assert_eq!(found, expected, "blobs that no job names, or that are missing");
    for id in &ids {
        let of_job = kept.iter().filter(|file| file.starts_with(std::path::Path::new("checkpoints").join(id))).count();
        assert!(of_job <= 1, "job {id} has the checkpoints {kept:?}");
    }
    let ours = |file: &std::path::PathBuf| ids.iter().any(|id| file.starts_with(format!("checkpoints/{id}")));
    assert!(kept.iter().all(ours), "checkpoints of no job: {kept:?}");
    wait_for("an empty spool", async || files_under(&data.path().join("spool")).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_job_that_kills_its_gpu_process_twice_is_quarantined_and_the_next_one_succeeds() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let poison = server.submit(small_scene(3), forever()).await;
    let neighbour = server.submit(small_scene(4), MOMENT).await;
    for attempt in 1..=2 {
        server.wait_for_samples(&poison, attempt).await;
        signal(server.gpu_pid().await, "KILL");
        wait_for("the death to be noticed", async || {
            let deaths = server.get("/v1/workers").await["workers"][0]["deaths"].as_u64();
            (deaths >= Some(attempt)).then_some(())
        })
        .await;
    }
    let job = server.wait_for_state(&poison, "failed").await;
    assert_eq!(job["error"]["reason"], "quarantined", "{job:#}");
    assert_eq!(job["attempt"], 2);
    let job = server.wait_for_state(&neighbour, "succeeded").await;
    server.picture(&job).await;
    let next = server.submit(small_scene(5), MOMENT).await;
    let job = server.wait_for_state(&next, "succeeded").await;
    assert_eq!(job["attempt"], 1);
}

#[tokio::test]
async fn a_cancel_takes_hold_wherever_the_job_is_and_frees_the_gpu() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let mut ids = Vec::new();
    for tint in 0..6 {
        ids.push(server.submit(small_scene(tint), forever()).await);
    }
    // The first is on the device, the second is loaded behind it, the others wait in the queue.
    server.wait_for_samples(&ids[0], 1).await;
    for id in ids.iter().rev() {
        server.cancel(id).await;
        let job = server.wait_for_state(id, "cancelled").await;
        assert_eq!(job["cancel_requested"], false, "{job:#}");
        assert!(job["outputs"].as_array().is_some_and(Vec::is_empty), "{job:#}");
    }
    // Cancelled at once after its submission: wherever it is by then, most likely in its loader.
    for tint in 0..6 {
        let id = server.submit(small_scene(tint), forever()).await;
        server.cancel(&id).await;
        server.wait_for_state(&id, "cancelled").await;
    }
    let next = server.submit(small_scene(9), MOMENT).await;
    server.wait_for_state(&next, "succeeded").await;
    assert_eq!(server.get("/v1/workers").await["workers"][0]["deaths"], 0, "a cancel cost a GPU process");
    wait_for("an empty spool", async || files_under(&data.path().join("spool")).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_running_job_shows_previews_and_progress() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let id = server.submit(small_scene(6), forever()).await;
    server.wait_for_samples(&id, 1).await;
    let preview = wait_for("a preview", async || {
        let url = format!("{}/v1/jobs/{id}/preview", server.url);
        let response = server.client.get(url).send().await.unwrap();
        if response.status().as_u16() != 200 {
            return None;
        }
        Some(response.bytes().await.unwrap())
    })
    .await;
    assert!(preview.starts_with(b"\x89PNG"), "not a PNG: {:?}", &preview[..preview.len().min(80)]);
    let job = server.job(&id).await;
    let fraction = job["progress"]["fraction"].as_f64().unwrap();
    assert!(fraction > 0.0 && fraction < 1.0, "{job:#}");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_puts_its_work_back_and_says_so_with_its_exit_code() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let id = server.submit(small_scene(7), seconds()).await;
    server.wait_for_samples(&id, 1).await;
    let pid = server.gpu_pid().await;
    assert_eq!(server.terminate(), Some(0));
    assert!(!is_alive(pid), "the GPU process outlived its server");

    let server = Server::start(data.path(), "auto");
    let job = server.wait_for_state(&id, "succeeded").await;
    assert_eq!(job["attempt"], 1, "an attempt that was put back counted");
}

#[tokio::test]
async fn a_server_without_a_gpu_accepts_jobs_and_keeps_them() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "none");
    let id = server.submit(small_scene(8), MOMENT).await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready["ready"], false, "{ready:#}");
    assert_eq!(server.job(&id).await["state"], "queued");
    assert!(gpu_process_of(server.pid()).is_none());
    server.cancel(&id).await;
    assert_eq!(server.job(&id).await["state"], "cancelled");
    assert_eq!(server.terminate(), Some(0));
}
