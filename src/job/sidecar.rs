//! The JSON that compute.toys keeps beside a shader: `{uniforms, textures, float32Enabled}`.

use serde::Deserialize;

/// What the site says about a shader.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sidecar {
    /// Sliders, in order: the members of `custom`.
    pub sliders: Vec<(String, f32)>,
    /// URLs of the channels' textures, in order; never fetched, only looked up in a local map.
    pub textures: Vec<String>,
    /// Pass textures in 32-bit floats.
    pub float32: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    uniforms: Option<Vec<Uniform>>,
    #[serde(default)]
    textures: Option<Vec<Texture>>,
    #[serde(default)]
    float32_enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Uniform {
    name: String,
    value: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texture {
    Url(String),
    Object { img: String },
}

impl Sidecar {
    /// Reads the document. Fields that the site adds are ignored.
    ///
    /// # Errors
    /// A sentence that says where it is no such document.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(json).map_err(|error| {
            format!("The shader's JSON is not compute.toys' {{uniforms, textures, float32Enabled}}: {error}.")
        })?;
        let sliders = document.uniforms.unwrap_or_default();
        let textures = document.textures.unwrap_or_default();
        Ok(Self {
            sliders: sliders.into_iter().map(|uniform| (uniform.name, uniform.value as f32)).collect(),
            textures: textures
                .into_iter()
                .map(|texture| match texture {
                    Texture::Url(url) | Texture::Object { img: url } => url,
                })
                .collect(),
            float32: document.float32_enabled.unwrap_or(false),
        })
    }
}
