//! Every way to post a shader, in every dialect.

use super::service::*;
use crate::process::harness::{Server, gpu_or_skip};
use serde_json::json;

/// sRGB, 8 bits, of a linear value.
fn srgb(linear: f32) -> u8 {
    (kiln::image::srgb_from_linear(linear) * 255.0 + 0.5) as u8
}

fn near(found: [u8; 3], expected: [u8; 3]) -> bool {
    found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) <= 1)
}

#[tokio::test]
async fn each_dialect_draws_what_its_text_says_however_it_is_posted() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");

    // WGSL as it is, with options in the address.
    let job = succeeded(wgsl(&server, "width=32&height=16&frame=3", GRADIENT).await);
    assert_eq!((&job["kind"], &job["spec"]["dialect"]), (&json!("shader"), &json!("kiln")));
    let picture = rgb(&output(&server, &job).await);
    assert_eq!(picture.dimensions(), (32, 16));
    for (x, y) in [(0, 0), (31, 0), (7, 15)] {
        let expected = [srgb(x as f32 / 32.0), srgb(y as f32 / 16.0), srgb(0.375)];
        assert!(
            near(picture.get_pixel(x, y).0, expected),
            "{x}, {y}: {:?}, expected {expected:?}",
            picture.get_pixel(x, y)
        );
    }

    // A job document, with params by name.
    let source = "
        struct Params { color: vec3f, steps: u32, dark: i32 }
        @group(0) @binding(0) var output: texture_storage_2d<rgba8unorm, write>;
        @group(0) @binding(1) var<uniform> params: Params;
        @compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3u) {
            let lit = f32(params.steps) / 4.0;
            textureStore(output, id.xy, vec4f(params.color * lit, 1.0));
        }";
    let job = document(
        &server,
        &json!({"kind": "shader", "source": source, "size": [8, 8], "params": {"color": [1.0, 0.5, 0.0], "steps": 2}}),
    )
    .await;
    let picture = rgb(&output(&server, &succeeded(job)).await);
    assert!(near(picture.get_pixel(3, 3).0, [srgb(0.5), srgb(0.25), 0]), "{:?}", picture.get_pixel(3, 3));
    let by_option = wgsl(&server, "width=8&height=8&param.color=1,0.5,0&param.steps=2", source).await;
    assert_eq!(rgb(&output(&server, &succeeded(by_option)).await), picture);

    // compute.toys with its sidecar and a channel as files of a form.
    let toy = "
        @compute @workgroup_size(16, 16) fn main_image(@builtin(global_invocation_id) id: uint3) {
            let texel = textureLoad(channel0, int2(0, 0), 0).rgb;
            textureStore(screen, int2(id.xy), float4(texel * custom.level, 1.0));
        }";
    let mut channel = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(2, 2, image::Rgb([255, 128, 0]))
        .write_to(&mut channel, image::ImageFormat::Png)
        .unwrap();
    let sidecar = json!({"uniforms": [{"name": "level", "value": 0.5}], "textures": [{"img": "https://example.org/a.png"}],
                         "float32Enabled": false});
    let form = reqwest::multipart::Form::new()
        .text("shader", toy)
        .text("sidecar", sidecar.to_string())
        .part("channel0", reqwest::multipart::Part::bytes(channel.into_inner()))
        .text("job", json!({"kind": "shader", "size": [4, 4]}).to_string());
    let response = server.client.post(format!("{}/v1/jobs", server.url)).header("prefer", "wait=240").multipart(form);
    let job: serde_json::Value = response.send().await.unwrap().json().await.unwrap();
    let picture = rgb(&output(&server, &succeeded(job)).await);
    let half = |byte: u8| srgb(kiln::image::linear_from_srgb(f32::from(byte) / 255.0) * 0.5);
    assert!(near(picture.get_pixel(1, 2).0, [half(255), half(128), 0]), "{:?}", picture.get_pixel(1, 2));

    // GLSL, two passes, rows counted from below.
    let image = "void mainImage(out vec4 color, in vec2 at) {
        color = vec4(texelFetch(iChannel0, ivec2(0), 0).r, at.y / iResolution.y, 0.0, 1.0);
    }";
    let buffer = "void mainImage(out vec4 color, in vec2 at) {
        color = texelFetch(iChannel0, ivec2(at), 0) + vec4(0.125);
    }";
    let job = document(
        &server,
        &json!({"kind": "shader", "dialect": "shadertoy", "source": image, "size": [8, 8], "frame": 3,
                "channels": [{"buffer": "A"}], "buffers": {"A": {"source": buffer, "channels": [{"buffer": "A"}]}}}),
    )
    .await;
    let picture = rgb(&output(&server, &succeeded(job)).await);
    assert_eq!(
        picture.get_pixel(0, 0).0[0],
        128,
        "the buffer has counted four frames, and its numbers are as they are"
    );
    assert!(picture.get_pixel(0, 0).0[1] > picture.get_pixel(0, 7).0[1], "the highest row is the first");
    let posted = run(
        &server,
        "text/glsl",
        "width=8&height=8",
        "void mainImage(out vec4 c, in vec2 p) { c = vec4(1.0, 0.5, 0.0, 1.0); }",
    )
    .await;
    assert!(near(rgb(&output(&server, &succeeded(posted)).await).get_pixel(4, 4).0, [255, 128, 0]));
}

#[tokio::test]
async fn what_is_wrong_with_a_shader_is_said_with_its_place() {
    if !gpu_or_skip() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "auto");
    let size = "width=16&height=16";

    let broken = GRADIENT.replace("let uv =", "let uv");
    let error = failed(&wgsl(&server, size, &broken).await, "shader_error");
    let place = &error["details"][0];
    assert_eq!((&place["stage"], &place["line"]), (&json!("parse"), &json!(6)), "{error:#}");
    assert_eq!(place["source_line"].as_str().map(str::trim), Some("let uv vec2f(id.xy) / vec2f(frame.resolution);"));

    // Through a macro and the prelude.
    let toy = "#define TWICE 2.0*\n@compute @workgroup_size(16, 16)\nfn main_image(@builtin(global_invocation_id) id: uint3) {\n    let x: int = TWICE 1.0;\n}\n";
    let error = failed(&wgsl(&server, &format!("{size}&dialect=compute_toys"), toy).await, "shader_error");
    assert_eq!(error["details"][0]["line"], 4, "{error:#}");
    let error = failed(
        &wgsl(&server, &format!("{size}&dialect=compute_toys"), "#include \"nobody/nothing\"\n").await,
        "shader_error",
    );
    assert_eq!(
        (&error["details"][0]["stage"], &error["details"][0]["line"]),
        (&json!("preprocess"), &json!(1)),
        "{error:#}"
    );

    // A loop that does not end says where it is.
    let endless = GRADIENT.replace(
        "    let uv =",
        "    var n = 1u;\n    loop { n = n * 3u + id.x; if (n == 0u && id.x == 77u) { break; } }\n    let uv =",
    );
    let error = failed(&wgsl(&server, &format!("{size}&loop_fuel=1000"), &endless).await, "shader_error");
    assert_eq!((&error["details"][0]["stage"], &error["details"][0]["line"]), (&json!("run"), &json!(7)), "{error:#}");

    // Asked for as a picture, it is a problem with the same details.
    let response = server.client.post(format!("{}/v1/jobs?{size}", server.url)).header("content-type", "text/wgsl");
    let response =
        response.header("prefer", "wait=240").header("accept", "image/png").body(broken).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 422);
    let problem: serde_json::Value = response.json().await.unwrap();
    assert_eq!(problem["details"][0]["line"], 6, "{problem:#}");

    // What is no text is refused at the door.
    let latin1 = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/latin1.wgsl")).unwrap();
    let problem = run(&server, "text/wgsl", size, latin1).await;
    assert_eq!((&problem["status"], &problem["details"][0]["line"]), (&json!(422), &json!(2)), "{problem:#}");
    // Options of scenes are not for shaders.
    let problem = wgsl(&server, "samples=4", GRADIENT).await;
    assert_eq!(problem["status"], 400, "{problem:#}");
}
