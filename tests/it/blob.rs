//! Blobs: what was finished is there and right, what was not leaves nothing behind.

use bytes::Bytes;
use futures::TryStreamExt;
use kiln::blob::{BlobError, BlobStore};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

fn open() -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    (dir, blobs)
}

/// Bytes that repeat at no power of two, so that a piece out of place shows.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

async fn upload(blobs: &BlobStore, bytes: &[u8], piece: usize) -> Result<(String, u64), BlobError> {
    let mut upload = blobs.upload().await?;
    for piece in bytes.chunks(piece) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish_as_asset().await
}

async fn read(blobs: &BlobStore, key: &str, range: Option<std::ops::Range<u64>>) -> (u64, Vec<u8>) {
    let (size, stream) = blobs.read(key, range).await.unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    (size, pieces.concat())
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[tokio::test]
async fn an_upload_becomes_an_asset_with_its_own_hash_whatever_its_pieces() {
    let (_dir, blobs) = open();
    for (length, piece) in [(0, 1), (1, 1), (1000, 7), (256 << 10, 256 << 10), (3_000_001, 65_537), (700_000, 700_000)]
    {
        let bytes = bytes(length);
        let (hash, count) = upload(&blobs, &bytes, piece).await.unwrap();
        assert_eq!((hash.as_str(), count), (sha256(&bytes).as_str(), length as u64));
        let key = BlobStore::asset_key(&hash);
        assert!(
            read(&blobs, &key, None).await == (length as u64, bytes.clone()),
            "{length} bytes in pieces of {piece}"
        );
        assert!(blobs.read_all(&key).await.unwrap() == bytes);
        assert_eq!(std::fs::read(blobs.local_path(&key).unwrap()).unwrap().len(), length);
    }
    assert_eq!(files_in(blobs.spool_dir()), 0, "the spool is empty after uploads");
}

#[tokio::test]
async fn a_range_is_read_without_the_rest() {
    let (_dir, blobs) = open();
    let bytes = bytes(1_000_000);
    let (hash, _) = upload(&blobs, &bytes, 100_000).await.unwrap();
    let key = BlobStore::asset_key(&hash);
    for range in [0..1, 0..1_000_000, 999_999..1_000_000, 262_143..262_146, 5..700_000] {
        let (size, part) = read(&blobs, &key, Some(range.clone())).await;
        assert_eq!(size, 1_000_000, "the size is that of the whole blob");
        assert!(part == bytes[range.start as usize..range.end as usize], "{range:?}");
    }
}

#[tokio::test]
async fn the_same_file_twice_is_one_blob() {
    let (_dir, blobs) = open();
    let bytes = bytes(100_000);
    let first = upload(&blobs, &bytes, 1000).await.unwrap();
    let (a, b) = tokio::join!(upload(&blobs, &bytes, 999), upload(&blobs, &bytes, 1001));
    assert_eq!((a.unwrap(), b.unwrap()), (first.clone(), first));
    assert_eq!(blobs.list("assets").await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_upload_that_is_too_long_or_dropped_leaves_nothing_behind() {
    let (_dir, blobs) = open();
    let mut long = blobs.upload_at_most(1000).await.unwrap();
    long.write(Bytes::from(bytes(1000))).await.unwrap();
    assert_eq!(long.bytes(), 1000);
    let error = long.write(Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, BlobError::TooLarge { bytes_max: 1000 }), "{error}");
    assert!(long.finish_as_asset().await.is_err(), "what was cut short must not become an asset");
    let mut dropped = blobs.upload().await.unwrap();
    dropped.write(Bytes::from(bytes(1 << 20))).await.unwrap();
    assert_eq!(files_in(blobs.spool_dir()), 1);
    drop(dropped);
    assert_eq!(files_in(blobs.spool_dir()), 0);
    assert!(blobs.list("assets").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_with_another_hash_than_announced_is_not_kept() {
    let (_dir, blobs) = open();
    let announced = sha256(b"what was meant");
    let mut wrong = blobs.upload().await.unwrap();
    wrong.write(Bytes::from_static(b"what came")).await.unwrap();
    let error = wrong.finish_as_asset_expecting(&announced).await.unwrap_err();
    assert!(matches!(&error, BlobError::HashMismatch { found, .. } if *found == sha256(b"what came")), "{error}");
    assert!(blobs.list("assets").await.unwrap().is_empty());
    assert_eq!(files_in(blobs.spool_dir()), 0);
    let mut right = blobs.upload().await.unwrap();
    right.write(Bytes::from_static(b"what was meant")).await.unwrap();
    assert_eq!(right.finish_as_asset_expecting(&announced).await.unwrap(), (announced, 14));
}

#[tokio::test]
async fn a_spool_file_moves_to_its_key_with_its_hash() {
    let (_dir, blobs) = open();
    let bytes = bytes(600_000);
    let spool = blobs.spool_file(".png");
    std::fs::write(spool.path(), &bytes).unwrap();
    let key = BlobStore::output_key("job", 3, "image.png");
    assert_eq!(blobs.put_file(&key, spool.path()).await.unwrap(), (600_000, sha256(&bytes)));
    assert!(!spool.path().exists(), "it was moved, not copied");
    drop(spool);
    assert_eq!(blobs.bytes(&key).await.unwrap(), Some(600_000));
    let again = blobs.spool_file(".png");
    std::fs::write(again.path(), &bytes).unwrap();
    blobs.put_file(&key, again.path()).await.expect("the same key with the same bytes is safe to put twice");
    let missing = blobs.spool_dir().join("missing");
    assert!(matches!(blobs.put_file(&key, &missing).await, Err(BlobError::Io { .. })));
    #[cfg(unix)]
    {
        let link = blobs.spool_dir().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        assert!(matches!(blobs.put_file("outputs/job/3/link", &link).await, Err(BlobError::NotAFile(_))));
    }
}

#[tokio::test]
async fn deleting_is_safe_to_do_twice_and_takes_empty_folders_along() {
    let (dir, blobs) = open();
    let spool = blobs.spool_file("");
    std::fs::write(spool.path(), b"x").unwrap();
    let keys = vec![BlobStore::output_key("job", 1, "image.png")];
    blobs.put_file(&keys[0], spool.path()).await.unwrap();
    blobs.delete(&keys).await.unwrap();
    blobs.delete(&keys).await.unwrap();
    assert_eq!(blobs.bytes(&keys[0]).await.unwrap(), None);
    assert!(matches!(blobs.read(&keys[0], None).await.err(), Some(BlobError::NotFound(key)) if key == keys[0]));
    assert!(!dir.path().join("blobs/outputs/ob").exists());
}

#[tokio::test]
async fn puts_survive_deletes_of_their_folder_at_the_same_moment() {
    let (_dir, blobs) = open();
    let put = async |fence: i64| {
        let spool = blobs.spool_file("");
        std::fs::write(spool.path(), b"x").unwrap();
        let key = BlobStore::output_key("job", fence, "image.png");
        blobs.put_file(&key, spool.path()).await.unwrap();
        blobs.delete(&[key]).await.unwrap();
    };
    futures::future::join_all((0..64).map(put)).await;
}

#[tokio::test]
async fn no_key_leads_out_of_the_folder() {
    let (_dir, blobs) = open();
    for key in ["../x", "outputs/../../x", "outputs//x", "", "/etc/passwd/..", "outputs/./x"] {
        assert!(blobs.local_path(key).is_none(), "{key:?} became a path");
        assert!(matches!(blobs.read(key, None).await.err(), Some(BlobError::InvalidKey(_))), "{key:?}");
        assert!(matches!(blobs.put_file(key, Path::new("x")).await, Err(BlobError::InvalidKey(_))), "{key:?}");
    }
}

#[tokio::test]
async fn the_sweep_takes_old_orphans_only() {
    let (_dir, blobs) = open();
    let mut keys = Vec::new();
    for content in [b"a", b"b", b"c"] {
        keys.push(BlobStore::asset_key(&upload(&blobs, content, 1).await.unwrap().0));
    }
    let keep = HashSet::from([keys[0].clone()]);
    let spared = blobs.delete_unreferenced("assets", &keep, Duration::from_secs(3600)).await.unwrap();
    assert!(spared.is_empty(), "a fresh blob may still be waiting for its row");
    let mut deleted = blobs.delete_unreferenced("assets", &keep, Duration::ZERO).await.unwrap();
    deleted.sort();
    let mut orphans = keys[1..].to_vec();
    orphans.sort();
    assert_eq!(deleted, orphans);
    assert_eq!(blobs.list("assets").await.unwrap(), keys[..1]);
}

#[tokio::test]
async fn opening_again_empties_the_spool_and_keeps_the_blobs() {
    let (dir, blobs) = open();
    let (hash, _) = upload(&blobs, b"kept", 4).await.unwrap();
    std::fs::write(blobs.spool_dir().join("left behind"), b"x").unwrap();
    std::fs::create_dir(blobs.spool_dir().join("folder")).unwrap();
    drop(blobs);
    let blobs = BlobStore::open(dir.path()).unwrap();
    assert_eq!(files_in(blobs.spool_dir()), 0);
    assert_eq!(blobs.read_all(&BlobStore::asset_key(&hash)).await.unwrap(), b"kept");
}

#[test]
fn a_root_that_is_no_folder_is_a_typed_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = BlobStore::open(file.path()).unwrap_err();
    assert!(matches!(error, BlobError::Io { .. }), "{error}");
}
