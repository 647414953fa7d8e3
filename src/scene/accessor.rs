//! Bounds-checked access to a file's binary data: buffers, buffer views, accessors.
//!
//! Every offset, length, stride and count is a claim of the file and is checked before the first byte is read; `min`
//! and `max` are never trusted, so they are not even parsed.

use super::container::{Container, shorten};
use super::document::{Accessor, Document, get};
use super::error::{SceneError, SceneResult};
use crate::limits;
use std::borrow::Cow;

/// The file's buffers, in memory.
pub(super) struct Buffers {
    buffers: Vec<Result<Vec<u8>, SceneError>>,
}

impl Buffers {
    /// Reads every buffer. One that is missing is an error only once something needs it: a fallback buffer of a
    /// compressed file has no bytes, and nobody asks for them.
    pub(super) fn load(document: &Document, container: &mut Container) -> Self {
        let mut bin = container.bin.take();
        let buffers = document
            .buffers
            .iter()
            .enumerate()
            .map(|(index, buffer)| {
                let pointer = format!("/buffers/{index}");
                let bytes = match &buffer.uri {
                    Some(uri) => container.resolve(uri).map_err(|error| error.at(format!("{pointer}/uri")))?,
                    None if index == 0 && bin.is_some() => bin.take().expect("checked by the guard"),
                    None => {
                        return Err(SceneError::invalid(
                            "load",
                            "The buffer has no URI, and the file has no binary chunk for it.",
                        )
                        .at(pointer));
                    }
                };
                if (bytes.len() as u64) < buffer.byte_length {
                    return Err(SceneError::invalid(
                        "load",
                        format!(
                            "The buffer promises {} bytes, and {} are there: the file is truncated.",
                            buffer.byte_length,
                            bytes.len()
                        ),
                    )
                    .at(pointer));
                }
                Ok(bytes)
            })
            .collect();
        Self { buffers }
    }

    /// The bytes of a buffer view, and its stride.
    pub(super) fn view<'a>(
        &'a self,
        document: &Document,
        index: u32,
        pointer: &str,
    ) -> SceneResult<(&'a [u8], Option<u64>)> {
        let view = get(&document.buffer_views, index, "buffer views", pointer)?;
        let pointer = format!("/bufferViews/{index}");
        get(&document.buffers, view.buffer, "buffers", &pointer)?;
        let buffer = self.buffers[view.buffer as usize].as_ref().map_err(Clone::clone)?;
        let end = view.byte_offset.checked_add(view.byte_length);
        let bytes = end
            .filter(|&end| end <= buffer.len() as u64)
            .map(|end| &buffer[view.byte_offset as usize..end as usize])
            .ok_or_else(|| {
                SceneError::invalid(
                    "validate",
                    format!(
                        "The buffer view takes {} bytes from byte {}; its buffer has {}.",
                        view.byte_length,
                        view.byte_offset,
                        buffer.len()
                    ),
                )
                .at(pointer)
            })?;
        Ok((bytes, view.byte_stride))
    }
}

/// A component type of glTF 2.0, 3.6.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component {
    I8,
    U8,
    I16,
    U16,
    U32,
    F32,
}

impl Component {
    fn parse(code: u32) -> Option<Self> {
        Some(match code {
            5120 => Self::I8,
            5121 => Self::U8,
            5122 => Self::I16,
            5123 => Self::U16,
            5125 => Self::U32,
            5126 => Self::F32,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }
}

/// Elements that are known to be there: `count` of them, each of `components` components.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    bytes: Cow<'a, [u8]>,
    /// Bytes between elements. Zero where every element is zero, so that nothing has to be allocated for them.
    stride: usize,
    /// How many.
    pub(super) count: usize,
    /// Components of one element.
    pub(super) components: usize,
    /// The type of each component.
    pub(super) component: Component,
    normalized: bool,
    /// JSON pointer of the accessor.
    pub(super) pointer: String,
}

impl<'a> Elements<'a> {
    /// Opens an accessor. `expected` names the allowed types, e.g. `["VEC3", "VEC4"]`.
    pub(super) fn open(
        document: &Document,
        buffers: &'a Buffers,
        index: u32,
        expected: &[&str],
        user: &str,
    ) -> SceneResult<Self> {
        let accessor = get(&document.accessors, index, "accessors", user)?;
        let pointer = format!("/accessors/{index}");
        if !expected.contains(&accessor.kind.as_str()) {
            return Err(SceneError::invalid(
                "validate",
                format!(
                    "The accessor has the type {}; {user} needs {}.",
                    shorten(&accessor.kind),
                    expected.join(" or ")
                ),
            )
            .at(pointer));
        }
        Self::build(document, buffers, accessor, pointer)
    }

    fn build(document: &Document, buffers: &'a Buffers, accessor: &Accessor, pointer: String) -> SceneResult<Self> {
        let invalid = |message: String| SceneError::invalid("validate", message).at(pointer.clone());
        let components = match accessor.kind.as_str() {
            "SCALAR" => 1,
            "VEC2" => 2,
            "VEC3" => 3,
            "VEC4" | "MAT2" => 4,
            "MAT3" => 9,
            "MAT4" => 16,
            kind => return Err(invalid(format!("The accessor has the unknown type {}.", shorten(kind)))),
        };
        let component = Component::parse(accessor.component_type).ok_or_else(|| {
            invalid(format!(
                "The accessor has the unknown component type {}; expected 5120 to 5123, 5125 or 5126.",
                accessor.component_type
            ))
        })?;
        let count_max =
            if accessor.buffer_view.is_some() { limits::ACCESSOR_ELEMENTS_MAX } else { limits::ACCESSOR_ZEROS_MAX };
        if accessor.count > count_max {
            return Err(SceneError::limit(
                "validate",
                format!("The accessor has {} elements; the limit is {count_max}.", accessor.count),
            )
            .at(pointer));
        }
        let (count, size) = (accessor.count as usize, components * component.bytes());
        let (bytes, stride) = match accessor.buffer_view {
            None => (Cow::Owned(vec![0; size]), 0),
            Some(view) => {
                let (bytes, stride) = buffers.view(document, view, &format!("{pointer}/bufferView"))?;
                let stride = stride.filter(|&stride| stride != 0).unwrap_or(size as u64);
                if stride < size as u64 || stride > 252.max(size as u64) {
                    return Err(invalid(format!(
                        "The buffer view has a stride of {stride} bytes; its elements have {size}."
                    )));
                }
                (
                    Cow::Borrowed(strided(bytes, accessor.byte_offset, stride, count, size).map_err(&invalid)?),
                    stride as usize,
                )
            }
        };
        let mut elements = Self {
            bytes,
            stride,
            count,
            components,
            component,
            normalized: accessor.normalized,
            pointer: pointer.clone(),
        };
        if let Some(sparse) = &accessor.sparse {
            if sparse.count > accessor.count {
                return Err(invalid(format!("{} of {count} elements are replaced sparsely.", sparse.count)));
            }
            let replaced = sparse.count as usize;
            let index_component = Component::parse(sparse.indices.component_type)
                .filter(|component| matches!(component, Component::U8 | Component::U16 | Component::U32))
                .ok_or_else(|| invalid("The sparse indices must be of an unsigned type.".to_owned()))?;
            let (bytes, _) =
                buffers.view(document, sparse.indices.buffer_view, &format!("{pointer}/sparse/indices/bufferView"))?;
            let width = index_component.bytes();
            let indices =
                strided(bytes, sparse.indices.byte_offset, width as u64, replaced, width).map_err(&invalid)?;
            let (bytes, _) =
                buffers.view(document, sparse.values.buffer_view, &format!("{pointer}/sparse/values/bufferView"))?;
            let values = strided(bytes, sparse.values.byte_offset, size as u64, replaced, size).map_err(&invalid)?;
            let mut dense = Vec::with_capacity(count * size);
            for index in 0..count {
                dense.extend_from_slice(&elements.bytes[index * elements.stride..][..size]);
            }
            for (at, value) in values.chunks_exact(size).enumerate() {
                let index = unsigned(&indices[at * width..], index_component) as usize;
                let place = dense.chunks_exact_mut(size).nth(index).ok_or_else(|| {
                    invalid(format!("The sparse index {index} is out of range: the accessor has {count} elements."))
                })?;
                place.copy_from_slice(value);
            }
            (elements.bytes, elements.stride) = (Cow::Owned(dense), size);
        }
        Ok(elements)
    }

    /// One component as it is used in the shader: floats as they are, normalised integers in [0, 1] or [−1, 1]
    /// (glTF 2.0, 3.6.2.2), other integers as numbers.
    pub(super) fn float(&self, element: usize, component: usize) -> f32 {
        let bytes = &self.bytes[element * self.stride + component * self.component.bytes()..];
        match (self.component, self.normalized) {
            (Component::F32, _) => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            (Component::I8, true) => (f32::from(bytes[0] as i8) / 127.0).max(-1.0),
            (Component::I8, false) => f32::from(bytes[0] as i8),
            (Component::U8, true) => f32::from(bytes[0]) / 255.0,
            (Component::U8, false) => f32::from(bytes[0]),
            (Component::I16, true) => (f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32767.0).max(-1.0),
            (Component::I16, false) => f32::from(i16::from_le_bytes([bytes[0], bytes[1]])),
            (Component::U16, true) => f32::from(u16::from_le_bytes([bytes[0], bytes[1]])) / 65535.0,
            (Component::U16, false) => f32::from(u16::from_le_bytes([bytes[0], bytes[1]])),
            (Component::U32, true) => (f64::from(unsigned(bytes, Component::U32)) / f64::from(u32::MAX)) as f32,
            (Component::U32, false) => unsigned(bytes, Component::U32) as f32,
        }
    }

    /// The first `N` components of an element as floats.
    pub(super) fn floats<const N: usize>(&self, element: usize) -> [f32; N] {
        std::array::from_fn(|component| self.float(element, component))
    }

    /// One component of an unsigned type (0 for any other).
    pub(super) fn unsigned(&self, element: usize, component: usize) -> u32 {
        unsigned(&self.bytes[element * self.stride + component * self.component.bytes()..], self.component)
    }

    /// Refuses component types that the specification does not allow here.
    pub(super) fn require(self, allowed: &[Component], user: &str) -> SceneResult<Self> {
        if allowed.contains(&self.component) {
            return Ok(self);
        }
        Err(SceneError::invalid(
            "validate",
            format!("The accessor has components of type {:?}; {user} needs one of {allowed:?}.", self.component),
        )
        .at(self.pointer))
    }
}

fn unsigned(bytes: &[u8], component: Component) -> u32 {
    match component {
        Component::U8 => u32::from(bytes[0]),
        Component::U16 => u32::from(u16::from_le_bytes([bytes[0], bytes[1]])),
        Component::U32 => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        Component::I8 | Component::I16 | Component::F32 => 0,
    }
}

/// The bytes from the first element to the end of the last.
fn strided(bytes: &[u8], offset: u64, stride: u64, count: usize, size: usize) -> Result<&[u8], String> {
    if count == 0 {
        return Ok(&[]);
    }
    let needed = (count as u64 - 1).checked_mul(stride).and_then(|length| length.checked_add(size as u64));
    needed
        .and_then(|needed| needed.checked_add(offset))
        .filter(|&end| end <= bytes.len() as u64)
        .map(|end| &bytes[offset as usize..end as usize])
        .ok_or_else(|| {
            format!(
                "The accessor is out of range: {count} elements of {size} bytes with stride {stride} from byte {offset} do not fit in the {} bytes of its buffer view.",
                bytes.len()
            )
        })
}
