//! Accessors, topology, nodes, morph targets and skins, with exact values.

use super::builder::{Builder, corners};
use glam::{Vec3, Vec4};
use kiln::scene::SceneErrorKind;
use serde_json::json;

const A: [f32; 3] = [0.0, 0.0, 0.0];
const B: [f32; 3] = [1.0, 0.0, 0.0];
const C: [f32; 3] = [0.0, 1.0, 0.0];
const D: [f32; 3] = [1.0, 1.0, 0.0];
const E: [f32; 3] = [0.0, 2.0, 0.0];

/// The five points with a mode and, where given, indices.
fn shape(mode: u32, indices: Option<&[u16]>) -> Builder {
    let mut builder = Builder::new();
    let positions = builder.floats("VEC3", &[A, B, C, D, E].concat());
    let mut primitive = json!({ "attributes": { "POSITION": positions }, "mode": mode });
    if let Some(indices) = indices {
        primitive["indices"] = json!(builder.indices(indices));
    }
    builder.mesh(primitive);
    builder
}

#[test]
fn strips_keep_their_winding() {
    let scene = shape(5, None).load().unwrap();
    assert_eq!(corners(&scene, 0), vec![[A, B, C], [C, B, D], [C, D, E]]);
}

#[test]
fn strips_begin_anew_at_a_repeated_vertex() {
    let scene = shape(5, Some(&[0, 1, 2, 2, 3, 3, 4, 2])).load().unwrap();
    // (3, 4, 2) is the sixth triangle of the strip, hence turned around once.
    assert_eq!(corners(&scene, 0), vec![[A, B, C], [C, E, D]]);
    assert!(scene.report.notes.is_empty(), "{:?}", scene.report.notes);
}

#[test]
fn fans_turn_around_their_first_vertex() {
    let scene = shape(6, Some(&[0, 1, 3, 4])).load().unwrap();
    assert_eq!(corners(&scene, 0), vec![[A, B, D], [A, D, E]]);
}

#[test]
fn lists_ignore_what_is_left_over_and_drop_what_has_no_area() {
    let scene = shape(4, Some(&[0, 1, 2, 0, 2, 4, 1, 1, 3, 2, 3])).load().unwrap();
    assert_eq!(corners(&scene, 0), vec![[A, B, C]]);
    let notes = scene.report.notes.join("\n");
    assert!(notes.contains("2 vertices at the end") && notes.contains("2 triangles without area"), "{notes}");
}

#[test]
fn points_and_lines_are_skipped_and_told() {
    for mode in 0..4 {
        let scene = shape(mode, None).load().unwrap();
        assert!(scene.meshes.is_empty() && scene.instances.is_empty());
        assert!(scene.report.notes[0].contains("points or lines"), "{:?}", scene.report.notes);
    }
    let error = shape(7, None).load().unwrap_err();
    assert_eq!(error.pointer.as_deref(), Some("/meshes/0/primitives/0/mode"));
}

#[test]
fn indices_of_every_width_mean_the_same() {
    for (component, bytes) in
        [(5121, vec![0, 1, 2]), (5123, vec![0, 0, 1, 0, 2, 0]), (5125, vec![0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])]
    {
        let mut builder = shape(4, None);
        let indices = builder.accessor("SCALAR", component, 3, &bytes);
        builder.json["meshes"][0]["primitives"][0]["indices"] = json!(indices);
        assert_eq!(corners(&builder.load().unwrap(), 0), vec![[A, B, C]]);
    }
}

#[test]
fn primitive_restart_and_indices_out_of_range_are_refused() {
    for (indices, word) in [([0, 1, u16::MAX], "restart"), ([0, 1, 5], "5 vertices")] {
        let error = shape(4, Some(&indices)).load().unwrap_err();
        assert_eq!(error.kind, SceneErrorKind::Invalid);
        assert!(error.message.contains(word), "{error}");
        assert_eq!(error.pointer.as_deref(), Some("/accessors/1"));
    }
}

#[test]
fn interleaved_attributes_with_offsets_are_taken_apart() {
    let mut builder = Builder::new();
    let mut bytes = vec![0xAA; 8];
    for position in [A, B, C] {
        // A position, a normal that is not a unit vector, and a colour of 3 bytes with one of padding.
        for value in position.iter().chain(&[0.0, 0.0, 4.0]) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&[255, 0, 51, 0xAA]);
    }
    let view = builder.view(&bytes);
    builder.json["bufferViews"][view as usize]["byteStride"] = json!(28);
    let mut accessor = |offset: u32, component: u32, normalized: bool| {
        builder.push(
            "accessors",
            json!({ "bufferView": view, "byteOffset": offset, "componentType": component, "count": 3, "type": "VEC3", "normalized": normalized }),
        )
    };
    let (position, normal, color) = (accessor(8, 5126, false), accessor(20, 5126, false), accessor(32, 5121, true));
    builder.mesh(json!({ "attributes": { "POSITION": position, "NORMAL": normal, "COLOR_0": color } }));
    let scene = builder.load().unwrap();
    assert_eq!(corners(&scene, 0), vec![[A, B, C]]);
    assert!(scene.meshes[0].normals.iter().all(|&normal| normal == Vec3::Z));
    assert!(scene.meshes[0].colors.iter().all(|&color| color == Vec4::new(1.0, 0.0, 0.2, 1.0)));
}

#[test]
fn quantised_positions_are_normalised_as_the_specification_says() {
    let mut builder = Builder::new();
    let values: [i8; 12] = [-128, -127, 0, 0, 127, 0, 0, 0, 0, 127, 64, 0];
    let bytes: Vec<u8> = values.iter().map(|&value| value as u8).collect();
    let positions = builder.accessor("VEC3", 5120, 3, &bytes);
    builder.json["accessors"][0]["normalized"] = json!(true);
    builder.json["bufferViews"][0]["byteStride"] = json!(4);
    builder.json["extensionsRequired"] = json!(["KHR_mesh_quantization"]);
    builder.json["extensionsUsed"] = json!(["KHR_mesh_quantization"]);
    builder.mesh(json!({ "attributes": { "POSITION": positions } }));
    let scene = builder.load().unwrap();
    assert_eq!(corners(&scene, 0), vec![[[-1.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 64.0 / 127.0]]]);
    assert_eq!(scene.report.extensions_used, ["KHR_mesh_quantization"]);
}

#[test]
fn sparse_accessors_replace_elements_with_and_without_a_base() {
    for base in [true, false] {
        let mut builder = Builder::new();
        let indices = builder.view(&[1, 0, 2, 0]);
        let values = builder.view(
            &[[3.0_f32, 0.0, 0.0], [0.0, 5.0, 0.0]].concat().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(),
        );
        let mut accessor = json!({
            "componentType": 5126, "count": 3, "type": "VEC3",
            "sparse": { "count": 2, "indices": { "bufferView": indices, "componentType": 5123 }, "values": { "bufferView": values } }
        });
        if base {
            let dense: Vec<u8> = [[0.0_f32, 0.0, 1.0], A, A].concat().iter().flat_map(|v| v.to_le_bytes()).collect();
            accessor["bufferView"] = json!(builder.view(&dense));
        }
        let positions = builder.push("accessors", accessor);
        builder.mesh(json!({ "attributes": { "POSITION": positions } }));
        let first = if base { [0.0, 0.0, 1.0] } else { A };
        let scene = builder.load().unwrap();
        let mut expected = vec![Vec3::from_array(first), Vec3::X * 3.0, Vec3::Y * 5.0];
        let mut found = scene.meshes[0].positions.clone();
        expected.sort_by(|a, b| a.to_array().partial_cmp(&b.to_array()).unwrap());
        found.sort_by(|a, b| a.to_array().partial_cmp(&b.to_array()).unwrap());
        assert_eq!(found, expected);
    }
}

#[test]
fn normals_are_flat_where_the_file_has_none_and_repaired_where_it_errs() {
    let scene = shape(5, None).load().unwrap();
    assert_eq!(scene.meshes[0].positions.len(), 9, "flat triangles share no vertices");
    assert!(scene.meshes[0].normals.iter().all(|&normal| normal == Vec3::Z));

    let mut builder = shape(5, None);
    let normals = builder.floats(
        "VEC3",
        &[[0.0, 0.0, 9.0], [f32::NAN, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 3.0, 4.0], [0.0, 0.0, 1.0e-30]].concat(),
    );
    builder.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"] = json!(normals);
    let scene = builder.load().unwrap();
    assert_eq!(scene.meshes[0].positions.len(), 5);
    assert!(scene.meshes[0].normals.contains(&Vec3::new(0.0, 0.6, 0.8)));
    assert_eq!(scene.meshes[0].normals.iter().filter(|&&normal| normal == Vec3::Z).count(), 4);
    assert!(scene.report.notes[0].starts_with("2 normals"), "{:?}", scene.report.notes);
}

#[test]
fn transforms_compose_along_the_hierarchy() {
    let mut builder = Builder::triangle();
    builder.json["nodes"] = json!([
        { "children": [1], "translation": [10.0, 0.0, 0.0], "scale": [2.0, 2.0, 2.0] },
        { "children": [2], "rotation": [0.0, 0.0, 0.5_f32.sqrt(), 0.5_f32.sqrt()] },
        // Column-major: scales x by 3 and moves along y.
        { "mesh": 0, "matrix": [3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 7, 0, 1] }
    ]);
    let scene = builder.load().unwrap();
    let instance = &scene.instances[0];
    assert_eq!(instance.node, 2);
    let point = instance.world_from_object.transform_point3(Vec3::new(1.0, 0.0, 0.0));
    // (1, 0) → (3, 7) → turned by 90° (−7, 3) → doubled and moved (−4, 6).
    assert!(point.abs_diff_eq(Vec3::new(-4.0, 6.0, 0.0), 1.0e-5), "{point}");
    assert!(scene.bounds.min.abs_diff_eq(Vec3::new(-6.0, 0.0, 0.0), 1.0e-5), "{:?}", scene.bounds);
}

#[test]
fn mirrored_nodes_keep_their_sign_and_singular_ones_are_dropped() {
    let mut builder = Builder::triangle();
    builder.json["nodes"] = json!([
        { "mesh": 0, "scale": [-1.0, 1.0, 1.0] },
        { "mesh": 0, "scale": [0.0, 1.0, 1.0] },
        { "mesh": 0, "matrix": [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] }
    ]);
    let scene = builder.load().unwrap();
    assert_eq!(scene.instances.len(), 1);
    assert_eq!(scene.instances[0].world_from_object.matrix3.determinant(), -1.0);
    assert!(scene.report.notes[0].starts_with("2 instances with a singular transform"), "{:?}", scene.report.notes);
}

#[test]
fn nodes_share_their_mesh() {
    let mut builder = Builder::triangle();
    builder.json["nodes"] = json!((0..50).map(|x| json!({ "mesh": 0, "translation": [x, 0, 0] })).collect::<Vec<_>>());
    let scene = builder.load().unwrap();
    assert_eq!((scene.meshes.len(), scene.instances.len()), (1, 50));
    assert_eq!((scene.report.triangles, scene.report.instances), (1, 50));
    assert_eq!(scene.bounds.max.x, 50.0);
}

#[test]
fn gpu_instances_stand_where_their_attributes_say() {
    let mut builder = Builder::triangle();
    let translation = builder.floats("VEC3", &[1.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    let scale = builder.floats("VEC3", &[1.0, 1.0, 1.0, 3.0, 3.0, 3.0]);
    builder.json["nodes"][0]["translation"] = json!([0, 0, 5]);
    builder.json["nodes"][0]["extensions"] =
        json!({ "EXT_mesh_gpu_instancing": { "attributes": { "TRANSLATION": translation, "SCALE": scale } } });
    builder.json["extensionsRequired"] = json!(["EXT_mesh_gpu_instancing"]);
    let scene = builder.load().unwrap();
    let mut corners: Vec<[f32; 3]> = scene
        .instances
        .iter()
        .map(|instance| instance.world_from_object.transform_point3(Vec3::X).to_array())
        .collect();
    corners.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(corners, [[2.0, 0.0, 5.0], [3.0, 2.0, 5.0]]);
}

#[test]
fn only_the_default_scene_is_shown_and_hidden_nodes_are_not() {
    let mut builder = Builder::triangle();
    builder.json["nodes"] = json!([
        { "mesh": 0, "children": [1] },
        { "mesh": 0, "extensions": { "KHR_node_visibility": { "visible": false } }, "children": [2] },
        { "mesh": 0 },
        { "mesh": 0 }
    ]);
    let nodes = |builder: &Builder| {
        let mut nodes: Vec<u32> = builder.load().unwrap().instances.iter().map(|instance| instance.node).collect();
        nodes.sort_unstable();
        nodes
    };
    assert_eq!(nodes(&builder), [0, 3], "without scenes all roots are shown");
    builder.json["scenes"] = json!([{ "nodes": [3] }, { "nodes": [0] }, {}]);
    assert_eq!(nodes(&builder), [3], "the first scene is the default");
    builder.json["scene"] = json!(1);
    assert_eq!(nodes(&builder), [0]);
    builder.json["scene"] = json!(2);
    assert!(nodes(&builder).is_empty());
}

#[test]
fn a_hundred_thousand_nodes_deep_is_not_too_deep() {
    let mut builder = Builder::triangle();
    let count = 100_000;
    let nodes: Vec<_> = (0..count)
        .map(|node| {
            if node + 1 < count {
                json!({ "children": [node + 1], "translation": [0.01, 0, 0] })
            } else {
                json!({ "mesh": 0 })
            }
        })
        .collect();
    builder.json["nodes"] = json!(nodes);
    let scene = builder.load().unwrap();
    let x = scene.instances[0].world_from_object.translation.x;
    assert!((x - 999.99).abs() < 0.01, "{x}");
}

/// The triangle with two morph targets: one lifts everything by 1, one moves the second corner by 2 along x.
fn morphed() -> Builder {
    let mut builder = Builder::triangle();
    let lift = builder.floats("VEC3", &[0.0, 0.0, 1.0].repeat(3));
    let pull = builder.floats("VEC3", &[A, [2.0, 0.0, 0.0], A].concat());
    builder.json["meshes"][0]["primitives"][0]["targets"] = json!([{ "POSITION": lift }, { "POSITION": pull }]);
    builder
}

#[test]
fn morph_weights_come_from_the_node_before_the_mesh() {
    let mut builder = morphed();
    assert_eq!(corners(&builder.load().unwrap(), 0), vec![[A, B, C]]);
    builder.json["meshes"][0]["weights"] = json!([0.0, 0.5]);
    assert_eq!(corners(&builder.load().unwrap(), 0), vec![[A, [2.0, 0.0, 0.0], C]]);
    builder.json["nodes"][0]["weights"] = json!([2.0, -0.25]);
    assert_eq!(corners(&builder.load().unwrap(), 0), vec![[[0.0, 0.0, 2.0], [0.5, 0.0, 2.0], [0.0, 1.0, 2.0]]]);
}

#[test]
fn nodes_with_different_weights_have_meshes_of_their_own() {
    let mut builder = morphed();
    builder.json["nodes"] = json!([{ "mesh": 0, "weights": [1, 0] }, { "mesh": 0, "weights": [1, 0] }, { "mesh": 0 }, { "mesh": 0, "weights": [0, 0] }]);
    let scene = builder.load().unwrap();
    assert_eq!((scene.meshes.len(), scene.instances.len()), (2, 4));
}

/// The triangle, each corner bound to other joints: the first to joint 0, the second to joint 1, the third half to each.
fn skinned() -> Builder {
    let mut builder = Builder::triangle();
    let joints = builder.accessor("VEC4", 5121, 3, &[0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
    // Weights need not sum to 1.
    let weights =
        builder.floats("VEC4", &[[2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.0, 0.0]].concat());
    let normals = builder.floats("VEC3", &[0.0, 0.0, 1.0].repeat(3));
    let attributes = &mut builder.json["meshes"][0]["primitives"][0]["attributes"];
    (attributes["JOINTS_0"], attributes["WEIGHTS_0"], attributes["NORMAL"]) =
        (json!(joints), json!(weights), json!(normals));
    // Joint 1 was bound at (1, 0, 0) and now stands at (1, 0, 4), turned by 90° around x.
    let mut inverse_bind = vec![0.0; 32];
    for (at, value) in
        [(0, 1.0), (5, 1.0), (10, 1.0), (15, 1.0), (16, 1.0), (21, 1.0), (26, 1.0), (31, 1.0), (28, -1.0)]
    {
        inverse_bind[at] = value;
    }
    let matrices = builder.floats("MAT4", &inverse_bind);
    let half = 0.5_f32.sqrt();
    builder.json["nodes"] = json!([
        { "mesh": 0, "skin": 0, "translation": [100, 100, 100] },
        { "children": [2] },
        { "translation": [1, 0, 4], "rotation": [half, 0, 0, half] }
    ]);
    builder.json["skins"] = json!([{ "joints": [1, 2], "inverseBindMatrices": matrices }]);
    builder
}

#[test]
fn skinned_vertices_follow_their_joints_and_not_their_node() {
    let scene = skinned().load().unwrap();
    assert_eq!(scene.instances[0].world_from_object, glam::Affine3A::IDENTITY);
    let mesh = &scene.meshes[0];
    let find = |expected: Vec3| mesh.positions.iter().position(|position| position.abs_diff_eq(expected, 1.0e-5));
    assert!(find(Vec3::ZERO).is_some(), "{:?}", mesh.positions);
    let second = find(Vec3::new(1.0, 0.0, 4.0)).expect("the second corner is where joint 1 is");
    assert!(mesh.normals[second].abs_diff_eq(Vec3::NEG_Y, 1.0e-5), "{}", mesh.normals[second]);
    // (0, 1, 0): from joint 0 (0, 1, 0), from joint 1 (−1, 1, 0) → (0, 0, 5), the mean of both.
    assert!(find(Vec3::new(0.0, 0.5, 2.5)).is_some(), "{:?}", mesh.positions);
}

#[test]
fn a_mirrored_skin_turns_its_triangles_around() {
    let mut builder = skinned();
    let mesh_normals = |builder: &Builder| {
        let scene = builder.load().unwrap();
        let mesh = &scene.meshes[0];
        let [a, b, c] = mesh.triangles[0].map(|vertex| mesh.positions[vertex as usize]);
        ((b - a).cross(c - a).normalize(), mesh.normals[mesh.triangles[0][0] as usize])
    };
    builder.json["nodes"][2] = json!({ "translation": [1, 0, 0] });
    let (geometric, shading) = mesh_normals(&builder);
    assert!(geometric.dot(shading) > 0.99);
    builder.json["nodes"][1]["scale"] = json!([-1, 1, 1]);
    let (geometric, shading) = mesh_normals(&builder);
    assert!(geometric.dot(shading) > 0.99 && shading.abs_diff_eq(Vec3::Z, 1.0e-5), "{geometric} {shading}");
}

#[test]
fn a_joint_that_is_not_there_is_refused() {
    let mut builder = skinned();
    builder.json["skins"][0]["joints"] = json!([1]);
    builder.json["skins"][0].as_object_mut().unwrap().remove("inverseBindMatrices");
    let error = builder.load().unwrap_err();
    assert!(
        error.message.contains("joint 1")
            && error.pointer.as_deref() == Some("/meshes/0/primitives/0/attributes/JOINTS_0"),
        "{error:?}"
    );
}
