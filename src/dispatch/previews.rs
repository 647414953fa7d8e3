//! Pictures of one attempt before it ends: from those who wait for one to the GPU process, and back.

use super::hub::PreviewRequest;
use crate::gpu_process::protocol::{Command, TaskKey};
use crate::limits::{HUB_PREVIEWS_QUEUED_MAX, PREVIEW_BYTES_MAX};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// See the module's text.
#[derive(Default)]
pub struct Previews {
    waiting: Vec<PreviewRequest>,
    /// The files that were asked for, and when; the last ones.
    asked: VecDeque<(PathBuf, Instant)>,
    count: u32,
}

impl Previews {
    /// True once somebody has asked for one: a file of it may still come.
    pub fn were_asked_for(&self) -> bool {
        self.count > 0
    }

    /// Asks the GPU process for a preview in `folder`, unless it was just asked.
    pub fn ask(&mut self, request: PreviewRequest, task: TaskKey, folder: &Path, commands: &mpsc::Sender<Command>) {
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.waiting.push(request);
        // A request may be dropped on its way; then the next one asks again.
        let pending = self.asked.back().is_some_and(|(_, since)| since.elapsed() < Duration::from_secs(1));
        if pending {
            return;
        }
        self.count += 1;
        let path = folder.join(format!("preview-{}.png", self.count));
        if commands.try_send(Command::Preview { task, path: path.clone() }).is_ok() {
            self.asked.push_back((path, Instant::now()));
            if self.asked.len() > HUB_PREVIEWS_QUEUED_MAX {
                self.asked.pop_front();
            }
        }
    }

    /// Answers all who wait with a preview that is complete.
    pub async fn answer(&mut self, path: &Path, samples: u32) {
        // Whichever comes is as good as the newest: those before it are not answered any more.
        let Some(at) = self.asked.iter().position(|(asked, _)| asked == path) else { return };
        self.asked.drain(..=at);
        match tokio::fs::symlink_metadata(path).await {
            Ok(metadata) if metadata.is_file() && metadata.len() <= PREVIEW_BYTES_MAX => {}
            _ => return,
        }
        if let Ok(picture) = tokio::fs::read(path).await {
            let picture = bytes::Bytes::from(picture);
            for request in self.waiting.drain(..) {
                // Whoever no longer waits is not missed.
                let _ = request.send((picture.clone(), samples));
            }
        }
        let _ = tokio::fs::remove_file(path).await;
    }
}
