//! How far a render is, on stderr: a bar on a terminal, a line every now and then in a pipe.

use crate::job::{Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

pub(super) enum Display {
    Bar(ProgressBar),
    Lines { last: Option<(Phase, u32)> },
    Quiet,
}

impl Display {
    pub(super) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        let template = if super::colors() {
            "{msg:10} {bar:40.cyan/blue} {percent:>3} %  {prefix}  {elapsed_precise}"
        } else {
            "{msg:10} {bar:40} {percent:>3} %  {prefix}  {elapsed_precise}"
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant that parses"));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self::Bar(bar)
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let Progress { phase, fraction, .. } = *progress;
        let done = done(progress);
        let word = match phase {
            Phase::Loading => "loading",
            Phase::Rendering => "rendering",
            Phase::Denoising => "denoising",
            Phase::Encoding => "encoding",
        };
        match self {
            Self::Bar(bar) => {
                bar.set_message(word);
                bar.set_prefix(done);
                bar.set_position((f64::from(fraction) * 1000.0) as u64);
            }
            Self::Lines { last } => {
                let tenth = (fraction * 10.0) as u32;
                if *last != Some((phase, tenth)) {
                    *last = Some((phase, tenth));
                    eprintln!("{word:10} {:3.0} %  {done}", fraction * 100.0);
                }
            }
            Self::Quiet => {}
        }
    }

    pub(super) fn end(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Samples of a scene, or frames of a shader.
fn done(progress: &Progress) -> String {
    match progress.samples_total {
        0 => format!("{}/{} frames", progress.frames_done, progress.frames_total),
        total => format!("{}/{total} samples", progress.samples_done),
    }
}
