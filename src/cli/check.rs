//! `linchpin check`: measures the published findings on a model.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::hub_repo::HubRepo;
use super::model::Found;
use super::options::Options;
use super::session::{Session, collect};
use super::{models, print, ranges};
use crate::catalog::HubModel;
use crate::catalog::hub::find_any;
use crate::catalog::published::{Fact, Kind};
use crate::protocol::{Export, Request};
use crate::terms::{Claimed, EditTarget, ModelInfo, PerLayer};

#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Catalogue name of the model, if it is in a folder or at another revision than the catalogue's.
    #[arg(long)]
    pub published: Option<String>,
    /// Seed of the random controls.
    #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_parser = ranges::seed)]
    pub seed: u64,
}

/// A published finding and its result here.
#[derive(Debug)]
struct Checked {
    fact: &'static Fact,
    /// The measured result; `None` if the finding has no coordinates.
    outcome: Option<Claimed>,
}

pub async fn run(session: &mut Session, options: &Options, asked: &CheckArgs) -> anyhow::Result<bool> {
    let entry = published(options.model(), asked.published.as_deref())?;
    if entry.facts.iter().all(|fact| fact.at.is_empty()) {
        bail!("no coordinates are published for {}: search with `linchpin scan --confirm`", entry.title);
    }
    let found = Found::named(options.model())?;
    let info = session.load(options, found, options.given_text()?, &[]).await?;
    same_shape(entry, &info)?;
    let mut export = Export::new(info.model.clone());
    let outcomes = measure(session, entry.facts, asked.seed, &mut export).await?;
    export.info = Some(info);
    if options.json {
        let mut document = serde_json::to_value(&export)?;
        document["published"] = outcomes.iter().map(Checked::json).collect();
        print::json(&document)?;
    } else {
        print::report(&export);
        outcomes.iter().for_each(|outcome| print::text(&outcome.words()));
    }
    Ok(outcomes.iter().all(|outcome| outcome.fact.is_disputed || outcome.agrees() != Some(false)))
}

/// Returns the requested entry, or the model's own. Findings on one revision say nothing about another.
fn published(model: &str, asked: Option<&str>) -> anyhow::Result<&'static HubModel> {
    if let Some(id) = asked {
        return find_any(id).with_context(|| format!("the catalogue has no {id}"));
    }
    let repo = HubRepo::parse(model).filter(|_| !Path::new(model).is_dir());
    let entry = repo.as_ref().and_then(|repo| repo.entry.map(|entry| (repo, entry)));
    let (repo, entry) =
        entry.context("this model is not in the catalogue: name its entry with --published (`linchpin models` lists them)")?;
    repo.entry_at(&repo.revision).with_context(|| {
        let HubModel { id, title, revision, .. } = entry;
        let other = &repo.revision;
        format!("the published findings on {title} are about revision {revision}, not {other}; use --published {id} to check them anyway")
    })
}

/// Checks that the model has the entry's shape, because coordinates are only valid in their own model.
fn same_shape(entry: &HubModel, info: &ModelInfo) -> anyhow::Result<()> {
    let shape = &entry.shape;
    let of_entry = [shape.num_hidden_layers, shape.hidden_size, shape.intermediate_size].map(|n| PerLayer::from(n as usize));
    let of_model = [info.num_hidden_layers.into(), info.hidden_size.into(), info.intermediate_size.clone()];
    if of_entry != of_model {
        let said = |[layers, hidden, intermediate]: [PerLayer; 3]| format!("[{layers}, {hidden}, {intermediate}]");
        let (is, expected) = (said(of_model), said(of_entry));
        bail!("this is not {}: its layers, hidden_size and intermediate_size are {is}, not {expected}", entry.title);
    }
    Ok(())
}

async fn measure(session: &mut Session, facts: &'static [Fact], seed: u64, export: &mut Export) -> anyhow::Result<Vec<Checked>> {
    let targets = || facts.iter().flat_map(|fact| fact.at);
    let candidates = targets().filter_map(EditTarget::as_scalar).collect();
    let rows = targets().filter_map(EditTarget::as_row).collect();
    collect(session.ask(Request::Confirm { candidates, rows, seed }).await?, export);
    let report = export.confirm.as_ref().context("the engine sent no confirmation")?;
    let checked = |fact: &'static Fact| {
        let outcome = (!fact.at.is_empty()).then(|| report.claimed(fact.at).with_context(|| format!("not measured: {:?}", fact.at)));
        Ok(Checked { fact, outcome: outcome.transpose()? })
    };
    facts.iter().map(checked).collect()
}

impl Checked {
    /// Returns `true` if the result is as published; `None` for kinds of findings without an expected result.
    fn agrees(&self) -> Option<bool> {
        let outcome = self.outcome.as_ref()?;
        match self.fact.kind {
            Kind::Alone | Kind::Row => Some(outcome.all_are_critical()),
            Kind::Jointly => Some(outcome.are_jointly_critical()),
            Kind::Inert => Some(!outcome.any_is_critical()),
            Kind::Listed | Kind::Absent => None,
        }
    }

    fn words(&self) -> String {
        let published = models::finding(self.fact);
        let Some(Claimed { deltas, control, jointly }) = &self.outcome else { return published };
        let deltas = deltas.iter().map(|delta| format!("{delta:+.4}")).collect::<Vec<_>>().join(", ");
        let jointly = jointly.map_or(String::new(), |delta| format!(", all candidates together {delta:+.4}"));
        let agrees = match self.agrees() {
            Some(true) => ": as published",
            Some(false) => ": not as published",
            None => "",
        };
        format!("{published}\n    here {deltas} nats alone{jointly}; controls at most {control:.4}{agrees}")
    }

    fn json(&self) -> Value {
        let mut value = models::fact(self.fact);
        let outcome = self.outcome.as_ref();
        value["delta_nats"] = json!(outcome.map_or(&[][..], |outcome| &outcome.deltas));
        value["jointly_nats"] = json!(outcome.and_then(|outcome| outcome.jointly));
        value["control_nats"] = json!(outcome.map_or(0.0, |outcome| outcome.control));
        value["agrees"] = json!(self.agrees());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::DeviceArg;
    use super::*;

    /// Findings as if published on the bundled model: two true ones and a false one.
    const FACTS: &[Fact] = &[
        Fact {
            at: &[EditTarget::scalar(2, 12, 86)],
            kind: Kind::Alone,
            known: "It breaks the model.",
            source: "a test",
            is_disputed: false,
        },
        Fact { at: &[EditTarget::row(2, 12)], kind: Kind::Row, known: "So does its row.", source: "a test", is_disputed: false },
        Fact {
            at: &[EditTarget::scalar(2, 13, 86)],
            kind: Kind::Alone,
            known: "Its neighbour breaks it, too.",
            source: "a test",
            is_disputed: false,
        },
    ];

    #[test]
    fn findings_are_of_the_catalogues_revision() {
        let of = |model, asked| published(model, asked).map(|entry| entry.id).map_err(|error| error.to_string());
        assert_eq!(of("olmo-1b-0724", None), Ok("olmo-1b-0724"));
        assert_eq!(of("allenai/OLMo-1B-0724-hf@d7cbab742d80589e714b1a2d7f838dcd21cbe143", None), Ok("olmo-1b-0724"));
        for other in ["olmo-1b-0724@step1000-tokens4B", "allenai/olmo-1b-0724-HF@step1000-tokens4B"] {
            let refused = of(other, None).unwrap_err();
            for part in ["about revision d7cbab74", "not step1000-tokens4B", "--published olmo-1b-0724 "] {
                assert!(refused.contains(part), "{part}: {refused}");
            }
            assert_eq!(of(other, Some("olmo-1b-0724")), Ok("olmo-1b-0724"));
        }
        assert!(of("org/tiny", None).unwrap_err().contains("is not in the catalogue"));
        assert_eq!(of("org/tiny", Some("nothing")).unwrap_err(), "the catalogue has no nothing");
    }

    #[test]
    fn finding_agrees_or_does_not() {
        let options = Options { model: None, device: DeviceArg::Cpu, text: None, max_tokens: 128, bos: Vec::new(), json: false };
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("public/models/linchpin-13m");
        let mut session = Session::new(true);
        let outcomes = pollster::block_on(async {
            let info = session.load(&options, Found::folder(&dir, "test".into()).unwrap(), None, &[]).await.unwrap();
            // Enough text to distinguish a collapse from no effect.
            let text = "The old man went home. It was a dark evening, and nobody was there to open the door for him.";
            session.ask(Request::UseText { name: "short".into(), text: text.into(), max_tokens: 32 }).await.unwrap();
            let mut export = Export::new(info.model.clone());
            measure(&mut session, FACTS, 1, &mut export).await.unwrap()
        });
        let agrees = outcomes.iter().map(Checked::agrees).collect::<Vec<_>>();
        assert_eq!(agrees, [Some(true), Some(true), Some(false)], "{outcomes:?}");
        let [pin, row] = [0, 1].map(|i| outcomes[i].outcome.as_ref().unwrap());
        assert!(pin.deltas[0] > 2.0 && row.deltas[0] > 1.0 && row.control < 0.1, "{outcomes:?}");
        assert!(outcomes[0].words().contains(": as published") && outcomes[2].words().contains(": not as published"));
        assert_eq!(outcomes[1].json()["weight_edits"][0]["unit"], "row");
    }

    #[test]
    fn every_published_coordinate_can_be_asked_for() {
        let mut targets = crate::catalog::hub::all().flat_map(|model| model.facts).flat_map(|fact| fact.at);
        assert!(targets.all(|target| target.as_scalar().is_some() || target.as_row().is_some()));
    }
}
