//! Goldens: small pictures with a fixed seed, kept in `tests/goldens/`. A change of the picture must be meant, and explained where it is
//! committed: `KILN_BLESS=1 cargo test --test it golden::` writes them anew.

use kiln::bench::{Machine, settings};
use kiln::job::spec::{Background, OutputSpec, Preset, ToneMap};
use kiln::{image, sample_scenes, scene::environment};
use std::path::Path;

/// What one golden may weigh.
const GOLDEN_BYTES_MAX: u64 = 48 << 10;
/// Root mean square of the difference in display values, of 255. The same adapter gives 0; another one rounds otherwise, and
/// now and then a path takes another turn.
const RMSE_MAX: f64 = 4.0;

fn check(name: &str, width: u32, height: u32, samples: u32) {
    let machine = match Machine::open() {
        Ok(machine) => machine,
        Err(why) => {
            let required = std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1");
            assert!(!required, "KILN_REQUIRE_GPU=1, but no GPU can be used: {why}");
            eprintln!("======== SKIPPED: this test needs a GPU adapter, and there is none: {why} ========");
            return;
        }
    };
    let scene = machine.load(sample_scenes::by_name(name).unwrap()).unwrap();
    let settings = settings(&scene, width, height, samples, 8).unwrap();
    let (film, stats) = machine.render(&scene, environment::preset(Preset::Studio), settings).unwrap();
    assert_eq!(stats.nan_pixels, 0);
    let folder = tempfile::tempdir().unwrap();
    let output =
        image::encode(&film, &OutputSpec::default(), ToneMap::Neutral, 0.0, Background::Environment, folder.path())
            .unwrap();
    let actual_file = folder.path().join(output.name);
    let golden_file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/{name}.png"));
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::create_dir_all(golden_file.parent().unwrap()).unwrap();
        // The smallest file, since it is kept for ever.
        let picture = ::image::open(&actual_file).unwrap().to_rgb8();
        let file = std::io::BufWriter::new(std::fs::File::create(&golden_file).unwrap());
        let encoder = ::image::codecs::png::PngEncoder::new_with_quality(
            file,
            ::image::codecs::png::CompressionType::Best,
            ::image::codecs::png::FilterType::Adaptive,
        );
        picture.write_with_encoder(encoder).unwrap();
    }
    let bytes = std::fs::metadata(&golden_file).map_or(0, |metadata| metadata.len());
    assert!(bytes > 0, "{} is missing: KILN_BLESS=1 writes it", golden_file.display());
    assert!(bytes <= GOLDEN_BYTES_MAX, "{name}.png has {bytes} bytes, the cap is {GOLDEN_BYTES_MAX}");

    let actual = ::image::open(&actual_file).unwrap().to_rgb8();
    let golden = ::image::open(&golden_file).unwrap().to_rgb8();
    assert_eq!(actual.dimensions(), golden.dimensions());
    let differences: Vec<i32> = actual.iter().zip(golden.iter()).map(|(&a, &g)| i32::from(a) - i32::from(g)).collect();
    let squares: f64 = differences.iter().map(|&difference| f64::from(difference).powi(2)).sum();
    let rmse = (squares / differences.len() as f64).sqrt();
    if rmse > RMSE_MAX {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let saved = target.join(format!("{name}.actual.png"));
        actual.save(&saved).unwrap();
        let grey = differences.iter().map(|&difference| (128 + difference.clamp(-32, 31) * 4).clamp(0, 255) as u8);
        let difference = ::image::RgbImage::from_raw(width, height, grey.collect()).unwrap();
        difference.save(target.join(format!("{name}.difference.png"))).unwrap();
        panic!("{name} differs from its golden: RMSE {rmse:.2} of 255, at most {RMSE_MAX}; see {}", saved.display());
    }
}

#[test]
fn the_still_life_looks_as_it_did() {
    check("still-life", 128, 96, 16);
}

#[test]
fn the_cornell_box_looks_as_it_did() {
    check("cornell-box", 96, 96, 16);
}

#[test]
fn the_field_looks_as_it_did() {
    check("field", 128, 96, 8);
}
