//! The JSON of a glTF 2.0 file, typed. Only what the renderer reads; unknown members are ignored.
//!
//! Parsing checks types and nothing else: every index in here is still a claim of the file. Own structs instead of
//! `gltf-json`, whose validation panics on some broken files and refuses valid extensions that it does not know.

use super::error::{SceneError, SceneResult};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A parsed document.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) extensions_used: Vec<String>,
    pub(super) extensions_required: Vec<String>,
    pub(super) scene: Option<u32>,
    pub(super) scenes: Vec<Scene>,
    pub(super) nodes: Vec<Node>,
    pub(super) meshes: Vec<Mesh>,
    pub(super) accessors: Vec<Accessor>,
    pub(super) buffer_views: Vec<BufferView>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) materials: Vec<Material>,
    pub(super) textures: Vec<Texture>,
    pub(super) samplers: Vec<Sampler>,
    pub(super) images: Vec<Image>,
    pub(super) cameras: Vec<Camera>,
    pub(super) skins: Vec<Skin>,
    pub(super) animations: Vec<Animation>,
    pub(super) lights: Vec<Light>,
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
    pub(super) fn parse(json: &[u8]) -> SceneResult<Self> {
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
pub(super) fn get<'a, T>(elements: &'a [T], index: u32, name: &str, pointer: &str) -> SceneResult<&'a T> {
    elements.get(index as usize).ok_or_else(|| out_of_range(index, elements.len(), name).at(pointer))
}

/// The error for an index that the file claims and that names nothing.
pub(super) fn out_of_range(index: u32, count: usize, name: &str) -> SceneError {
    SceneError::invalid("validate", format!("The index {index} is out of range: the file has {count} {name}."))
}

#[derive(Debug, Deserialize)]
pub(super) struct Scene {
    #[serde(default)]
    pub(super) nodes: Vec<u32>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Node {
    pub(super) name: Option<String>,
    pub(super) children: Vec<u32>,
    pub(super) matrix: Option<Box<[f64; 16]>>,
    pub(super) translation: Option<[f32; 3]>,
    pub(super) rotation: Option<[f32; 4]>,
    pub(super) scale: Option<[f32; 3]>,
    pub(super) mesh: Option<u32>,
    pub(super) skin: Option<u32>,
    pub(super) camera: Option<u32>,
    pub(super) weights: Option<Vec<f32>>,
    pub(super) extensions: Option<Box<NodeExtensions>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct NodeExtensions {
    #[serde(rename = "KHR_lights_punctual")]
    pub(super) light: Option<LightReference>,
    #[serde(rename = "KHR_node_visibility")]
    pub(super) visibility: Option<Visibility>,
    #[serde(rename = "EXT_mesh_gpu_instancing")]
    pub(super) instancing: Option<Instancing>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LightReference {
    pub(super) light: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Visibility {
    #[serde(default = "yes")]
    pub(super) visible: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
pub(super) struct Instancing {
    pub(super) attributes: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Mesh {
    pub(super) primitives: Vec<Primitive>,
    pub(super) weights: Option<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Primitive {
    pub(super) attributes: BTreeMap<String, u32>,
    pub(super) indices: Option<u32>,
    pub(super) material: Option<u32>,
    #[serde(default = "triangles")]
    pub(super) mode: u32,
    #[serde(default)]
    pub(super) targets: Vec<BTreeMap<String, u32>>,
    #[serde(default)]
    pub(super) extensions: BTreeMap<String, serde::de::IgnoredAny>,
}

fn triangles() -> u32 {
    4
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accessor {
    pub(super) buffer_view: Option<u32>,
    #[serde(default)]
    pub(super) byte_offset: u64,
    pub(super) component_type: u32,
    #[serde(default)]
    pub(super) normalized: bool,
    pub(super) count: u64,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) sparse: Option<Sparse>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Sparse {
    pub(super) count: u64,
    pub(super) indices: SparseIndices,
    pub(super) values: SparseValues,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SparseIndices {
    pub(super) buffer_view: u32,
    #[serde(default)]
    pub(super) byte_offset: u64,
    pub(super) component_type: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SparseValues {
    pub(super) buffer_view: u32,
    #[serde(default)]
    pub(super) byte_offset: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BufferView {
    pub(super) buffer: u32,
    #[serde(default)]
    pub(super) byte_offset: u64,
    pub(super) byte_length: u64,
    pub(super) byte_stride: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Buffer {
    pub(super) uri: Option<String>,
    pub(super) byte_length: u64,
}

#[derive(Debug, Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Material {
    pub(super) name: Option<String>,
    pub(super) pbr_metallic_roughness: MetallicRoughness,
    pub(super) normal_texture: Option<NormalTexture>,
    pub(super) occlusion_texture: Option<TextureInfo>,
    pub(super) emissive_texture: Option<TextureInfo>,
    pub(super) emissive_factor: [f32; 3],
    pub(super) alpha_mode: Option<String>,
    pub(super) alpha_cutoff: Option<f32>,
    pub(super) double_sided: bool,
    pub(super) extensions: MaterialExtensions,
}

#[derive(Debug, Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct MaterialExtensions {
    #[serde(rename = "KHR_materials_emissive_strength")]
    pub(super) emissive_strength: Option<EmissiveStrength>,
    #[serde(rename = "KHR_materials_specular")]
    pub(super) specular: Option<Specular>,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct Specular {
    #[serde(default = "one")]
    pub(super) specular_factor: f32,
    pub(super) specular_texture: Option<serde::de::IgnoredAny>,
    pub(super) specular_color_factor: Option<serde::de::IgnoredAny>,
    pub(super) specular_color_texture: Option<serde::de::IgnoredAny>,
}

impl Specular {
    /// True where a part of the extension is used that the renderer does not know.
    pub(super) fn has_more_than_the_factor(&self) -> bool {
        self.specular_texture.is_some() || self.specular_color_factor.is_some() || self.specular_color_texture.is_some()
    }
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct EmissiveStrength {
    #[serde(default = "one")]
    pub(super) emissive_strength: f32,
}

fn one() -> f32 {
    1.0
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MetallicRoughness {
    pub(super) base_color_factor: [f32; 4],
    pub(super) base_color_texture: Option<TextureInfo>,
    pub(super) metallic_factor: f32,
    pub(super) roughness_factor: f32,
    pub(super) metallic_roughness_texture: Option<TextureInfo>,
}

impl Default for MetallicRoughness {
    fn default() -> Self {
        Self {
            base_color_factor: [1.0; 4],
            base_color_texture: None,
            metallic_factor: 1.0,
            roughness_factor: 1.0,
            metallic_roughness_texture: None,
        }
    }
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct TextureInfo {
    pub(super) index: u32,
    #[serde(default)]
    pub(super) tex_coord: u32,
    #[serde(default)]
    pub(super) extensions: TextureInfoExtensions,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct NormalTexture {
    #[serde(default = "one")]
    pub(super) scale: f32,
    #[serde(flatten)]
    pub(super) info: TextureInfo,
}

#[derive(Debug, Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct TextureInfoExtensions {
    #[serde(rename = "KHR_texture_transform")]
    pub(super) transform: Option<TextureTransform>,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TextureTransform {
    pub(super) offset: [f32; 2],
    pub(super) rotation: f32,
    pub(super) scale: [f32; 2],
    pub(super) tex_coord: Option<u32>,
}

impl Default for TextureTransform {
    fn default() -> Self {
        Self { offset: [0.0; 2], rotation: 0.0, scale: [1.0; 2], tex_coord: None }
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Texture {
    pub(super) sampler: Option<u32>,
    pub(super) source: Option<u32>,
    pub(super) extensions: TextureExtensions,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct TextureExtensions {
    #[serde(rename = "EXT_texture_webp")]
    pub(super) webp: Option<TextureSource>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct TextureSource {
    pub(super) source: Option<u32>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sampler {
    pub(super) mag_filter: Option<u32>,
    pub(super) min_filter: Option<u32>,
    pub(super) wrap_s: Option<u32>,
    pub(super) wrap_t: Option<u32>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Image {
    pub(super) uri: Option<String>,
    pub(super) buffer_view: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Camera {
    pub(super) name: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) perspective: Option<Perspective>,
    pub(super) orthographic: Option<Orthographic>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Perspective {
    pub(super) yfov: f32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Orthographic {
    pub(super) xmag: f32,
    pub(super) ymag: f32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Skin {
    pub(super) inverse_bind_matrices: Option<u32>,
    pub(super) joints: Vec<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Animation {
    pub(super) name: Option<String>,
    pub(super) channels: Vec<Channel>,
    pub(super) samplers: Vec<AnimationSampler>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    pub(super) sampler: u32,
    pub(super) target: ChannelTarget,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChannelTarget {
    pub(super) node: Option<u32>,
    pub(super) path: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct AnimationSampler {
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) interpolation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Light {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default = "white")]
    pub(super) color: [f32; 3],
    #[serde(default = "one")]
    pub(super) intensity: f32,
    pub(super) range: Option<f32>,
    #[serde(default)]
    pub(super) spot: Spot,
}

fn white() -> [f32; 3] {
    [1.0; 3]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spot {
    pub(super) inner_cone_angle: f32,
    pub(super) outer_cone_angle: f32,
}

impl Default for Spot {
    fn default() -> Self {
        Self { inner_cone_angle: 0.0, outer_cone_angle: std::f32::consts::FRAC_PI_4 }
    }
}
