//! The child and its supervisor, without a server around them.
#![cfg(unix)]

use super::harness::*;
use kiln::gpu_process::frame;
use kiln::gpu_process::protocol::{Command, Reply};
use kiln::gpu_process::supervisor::{DeathCause, GpuEvent, SupervisorConfig, supervise};
use std::io::Write;
use std::process::{Child, Stdio};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Supervises a shell script instead of a GPU process; answers the first two deaths.
async fn deaths_of(script: &str) -> [(DeathCause, u64); 2] {
    let config = SupervisorConfig {
        program: Some("/bin/sh".into()),
        arguments: vec!["-c".into(), script.into()],
        temp_dir: None,
    };
    let (sender, mut events) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    let supervisor = tokio::spawn(supervise(config, sender, shutdown.clone()));
    let mut deaths = Vec::new();
    while deaths.len() < 2 {
        match tokio::time::timeout(PATIENCE, events.recv()).await.expect("the supervisor noticed nothing") {
            Some(GpuEvent::Down { cause, restart_ms }) => deaths.push((cause, restart_ms)),
            other => panic!("found {other:?}, expected a death"),
        }
    }
    shutdown.cancel();
    supervisor.await.unwrap();
    deaths.try_into().unwrap()
}

#[tokio::test]
async fn garbage_on_the_pipe_is_a_typed_death_and_a_restart() {
    // A length of 4, and four bytes that are no message.
    let [(first, _), (second, _)] = deaths_of(r"printf '\004\000\000\000\377\377\377\377'; exec sleep 1000").await;
    assert!(matches!(first, DeathCause::Garbage(_)), "{first}");
    assert!(matches!(second, DeathCause::Garbage(_)), "{second}");
    assert!(first.blames_tasks());
}

#[tokio::test]
async fn text_on_the_pipe_is_a_frame_that_is_too_long() {
    let [(first, _), _] = deaths_of("echo 'Segmentation fault, or so'; exec sleep 1000").await;
    assert!(matches!(first, DeathCause::Garbage(frame::FrameError::TooLong { .. })), "{first}");
}

#[tokio::test]
async fn a_child_that_ends_by_itself_is_started_again_later_and_later() {
    let [(first, first_wait), (second, second_wait)] = deaths_of("exit 7").await;
    assert!(first.to_string().contains('7'), "{first}");
    assert!(matches!(second, DeathCause::Exited(_)), "{second}");
    // Twice as long, each with a jitter of a quarter.
    assert!(second_wait * 5 >= first_wait * 6, "{first_wait} ms, then {second_wait} ms");
}

#[tokio::test]
async fn a_child_that_gives_up_says_why_and_blames_nobody() {
    let bytes = frame::encode(&Reply::Fatal { message: "no adapter".into() }).unwrap();
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let [(first, _), _] = deaths_of(&format!("printf '{escaped}'; exec sleep 1000")).await;
    assert_eq!(first.to_string(), "no adapter");
    assert!(!first.blames_tasks());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_typed_death() {
    let config = SupervisorConfig { program: Some("/nowhere/kiln".into()), arguments: Vec::new(), temp_dir: None };
    let (sender, mut events) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    let supervisor = tokio::spawn(supervise(config, sender, shutdown.clone()));
    let event = events.recv().await;
    assert!(matches!(event, Some(GpuEvent::Down { cause: DeathCause::NotStarted(_), .. })), "{event:?}");
    shutdown.cancel();
    supervisor.await.unwrap();
}

fn child() -> Child {
    kiln()
        .arg("gpu-process")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be started")
}

#[test]
fn the_child_ends_when_its_parent_closes_the_pipe() {
    let mut child = child();
    drop(child.stdin.take());
    // Ends, whether the device is open by then or not; a child that stays hangs this test.
    child.wait().unwrap();
}

#[test]
fn the_child_answers_garbage_with_its_last_words() {
    let mut child = child();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[4, 0, 0, 0, 255, 255, 255, 255]).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    loop {
        match frame::read::<Reply>(&mut stdout) {
            Ok(Reply::Fatal { message }) => {
                assert!(
                    message.contains("not a message of this protocol") || message.contains("no GPU adapter"),
                    "{message}"
                );
                break;
            }
            Ok(Reply::Ready { .. } | Reply::Heartbeat { .. }) => {}
            other => panic!("found {other:?}, expected last words"),
        }
    }
    child.wait().unwrap();
}

#[test]
fn nothing_but_frames_reaches_the_pipe_and_shutdown_ends_the_child() {
    if !gpu_or_skip() {
        return;
    }
    let mut child = child();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let first = frame::read::<Reply>(&mut stdout).unwrap();
    assert!(matches!(&first, Reply::Ready { adapter, .. } if !adapter.name.is_empty()), "{first:?}");
    let second = frame::read::<Reply>(&mut stdout).unwrap();
    assert!(matches!(second, Reply::Heartbeat { .. }), "{second:?}");
    frame::write(&mut stdin, &Command::Shutdown).unwrap();
    loop {
        match frame::read::<Reply>(&mut stdout) {
            Ok(Reply::Heartbeat { .. }) => {}
            Ok(Reply::Leaving) => break,
            other => panic!("found {other:?}, expected heartbeats and the word that it leaves"),
        }
    }
    let end = frame::read::<Reply>(&mut stdout);
    assert!(matches!(end, Err(frame::FrameError::Closed)), "found {end:?} behind the last word");
    child.wait().unwrap();
}
