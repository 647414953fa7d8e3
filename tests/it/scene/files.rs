//! Every file of the shared test data ends in a scene or in a typed error, never in a panic.

use kiln::scene::{LoadOptions, Scene, SceneError, load};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The shared test data, or `None` (said loudly) where it is missing.
pub fn assets() -> Option<PathBuf> {
    let path = std::env::var_os("KILN_ASSETS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: the test assets are missing; set KILN_ASSETS to their folder");
    None
}

/// Every .gltf and .glb below `folder`, sorted.
pub fn scenes_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "gltf" || extension == "glb") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Loads a file with the files that it names, packed as an upload would be.
pub fn load_packed(path: &Path) -> Result<Scene, SceneError> {
    load(path, &LoadOptions::default())
}

#[test]
fn every_validator_file_loads_or_fails_with_a_typed_error() {
    let Some(assets) = assets() else { return };
    let files = scenes_below(&assets.join("validator"));
    assert!(files.len() > 150, "only {} files found", files.len());
    let (mut loaded, mut refused, mut panicked) = (0, 0, Vec::new());
    for path in &files {
        let name = path.strip_prefix(&assets).expect("below the assets").display().to_string();
        match catch_unwind(AssertUnwindSafe(|| load_packed(path))) {
            Ok(Ok(scene)) => {
                loaded += 1;
                println!("ok      {name}: {} triangles", scene.report.triangles);
            }
            Ok(Err(error)) => {
                refused += 1;
                println!("refused {name}: {error} @ {:?}", error.pointer);
            }
            Err(_) => panicked.push(name),
        }
    }
    println!("{loaded} loaded, {refused} refused, {} panicked", panicked.len());
    assert!(panicked.is_empty(), "these files panicked: {panicked:?}");
}
