//! Broken and hostile files: each a typed error with its place, never a panic, never memory without bounds.

use super::builder::{Builder, glb, load_bytes, zip};
use kiln::job::FailureReason;
use kiln::limits;
use kiln::scene::{LoadOptions, Scene, SceneError, SceneErrorKind, load, pack};
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

fn read(bytes: &[u8]) -> Result<Scene, SceneError> {
    load_bytes(bytes, &LoadOptions::default())
}

/// The error of a file that must be refused as `Invalid`, with its pointer.
fn refused(result: Result<Scene, SceneError>) -> (String, Option<String>) {
    let error = result.expect_err("the file is broken");
    assert_eq!(error.kind, SceneErrorKind::Invalid, "{error}");
    assert!(error.message.len() > 20 && error.message.ends_with('.'), "not a sentence: {error}");
    (error.message, error.pointer)
}

#[test]
fn what_is_not_a_scene_is_named_as_such() {
    for bytes in [
        &b""[..],
        b" \n",
        b"%PDF-1.4",
        b"\x89PNG\r\n\x1a\n",
        b"[]",
        b"PK\x03\x04 but no archive",
        b"glTF",
        b"{",
        b"{}",
        b"{\"asset\":1}",
    ] {
        refused(read(bytes));
    }
    assert!(refused(read(b"hello")).0.contains("68 65 6c 6c"));
    assert!(refused(read(br#"{"asset":{"version":"1.0"}}"#)).0.contains("glTF 1.0"));
}

#[test]
fn a_glb_cut_anywhere_is_refused() {
    let file = Builder::triangle().glb();
    assert!(read(&file).is_ok());
    for length in 0..file.len() {
        refused(read(&file[..length]));
    }
}

#[test]
fn a_file_that_is_not_there_is_the_machines_fault() {
    let error = load(Path::new("/nowhere/at/all"), &LoadOptions::default()).unwrap_err();
    assert_eq!((error.kind, error.failure().reason), (SceneErrorKind::Io, FailureReason::Internal));
}

#[test]
fn failures_carry_the_reason_the_stage_and_the_place() {
    let mut builder = Builder::triangle();
    builder.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = json!(9);
    let failure = builder.load().unwrap_err().failure();
    assert_eq!(failure.reason, FailureReason::InvalidScene);
    assert_eq!(failure.details[0].stage, "validate");
    assert_eq!(failure.details[0].pointer.as_deref(), Some("/meshes/0/primitives/0/attributes/POSITION"));
    assert!(failure.message.contains("index 9 is out of range"), "{}", failure.message);
}

#[test]
fn accessors_that_leave_their_bytes_are_refused() {
    let cases = [
        ("/accessors/0/count", json!(4)),
        ("/accessors/0/byteOffset", json!(4)),
        ("/accessors/0/byteOffset", json!(u64::MAX)),
        ("/accessors/0/bufferView", json!(7)),
        ("/accessors/0/componentType", json!(5124)),
        ("/accessors/0/type", json!("VEC9")),
        ("/accessors/0/type", json!("VEC4")),
        ("/bufferViews/0/byteLength", json!(1000)),
        ("/bufferViews/0/byteOffset", json!(1)),
        ("/bufferViews/0/byteOffset", json!(u64::MAX)),
        ("/bufferViews/0/buffer", json!(1)),
        ("/bufferViews/0/byteStride", json!(8)),
        ("/bufferViews/0/byteStride", json!(16)),
        ("/bufferViews/0/byteStride", json!(u64::MAX)),
    ];
    for (pointer, value) in cases {
        let mut builder = Builder::triangle();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        builder.json.pointer_mut(parent).unwrap()[member] = value.clone();
        let (message, place) = refused(builder.load());
        let place = place.unwrap_or_else(|| panic!("{pointer} = {value} has no place: {message}"));
        assert!(
            place.starts_with("/accessors/0") || place.starts_with("/bufferViews/0"),
            "{pointer} = {value}: {message} at {place}"
        );
    }
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    // Zeros need no bytes, so only the bound stands between a file of 500 bytes and 48 gigabytes.
    let mut builder = Builder::triangle();
    builder.json["accessors"][0] = json!({ "componentType": 5126, "count": 4_000_000_000_u64, "type": "VEC3" });
    let error = builder.load().unwrap_err();
    assert_eq!(error.kind, SceneErrorKind::Limit);
    assert_eq!(error.failure().reason, FailureReason::LimitExceeded);

    let mut builder = Builder::triangle();
    builder.json["accessors"][0] =
        json!({ "componentType": 5126, "count": limits::ACCESSOR_ZEROS_MAX + 1, "type": "VEC3" });
    assert_eq!(builder.load().unwrap_err().pointer.as_deref(), Some("/accessors/0"));

    // Many meshes over the same vertices.
    let mut builder = Builder::triangle();
    builder.json["accessors"][0] =
        json!({ "componentType": 5126, "count": limits::ACCESSOR_ZEROS_MAX, "type": "VEC3" });
    let primitive = builder.json["meshes"][0]["primitives"][0].clone();
    builder.json["meshes"][0]["primitives"] = json!(vec![primitive; 40]);
    let error = builder.load().unwrap_err();
    assert!(error.message.contains(&limits::TRIANGLES_MAX.to_string()), "{error}");
}

#[test]
fn a_picture_of_absurd_size_is_refused_before_it_is_decoded() {
    // A PNG header of 100,000 × 100,000 texels; the length of its data does not matter.
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&100_000_u32.to_be_bytes());
    png.extend_from_slice(&100_000_u32.to_be_bytes());
    png.extend_from_slice(&[8, 6, 0, 0, 0]);
    let crc = png[12..].iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 })
    });
    png.extend_from_slice(&(!crc).to_be_bytes());
    png.extend_from_slice(b"\0\0\0\0IDAT\0\0\0\0");
    let mut builder = Builder::triangle();
    let view = builder.view(&png);
    builder.push("images", json!({ "bufferView": view }));
    builder.push("textures", json!({ "source": 0 }));
    builder.push("materials", json!({ "pbrMetallicRoughness": { "baseColorTexture": { "index": 0 } } }));
    builder.json["meshes"][0]["primitives"][0]["material"] = json!(0);
    let error = builder.load().unwrap_err();
    assert_eq!((error.kind, error.pointer.as_deref()), (SceneErrorKind::Limit, Some("/images/0")), "{error}");
}

#[test]
fn nodes_that_form_no_forest_are_refused() {
    let nodes = |nodes| {
        let mut builder = Builder::triangle();
        builder.json["nodes"] = nodes;
        refused(builder.load())
    };
    assert!(nodes(json!([{ "children": [1] }, { "children": [2] }, { "children": [1] }])).0.contains("one parent"));
    assert!(nodes(json!([{ "children": [0] }])).0.contains("cycle"));
    let (message, place) = nodes(json!([{ "mesh": 0 }, { "children": [2] }, { "children": [3] }, { "children": [1] }]));
    assert!(message.contains("cycle") && place.as_deref() == Some("/nodes/1/children"), "{message}");
    assert!(nodes(json!([{ "children": [1, 1] }, {}])).0.contains("one parent"));
    assert_eq!(nodes(json!([{ "children": [0, 5] }])).1.as_deref(), Some("/nodes/0/children/1"));
}

#[test]
fn positions_that_are_no_numbers_are_refused_with_their_accessor() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut builder = Builder::triangle();
        builder.bin[16..20].copy_from_slice(&value.to_le_bytes());
        let (message, place) = refused(builder.load());
        assert!(message.contains("vertex 1") && place.as_deref() == Some("/accessors/0"), "{message} at {place:?}");
    }
    let mut builder = Builder::triangle();
    builder.bin[16..20].copy_from_slice(&3.0e20_f32.to_le_bytes());
    assert_eq!(builder.load().unwrap_err().kind, SceneErrorKind::Limit);
    let mut builder = Builder::triangle();
    builder.json["nodes"][0]["scale"] = json!([1.0e20, 1.0e20, 1.0e20]);
    let error = builder.load().unwrap_err();
    assert_eq!((error.kind, error.pointer.as_deref()), (SceneErrorKind::Limit, Some("/nodes/0")));
}

#[test]
fn attributes_of_unequal_length_are_refused() {
    let mut builder = Builder::triangle();
    let normals = builder.floats("VEC3", &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    builder.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"] = json!(normals);
    assert!(refused(builder.load()).0.contains("2 elements"));
}

#[test]
fn unknown_extensions_are_refused_where_required_and_told_where_used() {
    let mut builder = Builder::triangle();
    builder.json["extensionsUsed"] = json!(["KHR_lights_punctual", "ACME_shiny"]);
    let scene = builder.load().unwrap();
    assert_eq!(scene.report.extensions_ignored, ["ACME_shiny"]);
    assert_eq!(scene.report.extensions_used, ["KHR_lights_punctual"]);
    builder.json["extensionsRequired"] = json!(["KHR_lights_punctual", "ACME_shiny"]);
    let (message, place) = refused(builder.load());
    assert!(message.contains("ACME_shiny") && place.as_deref() == Some("/extensionsRequired/1"));
}

#[test]
fn deep_json_is_refused_or_passed_over_and_never_overflows_the_stack() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let extras = format!(r#"{{"asset":{{"version":"2.0"}},"extras":{}}}"#, deep(200_000));
    assert!(read(extras.as_bytes()).is_ok());
    refused(read(format!(r#"{{"asset":{{"version":"2.0"}},"nodes":{}}}"#, deep(200_000)).as_bytes()));
    refused(read("{\"a\":".repeat(100_000).as_bytes()));
}

/// The triangle as .gltf text whose buffer has this URI.
fn gltf(uri: &str) -> (Vec<u8>, Vec<u8>) {
    let builder = Builder::triangle();
    let mut json = builder.json.clone();
    json["buffers"] = json!([{ "byteLength": builder.bin.len(), "uri": uri }]);
    (serde_json::to_vec(&json).unwrap(), builder.bin)
}

#[test]
fn data_uris_are_decoded_with_and_without_padding() {
    use base64::Engine;
    let bin = gltf("").1;
    let padded = base64::engine::general_purpose::STANDARD.encode(&bin);
    for uri in [
        format!("data:application/octet-stream;base64,{padded}"),
        format!("data:;base64,{}", padded.trim_end_matches('=')),
        format!("DATA:application/gltf-buffer;BASE64,{}", padded.replace('=', "%3D")),
    ] {
        assert_eq!(read(&gltf(&uri).0).unwrap().report.triangles, 1, "{uri}");
    }
    for uri in ["data:;base64,!!!!", "data:nothing", "data:,short"] {
        let place = refused(read(&gltf(uri).0)).1.unwrap();
        assert!(place.starts_with("/buffers/0"), "{place}");
    }
}

#[test]
fn a_single_gltf_cannot_reach_for_files() {
    for uri in ["triangle.bin", "../secret", "/etc/passwd", "file:///etc/passwd", "http://example.org/x.bin"] {
        let (message, place) = refused(read(&gltf(uri).0));
        assert!(message.contains("ZIP") && place.as_deref() == Some("/buffers/0/uri"), "{message}");
    }
}

#[test]
fn archives_hold_one_scene_with_its_files() {
    let (document, bin) = gltf("my%20files/%C3%BCber.bin");
    let archive = |name: &str, data: &str| zip(&[(name, &document), (data, &bin), ("readme.txt", b"hello")]);
    assert_eq!(read(&archive("scene.gltf", "my files/über.bin")).unwrap().report.triangles, 1);
    assert_eq!(read(&archive("deep/down/scene.gltf", "deep/down/my files/über.bin")).unwrap().report.triangles, 1);
    let glb = Builder::triangle().glb();
    assert_eq!(read(&zip(&[("a/b.GLB", &glb)])).unwrap().report.triangles, 1);
    assert_eq!(read(&zip(&[("a.glb", &glb), ("__MACOSX/._a.glb", b"resource fork")])).unwrap().report.triangles, 1);

    assert!(refused(read(&archive("scene.gltf", "elsewhere.bin"))).0.contains("not in the ZIP"));
    assert!(refused(read(&zip(&[("a.glb", &glb), ("b.glb", &glb)]))).0.contains("2 glTF files"));
    assert!(refused(read(&zip(&[("readme.txt", b"hello")]))).0.contains("no .gltf"));
    let cut = archive("scene.gltf", "my files/über.bin");
    refused(read(&cut[..cut.len() / 2]));
}

#[test]
fn uris_of_an_archive_do_not_leave_it() {
    for uri in [
        "../outside.bin",
        "a/../../outside.bin",
        "%2e%2e/outside.bin",
        "..\\outside.bin",
        "/outside.bin",
        "c:outside.bin",
        "file:///outside.bin",
    ] {
        let (document, bin) = gltf(uri);
        let (message, _) = refused(read(&zip(&[("scene.gltf", &document), ("outside.bin", &bin)])));
        assert!(message.contains("leaves") || message.contains("not relative"), "{uri}: {message}");
    }
    // Within the archive, a step up is fine.
    let (document, bin) = gltf("../data/./triangle.bin");
    assert_eq!(read(&zip(&[("scenes/a.gltf", &document), ("data/triangle.bin", &bin)])).unwrap().report.triangles, 1);
}

#[test]
fn an_archive_of_too_many_files_is_refused() {
    let names: Vec<String> = (0..=limits::ZIP_ENTRIES_MAX).map(|index| format!("{index}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(read(&zip(&files)).unwrap_err().kind, SceneErrorKind::Limit);
}

#[test]
fn a_gltf_is_packed_with_its_files_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (document, bin) = gltf("sub%20folder/data.bin");
    let path = folder.path().join("a scene.gltf");
    std::fs::create_dir(folder.path().join("sub folder")).unwrap();
    std::fs::write(&path, &document).unwrap();
    std::fs::write(folder.path().join("sub folder/data.bin"), &bin).unwrap();
    std::fs::write(folder.path().join("diary.txt"), b"private").unwrap();
    assert!(pack::needs_packing(&path).unwrap());
    let packed = folder.path().join("packed.zip");
    pack::pack_gltf(&path, std::fs::File::create(&packed).unwrap()).unwrap();
    assert_eq!(load(&packed, &LoadOptions::default()).unwrap().report.triangles, 1);
    let archive = zip::ZipArchive::new(std::fs::File::open(&packed).unwrap()).unwrap();
    assert_eq!(archive.len(), 2);

    let pack = |uri: &str| {
        std::fs::write(&path, gltf(uri).0).unwrap();
        pack::pack_gltf(&path, std::io::Cursor::new(Vec::new()))
    };
    for uri in ["../outside.bin", "/etc/passwd", "absent.bin"] {
        let error = pack(uri).unwrap_err();
        assert_eq!(
            (error.kind, error.pointer.as_deref()),
            (SceneErrorKind::Invalid, Some("/buffers/0/uri")),
            "{error}"
        );
    }
    std::fs::write(&path, gltf("data:,x").0).unwrap();
    assert!(!pack::needs_packing(&path).unwrap());
    std::fs::write(&path, Builder::triangle().glb()).unwrap();
    assert!(!pack::needs_packing(&path).unwrap());
}

/// A small file with a bit of everything.
fn everything() -> Vec<u8> {
    let mut builder = Builder::triangle();
    let uvs = builder.floats("VEC2", &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let normals = builder.floats("VEC3", &[0.0, 0.0, 1.0].repeat(3));
    let joints = builder.accessor("VEC4", 5121, 3, &[0; 12]);
    let weights = builder.floats("VEC4", &[1.0, 0.0, 0.0, 0.0].repeat(3));
    let matrices =
        builder.floats("MAT4", &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let indices = builder.indices(&[0, 1, 2]);
    let input = builder.floats("SCALAR", &[0.0, 1.0]);
    let output = builder.floats("VEC3", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(4, 4, image::Rgb([200, 100, 50])).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let view = builder.view(&png.into_inner());
    builder.json["images"] = json!([{ "bufferView": view, "mimeType": "image/png" }]);
    builder.json["textures"] = json!([{ "source": 0, "sampler": 0 }]);
    builder.json["samplers"] = json!([{ "wrapS": 33071 }]);
    builder.json["materials"] =
        json!([{ "normalTexture": { "index": 0 }, "emissiveFactor": [1, 1, 1], "emissiveTexture": { "index": 0 } }]);
    builder.json["meshes"][0]["primitives"][0] = json!({
        "attributes": { "POSITION": 0, "NORMAL": normals, "TEXCOORD_0": uvs, "JOINTS_0": joints, "WEIGHTS_0": weights },
        "indices": indices, "material": 0, "targets": [{ "POSITION": 0 }]
    });
    builder.json["meshes"][0]["weights"] = json!([0.5]);
    builder.json["nodes"] =
        json!([{ "mesh": 0, "skin": 0, "children": [1] }, { "translation": [1, 2, 3] }, { "mesh": 0, "camera": 0 }]);
    builder.json["skins"] = json!([{ "joints": [1], "inverseBindMatrices": matrices }]);
    builder.json["cameras"] = json!([{ "type": "perspective", "perspective": { "yfov": 1.0, "znear": 0.1 } }]);
    builder.json["animations"] = json!([{
        "channels": [{ "sampler": 0, "target": { "node": 1, "path": "translation" } }],
        "samplers": [{ "input": input, "output": output }]
    }]);
    builder.glb()
}

/// What every scene promises to the renderer.
fn check(scene: &Scene) {
    for mesh in &scene.meshes {
        let count = mesh.positions.len();
        assert!(mesh.triangles.iter().flatten().all(|&vertex| (vertex as usize) < count));
        assert!(mesh.positions.iter().all(|position| position.is_finite()));
        assert!(
            mesh.normals.len() == count && mesh.normals.iter().all(|normal| (normal.length() - 1.0).abs() < 1.0e-3)
        );
        assert!(mesh.tangents.is_empty() || mesh.tangents.len() == count);
        assert!(mesh.tangents.iter().all(|tangent| tangent.is_finite() && tangent.w.abs() == 1.0));
        for uvs in [&mesh.uv0, &mesh.uv1] {
            assert!((uvs.is_empty() || uvs.len() == count) && uvs.iter().all(|uv| uv.is_finite()));
        }
        assert!(mesh.colors.is_empty() || mesh.colors.len() == count);
        assert!(!mesh.bvh.is_empty() && (mesh.material as usize) < scene.materials.len());
    }
    for instance in &scene.instances {
        assert!((instance.mesh as usize) < scene.meshes.len() && instance.world_from_object.inverse().is_finite());
    }
    for texture in &scene.textures {
        assert!((texture.image as usize) < scene.images.len());
    }
    for image in &scene.images {
        assert_eq!(image.rgba8.len(), image.width as usize * image.height as usize * 4);
    }
    for triangle in &scene.emissive_triangles {
        let mesh = &scene.meshes[scene.instances[triangle.instance as usize].mesh as usize];
        assert!(
            (triangle.triangle as usize) < mesh.triangles.len() && triangle.power > 0.0 && triangle.power.is_finite()
        );
    }
}

#[test]
fn the_file_that_is_mutated_is_whole_to_begin_with() {
    let scene = read(&everything()).unwrap();
    check(&scene);
    assert_eq!((scene.meshes.len(), scene.instances.len(), scene.cameras.len()), (2, 2, 1));
    assert_eq!(scene.emissive_triangles.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes changed anywhere: a scene that keeps its promises, or a typed error.
    #[test]
    fn mutated_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut file = everything();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        let options = LoadOptions { animation: Some(kiln::job::spec::AnimationSpec { clip: None, time_s: 0.3 }) };
        for options in [LoadOptions::default(), options] {
            if let Ok(scene) = load_bytes(&file, &options) {
                check(&scene);
            }
        }
    }

    /// Digits changed in the JSON only, where they are indices, counts, offsets and codes.
    #[test]
    fn mutated_numbers_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0123456789-.e".to_vec())), 1..4)) {
        let file = everything();
        let length = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
        let (mut json, bin) = (file[20..20 + length].to_vec(), &file[28 + length..]);
        let digits: Vec<usize> = (0..json.len()).filter(|&at| json[at].is_ascii_digit()).collect();
        for (at, value) in changes {
            json[digits[at.index(digits.len())]] = value;
        }
        if let Ok(scene) = load_bytes(&glb(&json, bin), &LoadOptions::default()) {
            check(&scene);
        }
    }
}
