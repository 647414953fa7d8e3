//! What a program has on the device: buffers, textures, bind groups; and how one frame is recorded. Device thread only.
//!
//! All uniforms of a frame lie in one buffer, 256 bytes apart, and are written at once. The reports of spent fuel and the count of pixels
//! that are not finite lie in another.

use super::channels::{ChannelFormat, ChannelPicture};
use super::input::ShaderInput;
use super::pack::{PackFormat, Packer, part};
use super::pipelines::{Compiled, Samplers, texture_format};
use crate::device::{DeviceError, GpuBuffer, GpuContext, GpuTexture};
use crate::shader_job::{
    BindingKind, FrameInputs, LoopPlace, Program, StorageTarget, TexelFormat, TextureSource, UniformBlock,
};
use std::sync::Arc;

/// Bytes between two uniforms, and between two reports: what every adapter accepts.
const STRIDE_BYTES: u64 = 256;
/// Layers of pass textures.
const PASS_LAYERS: u32 = 4;

/// A dispatch of a frame: which, and for which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Index into [`Program::dispatches`].
    pub dispatch: usize,
    /// See [`BindingKind::DispatchId`].
    pub id: u32,
}

/// See the module's text.
pub struct Live {
    program: Arc<Program>,
    compiled: Arc<Compiled>,
    uniforms: GpuBuffer,
    /// Every uniform block with its place.
    blocks: Vec<(u64, UniformBlock)>,
    storage: Vec<GpuBuffer>,
    /// One report a unit, then the count of pixels that are not finite.
    reports: GpuBuffer,
    output: GpuTexture,
    previous: Option<GpuTexture>,
    /// What is read, what is written.
    passes: Option<[GpuTexture; 2]>,
    /// Of each buffer of a shadertoy: written in even frames, in odd ones.
    buffers: Vec<[GpuTexture; 2]>,
    channels: Vec<Option<GpuTexture>>,
    blank: GpuTexture,
    /// By unit: the groups for even frames and for odd ones. Both are the same without buffers.
    groups: Vec<[Vec<wgpu::BindGroup>; 2]>,
    /// By unit: which group takes the dynamic offset.
    id_groups: Vec<Option<usize>>,
    packer: Packer,
}

impl Live {
    /// Creates everything, with zeros in it.
    ///
    /// # Errors
    /// See [`GpuContext::buffer`].
    pub fn new(gpu: &GpuContext<'_>, input: &ShaderInput, compiled: Arc<Compiled>) -> Result<Self, DeviceError> {
        let program = Arc::clone(&input.program);
        let [width, height] = program.size;
        let texture = |label: &str, size: [u32; 2], layers: u32, format| {
            gpu.texture(&wgpu::TextureDescriptor {
                label: Some(label),
                size: wgpu::Extent3d { width: size[0], height: size[1], depth_or_array_layers: layers },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: texture_format(format),
                usage: wgpu::TextureUsages::STORAGE_BINDING
                    | wgpu::TextureUsages::TEXTURE_BINDING
                    | wgpu::TextureUsages::COPY_SRC
                    | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            })
        };
        let picture = |label, format| texture(label, [width, height], 1, format);
        let output = picture("shader output", program.output.format)?;
        let previous = program.previous.then(|| picture("shader previous", program.output.format)).transpose()?;
        let pass = |label, format| texture(label, [width, height], PASS_LAYERS, format);
        let passes = match program.passes {
            Some(passes) => Some([pass("shader pass_in", passes.format)?, pass("shader pass_out", passes.format)?]),
            None => None,
        };
        let mut buffers = Vec::with_capacity(program.buffers.len());
        for buffer in &program.buffers {
            buffers.push([picture("shader buffer", buffer.format)?, picture("shader buffer", buffer.format)?]);
        }
        let blank = texture("shader blank", [1, 1], 1, TexelFormat::Rgba8Unorm)?;
        let mut channels = Vec::with_capacity(input.channels.len());
        for channel in &input.channels {
            channels.push(channel.as_ref().map(|channel| upload(gpu, channel)).transpose()?);
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let mut storage = Vec::with_capacity(program.storage.len());
        for buffer in &program.storage {
            storage.push(gpu.buffer("shader storage", buffer.bytes, usage)?);
        }
        let reports = gpu.buffer("shader reports", STRIDE_BYTES * (program.units.len() as u64 + 1), usage)?;
        let mut blocks = Vec::new();
        let mut bytes = 0;
        let mut place = |size: u64| {
            let at = bytes;
            bytes += size.next_multiple_of(STRIDE_BYTES);
            at
        };
        let ids = program.dispatches.iter().map(|dispatch| dispatch.count).max().unwrap_or(1).max(1);
        let ids_at = place(STRIDE_BYTES * u64::from(ids));
        for binding in program.units.iter().flat_map(|unit| &unit.bindings) {
            if let BindingKind::Uniform(block) = &binding.kind {
                blocks.push((place(block.bytes.len() as u64), block.clone()));
            }
        }
        let uniforms =
            gpu.buffer("shader uniforms", bytes, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?;
        for id in 0..ids {
            gpu.write(&uniforms, ids_at + STRIDE_BYTES * u64::from(id), &id.to_le_bytes());
        }
        for (at, block) in blocks.iter().filter(|(_, block)| block.is_constant()) {
            gpu.write(&uniforms, *at, &block.bytes);
        }
        let counts_at = STRIDE_BYTES * program.units.len() as u64;
        let packer = Packer::new(gpu, &output, input.pack, program.output.color, &reports, counts_at)?;
        let mut live = Self {
            compiled,
            uniforms,
            blocks,
            storage,
            reports,
            output,
            previous,
            passes,
            buffers,
            channels,
            blank,
            groups: Vec::new(),
            id_groups: Vec::new(),
            packer,
            program,
        };
        live.bind(gpu);
        live.blocks.retain(|(_, block)| !block.is_constant());
        Ok(live)
    }

    /// Bytes on the device that [`Self::new`] takes.
    pub fn device_bytes(input: &ShaderInput) -> u64 {
        let channel =
            |channel: &Arc<ChannelPicture>| channel.levels.iter().map(|level| level.len() as u64).sum::<u64>();
        input.program.memory_bytes
            + input.channels.iter().flatten().map(channel).sum::<u64>()
            + Packer::device_bytes(input.program.size, input.pack)
    }

    fn bind(&mut self, gpu: &GpuContext<'_>) {
        let program = Arc::clone(&self.program);
        let mut blocks = self.blocks.iter();
        for (index, unit) in program.units.iter().enumerate() {
            // Where the uniforms of this unit are, in the order of its bindings.
            let places: Vec<u64> = unit
                .bindings
                .iter()
                .filter(|binding| matches!(binding.kind, BindingKind::Uniform(_)))
                .map(|_| blocks.next().expect("one block a uniform, in this order").0)
                .collect();
            let groups = [0, 1].map(|parity| self.bind_unit(gpu, index, parity, &places));
            self.groups.push(groups);
            let id_group = unit.bindings.iter().find(|binding| binding.kind == BindingKind::DispatchId);
            self.id_groups.push(id_group.map(|binding| binding.group as usize));
        }
    }

    fn bind_unit(&self, gpu: &GpuContext<'_>, index: usize, parity: usize, places: &[u64]) -> Vec<wgpu::BindGroup> {
        let unit = &self.program.units[index];
        let dispatched = self.program.dispatches.iter().position(|dispatch| dispatch.unit == index).unwrap_or(0);
        let mut places = places.iter();
        // Views and samplers must outlive the descriptors that name them.
        let bound: Vec<(u32, u32, Bound<'_>)> = unit
            .bindings
            .iter()
            .map(|binding| {
                let bound = match &binding.kind {
                    BindingKind::Storage { index, .. } => Bound::Buffer(&self.storage[*index], 0, 0),
                    BindingKind::Uniform(block) => {
                        let at = places.next().expect("one place a uniform, in this order");
                        Bound::Buffer(&self.uniforms, *at, block.bytes.len() as u64)
                    }
                    BindingKind::DispatchId => Bound::Buffer(&self.uniforms, 0, 16),
                    BindingKind::FuelReport => Bound::Buffer(&self.reports, STRIDE_BYTES * index as u64, 4),
                    BindingKind::Texture { source, array, .. } => {
                        Bound::Texture(view(self.source(*source, parity, dispatched), *array))
                    }
                    BindingKind::StorageTexture { target, array, .. } => {
                        let texture = match target {
                            StorageTarget::Output => &self.output,
                            StorageTarget::PassOut => &self.passes.as_ref().expect("a target that exists")[1],
                            StorageTarget::Buffer(buffer) => &self.buffers[*buffer][parity],
                        };
                        Bound::Texture(view(texture, *array))
                    }
                    BindingKind::Sampler(kind) => {
                        Bound::Sampler(gpu.local(|samplers: &mut Samplers| samplers.get(gpu.device, *kind)))
                    }
                };
                (binding.group, binding.binding, bound)
            })
            .collect();
        let layouts = &self.compiled.layouts[index];
        (0..layouts.len())
            .map(|group| {
                let entries: Vec<wgpu::BindGroupEntry<'_>> = bound
                    .iter()
                    .filter(|(of, ..)| *of as usize == group)
                    .map(|(_, binding, bound)| wgpu::BindGroupEntry { binding: *binding, resource: bound.resource() })
                    .collect();
                gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&unit.name),
                    layout: &layouts[group],
                    entries: &entries,
                })
            })
            .collect()
    }

    /// What a unit sees that is first dispatched at `dispatched`, in frames of this parity.
    fn source(&self, source: TextureSource, parity: usize, dispatched: usize) -> &GpuTexture {
        match source {
            TextureSource::Channel(index) => self.channels.get(index).and_then(Option::as_ref).unwrap_or(&self.blank),
            TextureSource::PassIn => &self.passes.as_ref().expect("a source that exists")[0],
            TextureSource::Previous => self.previous.as_ref().expect("a source that exists"),
            TextureSource::Blank => &self.blank,
            TextureSource::Buffer(buffer) => {
                let drawn = self.program.dispatches.iter().position(|dispatch| {
                    let writes = StorageTarget::Buffer(buffer);
                    self.program.units[dispatch.unit].bindings.iter().any(|binding| {
                        matches!(binding.kind, BindingKind::StorageTexture { target, .. } if target == writes)
                    })
                });
                // Drawn in this frame already, or what the last frame left.
                let this_frame = drawn.is_some_and(|drawn| drawn < dispatched);
                &self.buffers[buffer][if this_frame { parity } else { 1 - parity }]
            }
        }
    }

    /// Writes the uniforms of a frame. What is submitted afterwards sees them.
    pub fn write_uniforms(&self, gpu: &GpuContext<'_>, frame: &FrameInputs) {
        for (at, block) in &self.blocks {
            gpu.write(&self.uniforms, *at, &block.for_frame(frame));
        }
    }

    /// Records one dispatch of a frame and what follows it.
    pub fn record_step(&self, encoder: &mut wgpu::CommandEncoder, frame: u32, step: Step) {
        let dispatch = &self.program.dispatches[step.dispatch];
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(&dispatch.entry_point),
                timestamp_writes: None,
            });
            pass.set_pipeline(&self.compiled.pipelines[step.dispatch]);
            let groups = &self.groups[dispatch.unit][frame as usize % 2];
            for (index, group) in groups.iter().enumerate() {
                let offset = [step.id * STRIDE_BYTES as u32];
                let offsets = if self.id_groups[dispatch.unit] == Some(index) { &offset[..] } else { &[] };
                pass.set_bind_group(index as u32, group, offsets);
            }
            let [x, y, z] = dispatch.workgroups;
            pass.dispatch_workgroups(x, y, z);
        }
        if let Some([pass_in, pass_out]) = &self.passes {
            encoder.copy_texture_to_texture(pass_out.as_image_copy(), pass_in.as_image_copy(), pass_in.size());
        }
    }

    /// Records what ends a frame.
    pub fn record_end(&self, encoder: &mut wgpu::CommandEncoder) {
        if let Some(previous) = &self.previous {
            encoder.copy_texture_to_texture(self.output.as_image_copy(), previous.as_image_copy(), previous.size());
        }
    }

    /// Records the packing of the picture to the start of `to`.
    pub fn record_pack(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::Buffer) {
        self.packer.record(encoder, to);
    }

    /// Bytes of [`Self::record_reports`].
    pub fn report_bytes(&self) -> u64 {
        4 * (self.program.units.len() as u64 + 1)
    }

    /// Records the copy of all reports to `offset` of `to`.
    pub fn record_reports(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::Buffer, offset: u64) {
        for index in 0..=self.program.units.len() as u64 {
            encoder.copy_buffer_to_buffer(&self.reports, STRIDE_BYTES * index, to, offset + 4 * index, 4);
        }
    }

    /// The loop that ran out of fuel, if one did, and the pixels that were not finite, of what [`Self::record_reports`] copied.
    pub fn read_reports(&self, bytes: &[u8]) -> (Option<&LoopPlace>, u32) {
        let mut words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let mut ran_out = None;
        for unit in &self.program.units {
            let report = words.next().unwrap_or(0);
            ran_out = ran_out.or(unit.fuel.ran_out(report));
        }
        (ran_out, words.next().unwrap_or(0))
    }

    /// The picture as 8-bit sRGB, for a look at it.
    ///
    /// # Errors
    /// See [`GpuContext::read`].
    pub fn look(&self, gpu: &GpuContext<'_>) -> Result<Vec<u8>, DeviceError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        // A count of its own: a look must not change what is reported.
        let count = gpu.buffer("shader preview count", 16, usage)?;
        let packer = Packer::new(gpu, &self.output, PackFormat::Rgb8, self.program.output.color, &count, 0)?;
        let bytes = PackFormat::Rgb8.frame_bytes(self.program.size);
        // Only ever copied: it may be larger than what the adapter binds.
        let copied = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let packed = gpu.buffer("shader preview", bytes, copied)?;
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("preview") });
        packer.record(&mut encoder, &packed);
        gpu.queue.submit([encoder.finish()]);
        let mut pixels: Vec<u8> = gpu.read(&packed, bytes as usize)?;
        pixels.truncate(self.program.size[0] as usize * self.program.size[1] as usize * 3);
        Ok(pixels)
    }

    /// Everything that the next frame depends on, one blob each, in a fixed order.
    ///
    /// # Errors
    /// See [`GpuContext::read`].
    pub fn save(&self, gpu: &GpuContext<'_>) -> Result<Vec<Vec<u8>>, DeviceError> {
        let mut parts = Vec::new();
        for buffer in self.storage.iter().chain([&self.reports]) {
            gpu.alive();
            parts.push(gpu.read(buffer, buffer.size() as usize)?);
        }
        for texture in self.textures() {
            gpu.alive();
            parts.push(read_texture(gpu, texture)?);
        }
        Ok(parts)
    }

    /// Puts back what [`Self::save`] gave, if it fits.
    ///
    /// # Errors
    /// See [`GpuContext::upload`].
    pub fn restore(&self, gpu: &GpuContext<'_>, parts: &[Vec<u8>]) -> Result<bool, DeviceError> {
        let buffers: Vec<&GpuBuffer> = self.storage.iter().chain([&self.reports]).collect();
        let textures = self.textures();
        let lengths =
            buffers.iter().map(|buffer| buffer.size()).chain(textures.iter().map(|texture| texel_bytes(texture)));
        if !lengths.eq(parts.iter().map(|part| part.len() as u64)) {
            return Ok(false);
        }
        for (buffer, bytes) in buffers.iter().zip(parts) {
            gpu.upload(buffer, 0, bytes)?;
        }
        for (texture, bytes) in textures.iter().zip(&parts[buffers.len()..]) {
            gpu.alive();
            write_level(gpu, texture, 0, bytes);
            let submission = gpu.queue.submit([]);
            gpu.wait(submission)?;
        }
        Ok(true)
    }

    fn textures(&self) -> Vec<&GpuTexture> {
        let passes = self.passes.iter().flatten();
        std::iter::once(&self.output).chain(&self.previous).chain(passes).chain(self.buffers.iter().flatten()).collect()
    }
}

enum Bound<'a> {
    /// Offset and bytes; 0 bytes are all.
    Buffer(&'a wgpu::Buffer, u64, u64),
    Texture(wgpu::TextureView),
    Sampler(wgpu::Sampler),
}

impl Bound<'_> {
    fn resource(&self) -> wgpu::BindingResource<'_> {
        match self {
            Self::Buffer(buffer, offset, bytes) => part(buffer, *offset, *bytes),
            Self::Texture(view) => wgpu::BindingResource::TextureView(view),
            Self::Sampler(sampler) => wgpu::BindingResource::Sampler(sampler),
        }
    }
}

fn view(texture: &wgpu::Texture, array: bool) -> wgpu::TextureView {
    let dimension = if array { wgpu::TextureViewDimension::D2Array } else { wgpu::TextureViewDimension::D2 };
    texture.create_view(&wgpu::TextureViewDescriptor {
        dimension: Some(dimension),
        ..wgpu::TextureViewDescriptor::default()
    })
}

/// Bytes of level 0, all layers.
fn texel_bytes(texture: &wgpu::Texture) -> u64 {
    let texel = u64::from(texture.format().block_copy_size(None).unwrap_or(4));
    u64::from(texture.width()) * u64::from(texture.height()) * u64::from(texture.depth_or_array_layers()) * texel
}

fn upload(gpu: &GpuContext<'_>, channel: &ChannelPicture) -> Result<GpuTexture, DeviceError> {
    let format = match channel.format {
        ChannelFormat::Rgba8Srgb => wgpu::TextureFormat::Rgba8UnormSrgb,
        ChannelFormat::Rgba8 => wgpu::TextureFormat::Rgba8Unorm,
        ChannelFormat::Rgba16Float => wgpu::TextureFormat::Rgba16Float,
    };
    let texture = gpu.texture(&wgpu::TextureDescriptor {
        label: Some("shader channel"),
        size: wgpu::Extent3d { width: channel.size[0], height: channel.size[1], depth_or_array_layers: 1 },
        mip_level_count: channel.levels.len() as u32,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })?;
    for (level, bytes) in channel.levels.iter().enumerate() {
        gpu.alive();
        write_level(gpu, &texture, level as u32, bytes);
    }
    Ok(texture)
}

fn write_level(gpu: &GpuContext<'_>, texture: &wgpu::Texture, level: u32, bytes: &[u8]) {
    let (width, height) = ((texture.width() >> level).max(1), (texture.height() >> level).max(1));
    gpu.queue.write_texture(
        wgpu::TexelCopyTextureInfo { mip_level: level, ..texture.as_image_copy() },
        bytes,
        wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(width * texture.format().block_copy_size(None).unwrap_or(4)),
            rows_per_image: Some(height),
        },
        wgpu::Extent3d { width, height, depth_or_array_layers: texture.depth_or_array_layers() },
    );
}

/// Level 0 of all layers, rows without gaps.
fn read_texture(gpu: &GpuContext<'_>, texture: &wgpu::Texture) -> Result<Vec<u8>, DeviceError> {
    let texel = texture.format().block_copy_size(None).unwrap_or(4);
    let row = u64::from(texture.width() * texel);
    let stride = row.next_multiple_of(u64::from(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT));
    let rows = u64::from(texture.height()) * u64::from(texture.depth_or_array_layers());
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let buffer = gpu.buffer("shader state", stride * rows, usage)?;
    let mut encoder =
        gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("shader state") });
    encoder.copy_texture_to_buffer(
        texture.as_image_copy(),
        wgpu::TexelCopyBufferInfo {
            buffer: &buffer,
            layout: wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(stride as u32),
                rows_per_image: Some(texture.height()),
            },
        },
        texture.size(),
    );
    gpu.queue.submit([encoder.finish()]);
    let padded: Vec<u8> = gpu.read(&buffer, (stride * rows) as usize)?;
    if stride == row {
        return Ok(padded);
    }
    Ok(padded.chunks_exact(stride as usize).flat_map(|padded| &padded[..row as usize]).copied().collect())
}
