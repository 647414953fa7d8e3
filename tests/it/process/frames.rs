//! The pipe: what goes in comes out, and nothing that comes in breaks us.

use kiln::gpu_process::frame::{self, FrameError};
use kiln::gpu_process::protocol::*;
use kiln::job::{Failure, FailureDetail, FailureReason, JobId, Output, Phase, Priority, Progress, TaskKind, TaskPlan};
use kiln::limits::PIPE_FRAME_BYTES_MAX;
use proptest::prelude::*;

fn task() -> impl Strategy<Value = TaskKey> {
    (any::<u128>(), any::<i64>()).prop_map(|(job, fence)| TaskKey { job: JobId::from_u128(job), fence })
}

fn progress() -> impl Strategy<Value = Progress> {
    (any::<u8>(), 0f32..1.0, any::<u32>(), any::<u32>(), 0f64..1e6).prop_map(
        |(phase, fraction, done, total, gpu_seconds)| {
            let phase = [Phase::Loading, Phase::Rendering, Phase::Denoising, Phase::Encoding][phase as usize % 4];
            let (samples_done, samples_total) = (done, total);
            Progress { phase, fraction, samples_done, samples_total, frames_done: 0, frames_total: 1, gpu_seconds }
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    (".{0,80}", prop::option::of(".{0,20}"), prop::option::of(any::<u32>())).prop_map(|(message, pointer, line)| {
        let detail = FailureDetail { message: message.clone(), pointer, line, ..FailureDetail::default() };
        Failure { reason: FailureReason::OutOfMemory, message, details: vec![detail] }
    })
}

fn end() -> impl Strategy<Value = TaskEnd> {
    let output = (".{1,20}", any::<u64>()).prop_map(|(name, bytes)| Output {
        name,
        media_type: "image/png".into(),
        bytes,
        sha256: "ab".repeat(32),
    });
    prop_oneof![
        (prop::collection::vec(output, 0..4), ".{0,80}")
            .prop_map(|(outputs, report_json)| TaskEnd::Succeeded { outputs, report_json }),
        Just(TaskEnd::Cancelled),
        Just(TaskEnd::PutAside),
        failure().prop_map(TaskEnd::Failed),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        ".{0,60}".prop_map(|name| Reply::Ready {
            adapter: AdapterReport { name, software: true, ..AdapterReport::default() },
            canary_seconds: 0.5,
        }),
        ".{0,60}".prop_map(|message| Reply::Fatal { message }),
        (any::<u64>(), 0f64..1e9, any::<u64>(), any::<u64>()).prop_map(
            |(device_silent_ms, gpu_seconds, gpu_bytes, process_bytes)| {
                Reply::Heartbeat { device_silent_ms, gpu_seconds, gpu_bytes, process_bytes }
            }
        ),
        (task(), "[a-z/]{1,40}").prop_map(|(task, path)| Reply::Checkpoint { task, path: path.into() }),
        task().prop_map(|task| Reply::Preempted { task }),
        ".{0,60}".prop_map(|why| Reply::Recycle { why }),
        Just(Reply::Leaving),
        prop::collection::vec("sha256:[0-9a-f]{4}", 0..4).prop_map(|assets| Reply::Resident { assets }),
        (task(), progress()).prop_map(|(task, progress)| Reply::Progress { task, progress }),
        task().prop_map(|task| Reply::DeviceFree { task }),
        (task(), ".{0,200}").prop_map(|(task, message)| Reply::Log { task, message }),
        (task(), "[a-z/]{1,40}", any::<u32>()).prop_map(|(task, path, samples)| Reply::Preview {
            task,
            path: path.into(),
            samples
        }),
        (task(), end()).prop_map(|(task, result)| Reply::Ended { task, result }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (task(), ".{0,200}", "[a-z/]{1,40}").prop_map(|(task, spec_json, dir)| Command::Run(RunTask {
            client: dir.clone(),
            task,
            spec_json,
            assets: vec![("sha256:00".into(), dir.clone().into())],
            output_dir: dir.into(),
            priority: Priority::Batch,
            plan: TaskPlan { first_frame: 3, last_frame: 7, kind: TaskKind::Assemble },
            frames: vec!["frame-0003.png".into()],
            checkpoint: Some("checkpoint-1".into()),
            checkpoint_ms: 10_000,
        })),
        task().prop_map(Command::PutAside),
        task().prop_map(Command::Cancel),
        (task(), "[a-z/]{1,40}").prop_map(|(task, path)| Command::Preview { task, path: path.into() }),
        Just(Command::Shutdown),
    ]
}

fn read_async(mut bytes: &[u8]) -> Result<Reply, FrameError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(frame::read_async(&mut bytes))
}

proptest! {
    #[test]
    fn replies_come_out_as_they_went_in(replies in prop::collection::vec(reply(), 1..8)) {
        let mut pipe = Vec::new();
        for reply in &replies {
            frame::write(&mut pipe, reply).unwrap();
        }
        let mut rest = pipe.as_slice();
        for reply in &replies {
            let found: Reply = frame::read(&mut rest).unwrap();
            prop_assert_eq!(format!("{found:?}"), format!("{reply:?}"));
        }
        prop_assert!(matches!(frame::read::<Reply>(&mut rest), Err(FrameError::Closed)));
    }

    #[test]
    fn commands_come_out_as_they_went_in(command in command()) {
        let bytes = frame::encode(&command).unwrap();
        let found: Command = frame::decode(&bytes[4..]).unwrap();
        prop_assert_eq!(format!("{found:?}"), format!("{command:?}"));
    }

    #[test]
    fn a_frame_that_is_cut_short_is_a_typed_error(reply in reply(), cut in 1usize..4096) {
        let bytes = frame::encode(&reply).unwrap();
        let short = &bytes[..bytes.len() - cut.clamp(1, bytes.len() - 1)];
        let found = frame::read::<Reply>(&mut &short[..]);
        let truncated = matches!(found, Err(FrameError::Truncated { .. }));
        prop_assert!(truncated, "found {:?}", found);
        let truncated = matches!(read_async(short), Err(FrameError::Truncated { .. }));
        prop_assert!(truncated);
    }

    #[test]
    fn garbage_is_a_typed_error_or_a_message_and_never_a_panic(garbage in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = frame::read::<Reply>(&mut garbage.as_slice());
        let _ = frame::read::<Command>(&mut garbage.as_slice());
        let _ = frame::decode::<Reply>(&garbage);
        let _ = frame::decode::<Command>(&garbage);
        let _ = read_async(&garbage);
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_length_alone(excess in 1u32..=u32::MAX - PIPE_FRAME_BYTES_MAX as u32) {
        let announced = PIPE_FRAME_BYTES_MAX as u32 + excess;
        // No byte follows: a reader that believed the length would ask for more, or allocate.
        let bytes = announced.to_le_bytes();
        let refused = matches!(frame::read::<Reply>(&mut &bytes[..]), Err(FrameError::TooLong { bytes }) if bytes == announced as usize);
        prop_assert!(refused);
        let refused = matches!(read_async(&bytes), Err(FrameError::TooLong { .. }));
        prop_assert!(refused);
    }
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let reply = Reply::Fatal { message: "x".repeat(PIPE_FRAME_BYTES_MAX) };
    assert!(matches!(frame::encode(&reply), Err(FrameError::TooLong { .. })));
    let mut pipe = Vec::new();
    assert!(frame::write(&mut pipe, &reply).is_err());
    assert!(pipe.is_empty(), "part of a frame was written");
}

#[test]
fn bytes_behind_a_message_in_its_frame_are_malformed() {
    let mut body = frame::encode(&Command::Shutdown).unwrap().split_off(4);
    body.push(0);
    assert!(matches!(frame::decode::<Command>(&body), Err(FrameError::Malformed { .. })));
}
