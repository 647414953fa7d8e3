//! Settings: flags, environment (`KILN_*`), TOML file.
