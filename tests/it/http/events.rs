//! Event streams and pages.

use super::GLB;
use crate::app::{SseEvent, TestApp, glb, parse_events};
use kiln::http::HttpLimits;
use kiln::http::follow::Follower;
use kiln::http::problem::Kind;
use kiln::job::{Event, EventKind, Phase, Progress};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn names(events: &[SseEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event.as_str()).collect()
}

fn ids(events: &[SseEvent]) -> Vec<i64> {
    events.iter().filter_map(|event| event.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_a_snapshot_and_ends_after_the_end() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let path = format!("/v1/jobs/{id}/events");
    let live = app.stream(&path, None);
    let work = async {
        let claim = app.claim().await;
        app.store.log(id, "hello".into()).await.unwrap();
        app.succeed_with_png(&claim).await;
    };
    let (live, ()) = futures::join!(live, work);
    assert_eq!(names(&live)[0], "snapshot");
    assert_eq!(live[0].data["id"], id.to_string());
    assert_eq!(names(&live)[1..], ["queued", "started", "log", "output", "ended"]);
    let seqs = ids(&live);
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert_eq!(live[3].data["message"], "hello");
    assert_eq!(live[4].data["url"], format!("/v1/jobs/{id}/outputs/image.png"));
    assert_eq!(live[5].data["state"], "succeeded");

    // The same events come from the store, from any of them on.
    let replayed = app.stream(&path, None).await;
    assert_eq!(replayed[1..], live[1..]);
    for (index, seq) in seqs.iter().enumerate().take(seqs.len() - 1) {
        let resumed = app.stream(&path, Some(&seq.to_string())).await;
        assert_eq!(ids(&resumed), seqs[index + 1..]);
        let resumed = app.stream(&format!("{path}?after={seq}"), None).await;
        assert_eq!(ids(&resumed), seqs[index + 1..]);
    }
    // Last-Event-ID wins over the address, which a browser cannot change.
    assert_eq!(ids(&app.stream(&format!("{path}?after=0"), Some(&seqs[2].to_string())).await), seqs[3..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_resumes_after_the_last_event_ends_at_once() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    let last = *ids(&app.stream(&format!("/v1/jobs/{id}/events"), None).await).last().unwrap();
    assert_eq!(names(&app.stream(&format!("/v1/jobs/{id}/events"), Some(&last.to_string())).await), ["snapshot"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_retried_job_goes_on_after_the_first_end() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.fail(&app.claim().await).await;
    app.send(app.request("POST", &format!("/v1/jobs/{id}/retry"))).await.expect(202);
    app.succeed_with_png(&app.claim().await).await;
    let events = app.stream(&format!("/v1/jobs/{id}/events"), None).await;
    let ends: Vec<&Value> =
        events.iter().filter(|event| event.event == "ended").map(|event| &event.data["state"]).collect();
    assert_eq!(ends, ["failed", "succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_can_be_had_as_pages_of_json() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    for n in 0..5 {
        app.store.log(id, format!("line {n}")).await.unwrap();
    }
    let page = async |query: &str| {
        app.send(app.request("GET", &format!("/v1/jobs/{id}/events{query}")).header("accept", "application/json")).await
    };
    let (mut seqs, mut next) = (Vec::new(), 0);
    loop {
        let page = page(&format!("?after={next}&limit=2")).await.expect(200).json();
        let events = page["events"].as_array().unwrap();
        seqs.extend(events.iter().map(|event| event["seq"].as_i64().unwrap()));
        next = page["next"].as_i64().unwrap();
        if events.is_empty() {
            break;
        }
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    assert_eq!(page("?limit=2").await.json()["events"][1]["data"]["message"], "line 0");
    page("?after=-1").await.problem(Kind::InvalidQuery);
    page("?after=x").await.problem(Kind::InvalidQuery);
    let request = app.request("GET", &format!("/v1/jobs/{id}/events"));
    app.send(request.try_clone().unwrap().header("accept", "image/png")).await.problem(Kind::NotAcceptable);
    app.send(request.header("last-event-id", "abc")).await.problem(Kind::InvalidHeader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_falls_behind_misses_nothing_and_sees_nothing_twice() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let mut follower = Follower::new(Arc::clone(&app.store), Arc::clone(&app.hub), app.state.closing.clone(), id, 0);
    assert_eq!(follower.next().await.unwrap().unwrap().seq, 1);
    // Far more than the hub buffers for one subscriber, while nobody reads.
    let logs = (0..1500).map(|n| app.store.log(id, format!("line {n}")));
    for result in futures::future::join_all(logs).await {
        result.unwrap();
    }
    app.succeed_with_png(&app.claim().await).await;
    let mut seqs = vec![1];
    while let Some(event) = follower.next().await.unwrap() {
        seqs.push(event.seq);
    }
    let last = seqs.len() as i64;
    assert!(last > 1500);
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_come_and_go_while_events_are_written_see_each_once() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let writer = async {
        for n in 0..200 {
            app.store.log(id, format!("line {n}")).await.unwrap();
        }
        app.succeed_with_png(&app.claim().await).await;
    };
    let reader = |after: i64| {
        let mut follower =
            Follower::new(Arc::clone(&app.store), Arc::clone(&app.hub), app.state.closing.clone(), id, after);
        async move {
            let mut seqs = Vec::new();
            while let Some(event) = follower.next().await.unwrap() {
                seqs.push(event.seq);
                tokio::task::yield_now().await;
            }
            seqs
        }
    };
    let readers = futures::future::join_all((0..20).map(|n| reader(n * 5)));
    let (read, ()) = futures::join!(readers, writer);
    for (n, seqs) in read.iter().enumerate() {
        let first = n as i64 * 5 + 1;
        assert_eq!(*seqs, (first..first + seqs.len() as i64).collect::<Vec<_>>(), "reader {n}");
        assert_eq!(seqs.last(), read[0].last());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_thinned_out_and_has_no_id_to_resume_from() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let claim = app.claim().await;
    let running = app.hub.begin(id, claim.fence, Progress::default());
    let path = format!("/v1/jobs/{id}/events");
    let stream = app.stream(&path, None);
    let work = async {
        for n in 0..=200u32 {
            let fraction = n as f32 / 200.0;
            app.hub.set_progress(
                id,
                claim.fence,
                Progress { phase: Phase::Rendering, fraction, samples_done: n, ..Progress::default() },
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The last one is never thinned out, as long as nothing else happens.
        tokio::time::sleep(Duration::from_millis(600)).await;
        app.succeed_with_png(&claim).await;
    };
    let (events, ()) = futures::join!(stream, work);
    drop(running);
    let progress: Vec<&SseEvent> = events.iter().filter(|event| event.event == "progress").collect();
    assert!((1..40).contains(&progress.len()), "{} of 201", progress.len());
    assert_eq!(progress.last().unwrap().data["samples_done"], 200);
    assert!(progress.iter().all(|event| event.id.is_none()));
    // Each time that the picture has twice the samples.
    let previews: Vec<&SseEvent> = events.iter().filter(|event| event.event == "preview").collect();
    let samples: Vec<u64> = previews.iter().map(|event| event.data["samples"].as_u64().unwrap()).collect();
    assert_eq!(samples, [1, 2, 4, 8, 16, 32, 64, 128]);
    assert_eq!(previews[0].data["url"], format!("/v1/jobs/{id}/preview"));
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_are_bounded_and_a_closed_one_makes_room() {
    let app =
        TestApp::with(HttpLimits { event_streams_max: 1, event_comment_seconds: 1, ..HttpLimits::default() }).await;
    let id = app.submit().await;
    let path = format!("/v1/jobs/{id}/events");
    let mut first = TcpStream::connect(app.addr).await.unwrap();
    first.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    // The comment shows that a silent stream is kept alive.
    let mut text = String::new();
    while !text.contains("\n: still here") && !text.contains("\n:still here") {
        let mut buffer = [0; 4096];
        let read = first.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the stream ended: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    assert!(text.contains("event: snapshot"));
    let reply = app.get(&path).await;
    assert!(!reply.header("retry-after").is_empty());
    reply.problem(Kind::Overloaded);
    drop(first);
    let open = async || {
        let mut socket = TcpStream::connect(app.addr).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.unwrap();
        &status == b"HTTP/1.1 200"
    };
    app.eventually("there is room again", open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_streams_and_waits() {
    let mut app = TestApp::start().await;
    let id = app.submit().await;
    let stream = tokio::spawn(app.request("GET", &format!("/v1/jobs/{id}/events")).send());
    let waiting =
        app.request("POST", "/v1/jobs").header("content-type", GLB).header("prefer", "wait=300").body(glb("waits"));
    let waiting = tokio::spawn(waiting.send());
    app.eventually("both jobs are there", async || app.get("/v1/queue").await.json()["queued"] == 2).await;
    let stream = stream.await.unwrap().unwrap();
    app.stop().await;
    let text = stream.text().await.unwrap();
    assert_eq!(names(&parse_events(&text)), ["snapshot", "queued"]);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_resumes_after_what_never_was_is_told_so() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let path = format!("/v1/jobs/{id}/events");
    let last = app.store.events(id, 0, 10).await.unwrap().len() as i64;
    let request = app.request("GET", &path).header("accept", "text/event-stream");
    let problem = app.send(request.header("last-event-id", (last + 1).to_string())).await.problem(Kind::InvalidHeader);
    assert!(problem["detail"].as_str().unwrap().contains(&(last + 1).to_string()), "{problem}");
    for accept in ["text/event-stream", "application/json"] {
        let request = app.request("GET", &format!("{path}?after={}", i64::MAX)).header("accept", accept);
        let problem = app.send(request).await.problem(Kind::InvalidQuery);
        assert_eq!(problem["errors"][0]["parameter"], "after", "{problem}");
    }
    let gone = format!("/v1/jobs/{}/events?after=5", kiln::job::JobId::now_v7());
    app.get(&gone).await.problem(Kind::JobNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_started_is_not_told_to_wait() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    let mut follower = Follower::new(Arc::clone(&app.store), Arc::clone(&app.hub), app.state.closing.clone(), id, 0);
    let place = |position| Event { seq: 0, time_ms: 0, kind: EventKind::Waiting { position, estimate: None } };
    assert_eq!(follower.next().await.unwrap().unwrap().kind.name(), "queued");
    app.hub.publish(id, place(1));
    assert_eq!(follower.next().await.unwrap().unwrap().kind, place(1).kind);
    let claim = app.claim().await;
    assert_eq!(follower.next().await.unwrap().unwrap().kind.name(), "started");
    // Its place was looked up before it started.
    app.hub.publish(id, place(0));
    app.store.log(id, "a line".into()).await.unwrap();
    assert_eq!(follower.next().await.unwrap().unwrap().kind.name(), "log");
    app.commit(&claim, kiln::store::AttemptEnd::Released).await;
    assert_eq!(follower.next().await.unwrap().unwrap().kind.name(), "queued");
    app.hub.publish(id, place(2));
    assert_eq!(follower.next().await.unwrap().unwrap().kind, place(2).kind);
}
