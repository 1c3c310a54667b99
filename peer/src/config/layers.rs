//! Layers of a configuration: each read by itself, then laid over one another.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::ConfigError;
use super::raw::Raw;
use crate::limits::{CONFIG_FILE_COUNT_MAX, CONFIG_LEN_MAX};
use crate::link::shown;

/// The text of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What errors call it.
    pub file: PathBuf,
    /// TOML.
    pub text: String,
}

/// All layers, each of which is a configuration.
pub(super) struct Layers(Vec<(PathBuf, Table)>);

impl Layers {
    pub(super) fn parse(layers: &[Layer]) -> Result<Self, ConfigError> {
        if layers.len() > CONFIG_FILE_COUNT_MAX {
            return Err(ConfigError::TooMany { found: layers.len() });
        }
        let parsed = layers.iter().map(|Layer { file, text }| {
            if text.len() as u64 > CONFIG_LEN_MAX {
                return Err(ConfigError::TooLong { file: file.clone() });
            }
            let of_line = |error: toml::de::Error| line(file, text, &error);
            toml::from_str::<Raw>(text).map_err(of_line)?;
            Ok((file.clone(), text.parse::<Table>().map_err(of_line)?))
        });
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    /// What they make together.
    pub(super) fn merged(&self) -> Result<Raw, ConfigError> {
        let mut all = Table::new();
        for (_, table) in &self.0 {
            lay_over(&mut all, table);
        }
        // Each layer is a configuration, so that only what two of them say of one key can be wrong:
        // a table in one and something else in the other would have been refused in one.
        Raw::deserialize(Value::Table(all))
            .map_err(|error| self.wrong(&[], error.message().to_owned()))
    }

    /// An error at a key, in the last layer that has it.
    pub(super) fn wrong(&self, key: &[&str], why: String) -> ConfigError {
        let sets = |(_, table): &&(PathBuf, Table)| has(table, key);
        let file = self.0.iter().rev().find(sets).or(self.0.last());
        let file = file.map_or_else(PathBuf::new, |(file, _)| file.clone());
        ConfigError::Key { file, key: key.join("."), why }
    }
}

/// Tables are merged, all else is replaced.
fn lay_over(below: &mut Table, above: &Table) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Whether a table has this key, as far as keys lead: what is in an array has no name.
fn has(table: &Table, key: &[&str]) -> bool {
    key.split_first().is_none_or(|(first, rest)| match table.get(*first) {
        Some(Value::Table(inner)) => has(inner, rest),
        Some(_) => true,
        None => false,
    })
}

/// Where in a file an error is, and what stands there.
fn line(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let found = shown(text.lines().nth(line - 1).unwrap_or_default().trim());
    let why = error.message().replace('\n', ", ");
    ConfigError::Line { file: file.to_owned(), line, text: found, why }
}
