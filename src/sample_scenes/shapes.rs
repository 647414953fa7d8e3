//! Shapes to build sample scenes from. All are in object space, metres, counter-clockwise from outside.

use glam::{Vec2, Vec3};
use std::f32::consts::{PI, TAU};

/// An indexed triangle mesh with normals and texture coordinates.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Object space.
    pub positions: Vec<Vec3>,
    /// Unit length.
    pub normals: Vec<Vec3>,
    /// Texture coordinates, origin at the upper left.
    pub uvs: Vec<Vec2>,
    /// Three a triangle.
    pub indices: Vec<u32>,
}

impl Shape {
    /// A grid of `columns` × `rows` quads over (u, v) in [0, 1]², bent by `place`. Normals come from the grid's own
    /// derivatives (∂p/∂u × ∂p/∂v points outwards).
    pub fn surface(columns: u32, rows: u32, place: impl Fn(f32, f32) -> Vec3) -> Self {
        let mut shape = Self::default();
        const STEP: f32 = 1e-3;
        for row in 0..=rows {
            for column in 0..=columns {
                let (u, v) = (column as f32 / columns as f32, row as f32 / rows as f32);
                let position = place(u, v);
                // At the poles one derivative vanishes; a step away from them it does not.
                let (inner_u, inner_v) = (u.clamp(STEP, 1.0 - STEP), v.clamp(STEP, 1.0 - STEP));
                let du = place(inner_u + STEP, inner_v) - place(inner_u - STEP, inner_v);
                let dv = place(inner_u, inner_v + STEP) - place(inner_u, inner_v - STEP);
                shape.positions.push(position);
                shape.normals.push(du.cross(dv).normalize_or(Vec3::Y));
                shape.uvs.push(Vec2::new(u, 1.0 - v));
            }
        }
        for row in 0..rows {
            for column in 0..columns {
                let corner = row * (columns + 1) + column;
                let [a, b, c, d] = [corner, corner + 1, corner + columns + 2, corner + columns + 1];
                for triangle in [[a, b, c], [a, c, d]] {
                    let [p, q, r] = triangle.map(|vertex| shape.positions[vertex as usize]);
                    // At a pole one side of the quad is a point, and one of its triangles has no area.
                    if (q - p).cross(r - p).length() > 1e-8 {
                        shape.indices.extend(triangle);
                    }
                }
            }
        }
        shape
    }

    /// A unit sphere around the origin.
    pub fn sphere(segments: u32) -> Self {
        Self::surface(segments * 2, segments, |u, v| {
            let (azimuth, polar) = (u * TAU, PI * (1.0 - v));
            Vec3::new(polar.sin() * azimuth.sin(), polar.cos(), polar.sin() * azimuth.cos())
        })
    }

    /// A torus around +Y.
    pub fn torus(major: f32, minor: f32, segments: u32) -> Self {
        Self::surface(segments * 2, segments, |u, v| {
            let (around, along) = (u * TAU, v * TAU);
            let radius = major + minor * along.cos();
            Vec3::new(radius * around.sin(), minor * along.sin(), radius * around.cos())
        })
    }

    /// A profile (radius, height), from the bottom to the top, turned around +Y.
    pub fn lathe(profile: &[(f32, f32)], segments: u32, rows: u32) -> Self {
        let point = |v: f32| catmull_rom(profile, v);
        Self::surface(segments, rows, |u, v| {
            let (radius, height) = point(v);
            Vec3::new(radius * (u * TAU).sin(), height, radius * (u * TAU).cos())
        })
    }

    /// A parallelogram that starts at `corner`; its normal is `along_u` × `along_v`.
    pub fn quad(corner: Vec3, along_u: Vec3, along_v: Vec3) -> Self {
        let normal = along_u.cross(along_v).normalize_or(Vec3::Y);
        Self {
            positions: vec![corner, corner + along_u, corner + along_u + along_v, corner + along_v],
            normals: vec![normal; 4],
            uvs: vec![Vec2::new(0.0, 1.0), Vec2::ONE, Vec2::new(1.0, 0.0), Vec2::ZERO],
            indices: vec![0, 1, 2, 0, 2, 3],
        }
    }

    /// A box around the origin, with sharp edges.
    pub fn cuboid(size: Vec3) -> Self {
        let mut shape = Self::default();
        let half = size * 0.5;
        for (normal, u) in [
            (Vec3::X, Vec3::NEG_Z),
            (Vec3::NEG_X, Vec3::Z),
            (Vec3::Y, Vec3::X),
            (Vec3::NEG_Y, Vec3::X),
            (Vec3::Z, Vec3::X),
            (Vec3::NEG_Z, Vec3::NEG_X),
        ] {
            let v = normal.cross(u);
            shape.append(&Self::quad((normal - u - v) * half, u * size, v * size));
        }
        shape
    }

    /// Adds another shape's triangles.
    pub fn append(&mut self, other: &Self) {
        let base = self.positions.len() as u32;
        self.positions.extend(&other.positions);
        self.normals.extend(&other.normals);
        self.uvs.extend(&other.uvs);
        self.indices.extend(other.indices.iter().map(|index| base + index));
    }

    /// The same shape with its texture coordinates scaled.
    pub fn with_uv_scale(mut self, scale: Vec2) -> Self {
        for uv in &mut self.uvs {
            *uv *= scale;
        }
        self
    }
}

/// A Catmull–Rom spline through `points`, at `t` in [0, 1].
fn catmull_rom(points: &[(f32, f32)], t: f32) -> (f32, f32) {
    let last = points.len() - 1;
    let position = t.clamp(0.0, 1.0) * last as f32;
    let segment = (position as usize).min(last - 1);
    let t = position - segment as f32;
    let at = |index: isize| Vec2::from(points[index.clamp(0, last as isize) as usize]);
    let segment = segment as isize;
    let [a, b, c, d] = [at(segment - 1), at(segment), at(segment + 1), at(segment + 2)];
    let value = 0.5
        * (2.0 * b + (c - a) * t + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t + (3.0 * b - a - 3.0 * c + d) * t * t * t);
    (value.x.max(0.0), value.y)
}
