//! Renders the set by a real server, and compares every picture with its golden and its closed form.
//!
//! `KILN_BLESS=1 cargo test --test it shader_corpus::` writes the goldens anew; say in the commit why a picture changed.
//! `KILN_SHADERS=TEXT` renders only the shaders with this text in their names.

use super::{Entry, closed_forms, entries, pictures, replace};
use crate::process::harness::{Server, gpu_or_skip};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a golden and all goldens may weigh.
const GOLDEN_BYTES_MAX: u64 = 32 << 10;
const GOLDENS_BYTES_MAX: u64 = 1_500_000;
/// Root mean square of the difference in display values, of 255. The same adapter gives 0; another one rounds otherwise.
const RMSE_MAX: f64 = 4.0;

#[tokio::test(flavor = "multi_thread")]
async fn every_shader_draws_its_golden_picture() {
    if !gpu_or_skip() {
        return;
    }
    let wanted = std::env::var("KILN_SHADERS").unwrap_or_default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), "auto");
    let assets = upload_pictures(&server).await;
    let mut problems = String::new();
    let mut goldens_bytes = 0;
    for entry in entries().into_iter().filter(|entry| entry.name.contains(&wanted)) {
        let picture = match render(&server, &entry, &assets).await {
            Ok(picture) => picture,
            Err(problem) if problem.contains("which this GPU does not have") => {
                eprintln!("======== SKIPPED: {}: {problem} ========", entry.name);
                continue;
            }
            Err(problem) => {
                problems.push_str(&format!("\n{}: {problem}", entry.name));
                continue;
            }
        };
        if let Err(problem) = closed_forms::check(&entry.name, &picture) {
            problems.push_str(&format!("\n{}: {problem}; see {}", entry.name, save(&entry, "actual", &picture)));
            continue;
        }
        match compare(&entry, &picture) {
            Ok(bytes) => goldens_bytes += bytes,
            Err(problem) => problems.push_str(&format!("\n{}: {problem}", entry.name)),
        }
    }
    assert!(problems.is_empty(), "{problems}");
    assert!(
        goldens_bytes <= GOLDENS_BYTES_MAX,
        "all goldens have {goldens_bytes} bytes, the cap is {GOLDENS_BYTES_MAX}"
    );
}

#[test]
fn every_golden_and_every_closed_form_belongs_to_a_shader() {
    let names: Vec<String> = entries().into_iter().map(|entry| entry.name).collect();
    for known in closed_forms::known() {
        assert!(names.iter().any(|name| name == known), "there is no shader {known}");
    }
    for folder in std::fs::read_dir(root()).expect("there are goldens") {
        let folder = folder.expect("a readable folder").path();
        for golden in std::fs::read_dir(&folder).expect("a folder for each dialect") {
            let golden = golden.expect("a readable folder").path().with_extension("");
            let name = golden.strip_prefix(root()).expect("it is in there").to_string_lossy().into_owned();
            assert!(names.contains(&name), "there is a golden, but no shader {name}");
        }
    }
}

/// Assets by the names of their pictures.
async fn upload_pictures(server: &Server) -> HashMap<&'static str, String> {
    let mut assets = HashMap::new();
    for name in pictures::NAMES {
        let request = server.client.post(format!("{}/v1/assets", server.url)).body(pictures::file(name));
        let response = request.send().await.expect("the server answers");
        let status = response.status();
        let answer: Value = response.json().await.expect("the answer is JSON");
        let sha256 = answer["sha256"].as_str().unwrap_or_else(|| panic!("{name}: {status}: {answer}"));
        assets.insert(*name, format!("sha256:{sha256}"));
    }
    assets
}

async fn render(server: &Server, entry: &Entry, assets: &HashMap<&str, String>) -> Result<RgbImage, String> {
    let mut document = entry.document.clone();
    replace(&mut document, "picture:", &|name| assets[name].clone());
    let request = server.client.post(format!("{}/v1/jobs", server.url)).header("prefer", "wait=240");
    let request = request.header("accept", "image/png").header("content-type", "application/json");
    let response = request.body(document.to_string()).send().await.expect("the server answers");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("the answer can be read");
    if status != 200 || !body.starts_with(b"\x89PNG") {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
    }
    let picture = image::load_from_memory(&body).map_err(|error| error.to_string())?;
    Ok(picture.to_rgb8())
}

/// The golden's bytes if the picture is like it.
fn compare(entry: &Entry, picture: &RgbImage) -> Result<u64, String> {
    let file = root().join(format!("{}.png", entry.name));
    if std::env::var_os("KILN_BLESS").is_some() {
        write(&file, picture);
    }
    let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    if bytes == 0 {
        return Err(format!("{} is missing: KILN_BLESS=1 writes it", file.display()));
    }
    if bytes > GOLDEN_BYTES_MAX {
        return Err(format!("the golden has {bytes} bytes, the cap is {GOLDEN_BYTES_MAX}"));
    }
    let golden = image::open(&file).map_err(|error| error.to_string())?.to_rgb8();
    if picture.dimensions() != golden.dimensions() {
        return Err(format!("{:?} pixels, its golden has {:?}", picture.dimensions(), golden.dimensions()));
    }
    let squares: f64 = picture.iter().zip(golden.iter()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    let rmse = (squares / picture.len() as f64).sqrt();
    if rmse > RMSE_MAX {
        let saved = save(entry, "actual", picture);
        return Err(format!("it differs from its golden: RMSE {rmse:.2} of 255, at most {RMSE_MAX}; see {saved}"));
    }
    Ok(bytes)
}

/// The smallest file, since it is kept for ever.
fn write(file: &Path, picture: &RgbImage) {
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    std::fs::create_dir_all(file.parent().expect("it is in a folder")).expect("the folder can be made");
    let encoded = [FilterType::NoFilter, FilterType::Adaptive].map(|filter| {
        let mut bytes = Vec::new();
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, filter)
            .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
            .expect("a PNG in memory");
        bytes
    });
    let smallest = encoded.into_iter().min_by_key(Vec::len).expect("there are two");
    std::fs::write(file, smallest).expect("the golden can be written");
}

/// Keeps a picture for whoever looks into a failure.
fn save(entry: &Entry, what: &str, picture: &RgbImage) -> String {
    let name = format!("{}.{what}.png", entry.name.replace('/', "-"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    picture.save(&file).expect("the picture can be written");
    file.display().to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/shaders")
}
