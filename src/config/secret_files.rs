//! Secrets in files: `X_FILE` names a file that holds the value of the secret setting `X`, as container engines mount secrets.
//!
//! Read once, by the process that boots a box: what it starts gets the values that are its business, and none of the files' names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::{Environment, FromFile};
use super::error::{ConfigError, ConfigErrors, wrong};
use super::settings::{self, Secrecy, Setting};
use super::spelling::{lookup, spellings};
use crate::plain_file;

/// What the name of such a setting ends in.
pub const SUFFIX: &str = "_FILE";
/// The longest secret, bytes.
const LONGEST: u64 = 64 << 10;

/// What holds where a value and a file are both there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Both {
    /// A mistake: one of them would be a surprise.
    Refused,
    /// The value, which this process was given itself; the file was the box's.
    ValueWins,
}

/// An environment in which secrets that files hold are values.
pub struct WithFiles<'env, E> {
    env: &'env E,
    secrets: BTreeMap<&'static str, FromFile>,
    /// The names of files, which nobody needs any more.
    spent: BTreeSet<String>,
}

impl<'env, E: Environment> WithFiles<'env, E> {
    /// Reads every file that `env` names for a secret.
    pub fn read(env: &'env E, both: Both) -> Result<Self, ConfigErrors> {
        let (mut found, mut errors) = (Self { env, secrets: BTreeMap::new(), spent: BTreeSet::new() }, Vec::new());
        for setting in settings::ALL.iter().filter(|setting| setting.secret != Secrecy::Public) {
            let named = names(setting).filter_map(|name| Some((env.get(&name)?, name)));
            let named: Vec<(OsString, String)> = named.collect();
            found.spent.extend(named.iter().map(|(_, name)| name.clone()));
            match secret(setting, env, named, both) {
                Ok(None) => {}
                Ok(Some(secret)) => drop(found.secrets.insert(setting.name, secret)),
                Err(error) => errors.push(error),
            }
        }
        ConfigErrors::unless(errors, found)
    }
}

impl<E: Environment> Environment for WithFiles<'_, E> {
    fn get(&self, name: &str) -> Option<OsString> {
        if self.spent.contains(name) {
            return None;
        }
        self.secrets.get(name).map_or_else(|| self.env.get(name), |secret| Some(secret.value.clone()))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.env.names();
        names.retain(|name| !self.spent.contains(name));
        names.extend(self.secrets.keys().map(|&name| name.to_owned()));
        names.sort();
        names.dedup();
        names
    }

    fn secrets_of_files(&self) -> Vec<FromFile> {
        self.secrets.values().cloned().collect()
    }
}

/// Every name under which a file can be named for a secret setting. No process below PID 1 has one.
pub fn all_names() -> impl Iterator<Item = String> {
    settings::ALL.iter().filter(|setting| setting.secret != Secrecy::Public).flat_map(names)
}

/// The names under which a file can be named for this setting.
fn names(setting: &Setting) -> impl Iterator<Item = String> + use<> {
    spellings(setting.name).into_iter().map(|name| name + SUFFIX)
}

/// A setting's secret from the file that is `named`, if one is.
fn secret(
    setting: &'static Setting,
    env: &impl Environment,
    named: Vec<(OsString, String)>,
    both: Both,
) -> Result<Option<FromFile>, ConfigError> {
    let mut named = named.into_iter().filter(|(path, _)| !path.is_empty());
    let Some((path, name)) = named.next() else { return Ok(None) };
    let shown = path.to_string_lossy().into_owned();
    if let Some((_, other)) = named.find(|(other, _)| *other != path) {
        return Err(wrong(
            &name,
            &shown,
            &format!("{other} is the same setting and names another file; set one of the two"),
        ));
    }
    if let Some((value, _)) = lookup(env, setting.name) {
        return match both {
            Both::ValueWins => Ok(None),
            Both::Refused => {
                Err(wrong(&name, &shown, &format!("{value} is set too, and is the same secret; set one of the two")))
            }
        };
    }
    let path = PathBuf::from(path);
    match read(&path) {
        Ok(value) => Ok(Some(FromFile { setting, value, name, path })),
        Err(why) => Err(wrong(&name, &shown, &why)),
    }
}

/// The one line in a file; otherwise what is wrong with it.
fn read(path: &Path) -> Result<OsString, String> {
    if !path.is_absolute() {
        return Err("it must be an absolute path".to_owned());
    }
    let bytes = plain_file::read(path, LONGEST).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file; is the secret mounted?".to_owned(),
        io::ErrorKind::PermissionDenied => {
            format!("user {} may not read it ({error}); it is read at the start of the box", nix::unistd::geteuid())
        }
        _ => error.to_string(),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| "the file must be UTF-8 text".to_owned())?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if line.contains(['\r', '\n', '\0']) {
        return Err("the file must hold one line, the secret".to_owned());
    }
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use rstest::rstest;

    use super::super::name;
    use super::*;

    type Env = HashMap<String, OsString>;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
    }

    fn file(text: &[u8]) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    fn refusal(env: &Env) -> String {
        let read = WithFiles::read(env, Both::Refused);
        read.err().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[rstest]
    #[case("ANTHROPIC_API_KEY_FILE", name::ANTHROPIC_API_KEY)]
    #[case("ANTHROPIC_AUTH_TOKEN_FILE", name::ANTHROPIC_AUTH_TOKEN)]
    #[case("CLAUDE_CODE_OAUTH_TOKEN_FILE", name::CLAUDE_CODE_OAUTH_TOKEN)]
    #[case("CLAUDEBOX_MODE_API_TOKEN_FILE", name::MODE_API_TOKEN)]
    #[case("CLAUDE_MODE_API_TOKEN_FILE", name::MODE_API_TOKEN)]
    #[case("CLAUDEBOX_TELEGRAM_TOKEN_FILE", name::TELEGRAM_BOT_TOKEN)]
    #[case("CLAUDEBOX_WEBHOOK_SECRET_FILE", name::WEBHOOK_SECRET)]
    fn each_secret_can_be_in_a_file(
        #[case] named: &str,
        #[case] setting: &str,
        #[values("s3cret", "s3cret\n", "s3cret\r\n")] text: &str,
    ) {
        let (_folder, path) = file(text.as_bytes());
        let env = env(&[(named, &path), ("PATH", "/bin")]);
        let read = WithFiles::read(&env, Both::Refused).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(read.get(setting), Some("s3cret".into()));
        assert_eq!((read.get(named), read.get("PATH")), (None, Some("/bin".into())));
        assert_eq!(read.names(), {
            let mut names = [setting, "PATH"];
            names.sort_unstable();
            names
        });
        assert!(read.secrets_of_files().iter().all(|secret| secret.setting.name == setting));
        assert!(all_names().any(|name| name == named));
    }

    #[test]
    fn what_is_no_secret_has_no_file() {
        let env = env(&[("CLAUDEBOX_SYSTEM_HINT_FILE", "/nowhere"), ("CLAUDEBOX_MODE_API_TOKENS_FILE", "/tokens")]);
        let read = WithFiles::read(&env, Both::Refused).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(read.get("CLAUDEBOX_MODE_API_TOKENS_FILE"), Some("/tokens".into()));
        assert!(read.secrets_of_files().is_empty());
    }

    #[rstest]
    #[case::empty(b"", "the file is empty")]
    #[case::a_line_feed(b"\n", "the file is empty")]
    #[case::lines(b"a\nb\n", "the file must hold one line, the secret")]
    #[case::zero(b"a\0b", "the file must hold one line, the secret")]
    #[case::binary(b"\xff\xfe", "the file must be UTF-8 text")]
    fn a_file_that_is_no_secret_is_named(#[case] text: &[u8], #[case] why: &str) {
        let (_folder, path) = file(text);
        let said = refusal(&env(&[("ANTHROPIC_API_KEY_FILE", &path)]));
        assert_eq!(said, format!("ANTHROPIC_API_KEY_FILE={path:?} is not usable: {why}"));
    }

    #[test]
    fn a_file_that_is_too_long_is_none() {
        let (_folder, path) = file("x".repeat(65_537).as_bytes());
        let said = refusal(&env(&[("ANTHROPIC_API_KEY_FILE", &path)]));
        assert!(said.ends_with("it is longer than 65536 bytes"), "{said}");
    }

    #[rstest]
    #[case::missing("/nowhere/secret", "there is no such file; is the secret mounted?")]
    #[case::relative("secret", "it must be an absolute path")]
    #[case::folder("/", "it is no file")]
    #[case::endless("/dev/zero", "it is no file")]
    fn a_path_that_leads_to_none_is_named(#[case] path: &str, #[case] why: &str) {
        let said = refusal(&env(&[("ANTHROPIC_API_KEY_FILE", path)]));
        assert_eq!(said, format!("ANTHROPIC_API_KEY_FILE={path:?} is not usable: {why}"));
    }

    #[test]
    fn a_value_beside_a_file_is_refused_unless_it_was_given_later() {
        let (_folder, path) = file(b"of the file");
        let both = env(&[("CLAUDE_MODE_API_TOKEN", "v4lue"), ("CLAUDEBOX_MODE_API_TOKEN_FILE", &path)]);
        let said = refusal(&both);
        assert!(
            said.starts_with("CLAUDEBOX_MODE_API_TOKEN_FILE=") && said.contains("CLAUDE_MODE_API_TOKEN is set too"),
            "{said}"
        );
        assert!(!said.contains("v4lue"), "{said}");
        let read = WithFiles::read(&both, Both::ValueWins).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(
            (read.get("CLAUDE_MODE_API_TOKEN"), read.get("CLAUDEBOX_MODE_API_TOKEN")),
            (Some("v4lue".into()), None)
        );
        // Compose files write empty ones.
        let empty = env(&[("CLAUDEBOX_MODE_API_TOKEN", ""), ("CLAUDEBOX_MODE_API_TOKEN_FILE", &path)]);
        assert!(WithFiles::read(&empty, Both::Refused).is_ok());
    }

    #[test]
    fn two_spellings_name_one_file_and_every_mistake_is_told() {
        let said = refusal(&env(&[
            ("CLAUDEBOX_MODE_API_TOKEN_FILE", "/a"),
            ("CLAUDE_MODE_API_TOKEN_FILE", "/b"),
            ("ANTHROPIC_API_KEY_FILE", "/nowhere"),
        ]));
        assert!(said.contains("CLAUDE_MODE_API_TOKEN_FILE is the same setting and names another file"), "{said}");
        assert!(said.contains("ANTHROPIC_API_KEY_FILE"), "{said}");
    }
}
