//! AV1 in MP4: rav1e, and the boxes of ISO/IEC 14496-12 with those of "AV1 Codec ISO Media File Format Binding" (AOM, 2024).
//!
//! 8 bits, 4:2:0, BT.709, limited range. The samples go to a file beside the video, since the index that has to stand in front of them
//! (so that players begin before they have all of it) is known at the end only.

use super::AnimationSettings;
use crate::image::EncodeError;
use crate::limits::VIDEO_THREADS_MAX;
use mp4_atom::{
    Av01, Av1c, Co64, Codec, Colr, Dinf, Dref, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mvhd, Stbl, Stsc,
    StscEntry, Stsd, Stss, Stsz, StszSamples, Stts, SttsEntry, Tkhd, Trak, Visual, Vmhd,
};
use rav1e::prelude::*;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// rav1e's fastest; without assembly even this is the slowest part of a video.
const SPEED: u8 = 10;
/// Seconds between key frames, at most, so that players can seek.
const KEY_SECONDS: f64 = 4.0;
/// Pixels of a tile: pictures are cut by their size alone, so that the bits do not depend on the number of threads.
const TILE_PIXELS: usize = 640 * 360;
/// Media time units of a frame, or of a second where frames are longer.
const UNITS: f64 = 1000.0;

/// Planes Y, U, V in BT.709, limited range (ITU-R BT.709-6, items 3.2 to 3.4 and 4.6); a chroma sample is the mean of its four pixels.
pub(super) fn planes(settings: &AnimationSettings, pixels: &[u8]) -> [Vec<u8>; 3] {
    let [width, height] = settings.size.map(|side| side as usize);
    let channels = if settings.alpha { 4 } else { 3 };
    let rgb = |x: usize, y: usize| -> [f32; 3] {
        let pixel = &pixels[(y * width + x) * channels..][..channels];
        let alpha = if settings.alpha { f32::from(pixel[3]) / 255.0 } else { 1.0 };
        [0, 1, 2].map(|channel| f32::from(pixel[channel]) * alpha + 255.0 * (1.0 - alpha))
    };
    let luma = |[r, g, b]: [f32; 3]| 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let y_plane = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| (16.0 + luma(rgb(x, y)) * (219.0 / 255.0) + 0.5) as u8)
        .collect();
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let (mut u_plane, mut v_plane) =
        (Vec::with_capacity(half_width * half_height), Vec::with_capacity(half_width * half_height));
    for y in 0..half_height {
        for x in 0..half_width {
            let (xs, ys) = ([2 * x, (2 * x + 1).min(width - 1)], [2 * y, (2 * y + 1).min(height - 1)]);
            let mut sum = [0.0; 3];
            for (x, y) in ys.into_iter().flat_map(|y| xs.map(|x| (x, y))) {
                let pixel = rgb(x, y);
                sum = std::array::from_fn(|channel| sum[channel] + pixel[channel] * 0.25);
            }
            let light = luma(sum);
            let sample = |difference: f32, range: f32| (128.0 + difference / range * (224.0 / 255.0) + 0.5) as u8;
            u_plane.push(sample(sum[2] - light, 1.8556));
            v_plane.push(sample(sum[0] - light, 1.5748));
        }
    }
    [y_plane, u_plane, v_plane]
}

pub(super) struct Mp4Writer {
    settings: AnimationSettings,
    file: BufWriter<File>,
    path: PathBuf,
    samples: Samples,
    encoder: Context<u8>,
    level: u8,
}

/// The file beside the video.
struct Samples {
    file: BufWriter<File>,
    path: PathBuf,
    sizes: Vec<u32>,
    /// From 1.
    keys: Vec<u32>,
    sequence_header: Option<Vec<u8>>,
}

impl Drop for Samples {
    fn drop(&mut self) {
        // It lies in a folder that goes with its task.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Mp4Writer {
    pub(super) fn new(file: BufWriter<File>, path: &Path, settings: &AnimationSettings) -> Result<Self, EncodeError> {
        let beside = path.with_extension("samples");
        let io = |source| EncodeError::Io { path: beside.clone(), source };
        let samples = File::options().read(true).write(true).create(true).truncate(true).open(&beside).map_err(io)?;
        let level = level(settings);
        let encoder = encoder(settings, level)?;
        let samples = Samples {
            file: BufWriter::new(samples),
            path: beside,
            sizes: Vec::new(),
            keys: Vec::new(),
            sequence_header: None,
        };
        Ok(Self { settings: *settings, file, path: path.to_owned(), samples, encoder, level })
    }

    /// Answers the bytes that it has added.
    pub(super) fn push(&mut self, planes: &[Vec<u8>; 3]) -> Result<u64, EncodeError> {
        let before = self.samples.sizes.len();
        let width = self.settings.size[0] as usize;
        let mut frame = self.encoder.new_frame();
        for (plane, (source, stride)) in
            frame.planes.iter_mut().zip(planes.iter().zip([width, width.div_ceil(2), width.div_ceil(2)]))
        {
            plane.copy_from_raw_u8(source, stride, 1);
        }
        self.encoder.send_frame(frame).map_err(|error| self.settings.error(error))?;
        self.drain()?;
        Ok(self.samples.sizes[before..].iter().map(|size| u64::from(*size)).sum())
    }

    /// Takes the packets that are ready.
    fn drain(&mut self) -> Result<(), EncodeError> {
        loop {
            match self.encoder.receive_packet() {
                Ok(packet) => self.write_sample(&packet.data, packet.frame_type == FrameType::KEY)?,
                // One frame was looked at, and none is ready yet.
                Err(EncoderStatus::Encoded) => {}
                Err(EncoderStatus::NeedMoreData | EncoderStatus::LimitReached) => return Ok(()),
                Err(error) => return Err(self.settings.error(error)),
            }
        }
    }

    fn write_sample(&mut self, packet: &[u8], key: bool) -> Result<(), EncodeError> {
        let mut bytes = 0_usize;
        for obu in Obus(packet) {
            match obu.kind {
                // Temporal delimiters are left out of samples (binding, section 2.4).
                2 => continue,
                1 if self.samples.sequence_header.is_none() => {
                    self.samples.sequence_header = Some(obu.bytes.to_vec());
                }
                _ => {}
            }
            let path = &self.samples.path;
            let io = |source| EncodeError::Io { path: path.clone(), source };
            self.samples.file.write_all(obu.bytes).map_err(io)?;
            bytes += obu.bytes.len();
        }
        let size = u32::try_from(bytes).map_err(|_| self.settings.error("a frame of 4 GiB"))?;
        self.samples.sizes.push(size);
        if key {
            self.samples.keys.push(self.samples.sizes.len() as u32);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), EncodeError> {
        self.encoder.flush();
        self.drain()?;
        let wrong = |error: mp4_atom::Error| self.settings.error(error);
        let mut head = Vec::new();
        let brands = [b"isom", b"iso6", b"av01", b"mp41"].map(FourCC::new);
        Ftyp { major_brand: FourCC::new(b"isom"), minor_version: 512, compatible_brands: brands.to_vec() }
            .encode(&mut head)
            .map_err(wrong)?;
        // The index holds the place of the samples behind it, whose number of bytes does not change the index's own.
        let mut index = Vec::new();
        self.index(0)?.encode(&mut index).map_err(wrong)?;
        let data_head_bytes = 16;
        let first_sample = (head.len() + index.len() + data_head_bytes) as u64;
        self.index(first_sample)?.encode(&mut head).map_err(wrong)?;
        let data_bytes = self.samples.sizes.iter().map(|size| u64::from(*size)).sum::<u64>() + data_head_bytes as u64;
        // A length of 1 says that the 64-bit length follows.
        head.extend(1_u32.to_be_bytes());
        head.extend(b"mdat");
        head.extend(data_bytes.to_be_bytes());

        let io = |source| EncodeError::Io { path: self.path.clone(), source };
        self.file.write_all(&head).map_err(io)?;
        self.samples.file.flush().map_err(io)?;
        let samples = self.samples.file.get_mut();
        samples.seek(SeekFrom::Start(0)).map_err(io)?;
        std::io::copy(samples, &mut self.file).map_err(io)?;
        self.file.flush().map_err(io)
    }

    /// The box `moov`, for samples that begin at this byte of the file.
    fn index(&self, first_sample: u64) -> Result<Moov, EncodeError> {
        let settings = &self.settings;
        let frames = self.samples.sizes.len() as u32;
        let (sample_delta, timescale) = frame_time(settings.frame_rate);
        let duration = u64::from(frames) * u64::from(sample_delta);
        let side = |side: u32| u16::try_from(side).map_err(|_| settings.error("more than 65535 pixels wide or high"));
        let (width, height) = (side(settings.size[0])?, side(settings.size[1])?);
        let header = self.samples.sequence_header.clone();
        let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
        let codec = Codec::Av01(Av01 {
            visual,
            av1c: Av1c {
                seq_level_idx_0: self.level,
                chroma_subsampling_x: true,
                chroma_subsampling_y: true,
                config_obus: header.ok_or_else(|| settings.error("the video has no sequence header"))?,
                ..Av1c::default()
            },
            colr: Some(Colr::Nclx {
                colour_primaries: 1,
                transfer_characteristics: 1,
                matrix_coefficients: 1,
                full_range_flag: false,
            }),
            ..Av01::default()
        });
        let table = Stbl {
            stsd: Stsd { codecs: vec![codec] },
            stts: Stts { entries: vec![SttsEntry { sample_count: frames, sample_delta }] },
            stss: Some(Stss { entries: self.samples.keys.clone() }),
            stsc: Stsc {
                entries: vec![StscEntry { first_chunk: 1, samples_per_chunk: frames, sample_description_index: 1 }],
            },
            stsz: Stsz { samples: StszSamples::Different { sizes: self.samples.sizes.clone() } },
            co64: Some(Co64 { entries: vec![first_sample] }),
            ..Stbl::default()
        };
        let media = Mdia {
            mdhd: Mdhd { timescale, duration, language: "und".into(), ..Mdhd::default() },
            hdlr: Hdlr { handler: FourCC::new(b"vide"), name: "Kiln".into() },
            minf: Minf { vmhd: Some(Vmhd::default()), dinf: local_data(), stbl: table, ..Minf::default() },
        };
        let track = Trak {
            tkhd: Tkhd {
                track_id: 1,
                duration,
                enabled: true,
                in_movie: true,
                width: width.into(),
                height: height.into(),
                ..Tkhd::default()
            },
            mdia: media,
            ..Trak::default()
        };
        Ok(Moov {
            mvhd: Mvhd { timescale, duration, rate: 1.into(), volume: 1.into(), next_track_id: 2, ..Mvhd::default() },
            trak: vec![track],
            ..Moov::default()
        })
    }
}

/// The samples are in this very file.
fn local_data() -> Dinf {
    Dinf { dref: Dref { entries: vec![mp4_atom::Url::default().into()] } }
}

/// Media time units of a frame, and of a second.
fn frame_time(frame_rate: f64) -> (u32, u32) {
    // Casts stop at the ends of the numbers.
    let units = |units: f64| (units.round() as u32).max(1);
    if frame_rate >= 1.0 {
        (UNITS as u32, units(frame_rate * UNITS))
    } else {
        (units(UNITS / frame_rate), UNITS as u32)
    }
}

/// The lowest level that has room for the video (AV1 specification, annex A.3), as `seq_level_idx`; 31 where there is none.
fn level(settings: &AnimationSettings) -> u8 {
    // Index, pixels of a picture, its sides, pixels a second.
    const LEVELS: [(u8, u64, u32, u32, f64); 10] = [
        (0, 147_456, 2048, 1152, 4_423_680.0),
        (1, 278_784, 2816, 1584, 8_363_520.0),
        (4, 665_856, 4352, 2448, 19_975_680.0),
        (5, 1_065_024, 5504, 3096, 31_950_720.0),
        (8, 2_359_296, 6144, 3456, 70_778_880.0),
        (9, 2_359_296, 6144, 3456, 141_557_760.0),
        (12, 8_912_896, 8192, 4352, 267_386_880.0),
        (13, 8_912_896, 8192, 4352, 534_773_760.0),
        (14, 8_912_896, 8192, 4352, 1_069_547_520.0),
        (16, 35_651_584, 16_384, 8704, 1_069_547_520.0),
    ];
    let [width, height] = settings.size;
    let pixels = u64::from(width) * u64::from(height);
    let fits = |&(_, picture, wide, high, rate): &(u8, u64, u32, u32, f64)| {
        pixels <= picture && width <= wide && height <= high && pixels as f64 * settings.frame_rate <= rate
    };
    LEVELS.iter().find(|level| fits(level)).map_or(31, |level| level.0)
}

fn encoder(settings: &AnimationSettings, level: u8) -> Result<Context<u8>, EncodeError> {
    let [width, height] = settings.size.map(|side| side as usize);
    let tiles = (width * height / TILE_PIXELS).clamp(1, 16).next_power_of_two();
    let key_frames = (settings.frame_rate * KEY_SECONDS).round().clamp(1.0, 1000.0) as u64;
    let quality = usize::from(settings.quality.clamp(1, 100));
    let (frame_units, timescale) = frame_time(settings.frame_rate.max(1.0));
    let config = EncoderConfig {
        width,
        height,
        // There are no times in the video itself, but the encoder refuses long ones: it takes the seconds of a frame for frames a second
        // when it checks the level.
        time_base: Rational::new(u64::from(frame_units), u64::from(timescale)),
        bit_depth: 8,
        chroma_sampling: ChromaSampling::Cs420,
        pixel_range: PixelRange::Limited,
        color_description: Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::BT709,
            matrix_coefficients: MatrixCoefficients::BT709,
        }),
        level_idx: Some(level),
        min_key_frame_interval: 1,
        max_key_frame_interval: key_frames,
        // No frames are held back for others that come later: memory stays small, and samples come in the order of their times.
        low_latency: true,
        // 1 to 100 → 250 to 28 of 255.
        quantizer: 252 - quality * 9 / 4,
        tiles,
        ..EncoderConfig::with_speed_preset(SPEED)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(VIDEO_THREADS_MAX);
    Config::new().with_encoder_config(config).with_threads(threads).new_context().map_err(|error| settings.error(error))
}

/// An open bitstream unit, head included.
struct Obu<'a> {
    /// `obu_type`.
    kind: u8,
    bytes: &'a [u8],
}

/// The units of a packet (AV1 specification, section 5.3); all of rav1e's have their length in them.
struct Obus<'a>(&'a [u8]);

impl<'a> Iterator for Obus<'a> {
    type Item = Obu<'a>;

    fn next(&mut self) -> Option<Obu<'a>> {
        let head = *self.0.first()?;
        let mut at = if head & 0b100 == 0 { 1 } else { 2 };
        let mut length = 0_usize;
        if head & 0b10 == 0 {
            length = self.0.len().saturating_sub(at);
        } else {
            // LEB128.
            for shift in (0..56).step_by(7) {
                let byte = *self.0.get(at)?;
                at += 1;
                length |= usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        let (bytes, rest) = self.0.split_at_checked(at.checked_add(length)?)?;
        self.0 = rest;
        Some(Obu { kind: (head >> 3) & 0xf, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_lasts_as_long_as_it_should_at_every_rate() {
        for rate in [1e-6, 0.0004, 0.01, 0.5, 1.0, 23.976, 60.0, 10_000.0] {
            let (frame, second) = frame_time(rate);
            let found = f64::from(second) / f64::from(frame);
            assert!((found / rate - 1.0).abs() < 1e-3, "{found} instead of {rate} frames a second");
        }
    }
}
