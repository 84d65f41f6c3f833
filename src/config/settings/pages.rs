//! What is written from the table, and held against it: the tables of the pages, and the host command's lists.
//!
//! With `CLAUDEBOX_TEST_WRITE=1`, as `tests/docs/settings --write` sets it, the files are written instead.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::secret_files;
use super::{ALL, HandedOn, Part, Secrecy, Setting};

const PARTS: [(Part, &str); 10] = [
    (Part::Claude, "Claude and its credentials"),
    (Part::User, "User, folders, git"),
    (Part::Start, "Start and stop"),
    (Part::Runs, "Runs: limits, costs, what is kept"),
    (Part::Http, "The HTTP API"),
    (Part::OpenAi, "OpenAI clients"),
    (Part::Telegram, "Telegram"),
    (Part::Cron, "Cron"),
    (Part::Requests, "Webhooks and addresses that are fetched"),
    (Part::Logs, "Logs"),
];
/// Width of the host command's lines.
const WIDTH: usize = 110;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// `text` with `content` between the line of `begin` and the next one of `end`.
fn filled(text: &str, begin: &str, end: &str, content: &str) -> String {
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin:?}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("no {end:?} after {begin:?}"));
    format!("{before}{begin}{content}{end}{after}")
}

/// Holds a file against what `make` makes of it, or writes it.
fn hold(name: &str, make: impl FnOnce(&str) -> String) {
    let path = file(name);
    let is = fs::read_to_string(&path).unwrap();
    let wanted = make(&is);
    if std::env::var_os("CLAUDEBOX_TEST_WRITE").is_some() {
        fs::write(path, wanted).unwrap();
        return;
    }
    let differs = is.lines().zip(wanted.lines()).find(|(is, wanted)| is != wanted);
    assert!(is == wanted, "{name} differs from src/config/settings.rs (tests/docs/settings --write): {differs:#?}");
}

fn table(part: Part) -> String {
    let mut text = "\n\n| name | meaning | default |\n|---|---|---|\n".to_owned();
    for setting in ALL.iter().filter(|setting| setting.part == part) {
        let Setting { name, meaning, default, more, .. } = setting;
        let x = if name.ends_with('_') { "X" } else { "" };
        let alone = if name.starts_with("CLAUDEBOX_") && !setting.has_old_name { " +" } else { "" };
        let star = match setting.handed_on {
            HandedOn::Always | HandedOn::WithCall | HandedOn::ToServices => " *",
            HandedOn::No | HandedOn::ByHost => "",
        };
        let more = if more.is_empty() { String::new() } else { format!(" {}", more.trim_ascii()) };
        let file = format!(" Or `{name}{}`, a file.", secret_files::SUFFIX);
        let more = more + if setting.secret == Secrecy::Public { "" } else { &file };
        let default = if default.is_empty() { " ".to_owned() } else { format!(" {default} ") };
        writeln!(text, "| `{name}{x}`{alone}{star} | {meaning}{more} |{default}|").unwrap();
    }
    text + "\n"
}

#[test]
fn the_page_of_settings_has_them() {
    hold("docs/settings.md", |page| {
        PARTS.iter().fold(page.to_owned(), |page, (part, title)| {
            filled(&page, &format!("\n## {title}\n\n<!-- settings -->"), "<!-- end -->", &table(*part))
        })
    });
}

#[test]
fn the_page_of_the_host_command_has_its_own() {
    hold("docs/host-command.md", |page| filled(page, "<!-- settings -->", "<!-- end -->", &table(Part::HostCommand)));
}

/// Names without their prefix, as alternatives of awk's regular expression, in a string of several lines.
fn alternatives(variable: &str, kinds: &[HandedOn]) -> String {
    let mut lines = vec![format!("            {variable} = \"")];
    let handed_on =
        ALL.iter().filter(|setting| kinds.contains(&setting.handed_on) && setting.part != Part::HostCommand);
    for (at, name) in handed_on.filter_map(|setting| setting.name.strip_prefix("CLAUDEBOX_")).enumerate() {
        let any = if name.ends_with('_') { "[A-Za-z0-9_]+" } else { "" };
        let word = format!("{}{name}{any}", if at == 0 { "" } else { "|" });
        let last = lines.len() - 1;
        if lines[last].len() + word.len() > WIDTH {
            lines[last].push_str("\" \\");
            lines.push(format!("                \"{word}"));
        } else {
            lines[last].push_str(&word);
        }
    }
    lines.join("\n") + "\"\n"
}

/// The names of a call that have no prefix of ours.
fn of_others() -> String {
    let of_call = ALL.iter().filter(|setting| setting.handed_on == HandedOn::WithCall);
    let names: Vec<&str> = of_call.map(|setting| setting.name).filter(|name| !name.starts_with("CLAUDEBOX_")).collect();
    format!("            plain = \"{}\"\n", names.join("|"))
}

/// The secrets that each box gets and those of services, as the shell's lists of names.
fn secrets() -> String {
    let names = |to_services: bool| {
        let of = ALL.iter().filter(|setting| setting.secret != Secrecy::Public);
        let of = of.filter(|setting| (setting.handed_on == HandedOn::ToServices) == to_services);
        of.map(|setting| setting.name).collect::<Vec<_>>().join(" ")
    };
    format!("secrets='{}'\nsecrets_of_services='{}'\n", names(false), names(true))
}

#[test]
fn the_host_command_hands_them_on() {
    let lists = [
        of_others(),
        alternatives("always", &[HandedOn::Always]),
        alternatives("of_call", &[HandedOn::WithCall]),
        alternatives("to_services", &[HandedOn::ToServices]),
        alternatives("kept", &[HandedOn::ByHost, HandedOn::No]),
    ];
    hold("scripts/claudebox", |script| {
        let begin = "            # From src/config/settings.rs, by tests/docs/settings --write:\n";
        let script = filled(script, begin, "            # (end)\n", &lists.concat());
        filled(&script, "# Secrets that a file may hold, from the same:\n", "# (end)\n", &secrets())
    });
}

/// Whatever the host command looks at is a setting.
#[test]
fn the_host_command_knows_no_other() {
    let script = fs::read_to_string(file("scripts/claudebox")).unwrap();
    let known: BTreeSet<&str> = ALL.iter().map(|setting| setting.name).collect();
    // Said of any setting, of the installer, a spelling of version 2, and in a list of the API's and the cron door's modes.
    let others =
        ["CLAUDEBOX_X", "CLAUDEBOX_INSTALL_DIR", "CLAUDEBOX_BIN_NAME", "CLAUDEBOX_API_MODE_PORT", "CLAUDEBOX_MODE_"];
    for (at, _) in script.match_indices("CLAUDEBOX_") {
        let name: &str = script[at..].split(|mark: char| !mark.is_ascii_uppercase() && mark != '_').next().unwrap();
        let is_prefixed = name.starts_with("CLAUDEBOX_ENV_") || name.starts_with("CLAUDEBOX_MOUNT_");
        assert!(
            name == "CLAUDEBOX_" || is_prefixed || others.contains(&name) || known.contains(name),
            "scripts/claudebox looks at {name}, which is not in src/config/settings.rs"
        );
    }
}

/// It shows commands without the values of such names.
#[test]
fn the_host_command_masks_every_secret() {
    for setting in ALL.iter().filter(|setting| setting.secret != Secrecy::Public) {
        let masked = ["_TOKEN", "_KEY", "_SECRET"].iter().any(|end| setting.name.ends_with(end));
        assert!(masked, "{}: scripts/claudebox would show it", setting.name);
    }
}

#[test]
fn each_setting_is_defined_once_and_whole() {
    let names: BTreeSet<&str> = ALL.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), ALL.len());
    for Setting { name, meaning, part, .. } in ALL {
        assert!(meaning.ends_with('.') && meaning.len() > 10, "{name} means {meaning:?}");
        let is_told = PARTS.iter().any(|(told, _)| told == part);
        assert!(is_told || matches!(part, Part::HostCommand | Part::Internal), "{name} is on no page");
    }
}
