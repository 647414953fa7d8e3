//! Materials, textures, tangents, lights and the list of what emits.

use super::builder::{Builder, load_bytes};
use super::files::assets;
use glam::{Vec2, Vec3, Vec4};
use kiln::scene::{AlphaMode, LoadOptions, PunctualLight, Scene, Wrap};
use serde_json::{Value, json};
use std::f32::consts::PI;
use std::io::Cursor;

/// A unit square in the plane z = 0 that faces +Z, with v downwards as pictures have it, and a material.
fn square(material: Value) -> Builder {
    let mut builder = Builder::new();
    let positions = builder.floats("VEC3", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    let uvs = builder.floats("VEC2", &[0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let normals = builder.floats("VEC3", &[0.0, 0.0, 1.0].repeat(4));
    let indices = builder.indices(&[0, 1, 2, 0, 2, 3]);
    builder.push("materials", material);
    builder.mesh(json!({
        "attributes": { "POSITION": positions, "TEXCOORD_0": uvs, "NORMAL": normals }, "indices": indices, "material": 0
    }));
    builder
}

/// Adds a PNG as a texture.
fn picture(builder: &mut Builder, picture: image::DynamicImage, sampler: Option<Value>) -> u32 {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let view = builder.view(&bytes.into_inner());
    let source = builder.push("images", json!({ "bufferView": view, "mimeType": "image/png" }));
    let mut texture = json!({ "source": source });
    if let Some(sampler) = sampler {
        texture["sampler"] = json!(builder.push("samplers", sampler));
    }
    builder.push("textures", texture)
}

fn rgb(width: u32, height: u32, texel: impl Fn(u32, u32) -> [u8; 3]) -> image::DynamicImage {
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb(texel(x, y))).into()
}

#[test]
fn factors_and_modes_are_read_with_their_defaults() {
    let scene = square(json!({})).load().unwrap();
    let [material, default] = &scene.materials[..] else { panic!("the file's material and the default one") };
    for material in [material, default] {
        assert_eq!(material.base_color, Vec4::ONE);
        assert_eq!((material.metallic, material.roughness, material.emission), (1.0, 1.0, Vec3::ZERO));
        assert_eq!((material.alpha_mode, material.double_sided), (AlphaMode::Opaque, false));
    }
    let scene = square(json!({
        "name": "paint", "doubleSided": true, "alphaMode": "MASK", "alphaCutoff": 0.25, "emissiveFactor": [0.5, 0.25, 0.0],
        "pbrMetallicRoughness": { "baseColorFactor": [0.1, 0.2, 0.3, 0.4], "metallicFactor": 0.6, "roughnessFactor": 0.7 },
        "extensions": { "KHR_materials_emissive_strength": { "emissiveStrength": 8.0 } }
    }))
    .load()
    .unwrap();
    let material = &scene.materials[0];
    assert_eq!(material.name, "paint");
    assert_eq!(material.base_color, Vec4::new(0.1, 0.2, 0.3, 0.4));
    assert_eq!((material.metallic, material.roughness), (0.6, 0.7));
    assert_eq!(material.emission, Vec3::new(4.0, 2.0, 0.0));
    assert_eq!((material.alpha_mode, material.double_sided), (AlphaMode::Mask { cutoff: 0.25 }, true));
}

#[test]
fn a_picture_that_is_colour_and_data_is_decoded_once_and_read_in_two_ways() {
    let mut builder = square(json!({
        "pbrMetallicRoughness": { "baseColorTexture": { "index": 0 }, "metallicRoughnessTexture": { "index": 0 } },
        "occlusionTexture": { "index": 0 }
    }));
    picture(&mut builder, rgb(2, 1, |x, _| [x as u8 * 200, 7, 9]), None);
    let scene = builder.load().unwrap();
    assert_eq!((scene.images.len(), scene.textures.len()), (1, 2));
    assert_eq!(scene.images[0].rgba8, [0, 7, 9, 255, 200, 7, 9, 255]);
    let material = &scene.materials[0];
    let texture = |reference: Option<kiln::scene::TextureRef>| scene.textures[reference.unwrap().texture as usize];
    assert!(texture(material.base_color_texture).srgb && !texture(material.metallic_roughness_texture).srgb);
    assert!(scene.report.notes[0].contains("Occlusion"), "{:?}", scene.report.notes);
    assert_eq!(scene.report.texels, 2);
}

#[test]
fn samplers_wrap_and_filter_as_the_file_says() {
    let cases = [
        (None, Wrap::Repeat, Wrap::Repeat, true),
        (Some(json!({})), Wrap::Repeat, Wrap::Repeat, true),
        (
            Some(json!({ "wrapS": 33071, "wrapT": 33648, "magFilter": 9728, "minFilter": 9987 })),
            Wrap::Clamp,
            Wrap::Mirror,
            false,
        ),
        (Some(json!({ "wrapS": 10497, "minFilter": 9728 })), Wrap::Repeat, Wrap::Repeat, false),
        (Some(json!({ "minFilter": 9986 })), Wrap::Repeat, Wrap::Repeat, false),
        (Some(json!({ "minFilter": 9985 })), Wrap::Repeat, Wrap::Repeat, true),
        (Some(json!({ "magFilter": 9729, "minFilter": 9984 })), Wrap::Repeat, Wrap::Repeat, true),
    ];
    for (sampler, wrap_u, wrap_v, linear_filter) in cases {
        let mut builder = square(json!({ "pbrMetallicRoughness": { "baseColorTexture": { "index": 0 } } }));
        picture(&mut builder, rgb(1, 1, |_, _| [1, 2, 3]), sampler);
        let texture = builder.load().unwrap().textures[0];
        assert_eq!((texture.wrap_u, texture.wrap_v, texture.linear_filter), (wrap_u, wrap_v, linear_filter));
    }
    let mut builder = square(json!({ "pbrMetallicRoughness": { "baseColorTexture": { "index": 0 } } }));
    picture(&mut builder, rgb(1, 1, |_, _| [1, 2, 3]), Some(json!({ "wrapT": 1 })));
    assert_eq!(builder.load().unwrap_err().pointer.as_deref(), Some("/samplers/0/wrapT"));
}

#[test]
fn grey_and_16_bit_pictures_become_rgba() {
    let grey16 = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, vec![0_u16, 65535]).unwrap();
    let alpha = image::ImageBuffer::<image::LumaA<u8>, _>::from_raw(1, 1, vec![9_u8, 128]).unwrap();
    for (source, expected) in [
        (image::DynamicImage::ImageLuma16(grey16), vec![0, 0, 0, 255, 255, 255, 255, 255]),
        (alpha.into(), vec![9, 9, 9, 128]),
    ] {
        let mut builder = square(json!({ "pbrMetallicRoughness": { "baseColorTexture": { "index": 0 } } }));
        picture(&mut builder, source, None);
        assert_eq!(builder.load().unwrap().images[0].rgba8, expected);
    }
}

#[test]
fn broken_and_unknown_pictures_are_refused_with_their_place_unless_nobody_uses_them() {
    for (bytes, word) in [(&b"GIF89a"[..], "PNG, JPEG or WebP"), (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "decoded")] {
        let mut builder = square(json!({ "pbrMetallicRoughness": { "baseColorTexture": { "index": 0 } } }));
        let view = builder.view(bytes);
        builder.push("images", json!({ "bufferView": view, "mimeType": "image/png" }));
        builder.push("textures", json!({ "source": 0 }));
        let error = builder.load().unwrap_err();
        assert!(error.message.contains(word) && error.pointer.as_deref() == Some("/images/0"), "{error:?}");
        builder.json["materials"] = json!([{}, { "normalTexture": { "index": 0 } }]);
        assert!(builder.load().is_ok(), "no mesh uses the second material");
    }
}

#[test]
fn texture_transforms_and_high_uv_sets_are_baked_into_the_uvs() {
    let mut builder = square(json!({
        "pbrMetallicRoughness": { "baseColorTexture": { "index": 0, "texCoord": 5, "extensions": {
            "KHR_texture_transform": { "offset": [0.5, 0.25], "scale": [2.0, 3.0], "rotation": PI / 2.0, "texCoord": 0 }
        } } },
        "emissiveFactor": [1, 1, 1], "emissiveTexture": { "index": 0, "texCoord": 3 }
    }));
    let third = builder.floats("VEC2", &[0.125, 0.5].repeat(4));
    builder.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_3"] = json!(third);
    picture(&mut builder, rgb(1, 1, |_, _| [255; 3]), None);
    let scene = builder.load().unwrap();
    let (material, mesh) = (&scene.materials[0], &scene.meshes[0]);
    assert_eq!(material.base_color_texture.unwrap().uv_set, 0);
    assert_eq!(material.emission_texture.unwrap().uv_set, 1);
    assert!(mesh.uv1.iter().all(|&uv| uv == Vec2::new(0.125, 0.5)));
    // (u, v) is scaled to (2u, 3v), turned counter-clockwise as seen with v downwards to (3v, −2u), then moved.
    for (position, uv) in mesh.positions.iter().zip(&mesh.uv0) {
        let expected = Vec2::new(3.0 * (1.0 - position.y) + 0.5, -2.0 * position.x + 0.25);
        assert!(uv.abs_diff_eq(expected, 1.0e-5), "{position} has {uv}, expected {expected}");
    }
}

#[test]
fn tangents_point_along_u_and_their_sign_makes_the_bitangent_point_up_the_picture() {
    let mut builder = square(json!({ "normalTexture": { "index": 0, "scale": 0.5 } }));
    picture(&mut builder, rgb(1, 1, |_, _| [128, 128, 255]), None);
    let scene = builder.load().unwrap();
    assert_eq!(scene.materials[0].normal_scale, 0.5);
    let mesh = &scene.meshes[0];
    assert_eq!((mesh.tangents.len(), mesh.positions.len()), (4, 4), "nothing had to be split");
    for tangent in &mesh.tangents {
        assert!(tangent.truncate().abs_diff_eq(Vec3::X, 1.0e-6), "{tangent}");
        let bitangent = tangent.w * Vec3::Z.cross(tangent.truncate());
        assert!(bitangent.abs_diff_eq(Vec3::Y, 1.0e-6), "{bitangent}");
    }
    // Mirrored UVs: u runs the other way, so does the tangent, and the bitangent still points up the picture.
    let mirrored = builder.floats("VEC2", &[1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    builder.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = json!(mirrored);
    for tangent in &builder.load().unwrap().meshes[0].tangents {
        assert!(tangent.abs_diff_eq(Vec4::new(-1.0, 0.0, 0.0, -1.0), 1.0e-6), "{tangent}");
    }
    builder.json["materials"][0] = json!({});
    assert!(builder.load().unwrap().meshes[0].tangents.is_empty(), "without a normal map nobody needs tangents");
}

#[test]
fn tangents_of_the_file_are_used_and_repaired() {
    let mut builder = square(json!({ "normalTexture": { "index": 0 } }));
    picture(&mut builder, rgb(1, 1, |_, _| [128, 128, 255]), None);
    let tangents = builder.floats(
        "VEC4",
        &[[0.0, 2.0, 0.0, -1.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [f32::NAN, 0.0, 0.0, 0.3]].concat(),
    );
    builder.json["meshes"][0]["primitives"][0]["attributes"]["TANGENT"] = json!(tangents);
    let scene = builder.load().unwrap();
    let mesh = &scene.meshes[0];
    assert!(mesh.tangents.contains(&Vec4::new(0.0, 1.0, 0.0, -1.0)));
    for tangent in &mesh.tangents {
        assert!(tangent.truncate().is_normalized() && tangent.z.abs() < 1.0e-6 && tangent.w.abs() == 1.0, "{tangent}");
    }
    assert!(scene.report.notes[0].starts_with("3 tangents"), "{:?}", scene.report.notes);
}

#[test]
fn generated_tangents_agree_with_those_of_a_sample_model() {
    let Some(assets) = assets() else { return };
    let original = std::fs::read(assets.join("models/ClearCoatTest.glb")).unwrap();
    // The same length, so that the GLB stays whole: an attribute of another name is not read.
    let mut stripped = original.clone();
    let name = b"\"TANGENT\"";
    let mut renamed = 0;
    for at in 0..stripped.len() - name.len() {
        if stripped[at..].starts_with(name) {
            stripped[at..at + name.len()].copy_from_slice(b"\"_ANGENT\"");
            renamed += 1;
        }
    }
    assert!(renamed > 0);
    let load = |bytes: &[u8]| load_bytes(bytes, &LoadOptions::default()).unwrap();
    let (theirs, ours) = (load(&original), load(&stripped));
    let (mut corners, mut agreeing) = (0, 0);
    for (theirs, ours) in theirs.meshes.iter().zip(&ours.meshes).filter(|(theirs, _)| !theirs.tangents.is_empty()) {
        assert_eq!(theirs.triangles.len(), ours.triangles.len());
        for (theirs_triangle, ours_triangle) in theirs.triangles.iter().zip(&ours.triangles) {
            for corner in 0..3 {
                let (a, b) =
                    (theirs.tangents[theirs_triangle[corner] as usize], ours.tangents[ours_triangle[corner] as usize]);
                corners += 1;
                agreeing += usize::from(a.w == b.w && a.truncate().dot(b.truncate()) > 0.95);
            }
        }
    }
    assert!(corners > 1000, "the model has {corners} corners with tangents");
    assert!(agreeing as f32 > 0.95 * corners as f32, "{agreeing} of {corners} corners agree");
}

#[test]
fn emitted_power_is_radiance_times_area_times_pi() {
    let mut builder = square(json!({
        "emissiveFactor": [1.0, 1.0, 1.0], "extensions": { "KHR_materials_emissive_strength": { "emissiveStrength": 5.0 } }
    }));
    builder.json["nodes"] = json!([{ "mesh": 0, "scale": [2, 3, 1] }, { "mesh": 0, "scale": [-1, 1, 1] }]);
    let scene = builder.load().unwrap();
    assert_eq!(scene.emissive_triangles.len(), 4);
    for triangle in &scene.emissive_triangles {
        let node = scene.instances[triangle.instance as usize].node;
        let area = if node == 0 { 3.0 } else { 0.5 };
        assert!((triangle.area - area).abs() < 1.0e-5);
        assert!((triangle.power - 5.0 * area * PI).abs() < 1.0e-3, "{triangle:?}");
        assert!(triangle.triangle < 2);
    }
    assert!(square(json!({})).load().unwrap().emissive_triangles.is_empty());
}

/// A row of squares, each over its own part of a picture that is bright in its left quarter only.
fn emissive_row(wrap: u32, uv_offset: f32) -> Scene {
    let mut builder = Builder::new();
    let (mut positions, mut uvs, mut indices) = (Vec::new(), Vec::new(), Vec::new());
    for square in 0..4_u16 {
        let (x, u) = (f32::from(square), f32::from(square) * 0.25 + uv_offset);
        for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)] {
            positions.extend([x + dx, dy, 0.0]);
            uvs.extend([u + 0.02 + dx * 0.21, 0.3 + 0.4 * dy]);
        }
        indices.extend([0, 1, 2, 0, 2, 3].map(|corner| square * 4 + corner));
    }
    let (positions, uvs, indices) =
        (builder.floats("VEC3", &positions), builder.floats("VEC2", &uvs), builder.indices(&indices));
    builder.push("materials", json!({ "emissiveFactor": [1, 1, 1], "emissiveTexture": { "index": 0 } }));
    builder
        .mesh(json!({ "attributes": { "POSITION": positions, "TEXCOORD_0": uvs }, "indices": indices, "material": 0 }));
    picture(
        &mut builder,
        rgb(1024, 64, |x, _| if x < 256 { [255; 3] } else { [0; 3] }),
        Some(json!({ "wrapS": wrap })),
    );
    builder.load().unwrap()
}

/// Which squares of the row emit, from the left.
fn lit(scene: &Scene) -> Vec<u32> {
    let mut lit: Vec<u32> = scene
        .emissive_triangles
        .iter()
        .map(|triangle| {
            let mesh = &scene.meshes[0];
            let corners = mesh.triangles[triangle.triangle as usize];
            assert!((triangle.power - 0.5 * PI).abs() < 0.05, "{triangle:?}");
            corners.iter().map(|&vertex| mesh.positions[vertex as usize].x).sum::<f32>() as u32 / 3
        })
        .collect();
    lit.sort_unstable();
    lit.dedup();
    lit
}

#[test]
fn triangles_over_black_parts_of_an_emission_map_are_no_lights() {
    assert_eq!(lit(&emissive_row(10497, 0.0)), [0]);
    assert_eq!(lit(&emissive_row(10497, 3.25)), [3]);
    assert_eq!(lit(&emissive_row(33071, -1.0)), [0, 1, 2, 3]);
    assert!(lit(&emissive_row(33071, 1.0)).is_empty());
    // Mirrored, the bright quarter of the second repetition is its right one.
    assert_eq!(lit(&emissive_row(33648, 1.0)), [3]);
}

#[test]
fn punctual_lights_stand_and_shine_as_their_nodes_do() {
    let mut builder = Builder::new();
    builder.json["extensions"] = json!({ "KHR_lights_punctual": { "lights": [
        { "type": "point", "color": [1, 0.5, 0.25], "intensity": 8, "range": 20 },
        { "type": "directional", "intensity": 3 },
        { "type": "spot", "spot": { "innerConeAngle": 0.1, "outerConeAngle": 0.2 } },
        { "type": "point", "intensity": 0 }
    ] } });
    let half = 0.5_f32.sqrt();
    let light = |light: u32| json!({ "KHR_lights_punctual": { "light": light } });
    builder.json["nodes"] = json!([
        { "translation": [1, 2, 3], "extensions": light(0) },
        // Turned by −90° around x: shines down. Its scale does not count.
        { "rotation": [-half, 0, 0, half], "scale": [4, 4, 4], "extensions": light(1) },
        { "extensions": light(2) },
        { "extensions": light(3) }
    ]);
    let scene = builder.load().unwrap();
    let [point, directional, spot] = &scene.lights[..] else {
        panic!("a light without intensity is none: {:?}", scene.lights)
    };
    assert!(matches!(point, PunctualLight::Point { position_world, intensity, range }
        if *position_world == Vec3::new(1.0, 2.0, 3.0) && *intensity == Vec3::new(8.0, 4.0, 2.0) && *range == 20.0));
    assert!(matches!(directional, PunctualLight::Directional { direction_world, irradiance }
        if direction_world.abs_diff_eq(Vec3::NEG_Y, 1.0e-6) && *irradiance == Vec3::splat(3.0)));
    assert!(matches!(spot, PunctualLight::Spot { direction_world, inner_cone, outer_cone, range, .. }
        if *direction_world == Vec3::NEG_Z && *inner_cone == 0.1 && *outer_cone == 0.2 && *range == 0.0));
    builder.json["extensions"]["KHR_lights_punctual"]["lights"][2]["spot"]["innerConeAngle"] = json!(0.3);
    assert_eq!(builder.load().unwrap_err().pointer.as_deref(), Some("/extensions/KHR_lights_punctual/lights/2"));
}
