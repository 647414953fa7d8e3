//! The simulated clock, and the state from frame to frame: the same job gives the same bytes, whatever is kept of it and whatever happens
//! on the way.

use super::service::*;
use crate::process::harness::{Server, gpu_or_skip, signal, wait_for};
use serde_json::{Value, json};

/// The game of life: frame k is what frame k − 1 makes of itself.
const LIFE: &str = "\
struct Frame { index: u32, seed: u32, resolution: vec2u }
@group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
@group(0) @binding(1) var<uniform> frame: Frame;
@group(0) @binding(2) var previous: texture_2d<f32>;
fn alive(at: vec2i) -> i32 {
    let size = vec2i(frame.resolution);
    return i32(textureLoad(previous, (at + size) % size, 0).r > 0.5);
}
@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let at = vec2i(id.xy);
    var now: bool;
    if (frame.index == 0u) {
        let hash = (id.x * 747796405u + id.y * 2891336453u + frame.seed) * 277803737u;
        now = ((hash >> 22u) & 3u) == 0u;
    } else {
        var around = 0;
        for (var y = -1; y <= 1; y++) { for (var x = -1; x <= 1; x++) {
            if (x != 0 || y != 0) { around += alive(at + vec2i(x, y)); }
        } }
        now = around == 3 || (around == 2 && alive(at) == 1);
    }
    textureStore(output, id.xy, vec4f(vec3f(f32(now)), 1.0));
}
";

fn life(fields: Value) -> Value {
    let mut document = json!({"kind": "shader", "source": LIFE, "size": [64, 64], "seed": 7, "reuse": false});
    for (name, value) in fields.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

/// The same on the host.
fn life_on_the_host(frames: u32) -> Vec<bool> {
    let mut cells: Vec<bool> = (0..64 * 64_u32)
        .map(|at| {
            let (x, y) = (at % 64, at / 64);
            let hash = x.wrapping_mul(747796405).wrapping_add(y.wrapping_mul(2891336453)).wrapping_add(7);
            (hash.wrapping_mul(277803737) >> 22) & 3 == 0
        })
        .collect();
    for _ in 0..frames {
        let around = |x: usize, y: usize| {
            let near = [63, 0, 1];
            let all = near.iter().flat_map(|dy| near.iter().map(move |dx| ((x + dx) % 64, (y + dy) % 64)));
            all.filter(|&(nx, ny)| (nx, ny) != (x, y) && cells[ny * 64 + nx]).count()
        };
        cells = (0..64 * 64)
            .map(|at| {
                let (x, y) = (at % 64, at / 64);
                matches!((around(x, y), cells[at]), (3, _) | (2, true))
            })
            .collect();
    }
    cells
}

#[tokio::test]
async fn a_frame_is_the_same_whatever_is_kept_beside_it() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let run = async |fields: Value| outputs(&server, &succeeded(document(&server, &life(fields)).await)).await;
    let whole = run(json!({"frames": {"start": 0, "end": 60}})).await;
    assert_eq!(whole.len(), 61);
    let expected = life_on_the_host(60);
    let last = rgb(&whole[60].1);
    assert!(last.pixels().zip(&expected).all(|(pixel, cell)| (pixel.0[0] == 255) == *cell), "frame 60 is another one");
    let alone = run(json!({"frames": {"start": 60, "end": 60}})).await;
    assert_eq!(alone[0].0, "image.png");
    assert!(alone[0].1 == whole[60].1, "frame 60 alone");
    assert!(run(json!({"frame": 60})).await[0].1 == whole[60].1, "frame 60 by its short name");
    let stepped = run(json!({"frames": {"start": 0, "end": 60, "step": 30}})).await;
    assert_eq!(
        stepped.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["frame-0000.png", "frame-0030.png", "frame-0060.png"]
    );
    assert!(stepped[1].1 == whole[30].1 && stepped[2].1 == whole[60].1);
    assert!(run(json!({"frame": 50, "warmup": 10})).await[0].1 == whole[60].1, "ten frames of warm-up, then frame 50");
    assert!(run(json!({"frame": 60})).await[0].1 == whole[60].1, "once more");
    assert!(run(json!({"frame": 60, "seed": 8})).await[0].1 != whole[60].1, "another seed");
}

#[tokio::test]
async fn a_long_simulation_survives_the_death_of_its_gpu_process() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let spec = life(json!({"frame": 30_000}));
    let expected = output(&server, &succeeded(document(&server, &spec).await)).await;
    let response = server.client.post(format!("{}/v1/jobs", server.url)).json(&spec).send().await.unwrap();
    let id = response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    wait_for("the middle of the simulation", async || {
        let job = server.job(&id).await;
        assert_ne!(job["state"], "succeeded", "it ended before its GPU process could be killed");
        (job["progress"]["fraction"].as_f64() > Some(0.2)).then_some(())
    })
    .await;
    signal(server.gpu_pid().await, "KILL");
    let job = server.wait_for_state(&id, "succeeded").await;
    assert_eq!(job["attempt"], 2, "{job:#}");
    assert!(output(&server, &job).await == expected, "the second attempt made another picture");
}

#[tokio::test]
async fn scripts_of_mouse_and_keyboard_are_played_frame_by_frame() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let toy = "
        @compute @workgroup_size(16, 16) fn main_image(@builtin(global_invocation_id) id: uint3) {
            let key = float(keyDown(65u));
            let seen = float4(float(mouse.pos.x) / 255.0, float(mouse.click), key, 1.0);
            // 8 bits are what they are behind the curve of the display.
            textureStore(screen, int2(id.xy), float4(pow((seen.rgb + 0.055) / 1.055, float3(2.4)), 1.0));
        }";
    let job = json!({"kind": "shader", "dialect": "compute_toys", "source": toy, "size": [16, 16], "frames": {"start": 0, "end": 3},
        "mouse": [{"frame": 1, "pos": [100, 3]}, {"frame": 2, "pos": [200, 3], "click": true}],
        "keys": [{"frame": 1, "key": 65, "down": true}, {"frame": 3, "key": 65, "down": false}]});
    let frames = outputs(&server, &succeeded(document(&server, &job).await)).await;
    let seen: Vec<[u8; 3]> = frames.iter().map(|(_, png)| rgb(png).get_pixel(5, 5).0).collect();
    for (frame, (found, expected)) in
        seen.iter().zip([[8, 0, 0], [100, 0, 255], [200, 255, 255], [200, 255, 0]]).enumerate()
    {
        let near = found
            .iter()
            .zip(expected)
            .all(|(found, expected)| found.abs_diff(expected) <= 2 || (expected == 0 && *found < 16));
        assert!(near, "frame {frame}: {found:?}, expected {expected:?}");
    }
}
