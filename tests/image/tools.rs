//! The full image's tools: each that is promised runs, as the user Claude runs as, and says the version that `images/pins`
//! has. What only its vendor's host has is a test each: an image built where that host could not be reached says so in
//! a label, and its test says that it is skipped.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use rstest::rstest;

use crate::docker::{Container, image, inspect, skipped, text};
use crate::pins;

/// The image under test, if it is the full one.
fn full_image() -> Option<String> {
    let image = image()?;
    let environment = inspect(&image, "{{range .Config.Env}}{{println .}}{{end}}");
    environment.lines().any(|line| line == "CLAUDEBOX_IMAGE_VARIANT=full").then_some(image)
}

/// What each of these commands says, on both outputs. All in one container: starting one takes longer than most commands.
/// Panics with every one that failed.
fn ask(image: &str, commands: &[&str]) -> Vec<String> {
    let mark = "--- said:";
    let mut script = String::from("cd /tmp; failed=0\n");
    for command in commands {
        writeln!(script, "echo '{mark}'; {{ {command}; }} 2>&1 </dev/null || {{ echo \"failed with $?\"; failed=1; }}")
            .expect("a string can be written to");
    }
    script.push_str("exit $failed\n");
    let output = Container::new("ask").run(image, &["--user", "claude", "--entrypoint", "bash"], &["-c", &script]);
    let said = text(&output.stdout);
    let answers: Vec<String> = said.split(mark).skip(1).map(|answer| answer.trim().to_owned()).collect();
    let table: String = commands.iter().zip(&answers).fold(String::new(), |mut table, (command, answer)| {
        writeln!(table, "{command}: {}", answer.lines().next().unwrap_or_default())
            .expect("a string can be written to");
        table
    });
    // Not `print!`, which the test harness keeps to itself for a test that passes.
    let _ = std::io::stdout().write_all(table.as_bytes());
    assert!(output.status.success() && answers.len() == commands.len(), "{said}\n{}", text(&output.stderr));
    answers
}

/// Whether `said` has `version` in it as a whole: 1.2.3 is not in 11.2.30.
fn says(said: &str, version: &str) -> bool {
    said.match_indices(version).any(|(start, _)| {
        let before = said[..start].chars().next_back();
        let after = said[start + version.len()..].chars().next();
        !before.is_some_and(|c| c.is_ascii_digit() || c == '.') && !after.is_some_and(|c| c.is_ascii_digit())
    })
}

#[test]
fn a_version_is_found_as_a_whole() {
    assert!(
        says("black, 26.10.1 (compiled: yes)", "26.10.1") && says("v1.2.3", "1.2.3") && says("go1.26.5.", "1.26.5")
    );
    assert!(!says("11.2.3", "1.2.3") && !says("1.2.30", "1.2.3") && !says("2.1.2.3", "1.2.3") && !says("", "1.2.3"));
}

/// Runs a table of (pinned name, command), which must name all of a kind, and compares what each says with its pin.
fn check(image: &str, kind: &str, table: &[(&str, &str)]) {
    let named: BTreeSet<&str> = table.iter().map(|(name, _)| *name).collect();
    let pinned: BTreeSet<&str> = pins::names(kind).into_iter().collect();
    assert_eq!(named, pinned, "the table of this test is not images/pins'");
    let commands: Vec<&str> = table.iter().map(|(_, command)| *command).collect();
    for ((name, command), said) in table.iter().zip(ask(image, &commands)) {
        let version = pins::version(kind, name);
        assert!(says(&said, version), "{command}: {said:?} is not {version}");
    }
}

#[test]
fn the_python_tools_are_those_pinned() {
    let Some(image) = full_image() else { return };
    let table = [
        ("autoflake", "autoflake --version"),
        ("beautifulsoup4", "python3 -c 'import bs4; print(bs4.__version__)'"),
        ("black", "black --version"),
        ("flake8", "flake8 --version"),
        ("httpie", "http --version && https --version"),
        ("isort", "isort --version-number"),
        ("lxml", "python3 -c 'import lxml.etree; print(lxml.__version__)'"),
        ("mypy", "mypy --version"),
        ("pipenv", "pipenv --version"),
        ("poetry", "poetry --version"),
        ("pytest", "pytest --version"),
        (
            "pytest-cov",
            "pytest --help | grep -q -- --cov-report && python3 -c 'import pytest_cov; print(pytest_cov.__version__)'",
        ),
        ("pyyaml", "python3 -c 'import yaml; print(yaml.__version__)'"),
        ("requests", "python3 -W error -c 'import requests; print(requests.__version__)'"),
        ("toml", "python3 -c 'import toml; print(toml.__version__)'"),
        ("uv", "uv --version"),
        ("vulture", "vulture --version"),
    ];
    check(&image, "pypi", &table);
}

#[test]
fn the_node_tools_are_those_pinned() {
    let Some(image) = full_image() else { return };
    let table = [
        ("@angular/cli", "NG_CLI_ANALYTICS=false ng version"),
        (
            "@storybook/cli",
            "node -p 'require(\"/usr/local/lib/node-tools/node_modules/@storybook/cli/package.json\").version'",
        ),
        (
            "@typescript-eslint/eslint-plugin",
            "node -p 'require(\"/usr/local/lib/node-tools/node_modules/@typescript-eslint/eslint-plugin\").meta.version'",
        ),
        (
            "@typescript-eslint/parser",
            "node -p 'require(\"/usr/local/lib/node-tools/node_modules/@typescript-eslint/parser\").version'",
        ),
        ("@vue/cli", "vue --version"),
        ("create-react-app", "create-react-app --version"),
        ("eslint", "eslint --version"),
        ("express-generator", "express --version"),
        ("http-server", "http-server --version"),
        ("lighthouse", "lighthouse --version"),
        ("newman", "newman --version"),
        ("nodemon", "nodemon --version"),
        ("pm2", "pm2 --version"),
        ("pnpm", "pnpm --version"),
        ("prettier", "prettier --version"),
        ("pyright", "pyright --version"),
        ("serve", "serve --version"),
        ("ts-node", "ts-node --version"),
        ("tsx", "tsx --version"),
        ("typescript", "tsc --version && command -v tsserver"),
        ("yarn", "yarn --version"),
    ];
    check(&image, "npm", &table);
}

#[test]
fn node_and_npm_are_those_pinned() {
    let Some(image) = full_image() else { return };
    let said = ask(&image, &["node --version", "npm --version", "npx --version"]);
    assert_eq!(said[0], format!("v{}", pins::version("node", "node")));
    assert_eq!((&*said[1], &*said[2]), (pins::version("npm-cli", "npm-cli"), pins::version("npm-cli", "npm-cli")));
}

/// Those have the version that the release has; it is enough that they run.
#[test]
fn the_distribution_s_tools_run() {
    let Some(image) = full_image() else { return };
    let commands = [
        "gcc --version",
        "g++ --version",
        "make --version",
        "cmake --version",
        "ninja --version",
        "clang-format --version",
        "valgrind --version",
        "gdb --version",
        "strace --version",
        "ltrace --version",
        "pkg-config --version",
        "python --version",
        "python3 --version",
        "pip --version",
        "pip3 --version",
        "sqlite3 --version",
        "psql --version",
        "pg_dump --version",
        "mysql --version",
        "mysqldump --version",
        "redis-cli --version",
        "jq --version",
        "rg --version",
        "fd --version",
        "fdfind --version",
        "bat --version",
        "batcat --version",
        "eza --version || exa --version",
        "ag --version",
        "tree --version",
        "shellcheck --version",
        "shfmt --version",
        "tmux -V",
        "htop --version",
        "vim --version",
        "nano --version",
        "less --version",
        "file --version",
        "lsof -v",
        "tar --version",
        "zip -v",
        "unzip -v",
        "xz --version",
        "bzip2 --help",
        "zstd --version",
        "7z --help || 7zz --help || 7za --help",
        "curl --version",
        "wget --version",
        "dig -v",
        "ping -V",
        "ip -V",
        "netstat --version || test $? = 4",
        "nc -h",
        "rsync --version",
        "socat -V",
        "traceroute --version",
        "ssh -V",
        "gpg --version",
        "git --version",
        "git lfs version",
        "docker --version",
    ];
    ask(&image, &commands);
}

/// More than a version: what each is there for.
#[test]
fn the_tools_do_their_work() {
    let Some(image) = full_image() else { return };
    let commands = [
        "printf '#include <stdio.h>\\nint main(void){puts(\"from C\");}\\n' >a.c && gcc -g -o a a.c && ./a && valgrind -q ./a",
        "printf '#include <iostream>\\nint main(){std::cout<<\"from C++\\\\n\";}\\n' >b.cc && g++ -o b b.cc && ./b",
        "printf 'project(x C)\\nadd_executable(x a.c)\\n' >CMakeLists.txt && cmake -G Ninja -B out . && cmake --build out && out/x",
        "gdb -batch -ex run -ex bt ./a",
        "python3 -m venv env && env/bin/python -c 'import sys; print(sys.prefix)'",
        "printf 'def test_it():\\n    assert 1 + 1 == 2\\n' >test_it.py && pytest -q -p no:cacheprovider test_it.py && black --check test_it.py && flake8 test_it.py",
        "printf 'x: int = \"text\"\\n' >typed.py && ! mypy typed.py && ! pyright typed.py",
        "printf 'const x: number = 41; console.log(x + 1)\\n' >a.ts && tsx a.ts && prettier --check a.ts || prettier a.ts",
        "printf 'export default [{ rules: { \"no-undef\": \"error\" } }]\\n' >eslint.config.mjs && echo 'nothing()' >a.js && ! eslint a.js",
        "sqlite3 :memory: 'select 6 * 7'",
        "printf '#!/bin/sh\\necho $1\\n' >s.sh && ! shellcheck s.sh && shfmt -d s.sh",
        "mkdir -p d && zip -q d.zip a.c && unzip -qo d.zip -d d && 7z a d.7z a.c >/dev/null && tar -cJf d.tar.xz a.c && cmp a.c d/a.c",
        "tmux -f /dev/null new-session -d 'sleep 5' && tmux list-sessions && tmux kill-server",
        "uv venv --python python3 uvenv && uvenv/bin/python --version",
    ];
    let said = ask(&image, &commands);
    for (index, part) in [
        (0, "from C"),
        (1, "from C++"),
        (2, "from C"),
        (3, "exited normally"),
        (4, "/tmp/env"),
        (5, "1 passed"),
        (7, "42"),
        (8, "no-undef"),
        (9, "42"),
        (10, "SC2086"),
    ] {
        assert!(said[index].contains(part), "{}: {part:?} is missing in {:?}", commands[index], said[index]);
    }
}

/// (what is pinned, as which kind, its command, what VENDOR calls it)
#[rstest]
#[case("vendor", "go", "go version && gofmt -h 2>&1 | grep -q usage", "go")]
#[case("vendor", "golangci-lint", "golangci-lint --version", "golangci-lint")]
#[case("vendor", "gh", "gh --version", "gh")]
#[case("vendor", "helm", "helm version --short", "helm")]
#[case("vendor", "kubectl", "kubectl version --client", "kubectl")]
#[case("vendor", "terraform", "terraform version", "terraform")]
#[case("gotool", "golang.org/x/tools/gopls", "go version -m $(command -v gopls); gopls version", "go-tools")]
#[case("gotool", "golang.org/x/tools/cmd/goimports", "go version -m $(command -v goimports)", "go-tools")]
#[case("gotool", "github.com/go-delve/delve/cmd/dlv", "dlv version", "go-tools")]
#[case(
    "gotool",
    "honnef.co/go/tools/cmd/staticcheck",
    "go version -m $(command -v staticcheck); staticcheck -version",
    "go-tools"
)]
#[case("gotool", "mvdan.cc/gofumpt", "gofumpt --version", "go-tools")]
#[case("gotool", "github.com/cweill/gotests/gotests", "go version -m $(command -v gotests)", "go-tools")]
#[case("gotool", "github.com/josharian/impl", "go version -m $(command -v impl)", "go-tools")]
#[case("gotool", "github.com/fatih/gomodifytags", "go version -m $(command -v gomodifytags)", "go-tools")]
fn a_vendor_s_tool_is_the_one_pinned(
    #[case] kind: &str,
    #[case] name: &str,
    #[case] command: &str,
    #[case] part: &str,
) {
    let Some(image) = full_image() else { return };
    let label = inspect(&image, r#"{{index .Config.Labels "claudebox.vendor"}}"#);
    let built: Vec<&str> = label.split_whitespace().collect();
    if !built.contains(&"all") && !built.contains(&part) {
        return skipped(&format!("{name}: the image was built without it, because its host could not be reached"));
    }
    let said = ask(&image, &[command]);
    let version = pins::version(kind, name);
    assert!(says(&said[0], version), "{command}: {:?} is not {version}", said[0]);
}

#[test]
fn every_vendor_s_tool_has_a_test() {
    // However it is laid out.
    let source: String = include_str!("tools.rs").split_whitespace().collect();
    for kind in ["vendor", "gotool"] {
        for name in pins::names(kind) {
            assert!(source.contains(&format!("(\"{kind}\",\"{name}\",")), "{kind} {name} has no test here");
        }
    }
}
