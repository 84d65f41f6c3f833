//! What the image says of itself: labels, and its bill of materials.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::docker::{Container, image, inspect, text};
use crate::pins;

fn labels(image: &str) -> Value {
    serde_json::from_str(&inspect(image, "{{json .Config.Labels}}")).expect("labels are JSON")
}

fn variant(image: &str) -> String {
    let environment = inspect(image, "{{range .Config.Env}}{{println .}}{{end}}");
    let variant = environment.lines().find_map(|line| line.strip_prefix("CLAUDEBOX_IMAGE_VARIANT="));
    variant.expect("the image says which one it is").to_owned()
}

#[test]
fn the_labels_say_what_is_in_it_and_where_it_comes_from() {
    let Some(image) = image() else { return };
    let labels = labels(&image);
    let of = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(of("org.opencontainers.image.title"), "claudebox");
    assert_eq!(of("org.opencontainers.image.licenses"), "WTFPL");
    assert_eq!(of("org.opencontainers.image.version"), env!("CARGO_PKG_VERSION"));
    for name in ["description", "base.name"] {
        assert_ne!(of(&format!("org.opencontainers.image.{name}")), "", "{name}: {labels}");
    }
    let revision = of("org.opencontainers.image.revision");
    assert!(
        revision.is_empty() || revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit()),
        "{revision}"
    );
    for name in ["claudebox.manifest", "claudebox.sbom"] {
        let stat = format!("stat -c '%U %a' {} && jq -e . {0} >/dev/null", of(name));
        assert_eq!(Container::new("label").shell(&image, "claude", &stat), "root 644\n", "{name}");
    }
}

#[test]
fn the_bill_of_materials_has_every_package_once() {
    let Some(image) = image() else { return };
    let sbom = Container::new("sbom").shell(&image, "claude", "cat /usr/share/claudebox/sbom.cdx.json");
    let sbom: Value = serde_json::from_str(&sbom).expect("it is JSON");
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(sbom["metadata"]["component"]["version"], variant(&image));
    let components = sbom["components"].as_array().expect("components is a list");
    let mut references = BTreeSet::new();
    for component in components {
        let purl = component["purl"].as_str().unwrap_or_else(|| panic!("{component}"));
        assert!(purl.starts_with("pkg:") && component["bom-ref"] == purl, "{component}");
        assert!(component["name"].as_str().is_some_and(|name| !name.is_empty()), "{component}");
        assert_ne!(component["version"], "", "{component}");
        assert!(references.insert(purl), "{purl} is there twice");
    }

    // Counted another way.
    let dpkg =
        Container::new("dpkg").shell(&image, "root", "grep -c '^Status: install ok installed' /var/lib/dpkg/status");
    let of_type = |kind: &str| references.iter().filter(|purl| purl.starts_with(&format!("pkg:{kind}/"))).count();
    assert_eq!(of_type("deb").to_string(), dpkg.trim(), "packages of the distribution");
    let has = |purl: String| assert!(references.contains(purl.as_str()), "{purl} is missing");
    has(format!("pkg:generic/claude@{}", include_str!("../../claude-cli.version").trim()));
    has(format!("pkg:generic/claudebox@{}", env!("CARGO_PKG_VERSION")));
    has(format!("pkg:generic/node@{}", pins::version("node", "node")));
    has(format!("pkg:npm/npm@{}", pins::version("npm-cli", "npm-cli")));
    if variant(&image) == "full" {
        for name in pins::names("pypi") {
            has(format!("pkg:pypi/{name}@{}", pins::version("pypi", name)));
        }
        for name in pins::names("npm") {
            has(format!("pkg:npm/{}@{}", name.replace('@', "%40"), pins::version("npm", name)));
        }
    }
}

#[test]
fn the_image_fetches_from_the_official_places() {
    let Some(image) = image() else { return };
    let sources = Container::new("sources").shell(
        &image,
        "root",
        "grep -rhoE 'https?://[^/ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | sort -u",
    );
    let official =
        ["deb.debian.org", "security.debian.org", "archive.ubuntu.com", "security.ubuntu.com", "ports.ubuntu.com"];
    for source in sources.lines() {
        assert!(
            official.iter().any(|host| source.ends_with(&format!("//{host}"))),
            "{source} in the image's apt sources"
        );
    }
    assert_ne!(sources, "", "no apt sources: nothing can be installed");
    let settings = Container::new("settings").run(
        &image,
        &["--entrypoint", "sh"],
        &[
            "-c",
            "npm config get registry; npm config get cafile; cat /etc/pip.conf /usr/local/etc/npmrc 2>/dev/null; env",
        ],
    );
    let said = text(&settings.stdout);
    assert!(said.starts_with("https://registry.npmjs.org/\n"), "{said}");
    assert!(!said.contains("index-url") && !said.to_lowercase().contains("_proxy="), "{said}");
}
