//! A disk whose power can be cut: an SQLite VFS (sqlite.org/vfs.html) over the usual one, which remembers what was written to each
//! file since its last fsync. At a cut, any of that may be there, be lost, or be there in part.
//!
//! It is registered once as [`VFS`]; each test has its own [`Disk`], which is named by the folder that its files are in.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Arc, LazyLock, Mutex, Once};

/// The name that connections are opened with.
pub const VFS: &str = "kiln-power-loss";
/// Bytes that a disk writes as one.
const SECTOR_BYTES: usize = 512;
/// sqlite.org/rescode.html
const SQLITE_FULL: c_int = 13;
const SQLITE_IOERR_FSYNC: c_int = 10 | (4 << 8);

/// What is called before every write and fsync.
pub type Watch = Box<dyn FnMut(&Disk) + Send>;

/// The files of one folder, as they lie on the platters and in the caches before them.
#[derive(Default)]
pub struct Disk {
    files: BTreeMap<PathBuf, Contents>,
    /// Writes and fsyncs so far.
    pub operations: u64,
    /// Writes fail as on a full disk.
    pub full: bool,
    /// Fsyncs fail.
    pub broken: bool,
    watch: Option<Watch>,
}

#[derive(Default, Clone)]
struct Contents {
    durable: Vec<u8>,
    /// In order, not fsynced.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate { bytes: usize },
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                contents.resize(contents.len().max(offset + data.len()), 0);
                contents[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::Truncate { bytes } => contents.resize(*bytes, 0),
        }
    }
}

/// What is left of the files after a cut.
pub type Image = BTreeMap<PathBuf, Vec<u8>>;

impl Disk {
    /// Cuts the power: of what was not fsynced, a random part survives. Whole sectors survive or do not.
    pub fn cut(&self, random: &mut impl FnMut() -> u64) -> Image {
        let mut image = Image::new();
        for (path, contents) in &self.files {
            let mut left = contents.durable.clone();
            for change in &contents.pending {
                match (random() % 3, change) {
                    (0, _) => {}
                    (1, Change::Write { offset, data }) => {
                        for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                            if random().is_multiple_of(2) {
                                let offset = offset + index * SECTOR_BYTES;
                                Change::Write { offset, data: sector.to_vec() }.apply(&mut left);
                            }
                        }
                    }
                    _ => change.apply(&mut left),
                }
            }
            image.insert(path.clone(), left);
        }
        image
    }

    fn before_operation(&mut self) {
        self.operations += 1;
        if let Some(mut watch) = self.watch.take() {
            watch(self);
            self.watch.get_or_insert(watch);
        }
    }
}

/// Puts what is left after a cut into a folder.
pub fn write_image(image: &Image, dir: &Path) {
    for (path, contents) in image {
        std::fs::write(dir.join(path.file_name().unwrap()), contents).unwrap();
    }
}

static DISKS: LazyLock<Mutex<BTreeMap<PathBuf, Arc<Mutex<Disk>>>>> = LazyLock::new(Mutex::default);

/// The disk that holds this folder.
pub fn disk(dir: &Path) -> Arc<Mutex<Disk>> {
    register();
    DISKS.lock().unwrap().entry(dir.to_owned()).or_default().clone()
}

/// Calls `watch` before every write and fsync in this folder.
pub fn watch(dir: &Path, watch: Watch) {
    disk(dir).lock().unwrap().watch = Some(watch);
}

/// `sqlite3_vfs`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Vfs {
    version: c_int,
    file_bytes: c_int,
    path_bytes_max: c_int,
    next: *mut Vfs,
    name: *const c_char,
    app_data: *mut c_void,
    open: unsafe extern "C" fn(*mut Vfs, *const c_char, *mut File, c_int, *mut c_int) -> c_int,
    delete: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int) -> c_int,
    /// Taken over as they are: xAccess to xNextSystemCall.
    rest: [*mut c_void; 14],
}

/// `sqlite3_io_methods`, version 2.
#[repr(C)]
struct Methods {
    version: c_int,
    close: unsafe extern "C" fn(*mut File) -> c_int,
    read: unsafe extern "C" fn(*mut File, *mut c_void, c_int, i64) -> c_int,
    write: unsafe extern "C" fn(*mut File, *const c_void, c_int, i64) -> c_int,
    truncate: unsafe extern "C" fn(*mut File, i64) -> c_int,
    sync: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    file_size: unsafe extern "C" fn(*mut File, *mut i64) -> c_int,
    lock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    unlock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    check_reserved_lock: unsafe extern "C" fn(*mut File, *mut c_int) -> c_int,
    file_control: unsafe extern "C" fn(*mut File, c_int, *mut c_void) -> c_int,
    sector_size: unsafe extern "C" fn(*mut File) -> c_int,
    device_characteristics: unsafe extern "C" fn(*mut File) -> c_int,
    shm_map: unsafe extern "C" fn(*mut File, c_int, c_int, c_int, *mut *mut c_void) -> c_int,
    shm_lock: unsafe extern "C" fn(*mut File, c_int, c_int, c_int) -> c_int,
    shm_barrier: unsafe extern "C" fn(*mut File),
    shm_unmap: unsafe extern "C" fn(*mut File, c_int) -> c_int,
}

/// `sqlite3_file`.
#[repr(C)]
struct File {
    methods: *const Methods,
}

/// Ours; the file of the usual VFS lies behind it.
#[repr(C)]
struct Ours {
    methods: *const Methods,
    /// A `Box<Open>`; null for files without a name.
    open: *mut Open,
}

struct Open {
    path: PathBuf,
    disk: Arc<Mutex<Disk>>,
}

unsafe extern "C" {
    fn sqlite3_vfs_find(name: *const c_char) -> *mut Vfs;
    fn sqlite3_vfs_register(vfs: *mut Vfs, make_default: c_int) -> c_int;
}

fn usual() -> *mut Vfs {
    // SAFETY: a null name asks for the default VFS, which lives as long as the process.
    unsafe { sqlite3_vfs_find(std::ptr::null()) }
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the structures are laid out as in sqlite3.h and leaked, so that they live as long as the process. What is copied
        // of the usual VFS does not look at the VFS that it is called with, but for `open`, which is called with its own.
        unsafe {
            let usual = usual();
            assert!(!usual.is_null(), "SQLite has a default VFS");
            let name = c"kiln-power-loss";
            let file_bytes = size_of::<Ours>() as c_int + (*usual).file_bytes;
            let vfs = Vfs { file_bytes, next: null_mut(), name: name.as_ptr(), open, delete, ..*usual };
            assert_eq!(sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0), 0);
        }
    });
}

unsafe extern "C" fn open(_: *mut Vfs, name: *const c_char, file: *mut File, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite hands over `file_bytes` bytes, of which the usual file gets those behind ours.
    unsafe {
        let ours = file.cast::<Ours>();
        (*ours).methods = std::ptr::null();
        (*ours).open = null_mut();
        let usual = usual();
        let code = ((*usual).open)(usual, name, real(file), flags, out);
        if code != 0 {
            return code;
        }
        (*ours).methods = &METHODS;
        if !name.is_null() {
            let path = PathBuf::from(CStr::from_ptr(name).to_str().unwrap());
            let disk = disk(path.parent().unwrap());
            let durable = std::fs::read(&path).unwrap_or_default();
            disk.lock().unwrap().files.entry(path.clone()).or_insert(Contents { durable, pending: Vec::new() });
            (*ours).open = Box::into_raw(Box::new(Open { path, disk }));
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut Vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: the name is a C string, as SQLite promises.
    unsafe {
        let path = PathBuf::from(CStr::from_ptr(name).to_str().unwrap());
        disk(path.parent().unwrap()).lock().unwrap().files.remove(&path);
        let usual = usual();
        ((*usual).delete)(usual, name, sync_dir)
    }
}

unsafe fn real(file: *mut File) -> *mut File {
    // SAFETY: `file_bytes` leaves room for it.
    unsafe { file.cast::<u8>().add(size_of::<Ours>()).cast() }
}

/// Notes a change. An error code: it does not happen.
unsafe fn note(file: *mut File, change: Option<Change>) -> c_int {
    // SAFETY: `open` made the box, and `close` is the last call.
    let open = unsafe { file.cast::<Ours>().as_ref().and_then(|ours| ours.open.as_ref()) };
    let Some(Open { path, disk }) = open else { return 0 };
    let mut disk = disk.lock().unwrap();
    disk.before_operation();
    match &change {
        Some(Change::Write { .. }) if disk.full => return SQLITE_FULL,
        None if disk.broken => return SQLITE_IOERR_FSYNC,
        _ => {}
    }
    let contents = disk.files.entry(path.clone()).or_default();
    match change {
        Some(change) => contents.pending.push(change),
        None => {
            let Contents { durable, pending } = contents;
            pending.drain(..).for_each(|change| change.apply(durable));
        }
    }
    0
}

unsafe extern "C" fn close(file: *mut File) -> c_int {
    // SAFETY: the box is taken back once.
    unsafe {
        let ours = file.cast::<Ours>();
        if !(*ours).open.is_null() {
            drop(Box::from_raw((*ours).open));
        }
        ((*(*real(file)).methods).close)(real(file))
    }
}

unsafe extern "C" fn write(file: *mut File, data: *const c_void, bytes: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite promises `bytes` bytes of data.
    unsafe {
        let copy = std::slice::from_raw_parts(data.cast::<u8>(), bytes as usize).to_vec();
        match note(file, Some(Change::Write { offset: offset as usize, data: copy })) {
            0 => ((*(*real(file)).methods).write)(real(file), data, bytes, offset),
            code => code,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut File, bytes: i64) -> c_int {
    // SAFETY: forwarded as it came.
    unsafe {
        match note(file, Some(Change::Truncate { bytes: bytes as usize })) {
            0 => ((*(*real(file)).methods).truncate)(real(file), bytes),
            code => code,
        }
    }
}

unsafe extern "C" fn sync(file: *mut File, flags: c_int) -> c_int {
    // SAFETY: forwarded as it came. The real fsync is left out: it is the model's that counts, and is far faster.
    unsafe {
        let _ = flags;
        note(file, None)
    }
}

/// Methods that go to the usual file as they are.
macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)+) => {$(
        unsafe extern "C" fn $name(file: *mut File $(, $arg: $type)*) -> $result {
            // SAFETY: forwarded as it came.
            unsafe { ((*(*real(file)).methods).$name)(real(file) $(, $arg)*) }
        }
    )+};
}

forward! {
    read(data: *mut c_void, bytes: c_int, offset: i64) -> c_int;
    file_size(bytes: *mut i64) -> c_int;
    lock(level: c_int) -> c_int;
    unlock(level: c_int) -> c_int;
    check_reserved_lock(out: *mut c_int) -> c_int;
    file_control(op: c_int, data: *mut c_void) -> c_int;
    sector_size() -> c_int;
    device_characteristics() -> c_int;
    shm_map(page: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier() -> ();
    shm_unmap(delete: c_int) -> c_int;
}

static METHODS: Methods = Methods {
    version: 2,
    close,
    read,
    write,
    truncate,
    sync,
    file_size,
    lock,
    unlock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
    shm_map,
    shm_lock,
    shm_barrier,
    shm_unmap,
};
