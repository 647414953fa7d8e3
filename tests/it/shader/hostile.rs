//! Untrusted code through a server: each job of the corpus ends as a typed failure or as a picture, and a good job right after it makes
//! the very same picture as on a fresh start, by a server that never restarted.

use super::service::*;
use crate::process::harness::{Server, gpu_or_skip};
use serde_json::{Value, json};

fn corpus(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(name: &str) -> String {
    String::from_utf8(corpus(name)).expect("this one is UTF-8")
}

fn toy(body: &str) -> String {
    format!(
        "@compute @workgroup_size(16, 16)\nfn main_image(@builtin(global_invocation_id) id: uint3) {{\n{body}\n}}\n"
    )
}

/// Every attack of the specification, and how it may end: by failing for one of these reasons or, with `ok`, by a picture.
fn attacks() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let terms = format!("var x = {};\ntextureStore(screen, int2(id.xy), float4(x));", vec!["1.0"; 4000].join(" + "));
    let ladder: String = (0..2000).map(|i| format!("else if (id.x == {i}u) {{ x += 1.0; }} ")).collect();
    let ladder =
        format!("var x = 0.0;\nif (id.y == 1u) {{ x = 2.0; }} {ladder}\ntextureStore(screen, int2(id.xy), float4(x));");
    let functions: String = (0..100_000).map(|i| format!("fn f{i}() {{}}\n")).collect();
    let tree: String = (0..14)
        .map(|i| format!("fn t{}(x: float) -> float {{ return t{i}(x + 1.0) * t{i}(x * 0.5); }}\n", i + 1))
        .collect();
    let tree = format!(
        "fn t0(x: float) -> float {{ return sin(x); }}\n{tree}{}",
        toy("textureStore(screen, int2(id.xy), float4(t14(float(id.x))));")
    );
    let private = format!(
        "var<private> big: array<u32, 60000000>;\n{}",
        toy("big[id.x] = 1u;\ntextureStore(screen, int2(id.xy), float4(float(big[id.y])));")
    );
    let constants = toy("let x = -array<u32, 4000000000>();\ntextureStore(screen, int2(id.xy), float4(1.0));");
    let comments = format!("{}\n{}", "// nothing to see here\n".repeat(46_000), text("ordinary.wgsl"));
    let nested = format!("{}1{}", "(".repeat(60_000), ")".repeat(60_000));
    let nested = toy(&format!("let x = {nested};\ntextureStore(screen, int2(id.xy), float4(1.0));"));
    let failures: &[&str] = &["shader_error", "limit_exceeded"];
    vec![
        ("an infinite loop", corpus("infinite_loop.wgsl"), &["shader_error", "limit_exceeded"]),
        ("an infinite loop with a barrier", corpus("infinite_loop_barrier.wgsl"), &["shader_error", "limit_exceeded"]),
        ("200,000 iterations", corpus("long_loop.wgsl"), &["ok", "shader_error"]),
        ("4,000 terms", toy(&terms).into_bytes(), failures),
        ("2,000 else if", toy(&ladder).into_bytes(), failures),
        ("100,000 functions", functions.into_bytes(), &["refused"]),
        ("a call tree of depth 14", tree.into_bytes(), failures),
        ("240 MB of private memory", private.into_bytes(), failures),
        ("a constant of 16 GB", constants.into_bytes(), failures),
        ("65535³ workgroups", corpus("workgroups_65535_cubed.wgsl"), failures),
        ("257 dispatches", corpus("dispatches_257.wgsl"), failures),
        ("a storage buffer of 2 GiB", corpus("storage_2_gib.wgsl"), failures),
        ("NaN and infinity", corpus("nan_and_infinity.wgsl"), &["ok"]),
        ("no UTF-8", corpus("latin1.wgsl"), &["refused"]),
        ("CRLF", text("ordinary.wgsl").replace('\n', "\r\n").into_bytes(), &["ok"]),
        ("1 MB of comments", comments.into_bytes(), &["refused"]),
        ("60,000 brackets", nested.into_bytes(), failures),
        ("an include of itself", b"#include \"std/../std/string\"\n".to_vec(), failures),
    ]
}

#[tokio::test]
async fn no_hostile_shader_outlives_its_job_or_changes_anothers_picture() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let good = async || {
        let job = json!({"kind": "shader", "dialect": "compute_toys", "source": text("ordinary.wgsl"), "size": [64, 48],
                         "frame": 2, "reuse": false});
        output(&server, &succeeded(document(&server, &job).await)).await
    };
    let expected = good().await;
    let (pid, workers) = (server.pid(), async || server.get("/v1/workers").await["workers"][0]["deaths"].clone());
    for (name, source, ends) in attacks() {
        let before = workers().await;
        let job = run(&server, "text/wgsl", "dialect=compute_toys&width=32&height=32&reuse=false", source).await;
        let end = match job["state"].as_str() {
            None => "refused".to_owned(),
            Some("succeeded") => "ok".to_owned(),
            Some(_) => job["error"]["reason"].as_str().unwrap_or("no reason").to_owned(),
        };
        eprintln!("{name}: {end}; deaths {before} → {}: {}", workers().await, job["error"]["message"]);
        assert!(ends.contains(&end.as_str()), "{name} ended as {end}, expected one of {ends:?}: {job:#}");
        if end == "refused" {
            assert!([413, 422].map(Value::from).contains(&job["status"]), "{name}: {job:#}");
        }
        assert!(good().await == expected, "after {name}, a good job made another picture");
        assert!(crate::process::harness::is_alive(pid), "{name} took the server down");
    }
}
