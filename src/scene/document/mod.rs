//! The JSON of a glTF 2.0 file, typed. Only what the renderer reads; unknown members are ignored.
//!
//! Parsing checks types and nothing else: every index in here is still a claim of the file. Own structs instead of
//! `gltf-json`, whose validation panics on some broken files and refuses valid extensions that it does not know.

mod material;

pub(in crate::scene) use material::{Image, Material, MetallicRoughness, Sampler, Texture, TextureInfo};

use super::error::{SceneError, SceneResult};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A parsed document.
#[derive(Debug, Default)]
pub(in crate::scene) struct Document {
    pub(in crate::scene) extensions_used: Vec<String>,
    pub(in crate::scene) extensions_required: Vec<String>,
    pub(in crate::scene) scene: Option<u32>,
    pub(in crate::scene) scenes: Vec<Scene>,
    pub(in crate::scene) nodes: Vec<Node>,
    pub(in crate::scene) meshes: Vec<Mesh>,
    pub(in crate::scene) accessors: Vec<Accessor>,
    pub(in crate::scene) buffer_views: Vec<BufferView>,
    pub(in crate::scene) buffers: Vec<Buffer>,
    pub(in crate::scene) materials: Vec<Material>,
    pub(in crate::scene) textures: Vec<Texture>,
    pub(in crate::scene) samplers: Vec<Sampler>,
    pub(in crate::scene) images: Vec<Image>,
    pub(in crate::scene) cameras: Vec<Camera>,
    pub(in crate::scene) skins: Vec<Skin>,
    pub(in crate::scene) animations: Vec<Animation>,
    pub(in crate::scene) lights: Vec<Light>,
}

/// The top level, with its arrays' elements unparsed so that an error can name the element.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Root<'a> {
    asset: Option<Asset>,
    #[serde(default)]
    extensions_used: Vec<String>,
    #[serde(default)]
    extensions_required: Vec<String>,
    scene: Option<u32>,
    #[serde(default, borrow)]
    scenes: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    nodes: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    meshes: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    accessors: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    buffer_views: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    buffers: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    materials: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    textures: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    samplers: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    images: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    cameras: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    skins: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    animations: Vec<&'a RawValue>,
    #[serde(default)]
    extensions: RootExtensions<'a>,
}

#[derive(Deserialize, Default)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RootExtensions<'a> {
    #[serde(default, rename = "KHR_lights_punctual", borrow)]
    lights_punctual: Option<RootLights<'a>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct RootLights<'a> {
    #[serde(default, borrow)]
    lights: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asset {
    version: String,
    min_version: Option<String>,
}

impl Document {
    /// Parses the JSON part of a glTF file.
    pub(in crate::scene) fn parse(json: &[u8]) -> SceneResult<Self> {
        let root: Root = serde_json::from_slice(json)
            .map_err(|error| SceneError::invalid("parse", format!("The glTF JSON cannot be read: {error}.")))?;
        let asset = root.asset.ok_or_else(|| {
            SceneError::invalid("parse", "The member \"asset\" is missing; every glTF 2.0 file has one.").at("")
        })?;
        if !version_is_known(&asset.version) {
            return Err(SceneError::invalid(
                "parse",
                format!("The file is glTF {}; expected version 2.0. Convert it first.", asset.version),
            )
            .at("/asset/version"));
        }
        if let Some(version) = asset.min_version.filter(|version| version != "2.0") {
            return Err(SceneError::invalid("parse", format!("The file needs glTF {version}; Kiln understands 2.0."))
                .at("/asset/minVersion"));
        }
        let lights = root.extensions.lights_punctual.map_or_else(Vec::new, |lights| lights.lights);
        Ok(Self {
            extensions_used: root.extensions_used,
            extensions_required: root.extensions_required,
            scene: root.scene,
            scenes: parse_array(&root.scenes, "scenes")?,
            nodes: parse_array(&root.nodes, "nodes")?,
            meshes: parse_array(&root.meshes, "meshes")?,
            accessors: parse_array(&root.accessors, "accessors")?,
            buffer_views: parse_array(&root.buffer_views, "bufferViews")?,
            buffers: parse_array(&root.buffers, "buffers")?,
            materials: parse_array(&root.materials, "materials")?,
            textures: parse_array(&root.textures, "textures")?,
            samplers: parse_array(&root.samplers, "samplers")?,
            images: parse_array(&root.images, "images")?,
            cameras: parse_array(&root.cameras, "cameras")?,
            skins: parse_array(&root.skins, "skins")?,
            animations: parse_array(&root.animations, "animations")?,
            lights: parse_array(&lights, "extensions/KHR_lights_punctual/lights")?,
        })
    }
}

/// glTF 2.0, 3.2: a client reads every minor version of the major one that it knows.
fn version_is_known(version: &str) -> bool {
    version.split_once('.').is_some_and(|(major, minor)| major == "2" && minor.parse::<u32>().is_ok())
}

fn parse_array<T: DeserializeOwned>(elements: &[&RawValue], name: &str) -> SceneResult<Vec<T>> {
    elements
        .iter()
        .enumerate()
        .map(|(index, element)| {
            serde_json::from_str(element.get()).map_err(|error| {
                SceneError::invalid(
                    "parse",
                    format!("A member has the wrong type or is missing: {error} of the element."),
                )
                .at(format!("/{name}/{index}"))
            })
        })
        .collect()
}

/// Finds an element by an index that the file claims.
pub(in crate::scene) fn get<'a, T>(elements: &'a [T], index: u32, name: &str, pointer: &str) -> SceneResult<&'a T> {
    elements.get(index as usize).ok_or_else(|| out_of_range(index, elements.len(), name).at(pointer))
}

/// The error for an index that the file claims and that names nothing.
pub(in crate::scene) fn out_of_range(index: u32, count: usize, name: &str) -> SceneError {
    SceneError::invalid("validate", format!("The index {index} is out of range: the file has {count} {name}."))
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Scene {
    #[serde(default)]
    pub(in crate::scene) nodes: Vec<u32>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(in crate::scene) struct Node {
    pub(in crate::scene) name: Option<String>,
    pub(in crate::scene) children: Vec<u32>,
    pub(in crate::scene) matrix: Option<Box<[f64; 16]>>,
    pub(in crate::scene) translation: Option<[f32; 3]>,
    pub(in crate::scene) rotation: Option<[f32; 4]>,
    pub(in crate::scene) scale: Option<[f32; 3]>,
    pub(in crate::scene) mesh: Option<u32>,
    pub(in crate::scene) skin: Option<u32>,
    pub(in crate::scene) camera: Option<u32>,
    pub(in crate::scene) weights: Option<Vec<f32>>,
    pub(in crate::scene) extensions: Option<Box<NodeExtensions>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(in crate::scene) struct NodeExtensions {
    #[serde(rename = "KHR_lights_punctual")]
    pub(in crate::scene) light: Option<LightReference>,
    #[serde(rename = "KHR_node_visibility")]
    pub(in crate::scene) visibility: Option<Visibility>,
    #[serde(rename = "EXT_mesh_gpu_instancing")]
    pub(in crate::scene) instancing: Option<Instancing>,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct LightReference {
    pub(in crate::scene) light: u32,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Visibility {
    #[serde(default = "yes")]
    pub(in crate::scene) visible: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Instancing {
    pub(in crate::scene) attributes: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Mesh {
    pub(in crate::scene) primitives: Vec<Primitive>,
    pub(in crate::scene) weights: Option<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Primitive {
    pub(in crate::scene) attributes: BTreeMap<String, u32>,
    pub(in crate::scene) indices: Option<u32>,
    pub(in crate::scene) material: Option<u32>,
    #[serde(default = "triangles")]
    pub(in crate::scene) mode: u32,
    #[serde(default)]
    pub(in crate::scene) targets: Vec<BTreeMap<String, u32>>,
    #[serde(default)]
    pub(in crate::scene) extensions: BTreeMap<String, serde::de::IgnoredAny>,
}

fn triangles() -> u32 {
    4
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct Accessor {
    pub(in crate::scene) buffer_view: Option<u32>,
    #[serde(default)]
    pub(in crate::scene) byte_offset: u64,
    pub(in crate::scene) component_type: u32,
    #[serde(default)]
    pub(in crate::scene) normalized: bool,
    pub(in crate::scene) count: u64,
    #[serde(rename = "type")]
    pub(in crate::scene) kind: String,
    pub(in crate::scene) sparse: Option<Sparse>,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Sparse {
    pub(in crate::scene) count: u64,
    pub(in crate::scene) indices: SparseIndices,
    pub(in crate::scene) values: SparseValues,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct SparseIndices {
    pub(in crate::scene) buffer_view: u32,
    #[serde(default)]
    pub(in crate::scene) byte_offset: u64,
    pub(in crate::scene) component_type: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct SparseValues {
    pub(in crate::scene) buffer_view: u32,
    #[serde(default)]
    pub(in crate::scene) byte_offset: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct BufferView {
    pub(in crate::scene) buffer: u32,
    #[serde(default)]
    pub(in crate::scene) byte_offset: u64,
    pub(in crate::scene) byte_length: u64,
    pub(in crate::scene) byte_stride: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct Buffer {
    pub(in crate::scene) uri: Option<String>,
    pub(in crate::scene) byte_length: u64,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Camera {
    pub(in crate::scene) name: Option<String>,
    #[serde(rename = "type")]
    pub(in crate::scene) kind: String,
    pub(in crate::scene) perspective: Option<Perspective>,
    pub(in crate::scene) orthographic: Option<Orthographic>,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Perspective {
    pub(in crate::scene) yfov: f32,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Orthographic {
    pub(in crate::scene) xmag: f32,
    pub(in crate::scene) ymag: f32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct Skin {
    pub(in crate::scene) inverse_bind_matrices: Option<u32>,
    pub(in crate::scene) joints: Vec<u32>,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Animation {
    pub(in crate::scene) name: Option<String>,
    pub(in crate::scene) channels: Vec<Channel>,
    pub(in crate::scene) samplers: Vec<AnimationSampler>,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct Channel {
    pub(in crate::scene) sampler: u32,
    pub(in crate::scene) target: ChannelTarget,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct ChannelTarget {
    pub(in crate::scene) node: Option<u32>,
    pub(in crate::scene) path: String,
}

#[derive(Debug, Deserialize)]
pub(in crate::scene) struct AnimationSampler {
    pub(in crate::scene) input: u32,
    pub(in crate::scene) output: u32,
    pub(in crate::scene) interpolation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct Light {
    #[serde(rename = "type")]
    pub(in crate::scene) kind: String,
    #[serde(default = "white")]
    pub(in crate::scene) color: [f32; 3],
    #[serde(default = "one")]
    pub(in crate::scene) intensity: f32,
    pub(in crate::scene) range: Option<f32>,
    #[serde(default)]
    pub(in crate::scene) spot: Spot,
}

fn white() -> [f32; 3] {
    [1.0; 3]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::scene) struct Spot {
    pub(in crate::scene) inner_cone_angle: f32,
    pub(in crate::scene) outer_cone_angle: f32,
}

impl Default for Spot {
    fn default() -> Self {
        Self { inner_cone_angle: 0.0, outer_cone_angle: std::f32::consts::FRAC_PI_4 }
    }
}

fn one() -> f32 {
    1.0
}
