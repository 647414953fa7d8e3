//! Assets by their hash.

use super::sha256;
use crate::app::TestApp;
use kiln::http::problem::Kind;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_stored_once_under_their_hash() {
    let app = TestApp::start().await;
    let content = b"some file".to_vec();
    let hash = sha256(&content);
    let path = format!("/v1/assets/{hash}");
    app.get(&path).await.problem(Kind::AssetNotFound);
    app.send(app.request("HEAD", &path)).await.expect(404);
    let put = async |path: &str, body: &[u8]| app.send(app.request("PUT", path).body(body.to_vec())).await;
    let problem = put(&path, b"another file").await.problem(Kind::HashMismatch);
    assert_eq!(problem["sha256"], sha256(b"another file"));
    assert!(app.blobs.list("assets").await.unwrap().is_empty());
    let asset = put(&path, &content).await.expect(201);
    assert_eq!(asset.header("location"), path);
    assert_eq!(asset.json(), json!({"asset": format!("sha256:{hash}"), "sha256": hash, "bytes": 9, "url": path}));
    put(&path, &content).await.expect(200);
    put(&path, b"another file").await.problem(Kind::HashMismatch);
    put(&format!("/v1/assets/sha256:{}", hash.to_uppercase()), &content).await.expect(200);
    app.post("/v1/assets", "", content.clone()).await.expect(200);
    app.post("/v1/assets", "", "new").await.expect(201);
    for wrong in ["abc", &"g".repeat(64), &format!("md5:{hash}")] {
        app.get(&format!("/v1/assets/{wrong}")).await.problem(Kind::InvalidId);
    }
    let reply = app.get(&path).await.expect(200);
    assert_eq!(reply.body, content);
    assert_eq!(reply.header("etag"), format!("\"{hash}\""));
    let reply = app.send(app.request("HEAD", &path)).await.expect(200);
    assert_eq!((reply.header("content-length"), reply.body.len()), ("9", 0));
    // An empty file is a file.
    let empty = sha256(b"");
    put(&format!("/v1/assets/{empty}"), b"").await.expect(201);
    assert!(app.get(&format!("/v1/assets/{empty}")).await.expect(200).body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_does_not_send_what_is_there() {
    let app = TestApp::start().await;
    let hash = sha256(b"known");
    app.send(app.request("PUT", &format!("/v1/assets/{hash}")).body("known")).await.expect(201);
    let head = format!(
        "PUT /v1/assets/{hash} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    );
    let mut socket = TcpStream::connect(app.addr).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_whose_bytes_are_lost_can_be_sent_again() {
    let app = TestApp::start().await;
    let hash = sha256(b"lost");
    let path = format!("/v1/assets/{hash}");
    let put = async || app.send(app.request("PUT", &path).body("lost")).await;
    put().await.expect(201);
    app.blobs.delete(&[kiln::blob::BlobStore::asset_key(&hash)]).await.unwrap();
    put().await.expect(201);
    assert_eq!(app.get(&path).await.expect(200).body, "lost");
    put().await.expect(200);
}
