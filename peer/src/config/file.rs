//! Opens the files of a configuration: the only part of it that touches a disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Layer};
use crate::limits::{CONFIG_FILE_COUNT_MAX, CONFIG_LEN_MAX};

/// What the maker of a device says.
pub const VENDOR: &str = "/usr/lib/neap/config.toml";

/// What its owner says.
pub const OWNER: &str = "/etc/neap/config.toml";

/// What its owner says in files of their own, in order of their names.
pub const DROP_INS: &str = "/etc/neap/config.d";

/// Reads one file and no other; or, if none is named, [`VENDOR`], then [`OWNER`], then the files
/// of [`DROP_INS`] that end in `.toml`, as far as they are there.
///
/// # Errors
/// If a file cannot be read, or is no configuration.
pub fn load(only: Option<&Path>) -> Result<Config, ConfigError> {
    match only {
        Some(file) => Config::parse(&[read(file)?]),
        None => load_from(Path::new("/")),
    }
}

/// The same files below another root.
///
/// # Errors
/// As [`load`].
pub fn load_from(root: &Path) -> Result<Config, ConfigError> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let mut layers = Vec::new();
    for file in [below(VENDOR), below(OWNER)] {
        if fs::exists(&file).map_err(|error| failed(&file, &error))? {
            layers.push(read(&file)?);
        }
    }
    let drop_ins = drop_ins(&below(DROP_INS))?;
    let found = drop_ins.len() + layers.len();
    if found > CONFIG_FILE_COUNT_MAX {
        return Err(ConfigError::TooMany { found });
    }
    for file in &drop_ins {
        layers.push(read(file)?);
    }
    Config::parse(&layers)
}

/// The drop-ins in order of their names; hidden files and what does not end in `.toml` are none.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| failed(folder, &error))?.file_name();
        let path = folder.join(&name);
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Layer, ConfigError> {
    let opened = File::open(file).map_err(|error| failed(file, &error))?;
    let mut text = String::new();
    let read = opened.take(CONFIG_LEN_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| failed(file, &error))?;
    match text.len() as u64 > CONFIG_LEN_MAX {
        true => Err(ConfigError::TooLong { file: file.to_owned() }),
        false => Ok(Layer { file: file.to_owned(), text }),
    }
}

fn failed(file: &Path, error: &io::Error) -> ConfigError {
    ConfigError::Read { file: file.to_owned(), why: error.to_string() }
}
