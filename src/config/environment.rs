//! Where settings come from: the process environment, behind a trait so that parsing is tested without it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::path::PathBuf;

use super::settings::Setting;

/// A secret that was read from a file.
#[derive(Clone, PartialEq, Eq)]
pub struct FromFile {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value.
    pub value: OsString,
    /// The name under which the file was named.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Named values.
pub trait Environment {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<OsString>;
    /// Every name that is set, sorted; names that are no UTF-8 are left out.
    fn names(&self) -> Vec<String>;
    /// The secrets in it that are from files: no process gets them with this environment.
    fn secrets_of_files(&self) -> Vec<FromFile> {
        Vec::new()
    }
}

/// This process's environment.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        names.sort();
        names
    }
}

impl<S: BuildHasher> Environment for HashMap<String, OsString, S> {
    fn get(&self, name: &str) -> Option<OsString> {
        Self::get(self, name).cloned()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.keys().cloned().collect();
        names.sort();
        names
    }
}
