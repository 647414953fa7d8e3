//! Animations: every format decodes, frame by frame, to what was drawn; in the writers alone and through a server.

use super::service::*;
use crate::process::harness::{Server, gpu_or_skip};
use image::AnimationDecoder;
use kiln::image::animation::{AnimationSettings, AnimationWriter};
use kiln::job::spec::Format;
use mp4_atom::{Codec, ReadFrom};
use std::io::Cursor;

const SIZE: [u32; 2] = [48, 32];

/// Frame k of a film with a few colours: a white bar that wanders over red and blue.
fn frame(index: u32) -> Vec<u8> {
    let pixel = |at: u32| {
        let (x, y) = (at % SIZE[0], at / SIZE[0]);
        if x / 8 == index % 6 {
            [255, 255, 255]
        } else if y < SIZE[1] / 2 {
            [200, 20, 20]
        } else {
            [10, 30, 180]
        }
    };
    (0..SIZE[0] * SIZE[1]).flat_map(pixel).collect()
}

fn film(format: Format, frames: u32, frame_rate: f64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film");
    let settings = AnimationSettings { format, size: SIZE, frame_rate, alpha: false, quality: 90 };
    let mut writer = AnimationWriter::create(&path, settings).unwrap();
    for index in 0..frames {
        writer.push_frame(frame(index)).unwrap();
    }
    let (bytes, sha256) = writer.finish().unwrap();
    let file = std::fs::read(&path).unwrap();
    assert_eq!(bytes, file.len() as u64);
    use sha2::Digest;
    assert_eq!(<[u8; 32]>::from(sha2::Sha256::digest(&file)), sha256);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside the film");
    file
}

/// Frames and their milliseconds.
fn decoded<'a>(decoder: impl AnimationDecoder<'a>) -> Vec<(Vec<u8>, u32)> {
    let frames = decoder.into_frames().collect_frames().expect("every frame can be decoded");
    let one = |frame: image::Frame| {
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        let rgb = image::DynamicImage::from(frame.into_buffer()).into_rgb8().into_raw();
        (rgb, numerator / denominator)
    };
    frames.into_iter().map(one).collect()
}

/// The same of a GIF.
fn decoded_gif(gif: &[u8]) -> Vec<(Vec<u8>, u32)> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(gif).expect("a GIF");
    let mut frames = Vec::new();
    while let Some(frame) = decoder.read_next_frame().expect("every frame can be decoded") {
        assert_eq!((u32::from(frame.width), u32::from(frame.height)), (SIZE[0], SIZE[1]));
        let rgb = frame.buffer.chunks_exact(4).flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect();
        frames.push((rgb, u32::from(frame.delay) * 10));
    }
    frames
}

#[test]
fn films_without_loss_come_back_bit_for_bit_at_their_speed() {
    let apng = film(Format::Apng, 7, 25.0);
    let decoder = image::codecs::png::PngDecoder::new(Cursor::new(&apng)).unwrap();
    assert!(decoder.is_apng().unwrap());
    let webp = film(Format::Webp, 7, 25.0);
    // Five colours, so that GIF loses nothing either.
    let gif = film(Format::Gif, 7, 25.0);
    for (name, frames) in [
        ("apng", decoded(decoder.apng().unwrap())),
        ("webp", decoded(image::codecs::webp::WebPDecoder::new(Cursor::new(&webp)).unwrap())),
        ("gif", decoded_gif(&gif)),
    ] {
        assert_eq!(frames.len(), 7, "{name}");
        for (index, (pixels, ms)) in frames.iter().enumerate() {
            assert!(*pixels == frame(index as u32), "{name}: frame {index}");
            assert_eq!(*ms, 40, "{name}: frame {index}");
        }
    }
}

#[test]
fn the_delays_of_an_odd_speed_add_up() {
    let webp = film(Format::Webp, 60, 59.94);
    let frames = decoded(image::codecs::webp::WebPDecoder::new(Cursor::new(&webp)).unwrap());
    let sum: u32 = frames.iter().map(|(_, ms)| ms).sum();
    assert_eq!(sum, 1001, "60 frames at 59.94 a second");
}

/// Samples of an MP4 and its index.
fn parsed(mp4: &[u8]) -> (mp4_atom::Moov, Vec<Vec<u8>>) {
    let mut cursor = Cursor::new(mp4);
    let ftyp = mp4_atom::Ftyp::read_from(&mut cursor).expect("the file type stands first");
    assert!(ftyp.compatible_brands.contains(&mp4_atom::FourCC::new(b"av01")));
    let moov = mp4_atom::Moov::read_from(&mut cursor).expect("the index stands before the samples");
    let mdat = mp4_atom::Header::read_from(&mut cursor).expect("then come the samples");
    assert_eq!(mdat.kind, mp4_atom::FourCC::new(b"mdat"));
    let table = &moov.trak[0].mdia.minf.stbl;
    let mp4_atom::StszSamples::Different { sizes } = &table.stsz.samples else { panic!("sizes differ") };
    let mut at = table.co64.as_ref().expect("64-bit places").entries[0] as usize;
    assert_eq!(at as u64, cursor.position(), "the samples begin where the index says");
    let take = |size: &u32| {
        let sample = mp4[at..at + *size as usize].to_vec();
        at += *size as usize;
        sample
    };
    let samples = sizes.iter().map(take).collect();
    assert_eq!(at, mp4.len());
    (moov, samples)
}

#[test]
fn a_video_is_well_formed_and_the_same_every_time() {
    let mp4 = film(Format::Mp4, 130, 30.0);
    assert!(mp4 == film(Format::Mp4, 130, 30.0), "the same frames gave another file");
    let (moov, samples) = parsed(&mp4);
    let media = &moov.trak[0].mdia;
    assert_eq!(samples.len(), 130);
    assert_eq!((media.mdhd.timescale, media.mdhd.duration), (30_000, 130_000));
    assert_eq!((moov.mvhd.timescale, moov.mvhd.duration), (30_000, 130_000));
    let times = &media.minf.stbl.stts.entries;
    assert_eq!(times.iter().map(|entry| (entry.sample_count, entry.sample_delta)).collect::<Vec<_>>(), [(130, 1000)]);
    let Codec::Av01(av1) = &media.minf.stbl.stsd.codecs[0] else { panic!("no AV1") };
    assert_eq!((av1.visual.width, av1.visual.height), (48, 32));
    assert!(matches!(
        av1.colr,
        Some(mp4_atom::Colr::Nclx {
            colour_primaries: 1,
            transfer_characteristics: 1,
            matrix_coefficients: 1,
            full_range_flag: false
        })
    ));
    assert_eq!(av1.av1c.config_obus[0] >> 3 & 0xf, 1, "the configuration holds a sequence header");
    let keys = &media.minf.stbl.stss.as_ref().expect("key frames are listed").entries;
    assert_eq!(keys[0], 1);
    assert!(keys.windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] <= 120), "{keys:?}");
    for (index, sample) in samples.iter().enumerate() {
        let kinds = obus(sample);
        assert!(!kinds.contains(&2), "sample {index} holds a temporal delimiter");
        assert!(kinds.iter().any(|kind| [3, 6].contains(kind)), "sample {index} holds no frame: {kinds:?}");
        let key = keys.contains(&(index as u32 + 1));
        assert_eq!(kinds.contains(&1), key, "a key frame, and no other, brings its sequence header: sample {index}");
    }
}

/// Types of the units of a sample.
fn obus(mut sample: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [head, rest @ ..] = sample {
        assert_eq!(head & 0b10, 0b10, "every unit has its length in it");
        let mut rest = if head & 0b100 == 0 { rest } else { &rest[1..] };
        let (mut length, mut shift) = (0, 0);
        loop {
            length |= usize::from(rest[0] & 0x7f) << shift;
            shift += 7;
            let last = rest[0] & 0x80 == 0;
            rest = &rest[1..];
            if last {
                break;
            }
        }
        kinds.push(head >> 3 & 0xf);
        sample = &rest[length..];
    }
    kinds
}

#[test]
fn a_film_that_is_not_finished_leaves_nothing_behind() {
    for format in [Format::Apng, Format::Gif, Format::Webp, Format::Mp4] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film");
        let settings = AnimationSettings { format, size: SIZE, frame_rate: 30.0, alpha: false, quality: 90 };
        let mut writer = AnimationWriter::create(&path, settings).unwrap();
        writer.push_frame(frame(0)).unwrap();
        assert!(writer.push_frame(vec![0; 5]).is_err(), "a frame of another size was taken");
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{format:?}");
        let empty = AnimationWriter::create(&path, settings).unwrap();
        assert!(empty.finish().is_err(), "{format:?}: a film without frames");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{format:?}");
    }
}

#[tokio::test]
async fn animations_of_a_job_decode_to_its_frames() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let run = async |options: &str| {
        let query = format!("width=48&height=32&start=1&end=9&step=2&fps=20&{options}");
        let job = succeeded(wgsl(&server, &query, GRADIENT).await);
        (job["outputs"][0]["media_type"].as_str().unwrap().to_owned(), outputs(&server, &job).await)
    };
    let (_, stills) = run("format=png").await;
    assert_eq!(stills.len(), 5);
    let stills: Vec<Vec<u8>> = stills.iter().map(|(_, png)| rgb(png).into_raw()).collect();
    for (format, media_type, name) in
        [("apng", "image/apng", "animation.png"), ("webp", "image/webp", "animation.webp")]
    {
        let (found, files) = run(&format!("format={format}")).await;
        assert_eq!((found.as_str(), files[0].0.as_str()), (media_type, name));
        let frames = match format {
            "apng" => decoded(image::codecs::png::PngDecoder::new(Cursor::new(&files[0].1)).unwrap().apng().unwrap()),
            _ => decoded(image::codecs::webp::WebPDecoder::new(Cursor::new(&files[0].1)).unwrap()),
        };
        assert!(frames.iter().map(|(pixels, _)| pixels).eq(&stills), "{format}");
        // Every second frame of 20 a second.
        assert!(frames.iter().all(|(_, ms)| *ms == 100), "{format}");
    }
    let (found, files) = run("format=gif").await;
    assert_eq!(found, "image/gif");
    let frames = decoded_gif(&files[0].1);
    for ((pixels, _), still) in frames.iter().zip(&stills) {
        let error: f64 = pixels.iter().zip(still).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        assert!(error / (still.len() as f64) < 100.0, "256 colours of a gradient are not that far off: {error}");
    }
    let (found, files) = run("format=mp4").await;
    assert_eq!((found.as_str(), files[0].0.as_str()), ("video/mp4", "animation.mp4"));
    assert_eq!(parsed(&files[0].1).1.len(), 5);
}

#[test]
fn a_film_whose_frames_last_for_minutes_is_a_film_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (frame_rate, milliseconds) in [(0.01, 100_000), (0.0004, 2_500_000)] {
        let settings =
            AnimationSettings { format: Format::Mp4, size: [640, 360], frame_rate, alpha: false, quality: 50 };
        let path = folder.path().join("slow.mp4");
        let mut writer = AnimationWriter::create(&path, settings).unwrap();
        for grey in [50, 200] {
            writer.push_frame(vec![grey; settings.frame_bytes()]).unwrap();
        }
        writer.finish().unwrap();
        let (moov, samples) = parsed(&std::fs::read(&path).unwrap());
        let head = &moov.trak[0].mdia.mdhd;
        assert_eq!((samples.len(), head.duration * 1000 / u64::from(head.timescale)), (2, 2 * milliseconds));
    }
}

#[test]
fn what_a_format_has_no_room_for_is_not_tried_again_and_a_full_disk_is() {
    use kiln::image::EncodeError;
    use kiln::job::{Disposition, FailureReason};
    let settings =
        AnimationSettings { format: Format::Gif, size: [70_000, 1], frame_rate: 1.0, alpha: false, quality: 50 };
    let folder = tempfile::tempdir().unwrap();
    let refused = AnimationWriter::create(&folder.path().join("wide.gif"), settings).map(drop).unwrap_err();
    assert_eq!(refused.reason(), FailureReason::LimitExceeded);
    assert_eq!(EncodeError::TooLarge { bytes_max: 1 << 30 }.reason().disposition(), Disposition::Fail);
    let full = EncodeError::Io { path: "x".into(), source: std::io::ErrorKind::StorageFull.into() };
    assert_eq!(full.reason().disposition(), Disposition::Retry);
}
