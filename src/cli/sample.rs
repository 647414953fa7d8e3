//! `kiln sample`: writes one of the scenes that Kiln makes itself.

use super::{Exit, complain};
use crate::sample_scenes::{NAMES, by_name};
use std::io::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  kiln sample still-life -o still-life.glb\n  kiln sample cornell-box -o - | kiln render - -o box.png"
)]
pub(super) struct Args {
    /// Which scene
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    name: String,
    /// Where to write it; - is stdout [default: NAME.glb]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Exit {
    let glb = by_name(&args.name).expect("clap takes the names of this list only");
    let output = args.output.clone().unwrap_or_else(|| format!("{}.glb", args.name).into());
    let written = if output.as_os_str() == "-" {
        std::io::stdout().lock().write_all(&glb)
    } else {
        std::fs::write(&output, &glb)
    };
    match written {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(format_args!("{} cannot be written: {error}", output.display()));
            Exit::Failed
        }
    }
}
