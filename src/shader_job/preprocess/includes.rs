//! The files that `#include` finds. Written anew from the published formulas; they give the same numbers as the site's.

/// Finds the text of an include by its path.
pub type Includes<'i> = &'i dyn Fn(&str) -> Option<&'static str>;

/// The built-in includes.
pub const PATHS: [&str; 6] =
    ["Dave_Hoskins/hash", "iq/noise_simplex_2d", "nikat/noise_simplex_3d", "davidar/scan", "<string>", "<float>"];

/// The text of a built-in include.
pub fn built_in(path: &str) -> Option<&'static str> {
    Some(match path {
        "Dave_Hoskins/hash" => include_str!("includes/hash.wgsl"),
        "iq/noise_simplex_2d" => include_str!("includes/noise_simplex_2d.wgsl"),
        "nikat/noise_simplex_3d" => include_str!("includes/noise_simplex_3d.wgsl"),
        "davidar/scan" => include_str!("includes/scan.wgsl"),
        "std/string" => include_str!("includes/string.wgsl"),
        "std/float" => include_str!("includes/float.wgsl"),
        _ => return None,
    })
}
