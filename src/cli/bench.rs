//! `kiln bench`: this machine's speed, in numbers that can be compared between machines.

use super::{Exit, complain};
use crate::bench::{Machine, RaySet, SCENES, Service, encode, film, output_formats};
use anyhow::{Context, Result};
use serde_json::json;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  kiln bench\n  kiln bench --json > this-machine.json")]
pub(super) struct Args {
    /// One JSON document on stdout in place of lines
    #[arg(long)]
    json: bool,
    /// Seconds to spend on each figure
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

pub(super) fn run(args: &Args) -> Exit {
    match measure(args) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(format_args!("{error:#}"));
            Exit::Failed
        }
    }
}

/// Repeats `work` for about `budget` after one run to warm up; returns seconds of each run, sorted.
fn repeat(budget: Duration, mut work: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    work()?;
    let start = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < 3 || start.elapsed() < budget {
        seconds.push(work()?);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

fn measure(args: &Args) -> Result<()> {
    let budget = Duration::from_secs(args.seconds);
    let mut report = serde_json::Map::new();
    let mut say = |name: &str, line: String, value: serde_json::Value| {
        if !args.json {
            super::say(format_args!("{name:<44} {line}"));
        }
        report.insert(name.to_owned(), value);
    };
    {
        let machine = Machine::open()?;
        let adapter = machine.adapter();
        say("adapter", format!("{}, {}", adapter.name, adapter.driver), json!(adapter));
        for scene in SCENES {
            let loaded = machine.load(scene.glb())?;
            for set in [RaySet::Primary, RaySet::Bounced] {
                let mut rays = 0;
                let seconds = repeat(budget, || {
                    let stats = machine.trace(&loaded, set)?;
                    rays = stats.rays_primary + stats.rays_bounced;
                    Ok(stats.trace_seconds())
                })?;
                let (middle, best) = (rays as f64 / at(&seconds, 0.5) / 1e6, rays as f64 / seconds[0] / 1e6);
                say(
                    &format!("{}, {}", scene.name, set.name()),
                    format!("{middle:.2} million rays a second (best {best:.2})"),
                    json!({"rays": rays, "mrays_per_second": middle, "mrays_per_second_best": best}),
                );
            }
        }
        let seconds = repeat(budget, || {
            let start = Instant::now();
            machine.empty_slices(100)?;
            Ok(start.elapsed().as_secs_f64() / 100.0)
        })?;
        say("an empty slice", format!("{:.1} µs", at(&seconds, 0.5) * 1e6), json!({"seconds": at(&seconds, 0.5)}));
        let seconds = repeat(budget, || Ok(machine.readbacks(1024, 1024, 1)?.as_secs_f64()))?;
        say(
            "readback, 1024 × 1024",
            format!("{:.1} ms", at(&seconds, 0.5) * 1e3),
            json!({"seconds": at(&seconds, 0.5)}),
        );
    }
    let film = film(1920, 1080);
    for (name, output) in output_formats() {
        let seconds = repeat(budget, || {
            let start = Instant::now();
            encode(&film, &output)?;
            Ok(start.elapsed().as_secs_f64())
        })?;
        say(
            &format!("encode, 1920 × 1080, {name}"),
            format!("{:.1} ms", at(&seconds, 0.5) * 1e3),
            json!({"seconds": at(&seconds, 0.5)}),
        );
    }
    let kiln = std::env::current_exe().context("the path of this program")?;
    let service = Service::start(&kiln)?;
    let mut timed = |name: &str, work: &dyn Fn(&Service) -> Result<()>| -> Result<()> {
        let seconds = repeat(budget, || {
            let start = Instant::now();
            work(&service)?;
            Ok(start.elapsed().as_secs_f64())
        })?;
        let [p50, p99] = [0.5, 0.99].map(|share| at(&seconds, share));
        say(
            name,
            format!("p50 {:.1} ms, p99 {:.1} ms, {:.0} a second", p50 * 1e3, p99 * 1e3, 1.0 / p50),
            json!({"seconds_p50": p50, "seconds_p99": p99, "count": seconds.len()}),
        );
        Ok(())
    };
    timed("a job of one pixel, from submit to picture", &Service::empty_job)?;
    timed("submit, on disk", &Service::submit)?;
    if args.json {
        super::say(serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}
