//! A small writer of GLB files (glTF 2.0, "GLB File Format Specification").

use super::Shape;
use glam::{Mat4, Vec3};
use serde_json::{Value, json};

/// Collects meshes, materials, pictures and nodes, and writes them as one GLB file.
#[derive(Default)]
pub struct GlbBuilder {
    binary: Vec<u8>,
    buffer_views: Vec<Value>,
    accessors: Vec<Value>,
    meshes: Vec<Value>,
    materials: Vec<Value>,
    images: Vec<Value>,
    textures: Vec<Value>,
    cameras: Vec<Value>,
    nodes: Vec<Value>,
    lights: Vec<Value>,
    extensions: Vec<&'static str>,
}

impl GlbBuilder {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    fn buffer_view(&mut self, bytes: &[u8]) -> usize {
        // Accessors of four-byte components must start at a multiple of four.
        self.binary.resize(self.binary.len().next_multiple_of(4), 0);
        let offset = self.binary.len();
        self.binary.extend_from_slice(bytes);
        self.buffer_views.push(json!({"buffer": 0, "byteOffset": offset, "byteLength": bytes.len()}));
        self.buffer_views.len() - 1
    }

    fn accessor(&mut self, bytes: &[u8], component_type: u32, kind: &str, count: usize) -> usize {
        let view = self.buffer_view(bytes);
        self.accessors.push(json!({"bufferView": view, "componentType": component_type, "type": kind, "count": count}));
        self.accessors.len() - 1
    }

    /// Adds a material, given as the JSON of a glTF material; returns its index.
    pub fn material(&mut self, material: Value) -> usize {
        self.materials.push(material);
        self.materials.len() - 1
    }

    /// Declares an extension as used.
    pub fn use_extension(&mut self, name: &'static str) {
        if !self.extensions.contains(&name) {
            self.extensions.push(name);
        }
    }

    /// Adds a picture (RGB, 8 bits, rows from the top) as an embedded PNG with a repeating sampler; returns the texture's index.
    pub fn texture(&mut self, width: u32, height: u32, rgb: &[u8]) -> usize {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(rgb))
            .expect("writing a PNG of the right length to memory cannot fail");
        let view = self.buffer_view(&file);
        self.images.push(json!({"bufferView": view, "mimeType": "image/png"}));
        self.textures.push(json!({"source": self.images.len() - 1}));
        self.textures.len() - 1
    }

    /// Adds a mesh of one primitive; returns its index.
    pub fn mesh(&mut self, name: &str, shape: &Shape, material: usize) -> usize {
        let count = shape.positions.len();
        let (mut min, mut max) = (Vec3::INFINITY, Vec3::NEG_INFINITY);
        for &position in &shape.positions {
            min = min.min(position);
            max = max.max(position);
        }
        let position = self.accessor(bytemuck::cast_slice(&shape.positions), 5126, "VEC3", count);
        self.accessors[position]["min"] = json!(min.to_array());
        self.accessors[position]["max"] = json!(max.to_array());
        let normal = self.accessor(bytemuck::cast_slice(&shape.normals), 5126, "VEC3", count);
        let uv = self.accessor(bytemuck::cast_slice(&shape.uvs), 5126, "VEC2", count);
        let indices = self.accessor(bytemuck::cast_slice(&shape.indices), 5125, "SCALAR", shape.indices.len());
        self.meshes.push(json!({"name": name, "primitives": [{
            "attributes": {"POSITION": position, "NORMAL": normal, "TEXCOORD_0": uv},
            "indices": indices, "material": material
        }]}));
        self.meshes.len() - 1
    }

    /// Places a mesh in the world.
    pub fn place(&mut self, mesh: usize, world_from_object: Mat4) {
        self.nodes.push(json!({"mesh": mesh, "matrix": world_from_object.to_cols_array()}));
    }

    /// Adds a perspective camera that looks from `eye` at `target`, with a vertical field of view in degrees.
    pub fn camera(&mut self, name: &str, eye: Vec3, target: Vec3, fov_y_deg: f32, aspect: f32) {
        self.cameras.push(json!({"type": "perspective", "name": name, "perspective":
            {"yfov": fov_y_deg.to_radians(), "aspectRatio": aspect, "znear": 0.01, "zfar": 1000.0}}));
        let backward = (eye - target).normalize();
        let right = Vec3::Y.cross(backward).normalize();
        let up = backward.cross(right);
        let matrix = Mat4::from_cols(right.extend(0.0), up.extend(0.0), backward.extend(0.0), eye.extend(1.0));
        self.nodes.push(json!({"camera": self.cameras.len() - 1, "name": name, "matrix": matrix.to_cols_array()}));
    }

    /// Adds a `KHR_lights_punctual` light, given as its JSON, placed by `matrix` (it shines along −Z).
    pub fn light(&mut self, light: Value, matrix: Mat4) {
        self.use_extension("KHR_lights_punctual");
        self.lights.push(light);
        self.nodes.push(json!({"matrix": matrix.to_cols_array(),
            "extensions": {"KHR_lights_punctual": {"light": self.lights.len() - 1}}}));
    }

    /// The bytes of the file.
    pub fn finish(mut self) -> Vec<u8> {
        self.binary.resize(self.binary.len().next_multiple_of(4), 0);
        let mut document = json!({
            "asset": {"version": "2.0", "generator": "kiln sample scenes"},
            "scene": 0,
            "scenes": [{"nodes": (0..self.nodes.len()).collect::<Vec<_>>()}],
            "nodes": self.nodes, "meshes": self.meshes, "materials": self.materials,
            "accessors": self.accessors, "bufferViews": self.buffer_views,
            "buffers": [{"byteLength": self.binary.len()}],
        });
        if !self.textures.is_empty() {
            document["images"] = json!(self.images);
            document["textures"] = json!(self.textures);
        }
        if !self.cameras.is_empty() {
            document["cameras"] = json!(self.cameras);
        }
        if !self.lights.is_empty() {
            document["extensions"] = json!({"KHR_lights_punctual": {"lights": self.lights}});
        }
        if !self.extensions.is_empty() {
            document["extensionsUsed"] = json!(self.extensions);
        }
        let mut text = document.to_string().into_bytes();
        text.resize(text.len().next_multiple_of(4), b' ');

        let length = 12 + 8 + text.len() + 8 + self.binary.len();
        let mut file = Vec::with_capacity(length);
        for word in [0x4654_6C67, 2, length as u32, text.len() as u32, 0x4E4F_534A] {
            file.extend_from_slice(&u32::to_le_bytes(word));
        }
        file.extend_from_slice(&text);
        file.extend_from_slice(&(self.binary.len() as u32).to_le_bytes());
        file.extend_from_slice(&0x004E_4942_u32.to_le_bytes());
        file.extend_from_slice(&self.binary);
        file
    }
}
