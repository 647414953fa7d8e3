// What a scene uses. The host sets these for each pipeline, so that what is unused is compiled away.

/// There is one tree over all triangles in world space, and no TLAS.
@id(0) override FLAT: bool = false;
/// Some surface has an alpha mask or blends.
@id(1) override ALPHA: bool = true;
/// Some material has a texture.
@id(2) override TEXTURES: bool = true;
/// Some material has a normal map.
@id(3) override NORMAL_MAPS: bool = true;
/// Vertices have colours, or a second UV set.
@id(4) override VERTEX_EXTRAS: bool = true;
/// The environment is not black.
@id(5) override ENVIRONMENT: bool = true;
/// There are emissive triangles.
@id(6) override EMISSIVE_TRIANGLES: bool = true;
/// There are punctual lights.
@id(7) override PUNCTUAL_LIGHTS: bool = true;
/// How many pools hold the texels, 1 to 4.
@id(8) override TEXEL_POOLS: u32 = 4u;
/// Appends are gathered in each workgroup first; pays on hardware, not on software adapters.
@id(9) override WORKGROUP_APPEND: bool = true;
/// The lens has an extent.
@id(10) override LENS: bool = true;
