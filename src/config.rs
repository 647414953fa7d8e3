//! Settings of `kiln serve`: flags, environment (`KILN_*`), TOML file, defaults, in this order.
//!
//! [`ServeArgs`] is what the command line and the environment said; [`ServeArgs::resolve`] reads the file, fills in the
//! defaults and answers a [`ServeConfig`], which is all that the rest of the program sees. Runs once, at the start.

use crate::dispatch::retention::RetentionConfig;
use crate::job::nearest;
use crate::limits::{DAY_MS, KEEP_DAYS_MAX};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Address that is listened on where nothing else is said.
pub const ADDR_DEFAULT: &str = "127.0.0.1:8080";

/// What the command line and the environment said about `kiln serve`. A flag wins over its variable.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on, as HOST:PORT; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "KILN_ADDR", value_name = "HOST:PORT")]
    pub addr: Option<String>,
    /// Folder of the store and the blobs [default: the user's data folder]
    #[arg(long, env = "KILN_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Adapter to render on: auto, none, in-process, a number or a part of a name [default: auto]
    #[arg(long, env = "KILN_GPU", value_name = "auto|INDEX|NAME|none|in-process")]
    pub gpu: Option<GpuChoice>,
    /// TOML file with the same settings (addr, data, gpu, …)
    #[arg(long, env = "KILN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let anybody who can reach the address use the service
    #[arg(long, env = "KILN_INSECURE_NO_AUTH", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure_no_auth: Option<bool>,
    /// Bytes of the largest upload that is accepted [default: 4 GiB]
    #[arg(long, env = "KILN_UPLOAD_BYTES_MAX", value_name = "BYTES")]
    pub upload_bytes_max: Option<u64>,
    /// Name in DNS that this server has, or a proxy in front of it, with the port of its pages if they have one; repeatable
    #[arg(long = "allowed-host", env = "KILN_ALLOWED_HOSTS", value_name = "NAME", value_delimiter = ',')]
    pub allowed_hosts: Option<Vec<String>>,
    /// Let webhooks call private, loopback and link-local addresses
    #[arg(long, env = "KILN_WEBHOOK_ALLOW_PRIVATE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub webhook_allow_private: Option<bool>,
    /// Days after its end that a job is kept, with its outputs; 0 = for ever [default: 30]
    #[arg(long, env = "KILN_KEEP_JOBS_DAYS", value_name = "DAYS")]
    pub keep_jobs_days: Option<u64>,
    /// Days after a job's end that its events are kept; 0 = as long as the job [default: 7]
    #[arg(long, env = "KILN_KEEP_EVENTS_DAYS", value_name = "DAYS")]
    pub keep_events_days: Option<u64>,
    /// Days that an asset is kept which no job uses; 0 = for ever [default: 30]
    #[arg(long, env = "KILN_KEEP_ASSETS_DAYS", value_name = "DAYS")]
    pub keep_assets_days: Option<u64>,
    /// Bytes of all outputs; beyond, jobs that ended longest ago go; 0 = any number [default: 100 GiB]
    #[arg(long, env = "KILN_KEEP_OUTPUTS_BYTES", value_name = "BYTES")]
    pub keep_outputs_bytes: Option<u64>,
    /// Bytes of the checkpoints that finished jobs can be extended from; 0 = any number [default: 4 GiB]
    #[arg(long, env = "KILN_KEEP_CHECKPOINTS_BYTES", value_name = "BYTES")]
    pub keep_checkpoints_bytes: Option<u64>,
    /// Milliseconds of GPU work between two checkpoints of a task: what a crash may cost [default: 10000]
    #[arg(long, env = "KILN_CHECKPOINT_MS", value_name = "MS")]
    pub checkpoint_ms: Option<u64>,
    /// Tasks that one GPU process ends before a fresh one takes its place [default: 20000]
    #[arg(long, env = "KILN_RECYCLE_TASKS", value_name = "TASKS")]
    pub recycle_tasks: Option<u64>,
}

/// Settings of `kiln serve`, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// HOST:PORT to listen on; port 0 takes a free one.
    pub addr: String,
    /// Folder of the store and the blobs; made where it is missing.
    pub data: PathBuf,
    /// See [`GpuChoice`].
    pub gpu: GpuChoice,
    /// True: an address that others can reach is allowed although there are no keys.
    pub insecure_no_auth: bool,
    /// Bytes of the largest upload, at most [`crate::limits::UPLOAD_BYTES_MAX`].
    pub upload_bytes_max: u64,
    /// Names that the server answers to besides its address; their pages may call it. See [`crate::http::origin::HostRule`].
    pub allowed_hosts: Vec<String>,
    /// True: webhooks may call private, loopback and link-local addresses.
    pub webhook_allow_private: bool,
    /// How long and how much is kept.
    pub retention: RetentionConfig,
    /// Milliseconds of work on the device between two checkpoints of a task.
    pub checkpoint_ms: u64,
    /// Tasks that one GPU process ends before a fresh one takes its place.
    pub recycle_tasks: u64,
}

/// Which adapter renders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GpuChoice {
    /// The fastest one there is.
    #[default]
    Auto,
    /// None: jobs are accepted and wait.
    None,
    /// The fastest one, with the device thread in the front end's own process, for debugging.
    InProcess,
    /// By its number in the list of `kiln doctor`, from 0.
    Index(usize),
    /// The first whose name contains this text, in any case.
    Name(String),
}

impl FromStr for GpuChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("found nothing, expected auto, none, in-process, a number or a part of an adapter's name".into()),
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            "in-process" => Ok(Self::InProcess),
            other => Ok(other.parse().map_or_else(|_| Self::Name(other.to_owned()), Self::Index)),
        }
    }
}

impl std::fmt::Display for GpuChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::InProcess => f.write_str("in-process"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Why there is no [`ServeConfig`]. A mistake of usage: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or a value has the wrong type.
    #[error("the configuration file {path} is wrong: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, what was found, what was expected.
        message: String,
    },
    /// It names a setting that there is not.
    #[error("the configuration file {path} sets \"{key}\", which is no setting{hint}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest known one, or all of them.
        hint: String,
    },
    /// No environment variable says where a user's data belongs.
    #[error("no home folder is known, so there is no default data folder: give one with --data DIR or KILN_DATA")]
    NoDataDir,
    /// A number is out of its range.
    #[error("{name} is {found}, expected a number from 1 to {max}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was given.
        found: u64,
        /// The largest allowed.
        max: u64,
    },
}

/// The file: every setting may be missing.
#[derive(Debug, Default, Deserialize)]
struct ConfigFile {
    addr: Option<String>,
    data: Option<PathBuf>,
    gpu: Option<GpuInFile>,
    insecure_no_auth: Option<bool>,
    upload_bytes_max: Option<u64>,
    allowed_hosts: Option<Vec<String>>,
    webhook_allow_private: Option<bool>,
    keep_jobs_days: Option<u64>,
    keep_events_days: Option<u64>,
    keep_assets_days: Option<u64>,
    keep_outputs_bytes: Option<u64>,
    keep_checkpoints_bytes: Option<u64>,
    checkpoint_ms: Option<u64>,
    recycle_tasks: Option<u64>,
}

const FILE_KEYS: [&str; 14] = [
    "addr",
    "data",
    "gpu",
    "insecure_no_auth",
    "upload_bytes_max",
    "allowed_hosts",
    "webhook_allow_private",
    "keep_jobs_days",
    "keep_events_days",
    "keep_assets_days",
    "keep_outputs_bytes",
    "keep_checkpoints_bytes",
    "checkpoint_ms",
    "recycle_tasks",
];

/// `gpu = 1` and `gpu = "auto"` both read well.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum GpuInFile {
    Index(usize),
    Text(String),
}

impl ServeArgs {
    /// Reads the file, if one is named, and fills in the defaults.
    pub fn resolve(self) -> Result<ServeConfig, ConfigError> {
        let file = match &self.config {
            Some(path) => read_file(path)?,
            None => ConfigFile::default(),
        };
        let gpu_in_file = match file.gpu {
            Some(GpuInFile::Index(index)) => Some(GpuChoice::Index(index)),
            Some(GpuInFile::Text(text)) => Some(text.parse().map_err(|message| ConfigError::Malformed {
                path: self.config.clone().unwrap_or_default(),
                message: format!("gpu: {message}"),
            })?),
            None => None,
        };
        let data = match self.data.or(file.data) {
            Some(data) => data,
            None => default_data_dir(|name| std::env::var_os(name)).ok_or(ConfigError::NoDataDir)?,
        };
        let upload_bytes_max =
            self.upload_bytes_max.or(file.upload_bytes_max).unwrap_or(crate::limits::UPLOAD_BYTES_MAX);
        if !(1..=crate::limits::UPLOAD_BYTES_MAX).contains(&upload_bytes_max) {
            return Err(ConfigError::OutOfRange {
                name: "upload_bytes_max",
                found: upload_bytes_max,
                max: crate::limits::UPLOAD_BYTES_MAX,
            });
        }
        let kept = RetentionConfig::default();
        let retention = RetentionConfig {
            jobs_age_ms: days("keep_jobs_days", self.keep_jobs_days.or(file.keep_jobs_days), kept.jobs_age_ms)?,
            events_age_ms: days(
                "keep_events_days",
                self.keep_events_days.or(file.keep_events_days),
                kept.events_age_ms,
            )?,
            assets_age_ms: days(
                "keep_assets_days",
                self.keep_assets_days.or(file.keep_assets_days),
                kept.assets_age_ms,
            )?,
            outputs_bytes_max: bytes(self.keep_outputs_bytes.or(file.keep_outputs_bytes), kept.outputs_bytes_max),
            checkpoints_bytes_max: bytes(
                self.keep_checkpoints_bytes.or(file.keep_checkpoints_bytes),
                kept.checkpoints_bytes_max,
            ),
        };
        let counted = |name, flag: Option<u64>, file: Option<u64>, default: u64, max: u64| {
            let found = flag.or(file).unwrap_or(default);
            if (1..=max).contains(&found) { Ok(found) } else { Err(ConfigError::OutOfRange { name, found, max }) }
        };
        let (milliseconds, tasks) = (crate::limits::CHECKPOINT_MS, crate::limits::GPU_PROCESS_RECYCLE_TASKS);
        Ok(ServeConfig {
            checkpoint_ms: counted("checkpoint_ms", self.checkpoint_ms, file.checkpoint_ms, milliseconds, 3_600_000)?,
            recycle_tasks: counted("recycle_tasks", self.recycle_tasks, file.recycle_tasks, tasks, u64::MAX)?,
            addr: self.addr.or(file.addr).unwrap_or_else(|| ADDR_DEFAULT.to_owned()),
            data,
            gpu: self.gpu.or(gpu_in_file).unwrap_or_default(),
            insecure_no_auth: self.insecure_no_auth.or(file.insecure_no_auth).unwrap_or(false),
            upload_bytes_max,
            allowed_hosts: self.allowed_hosts.or(file.allowed_hosts).unwrap_or_default(),
            webhook_allow_private: self.webhook_allow_private.or(file.webhook_allow_private).unwrap_or(false),
            retention,
        })
    }
}

/// Days as milliseconds; 0 stands for no bound.
fn days(name: &'static str, given: Option<u64>, default: Option<i64>) -> Result<Option<i64>, ConfigError> {
    match given {
        None => Ok(default),
        Some(0) => Ok(None),
        Some(found) if found > KEEP_DAYS_MAX => Err(ConfigError::OutOfRange { name, found, max: KEEP_DAYS_MAX }),
        Some(days) => Ok(i64::try_from(days * DAY_MS).ok()),
    }
}

/// Bytes; 0 stands for no bound.
fn bytes(given: Option<u64>, default: Option<u64>) -> Option<u64> {
    match given {
        None => default,
        Some(0) => None,
        some => some,
    }
}

fn read_file(path: &Path) -> Result<ConfigFile, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let malformed = |error: toml::de::Error| ConfigError::Malformed {
        path: path.to_owned(),
        message: match error.span() {
            Some(span) => {
                let line = text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        },
    };
    let table: toml::Table = toml::from_str(&text).map_err(malformed)?;
    if let Some(key) = table.keys().find(|key| !FILE_KEYS.contains(&key.as_str())) {
        let hint = match nearest(key, &FILE_KEYS) {
            Some(known) => format!("; did you mean \"{known}\"?"),
            None => format!("; the settings are {}", FILE_KEYS.join(", ")),
        };
        return Err(ConfigError::UnknownKey { path: path.to_owned(), key: key.clone(), hint });
    }
    toml::from_str(&text).map_err(malformed)
}

/// Where a user's data belongs: the XDG base directory specification on Linux, Apple's and Microsoft's conventions elsewhere.
/// `var` reads an environment variable.
pub fn default_data_dir(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    // The XDG specification says that a relative path is to be ignored.
    let folder = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(target_os = "macos") {
        folder("HOME")?.join("Library/Application Support")
    } else if cfg!(windows) {
        folder("LOCALAPPDATA")?
    } else {
        folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?
    };
    Some(base.join("kiln"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn with_file(text: &str, args: ServeArgs) -> Result<ServeConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kiln.toml");
        std::fs::write(&path, text).unwrap();
        ServeArgs { config: Some(path), ..args }.resolve()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "addr = \"127.0.0.1:1\"\ndata = \"/var/lib/kiln\"\ngpu = 1\n";
        let config = with_file(file, ServeArgs { addr: Some("127.0.0.1:2".into()), ..ServeArgs::default() }).unwrap();
        assert_eq!(config.addr, "127.0.0.1:2");
        assert_eq!(config.data, PathBuf::from("/var/lib/kiln"));
        assert_eq!(config.gpu, GpuChoice::Index(1));
        assert!(!config.insecure_no_auth);
        assert_eq!(config.upload_bytes_max, crate::limits::UPLOAD_BYTES_MAX);
        let config = with_file("data = \"d\"", ServeArgs::default()).unwrap();
        assert_eq!((config.addr.as_str(), config.gpu), (ADDR_DEFAULT, GpuChoice::Auto));
    }

    #[test]
    fn what_is_kept_can_be_set_and_nought_means_for_ever() {
        let config =
            with_file("data = \"d\"\nkeep_jobs_days = 2\nkeep_outputs_bytes = 0", ServeArgs::default()).unwrap();
        let kept = config.retention;
        assert_eq!((kept.jobs_age_ms, kept.outputs_bytes_max), (Some(2 * 86_400_000), None));
        assert_eq!(kept.assets_age_ms, RetentionConfig::default().assets_age_ms);
        let wrong = with_file("data = \"d\"\nkeep_assets_days = 100000", ServeArgs::default()).unwrap_err().to_string();
        assert!(wrong.contains("keep_assets_days is 100000"), "{wrong}");
    }

    #[test]
    fn every_setting_has_its_variable() {
        use clap::Args;
        let command = ServeArgs::augment_args(clap::Command::new("kiln"));
        for argument in command.get_arguments() {
            let variable = format!("KILN_{}", argument.get_id().as_str().to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        }
    }

    #[test]
    fn mistakes_in_the_file_are_named_with_their_place() {
        let message = |file: &str| with_file(file, ServeArgs::default()).unwrap_err().to_string();
        assert!(message("adr = \"x\"").contains("\"adr\", which is no setting; did you mean \"addr\"?"));
        assert!(message("zzz = 1").contains("the settings are addr, data"));
        assert!(message("addr = \"x\"\n\ndata = 5").contains("line 3"));
        assert!(message("addr = ").contains("line 1"));
        assert!(message("data = \"d\"\nupload_bytes_max = 0").contains("expected a number from 1 to"));
        let missing = ServeArgs { config: Some("/nonexistent/kiln.toml".into()), ..ServeArgs::default() };
        assert!(missing.resolve().unwrap_err().to_string().contains("/nonexistent/kiln.toml"));
    }

    #[test]
    fn adapters_are_chosen_by_word_number_or_name() {
        for (text, choice) in [
            ("auto", GpuChoice::Auto),
            ("none", GpuChoice::None),
            ("in-process", GpuChoice::InProcess),
            ("2", GpuChoice::Index(2)),
            ("llvmpipe", GpuChoice::Name("llvmpipe".into())),
        ] {
            assert_eq!(text.parse(), Ok(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
        assert!(GpuChoice::from_str(" ").is_err());
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn the_data_folder_follows_the_xdg_specification() {
        let with = |pairs: &'static [(&str, &str)]| {
            default_data_dir(move |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| OsString::from(pair.1)))
        };
        assert_eq!(with(&[("HOME", "/home/u")]), Some("/home/u/.local/share/kiln".into()));
        assert_eq!(with(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/data")]), Some("/data/kiln".into()));
        assert_eq!(with(&[("HOME", "/home/u"), ("XDG_DATA_HOME", "data")]), Some("/home/u/.local/share/kiln".into()));
        assert_eq!(with(&[]), None);
    }
}
