//! A real `kiln serve` in a folder of its own, for the benches that measure the service as a whole.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

pub struct Server {
    child: Child,
    pub url: String,
    data: Arc<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it and waits until it is ready.
    pub async fn start() -> Result<Self> {
        Self::start_in(Arc::new(tempfile::tempdir()?)).await
    }

    /// Kills it, as a power cut would, and starts another one in its place.
    #[allow(dead_code, reason = "each bench compiles this module for itself, and not all of them need it")]
    pub async fn kill_and_restart(mut self) -> Result<Self> {
        self.child.kill()?;
        self.child.wait()?;
        Self::start_in(Arc::clone(&self.data)).await
    }

    async fn start_in(data: Arc<tempfile::TempDir>) -> Result<Self> {
        kiln::dispatch::webhook::install_tls();
        let stdout = std::fs::File::create(data.path().join("stdout"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["serve", "--addr", "127.0.0.1:0", "--data"])
            .arg(data.path().join("data"))
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn()
            .context("kiln serve does not start")?;
        let mut server = Self { child, url: String::new(), data };
        let client = reqwest::Client::new();
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ensure!(server.child.try_wait()?.is_none(), "kiln serve ended early");
            let text = std::fs::read_to_string(server.data.path().join("stdout"))?;
            let Some(start) = text.find("http://127.0.0.1:") else { continue };
            server.url = text[start..].split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_owned();
            if let Ok(answer) = client.get(format!("{}/readyz", server.url)).send().await
                && answer.status().is_success()
            {
                return Ok(server);
            }
        }
        anyhow::bail!("kiln serve was not ready within 60 s")
    }

    /// The process's id; not that of its GPU process.
    #[allow(dead_code, reason = "each bench compiles this module for itself, and not all of them need it")]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Uploads a file and answers its reference, as a job document names it.
    pub async fn upload(&self, client: &reqwest::Client, bytes: Vec<u8>) -> Result<String> {
        let answer = client.post(format!("{}/v1/assets", self.url)).body(bytes).send().await?.error_for_status()?;
        let asset: Value = answer.json().await?;
        Ok(asset["asset"].as_str().context("an uploaded asset has a name")?.to_owned())
    }

    /// Posts a job document and answers the job.
    pub async fn submit(&self, client: &reqwest::Client, document: &Value) -> Result<Value> {
        let answer = client.post(format!("{}/v1/jobs", self.url)).json(document).send().await?;
        ensure!(answer.status() == 202, "found status {}, expected 202: {}", answer.status(), answer.text().await?);
        Ok(answer.json().await?)
    }

    /// The job as it is now.
    pub async fn job(&self, client: &reqwest::Client, id: &str) -> Result<Value> {
        let job: Value = client.get(format!("{}/v1/jobs/{id}", self.url)).send().await?.json().await?;
        ensure!(job["error"].is_null(), "the job failed: {}", job["error"]);
        Ok(job)
    }
}

/// A render that lasts until it is cancelled.
#[allow(dead_code, reason = "each bench compiles this module for itself, and not all of them need it")]
pub fn endless(asset: &str) -> Value {
    json!({"kind": "scene", "scene": {"asset": asset}, "size": [1024, 1024], "samples": 60_000})
}
