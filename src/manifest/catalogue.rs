//! The tools that are looked for, and how each says its version. What an image lacks is simply not found, so one list
//! serves every variant of the image.

use serde::{Deserialize, Serialize};

/// What a tool is for; the order is that of the rendered list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Compilers, interpreters and what belongs to one language.
    Languages,
    /// What installs libraries and programs.
    PackageManagers,
    /// What checks and formats code.
    LintersAndFormatters,
    /// What runs tests, measures and debugs.
    TestingAndDebugging,
    /// What builds.
    Building,
    /// git and its company.
    VersionControl,
    /// Database clients.
    Databases,
    /// Containers and the clouds' clients.
    CloudAndContainers,
    /// Clients and servers of network protocols.
    Network,
    /// Text, files, processes, terminals.
    ShellAndSystem,
}

impl Group {
    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Languages => "Languages",
            Self::PackageManagers => "Package managers",
            Self::LintersAndFormatters => "Linters and formatters",
            Self::TestingAndDebugging => "Testing and debugging",
            Self::Building => "Building",
            Self::VersionControl => "Version control",
            Self::Databases => "Databases",
            Self::CloudAndContainers => "Cloud and containers",
            Self::Network => "Network tools",
            Self::ShellAndSystem => "Shell and system",
        }
    }
}

/// A tool to look for.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its executable; distributions name some differently, so the first of these that is found.
    pub commands: &'static [&'static str],
    /// The part of its executable that it is, as `compose` is of `docker`.
    pub plugin: Option<&'static str>,
    /// What it is for.
    pub group: Group,
    /// Arguments that make it say its version and end.
    pub arguments: &'static [&'static str],
    /// Whether the answer holds a version. One that has none to tell need not exit with 0 either.
    pub is_versioned: bool,
    /// What it does, in a few words.
    pub purpose: &'static str,
}

const fn tool(group: Group, commands: &'static [&'static str], purpose: &'static str) -> Tool {
    Tool { commands, plugin: None, group, arguments: &["--version"], is_versioned: true, purpose }
}

impl Tool {
    const fn asked(mut self, arguments: &'static [&'static str]) -> Self {
        self.arguments = arguments;
        self
    }

    const fn unversioned(mut self, arguments: &'static [&'static str]) -> Self {
        self.is_versioned = false;
        self.asked(arguments)
    }

    const fn plugin(mut self, plugin: &'static str, arguments: &'static [&'static str]) -> Self {
        self.plugin = Some(plugin);
        self.asked(arguments)
    }
}

use Group::{
    Building, CloudAndContainers, Databases, Languages, LintersAndFormatters, Network, PackageManagers, ShellAndSystem,
    TestingAndDebugging, VersionControl,
};

/// Every tool that is looked for.
pub const CATALOGUE: &[Tool] = &[
    tool(Languages, &["go"], "Go toolchain").asked(&["version"]),
    tool(Languages, &["gopls"], "Go language server").asked(&["version"]),
    tool(Languages, &["gomodifytags"], "edits Go struct tags").unversioned(&["-h"]),
    tool(Languages, &["impl"], "writes Go method stubs for an interface").unversioned(&[]),
    tool(Languages, &["gotests"], "writes Go table tests").unversioned(&["-h"]),
    tool(Languages, &["python3", "python"], "Python interpreter"),
    tool(Languages, &["pyenv"], "switches between Python versions"),
    tool(Languages, &["node", "nodejs"], "JavaScript runtime"),
    tool(Languages, &["tsc"], "TypeScript compiler"),
    tool(Languages, &["ts-node"], "runs TypeScript"),
    tool(Languages, &["tsx"], "runs TypeScript"),
    tool(Languages, &["deno"], "JavaScript and TypeScript runtime"),
    tool(Languages, &["bun"], "JavaScript runtime and bundler"),
    tool(Languages, &["rustc"], "Rust compiler"),
    tool(Languages, &["gcc"], "C compiler"),
    tool(Languages, &["g++"], "C++ compiler"),
    tool(Languages, &["clang"], "C, C++ and Objective-C compiler"),
    tool(Languages, &["java"], "Java runtime").asked(&["-version"]),
    tool(Languages, &["javac"], "Java compiler").asked(&["-version"]),
    tool(Languages, &["perl"], "Perl interpreter"),
    tool(Languages, &["ruby"], "Ruby interpreter"),
    tool(Languages, &["php"], "PHP interpreter"),
    tool(Languages, &["lua", "lua5.4", "lua5.3"], "Lua interpreter").asked(&["-v"]),
    tool(PackageManagers, &["pip3", "pip"], "installs Python packages"),
    tool(PackageManagers, &["pipx"], "installs Python programs, each in an environment of its own"),
    tool(PackageManagers, &["pipenv"], "Python dependencies and environments"),
    tool(PackageManagers, &["poetry"], "Python dependencies and packaging"),
    tool(PackageManagers, &["uv"], "Python packages, environments and versions"),
    tool(PackageManagers, &["npm"], "installs Node.js packages"),
    tool(PackageManagers, &["npx"], "runs programs of Node.js packages"),
    tool(PackageManagers, &["yarn"], "installs Node.js packages"),
    tool(PackageManagers, &["pnpm"], "installs Node.js packages"),
    tool(PackageManagers, &["cargo"], "builds Rust and installs crates"),
    tool(PackageManagers, &["rustup"], "Rust toolchains"),
    tool(PackageManagers, &["mvn"], "builds Java projects"),
    tool(PackageManagers, &["gradle"], "builds Java projects"),
    tool(PackageManagers, &["apt-get"], "installs system packages"),
    tool(LintersAndFormatters, &["gofmt"], "formats Go").unversioned(&[]),
    tool(LintersAndFormatters, &["gofumpt"], "formats Go, strictly"),
    tool(LintersAndFormatters, &["goimports"], "formats Go and its imports").unversioned(&["-h"]),
    tool(LintersAndFormatters, &["golangci-lint"], "lints Go"),
    tool(LintersAndFormatters, &["staticcheck"], "lints Go").asked(&["-version"]),
    tool(LintersAndFormatters, &["flake8"], "lints Python"),
    tool(LintersAndFormatters, &["ruff"], "lints and formats Python"),
    tool(LintersAndFormatters, &["pylint"], "lints Python"),
    tool(LintersAndFormatters, &["black"], "formats Python"),
    tool(LintersAndFormatters, &["isort"], "sorts Python imports"),
    tool(LintersAndFormatters, &["autoflake"], "removes unused Python imports"),
    tool(LintersAndFormatters, &["pyright"], "checks Python types"),
    tool(LintersAndFormatters, &["mypy"], "checks Python types"),
    tool(LintersAndFormatters, &["vulture"], "finds dead Python code"),
    tool(LintersAndFormatters, &["eslint"], "lints JavaScript and TypeScript"),
    tool(LintersAndFormatters, &["prettier"], "formats web code"),
    tool(LintersAndFormatters, &["rustfmt"], "formats Rust"),
    tool(LintersAndFormatters, &["clang-format"], "formats C and C++"),
    tool(LintersAndFormatters, &["clang-tidy"], "lints C and C++"),
    tool(LintersAndFormatters, &["shellcheck"], "lints shell scripts"),
    tool(LintersAndFormatters, &["shfmt"], "formats shell scripts"),
    tool(LintersAndFormatters, &["hadolint"], "lints Dockerfiles"),
    tool(LintersAndFormatters, &["yamllint"], "lints YAML"),
    tool(TestingAndDebugging, &["pytest"], "runs Python tests"),
    tool(TestingAndDebugging, &["dlv"], "debugs Go").asked(&["version"]),
    tool(TestingAndDebugging, &["gdb"], "debugs native programs"),
    tool(TestingAndDebugging, &["lldb"], "debugs native programs"),
    tool(TestingAndDebugging, &["valgrind"], "checks memory use"),
    tool(TestingAndDebugging, &["strace"], "traces system calls"),
    tool(TestingAndDebugging, &["ltrace"], "traces library calls"),
    tool(TestingAndDebugging, &["newman"], "runs Postman collections"),
    tool(TestingAndDebugging, &["lighthouse"], "audits web pages"),
    tool(TestingAndDebugging, &["playwright"], "drives browsers"),
    tool(TestingAndDebugging, &["hyperfine"], "measures commands"),
    tool(Building, &["make"], "runs makefiles"),
    tool(Building, &["cmake"], "generates build files"),
    tool(Building, &["ninja"], "runs build files"),
    tool(Building, &["meson"], "generates build files"),
    tool(Building, &["ng"], "Angular projects").asked(&["version"]),
    tool(Building, &["vue"], "Vue projects"),
    tool(Building, &["create-react-app"], "starts React projects"),
    tool(Building, &["express"], "starts Express projects"),
    tool(Building, &["pkg-config"], "finds libraries"),
    tool(VersionControl, &["git"], "version control"),
    tool(VersionControl, &["git"], "large files in git").plugin("lfs", &["lfs", "version"]),
    tool(VersionControl, &["gh"], "GitHub's client"),
    tool(VersionControl, &["glab"], "GitLab's client"),
    tool(VersionControl, &["svn"], "Subversion"),
    tool(Databases, &["sqlite3"], "SQLite's shell"),
    tool(Databases, &["psql"], "PostgreSQL's client"),
    tool(Databases, &["mysql", "mariadb"], "MySQL's client"),
    tool(Databases, &["redis-cli", "valkey-cli"], "Redis's client"),
    tool(Databases, &["mongosh"], "MongoDB's client"),
    tool(CloudAndContainers, &["docker"], "Docker's client"),
    tool(CloudAndContainers, &["docker"], "boxes that belong together").plugin("compose", &["compose", "version"]),
    tool(CloudAndContainers, &["docker"], "builds images").plugin("buildx", &["buildx", "version"]),
    tool(CloudAndContainers, &["kubectl"], "Kubernetes' client").asked(&["version", "--client"]),
    tool(CloudAndContainers, &["helm"], "Kubernetes packages").asked(&["version", "--short"]),
    tool(CloudAndContainers, &["terraform"], "infrastructure from files"),
    tool(CloudAndContainers, &["tofu"], "infrastructure from files"),
    tool(CloudAndContainers, &["ansible"], "configures machines"),
    tool(CloudAndContainers, &["aws"], "AWS's client"),
    tool(CloudAndContainers, &["gcloud"], "Google Cloud's client"),
    tool(CloudAndContainers, &["az"], "Azure's client"),
    tool(Network, &["curl"], "transfers over HTTP and more"),
    tool(Network, &["wget"], "downloads"),
    tool(Network, &["http"], "HTTPie, HTTP by hand"),
    tool(Network, &["ssh"], "remote shells").asked(&["-V"]),
    tool(Network, &["rsync"], "synchronises folders"),
    tool(Network, &["dig"], "asks DNS").asked(&["-v"]),
    tool(Network, &["ping"], "checks reachability").asked(&["-V"]),
    tool(Network, &["ip"], "interfaces and routes").asked(&["-V"]),
    tool(Network, &["socat"], "connects sockets, files and programs").asked(&["-V"]),
    tool(Network, &["traceroute"], "shows the way to a host"),
    tool(Network, &["http-server"], "serves a folder"),
    tool(Network, &["serve"], "serves a folder"),
    tool(Network, &["nodemon"], "restarts Node.js programs at changes"),
    tool(Network, &["pm2"], "keeps Node.js programs up"),
    tool(Network, &["openssl"], "keys, certificates, TLS").asked(&["version"]),
    tool(ShellAndSystem, &["claude"], "Claude Code"),
    tool(ShellAndSystem, &["sudo"], "commands as root"),
    tool(ShellAndSystem, &["bash"], "shell"),
    tool(ShellAndSystem, &["zsh"], "shell"),
    tool(ShellAndSystem, &["tmux"], "terminals that stay").asked(&["-V"]),
    tool(ShellAndSystem, &["jq"], "queries JSON"),
    tool(ShellAndSystem, &["yq"], "queries YAML"),
    tool(ShellAndSystem, &["rg"], "searches text, fast"),
    tool(ShellAndSystem, &["ag"], "searches text, fast"),
    tool(ShellAndSystem, &["fd", "fdfind"], "finds files"),
    tool(ShellAndSystem, &["fzf"], "picks from a list"),
    tool(ShellAndSystem, &["tree"], "shows a folder as a tree"),
    tool(ShellAndSystem, &["bat", "batcat"], "shows files with colours"),
    tool(ShellAndSystem, &["eza", "exa"], "lists files"),
    tool(ShellAndSystem, &["less"], "pages"),
    tool(ShellAndSystem, &["nano"], "edits text"),
    tool(ShellAndSystem, &["vim", "vi"], "edits text"),
    tool(ShellAndSystem, &["ps"], "lists processes"),
    tool(ShellAndSystem, &["htop"], "watches processes"),
    tool(ShellAndSystem, &["lsof"], "lists open files").unversioned(&["-v"]),
    tool(ShellAndSystem, &["zip"], "packs zip files").asked(&["-v"]),
    tool(ShellAndSystem, &["unzip"], "unpacks zip files").asked(&["-v"]),
    tool(ShellAndSystem, &["7z", "7zz"], "packs and unpacks").asked(&["i"]),
    tool(ShellAndSystem, &["xz"], "packs and unpacks"),
    tool(ShellAndSystem, &["zstd"], "packs and unpacks"),
    tool(ShellAndSystem, &["file"], "tells what a file is"),
    tool(ShellAndSystem, &["gpg"], "signs and encrypts"),
    tool(ShellAndSystem, &["ffmpeg"], "converts sound and video").asked(&["-version"]),
    tool(ShellAndSystem, &["magick", "convert"], "converts images"),
    tool(ShellAndSystem, &["pandoc"], "converts documents"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_tool_is_listed_twice_and_each_says_what_it_is_for() {
        let mut names = BTreeSet::new();
        for tool in CATALOGUE {
            assert!(!tool.commands.is_empty() && !tool.purpose.is_empty(), "{tool:?}");
            for command in tool.commands {
                assert!(names.insert((command, tool.plugin)), "{command} is there twice");
            }
        }
    }
}
