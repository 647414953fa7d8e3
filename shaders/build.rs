//! Links every kernel in `shaders/*.wgsl` with the functions it imports from `shaders/lib/` (WESL imports) and leaves plain
//! WGSL of the same name in `OUT_DIR`, for `include_str!` and for people to read.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=shaders");
    // The migrations are read by a macro, which cargo does not know of.
    println!("cargo:rerun-if-changed=src/store/migrations");
    let out_dir = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let mut kernels: Vec<String> = std::fs::read_dir("shaders")
        .expect("the folder shaders/ lies beside Cargo.toml")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".wgsl")?.to_owned()))
        .collect();
    kernels.sort();
    for kernel in kernels {
        let module = format!("package::{kernel}").parse().expect("kernel file names are identifiers");
        match wesl::Wesl::new("shaders").compile(&module) {
            Ok(linked) => std::fs::write(Path::new(&out_dir).join(format!("{kernel}.wgsl")), linked.to_string())
                .expect("OUT_DIR can be written"),
            Err(error) => {
                eprintln!("shaders/{kernel}.wgsl does not link:\n{error}");
                std::process::exit(1);
            }
        }
    }
}
