//! A model in the page's catalogue: bundled, or from the Hub.

use crate::catalog::hub::{self, HubModel};
use crate::catalog::published::{Fact, Kind};
use crate::catalog::{self, CatalogModel, Suggestion, find_hub};
use crate::terms::{ConfirmReport, EditTarget, Failure, HUB, HubSource, ModelInfo, ModelSource, Problem, without_scheme};
use crate::words::bytes;

/// An entry of the catalogue, of either kind.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    Bundled(&'static CatalogModel),
    Hub(&'static HubModel),
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Entry {
    pub fn find(id: &str) -> Option<Self> {
        catalog::find(id).map(Self::Bundled).or_else(|| find_hub(id).map(Self::Hub))
    }

    pub fn id(self) -> &'static str {
        match self {
            Self::Bundled(model) => model.id,
            Self::Hub(model) => model.id,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Bundled(model) => model.title,
            Self::Hub(model) => model.title,
        }
    }

    pub fn prompts(self) -> &'static [&'static str] {
        match self {
            Self::Bundled(model) => model.prompts,
            Self::Hub(_) => hub::PROMPTS,
        }
    }

    pub fn suggestions(self) -> Vec<Suggestion> {
        match self {
            Self::Bundled(model) => model.suggestions.to_vec(),
            Self::Hub(model) => model.suggestions(),
        }
    }

    pub fn hub(self) -> Option<&'static HubModel> {
        match self {
            Self::Bundled(_) => None,
            Self::Hub(model) => Some(model),
        }
    }

    /// Size of the download, for people; `None` for a bundled model.
    pub fn download(self) -> Option<String> {
        self.hub().map(|model| bytes(model.download_bytes() as f64))
    }

    /// Returns `true` if a loaded model has the shape of this entry, because a visitor's folder may have any name.
    pub fn is_shaped_as(self, info: &ModelInfo) -> bool {
        self.hub().is_none_or(|model| {
            let shape = [model.shape.num_hidden_layers, model.shape.hidden_size, model.shape.intermediate_size];
            shape.map(|n| Some(n as usize)) == [Some(info.num_hidden_layers), Some(info.hidden_size), info.intermediate_size.uniform()]
        })
    }

    /// The targets with published findings, in the catalogue's order.
    pub fn published(self) -> impl Iterator<Item = &'static EditTarget> {
        self.hub().map_or(&[][..], |model| model.facts).iter().flat_map(|fact| fact.at)
    }

    /// The published finding on one target.
    pub fn fact_on(self, at: EditTarget) -> Option<&'static Fact> {
        self.hub()?.facts.iter().find(|fact| fact.at.contains(&at))
    }
}

/// Returns `true` if a finding was reproduced; `None` if it cannot be judged, or if not all its targets were
/// measured.
pub fn agrees(fact: &Fact, report: &ConfirmReport) -> Option<bool> {
    let claimed = report.claimed(fact.at)?;
    match fact.kind {
        Kind::Alone | Kind::Row => Some(claimed.all_are_critical()),
        Kind::Jointly => Some(claimed.are_jointly_critical()),
        Kind::Inert => Some(!claimed.any_is_critical()),
        Kind::Listed | Kind::Absent => None,
    }
}

/// The source of a Hub model's files, at the pinned commit, with the known sizes and digests.
pub fn hub_source(model: &HubModel, endpoint: &str, token: Option<String>) -> ModelSource {
    ModelSource::Hub(HubSource {
        endpoint: endpoint.into(),
        repo: model.repo.into(),
        revision: model.revision.into(),
        token,
        known: model.known_files(),
    })
}

/// The default branch.
pub const MAIN: &str = "main";

/// The engine's name of a source, without its scheme: see [`crate::terms::Provenance::origin`]. `None` for single
/// files.
pub fn origin(source: &ModelSource) -> Option<String> {
    match source {
        ModelSource::Files(_) => None,
        ModelSource::Hub(source) => Some(source.origin()),
        ModelSource::Folder { url } => Some(without_scheme(url)),
    }
}

/// The typed address, or the Hub's own if the field is empty.
pub fn endpoint_of(typed: &str) -> &str {
    match typed.trim().trim_end_matches('/') {
        "" => HUB,
        typed => typed,
    }
}

/// The reason why a page served over https cannot read a source, if there is one. A browser would block the request
/// without telling the page the reason.
pub fn out_of_reach(page: &str, source: &ModelSource) -> Option<Failure> {
    let address = match source {
        ModelSource::Files(_) => return None,
        ModelSource::Hub(source) => &source.endpoint,
        ModelSource::Folder { url } => url,
    };
    (page.starts_with("https:") && is_http_elsewhere(address)).then(|| Failure::new(Problem::InsecureAddress, ""))
}

/// Returns `true` for an `http:` address of another computer. `localhost`, its subdomains, 127.0.0.0/8 and `[::1]`
/// are this computer.
fn is_http_elsewhere(address: &str) -> bool {
    let Some((scheme, rest)) = address.trim().split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    if !scheme.eq_ignore_ascii_case("http") || host.starts_with("[::1]") {
        return false;
    }
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let is_loopback = name.starts_with("127.") && name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    !(is_loopback || name == "localhost" || name.ends_with(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://somebody.github.io/linchpin/";

    #[test]
    fn page_over_https_reads_http_of_this_computer_only() {
        let folder = |url: &str| ModelSource::Folder { url: url.into() };
        for elsewhere in [
            "http://class.local:8080/gpt2",
            "HTTP://10.0.0.2",
            "http://localhost@evil.example/",
            "http://127.0.0.1.nip.io",
            "http://[2001:db8::1]/a",
        ] {
            assert!(out_of_reach(PAGE, &folder(elsewhere)).is_some(), "{elsewhere}");
            assert_eq!(out_of_reach("http://class.local/", &folder(elsewhere)), None, "{elsewhere}");
        }
        for here in [
            "http://localhost:8080/m",
            "http://127.0.0.1/m",
            "http://[::1]:80/m",
            "http://a.LOCALHOST",
            "https://class.local/m",
            "models/m",
            "",
        ] {
            assert_eq!(out_of_reach(PAGE, &folder(here)), None, "{here}");
        }
        // The address is checked in every kind of source; files on the disk are always allowed.
        let model = crate::catalog::find_hub("gpt2").unwrap();
        assert!(out_of_reach(PAGE, &hub_source(model, "http://mirror.example", None)).is_some());
        assert_eq!(out_of_reach(PAGE, &hub_source(model, HUB, None)), None);
        assert_eq!(out_of_reach(PAGE, &ModelSource::Files(Vec::new())), None);
    }
}
