// Every buffer of the path tracer, under one number in all kernels. A kernel binds those that its linked text still mentions
// (the host reads that from the text), and no function can be handed a storage buffer in portable WGSL, which is why they are
// here and not beside each entry point.

import package::lib::types::{
    Params, Instance, Material, Texture, Emitter, PunctualLight, PathRay, Hit, PathState, ShadowRay, Counters
};

@group(0) @binding(0) var<uniform> params: Params;

/// 80-byte CWBVH nodes, five words of 16 bytes each; first the TLAS, then each mesh.
@group(0) @binding(1) var<storage, read> nodes: array<vec4u>;
/// Three words a triangle, in leaf order: v0, v1 − v0, v2 − v0 in object space; in w the vertex indices. Behind them those of a
/// flat tree: the same in world space; in w the instance with `INSTANCE_…` flags in the upper three bits, the triangle that it stands for, and nothing.
@group(0) @binding(2) var<storage, read> triangles: array<vec4f>;
/// Two words a vertex: (normal, tangent, uv0), (uv1, colour).
@group(0) @binding(3) var<storage, read> vertices: array<vec4u>;
@group(0) @binding(4) var<storage, read> instances: array<Instance>;
@group(0) @binding(5) var<storage, read> materials: array<Material>;
@group(0) @binding(6) var<storage, read> textures: array<Texture>;
/// RGBA, 8 bits each, red lowest.
@group(0) @binding(7) var<storage, read> texels_0: array<u32>;
@group(0) @binding(8) var<storage, read> texels_1: array<u32>;
@group(0) @binding(9) var<storage, read> texels_2: array<u32>;
@group(0) @binding(10) var<storage, read> texels_3: array<u32>;
@group(0) @binding(11) var<storage, read> lights: array<PunctualLight>;
@group(0) @binding(12) var<storage, read> emitters: array<Emitter>;
/// Index into `emitters`, or NONE, for each triangle of each emissive instance.
@group(0) @binding(13) var<storage, read> emitter_of_triangle: array<u32>;
/// Radiance, three 16-bit mantissas and a shared exponent; see `environment_radiance`.
@group(0) @binding(14) var<storage, read> environment_texels: array<vec2u>;
/// Walker's alias table: (bits of the threshold, alias).
@group(0) @binding(15) var<storage, read> environment_alias: array<vec2u>;

@group(0) @binding(16) var<storage, read_write> path_rays: array<PathRay>;
@group(0) @binding(17) var<storage, read_write> path_hits: array<Hit>;
@group(0) @binding(18) var<storage, read_write> path_states: array<PathState>;
/// By slot: a path has at most one a bounce.
@group(0) @binding(19) var<storage, read_write> shadow_rays: array<ShadowRay>;
/// Slots of the paths that are alive, in bins: see `queues.wgsl`.
@group(0) @binding(20) var<storage, read_write> active_queue: array<u32>;
/// Slots of the paths that will be alive after this bounce.
@group(0) @binding(21) var<storage, read_write> next_queue: array<u32>;
/// Slots with a shadow ray.
@group(0) @binding(22) var<storage, read_write> shadow_queue: array<u32>;
@group(0) @binding(23) var<storage, read_write> counters: Counters;
/// Sums over samples, by place in the work order.
@group(0) @binding(24) var<storage, read_write> film: array<vec4f>;
