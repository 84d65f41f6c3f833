//! What is in the box, told to Claude: the image's tools, found and asked when the image is built, and the truth about
//! this container, looked up at each start. Together they are a block of CLAUDE.md in the workspace.
//!
//! The tools are asked at the build because asking takes seconds, and found rather than written down because a list drifts.

pub mod catalogue;
pub mod claude_md;
pub mod data;
pub mod facts;
pub mod git_exclude;
pub mod markers;
pub mod probe;
pub mod render;
pub mod version;

use std::io;
use std::path::Path;

use crate::config::Config;
use crate::config::environment::Environment;
use claude_md::{Written, write_claude_md};
use data::Manifest;

/// Finds the image's tools and asks each for its version. One that is there and does not run is left out, with a warning.
pub fn survey(config: &Config, env: &(impl Environment + Sync)) -> io::Result<Manifest> {
    let mut tools = Vec::new();
    for finding in probe::survey(catalogue::CATALOGUE, env, probe::LIMIT)? {
        match finding.entry {
            Ok(entry) => tools.push(entry),
            // A program without one of its plugins is nothing odd.
            Err(why) if finding.tool.plugin.is_some() => {
                tracing::debug!("{} {}: {why}", finding.tool.commands[0], finding.tool.plugin.unwrap_or_default());
            }
            Err(why) => tracing::warn!("{} is left out: {why}", finding.tool.commands[0]),
        }
    }
    Ok(Manifest::new(config.image_variant.clone(), tools))
}

/// Writes what is in this box to CLAUDE.md in the workspace, as the user Claude runs as. Nothing here fails a run.
pub fn tell_claude(config: &Config, env: &impl Environment, workspace: &Path, config_dir: &Path) {
    if !config.writes_claude_md {
        return;
    }
    let manifest = match Manifest::read(&config.manifest) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            return tracing::debug!("no tool manifest at {}: CLAUDE.md is not written", config.manifest.display());
        }
        Err(error) => return tracing::warn!("the tool manifest {}: {error}", config.manifest.display()),
    };
    let facts = facts::gather(config, env, workspace, config_dir);
    let folder = workspace.display();
    match write_claude_md(workspace, &render::block(&manifest, &facts, &config.manifest)) {
        Ok(Written::Broken) => tracing::warn!(
            "CLAUDE.md in {folder} has claudebox's markers, but not as one pair: it is left alone; remove those lines"
        ),
        Ok(written) => {
            tracing::debug!("CLAUDE.md in {folder}: {written:?}");
            if let Err(error) = git_exclude::settle(workspace, claude_md::is_ours_alone(workspace)) {
                tracing::debug!("CLAUDE.md in {folder} is not kept out of git's list of untracked files: {error}");
            }
        }
        // A workspace that may only be read is a choice, not a fault.
        Err(error) => tracing::debug!("CLAUDE.md in {folder} is not written: {error}"),
    }
}
