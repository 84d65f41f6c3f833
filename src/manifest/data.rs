//! The manifest as a file: what an image build found, kept as JSON.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::catalogue::Group;

const SCHEMA_VERSION: u32 = 1;

/// The tools of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    /// Which image it is, `minimal` for one.
    pub variant: Option<String>,
    /// Its tools.
    pub tools: Vec<FoundTool>,
}

/// A tool that was found, and that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundTool {
    /// The command.
    pub name: String,
    /// Its version, if it has one to tell.
    pub version: Option<String>,
    /// Its executable.
    pub path: String,
    /// What it is for.
    pub group: Group,
    /// What it does, in a few words.
    pub purpose: String,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DataError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no tool manifest: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its schema version is {0}, this claudebox reads {SCHEMA_VERSION}")]
    Version(u32),
}

impl Manifest {
    /// The manifest of the image `variant` with these tools.
    #[must_use]
    pub fn new(variant: Option<String>, tools: Vec<FoundTool>) -> Self {
        Self { schema_version: SCHEMA_VERSION, variant, tools }
    }

    /// Reads `path`; `None` if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, DataError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let manifest: Self = serde_json::from_slice(&text)?;
        if manifest.schema_version == SCHEMA_VERSION {
            Ok(Some(manifest))
        } else {
            Err(DataError::Version(manifest.schema_version))
        }
    }

    /// Its file.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let entry = |name: &str, version: Option<&str>, group| FoundTool {
            name: name.into(),
            version: version.map(Into::into),
            path: format!("/usr/bin/{name}"),
            group,
            purpose: "does things".into(),
        };
        let tools =
            vec![entry("git", Some("2.39.5"), Group::VersionControl), entry("impl", None, Group::LintersAndFormatters)];
        Manifest::new(Some("minimal".into()), tools)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), manifest().to_json().unwrap()).unwrap();
        assert_eq!(Manifest::read(file.path()).unwrap(), Some(manifest()));
        let text = fs::read_to_string(file.path()).unwrap();
        for part in [r#""schemaVersion": 1"#, r#""variant": "minimal""#, r#""group": "version-control""#] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_missing_file_is_none_and_anything_else_an_error() {
        assert!(Manifest::read(Path::new("/nonexistent/manifest.json")).unwrap().is_none());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Manifest::read(file.path()), Err(DataError::Json(_))));
        fs::write(file.path(), r#"{"schemaVersion": 2, "variant": null, "tools": []}"#).unwrap();
        assert!(matches!(Manifest::read(file.path()), Err(DataError::Version(2))));
    }
}
