//! Lists of jobs: pages and filters.

use super::GLB;
use crate::app::{TestApp, glb};
use kiln::http::problem::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_newest_first_without_gaps() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(app.submit().await.to_string());
    }
    ids.reverse();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/jobs?limit=3{cursor}")).await.expect(200).json();
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.len() <= 3);
        listed.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_wrong_filters_are_named() {
    let app = TestApp::start().await;
    let labelled = app.post("/v1/jobs?label.order=47=11", GLB, glb("l")).await.expect(202).id().to_string();
    let other = app.submit().await.to_string();
    let claim = app.claim().await;
    assert_eq!(claim.job.to_string(), labelled);
    let ids = async |query: &str| -> Vec<String> {
        let page = app.get(&format!("/v1/jobs?{query}")).await.expect(200).json();
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("state=running").await, std::slice::from_ref(&labelled));
    assert_eq!(ids("state=queued&kind=scene").await, [other]);
    assert_eq!(ids("label=order=47%3D11").await, [labelled]);
    assert!(ids("label=order=5").await.is_empty());
    for (query, parameter) in [
        ("state=done", "state"),
        ("kind=scnee", "kind"),
        ("label=order", "label"),
        ("limit=0", "limit"),
        ("limit=1000", "limit"),
        ("limit=x", "limit"),
        ("cursor=abc", "cursor"),
        ("state=queued&state=running", "state"),
        ("offset=1", "offset"),
    ] {
        let problem = app.get(&format!("/v1/jobs?{query}")).await.problem(Kind::InvalidQuery);
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem}");
    }
}
