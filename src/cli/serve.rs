//! `kiln serve`: puts the service together, runs it until it is told to stop, and stops it in good order.
//!
//! Order of the start: the socket (a wrong address changes nothing), the store (whose lock keeps a second server out), the blobs,
//! recovery, then HTTP and the GPU process at once, so that requests are answered while a slow driver still starts.
//! Order of the stop: HTTP and the dispatcher at once, the GPU process once nothing of it is wanted any more, and then what tells of
//! and learns from what has ended.

use super::{Exit, complain};
use crate::blob::BlobStore;
use crate::config::{GpuChoice, ServeArgs, ServeConfig};
use crate::device::AdapterSelector;
use crate::dispatch::hub::{GpuStatus, Hub};
use crate::dispatch::webhook::WebhookConfig;
use crate::dispatch::{self, Context, deadlines, estimate, retention, webhook};
use crate::gpu_process::in_process;
use crate::gpu_process::supervisor::{self, SupervisorConfig};
use crate::http::{self, AppState, HttpLimits};
use crate::limits::{GPU_EVENTS_QUEUED_MAX, SIGNAL_TWICE_MS};
use crate::store::JobStore;
use crate::store::sqlite::SqliteStore;
use anyhow::Context as _;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const EXAMPLES: &str = "\
Examples:
  kiln serve
  kiln serve --addr 127.0.0.1:0 --data /var/lib/kiln --gpu 0

  curl --data-binary @chair.glb -H 'content-type: model/gltf-binary' -H 'accept: image/png' -H 'prefer: wait=60' \\
       'localhost:8080/v1/jobs?samples=128' -o chair.png";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    serve: ServeArgs,
}

pub(super) fn run(args: Args) -> Exit {
    super::init_logs("info,wgpu_core=warn,wgpu_hal=warn,naga=warn");
    let config = match args.serve.resolve() {
        Ok(config) => config,
        Err(error) => {
            complain(error);
            return Exit::Usage;
        }
    };
    // Its threads only pass on: files, the store and the GPU have threads of their own, which need the other processors.
    let workers = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("the runtime does not start: {error}"));
            return Exit::Failed;
        }
    };
    let exit = runtime.block_on(async {
        match serve(config).await {
            Ok(()) => Exit::Done,
            Err(error) => {
                complain(super::told(&error));
                Exit::Failed
            }
        }
    });
    // Blocking work that is still going on (a hash of a large file, say) must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

/// Each connection and each event stream takes a file descriptor, and the usual soft limit of 1024 is far below what Kiln bounds
/// itself to. Where the system refuses, the smaller limit holds, and connections beyond it wait.
#[cfg(unix)]
fn raise_open_files() {
    use crate::limits::OPEN_FILES_MAX;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES_MAX, |hard| hard.min(OPEN_FILES_MAX));
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, wanted, "the limit of open files could not be raised");
    }
}

#[cfg(not(unix))]
fn raise_open_files() {}

async fn serve(config: ServeConfig) -> anyhow::Result<()> {
    raise_open_files();
    let shutdown = CancellationToken::new();
    // Before anything else, so that a signal during the start stops it in good order too.
    spawn_signal_watch(shutdown.clone())?;
    let listener = http::bind(&config).await?;
    let data = config.data.display();
    std::fs::create_dir_all(&config.data).with_context(|| format!("the data folder {data} cannot be made"))?;
    let sqlite = Arc::new(SqliteStore::open(&config.data).await?);
    let store: Arc<dyn JobStore> = Arc::clone(&sqlite) as _;
    let blobs = BlobStore::open(&config.data).with_context(|| format!("the data folder {data} cannot be used"))?;
    dispatch::recover(store.as_ref(), &blobs).await?;
    let hub = Hub::new();
    let follow = tokio::spawn(Arc::clone(&hub).follow(store.subscribe()));
    let metrics = crate::telemetry::install();

    let limits = HttpLimits { upload_bytes_max: config.upload_bytes_max, ..HttpLimits::default() };
    let mut state = AppState::new(Arc::clone(&store), blobs.clone(), Arc::clone(&hub), limits);
    state.hosts.allowed = config.allowed_hosts.clone().into();
    state.webhooks = WebhookConfig { allow_private: config.webhook_allow_private, ..WebhookConfig::default() };
    // A token of its own: what runs still ends, and is to be learnt from and told of.
    let ended = CancellationToken::new();
    let background = spawn_background(&state, &config, &ended);
    background.spawn(crate::telemetry::run(metrics, ended.clone()));
    // A process that is to end so that a fresh one begins would be this one, and nothing begins it again.
    let recycle_tasks = if config.gpu == GpuChoice::InProcess { u64::MAX } else { config.recycle_tasks };
    let context =
        Context { store, blobs, hub, worker: worker_name(), checkpoint_ms: config.checkpoint_ms, recycle_tasks };
    let gpu = spawn_gpu(&config.gpu, Arc::new(context), &shutdown);
    announce(&listener, &config)?;
    http::serve_on(listener, state, shutdown.clone()).await;
    // Where HTTP ended by itself, the rest must end too.
    shutdown.cancel();
    let drained = gpu.await;
    // After the dispatcher, whose last results the cost model learns from and the outbox tells.
    ended.cancel();
    background.close();
    background.wait().await;
    follow.abort();
    sqlite.close().await;
    drained.context("the dispatcher failed")?;
    tracing::info!("stopped");
    Ok(())
}

/// What goes on beside the jobs: expiring those that came too late, learning what they cost, telling clients and receivers, forgetting what is old.
fn spawn_background(state: &AppState, config: &ServeConfig, shutdown: &CancellationToken) -> TaskTracker {
    let AppState { store, blobs, hub, estimator, webhooks, .. } = state.clone();
    let tracker = TaskTracker::new();
    let learning =
        estimate::follow::run(Arc::clone(&estimator), Arc::clone(&store), Arc::clone(&hub), shutdown.clone());
    tracker.spawn(learning);
    tracker.spawn(estimate::waiting::run(estimator, Arc::clone(&store), hub, shutdown.clone()));
    tracker.spawn(deadlines::run(Arc::clone(&store), shutdown.clone()));
    tracker.spawn(webhook::run(Arc::clone(&store), webhooks, shutdown.clone()));
    tracker.spawn(retention::run(store, blobs, config.retention, shutdown.clone()));
    tracker
}

/// The dispatcher and its GPU process; the handle ends when both have.
fn spawn_gpu(choice: &GpuChoice, context: Arc<Context>, shutdown: &CancellationToken) -> JoinHandle<()> {
    let (sender, events) = mpsc::channel(GPU_EVENTS_QUEUED_MAX);
    // The process outlives the dispatcher, which may still wait for a picture that is being encoded.
    let gpu_shutdown = CancellationToken::new();
    let process = match choice {
        GpuChoice::None => {
            let problem = Some("this server was started with --gpu none: jobs are accepted and wait".to_owned());
            context.hub.set_gpu(GpuStatus { problem, ..GpuStatus::default() });
            let stopped = shutdown.clone();
            return tokio::spawn(async move { stopped.cancelled().await });
        }
        GpuChoice::InProcess => tokio::task::spawn_blocking(move || in_process::run(&AdapterSelector::Auto, &sender)),
        GpuChoice::Auto | GpuChoice::Index(_) | GpuChoice::Name(_) => {
            let config = SupervisorConfig::new(&choice.to_string(), context.blobs.spool_dir());
            tokio::spawn(supervisor::supervise(config, sender, gpu_shutdown.clone()))
        }
    };
    let shutdown = shutdown.clone();
    let in_process = *choice == GpuChoice::InProcess;
    tokio::spawn(async move {
        dispatch::run(context, events, shutdown).await;
        gpu_shutdown.cancel();
        // A device thread in this very process ends with it.
        if !in_process && let Err(error) = process.await {
            tracing::error!(%error, "the supervisor of the GPU process failed");
        }
    })
}

/// Who holds a lease: this process, on this machine.
fn worker_name() -> String {
    format!("{}-{}", std::process::id(), uuid::Uuid::now_v7().simple())
}

/// The one line on stdout.
fn announce(listener: &TcpListener, config: &ServeConfig) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the listening socket has no address")?;
    let mut stdout = std::io::stdout().lock();
    // A closed stdout is no reason not to serve.
    let _ =
        writeln!(stdout, "kiln listens on http://{address} (data in {}, gpu {})", config.data.display(), config.gpu);
    let _ = stdout.flush();
    Ok(())
}

/// The first SIGTERM or Ctrl-C stops the service in good order, the second one at once.
fn spawn_signal_watch(shutdown: CancellationToken) -> anyhow::Result<()> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("signals cannot be received")?;
    tokio::spawn(async move {
        let mut first: Option<Instant> = None;
        loop {
            #[cfg(unix)]
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            #[cfg(not(unix))]
            let _ = tokio::signal::ctrl_c().await;
            match first {
                None => {
                    tracing::info!("stopping");
                    first = Some(Instant::now());
                    shutdown.cancel();
                }
                // Some programs (`timeout`, say) send the same wish to the process and to its group.
                Some(first) if first.elapsed() < Duration::from_millis(SIGNAL_TWICE_MS) => {}
                Some(_) => {
                    tracing::warn!("stopping at once; a restart takes up what was running");
                    std::process::exit(1);
                }
            }
        }
    });
    Ok(())
}
