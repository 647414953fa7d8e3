//! Untrusted code through a server: each job of the corpus ends as a typed failure or as a picture, and a good job right after it makes
//! the very same picture as on a fresh start, by a server that never restarted.

use super::service::*;
use crate::process::harness::{Server, gpu_or_skip, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

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

/// How an attack may end.
enum End {
    /// By a picture, or by one of the failures.
    One(&'static [&'static str]),
    /// By a failure of stage `run` in this line.
    Runs(u32),
}

/// Every attack of the specification, and how it may end: by failing for one of these reasons, by being refused at once or, with `ok`, by a
/// picture.
fn attacks() -> Vec<(&'static str, Vec<u8>, End)> {
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
    let value = toy("let big = array<u32, 60000000>();\ntextureStore(screen, int2(id.xy), float4(float(big[id.x])));");
    let copy = format!(
        "struct Big {{ data: array<u32, 30000000> }}\n#storage a Big\n#storage b Big\n{}",
        toy("a.data = b.data;\ntextureStore(screen, int2(id.xy), float4(1.0));")
    );
    let constants = toy("let x = -array<u32, 4000000000>();\ntextureStore(screen, int2(id.xy), float4(1.0));");
    let comments = format!("{}\n{}", "// nothing to see here\n".repeat(46_000), text("ordinary.wgsl"));
    let nested = format!("{}1{}", "(".repeat(60_000), ")".repeat(60_000));
    let nested = toy(&format!("let x = {nested};\ntextureStore(screen, int2(id.xy), float4(1.0));"));
    let warnings = format!("#workgroup_count {} 1 1 1\n{}", "\\".repeat(100_000), text("ordinary.wgsl"));
    let recursion = format!("fn a() {{ b(); }}\nfn b() {{ a(); }}\n{}", toy("a();"));
    let failures = || End::One(&["shader_error", "limit_exceeded"]);
    vec![
        ("an infinite loop", corpus("infinite_loop.wgsl"), End::Runs(4)),
        ("an infinite loop with a barrier", corpus("infinite_loop_barrier.wgsl"), End::Runs(5)),
        ("200,000 iterations", corpus("long_loop.wgsl"), End::One(&["ok", "shader_error"])),
        ("4,000 terms", toy(&terms).into_bytes(), failures()),
        ("2,000 else if", toy(&ladder).into_bytes(), failures()),
        ("100,000 functions", functions.into_bytes(), End::One(&["refused"])),
        ("a call tree of depth 14", tree.into_bytes(), failures()),
        ("240 MB of private memory", private.into_bytes(), failures()),
        ("a value of 240 MB", value.into_bytes(), failures()),
        ("a copy of 120 MB in one statement", copy.into_bytes(), failures()),
        ("a constant of 16 GB", constants.into_bytes(), failures()),
        ("65535³ workgroups", corpus("workgroups_65535_cubed.wgsl"), failures()),
        ("257 dispatches", corpus("dispatches_257.wgsl"), failures()),
        ("a storage buffer of 2 GiB", corpus("storage_2_gib.wgsl"), failures()),
        ("NaN and infinity", corpus("nan_and_infinity.wgsl"), End::One(&["ok"])),
        ("no UTF-8", corpus("latin1.wgsl"), End::One(&["refused"])),
        ("CRLF", text("ordinary.wgsl").replace('\n', "\r\n").into_bytes(), End::One(&["ok"])),
        ("1 MB of comments", comments.into_bytes(), End::One(&["refused"])),
        ("60,000 brackets", nested.into_bytes(), failures()),
        ("an include of nothing", b"#include \"std/../std/string\"\n".to_vec(), failures()),
        ("functions that call each other", recursion.into_bytes(), failures()),
        ("a warning of 200 kB", warnings.into_bytes(), End::One(&["ok"])),
    ]
}

/// Seconds in which the answer to a good job comes, many times what it takes: a GPU process that is being restarted with its waiting time
/// grown is no answer.
const GOOD_SECONDS_MAX: u64 = 60;

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
        let run = async { output(&server, &succeeded(document(&server, &job).await)).await };
        tokio::time::timeout(Duration::from_secs(GOOD_SECONDS_MAX), run).await.expect("a good job is not kept waiting")
    };
    let expected = good().await;
    let (pid, deaths) = (server.pid(), async || server.get("/v1/workers").await["workers"][0]["deaths"].as_u64());
    for (name, source, ends) in attacks() {
        let before = deaths().await;
        let job = run(&server, "text/wgsl", "dialect=compute_toys&width=32&height=32&reuse=false", source).await;
        let end = match job["state"].as_str() {
            None => "refused".to_owned(),
            Some("succeeded") => "ok".to_owned(),
            Some(_) => job["error"]["reason"].as_str().unwrap_or("no reason").to_owned(),
        };
        eprintln!("{name}: {end}: {}", job["error"]["message"]);
        match ends {
            End::One(ends) => assert!(ends.contains(&end.as_str()), "{name} ended as {end}, not as {ends:?}: {job:#}"),
            End::Runs(line) => {
                assert_eq!(end, "shader_error", "{name}: {job:#}");
                let place = job["error"]["details"].as_array().unwrap().iter().find(|place| place["stage"] == "run");
                let place = place.unwrap_or_else(|| panic!("{name} did not run: {job:#}"));
                assert_eq!(place["line"], line, "{name}: {job:#}");
            }
        }
        if end == "refused" {
            assert!([413, 422].map(Value::from).contains(&job["status"]), "{name}: {job:#}");
        }
        assert!(good().await == expected, "after {name}, a good job made another picture");
        assert!(crate::process::harness::is_alive(pid), "{name} took the server down");
        assert_eq!(deaths().await, before, "{name} killed the GPU process, and with it everybody's work");
    }
}

#[tokio::test]
async fn compilers_that_are_left_behind_cost_nobody_else_their_work() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    // Something of another client's that goes on for a while, and whose first frames are out already.
    let job = json!({"kind": "shader", "dialect": "compute_toys", "source": text("ordinary.wgsl"), "size": [64, 48],
                     "frames": {"start": 0, "end": 90_000}, "output": {"format": "gif"}, "reuse": false});
    let response = server.client.post(format!("{}/v1/jobs", server.url)).json(&job).send().await.unwrap();
    let id = response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    wait_for("its first frames", async || {
        (server.job(&id).await["progress"]["frames_done"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let source = toy("let x = -array<u32, 4000000000>();\ntextureStore(screen, int2(id.xy), float4(1.0));");
    let query = "dialect=compute_toys&width=32&height=32&reuse=false&priority=interactive";
    let stuck = run(&server, "text/wgsl", query, source).await;
    failed(&stuck, "limit_exceeded");
    let job = server.job(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("running"), &json!(1)), "{job:#}");
    server.cancel(&id).await;
    // Once nothing is in it, the process is replaced, and no death is counted.
    wait_for("a fresh process", async || {
        (server.get("/v1/workers").await["workers"][0]["replaced"].as_u64() > Some(0)).then_some(())
    })
    .await;
    assert_eq!(server.get("/v1/workers").await["workers"][0]["deaths"], 0);
}
