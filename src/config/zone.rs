//! Time zones by their names.

use chrono_tz::{TZ_VARIANTS, Tz};

use super::environment::Environment;
use super::error::{ConfigError, wrong};
use super::name;

/// The zone of this name in the time zone database. The error says what is allowed, with the name that is nearest.
pub fn parse(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| {
        let distance = |zone: &&Tz| strsim::damerau_levenshtein(&zone.name().to_lowercase(), &name.to_lowercase());
        let near = TZ_VARIANTS.iter().min_by_key(distance).map_or("UTC", |zone| zone.name());
        format!("there is no time zone {name:?}; names of the time zone database are allowed, such as {near}")
    })
}

/// The box's own zone, which `TZ` names; UTC where it is not set.
///
/// A rule (`CET-1CEST`) or a file is refused as well: neither says by which zone's clocks jobs are to run.
pub fn of_box(env: &impl Environment) -> Result<Tz, ConfigError> {
    let value = env.get(name::TZ).unwrap_or_default();
    let value = value.to_string_lossy();
    match value.strip_prefix(':').unwrap_or(&value) {
        "" => Ok(Tz::UTC),
        zone => parse(zone).map_err(|allowed| wrong(name::TZ, &value, &allowed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashMap;
    use std::ffi::OsString;

    fn env(name: Option<&str>) -> HashMap<String, OsString> {
        name.into_iter().map(|name| ("TZ".to_owned(), name.into())).collect()
    }

    #[rstest]
    #[case(None, Tz::UTC)]
    #[case(Some(""), Tz::UTC)]
    #[case(Some("UTC"), Tz::UTC)]
    #[case(Some("Europe/Berlin"), Tz::Europe__Berlin)]
    #[case(Some(":Asia/Tokyo"), Tz::Asia__Tokyo)]
    fn the_box_has_the_zone_that_it_names(#[case] name: Option<&str>, #[case] expected: Tz) {
        assert_eq!(of_box(&env(name)).unwrap(), expected);
    }

    #[rstest]
    #[case("Europe/Berlni", "such as Europe/Berlin")]
    #[case("Europe/Berlin ", "such as Europe/Berlin")]
    #[case("Berlin", "such as ")]
    #[case("UTC+3", "such as ")]
    #[case("CET-1CEST,M3.5.0,M10.5.0/3", "such as ")]
    #[case("/etc/localtime", "such as ")]
    fn what_names_no_zone_is_refused(#[case] name: &str, #[case] near: &str) {
        let error = of_box(&env(Some(name))).unwrap_err().to_string();
        assert!(error.starts_with(&format!("TZ={name:?} is not usable: there is no time zone")), "{error}");
        assert!(error.contains(near), "{error}");
    }
}
