//! A real server in a process of its own, and what tests ask it.

use kiln::device::{AdapterSelector, DeviceThread};
use kiln::sample_scenes::{GlbBuilder, Shape};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The longest that any single wait may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What the adapter is: `Some(true)` for a software one, `None` where there is none, loudly. `KILN_REQUIRE_GPU=1` makes that a failure.
fn software() -> Option<bool> {
    static FOUND: OnceLock<Result<bool, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| match DeviceThread::spawn(&AdapterSelector::Auto) {
        Ok((thread, device)) => {
            let software = device.report().software;
            thread.shutdown();
            Ok(software)
        }
        Err(error) => Err(error.to_string()),
    });
    match found {
        Ok(software) => Some(*software),
        Err(why) => {
            let required = std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1");
            assert!(!required, "KILN_REQUIRE_GPU=1, but no GPU can be used: {why}");
            eprintln!("======== SKIPPED: this test needs a GPU adapter, and there is none: {why} ========");
            None
        }
    }
}

/// True where an adapter can be opened; else says so loudly.
pub fn gpu_or_skip() -> bool {
    software().is_some()
}

/// Options of a render that takes some seconds, so that there is a middle of it.
pub fn seconds() -> &'static str {
    if software() == Some(true) { "width=48&height=48&samples=3000" } else { "width=512&height=512&samples=20000" }
}

/// Options of a render that takes minutes or more, and is never finished.
pub fn forever() -> &'static str {
    if software() == Some(true) { "width=48&height=48&samples=65536" } else { "width=4096&height=4096&samples=65536" }
}

/// Options of a render that takes no time.
pub const MOMENT: &str = "width=16&height=16&samples=4";

/// The program under test.
pub fn kiln() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    // Settings of whoever runs the tests are not settings of the tests.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KILN_") {
            command.env_remove(name);
        }
    }
    command
}

/// A ball on a plate: a GLB of a few hundred triangles. `tint` makes different files.
pub fn small_scene(tint: u8) -> Vec<u8> {
    let mut glb = GlbBuilder::new();
    let shade = 0.2 + f32::from(tint) / 400.0;
    let material = glb.material(serde_json::json!({"pbrMetallicRoughness": {
        "baseColorFactor": [shade, 0.5, 0.5, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.6}}));
    let mesh = glb.mesh("ball", &Shape::sphere(8), material);
    glb.place(mesh, glam::Mat4::IDENTITY);
    glb.finish()
}

/// A server that is killed when it is dropped.
pub struct Server {
    child: Child,
    pub url: String,
    pub client: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one on a free port, and waits until it listens.
    pub fn start(data: &Path, gpu: &str) -> Self {
        Self::start_with(data, gpu, &[])
    }

    /// The same with more flags.
    pub fn start_with(data: &Path, gpu: &str, flags: &[&str]) -> Self {
        let mut child = kiln()
            .args(["serve", "--addr", "127.0.0.1:0", "--gpu", gpu, "--data"])
            .arg(data)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = std::thread::spawn(move || {
            // Passed on line by line, so that the test harness shows it beside a failure.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("  server: {line}");
            }
        });
        drop(log);
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the server's stdout can be read");
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("the server's first line names no address: {line:?}")).to_owned();
        Self { child, url, client: crate::app::http_client() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: nothing in the server gets to say a word.
    pub fn kill(mut self) {
        signal(self.pid(), "KILL");
        self.child.wait().expect("the server can be waited for");
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        self.child.wait().expect("the server can be waited for").code()
    }

    /// The GPU process of this server, as soon as there is one.
    pub async fn gpu_pid(&self) -> u32 {
        wait_for("a GPU process", async || gpu_process_of(self.pid())).await
    }

    /// Submits a scene that no other job answers for, and answers the job's id.
    pub async fn submit(&self, scene: Vec<u8>, query: &str) -> String {
        let url = format!("{}/v1/jobs?reuse=false&{query}", self.url);
        let request = self.client.post(url).header("content-type", "model/gltf-binary").body(scene);
        let response = request.send().await.expect("the server answers");
        let status = response.status();
        let body: Value = response.json().await.expect("the answer is JSON");
        assert_eq!(status.as_u16(), 202, "{body}");
        body["id"].as_str().expect("a job has an id").to_owned()
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.expect("the server answers");
        response.json().await.expect("the answer is JSON")
    }

    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    pub async fn cancel(&self, id: &str) {
        let url = format!("{}/v1/jobs/{id}/cancel", self.url);
        let status = self.client.post(url).send().await.expect("the server answers").status();
        assert!(status.is_success(), "{status}");
    }

    /// Waits until the job is in a state, and answers it as it is then. A job that has ended otherwise fails the test.
    pub async fn wait_for_state(&self, id: &str, state: &str) -> Value {
        wait_for(&format!("job {id} to be {state}"), async || {
            let job = self.job(id).await;
            let found = job["state"].as_str().expect("a job has a state").to_owned();
            assert!(
                found == state || ["queued", "running"].contains(&found.as_str()),
                "expected {state}, found {job:#}"
            );
            (found == state).then_some(job)
        })
        .await
    }

    /// Waits until the device has worked on the job in this attempt or a later one.
    pub async fn wait_for_samples(&self, id: &str, attempt: u64) {
        wait_for(&format!("samples of job {id}"), async || {
            let job = self.job(id).await;
            assert!(job["error"].is_null(), "{job:#}");
            let rendering = job["progress"]["samples_done"].as_u64() > Some(0) && job["state"] == "running";
            (rendering && job["attempt"].as_u64() >= Some(attempt)).then_some(())
        })
        .await;
    }

    /// Downloads the picture, checks its hash against the job, and answers it.
    pub async fn picture(&self, job: &Value) -> Vec<u8> {
        let output = &job["outputs"][0];
        let url = format!("{}{}", self.url, output["url"].as_str().expect("an output has an address"));
        let response = self.client.get(url).send().await.expect("the server answers");
        assert!(response.status().is_success(), "{}", response.status());
        let bytes = response.bytes().await.expect("the picture can be downloaded").to_vec();
        assert_eq!(Some(bytes.len() as u64), output["bytes"].as_u64());
        assert_eq!(Some(hex::encode(Sha256::digest(&bytes)).as_str()), output["sha256"].as_str());
        assert!(bytes.starts_with(b"\x89PNG"), "not a PNG");
        bytes
    }
}

/// Sends a signal by the system's own `kill`.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill can be run");
    assert!(status.success(), "kill -{name} {pid}: {status}");
}

/// Polls until there is an answer.
pub async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The living GPU process whose parent is `parent`.
pub fn gpu_process_of(parent: u32) -> Option<u32> {
    std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // The fields behind the name, which may itself hold brackets: state, parent.
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let alive = fields.next().is_some_and(|state| state != "Z");
        let child = fields.next().is_some_and(|found| found == parent.to_string());
        alive && child && command.split(|byte| *byte == 0).any(|argument| argument == b"gpu-process")
    })
}

/// True while the process is there and not merely waiting to be waited for.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Every file under a folder, by its path from there.
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("it is in the folder").to_owned());
            }
        }
    }
    found.sort();
    found
}
