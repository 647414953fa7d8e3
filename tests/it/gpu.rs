//! Runs small kernels over `shaders/lib`: the harness of all tests of shader functions. One device for the whole test process.

use bytemuck::Pod;
use std::sync::OnceLock;

/// A device of the test process's own.
pub struct Gpu {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The adapter's name, for messages.
    pub adapter: String,
}

/// The shared device, or `None`, loudly, where there is no adapter. `KILN_REQUIRE_GPU=1` makes that a failure.
pub fn device_or_skip() -> Option<&'static Gpu> {
    static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
    match GPU.get_or_init(open) {
        Ok(gpu) => Some(gpu),
        Err(why) => {
            let required = std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1");
            assert!(!required, "KILN_REQUIRE_GPU=1, but no GPU can be used: {why}");
            eprintln!("======== SKIPPED: this test needs a GPU adapter, and there is none: {why} ========");
            None
        }
    }
}

fn open() -> Result<Gpu, String> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
        .map_err(|error| error.to_string())?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("test device"),
        required_limits: adapter.limits(),
        ..Default::default()
    }))
    .map_err(|error| error.to_string())?;
    Ok(Gpu { device, queue, adapter: adapter.get_info().name })
}

/// Links a kernel's text with `shaders/lib` (imported as `package::lib::…`) into plain WGSL.
pub fn link(kernel: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders/lib");
    let mut resolver = wesl::VirtualResolver::new();
    for entry in std::fs::read_dir(&folder).expect("shaders/lib is there") {
        let path = entry.expect("shaders/lib can be read").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("file names are identifiers").to_owned();
        let text = std::fs::read_to_string(&path).expect("shader files are UTF-8");
        resolver.add_module(format!("package::lib::{name}").parse().expect("a module path"), text.into());
    }
    let module: wesl::ModulePath = "package::test_kernel".parse().expect("a module path");
    resolver.add_module(module.clone(), kernel.into());
    match wesl::Wesl::new("").set_custom_resolver(resolver).compile(&module) {
        Ok(linked) => linked.to_string(),
        Err(error) => panic!("the test kernel does not link:\n{error}"),
    }
}

/// Runs a kernel and returns what it wrote. The text declares `@group(0) @binding(0) var<storage, read> input: array<…>`,
/// `@group(0) @binding(1) var<storage, read_write> output: array<…>` and `@compute @workgroup_size(64) fn main`, with at least one
/// invocation for each of the `outputs` elements; it must mind that there may be more.
pub fn run<I: Pod, O: Pod>(gpu: &Gpu, kernel: &str, input: &[I], outputs: usize) -> Vec<O> {
    use wgpu::util::DeviceExt as _;
    let groups = u32::try_from(outputs.div_ceil(64)).expect("small tests");
    assert!(groups <= 65_535 && !input.is_empty(), "between 1 and 4 million outputs, and some input");
    let bytes = (outputs * size_of::<O>()) as u64;
    let device = &gpu.device;
    let errors = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let buffer = |label, usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    };
    let input = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some("test input"),
        contents: bytemuck::cast_slice(input),
        usage: wgpu::BufferUsages::STORAGE,
    });
    let output = buffer("test output", wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let readback = buffer("test readback", wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("test kernel"),
        source: wgpu::ShaderSource::Wgsl(link(kernel).into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("test kernel"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("test kernel"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: input.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: output.as_entire_binding() },
        ],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("test kernel") });
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(groups, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&output, 0, &readback, 0, bytes);
    gpu.queue.submit([encoder.finish()]);
    readback.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the readback buffer can be mapped"));
    device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
    if let Some(error) = pollster::block_on(errors.pop()) {
        panic!("the GPU refused the test kernel: {error}");
    }
    let mapped = readback.get_mapped_range(..).expect("it was mapped above");
    bytemuck::pod_collect_to_vec(&mapped)
}

/// The probability that χ² with `degrees` of freedom comes out at least as large by chance: Q(degrees / 2, χ² / 2), the regularised upper
/// incomplete gamma function, by its series below the mean and by its continued fraction above.
/// Source: Press et al. 2007, "Numerical Recipes", 3rd edition, section 6.2.
pub fn chi2_p_value(chi2: f64, degrees: u32) -> f64 {
    let (a, x) = (f64::from(degrees) / 2.0, chi2 / 2.0);
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let mut term = 1.0 / a;
        let mut sum = term;
        let mut n = a;
        while term > sum * 1e-15 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - front * sum;
    }
    let mut b = x + 1.0 - a;
    let mut c = f64::MAX;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for n in 1..10_000 {
        let n = f64::from(n);
        let numerator = n * (a - n);
        b += 2.0;
        d = 1.0 / (b + numerator * d);
        c = b + numerator / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * fraction
}

/// ln Γ(x) for x ≥ 1/2 by Stirling's series, shifted to where it is exact to the last digits.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 20.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series = (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[test]
fn p_values_match_the_tables() {
    // 95 % and 99.9 % points of χ², Abramowitz & Stegun, table 26.8.
    for (chi2, degrees, p) in
        [(3.841_46, 1, 0.05), (18.307_0, 10, 0.05), (124.342, 100, 0.05), (29.588_3, 10, 0.001), (0.455, 1, 0.5)]
    {
        let found = chi2_p_value(chi2, degrees);
        assert!((found - p).abs() < p * 1e-3, "χ² {chi2}, {degrees} degrees: {found}, expected {p}");
    }
}

#[test]
fn a_kernel_sees_its_input_and_returns_its_output() {
    let Some(gpu) = device_or_skip() else { return };
    let input: Vec<u32> = (0..1000).collect();
    let kernel = "
        import package::lib::math::hash_u32;
        @group(0) @binding(0) var<storage, read> input: array<u32>;
        @group(0) @binding(1) var<storage, read_write> output: array<u32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
            if id.x < arrayLength(&output) { output[id.x] = hash_u32(input[id.x]); }
        }";
    let expected: Vec<u32> = input.iter().map(|&n| sobol_burley::parts::hash(n)).collect();
    assert_eq!(run::<u32, u32>(gpu, kernel, &input, input.len()), expected, "on {}", gpu.adapter);
}
