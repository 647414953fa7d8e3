//! Real files over HTTP: every test asset ends in a picture or in a typed error, and the GPU process lives through all of them.

use crate::process::harness::{Server, gpu_or_skip};
use kiln::scene::pack;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the test assets are, loudly nowhere.
fn assets() -> Option<PathBuf> {
    let folder = std::env::var_os("KILN_ASSETS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("======== SKIPPED: this test needs the test assets, and {} is not there ========", folder.display());
    None
}

fn scenes_under(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            scenes_under(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "glb" || extension == "gltf") {
            found.push(path);
        }
    }
}

/// The bytes to post for a file, with its media type: a .gltf travels as a ZIP with its files.
fn upload(path: &Path) -> Result<(Vec<u8>, &'static str), String> {
    if path.extension().is_some_and(|extension| extension == "glb") {
        return Ok((std::fs::read(path).unwrap(), "model/gltf-binary"));
    }
    let mut zip = std::io::Cursor::new(Vec::new());
    pack::pack_gltf(path, &mut zip).map_err(|error| error.to_string())?;
    Ok((zip.into_inner(), "application/zip"))
}

/// Posts every file, waits for every job, and answers (file, final job). A file that is refused at the door, by the packer or by the
/// server with a typed problem, has no job.
async fn render_all(server: &Server, files: &[PathBuf], query: &str) -> Vec<(PathBuf, Option<Value>)> {
    let mut jobs = Vec::new();
    for path in files {
        let Ok((bytes, media_type)) = upload(path) else {
            jobs.push((path.clone(), None));
            continue;
        };
        let request = server.client.post(format!("{}/v1/jobs?{query}", server.url)).header("content-type", media_type);
        let answer = request.body(bytes).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        if status == 422 {
            assert_eq!(body["type"], "/problems/invalid-scene", "{}: {body}", path.display());
            jobs.push((path.clone(), None));
            continue;
        }
        assert_eq!(status, 202, "{}: {body}", path.display());
        jobs.push((path.clone(), Some(body["id"].as_str().unwrap().to_owned())));
    }
    let mut ended = Vec::new();
    for (path, id) in jobs {
        let job = match id {
            None => None,
            Some(id) => Some(
                crate::process::harness::wait_for(&format!("the end of {}", path.display()), async || {
                    let job = server.job(&id).await;
                    (!["queued", "running"].contains(&job["state"].as_str().unwrap())).then_some(job)
                })
                .await,
            ),
        };
        ended.push((path, job));
    }
    ended
}

/// True where the file asks for nothing but what Kiln knows.
fn is_known(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    let json = if bytes.starts_with(b"glTF") {
        let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        &bytes[20..20 + length]
    } else {
        &bytes[..]
    };
    let document: Value = serde_json::from_slice(json).unwrap();
    let required = document["extensionsRequired"].as_array().cloned().unwrap_or_default();
    required.iter().all(|name| scene_extensions().contains(&name.as_str().unwrap()))
}

fn scene_extensions() -> &'static [&'static str] {
    &kiln::scene::EXTENSIONS
}

#[tokio::test(flavor = "multi_thread")]
async fn every_model_that_needs_only_what_is_known_becomes_a_picture_without_nan() {
    let Some(assets) = assets() else { return };
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let mut files = Vec::new();
    for folder in ["models", "asset-generator", "small"] {
        scenes_under(&assets.join(folder), &mut files);
    }
    assert!(files.len() >= 50, "found {} files", files.len());
    let mut refused = Vec::new();
    for (path, job) in render_all(&server, &files, "width=40&height=40&samples=2").await {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(job) = job.as_ref().filter(|_| is_known(&path)) {
            assert_eq!(job["state"], "succeeded", "{name}: {}", job["error"]);
            let image = server.picture(job).await;
            let image = image::load_from_memory(&image).unwrap();
            assert_eq!((image.width(), image.height()), (40, 40), "{name}");
            assert_eq!(job["report"]["render"]["nan_pixels"], 0, "{name}: {}", job["report"]);
        } else {
            let reason = job.as_ref().map_or("invalid_scene", |job| job["error"]["reason"].as_str().unwrap());
            assert_eq!(reason, "invalid_scene", "{name}: {job:?}");
            refused.push(name);
        }
    }
    refused.sort();
    // Three need Draco or meshopt compression; one names a file that is not among the assets.
    assert_eq!(refused, ["BoxDraco.gltf", "BoxMeshopt.glb", "DenseSphere.glb", "chess-board.glb"]);
    let workers = server.get("/v1/workers").await;
    assert_eq!(workers["workers"][0]["deaths"], 0, "{workers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_validator_ends_in_a_picture_or_a_typed_error() {
    let Some(assets) = assets() else { return };
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let mut files = Vec::new();
    scenes_under(&assets.join("validator"), &mut files);
    assert!(files.len() >= 150, "found {} files", files.len());
    let (mut pictures, mut errors, mut at_the_door) = (0, 0, 0);
    for (path, job) in render_all(&server, &files, "width=16&height=16&samples=1").await {
        let Some(job) = job else {
            at_the_door += 1;
            continue;
        };
        match job["state"].as_str().unwrap() {
            "succeeded" => pictures += 1,
            "failed" => {
                let reason = job["error"]["reason"].as_str().unwrap();
                assert!(["invalid_scene", "limit_exceeded"].contains(&reason), "{}: {job:#}", path.display());
                assert!(job["error"]["message"].as_str().is_some_and(|message| message.len() > 20), "{job:#}");
                errors += 1;
            }
            other => panic!("{} ended as {other}", path.display()),
        }
    }
    eprintln!("{pictures} pictures, {errors} typed errors, {at_the_door} refused at the door");
    assert!(pictures > 20 && errors > 20, "{pictures} pictures, {errors} errors");
    let workers = server.get("/v1/workers").await;
    assert_eq!(workers["workers"][0]["deaths"], 0, "{workers}");
}
