//! Runs one entry point `main` of a module: `@group(0) @binding(0)` is an array of words, and a fuel report if there is one.

use crate::gpu::Gpu;
use naga::valid::ModuleInfo;

/// WGSL of a module.
pub fn wgsl(module: &naga::Module, info: &ModuleInfo) -> String {
    naga::back::wgsl::write_string(module, info, naga::back::wgsl::WriterFlags::empty())
        .expect("naga can write what it read")
}

/// Runs one workgroup, with the array's words as they were before, and gives them back with the fuel report.
pub fn run(gpu: &Gpu, wgsl: &str, input: &[u32], report: Option<u32>) -> (Vec<u32>, u32) {
    use wgpu::util::DeviceExt as _;
    let device = &gpu.device;
    let errors = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let buffer = |contents: &[u32]| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("shader test"),
            contents: bytemuck::cast_slice(contents),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        })
    };
    let (words, flag) = (buffer(input), buffer(&[0]));
    let bytes = 4 * input.len() as u64;
    let readback = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("shader test"),
        size: bytes + 4,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("shader test"),
        source: wgpu::ShaderSource::Wgsl(wgsl.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("shader test"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: words.as_entire_binding() }];
    entries.extend(report.map(|binding| wgpu::BindGroupEntry { binding, resource: flag.as_entire_binding() }));
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("shader test"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("shader test") });
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&words, 0, &readback, 0, bytes);
    encoder.copy_buffer_to_buffer(&flag, 0, &readback, bytes, 4);
    gpu.queue.submit([encoder.finish()]);
    readback.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the readback buffer can be mapped"));
    device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
    if let Some(error) = pollster::block_on(errors.pop()) {
        panic!("the GPU refused the test shader: {error}\n{wgsl}");
    }
    let mapped = readback.get_mapped_range(..).expect("it was mapped above");
    let mut out: Vec<u32> = bytemuck::pod_collect_to_vec(&mapped);
    let flag = out.pop().expect("the flag is last");
    (out, flag)
}

/// Creates the pipelines of a program, so that the driver's own compiler sees its code.
pub fn create_pipelines(gpu: &Gpu, program: &kiln::shader_job::Program) -> Result<(), String> {
    for dispatch in &program.dispatches {
        let unit = &program.units[dispatch.unit];
        let errors = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let text = wgsl(&unit.module, &unit.info);
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("shader test"),
            source: wgpu::ShaderSource::Wgsl(text.as_str().into()),
        });
        let _pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("shader test"),
            layout: None,
            module: &module,
            entry_point: Some(&dispatch.entry_point),
            compilation_options: Default::default(),
            cache: None,
        });
        if let Some(error) = pollster::block_on(errors.pop()) {
            return Err(format!("{}: {error}\n{text}", unit.name));
        }
    }
    Ok(())
}
