//! Every bound of the service, with its unit in its name.
//!
//! A bound is named `THING_UNIT_MAX` (or `_MIN`). Nothing in Kiln grows without one of these.

/// Bytes in one request body (an upload streams to disk, so this bounds disk, not memory).
pub const UPLOAD_BYTES_MAX: u64 = 4 << 30;
/// Bytes of a blob in memory at once, for each upload and each download.
pub const BLOB_CHUNK_BYTES: usize = 256 << 10;
/// Bytes in a JSON body or in the `job` field of a multipart body.
pub const JOB_JSON_BYTES_MAX: usize = 1 << 20;
/// Uploads that stream to disk at once.
pub const UPLOADS_MAX: usize = 64;
/// Seconds that a request body may pause between two chunks.
pub const BODY_IDLE_SECONDS_MAX: u64 = 30;
/// Bytes a second below which a request body is given up, once it has lasted `BODY_GRACE_SECONDS`.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 1024;
/// See [`BODY_BYTES_PER_SECOND_MIN`].
pub const BODY_GRACE_SECONDS: u64 = 60;
/// Seconds in which the head of a request must arrive.
pub const HEAD_SECONDS_MAX: u64 = 15;
/// Bytes of the head of a request, and of one connection's read buffer.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header fields of one request.
pub const HEADERS_MAX: usize = 100;
/// Connections open at once.
pub const CONNECTIONS_MAX: usize = 8192;
/// Seconds that a connection is read on after its last answer, so that a client which is still sending gets to read it.
pub const LINGER_SECONDS_MAX: u64 = 5;
/// Seconds that open requests get to finish when the server is told to stop.
pub const SHUTDOWN_SECONDS_MAX: u64 = 10;
/// Bytes of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Conversions of a finished picture to another format that run at once.
pub const CONVERSIONS_MAX: usize = 2;
/// Bytes of a finished picture that can be converted to another format.
pub const CONVERSION_BYTES_MAX: u64 = 256 << 20;
/// Files in a ZIP archive that holds a scene.
pub const ZIP_ENTRIES_MAX: usize = 10_000;
/// Bytes that all files of a ZIP archive may unpack to.
pub const ZIP_UNPACKED_BYTES_MAX: u64 = 8 << 30;
/// Width or height of a picture, in pixels.
pub const IMAGE_SIDE_PIXELS_MAX: u32 = 16_384;
/// Pixels in one picture.
pub const IMAGE_PIXELS_MAX: u64 = 64 << 20;
/// Samples per pixel of one job.
pub const SAMPLES_MAX: u32 = 65_536;
/// Bounces of one path.
pub const BOUNCES_MAX: u32 = 64;
/// Triangles in one scene, over all meshes (each counted once, however often it is instanced).
pub const TRIANGLES_MAX: u64 = 50_000_000;
/// Placed triangles, at most, of a scene that is traced as one tree in world space.
pub const FLAT_TRIANGLES_MAX: u64 = 1_200_000;
/// Placed triangles per unique triangle, at most, of such a scene: beyond, instancing saves too much memory.
pub const FLAT_TRIANGLES_PER_TRIANGLE_MAX: u64 = 4;
/// Instances in one scene.
pub const INSTANCES_MAX: u64 = 4_000_000;
/// Nodes in one glTF file.
pub const NODES_MAX: usize = 4_000_000;
/// Texels in one scene, over all images, base level only.
pub const TEXELS_MAX: u64 = 512 << 20;
/// Width or height of one texture image.
pub const TEXTURE_SIDE_TEXELS_MAX: u32 = 16_384;
/// Stops of exposure, up or down.
pub const EXPOSURE_EV_MAX: f32 = 32.0;
/// Factor by which an orbit camera may come nearer.
pub const ZOOM_MAX: f32 = 1000.0;
/// Coordinate of a camera or a vertex, in metres from the origin: squared areas stay finite in 32-bit floats below it.
pub const COORDINATE_METRES_MAX: f32 = 1e9;
/// Factor on an environment's radiance.
pub const ENVIRONMENT_INTENSITY_MAX: f32 = 1e6;
/// Problems reported at once for one job document.
pub const SPEC_PROBLEMS_MAX: usize = 32;
/// Bytes of one label key or value.
pub const LABEL_BYTES_MAX: usize = 256;
/// Labels on one job.
pub const LABELS_MAX: usize = 32;
/// Bytes of one message about a scene file, and of one pointer into it; the rest is cut off.
pub const SCENE_MESSAGE_BYTES_MAX: usize = 2 << 10;
/// File descriptors that the server asks the system for, at most.
pub const OPEN_FILES_MAX: u64 = 65_536;
/// Bytes of the address of a webhook.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// Names of jobs that the cost model remembers.
pub const COST_NODES_MAX: usize = 2_000;
/// Jobs whose estimate is remembered until they end, and assets whose length is remembered.
pub const ESTIMATES_REMEMBERED_MAX: usize = 100_000;
/// Seconds that an estimate says at most.
pub const ESTIMATE_SECONDS_MAX: f64 = 10.0 * 365.0 * 86_400.0;
/// Milliseconds between two writes of what the cost model has learnt.
pub const MODEL_STORED_MS: u64 = 5_000;
/// Milliseconds between two looks at the places of waiting jobs that somebody watches.
pub const WAITING_TICK_MS: u64 = 2_000;
/// Waiting jobs whose places are looked at.
pub const WAITING_JOBS_MAX: usize = 2_000;
/// Of them, those that are looked at one by one; with more of them, the whole queue is read once.
pub const WAITING_JOBS_ONE_BY_ONE_MAX: usize = 4;
/// How many times longer the pause after a round of looking is than the round was, at least.
pub const WAITING_ROUND_SHARE: u32 = 20;
/// Bytes of the body of a change to a job.
pub const PATCH_BYTES_MAX: u64 = 64 << 10;
/// Milliseconds between two rounds of sorting what was recorded into the buckets of the metrics.
pub const TELEMETRY_UPKEEP_MS: u64 = 5_000;
/// Milliseconds between two looks for jobs whose `start_before` has passed.
pub const DEADLINES_TICK_MS: u64 = 1_000;
/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// Days after its end that a job is kept where the operator does not say.
pub const KEEP_JOBS_DAYS: u64 = 30;
/// Days after a job's end that its events are kept where the operator does not say.
pub const KEEP_EVENTS_DAYS: u64 = 7;
/// Days that an unused asset is kept where the operator does not say.
pub const KEEP_ASSETS_DAYS: u64 = 30;
/// Days that retention can be set to.
pub const KEEP_DAYS_MAX: u64 = 36_500;
/// Bytes of all outputs where the operator does not say.
pub const KEEP_OUTPUTS_BYTES: u64 = 100 << 30;
/// Bytes of all checkpoints of ended jobs where the operator does not say.
pub const KEEP_CHECKPOINTS_BYTES: u64 = 4 << 30;
/// Days that the id of a purged job is remembered.
pub const TOMBSTONE_DAYS: u64 = 365;
/// Milliseconds between two rounds of retention.
pub const RETENTION_TICK_MS: u64 = 60_000;
/// Milliseconds between two collections of blobs that no row names.
pub const ORPHANS_TICK_MS: u64 = 3_600_000;
/// Milliseconds that such a blob is left alone, since its row may still be to come.
pub const ORPHAN_AGE_MS: u64 = 3_600_000;
/// Unused assets that are forgotten in one go.
pub const ASSETS_SWEPT_MAX: u32 = 200;
/// Milliseconds that one try of a webhook may take, from its first packet to the head of the answer.
pub const WEBHOOK_TRY_MS: u64 = 15_000;
/// Milliseconds of it that connecting may take.
pub const WEBHOOK_CONNECT_MS: u64 = 5_000;
/// Milliseconds after the first failed try of a webhook.
pub const WEBHOOK_RETRY_MS: u64 = 5_000;
/// How much longer each further wait is than the one before.
pub const WEBHOOK_RETRY_FACTOR: u64 = 3;
/// Milliseconds between two tries of a webhook, at most, unless the receiver asks for more.
pub const WEBHOOK_RETRY_MS_MAX: u64 = 3_600_000;
/// Tries of webhooks that run at once.
pub const WEBHOOK_TRIES_MAX: usize = 64;
/// Of them, to one host.
pub const WEBHOOK_TRIES_PER_HOST_MAX: usize = 4;
/// Times in a row that a host must not be reached before it is left alone for a while.
pub const WEBHOOK_HOST_FAILURES_MAX: u32 = 5;
/// Milliseconds that a host is left alone at most.
pub const WEBHOOK_HOST_REST_MS_MAX: u64 = 60_000;
/// Milliseconds between two looks at the outbox, where no event asks for one.
pub const WEBHOOK_POLL_MS: u64 = 2_000;
/// Milliseconds that events are gathered for before the outbox is looked at.
pub const WEBHOOK_GATHER_MS: u64 = 50;
/// Milliseconds that webhooks which are being sent get to end when the server is told to stop.
pub const WEBHOOK_STOP_MS: u64 = 3_000;
/// Bytes of the key that signs a webhook's messages, at least (Standard Webhooks, "Signature scheme").
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;
/// See [`WEBHOOK_SECRET_BYTES_MIN`].
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 64;
/// Seconds that `Prefer: wait=N` may hold an answer.
pub const WAIT_SECONDS_MAX: u64 = 300;
/// Jobs answered in one page of a list.
pub const LIST_JOBS_MAX: u32 = 200;
/// Jobs answered in one page of a list where the client does not say.
pub const LIST_JOBS_DEFAULT: u32 = 50;
/// Characters of one text of a shader in a list of jobs.
pub const LISTED_TEXT_CHARACTERS_MAX: usize = 256;
/// Events answered in one page, and read from the store at once.
pub const EVENTS_PAGE_MAX: u32 = 200;
/// Seconds between the comments that keep an event stream alive.
pub const EVENT_COMMENT_SECONDS: u64 = 15;
/// Milliseconds between two progress events of one stream.
pub const PROGRESS_EVENT_MS_MIN: u64 = 250;
/// Events of progress that all streams together are sent in a second; with more streams each gets fewer of them.
pub const PROGRESS_EVENTS_PER_SECOND_MAX: u64 = 500;
/// Jobs that may be queued at once, over all clients.
pub const JOBS_QUEUED_MAX: u64 = 1_000_000;
/// Estimated GPU seconds of one job, beyond which an estimate is taken for a mistake.
pub const JOB_COST_SECONDS_MAX: f64 = 1_000_000.0;
/// Least share of the GPU that a client can be given, relative to others.
pub const CLIENT_WEIGHT_MIN: f64 = 1e-3;
/// Largest.
pub const CLIENT_WEIGHT_MAX: f64 = 1e3;
/// The end of virtual time, in GPU microseconds divided by weights: room for 4,000 of the most expensive jobs of a client of the least
/// weight, and for ever otherwise. Twice as much still is a 64-bit integer.
pub const VTIME_MAX: i64 = 4_000_000_000_000_000_000;
/// Jobs that may follow one that does the same, for jobs of one frame; those of more frames have as many outputs to be copied.
pub const FOLLOWERS_MAX: i64 = 256;
/// The same for jobs of many frames.
pub const FOLLOWERS_MIN: i64 = 4;
/// The largest position that an event tells; a job further behind is told that it is at least so far.
pub const EVENT_POSITION_MAX: u64 = 1_000;
/// Milliseconds that the normal class may be passed over for interactive jobs before one of its tasks goes first.
pub const AGEING_NORMAL_MS: i64 = 120_000;
/// Milliseconds that the batch class may be passed over for better ones before one of its tasks goes first.
pub const AGEING_BATCH_MS: i64 = 300_000;
/// Tasks at the head of the queue among which one is preferred whose scene is on the GPU already.
pub const RESIDENT_WINDOW_TASKS: usize = 8;
/// Times that other tasks may be preferred to the one at the head.
pub const RESIDENT_PASSES_MAX: u32 = 4;
/// Queued tasks that are put in order in memory at once, for the positions of a page of a list.
pub const ORDERED_TASKS_MAX: u64 = 50_000;
/// Clients in one overview of the queue.
pub const QUEUE_CLIENTS_MAX: u32 = 1_000;
/// Milliseconds after its end that a job's idempotency key is known at least.
pub const IDEMPOTENCY_KEEP_MS: i64 = 24 * 3_600_000;
/// Milliseconds that the clock must go back in one step to be noticed.
pub const CLOCK_BACK_MS_MIN: i64 = 1_000;
/// Milliseconds after which the store remembers the clock again, for the next run to see whether it went back.
pub const CLOCK_STORED_MS: i64 = 60_000;
/// Milliseconds that a webhook's message is tried for.
pub const WEBHOOK_GIVE_UP_MS: i64 = 24 * 3_600_000;
/// Messages of the outbox that are read at once.
pub const WEBHOOK_DELIVERIES_MAX: u32 = 256;
/// Jobs that one call of the store's purge goes through.
pub const PURGE_JOBS_MAX: u32 = 200;
/// Ids of purged jobs that are remembered.
pub const TOMBSTONES_MAX: u32 = 1_000_000;
/// Tasks before a new job from which on submissions of its class get turns.
pub const PACED_BEHIND_TASKS: u64 = 256;
/// Turns a second.
pub const PACED_SUBMITS_PER_SECOND: u32 = 400;
/// Operations waiting for the store's writer.
pub const STORE_OPERATIONS_QUEUED_MAX: usize = 4096;
/// Operations committed in one transaction of the store's writer.
pub const STORE_GROUP_OPERATIONS_MAX: usize = 64;
/// Milliseconds after which such a transaction takes no more operations of clients: however many submit, the device gets its next work.
pub const STORE_GROUP_MS: u64 = 8;
/// Connections of the store that read.
pub const STORE_READERS_MAX: usize = 3;
/// Milliseconds that a reading waits for one of them.
pub const STORE_READ_WAIT_MS: u64 = 30_000;
/// Stored events, of all jobs, that a subscriber of the store may be behind.
pub const STORE_EVENTS_BUFFERED_MAX: usize = 4096;
/// Stored events of one job, after which log lines are dropped.
pub const JOB_EVENTS_MAX: i64 = 10_000;
/// Bytes of one log line of a job; the rest is cut off.
pub const LOG_MESSAGE_BYTES_MAX: usize = 4096;
/// Bytes of one frame on the pipe between the front end and the GPU process.
pub const PIPE_FRAME_BYTES_MAX: usize = 4 << 20;
/// Frames waiting to be written to the pipe.
pub const PIPE_FRAMES_QUEUED_MAX: usize = 256;
/// Commands waiting for the device thread.
pub const DEVICE_COMMANDS_QUEUED_MAX: usize = 64;
/// Milliseconds that one slice should take on a real GPU.
pub const SLICE_MS_GPU: u64 = 30;
/// Milliseconds that one slice should take on a software adapter.
pub const SLICE_MS_SOFTWARE: u64 = 150;
/// Milliseconds without a sign of life from a busy device thread, after which the GPU process is killed.
pub const DEVICE_HANG_MS: u64 = 20_000;
/// Milliseconds between heartbeats of the GPU process.
pub const HEARTBEAT_MS: u64 = 500;
/// Milliseconds a lease lasts, and between its renewals.
pub const LEASE_MS: i64 = 15_000;
/// See [`LEASE_MS`].
pub const LEASE_RENEW_MS: u64 = 5_000;
/// Attempts of one task before it is failed.
pub const ATTEMPTS_MAX: u32 = 5;
/// Attempts of one task, with those that a restart of the server cut short, before it is failed.
pub const ATTEMPTS_WITH_RESTARTS_MAX: u32 = 20;
/// Milliseconds until the first retry of a task, and the longest time until a later one; each is twice the one before.
pub const RETRY_DELAY_MS_MIN: i64 = 1_000;
/// See [`RETRY_DELAY_MS_MIN`].
pub const RETRY_DELAY_MS_MAX: i64 = 30_000;
/// Deaths of the GPU process that one task may cause before it is quarantined.
pub const GPU_PROCESS_DEATHS_MAX: u32 = 2;
/// Event streams open at once.
pub const EVENT_STREAMS_MAX: usize = 4096;
/// Events kept in memory for one live subscriber of one job; past it the subscriber resumes from the store.
pub const HUB_EVENTS_BUFFERED_MAX: usize = 64;
/// Previews of one job that may be asked for at once.
pub const HUB_PREVIEWS_QUEUED_MAX: usize = 8;
/// Milliseconds that a preview is waited for.
pub const PREVIEW_WAIT_MS: u64 = 2_000;
/// Tasks in the GPU process at once: on the device, before it and behind it.
pub const GPU_PROCESS_TASKS_MAX: usize = 8;
/// Tasks in the GPU process that still need the device: one on it, one being loaded for it.
pub const GPU_PROCESS_TASKS_AHEAD_MAX: usize = 2;
/// Threads of the GPU process that load scenes.
pub const LOADER_THREADS: usize = 2;
/// Bytes of stack of a loader or encoder thread (address space; pages are used on demand).
pub const LOADER_STACK_BYTES: usize = 64 << 20;
/// Previews that wait for their encoder.
pub const PREVIEWS_QUEUED_MAX: usize = 2;
/// Milliseconds between two progress messages of one task.
pub const PROGRESS_MS: u64 = 250;
/// Milliseconds that the GPU process may take from its start to `Ready`: a driver may compile every kernel on its first start.
pub const GPU_PROCESS_READY_MS: u64 = 120_000;
/// Milliseconds without a heartbeat after which the GPU process is killed.
pub const HEARTBEAT_LOST_MS: u64 = 10_000;
/// Milliseconds before the GPU process is started again after its first death, doubled with every further one.
pub const RESTART_BACKOFF_MS_MIN: u64 = 200;
/// Milliseconds before the GPU process is started again, at most.
pub const RESTART_BACKOFF_MS_MAX: u64 = 60_000;
/// Milliseconds that the GPU process must live for its former deaths to be forgotten.
pub const RESTART_HEALTHY_MS: u64 = 30_000;
/// Bytes of one line that the GPU process logs; the rest is cut off.
pub const CHILD_LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Lines of the GPU process's log that are passed on in one second.
pub const CHILD_LOG_LINES_PER_SECOND_MAX: u32 = 100;
/// Messages of the GPU process that wait for the dispatcher.
pub const GPU_EVENTS_QUEUED_MAX: usize = 256;
/// Messages that wait for one attempt.
pub const ATTEMPT_MESSAGES_QUEUED_MAX: usize = 64;
/// Log lines that one attempt may add to its job.
pub const ATTEMPT_LOG_LINES_MAX: u32 = 100;
/// Milliseconds between two looks at the queue that nothing asked for (retries that became due, leases that ran out).
pub const CLAIM_POLL_MS: u64 = 1_000;
/// Milliseconds that a shutdown waits for finished pictures to be encoded and committed, and for running tasks to be put back.
pub const SHUTDOWN_MS: u64 = 10_000;
/// Milliseconds before a renewal of a lease that failed is tried again.
pub const LEASE_RETRY_MS: u64 = 500;
/// Milliseconds before a commit that failed is tried again, at first and at most.
pub const COMMIT_RETRY_MS: (u64, u64) = (100, 2_000);
/// Outputs of one task.
pub const OUTPUTS_MAX: usize = 4_096;
/// Bytes of one preview.
pub const PREVIEW_BYTES_MAX: u64 = 64 << 20;
/// Milliseconds that the canary render may take, the compilation of every kernel by a slow driver included.
pub const CANARY_MS: u64 = 90_000;
/// Bytes of the JSON part of a glTF file.
pub const GLTF_JSON_BYTES_MAX: u64 = 512 << 20;
/// Elements of one glTF accessor.
pub const ACCESSOR_ELEMENTS_MAX: u64 = 150_000_000;
/// Elements of one glTF accessor that names no bytes of the file (all zeros, or all but the sparse ones).
pub const ACCESSOR_ZEROS_MAX: u64 = 8 << 20;
/// Triangles that emit light, over all instances.
pub const EMISSIVE_TRIANGLES_MAX: u64 = 1 << 20;
/// Levels of a compressed wide BVH, so that a traversal stack of this many entries per level is never exceeded.
pub const BVH_LEVELS_MAX: u32 = 24;
/// Width or height of an environment picture.
pub const ENVIRONMENT_SIDE_TEXELS_MAX: u32 = 16_384;
/// Texels of an environment picture.
pub const ENVIRONMENT_TEXELS_MAX: u64 = 32 << 20;
/// Largest radiance of an environment; what is brighter is clamped and noted.
pub const ENVIRONMENT_RADIANCE_MAX: f32 = 1.0e8;
/// Notes in a scene's report.
pub const SCENE_NOTES_MAX: usize = 200;
/// Milliseconds after a signal to stop in which a second one is taken for the same.
pub const SIGNAL_TWICE_MS: u64 = 1_000;
/// Bytes of one shader's text, as the client sends it.
pub const SHADER_SOURCE_BYTES_MAX: usize = 256 << 10;
/// Bytes of a shader's text after includes and macros.
pub const SHADER_EXPANDED_BYTES_MAX: usize = 4 << 20;
/// Files deep that `#include` may go.
pub const SHADER_INCLUDE_DEPTH_MAX: usize = 8;
/// Macros that one shader may define.
pub const SHADER_DEFINES_MAX: usize = 4_096;
/// Nested parentheses and operators in one `#if`, `#calcdefine` or `#workgroup_count`.
pub const SHADER_DIRECTIVE_DEPTH_MAX: usize = 128;
/// Tokens of a shader after includes and macros.
pub const SHADER_TOKENS_MAX: usize = 500_000;
/// Operators on one path through one expression: an upper bound of the depth of its syntax tree.
pub const SHADER_EXPRESSION_DEPTH_MAX: usize = 1_000;
/// `else if` branches of one ladder.
pub const SHADER_ELSE_IF_MAX: usize = 512;
/// Brackets and `else if` branches around one statement.
pub const SHADER_NESTING_MAX: usize = 768;
/// Functions and structs of one shader.
pub const SHADER_FUNCTIONS_MAX: usize = 2_048;
/// Declarations at the top level of one shader.
pub const SHADER_DECLARATIONS_MAX: usize = 8_192;
/// Cases of all switches of one shader.
pub const SHADER_SWITCH_CASES_MAX: usize = 4_096;
/// Bytes of one identifier.
pub const SHADER_IDENTIFIER_BYTES_MAX: usize = 255;
/// Entries of one bracketed list: members of a struct, arguments of a call, elements of a constructor.
pub const SHADER_LIST_ENTRIES_MAX: usize = 16_384;
/// Bytes of stack of the thread that parses and validates shaders (address space; pages are used on demand).
pub const SHADER_STACK_BYTES: usize = 256 << 20;
/// Problems reported at once for one shader.
pub const SHADER_PROBLEMS_MAX: usize = 32;
/// Bytes of one message about a shader; the rest is cut off.
pub const SHADER_MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Warnings of one shader; the others are counted.
pub const SHADER_WARNINGS_MAX: usize = 16;
/// Bytes of a source line that a problem quotes.
pub const SHADER_QUOTED_LINE_BYTES_MAX: usize = 512;
/// Entry points that one shader may dispatch.
pub const SHADER_DISPATCH_ENTRIES_MAX: usize = 64;
/// Dispatches of one frame, over all entry points.
pub const SHADER_DISPATCHES_PER_FRAME_MAX: u32 = 256;
/// Workgroups of one dispatch along one axis.
pub const SHADER_WORKGROUPS_PER_AXIS_MAX: u32 = 65_535;
/// Invocations of one dispatch.
pub const SHADER_INVOCATIONS_PER_DISPATCH_MAX: u64 = 1 << 28;
/// Invocations of one workgroup (an adapter may allow less).
pub const SHADER_WORKGROUP_INVOCATIONS_MAX: u32 = 1_024;
/// Bytes of workgroup memory of one entry point (an adapter may allow less).
pub const SHADER_WORKGROUP_BYTES_MAX: u64 = 32 << 10;
/// Bytes of private and function memory of one invocation.
pub const SHADER_PRIVATE_BYTES_MAX: u64 = 128 << 10;
/// Bytes of one value of a shader that is read or computed as a whole (a whole array, say): drivers copy it element by element.
pub const SHADER_VALUE_BYTES_MAX: u64 = 16 << 10;
/// Bytes of one value of a shader that is written in its text: a table of constants.
pub const SHADER_CONSTANT_BYTES_MAX: u64 = 64 << 10;
/// Bytes of one storage buffer.
pub const SHADER_STORAGE_BUFFER_BYTES_MAX: u64 = 128 << 20;
/// Storage buffers of one shader, without the one that reports spent fuel.
pub const SHADER_STORAGE_BUFFERS_MAX: usize = 7;
/// Bytes of one uniform buffer.
pub const SHADER_UNIFORM_BYTES_MAX: u64 = 16 << 10;
/// Textures of one shader, sampled and written, without passes.
pub const SHADER_TEXTURES_MAX: usize = 16;
/// Bind groups of one shader.
pub const SHADER_BIND_GROUPS_MAX: u32 = 4;
/// Bindings of one bind group: the highest binding number plus one.
pub const SHADER_BINDINGS_PER_GROUP_MAX: u32 = 1_000;
/// Bytes of GPU memory that one shader job may ask for.
pub const SHADER_MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Sliders (`custom` values) of one shader.
pub const SHADER_SLIDERS_MAX: usize = 32;
/// Expressions and statements of one function.
pub const SHADER_FUNCTION_NODES_MAX: u64 = 200_000;
/// Expressions and statements of one entry point with every call expanded: what a driver that inlines has to compile.
pub const SHADER_CALL_TREE_NODES_MAX: u64 = 400_000;
/// Calls of one entry point with every call expanded.
pub const SHADER_CALL_TREE_CALLS_MAX: u64 = 8_192;
/// Loop iterations that one invocation may spend where the job does not say.
pub const SHADER_FUEL_ITERATIONS_DEFAULT: u32 = 1 << 20;
/// Loop iterations that one invocation may spend, at most.
pub const SHADER_FUEL_ITERATIONS_MAX: u32 = 1 << 27;
/// Loop iterations of one invocation, over all its loops, that llvmpipe is trusted with: after 65,535 it leaves every loop without a
/// word. Invocations of one vector that run different loops add up there, so that less may be safe.
pub const SHADER_DRIVER_ITERATIONS_LLVMPIPE: u32 = 65_500;
/// Bytes of memory that compiling one shader may take.
pub const SHADER_COMPILE_BYTES_MAX: usize = 1 << 30;
/// Milliseconds that compiling one shader may take, before the driver's own compiler.
pub const SHADER_COMPILE_MS_MAX: u64 = 20_000;
/// Compilers left behind at their bounds in one GPU process, before what else is in it is put aside and a fresh one takes its place.
pub const COMPILERS_STUCK_MAX: u32 = 2;
/// Milliseconds between two looks at whether a compiler was stopped at its bound of memory.
pub const SHADER_COMPILE_LOOK_MS: u64 = 20;
/// Compiled programs that the GPU process keeps, over all clients.
pub const SHADER_PROGRAMS_KEPT_MAX: usize = 64;
/// Programs whose pipelines the device keeps, over all clients.
pub const SHADER_PIPELINES_KEPT_MAX: usize = 64;
/// Bytes of packed pixels on the device at once; larger pictures are packed in bands. Whole groups of four pixels of every format.
pub const SHADER_PACK_BAND_BYTES_MAX: u64 = 48 << 20;
/// Frames of one job that are on their way from the device to the host at once.
pub const SHADER_READBACKS_MAX: usize = 4;
/// Frames of one job that wait for their encoder.
pub const SHADER_FRAMES_QUEUED_MAX: usize = 8;
/// Bytes of the frames of one job that are on their way back or wait for their encoder, and of those that are compressed at once; one frame
/// of each is always allowed.
pub const SHADER_FRAMES_BYTES_MAX: u64 = 256 << 20;
/// Bytes of the frames of all jobs that are compressed at once, besides one frame a job.
pub const SHADER_ENCODING_BYTES_MAX: u64 = 512 << 20;
/// Bytes of all files of one shader job, and of one animation.
pub const OUTPUT_BYTES_MAX: u64 = 16 << 30;
/// Frames of one job that are compressed at once.
pub const SHADER_ENCODES_MAX: usize = 8;
/// Threads of one video encoder.
pub const VIDEO_THREADS_MAX: usize = 8;
/// Milliseconds after which the device thread asks again where all works wait for somebody else, such as an encoder that is behind.
pub const DEVICE_BLOCKED_MS: u64 = 5;
/// Dispatches that are submitted before the device thread waits for the first of them.
pub const SHADER_BATCH_STEPS_MAX: usize = 16;
/// Invocations of the dispatches that are submitted together before it is known how long they take.
pub const SHADER_FIRST_BATCH_INVOCATIONS_MAX: u64 = 1 << 20;
/// Frames that one shader job may simulate.
pub const SHADER_FRAMES_MAX: u32 = 100_000;
/// Frames a second of a shader's clock, at least.
pub const SHADER_FPS_MIN: f32 = 0.01;
/// Frames a second of a shader's clock, at most.
pub const SHADER_FPS_MAX: f32 = 10_000.0;
/// Seconds that a shader job may take on the device where it does not say.
pub const SHADER_GPU_SECONDS_DEFAULT: f32 = 600.0;
/// Seconds that a shader job may take on the device, at most.
pub const SHADER_GPU_SECONDS_MAX: f32 = 86_400.0;
/// Texels of a channel's picture beyond which such pictures are read one after the other.
pub const CHANNEL_TEXELS_SIDE_BY_SIDE_MAX: u64 = 4 << 20;
/// Params of one shader job.
pub const SHADER_PARAMS_MAX: usize = 256;
/// Events of the mouse, and of the keyboard, that one shader job may script.
pub const SHADER_SCRIPT_EVENTS_MAX: usize = 10_000;
/// Pixels of one frame of an animation (as opposed to stills and sequences).
pub const ANIMATION_PIXELS_MAX: u64 = 4096 * 2304;
/// Width or height of a video, in pixels, at least.
pub const VIDEO_SIDE_PIXELS_MIN: u32 = 16;
/// Milliseconds that the loading of one scene may take on a slow machine; past it something in it does not end.
pub const LOAD_MS_MAX: u64 = 600_000;
/// Percent of a GPU's own memory that works may have on it together; the rest is the driver's, and other programs'.
pub const GPU_MEMORY_PERCENT: u64 = 80;
/// Percent of the system's memory that works may have on a software adapter together: there the loader needs the same memory.
pub const SOFTWARE_MEMORY_PERCENT: u64 = 30;
/// Bytes that works may have together on an adapter that does not say how much memory it has.
pub const GPU_MEMORY_BYTES_UNKNOWN: u64 = 2 << 30;
/// Milliseconds of work on the device between two checkpoints of a task.
pub const CHECKPOINT_MS: u64 = 10_000;
/// Bytes of one checkpoint; a film that is larger is not checkpointed.
pub const CHECKPOINT_BYTES_MAX: u64 = (1 << 30) + (1 << 20);
/// Seconds of device time from which on the state of a finished render is kept, so that samples can be added to it.
pub const EXTENDABLE_GPU_SECONDS_MIN: f64 = 2.0;
/// Percent of the system's memory that loaded scenes may take while they wait for the next task that uses them.
pub const SCENES_RESIDENT_PERCENT: u64 = 10;
/// Scenes and environments that are kept loaded.
pub const SCENES_RESIDENT_MAX: usize = 64;
/// Tasks that one GPU process ends before a fresh one takes its place, where the settings do not say.
pub const GPU_PROCESS_RECYCLE_TASKS: u64 = 20_000;
/// Percent of the system's memory that the GPU process may take before a fresh one takes its place.
pub const GPU_PROCESS_RECYCLE_PERCENT: u64 = 60;
/// Frames of one scene job: each is a task of its own.
pub const SCENE_FRAMES_MAX: u32 = 3_600;
/// Number of the last frame of a scene job.
pub const SCENE_FRAME_NUMBER_MAX: u32 = 1_000_000;
/// Frames a second of a scene job.
pub const SCENE_FRAMES_PER_SECOND_MAX: f32 = 240.0;
/// Percent of the system's memory that the GPU process may map for writing, untouched stacks included; an allocation beyond it fails.
pub const GPU_PROCESS_MEMORY_PERCENT: u64 = 85;
/// Frames of an animation that are compressed side by side.
pub const ASSEMBLE_FRAMES_AT_ONCE: usize = 8;
