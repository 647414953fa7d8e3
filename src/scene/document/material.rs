//! The JSON of materials, textures, samplers and images.

use serde::Deserialize;

#[derive(Debug, Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::scene) struct Material {
    pub(in crate::scene) name: Option<String>,
    pub(in crate::scene) pbr_metallic_roughness: MetallicRoughness,
    pub(in crate::scene) normal_texture: Option<NormalTexture>,
    pub(in crate::scene) occlusion_texture: Option<TextureInfo>,
    pub(in crate::scene) emissive_texture: Option<TextureInfo>,
    pub(in crate::scene) emissive_factor: [f32; 3],
    pub(in crate::scene) alpha_mode: Option<String>,
    pub(in crate::scene) alpha_cutoff: Option<f32>,
    pub(in crate::scene) double_sided: bool,
    pub(in crate::scene) extensions: MaterialExtensions,
}

#[derive(Debug, Deserialize, Default, Clone)]
#[serde(default)]
pub(in crate::scene) struct MaterialExtensions {
    #[serde(rename = "KHR_materials_emissive_strength")]
    pub(in crate::scene) emissive_strength: Option<EmissiveStrength>,
    #[serde(rename = "KHR_materials_specular")]
    pub(in crate::scene) specular: Option<Specular>,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct Specular {
    #[serde(default = "one")]
    pub(in crate::scene) specular_factor: f32,
    pub(in crate::scene) specular_texture: Option<serde::de::IgnoredAny>,
    pub(in crate::scene) specular_color_factor: Option<serde::de::IgnoredAny>,
    pub(in crate::scene) specular_color_texture: Option<serde::de::IgnoredAny>,
}

impl Specular {
    /// True where a part of the extension is used that the renderer does not know.
    pub(in crate::scene) fn has_more_than_the_factor(&self) -> bool {
        self.specular_texture.is_some() || self.specular_color_factor.is_some() || self.specular_color_texture.is_some()
    }
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct EmissiveStrength {
    #[serde(default = "one")]
    pub(in crate::scene) emissive_strength: f32,
}

fn one() -> f32 {
    1.0
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::scene) struct MetallicRoughness {
    pub(in crate::scene) base_color_factor: [f32; 4],
    pub(in crate::scene) base_color_texture: Option<TextureInfo>,
    pub(in crate::scene) metallic_factor: f32,
    pub(in crate::scene) roughness_factor: f32,
    pub(in crate::scene) metallic_roughness_texture: Option<TextureInfo>,
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
pub(in crate::scene) struct TextureInfo {
    pub(in crate::scene) index: u32,
    #[serde(default)]
    pub(in crate::scene) tex_coord: u32,
    #[serde(default)]
    pub(in crate::scene) extensions: TextureInfoExtensions,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(in crate::scene) struct NormalTexture {
    #[serde(default = "one")]
    pub(in crate::scene) scale: f32,
    #[serde(flatten)]
    pub(in crate::scene) info: TextureInfo,
}

#[derive(Debug, Deserialize, Default, Clone)]
#[serde(default)]
pub(in crate::scene) struct TextureInfoExtensions {
    #[serde(rename = "KHR_texture_transform")]
    pub(in crate::scene) transform: Option<TextureTransform>,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::scene) struct TextureTransform {
    pub(in crate::scene) offset: [f32; 2],
    pub(in crate::scene) rotation: f32,
    pub(in crate::scene) scale: [f32; 2],
    pub(in crate::scene) tex_coord: Option<u32>,
}

impl Default for TextureTransform {
    fn default() -> Self {
        Self { offset: [0.0; 2], rotation: 0.0, scale: [1.0; 2], tex_coord: None }
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(in crate::scene) struct Texture {
    pub(in crate::scene) sampler: Option<u32>,
    pub(in crate::scene) source: Option<u32>,
    pub(in crate::scene) extensions: TextureExtensions,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(in crate::scene) struct TextureExtensions {
    #[serde(rename = "EXT_texture_webp")]
    pub(in crate::scene) webp: Option<TextureSource>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(in crate::scene) struct TextureSource {
    pub(in crate::scene) source: Option<u32>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::scene) struct Sampler {
    pub(in crate::scene) mag_filter: Option<u32>,
    pub(in crate::scene) min_filter: Option<u32>,
    pub(in crate::scene) wrap_s: Option<u32>,
    pub(in crate::scene) wrap_t: Option<u32>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::scene) struct Image {
    pub(in crate::scene) uri: Option<String>,
    pub(in crate::scene) buffer_view: Option<u32>,
}
