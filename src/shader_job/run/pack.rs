//! From the picture on the device to the bytes that an encoder takes, on the device: the kernel `pack_frame` and its buffers.

use crate::device::{DeviceError, GpuBuffer, GpuContext};
use crate::limits::SHADER_PACK_BAND_BYTES_MAX;
use crate::shader_job::OutputColor;
use std::collections::HashMap;
use std::num::NonZeroU64;

const WGSL: &str = include_str!(concat!(env!("OUT_DIR"), "/pack_frame.wgsl"));
/// Bytes between the bands' entries in the uniform buffer.
const BAND_STRIDE_BYTES: u64 = 256;
/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// What the bytes of a packed frame are; rows from top to bottom, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackFormat {
    /// sRGB, three bytes a pixel.
    Rgb8,
    /// sRGB, three big-endian words of 16 bits a pixel.
    Rgb16,
    /// Scene-linear, four little-endian floats a pixel.
    Rgba32Float,
}

impl PackFormat {
    /// Bytes of a pixel.
    pub fn pixel_bytes(self) -> u64 {
        match self {
            Self::Rgb8 => 3,
            Self::Rgb16 => 6,
            Self::Rgba32Float => 16,
        }
    }

    /// Bytes of a picture, rounded up to whole groups of four pixels.
    pub fn frame_bytes(self, size: [u32; 2]) -> u64 {
        groups(size) * 4 * self.pixel_bytes()
    }

    fn constants(self, color: OutputColor) -> [(&'static str, f64); 2] {
        let layout = match self {
            Self::Rgb8 => 0.0,
            Self::Rgb16 => 1.0,
            Self::Rgba32Float => 2.0,
        };
        let curve = match (self, color) {
            (Self::Rgb8 | Self::Rgb16, OutputColor::Linear) => 1.0,
            (Self::Rgb8 | Self::Rgb16, OutputColor::Srgb) | (Self::Rgba32Float, OutputColor::Linear) => 0.0,
            (Self::Rgba32Float, OutputColor::Srgb) => 2.0,
        };
        [("0", layout), ("1", curve)]
    }
}

fn groups(size: [u32; 2]) -> u64 {
    (u64::from(size[0]) * u64::from(size[1])).div_ceil(4)
}

/// The compiled kernel in its variants.
#[derive(Default)]
struct Packers {
    layout: Option<wgpu::BindGroupLayout>,
    pipelines: HashMap<(PackFormat, bool), wgpu::ComputePipeline>,
}

impl Packers {
    fn layout(&mut self, device: &wgpu::Device) -> &wgpu::BindGroupLayout {
        self.layout.get_or_insert_with(|| {
            let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty,
                count: None,
            };
            let buffer =
                |ty, dynamic| wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: None };
            let storage = wgpu::BufferBindingType::Storage { read_only: false };
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some("pack_frame"),
                entries: &[
                    entry(
                        0,
                        wgpu::BindingType::Texture {
                            sample_type: wgpu::TextureSampleType::Float { filterable: false },
                            view_dimension: wgpu::TextureViewDimension::D2,
                            multisampled: false,
                        },
                    ),
                    entry(1, buffer(wgpu::BufferBindingType::Uniform, true)),
                    entry(2, buffer(storage, false)),
                    entry(3, buffer(storage, false)),
                ],
            })
        })
    }

    fn pipeline(&mut self, device: &wgpu::Device, format: PackFormat, color: OutputColor) -> wgpu::ComputePipeline {
        let layout = self.layout(device).clone();
        let key = (format, color == OutputColor::Srgb);
        let make = || {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("pack_frame"),
                source: wgpu::ShaderSource::Wgsl(WGSL.into()),
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some("pack_frame"),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("pack_frame"),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("pack_frame"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &format.constants(color),
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: None,
            })
        };
        self.pipelines.entry(key).or_insert_with(make).clone()
    }
}

/// Packs one picture, again and again.
pub struct Packer {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    words: GpuBuffer,
    /// Groups of four pixels before each band, and in it.
    bands: Vec<(u64, u64)>,
    group_bytes: u64,
    _band_uniforms: GpuBuffer,
}

impl Packer {
    /// Bytes on the device that a packer needs.
    pub fn device_bytes(size: [u32; 2], format: PackFormat) -> u64 {
        format.frame_bytes(size).min(SHADER_PACK_BAND_BYTES_MAX) + BAND_STRIDE_BYTES
    }

    /// For a picture of `size` pixels. Pixels that are not finite are counted in the word at `count_offset` of `counts`.
    ///
    /// # Errors
    /// See [`GpuContext::buffer`].
    pub fn new(
        gpu: &GpuContext<'_>,
        picture: &wgpu::Texture,
        format: PackFormat,
        color: OutputColor,
        counts: &GpuBuffer,
        count_offset: u64,
    ) -> Result<Self, DeviceError> {
        let size = [picture.width(), picture.height()];
        let group_bytes = 4 * format.pixel_bytes();
        let band_groups = SHADER_PACK_BAND_BYTES_MAX / group_bytes;
        let total = groups(size);
        let bands: Vec<(u64, u64)> = (0..total.div_ceil(band_groups))
            .map(|band| (band * band_groups, band_groups.min(total - band * band_groups)))
            .collect();
        let words = gpu.buffer(
            "packed frame",
            band_groups.min(total) * group_bytes,
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        )?;
        let mut uniforms = vec![0_u8; bands.len() * BAND_STRIDE_BYTES as usize];
        for (band, &(first, count)) in uniforms.chunks_exact_mut(BAND_STRIDE_BYTES as usize).zip(&bands) {
            // At most 64 Mi pixels, so that everything fits in a word.
            let words = [first as u32, count as u32, size[0], size[0] * size[1]];
            band[..16].copy_from_slice(bytemuck::cast_slice(&words));
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let band_uniforms = gpu.buffer("bands of a frame", uniforms.len() as u64, usage)?;
        gpu.write(&band_uniforms, 0, &uniforms);
        let (layout, pipeline) = gpu.local(|packers: &mut Packers| {
            (packers.layout(gpu.device).clone(), packers.pipeline(gpu.device, format, color))
        });
        let view = picture.create_view(&wgpu::TextureViewDescriptor::default());
        let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("pack_frame"),
            layout: &layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 1, resource: part(&band_uniforms, 0, 16) },
                wgpu::BindGroupEntry { binding: 2, resource: words.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 3, resource: part(counts, count_offset, 4) },
            ],
        });
        Ok(Self { pipeline, bind_group, words, bands, group_bytes, _band_uniforms: band_uniforms })
    }

    /// Records the packing, and the copy of its bytes to the start of `to`.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::Buffer) {
        for (index, &(first, count)) in self.bands.iter().enumerate() {
            let workgroups = (count as u32).div_ceil(WORKGROUP);
            let columns = workgroups.min(65_535);
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some("pack_frame"),
                    timestamp_writes: None,
                });
                pass.set_pipeline(&self.pipeline);
                pass.set_bind_group(0, &self.bind_group, &[index as u32 * BAND_STRIDE_BYTES as u32]);
                pass.dispatch_workgroups(columns, workgroups.div_ceil(columns), 1);
            }
            encoder.copy_buffer_to_buffer(&self.words, 0, to, first * self.group_bytes, count * self.group_bytes);
        }
    }
}

/// A part of a buffer, as it is bound.
pub(super) fn part(buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: NonZeroU64::new(bytes) })
}
