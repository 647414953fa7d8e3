//! What is forgotten, and what never is.

use super::GLB;
use crate::app::{TestApp, glb};
use kiln::dispatch::retention::{RetentionConfig, Swept, sweep};
use kiln::http::problem::Kind;
use kiln::limits::DAY_MS;
use std::time::Duration;

const DAYS_31_MS: i64 = 31 * DAY_MS as i64;

async fn sweep_all(app: &TestApp) -> Swept {
    sweep(app.store.as_ref(), &app.blobs, &RetentionConfig::default(), Some(Duration::ZERO)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_job_is_gone_for_good_and_says_so() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    assert_eq!(sweep_all(&app).await, Swept::default());
    app.get(&format!("/v1/jobs/{id}/image")).await.expect(200);
    app.clock.advance_ms(DAYS_31_MS);
    let swept = sweep_all(&app).await;
    assert_eq!((swept.jobs, swept.blobs, swept.assets, swept.orphans), (1, 1, 1, 0));
    for path in ["", "/events", "/image", "/outputs", "/outputs/image.png", "/preview"] {
        app.get(&format!("/v1/jobs/{id}{path}")).await.problem(Kind::JobPurged);
    }
    for action in ["cancel", "retry", "extend?samples=5000"] {
        app.send(app.request("POST", &format!("/v1/jobs/{id}/{action}"))).await.problem(Kind::JobPurged);
    }
    app.send(app.request("DELETE", &format!("/v1/jobs/{id}"))).await.problem(Kind::JobPurged);
    for prefix in ["outputs", "assets"] {
        assert!(app.blobs.list(prefix).await.unwrap().is_empty(), "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_waiting_job_reads_is_never_forgotten() {
    let app = TestApp::start().await;
    let waiting = app.submit().await;
    app.clock.advance_ms(10 * DAYS_31_MS);
    assert_eq!(sweep_all(&app).await, Swept::default());
    let claim = app.claim().await;
    assert_eq!(claim.job, waiting);
    app.clock.advance_ms(DAYS_31_MS);
    assert_eq!(sweep_all(&app).await, Swept::default(), "a running job lost something");
    app.succeed_with_png(&claim).await;
    app.get(&format!("/v1/jobs/{waiting}/image")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_beyond_their_bytes_go_oldest_first() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.submit().await);
        app.succeed(&app.claim().await, &[("image.png", "image/png", &[7; 1000])]).await;
        app.clock.advance_ms(1000);
    }
    let config = RetentionConfig { outputs_bytes_max: Some(2500), ..RetentionConfig::default() };
    let swept = sweep(app.store.as_ref(), &app.blobs, &config, None).await.unwrap();
    assert_eq!((swept.jobs, swept.blobs), (1, 1));
    app.get(&format!("/v1/jobs/{}", ids[0])).await.problem(Kind::JobPurged);
    app.get(&format!("/v1/jobs/{}/image", ids[1])).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_without_a_row_are_collected_and_an_asset_that_is_asked_for_again_stays() {
    let app = TestApp::start().await;
    let asset = app.post("/v1/assets", GLB, glb("asset")).await.expect(201).json();
    let spooled = app.blobs.spool_file(".orphan");
    std::fs::write(spooled.path(), b"orphan").unwrap();
    app.blobs.put_file("outputs/nobody/1/image.png", spooled.path()).await.unwrap();
    assert_eq!(sweep_all(&app).await, Swept { orphans: 1, ..Swept::default() });
    app.clock.advance_ms(DAYS_31_MS - 1000);
    let path = asset["url"].as_str().unwrap();
    app.send(app.request("PUT", path).body(glb("asset"))).await.expect(200);
    app.clock.advance_ms(2000);
    assert_eq!(sweep_all(&app).await, Swept::default(), "it was uploaded again two seconds ago");
    app.get(path).await.expect(200);
    app.clock.advance_ms(DAYS_31_MS);
    assert_eq!(sweep_all(&app).await.assets, 1);
    app.get(path).await.problem(Kind::AssetNotFound);
}
