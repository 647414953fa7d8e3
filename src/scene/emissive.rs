//! The list of triangles that emit light, with an estimate of each one's power.
//!
//! Power = luminance of the mean emitted radiance × world area × π (a Lambertian emitter, one side). The mean is taken
//! over the texels in the bounding box of the triangle's UVs, so it is an estimate, but it is zero only where the whole
//! triangle is certainly black: a triangle that is not listed emits nothing anywhere.

use super::error::{SceneError, SceneResult};
use super::{EmissiveTriangle, Image, Scene, Texture, Wrap};
use crate::image::linear_from_srgb;
use crate::limits;
use glam::{DVec3, Vec2, Vec3};
use std::collections::HashMap;

/// Cells of a [`Sums`] along its longer side, at most.
const CELLS_MAX: u32 = 512;

/// Lists the emissive triangles of `scene`, whose instances are in their final order.
pub(super) fn list(scene: &Scene) -> SceneResult<Vec<EmissiveTriangle>> {
    let mut sums: HashMap<u32, Sums> = HashMap::new();
    // Radiance depends on the mesh alone: computed once however often it is instanced.
    let mut luminances: HashMap<u32, Vec<f32>> = HashMap::new();
    let mut list = Vec::new();
    let mut covered = 0;
    for (index, instance) in scene.instances.iter().enumerate() {
        let mesh = &scene.meshes[instance.mesh as usize];
        let material = &scene.materials[mesh.material as usize];
        if material.emission == Vec3::ZERO {
            continue;
        }
        let luminances = luminances.entry(instance.mesh).or_insert_with(|| {
            let Some(reference) = material.emission_texture else {
                return vec![luminance(material.emission); mesh.triangles.len()];
            };
            let texture = &scene.textures[reference.texture as usize];
            let sums = sums
                .entry(reference.texture)
                .or_insert_with(|| Sums::new(&scene.images[texture.image as usize], texture));
            let uvs = if reference.uv_set == 0 { &mesh.uv0 } else { &mesh.uv1 };
            let uv = |vertex: u32| uvs.get(vertex as usize).copied().unwrap_or(Vec2::ZERO);
            mesh.triangles
                .iter()
                .map(|triangle| luminance(material.emission * sums.mean(triangle.map(uv), texture)))
                .collect()
        });
        let listed_before = list.len();
        let matrix = &instance.world_from_object;
        for (triangle, (corners, &luminance)) in mesh.triangles.iter().zip(luminances.iter()).enumerate() {
            if luminance <= 0.0 {
                continue;
            }
            let [a, b, c] = corners.map(|vertex| matrix.transform_point3(mesh.positions[vertex as usize]));
            let area = 0.5 * (b - a).cross(c - a).length();
            let power = luminance * area * std::f32::consts::PI;
            if power > 0.0 && power.is_finite() {
                list.push(EmissiveTriangle { instance: index as u32, triangle: triangle as u32, power, area });
            }
        }
        if list.len() > listed_before {
            // The renderer keeps a word for every triangle of an instance that emits somewhere.
            covered += mesh.triangles.len() as u64;
        }
        if covered > limits::EMISSIVE_TRIANGLES_MAX {
            return Err(SceneError::limit(
                "build",
                format!(
                    "More than {} triangles belong to instances that emit light; use fewer, larger ones.",
                    limits::EMISSIVE_TRIANGLES_MAX
                ),
            ));
        }
    }
    Ok(list)
}

/// Luminance of a linear Rec. 709 colour (ITU-R BT.709).
pub(crate) fn luminance(color: Vec3) -> f32 {
    color.dot(Vec3::new(0.2126, 0.7152, 0.0722))
}

/// A summed-area table over cells of a picture, for the mean of any box of it (Crow 1984).
struct Sums {
    width: usize,
    height: usize,
    /// (width + 1) × (height + 1); linear colour times texels.
    table: Vec<DVec3>,
    /// Texels left of each column of cells, and above each row.
    columns: Vec<u32>,
    rows: Vec<u32>,
}

impl Sums {
    fn new(image: &Image, texture: &Texture) -> Self {
        let linear: Vec<f32> = (0..=255_u8)
            .map(|value| f32::from(value) / 255.0)
            .map(|value| if texture.srgb { linear_from_srgb(value) } else { value })
            .collect();
        let edges = |size: u32| -> Vec<u32> {
            let cells = size.min(CELLS_MAX);
            (0..=cells).map(|cell| (u64::from(cell) * u64::from(size) / u64::from(cells)) as u32).collect()
        };
        let (columns, rows) = (edges(image.width), edges(image.height));
        let (width, height) = (columns.len() - 1, rows.len() - 1);
        let mut table = vec![DVec3::ZERO; (width + 1) * (height + 1)];
        for cell_y in 0..height {
            let mut row_sum = DVec3::ZERO;
            for cell_x in 0..width {
                for y in rows[cell_y]..rows[cell_y + 1] {
                    let start = (y as usize * image.width as usize + columns[cell_x] as usize) * 4;
                    let length = (columns[cell_x + 1] - columns[cell_x]) as usize * 4;
                    for texel in image.rgba8[start..start + length].chunks_exact(4) {
                        let [r, g, b] = [texel[0], texel[1], texel[2]].map(|value| linear[value as usize]);
                        row_sum += Vec3::new(r, g, b).as_dvec3();
                    }
                }
                table[(cell_y + 1) * (width + 1) + cell_x + 1] = row_sum + table[cell_y * (width + 1) + cell_x + 1];
            }
        }
        Self { width, height, table, columns, rows }
    }

    /// Mean colour over all cells that a triangle's texels may lie in.
    fn mean(&self, uvs: [Vec2; 3], texture: &Texture) -> Vec3 {
        let [a, b, c] = uvs;
        let (min, max) = (a.min(b).min(c), a.max(b).max(c));
        let (x0, x1) = cells(min.x, max.x, texture.wrap_u, &self.columns);
        let (y0, y1) = cells(min.y, max.y, texture.wrap_v, &self.rows);
        let at = |x: usize, y: usize| self.table[y * (self.width + 1) + x];
        let sum = at(x1, y1) - at(x0, y1) - at(x1, y0) + at(x0, y0);
        let texels = f64::from(self.columns[x1] - self.columns[x0]) * f64::from(self.rows[y1] - self.rows[y0]);
        debug_assert!(x1 <= self.width && y1 <= self.height, "cells are in range");
        // Below the smallest linear value of a single texel, what is left is rounding.
        let mean = (sum / texels).as_vec3();
        if sum.max_element() < 1.0e-4 { Vec3::ZERO } else { mean.max(Vec3::ZERO) }
    }
}

/// The half-open range of cells that texture coordinates in [`low`, `high`] read, with the neighbours that a bilinear
/// filter reads. The whole axis where the range crosses an edge of the picture.
fn cells(low: f32, high: f32, wrap: Wrap, edges: &[u32]) -> (usize, usize) {
    let count = edges.len() - 1;
    let size = f64::from(edges[count]);
    let margin = 1.5 / size;
    let (low, high) = (f64::from(low) - margin, f64::from(high) + margin);
    let period = low.floor();
    let (low, high) = match wrap {
        Wrap::Clamp => (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0)),
        _ if period != high.floor() => return (0, count),
        Wrap::Mirror if period.rem_euclid(2.0) == 1.0 => (1.0 - (high - period), 1.0 - (low - period)),
        Wrap::Mirror | Wrap::Repeat => (low - period, high - period),
    };
    let texel = |coordinate: f64| ((coordinate * size) as u32).min(edges[count] - 1);
    let cell = |texel: u32| edges.partition_point(|&edge| edge <= texel) - 1;
    (cell(texel(low)), cell(texel(high)) + 1)
}
