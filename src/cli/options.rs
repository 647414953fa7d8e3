//! The common options of a job as flags: made from the same table as the service's query parameters, so that a flag, its help and
//! its rules cannot differ from them. `time_s` becomes `--time-s`.

use crate::job::{OPTIONS, OptionValue};
use clap::{Arg, ArgMatches, Command};
use std::sync::LazyLock;

/// The options that were given, as `(name, value)` in the order of the table.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecOptions(pub(super) Vec<(&'static str, String)>);

/// Options of the free camera, which also go by these longer names.
const CAMERA: &[(&str, &str)] = &[
    ("position", "camera-position"),
    ("target", "camera-target"),
    ("up", "camera-up"),
    ("fov_y_deg", "camera-fov-y-deg"),
    ("azimuth_deg", "camera-azimuth-deg"),
    ("elevation_deg", "camera-elevation-deg"),
    ("zoom", "camera-zoom"),
    ("aperture_radius", "camera-aperture-radius"),
    ("focus_distance", "camera-focus-distance"),
];

/// The flag of each entry of the table, without its dashes.
static FLAGS: LazyLock<Vec<String>> = LazyLock::new(|| OPTIONS.iter().map(|option| flag(option.name)).collect());

impl clap::Args for SpecOptions {
    fn augment_args(mut command: Command) -> Command {
        for (option, flag) in OPTIONS.iter().zip(FLAGS.iter()).filter(|(option, _)| !option.needs_queue()) {
            let mut help = option.help.to_owned();
            if option.name == "environment" {
                help = "Light around the scene: a preset, or a .hdr or .exr file (default studio)".into();
            }
            let words = option.words();
            if !words.is_empty() {
                help = format!("{help} [{}]", words.join(", "));
            }
            let mut arg = Arg::new(option.name)
                .long(flag.as_str())
                .help(help)
                .help_heading("Job options")
                // A camera may stand at -1,2,3.
                .allow_hyphen_values(true)
                .value_name(match option.value {
                    OptionValue::Whole => "N",
                    OptionValue::Decimal => "NUMBER",
                    OptionValue::Vector => "X,Y,Z",
                    OptionValue::Word => "WORD",
                    OptionValue::Words => "WORD,WORD",
                    OptionValue::Text => "TEXT",
                    OptionValue::Flag => "true|false",
                    OptionValue::NameOrIndex => "NAME|INDEX",
                    OptionValue::Background => "COLOR",
                });
            if let Some((_, longer)) = CAMERA.iter().find(|(name, _)| *name == option.name) {
                arg = arg.visible_alias(*longer);
            }
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SpecOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &'static str| matches.get_one::<String>(name).map(|value| (name, value.clone()));
        Ok(Self(
            OPTIONS.iter().filter(|option| !option.needs_queue()).filter_map(|option| given(option.name)).collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl SpecOptions {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(given, _)| *given == name)?;
        Some(self.0.remove(index).1)
    }

    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.0.push((name, value));
    }
}

/// `time_s` → `time-s`.
pub(super) fn flag(name: &str) -> String {
    name.replace('_', "-")
}
