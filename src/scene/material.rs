//! Materials, textures and samplers of the file → the scene's, and how each mesh must bring its UVs.
//!
//! A material reads its textures through at most two UV slots. A slot is a `TEXCOORD_n` with a `KHR_texture_transform`
//! baked in, so that the renderer knows neither; the mesh's `uv0` and `uv1` are the slots.

use super::document::{self, Document, TextureInfo, get};
use super::error::{SceneError, SceneResult};
use super::image::Images;
use super::{AlphaMode, Material, Texture, TextureRef, Wrap};
use glam::{Affine2, Mat2, Vec2, Vec3, Vec4};
use std::collections::HashMap;

/// Where the UVs of a slot come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct UvSource {
    /// `n` of `TEXCOORD_n`.
    pub(super) set: u32,
    /// `KHR_texture_transform`.
    pub(super) transform: Affine2,
}

/// What a mesh must know of its material.
#[derive(Debug, Default)]
pub(super) struct MaterialPlan {
    /// Index into [`super::Scene::materials`].
    pub(super) index: u32,
    /// Sources of the mesh's `uv0` and `uv1`.
    pub(super) uv_sources: Vec<UvSource>,
    normal_uv_set: Option<usize>,
}

impl MaterialPlan {
    /// A normal map is there.
    pub(super) fn needs_tangents(&self) -> bool {
        self.normal_uv_set.is_some()
    }

    /// The slot that the normal map reads.
    pub(super) fn normal_uv_set(&self) -> usize {
        self.normal_uv_set.unwrap_or(0)
    }
}

/// Materials and all they name.
pub(super) struct Materials {
    pub(super) materials: Vec<Material>,
    pub(super) plans: Vec<MaterialPlan>,
    pub(super) textures: Vec<Texture>,
}

/// Resolves every material of the file, and glTF's default one at the end. Textures are only looked at for those that
/// `used` names, so that a broken picture nobody sees breaks nothing.
pub(super) fn resolve(
    document: &Document,
    used: &[bool],
    images: &mut Images,
    notes: &mut Vec<String>,
) -> SceneResult<Materials> {
    let mut resolver = Resolver { document, images, textures: Vec::new(), known: HashMap::new(), notes };
    let mut materials = Vec::with_capacity(document.materials.len() + 1);
    let mut plans = Vec::with_capacity(document.materials.len() + 1);
    let default = document::Material::default();
    for (index, source) in document.materials.iter().chain([&default]).enumerate() {
        let is_used = used.get(index).copied().unwrap_or(false);
        let (material, plan) = resolver.material(index as u32, source, is_used)?;
        materials.push(material);
        plans.push(plan);
    }
    if materials.iter().zip(used).any(|(_, &used)| used)
        && document.materials.iter().zip(used).any(|(material, &used)| used && material.occlusion_texture.is_some())
    {
        resolver.notes.push("Occlusion textures were ignored: light transport makes its own occlusion.".to_owned());
    }
    let textures = resolver.textures;
    Ok(Materials { materials, plans, textures })
}

struct Resolver<'a> {
    document: &'a Document,
    images: &'a mut Images,
    textures: Vec<Texture>,
    known: HashMap<Texture, u32>,
    notes: &'a mut Vec<String>,
}

impl Resolver<'_> {
    fn material(
        &mut self,
        index: u32,
        source: &document::Material,
        used: bool,
    ) -> SceneResult<(Material, MaterialPlan)> {
        let place = format!("/materials/{index}");
        let pbr = &source.pbr_metallic_roughness;
        let strength =
            source.extensions.emissive_strength.as_ref().map_or(1.0, |extension| extension.emissive_strength);
        let emission = Vec3::from_array(source.emissive_factor) * strength;
        let specular = source.extensions.specular.as_ref().map_or(1.0, |extension| extension.specular_factor);
        let numbers = [pbr.metallic_factor, pbr.roughness_factor, source.alpha_cutoff.unwrap_or(0.5), specular];
        let base_color = Vec4::from_array(pbr.base_color_factor);
        let normal_scale = source.normal_texture.as_ref().map_or(1.0, |texture| texture.scale);
        if !(numbers.iter().all(|number| number.is_finite())
            && base_color.is_finite()
            && emission.is_finite()
            && normal_scale.is_finite())
        {
            return Err(SceneError::invalid("validate", "A factor of the material is not finite in 32 bits.").at(place));
        }
        let alpha_mode = match source.alpha_mode.as_deref() {
            None | Some("OPAQUE") => AlphaMode::Opaque,
            Some("MASK") => AlphaMode::Mask { cutoff: source.alpha_cutoff.unwrap_or(0.5).max(0.0) },
            Some("BLEND") => AlphaMode::Blend,
            Some(other) => {
                return Err(SceneError::invalid(
                    "validate",
                    format!("The alpha mode \"{other}\" is unknown; expected OPAQUE, MASK or BLEND."),
                )
                .at(format!("{place}/alphaMode")));
            }
        };
        let mut plan = MaterialPlan { index, ..MaterialPlan::default() };
        let mut texture = |info: Option<&TextureInfo>, srgb: bool, member: &str| match info {
            Some(info) if used => self.texture(info, srgb, &mut plan, &format!("{place}/{member}")),
            _ => Ok(None),
        };
        let base_color_texture =
            texture(pbr.base_color_texture.as_ref(), true, "pbrMetallicRoughness/baseColorTexture")?;
        let metallic_roughness_texture =
            texture(pbr.metallic_roughness_texture.as_ref(), false, "pbrMetallicRoughness/metallicRoughnessTexture")?;
        let normal_texture =
            texture(source.normal_texture.as_ref().map(|texture| &texture.info), false, "normalTexture")?;
        let emission_texture =
            texture(source.emissive_texture.as_ref().filter(|_| emission != Vec3::ZERO), true, "emissiveTexture")?;
        if source.extensions.specular.as_ref().is_some_and(|extension| extension.has_more_than_the_factor()) {
            self.notes.push(format!(
                "Material {index}: the colour and the textures of KHR_materials_specular are left out; its factor is used."
            ));
        }
        plan.normal_uv_set = normal_texture.map(|texture| texture.uv_set as usize);
        let material = Material {
            name: source.name.clone().unwrap_or_default(),
            base_color: base_color.clamp(Vec4::ZERO, Vec4::ONE),
            base_color_texture,
            metallic: pbr.metallic_factor.clamp(0.0, 1.0),
            roughness: pbr.roughness_factor.clamp(0.0, 1.0),
            specular: specular.clamp(0.0, 1.0),
            metallic_roughness_texture,
            normal_texture,
            normal_scale,
            emission: emission.max(Vec3::ZERO),
            emission_texture,
            alpha_mode,
            double_sided: source.double_sided,
        };
        Ok((material, plan))
    }

    /// A texture as a material uses it. `None` where its picture is in a format that only an unknown extension reads.
    fn texture(
        &mut self,
        info: &TextureInfo,
        srgb: bool,
        plan: &mut MaterialPlan,
        place: &str,
    ) -> SceneResult<Option<TextureRef>> {
        let source = get(&self.document.textures, info.index, "textures", &format!("{place}/index"))?;
        let pointer = format!("/textures/{}", info.index);
        let webp = source.extensions.webp.as_ref().and_then(|webp| webp.source);
        let Some(image) = webp.or(source.source) else {
            self.notes
                .push(format!("Texture {} has no picture in a format that Kiln reads and was left out.", info.index));
            return Ok(None);
        };
        let image = self.images.want(image, &pointer)?;
        let default = document::Sampler::default();
        let sampler = match source.sampler {
            Some(sampler) => get(&self.document.samplers, sampler, "samplers", &format!("{pointer}/sampler"))?,
            None => &default,
        };
        let pointer = source.sampler.map_or(pointer, |sampler| format!("/samplers/{sampler}"));
        let texture = Texture {
            image,
            wrap_u: wrap(sampler.wrap_s, &format!("{pointer}/wrapS"))?,
            wrap_v: wrap(sampler.wrap_t, &format!("{pointer}/wrapT"))?,
            linear_filter: linear(sampler, &pointer)?,
            srgb,
        };
        let textures = &mut self.textures;
        let index = *self.known.entry(texture).or_insert_with(|| {
            textures.push(texture);
            textures.len() as u32 - 1
        });
        let uv_set = self.uv_slot(info, plan, place)?;
        Ok(Some(TextureRef { texture: index, uv_set }))
    }

    /// The slot for the UVs of a texture: one that is there, a new one, or the nearest where both are taken.
    fn uv_slot(&mut self, info: &TextureInfo, plan: &mut MaterialPlan, place: &str) -> SceneResult<u32> {
        let (mut set, mut transform) = (info.tex_coord, Affine2::IDENTITY);
        if let Some(extension) = &info.extensions.transform {
            set = extension.tex_coord.unwrap_or(set);
            // KHR_texture_transform: translation × rotation × scale, with v downwards, so the rotation is turned around.
            let (sin, cos) = extension.rotation.sin_cos();
            let rotation = Mat2::from_cols(Vec2::new(cos, -sin), Vec2::new(sin, cos));
            let scale = Mat2::from_diagonal(Vec2::from_array(extension.scale));
            transform = Affine2::from_mat2_translation(rotation * scale, Vec2::from_array(extension.offset));
            if !transform.is_finite() {
                return Err(SceneError::invalid("validate", "The texture transform is not finite.")
                    .at(format!("{place}/extensions/KHR_texture_transform")));
            }
        }
        let source = UvSource { set, transform };
        if let Some(slot) = plan.uv_sources.iter().position(|known| *known == source) {
            return Ok(slot as u32);
        }
        if plan.uv_sources.len() < 2 {
            plan.uv_sources.push(source);
            return Ok(plan.uv_sources.len() as u32 - 1);
        }
        self.notes.push(format!(
            "Material {} maps its textures in more than two ways; the texture at {place} uses the first.",
            plan.index
        ));
        Ok(0)
    }
}

fn wrap(code: Option<u32>, pointer: &str) -> SceneResult<Wrap> {
    Ok(match code {
        None | Some(10497) => Wrap::Repeat,
        Some(33071) => Wrap::Clamp,
        Some(33648) => Wrap::Mirror,
        Some(other) => {
            return Err(SceneError::invalid(
                "validate",
                format!("The wrap mode {other} is unknown; expected 10497, 33071 or 33648."),
            )
            .at(pointer));
        }
    })
}

/// The path tracer reads the base level only, magnified or not, so the magnification filter decides; where only the
/// other one is given, its nearest-texel half does.
fn linear(sampler: &document::Sampler, pointer: &str) -> SceneResult<bool> {
    let unknown = |member: &str, code: u32| {
        Err(SceneError::invalid(
            "validate",
            format!("The filter {code} is unknown; expected 9728 or 9729, or 9984 to 9987 for minFilter."),
        )
        .at(format!("{pointer}/{member}")))
    };
    let minified = match sampler.min_filter {
        None => None,
        Some(9728 | 9984 | 9986) => Some(false),
        Some(9729 | 9985 | 9987) => Some(true),
        Some(code) => return unknown("minFilter", code),
    };
    match sampler.mag_filter {
        Some(9728) => Ok(false),
        Some(9729) => Ok(true),
        Some(code) => unknown("magFilter", code),
        None => Ok(minified.unwrap_or(true)),
    }
}
