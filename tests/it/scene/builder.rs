//! Makes small glTF files, right or wrong ones, and loads them.

use kiln::scene::{LoadOptions, Scene, SceneError, load};
use serde_json::{Value, json};

/// A glTF document and its binary chunk.
#[derive(Clone)]
pub struct Builder {
    /// The document; tests change it at will.
    pub json: Value,
    /// The binary chunk.
    pub bin: Vec<u8>,
}

impl Builder {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self { json: json!({ "asset": { "version": "2.0" } }), bin: Vec::new() }
    }

    /// One triangle in the plane z = 0, counter-clockwise seen from +Z, on one node.
    pub fn triangle() -> Self {
        let mut builder = Self::new();
        let positions = builder.floats("VEC3", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        builder.mesh(json!({ "attributes": { "POSITION": positions } }));
        builder
    }

    /// Appends to an array of the document and answers the index.
    pub fn push(&mut self, array: &str, element: Value) -> u32 {
        let array =
            self.json.as_object_mut().unwrap().entry(array).or_insert_with(|| json!([])).as_array_mut().unwrap();
        array.push(element);
        array.len() as u32 - 1
    }

    /// Appends bytes and a buffer view of them.
    pub fn view(&mut self, bytes: &[u8]) -> u32 {
        while !self.bin.len().is_multiple_of(4) {
            self.bin.push(0);
        }
        let offset = self.bin.len();
        self.bin.extend_from_slice(bytes);
        self.push("bufferViews", json!({ "buffer": 0, "byteOffset": offset, "byteLength": bytes.len() }))
    }

    /// An accessor over bytes of its own.
    pub fn accessor(&mut self, kind: &str, component: u32, count: usize, bytes: &[u8]) -> u32 {
        let view = self.view(bytes);
        self.push("accessors", json!({ "bufferView": view, "componentType": component, "count": count, "type": kind }))
    }

    /// An accessor of floats.
    pub fn floats(&mut self, kind: &str, values: &[f32]) -> u32 {
        let width = match kind {
            "SCALAR" => 1,
            "VEC2" => 2,
            "VEC3" => 3,
            "VEC4" => 4,
            _ => 16,
        };
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.accessor(kind, 5126, values.len() / width, &bytes)
    }

    /// An accessor of 16-bit indices.
    pub fn indices(&mut self, values: &[u16]) -> u32 {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.accessor("SCALAR", 5123, values.len(), &bytes)
    }

    /// A mesh of one primitive, on a node of its own.
    pub fn mesh(&mut self, primitive: Value) -> u32 {
        let mesh = self.push("meshes", json!({ "primitives": [primitive] }));
        self.push("nodes", json!({ "mesh": mesh }));
        mesh
    }

    /// The file.
    pub fn glb(&self) -> Vec<u8> {
        let mut json = self.json.clone();
        if !self.bin.is_empty() && json.get("buffers").is_none() {
            json["buffers"] = json!([{ "byteLength": self.bin.len() }]);
        }
        glb(&serde_json::to_vec(&json).unwrap(), &self.bin)
    }

    /// Loads the file in its rest pose.
    pub fn load(&self) -> Result<Scene, SceneError> {
        load_bytes(&self.glb(), &LoadOptions::default())
    }
}

/// A GLB around a JSON and a BIN chunk.
pub fn glb(json: &[u8], bin: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for (bytes, kind, padding) in [(json, b"JSON", b' '), (bin, b"BIN\0", 0)] {
        if bytes.is_empty() {
            continue;
        }
        let padded = bytes.len().next_multiple_of(4);
        chunks.extend_from_slice(&(padded as u32).to_le_bytes());
        chunks.extend_from_slice(kind);
        chunks.extend_from_slice(bytes);
        chunks.resize(chunks.len() + padded - bytes.len(), padding);
    }
    let mut file = b"glTF\x02\0\0\0".to_vec();
    file.extend_from_slice(&(chunks.len() as u32 + 12).to_le_bytes());
    file.extend_from_slice(&chunks);
    file
}

/// Loads a file that is given by its bytes.
pub fn load_bytes(bytes: &[u8], options: &LoadOptions) -> Result<Scene, SceneError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene");
    std::fs::write(&path, bytes).unwrap();
    load(&path, options)
}

/// A ZIP of files.
pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The corners of all triangles of a mesh, sorted so that the order of leaves does not matter; each triangle begins with
/// its least vertex, which keeps the winding.
pub fn corners(scene: &Scene, mesh: usize) -> Vec<[[f32; 3]; 3]> {
    let mesh = &scene.meshes[mesh];
    let mut triangles: Vec<[[f32; 3]; 3]> = mesh
        .triangles
        .iter()
        .map(|triangle| {
            let mut corners = triangle.map(|vertex| mesh.positions[vertex as usize].to_array());
            let least = (0..3).min_by(|&a, &b| corners[a].partial_cmp(&corners[b]).unwrap()).unwrap();
            corners.rotate_left(least);
            corners
        })
        .collect();
    triangles.sort_by(|a, b| a.partial_cmp(b).unwrap());
    triangles
}
