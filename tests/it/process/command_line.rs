//! What people type: exit codes, where output goes, and messages that say what is wrong.

use super::harness::*;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str], folder: &Path) -> Output {
    kiln().args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("the program can be run")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

#[test]
fn render_makes_the_same_picture_as_the_format_and_the_pipe_ask_for() {
    if !gpu_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ball.glb"), small_scene(1)).unwrap();
    let options = [
        "--width",
        "24",
        "--height",
        "16",
        "--samples",
        "8",
        "--camera-position",
        "-2,1,3",
        "--camera-target",
        "0,0,0",
    ];
    let with = |first: &[&str]| run(&[first, &options[..]].concat(), folder.path());

    let output = with(&["render", "ball.glb", "-o", "a.png"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("8/8 samples"), "no progress in the pipe: {}", text(&output.stderr));
    let picture = std::fs::read(folder.path().join("a.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));

    let output = with(&["render", "ball.glb", "-o", "-", "-q"]);
    assert_eq!(output.stdout, picture, "stdout and file differ: {}", text(&output.stderr));

    let output = with(&["render", "ball.glb", "-o", "b.exr", "-q", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["state"], "succeeded", "{report:#}");
    assert_eq!(report["media_type"], "image/x-exr");
    assert!(std::fs::read(folder.path().join("b.exr")).unwrap().starts_with(&[0x76, 0x2f, 0x31, 0x01]));
    let left: Vec<_> = files_under(folder.path());
    assert_eq!(left, ["a.png", "b.exr", "ball.glb"].map(std::path::PathBuf::from), "something was left behind");
}

#[test]
fn several_pictures_for_stdout_are_refused_before_any_is_made() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ball.glb"), small_scene(1)).unwrap();
    std::fs::write(folder.path().join("waves.wgsl"), "what is in it does not matter").unwrap();
    // An adapter that is not there: whoever gets as far as to render says so instead.
    let refused = |arguments: &[&str]| {
        let output = run(&[&["render", "-o", "-", "--gpu", "none such"], arguments].concat(), folder.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("3 files do not fit in stdout"), "{}", text(&output.stderr));
    };
    refused(&["ball.glb", "--turntable", "3"]);
    refused(&["waves.wgsl", "--end", "2", "--format", "png"]);
    for one in [&["ball.glb"][..], &["ball.glb", "--turntable", "3", "--format", "apng"], &["waves.wgsl"]] {
        let output = run(&[&["render", "-o", "-", "--gpu", "none such"], one].concat(), folder.path());
        assert_eq!(output.status.code(), Some(1), "{one:?}: {}", text(&output.stderr));
    }
}

#[test]
fn render_reads_stdin_and_takes_an_environment_from_a_file() {
    if !gpu_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The smallest Radiance picture: two by one pixels of radiance 1, flat.
    let mut hdr = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 2\n".to_vec();
    hdr.extend([128, 128, 128, 129, 128, 128, 128, 129]);
    std::fs::write(folder.path().join("sky.hdr"), hdr).unwrap();
    let arguments = [
        "render",
        "-",
        "-o",
        "a.png",
        "-q",
        "--environment",
        "sky.hdr",
        "--width",
        "16",
        "--height",
        "16",
        "--samples",
        "4",
    ];
    let mut child =
        kiln().args(arguments).current_dir(folder.path()).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &small_scene(1)).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(folder.path().join("a.png").is_file());
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_names_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ball.glb"), small_scene(1)).unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["render", "ball.glb", "-o", "a.png", "--width", "0"], "--width"),
        (&["render", "ball.glb", "-o", "a.png", "--samples", "many"], "--samples"),
        (&["render", "ball.glb", "-o", "a.png", "--max-bounces", "1000"], "--max-bounces"),
        (&["render", "ball.glb", "-o", "a.png", "--environment", "nowhere.hdr"], "--environment"),
        (&["render", "ball.glb", "-o", "a.tiff"], ".tiff"),
        (&["render", "ball.glb", "-o", "nowhere/a.png"], "nowhere"),
        (&["render", "ball.glb", "-o", "-", "--json"], "--json"),
        (&["render", "ball.glb"], "--output"),
        (&["sample", "nothing"], "nothing"),
        (&["serve", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["dance"], "dance"),
    ];
    for (arguments, named) in cases {
        let output = run(arguments, folder.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(named), "{arguments:?} does not name {named}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    }
    assert_eq!(files_under(folder.path()), [std::path::PathBuf::from("ball.glb")], "something was left behind");
}

#[test]
fn a_broken_scene_is_exit_code_1_and_says_what_is_wrong() {
    if !gpu_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cut.glb"), &small_scene(1)[..500]).unwrap();
    let output = run(&["render", "cut.glb", "-o", "a.png", "--json"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("truncated"), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"]["reason"], "invalid_scene", "{report:#}");
    assert_eq!(files_under(folder.path()), [std::path::PathBuf::from("cut.glb")], "something was left behind");
}

#[cfg(unix)]
#[test]
fn ctrl_c_is_exit_code_3_and_leaves_nothing_behind() {
    if !gpu_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ball.glb"), small_scene(1)).unwrap();
    let options: Vec<&str> = forever().split(['=', '&']).collect();
    let mut command: Command = kiln();
    command.args(["render", "ball.glb", "-o", "a.png"]);
    for pair in options.chunks(2) {
        command.args([format!("--{}", pair[0]), pair[1].to_owned()]);
    }
    let mut child = command.current_dir(folder.path()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr)).map_while(Result::ok);
    lines.find(|line| line.starts_with("rendering")).expect("it never began to render");
    signal(child.id(), "INT");
    assert!(lines.any(|line| line == "cancelled"));
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(files_under(folder.path()), [std::path::PathBuf::from("ball.glb")], "something was left behind");
}

#[test]
fn doctor_names_the_adapter_and_renders_the_canary() {
    if !gpu_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["doctor", "--json"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["tested"]["canary_seconds"].as_f64().is_some(), "{report:#}");
    let software = report["tested"]["adapter"]["software"].as_bool().unwrap();
    let said = report["advice"].to_string().contains("software");
    assert_eq!(software, said, "{report:#}");
    let output = run(&["doctor"], folder.path());
    let name = report["tested"]["adapter"]["name"].as_str().unwrap();
    assert!(text(&output.stdout).contains(name), "{}", text(&output.stdout));
}

#[test]
fn doctor_fails_and_says_what_to_install_where_there_is_no_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none.json");
    let output = kiln()
        .args(["doctor"])
        // Both spellings: the older one is deprecated but still looked at by older loaders.
        .envs([("VK_DRIVER_FILES", &nowhere), ("VK_ICD_FILENAMES", &nowhere)])
        .output()
        .unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        assert!(text(&output.stdout).contains("mesa-vulkan-drivers"), "{}", text(&output.stdout));
    }
}

#[test]
fn a_reader_that_has_read_enough_makes_nothing_panic() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none.json");
    let mut doctor = kiln();
    doctor.args(["doctor"]).envs([("VK_DRIVER_FILES", &nowhere), ("VK_ICD_FILENAMES", &nowhere)]);
    let mut child = doctor.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // As `kiln doctor | head -1` does, only sooner.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}: {}", output.status, text(&output.stderr));
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
}

#[test]
fn serve_refuses_a_folder_in_use_and_an_address_in_use() {
    let data = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "none");
    let folder = data.path().to_str().unwrap();
    let output = run(&["serve", "--addr", "127.0.0.1:0", "--gpu", "none", "--data", folder], other.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("in use by another kiln server"), "{}", text(&output.stderr));
    let address = server.url.trim_start_matches("http://");
    let folder = other.path().to_str().unwrap();
    let output = run(&["serve", "--addr", address, "--gpu", "none", "--data", folder], other.path());
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains(address), "{stderr}");
    assert_eq!(stderr.matches("Address already in use").count(), 1, "{stderr}");
}
