//! `kiln doctor`: what this machine renders on, whether it does, and what to install or change.

use super::{Exit, complain};
use crate::device::{self, AdapterSelector, DeviceThread};
use crate::gpu_process::canary;
use crate::gpu_process::protocol::AdapterReport;
use serde_json::json;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Adapter to test: auto, a number or a part of a name
    #[arg(long, env = "KILN_GPU", default_value = "auto", value_name = "auto|INDEX|NAME")]
    gpu: AdapterSelector,
    /// Print everything as one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What became of the canary.
struct Tested {
    adapter: AdapterReport,
    canary: Result<f64, String>,
}

pub(super) fn run(args: &Args) -> Exit {
    super::init_logs("error");
    let adapters = device::adapters();
    let tested = match DeviceThread::spawn(&args.gpu) {
        Ok((device_thread, device)) => {
            let canary = canary::run(&device);
            let adapter = device.report().clone();
            device_thread.shutdown();
            Ok(Tested { adapter, canary })
        }
        Err(error) => Err(error.to_string()),
    };
    let advice = advice(&adapters, &tested);
    if args.json {
        print_json(&adapters, &tested, &advice);
    } else {
        print_text(&adapters, &tested, &advice);
    }
    match tested {
        Ok(Tested { canary: Ok(_), .. }) => Exit::Done,
        _ => Exit::Failed,
    }
}

/// Sentences that say what to install or change; none where all is well.
fn advice(adapters: &[AdapterReport], tested: &Result<Tested, String>) -> Vec<String> {
    let mut advice = Vec::new();
    if adapters.is_empty() {
        advice.push(no_adapter().to_owned());
    } else if let Err(message) = tested {
        advice
            .push(format!("No adapter could be opened ({message}); choose another one of the list above with --gpu."));
    }
    if let Ok(Tested { adapter, canary }) = tested {
        if adapter.software {
            advice.push(software(adapters));
        }
        if canary.is_err() {
            advice.push(
                "The adapter opens but does not render right: update its driver, or choose another adapter with --gpu."
                    .to_owned(),
            );
        }
    }
    advice
}

fn no_adapter() -> &'static str {
    if cfg!(target_os = "linux") {
        "No Vulkan adapter was found. Install the driver of your GPU (Debian, Ubuntu: mesa-vulkan-drivers for AMD and Intel, \
         nvidia-driver with its Vulkan library for NVIDIA). Without a GPU, mesa-vulkan-drivers brings llvmpipe, a software \
         adapter: apt-get install mesa-vulkan-drivers. In a container, the GPU must be passed in (/dev/dri, or \
         --gpus all with NVIDIA_DRIVER_CAPABILITIES=graphics,compute)."
    } else if cfg!(windows) {
        "No DirectX 12 or Vulkan adapter was found. Install the driver of your GPU."
    } else {
        "No Metal or Vulkan adapter was found."
    }
}

fn software(adapters: &[AdapterReport]) -> String {
    match adapters.iter().position(|adapter| !adapter.software) {
        Some(index) => format!(
            "This is a software adapter, which renders on the processor. \"{}\" is a GPU: use it with --gpu {index}.",
            adapters[index].name
        ),
        None => {
            "This machine renders on software Vulkan, that is, on its processor: pictures are right but take tens to \
                 hundreds of times longer. If there is a GPU in it, install its Vulkan driver."
                .to_owned()
        }
    }
}

fn print_json(adapters: &[AdapterReport], tested: &Result<Tested, String>, advice: &[String]) {
    let tested = match tested {
        Ok(Tested { adapter, canary }) => json!({
            "adapter": adapter,
            "canary_seconds": canary.as_ref().ok(),
            "problem": canary.as_ref().err(),
        }),
        Err(message) => json!({"adapter": null, "canary_seconds": null, "problem": message}),
    };
    let document = json!({"kiln": env!("CARGO_PKG_VERSION"), "adapters": adapters, "tested": tested, "advice": advice});
    super::say(format_args!("{document:#}"));
}

fn print_text(adapters: &[AdapterReport], tested: &Result<Tested, String>, advice: &[String]) {
    super::say(format_args!("kiln {}", env!("CARGO_PKG_VERSION")));
    super::say(format_args!("adapters: {}", adapters.len()));
    for (index, adapter) in adapters.iter().enumerate() {
        let AdapterReport { name, backend, driver, device_type, storage_binding_bytes_max, buffer_bytes_max, .. } =
            adapter;
        let software = if adapter.software { ", software" } else { "" };
        super::say(format_args!("  {index}  {name}"));
        super::say(format_args!("     {backend}, {device_type}{software}; driver {driver}"));
        super::say(format_args!(
            "     buffers up to {}, storage bindings up to {}",
            bytes(*buffer_bytes_max),
            bytes(*storage_binding_bytes_max)
        ));
    }
    match tested {
        Ok(Tested { adapter, canary: Ok(seconds) }) => {
            super::say(format_args!("canary: rendered right on {} in {seconds:.2} s", adapter.name));
        }
        Ok(Tested { adapter, canary: Err(message) }) => complain(format_args!("{}: {message}", adapter.name)),
        Err(message) => complain(message),
    }
    for sentence in advice {
        super::say(format_args!("note: {sentence}"));
    }
}

/// `3.0 GiB`.
fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    format!("{value:.1} {unit}")
}
