//! The shader path: rays a second, a slice's overhead, readback, encoding, and an empty job through the whole service.
//!
//! `cargo bench --bench shader_path`. Rays are counted by the renderer, which is deterministic, so every iteration has the same number; a
//! ray's time includes shading, light sampling with its shadow ray, texture filtering and the film. The time of a render is the time of its
//! slices without the upload of the scene.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::bench::{Machine, RaySet, SCENES, Service};
use std::hint::black_box;
use std::time::Duration;

fn rays(criterion: &mut Criterion) {
    let machine = Machine::open().expect("a GPU adapter, or the software driver, is there");
    eprintln!("adapter: {} ({})", machine.adapter().name, machine.adapter().driver);
    let mut group = criterion.benchmark_group("rays");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(12));
    for scene in SCENES {
        let loaded = machine.load(scene.glb()).expect("our own scenes load");
        for set in [RaySet::Primary, RaySet::Bounced] {
            let stats = machine.trace(&loaded, set).expect("our own scenes render");
            group.throughput(Throughput::Elements(stats.rays_primary + stats.rays_bounced));
            group.bench_function(format!("{}/{}", scene.name, set.name()), |bencher| {
                bencher.iter_custom(|iterations| {
                    (0..iterations)
                        .map(|_| machine.trace(&loaded, set).expect("it rendered before").trace_seconds())
                        .map(Duration::from_secs_f64)
                        .sum()
                });
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("device");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    group.bench_function("slice overhead", |bencher| {
        bencher.iter(|| machine.empty_slices(100).expect("no work cannot fail"))
    });
    let (width, height) = (1024, 1024);
    group.throughput(Throughput::Bytes(u64::from(width * height) * 16));
    group.bench_function("readback 1024x1024", |bencher| {
        bencher.iter_custom(|count| machine.readbacks(width, height, count).expect("a film can be read back"));
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let film = kiln::bench::film(1920, 1080);
    let mut group = criterion.benchmark_group("encode 1920x1080");
    group.sample_size(10);
    for (name, output) in kiln::bench::output_formats() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| kiln::bench::encode(black_box(&film), &output).expect("a film of numbers can be encoded"));
        });
    }
    group.finish();
}

fn service(criterion: &mut Criterion) {
    let service = Service::start(env!("CARGO_BIN_EXE_kiln").as_ref()).expect("kiln serve starts");
    let mut group = criterion.benchmark_group("service");
    group.sample_size(20).measurement_time(Duration::from_secs(8));
    group.bench_function("empty job", |bencher| {
        bencher.iter(|| service.empty_job().expect("the smallest job succeeds"))
    });
    group.finish();
}

criterion_group!(benches, rays, encode, service);
criterion_main!(benches);
