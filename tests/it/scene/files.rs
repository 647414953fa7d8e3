//! Every file of the shared test data ends in a scene or in a typed error, never in a panic.

use kiln::scene::{LoadOptions, Scene, SceneError, SceneErrorKind, load, pack};
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

/// Loads a file with the files that it names, packed as the command line does it.
pub fn load_packed(path: &Path) -> Result<Scene, SceneError> {
    // A document that cannot be read for packing is sent as it is, and refused by the loader.
    if !pack::needs_packing(path).unwrap_or(false) {
        return load(path, &LoadOptions::default());
    }
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("scene.zip");
    pack::pack_gltf(path, std::fs::File::create(&packed).unwrap())?;
    load(&packed, &LoadOptions::default())
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
                assert_ne!(error.kind, SceneErrorKind::Io, "{name}: {error}");
                refused += 1;
                println!("refused {name}: {error} @ {:?}", error.pointer);
            }
            Err(_) => panicked.push(name),
        }
    }
    println!("{loaded} loaded, {refused} refused, {} panicked", panicked.len());
    assert!(panicked.is_empty(), "these files panicked: {panicked:?}");
}

#[test]
fn models_that_need_only_the_core_load() {
    let Some(assets) = assets() else { return };
    let mut files = scenes_below(&assets.join("models"));
    files.extend(scenes_below(&assets.join("asset-generator")));
    files.extend(scenes_below(&assets.join("small")));
    assert!(files.len() > 45, "only {} files found", files.len());
    for path in &files {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let result = load_packed(path);
        // Those that bring their geometry compressed only are refused by the name of the codec.
        let reason = match name.as_str() {
            "chess-board.glb" | "DenseSphere.glb" => Some("KHR_draco_mesh_compression"),
            // The test data has this one without its buffer.
            "BoxDraco.gltf" => Some("0.bin"),
            "BoxMeshopt.glb" => Some("EXT_meshopt_compression"),
            _ => None,
        };
        if let Some(reason) = reason {
            let error = result.expect_err(&name);
            assert!(error.message.contains(reason), "{name}: {error}");
            continue;
        }
        let scene = result.unwrap_or_else(|error| panic!("{name}: {error} at {:?}", error.pointer));
        let report = &scene.report;
        println!(
            "{name}: {} triangles, {} meshes, {} instances, {} texels, {} emissive, ignored {:?}, notes {:?}",
            report.triangles,
            scene.meshes.len(),
            report.instances,
            report.texels,
            scene.emissive_triangles.len(),
            report.extensions_ignored,
            report.notes
        );
        // Mode 0 to 3 of the asset generator are points and lines.
        let without_area = name.starts_with("Mesh_PrimitiveMode_")
            && ["00", "01", "02", "03", "07", "08", "09", "10"]
                .iter()
                .any(|number| name.contains(&format!("_{number}.")));
        assert_eq!(report.triangles == 0, without_area, "{name} has {} triangles", report.triangles);
        assert_eq!(scene.bounds.is_empty(), without_area, "{name}");
    }
}
