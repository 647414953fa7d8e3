//! Pictures of textures: found in buffer views, data URIs and archives, bounded, decoded in parallel.

use super::Image;
use super::accessor::Buffers;
use super::container::Container;
use super::document::{Document, get};
use super::error::{SceneError, SceneResult};
use crate::limits;
use image::{ImageFormat, ImageReader, Limits};
use rayon::prelude::*;
use std::collections::HashMap;
use std::io::Cursor;

/// The pictures that materials ask for, each once however many textures read it.
#[derive(Default)]
pub(super) struct Images {
    /// Indices in the file, in the order in which they were asked for.
    wanted: Vec<u32>,
    known: HashMap<u32, u32>,
    count: usize,
}

impl Images {
    /// No pictures yet, of a file that has some.
    pub(super) fn new(document: &Document) -> Self {
        Self { count: document.images.len(), ..Self::default() }
    }

    /// Asks for a picture of the file and answers its index in the scene.
    pub(super) fn want(&mut self, image: u32, pointer: &str) -> SceneResult<u32> {
        if image as usize >= self.count {
            return Err(super::document::out_of_range(image, self.count, "images").at(pointer));
        }
        let wanted = &mut self.wanted;
        Ok(*self.known.entry(image).or_insert_with(|| {
            wanted.push(image);
            wanted.len() as u32 - 1
        }))
    }

    /// Decodes all that was asked for. The sizes of all are checked before the first is decoded.
    pub(super) fn decode(
        self,
        document: &Document,
        buffers: &Buffers,
        container: &mut Container,
    ) -> SceneResult<Vec<Image>> {
        let mut files = Vec::with_capacity(self.wanted.len());
        let mut texels = 0_u64;
        for &index in &self.wanted {
            let pointer = format!("/images/{index}");
            let image = get(&document.images, index, "images", &pointer)?;
            let bytes = match (&image.uri, image.buffer_view) {
                (Some(uri), _) => container.resolve(uri).map_err(|error| error.at(format!("{pointer}/uri")))?,
                (None, Some(view)) => buffers.view(document, view, &format!("{pointer}/bufferView"))?.0.to_vec(),
                (None, None) => {
                    return Err(
                        SceneError::invalid("validate", "The image has neither a URI nor a buffer view.").at(pointer)
                    );
                }
            };
            let (width, height) =
                reader(&bytes, &pointer)?.into_dimensions().map_err(|error| broken(&error, &pointer))?;
            texels += u64::from(width) * u64::from(height);
            if width.max(height) > limits::TEXTURE_SIDE_TEXELS_MAX || texels > limits::TEXELS_MAX {
                return Err(SceneError::limit(
                    "load",
                    format!(
                        "A picture has {width} × {height} texels, {texels} with those before it; the limits are {} a side and {} in all.",
                        limits::TEXTURE_SIDE_TEXELS_MAX,
                        limits::TEXELS_MAX
                    ),
                )
                .at(pointer));
            }
            files.push((bytes, pointer));
        }
        // Collected first and searched after, so that the error which is told is the first one, not the fastest.
        let decoded: Vec<SceneResult<Image>> =
            files.into_par_iter().map(|(bytes, pointer)| decode(&bytes, &pointer)).collect();
        decoded.into_iter().collect()
    }
}

fn reader<'a>(bytes: &'a [u8], pointer: &str) -> SceneResult<ImageReader<Cursor<&'a [u8]>>> {
    let format = image::guess_format(bytes)
        .ok()
        .filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP));
    let format = format.ok_or_else(|| {
        SceneError::invalid("load", "The picture is in a format that Kiln does not read; expected PNG, JPEG or WebP.")
            .at(pointer)
    })?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut bounds = Limits::default();
    bounds.max_image_width = Some(limits::TEXTURE_SIDE_TEXELS_MAX);
    bounds.max_image_height = Some(limits::TEXTURE_SIDE_TEXELS_MAX);
    bounds.max_alloc = Some(limits::TEXELS_MAX * 8);
    reader.limits(bounds);
    Ok(reader)
}

fn decode(bytes: &[u8], pointer: &str) -> SceneResult<Image> {
    let picture = reader(bytes, pointer)?.decode().map_err(|error| broken(&error, pointer))?;
    // 16-bit channels are rounded to 8, grey is spread to RGB, and a missing alpha is 1.
    let picture = picture.into_rgba8();
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return Err(SceneError::invalid("load", "The picture has no texels.").at(pointer));
    }
    Ok(Image { width, height, rgba8: picture.into_raw() })
}

fn broken(error: &image::ImageError, pointer: &str) -> SceneError {
    match error {
        image::ImageError::Limits(_) => SceneError::limit(
            "load",
            format!("The picture is larger than {} texels a side.", limits::TEXTURE_SIDE_TEXELS_MAX),
        ),
        _ => SceneError::invalid("load", format!("The picture cannot be decoded: {error}.")),
    }
    .at(pointer)
}
