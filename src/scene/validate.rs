//! Checks that every index of a document names something, used or not: a file with a dangling reference is broken, and
//! its author should hear where. What indices lead to is checked where it is read.

use super::document::{Document, MetallicRoughness, TextureInfo, out_of_range};
use super::error::{SceneError, SceneResult};

/// Checks all references of `document` between its arrays. Children of nodes are checked with the hierarchy.
pub(super) fn references(document: &Document) -> SceneResult<()> {
    scenes_and_nodes(document)?;
    meshes(document)?;
    binary(document)?;
    materials(document)?;
    skins_and_animations(document)
}

/// `pointer` is only called on error: files have millions of indices.
fn check<T>(index: Option<u32>, elements: &[T], name: &str, pointer: impl FnOnce() -> String) -> SceneResult<()> {
    match index {
        Some(index) if index as usize >= elements.len() => Err(out_of_range(index, elements.len(), name).at(pointer())),
        _ => Ok(()),
    }
}

fn scenes_and_nodes(document: &Document) -> SceneResult<()> {
    check(document.scene, &document.scenes, "scenes", || "/scene".to_owned())?;
    for (scene, element) in document.scenes.iter().enumerate() {
        for (at, &node) in element.nodes.iter().enumerate() {
            check(Some(node), &document.nodes, "nodes", || format!("/scenes/{scene}/nodes/{at}"))?;
        }
    }
    for (node, element) in document.nodes.iter().enumerate() {
        check(element.mesh, &document.meshes, "meshes", || format!("/nodes/{node}/mesh"))?;
        check(element.skin, &document.skins, "skins", || format!("/nodes/{node}/skin"))?;
        check(element.camera, &document.cameras, "cameras", || format!("/nodes/{node}/camera"))?;
        let light =
            element.extensions.as_ref().and_then(|extensions| extensions.light.as_ref()).map(|light| light.light);
        check(light, &document.lights, "punctual lights", || {
            format!("/nodes/{node}/extensions/KHR_lights_punctual/light")
        })?;
    }
    Ok(())
}

fn meshes(document: &Document) -> SceneResult<()> {
    for (mesh, element) in document.meshes.iter().enumerate() {
        for (at, primitive) in element.primitives.iter().enumerate() {
            let place = || format!("/meshes/{mesh}/primitives/{at}");
            check(primitive.indices, &document.accessors, "accessors", || format!("{}/indices", place()))?;
            check(primitive.material, &document.materials, "materials", || format!("{}/material", place()))?;
            for (name, &accessor) in &primitive.attributes {
                check(Some(accessor), &document.accessors, "accessors", || {
                    format!("{}/attributes/{}", place(), escaped(name))
                })?;
            }
            for (target, attributes) in primitive.targets.iter().enumerate() {
                for (name, &accessor) in attributes {
                    check(Some(accessor), &document.accessors, "accessors", || {
                        format!("{}/targets/{target}/{}", place(), escaped(name))
                    })?;
                }
            }
        }
    }
    Ok(())
}

fn binary(document: &Document) -> SceneResult<()> {
    for (accessor, element) in document.accessors.iter().enumerate() {
        let views = &document.buffer_views;
        check(element.buffer_view, views, "buffer views", || format!("/accessors/{accessor}/bufferView"))?;
        if let Some(sparse) = &element.sparse {
            let place = || format!("/accessors/{accessor}/sparse");
            check(Some(sparse.indices.buffer_view), views, "buffer views", || {
                format!("{}/indices/bufferView", place())
            })?;
            check(Some(sparse.values.buffer_view), views, "buffer views", || format!("{}/values/bufferView", place()))?;
        }
    }
    for (view, element) in document.buffer_views.iter().enumerate() {
        check(Some(element.buffer), &document.buffers, "buffers", || format!("/bufferViews/{view}/buffer"))?;
        let length = document.buffers[element.buffer as usize].byte_length;
        if element.byte_offset.checked_add(element.byte_length).is_none_or(|end| end > length) {
            return Err(SceneError::invalid(
                "validate",
                format!(
                    "The buffer view takes {} bytes from byte {}; its buffer has {length}.",
                    element.byte_length, element.byte_offset
                ),
            )
            .at(format!("/bufferViews/{view}")));
        }
    }
    for (image, element) in document.images.iter().enumerate() {
        check(element.buffer_view, &document.buffer_views, "buffer views", || format!("/images/{image}/bufferView"))?;
    }
    Ok(())
}

fn materials(document: &Document) -> SceneResult<()> {
    for (material, element) in document.materials.iter().enumerate() {
        let MetallicRoughness { base_color_texture, metallic_roughness_texture, .. } = &element.pbr_metallic_roughness;
        let infos: [(&str, Option<&TextureInfo>); 5] = [
            ("pbrMetallicRoughness/baseColorTexture", base_color_texture.as_ref()),
            ("pbrMetallicRoughness/metallicRoughnessTexture", metallic_roughness_texture.as_ref()),
            ("normalTexture", element.normal_texture.as_ref().map(|texture| &texture.info)),
            ("occlusionTexture", element.occlusion_texture.as_ref()),
            ("emissiveTexture", element.emissive_texture.as_ref()),
        ];
        for (member, info) in infos {
            check(info.map(|info| info.index), &document.textures, "textures", || {
                format!("/materials/{material}/{member}/index")
            })?;
        }
    }
    for (texture, element) in document.textures.iter().enumerate() {
        check(element.sampler, &document.samplers, "samplers", || format!("/textures/{texture}/sampler"))?;
        check(element.source, &document.images, "images", || format!("/textures/{texture}/source"))?;
        let webp = element.extensions.webp.as_ref().and_then(|webp| webp.source);
        check(webp, &document.images, "images", || format!("/textures/{texture}/extensions/EXT_texture_webp/source"))?;
    }
    Ok(())
}

fn skins_and_animations(document: &Document) -> SceneResult<()> {
    for (skin, element) in document.skins.iter().enumerate() {
        check(element.inverse_bind_matrices, &document.accessors, "accessors", || {
            format!("/skins/{skin}/inverseBindMatrices")
        })?;
        for (at, &joint) in element.joints.iter().enumerate() {
            check(Some(joint), &document.nodes, "nodes", || format!("/skins/{skin}/joints/{at}"))?;
        }
    }
    for (animation, element) in document.animations.iter().enumerate() {
        for (at, sampler) in element.samplers.iter().enumerate() {
            let place = || format!("/animations/{animation}/samplers/{at}");
            check(Some(sampler.input), &document.accessors, "accessors", || format!("{}/input", place()))?;
            check(Some(sampler.output), &document.accessors, "accessors", || format!("{}/output", place()))?;
        }
        for (at, channel) in element.channels.iter().enumerate() {
            let place = || format!("/animations/{animation}/channels/{at}");
            check(Some(channel.sampler), &element.samplers, "samplers", || format!("{}/sampler", place()))?;
            check(channel.target.node, &document.nodes, "nodes", || format!("{}/target/node", place()))?;
        }
    }
    Ok(())
}

/// A name as a token of a JSON pointer (RFC 6901, 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
