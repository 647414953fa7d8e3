//! `kiln gpu-process`: see [`crate::gpu_process::child`].

use super::Exit;
use crate::device::AdapterSelector;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Adapter to render on: auto, a number or a part of a name
    #[arg(long, default_value = "auto", value_name = "auto|INDEX|NAME")]
    gpu: AdapterSelector,
}

pub(super) fn run(args: &Args) -> Exit {
    use std::io::IsTerminal;
    if std::io::stdin().is_terminal() {
        super::complain(
            "kiln gpu-process is started by kiln serve, which talks to it over a pipe; run kiln serve instead",
        );
        return Exit::Usage;
    }
    crate::gpu_process::child::run(&args.gpu)
}
