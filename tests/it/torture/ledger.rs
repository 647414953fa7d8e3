//! What the client of the kill campaign knows: which jobs were accepted, and what must have become of them.

use super::Seeded;
use crate::process::harness::{Server, small_scene};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that a queue with work in it may go without any job's end: kills excluded, since it counts from the last look.
const STUCK_SECONDS: u64 = 30;

/// One job that the client wants.
struct Wanted {
    id: uuid::Uuid,
    tint: u8,
    query: String,
}

/// See the module's text.
pub struct Ledger {
    random: Seeded,
    wanted: u64,
    /// Sent, but never answered: whether it was accepted is unknown, and it is sent again under the same id.
    unsure: Option<Wanted>,
    /// By id, what was asked for.
    accepted: BTreeMap<uuid::Uuid, (u8, String)>,
    ended: BTreeSet<uuid::Uuid>,
    /// Pictures' hashes by what was asked for.
    pictures: BTreeMap<(u8, String), String>,
    /// Jobs that were quarantined because the campaign itself killed their GPU process twice, and were retried.
    pub retried: u64,
}

impl Ledger {
    pub fn new(seed: u64, wanted: u64) -> Self {
        Self {
            random: Seeded(!seed),
            wanted,
            unsure: None,
            accepted: BTreeMap::new(),
            ended: BTreeSet::new(),
            pictures: BTreeMap::new(),
            retried: 0,
        }
    }

    pub fn accepted(&self) -> u64 {
        self.accepted.len() as u64
    }

    pub fn ended(&self) -> usize {
        self.ended.len()
    }

    /// True for the path of an output of a job of this ledger: `FOLDER/JOB.FENCE.image.png`.
    pub fn names(&self, path: &Path) -> bool {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let job = file.split('.').next().unwrap_or_default();
        job.parse().is_ok_and(|id: uuid::Uuid| self.accepted.contains_key(&id))
    }

    /// Submits until so many jobs were accepted. May be dropped at any moment: a job whose answer did not arrive stays in doubt, and is
    /// sent again.
    pub async fn submit_until(&mut self, server: &Server, share: u64) {
        while self.accepted() < share.min(self.wanted) {
            let wanted = match self.unsure.take() {
                Some(wanted) => wanted,
                None => {
                    let tint = self.random.below(6) as u8;
                    // Most are small; one in twelve lasts long enough to be hit in the middle.
                    let size = if self.random.below(12) == 0 {
                        "width=48&height=48&samples=400"
                    } else {
                        "width=16&height=16&samples=4"
                    };
                    let query = format!("{size}&seed={}&reuse=false", self.random.below(3));
                    Wanted { id: uuid::Uuid::now_v7(), tint, query }
                }
            };
            let url = format!("{}/v1/jobs/{}?{}", server.url, wanted.id, wanted.query);
            let (id, tint, query) = (wanted.id, wanted.tint, wanted.query.clone());
            self.unsure = Some(wanted);
            let request = server.client.put(url).header("content-type", "model/gltf-binary").body(small_scene(tint));
            let Ok(response) = request.send().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let status = response.status().as_u16();
            let Ok(body) = response.json::<Value>().await else { continue };
            assert!([200, 201, 202].contains(&status), "{status} {body:#}");
            self.unsure = None;
            self.accepted.insert(id, (tint, query));
        }
    }

    /// Asks for every job that has not ended yet. Those that the campaign got quarantined are retried.
    pub async fn look(&mut self, server: &Server) {
        let open: Vec<uuid::Uuid> = self.accepted.keys().filter(|id| !self.ended.contains(*id)).copied().collect();
        for id in open {
            let Ok(response) = server.client.get(format!("{}/v1/jobs/{id}", server.url)).send().await else { return };
            let status = response.status().as_u16();
            let Ok(job) = response.json::<Value>().await else { return };
            assert_eq!(status, 200, "the accepted job {id} is lost: {job:#}");
            match job["state"].as_str() {
                Some("queued" | "running") => {}
                Some("succeeded") => {
                    self.ended.insert(id);
                }
                Some("failed") if job["error"]["reason"] == "quarantined" => {
                    let retry = server.client.post(format!("{}/v1/jobs/{id}/retry", server.url)).send().await;
                    self.retried += u64::from(retry.is_ok_and(|answer| answer.status().is_success()));
                }
                _ => panic!("no job of this campaign may end otherwise: {job:#}"),
            }
        }
    }

    /// Waits until every accepted job has ended; fails when nothing ends for too long.
    pub async fn drain(&mut self, server: &Server) {
        let mut last = (self.ended(), Instant::now());
        while self.ended.len() < self.accepted.len() {
            self.look(server).await;
            if self.ended() > last.0 {
                last = (self.ended(), Instant::now());
            }
            let open = self.accepted.len() - self.ended();
            assert!(
                last.1.elapsed().as_secs() < STUCK_SECONDS,
                "{open} jobs are stuck: nothing ended for {STUCK_SECONDS} s"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ended once, with one output, whose bytes have the hash that the job names and are the same for everybody who asked for the same.
    pub async fn check_every_job(&mut self, server: &Server) {
        for (id, asked) in &self.accepted {
            let job = server.job(&id.to_string()).await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
            let picture = server.picture(&job).await;
            let hash = hex::encode(Sha256::digest(&picture));
            let first = self.pictures.entry(asked.clone()).or_insert_with(|| hash.clone());
            assert_eq!(*first, hash, "job {id} has another picture than an equal job before it");
            let events = server
                .client
                .get(format!("{}/v1/jobs/{id}/events", server.url))
                .header("accept", "application/json")
                .send()
                .await
                .expect("the server answers");
            let events: Value = events.json().await.expect("a page of events is JSON");
            let names: Vec<&str> = events["events"]
                .as_array()
                .unwrap_or_else(|| panic!("a page of events: {events:#}"))
                .iter()
                .filter_map(|event| event["event"].as_str())
                .collect();
            let count = |name| names.iter().filter(|found| **found == name).count();
            assert_eq!(count("output"), 1, "job {id} was committed more than once: {names:?}");
            let quarantined = events["events"]
                .as_array()
                .is_some_and(|events| events.iter().any(|event| event["data"]["reason"] == "quarantined"));
            assert!(count("ended") == 1 || quarantined, "job {id} ended more than once: {names:?}");
        }
    }
}
