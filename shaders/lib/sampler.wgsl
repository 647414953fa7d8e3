// Random numbers: Owen-scrambled Sobol points, a pure function of (pixel, sample, seed, dimension). Pure functions, no bindings.
//
// "Padded": every request, of one or of two dimensions, uses the first one or two dimensions of the Sobol sequence again, with
// the order of its points shuffled and their values scrambled anew. Within a request the points of a pixel are a (0, m, 2)-net in
// base 2; between requests they are independent but for the net's blocks.
// Source: Burley 2020, "Practical Hash-based Owen Scrambling", JCGT 9(4), sections 3 and 4.

import package::lib::math::{hash_u32, unit_f32};

// The dimensions of one path. A request's dimension only has to differ from all others of the path, so gaps cost nothing.

/// 2D: the point within the pixel.
const DIMENSION_PIXEL_FILTER: u32 = 0u;
/// 2D: the point on the lens.
const DIMENSION_LENS: u32 = 2u;
/// Where the bounces begin.
const DIMENSION_BOUNCES: u32 = 4u;

/// Dimensions of one bounce; see `bounce_dimension`.
const DIMENSIONS_PER_BOUNCE: u32 = 8u;
/// 1D: which light.
const DIMENSION_LIGHT_CHOICE: u32 = 0u;
/// 2D: the point on it.
const DIMENSION_LIGHT_POINT: u32 = 1u;
/// 2D and then 1D: direction and lobe of the bsdf.
const DIMENSION_BSDF: u32 = 3u;
/// 1D: whether the path goes on.
const DIMENSION_RUSSIAN_ROULETTE: u32 = 6u;
/// 1D: the second number for the alias table of the light, which keeps its entry or takes the other one.
const DIMENSION_LIGHT_ALIAS: u32 = 7u;

/// Where the next number comes from. `dimension` rises by what each request takes.
struct Sampler {
    /// Index of the pixel in the picture (row-major): never of a tile or a pool slot.
    pixel: u32,
    /// Index of the sample in the pixel, from 0.
    sample: u32,
    /// The job's seed.
    seed: u32,
    /// The next request's first dimension.
    dimension: u32,
}

fn sampler_new(pixel: u32, sample: u32, seed: u32, dimension: u32) -> Sampler {
    return Sampler(pixel, sample, seed, dimension);
}

/// The dimension of one decision (`DIMENSION_LIGHT_CHOICE` …) at one bounce, from 0 (the first hit).
fn bounce_dimension(bounce: u32, decision: u32) -> u32 {
    return DIMENSION_BOUNCES + bounce * DIMENSIONS_PER_BOUNCE + decision;
}

/// One number in [0, 1).
fn sampler_1d(s: ptr<function, Sampler>) -> f32 {
    let key = sampler_key((*s).pixel, (*s).seed, (*s).dimension);
    (*s).dimension += 1u;
    let index = shuffled_index((*s).sample, key);
    return unit_f32(reverseBits(owen_scramble_reversed(index, hash_u32(key ^ SCRAMBLE_X))));
}

/// Two numbers in [0, 1), stratified together.
fn sampler_2d(s: ptr<function, Sampler>) -> vec2f {
    let key = sampler_key((*s).pixel, (*s).seed, (*s).dimension);
    (*s).dimension += 2u;
    let index = shuffled_index((*s).sample, key);
    let x = owen_scramble_reversed(index, hash_u32(key ^ SCRAMBLE_X));
    let y = owen_scramble_reversed(sobol_1_reversed(index), hash_u32(key ^ SCRAMBLE_Y));
    return vec2f(unit_f32(reverseBits(x)), unit_f32(reverseBits(y)));
}

// What keeps a request's shuffle and its two scrambles apart. Any constants that differ will do.
const SCRAMBLE_X: u32 = 0x912f69bau;
const SCRAMBLE_Y: u32 = 0x174f18abu;

/// A well-mixed word for one request. The inner hashes are the same for all requests of a path, so a compiler can share them.
fn sampler_key(pixel: u32, seed: u32, dimension: u32) -> u32 {
    return hash_u32(hash_u32(pixel + hash_u32(seed)) + dimension * 0x9e3779b9u);
}

/// The place of a sample in the Sobol sequence: a nested uniform shuffle, which maps every aligned block of 2^k samples onto an
/// aligned block of 2^k points. Burley 2020, section 4.
fn shuffled_index(sample: u32, key: u32) -> u32 {
    return reverseBits(owen_scramble_reversed(reverseBits(sample), key));
}

/// Dimension 0 of the Sobol sequence is the van der Corput sequence: the index with its bits reversed. So the index itself is that
/// point with its bits reversed. Dimension 1, with its bits reversed too, is this: bit i is the sum modulo 2, over the bits j of the index, of
/// binomial(j, i), which is odd exactly where the bits of i are a subset of those of j (Lucas). Summing over supersets takes one step a bit
/// of the bit number: five in place of a loop over 32 direction numbers.
/// Source: Ahmed 2024, "An Implementation Algorithm of 2D Sobol Sequence Fast, Elegant, and Compact", EGSR.
fn sobol_1_reversed(index: u32) -> u32 {
    var v = index;
    v ^= v >> 16u;
    v ^= (v & 0xff00ff00u) >> 8u;
    v ^= (v & 0xf0f0f0f0u) >> 4u;
    v ^= (v & 0xccccccccu) >> 2u;
    v ^= (v & 0xaaaaaaaau) >> 1u;
    return v;
}

/// A nested uniform (Owen) scramble of a number given with its bits reversed, driven by a hash whose carries run from the low bits
/// up only (Laine & Karras 2011). `scramble` must be well mixed.
/// Source: Burley 2020, section 3; function and constants of Vegdahl 2021, "Building a Better LK Hash", which tests closer to a true
/// Owen scramble than the paper's own.
fn owen_scramble_reversed(reversed: u32, scramble: u32) -> u32 {
    var v = reversed;
    v ^= v * 0x3d20adeau;
    v += scramble;
    v *= (scramble >> 16u) | 1u;
    v ^= v * 0x05526c56u;
    v ^= v * 0x53a22864u;
    return v;
}
