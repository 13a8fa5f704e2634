//! A Hugging Face Hub, its storage at another port, and a server of plain folders: their contents.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::faults::{Faults, Rule};
use crate::files::{Files, Published, publish, sha256_of};
use crate::log::{Asked, Log, locked};
use crate::{listen, runtime};

/// A token that may read every model here.
pub const TOKEN: &str = "hf_opens_everything";
/// A token without access to any gated model.
pub const OUTSIDER: &str = "hf_was_not_let_in";

/// A commit of a model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Repo {
    /// All files of this folder,
    pub folder: Option<PathBuf>,
    /// and these, by name.
    pub files: BTreeMap<String, PathBuf>,
    /// 40 hex digits; random by default.
    pub revision: Option<String>,
    /// Branches and tags in addition to `main`.
    pub names: Vec<String>,
    /// `auto` or `manual` for a gated model.
    pub gated: Option<String>,
    /// Lists only the files' names, as some mirrors do.
    pub names_alone: bool,
    /// Known digests, by file; others are computed.
    pub sha256: BTreeMap<String, String>,
}

/// Files at `/folder/{name}/{file}`, on a plain file server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Folder {
    pub folder: Option<PathBuf>,
    #[serde(default)]
    pub files: BTreeMap<String, PathBuf>,
    /// `true` if it answers requests for ranges with a range.
    #[serde(default = "yes")]
    pub ranges: bool,
    /// `true` if other origins may read the files.
    #[serde(default = "yes")]
    pub cors: bool,
}

fn yes() -> bool {
    true
}

pub struct Model {
    pub gated: Option<String>,
    pub names_alone: bool,
    /// Commits by branch or tag.
    pub names: BTreeMap<String, String>,
    pub commits: BTreeMap<String, Files>,
}

#[derive(Default)]
pub struct Content {
    pub models: BTreeMap<String, Model>,
    pub folders: BTreeMap<String, (Files, Folder)>,
    /// Large files by their key in the storage, each with its own name.
    pub stored: BTreeMap<String, (Arc<Published>, String)>,
    /// The storage's address.
    pub storage: String,
}

/// The state shared by all answers.
#[derive(Clone, Default)]
pub struct State {
    pub content: Arc<Mutex<Content>>,
    pub faults: Arc<Mutex<Faults>>,
    pub log: Arc<Log>,
}

/// A Hub that runs until it is dropped.
pub struct Hub {
    state: State,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    _runtime: Runtime,
}

impl Hub {
    /// Starts a Hub without models.
    pub fn start() -> io::Result<Self> {
        let (state, runtime) = (State::default(), runtime()?);
        let storage = state.clone();
        let storage = listen(&runtime, 0, move |request, wire| storage.clone().answer_as_storage(request, wire))?;
        // Another name for the same machine makes it another host.
        locked(&state.content).storage = format!("http://localhost:{}", storage.port());
        let hub = state.clone();
        let address = listen(&runtime, 0, move |request, wire| hub.clone().answer_as_hub(request, wire))?;
        Ok(Self { state, url: format!("http://{address}"), _runtime: runtime })
    }

    /// Adds a model, or a commit to it. `main` is the latest; earlier commits stay. Returns its revision.
    pub fn publish(&self, id: &str, repo: &Repo) -> io::Result<String> {
        let files = publish(repo.folder.as_deref(), &repo.files, &repo.sha256)?;
        let content = &mut *locked(&self.state.content);
        let none = || Model { gated: None, names_alone: false, names: BTreeMap::new(), commits: BTreeMap::new() };
        let model = content.models.entry(id.to_owned()).or_insert_with(none);
        let chosen = || sha256_of(&format!("{id} {}", model.commits.len()))[..40].to_owned();
        let revision = repo.revision.clone().unwrap_or_else(chosen);
        model.gated.clone_from(&repo.gated);
        model.names_alone = repo.names_alone;
        model.commits.insert(revision.clone(), files);
        for name in repo.names.iter().map(String::as_str).chain(["main"]) {
            model.names.insert(name.to_owned(), revision.clone());
        }
        Ok(revision)
    }

    /// Adds a folder, or replaces it.
    pub fn add_folder(&self, name: &str, folder: Folder) -> io::Result<()> {
        let files = publish(folder.folder.as_deref(), &folder.files, &BTreeMap::new())?;
        locked(&self.state.content).folders.insert(name.to_owned(), (files, folder));
        Ok(())
    }

    /// Adds a fault.
    pub fn fail(&self, rule: Rule) {
        locked(&self.state.faults).add(rule);
    }

    /// Removes all faults.
    pub fn clear(&self) {
        locked(&self.state.faults).clear();
    }

    /// Every request since [`forget`](Self::forget), with the state of its answer.
    pub fn requests(&self) -> Vec<Asked> {
        self.state.log.all()
    }

    /// Empties the log.
    pub fn forget(&self) {
        self.state.log.empty();
    }
}
