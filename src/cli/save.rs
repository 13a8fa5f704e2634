//! `linchpin save`: writes the model with its edits as a folder that transformers loads.

use std::path::PathBuf;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::edits::EditArgs;
use super::files;
use super::model::Found;
use super::options::Options;
use super::print;
use super::prune::{GivenPruning, PruneArgs};
use super::save_folder::Destination;
use super::session::Session;
use crate::language::Card;
use crate::protocol::{Event, Export, Request};
use crate::share::{LinkedSelection, ShareLink, model_id_from};
use crate::terms::{Ablation, CARD_FILE, CalibrationText, EditTarget, ModelRef, SUMS_FILE, SaveOrder, Saved, hex, text_digest};

#[derive(Debug, Clone, clap::Args)]
pub struct SaveArgs {
    /// A link of the page to a run: its address, or the part from "#run=" on. Its edits are saved, and its model is
    /// found by its name unless --model is given; other weights than the link's are refused.
    pub link: Option<String>,
    #[command(flatten)]
    pub edits: EditArgs,
    #[command(flatten)]
    pub pruning: GivenPruning,
    /// The new folder. Its parent must exist.
    #[arg(long)]
    pub out: PathBuf,
    /// Cut removed channels out of the matrices, instead of setting them to zero. All layers get one width: the largest
    /// number of channels that remain in any of them; the others are padded with channels of zeros.
    #[arg(long)]
    pub cut: bool,
    /// Replace the folder if it exists and is not empty.
    #[arg(long)]
    pub overwrite: bool,
}

/// The edits of the arguments.
struct Asked {
    ablation: Ablation,
    /// Sequences and length of the scoring, if a rule removes channels.
    scoring: Option<(usize, usize)>,
    link: Option<ShareLink>,
}

impl Asked {
    fn read(args: &SaveArgs) -> anyhow::Result<Self> {
        let typed = args.edits.ablation()?;
        let Some(text) = &args.link else {
            let given = args.pruning.0.as_ref();
            let pruning = given.map(PruneArgs::pruning);
            let scoring = given.map(|args| (args.scoring.sequences, args.scoring.length));
            return Ok(Self { ablation: Ablation { pruning, ..typed }, scoring, link: None });
        };
        if !typed.is_empty() || args.pruning.0.is_some() {
            bail!("a link and edits of its own are both given: name the edits in one of the two ways");
        }
        let fragment = text.split_once('#').map_or(text.as_str(), |(_, fragment)| fragment);
        let link = ShareLink::decode(fragment).with_context(|| format!("{text:?} is not a link to a run that can be read"))?;
        let scoring = link.selection.as_ref().map(|linked| (linked.sequences, linked.length));
        Ok(Self { ablation: link.setup.ablation.clone(), scoring, link: Some(link) })
    }

    /// `true` if the weights depend on measurements of the model.
    fn needs_model(&self) -> bool {
        let is_mean = |target: &EditTarget| matches!(target, EditTarget::ChannelMean(_));
        self.scoring.is_some() || self.ablation.weight_edits.iter().any(|edit| is_mean(&edit.target))
    }

    fn selection(&self) -> Option<&LinkedSelection> {
        self.link.as_ref()?.selection.as_ref()
    }

    /// Checks that these are the weights that the link was made with.
    fn check_weights(&self, revision: &str, model: &str) -> anyhow::Result<()> {
        match self.link.as_ref().map(|link| &link.setup.model).filter(|wanted| wanted.revision != revision) {
            Some(wanted) => bail!(
                "the link was made with weights {} of {}, but {model} has weights {revision}: name the link's model with --model",
                wanted.revision,
                wanted.id
            ),
            None => Ok(()),
        }
    }
}

/// Saves the model, and returns the export. Ctrl-C ends it between two pieces, and then nothing is written.
pub async fn run(session: &mut Session, options: &Options, args: &SaveArgs) -> anyhow::Result<Export> {
    session.stop_on_signal()?;
    match save(session, options, args).await {
        Err(_) if session.is_interrupted() => bail!("the save was stopped: nothing was written to {}", args.out.display()),
        saved => saved,
    }
}

async fn save(session: &mut Session, options: &Options, args: &SaveArgs) -> anyhow::Result<Export> {
    let asked = Asked::read(args)?;
    if asked.ablation.is_empty() {
        bail!("no edit is given: name one (--scalar, --row, --column, --channel, --channel-mean), a rule that removes channels, or a link");
    }
    let text = text(options, &asked)?;
    let name = match (&options.model, &asked.link) {
        (None, Some(link)) => super::repeat::place_of(&link.setup.model.id).with_context(|| "the link's model was not found")?,
        _ => options.model().to_owned(),
    };
    let found = Found::named(&name)?;
    let id = found.id.clone();
    let destination = Destination::new(&args.out, args.overwrite, &found.source)?;
    let source = if asked.needs_model() {
        load(session, options, &asked, found, text).await?;
        None
    } else {
        Some(found.source)
    };
    let folder = Some(destination.staging().display().to_string());
    let order = SaveOrder { source, ablation: asked.ablation.clone(), cut: args.cut, folder };
    let events = session.ask(Request::Save(order)).await?;
    let saved = events.into_iter().find_map(|event| if let Event::Saved(saved) = event { Some(saved) } else { None });
    let mut saved = saved.context("the engine saved nothing")?;
    asked.check_weights(&saved.base_revision, &name)?;
    let link = link(&asked, &saved, &id);
    let card = Card { saved: &saved, id: &id, link: link.as_deref() }.text();
    files::write(&destination.staging().join(CARD_FILE), &card)?;
    files::write(&destination.staging().join(SUMS_FILE), &saved.sums(&hex(&Sha256::digest(&card))))?;
    if session.is_interrupted() {
        bail!("stopped");
    }
    let folder = destination.finish()?;
    for file in &mut saved.files {
        file.url = Some(folder.join(&file.name).display().to_string());
    }
    if !session.is_quiet {
        print::note(&format!("{} is written", folder.display()));
    }
    Ok(Export { pruned: saved.pruned.clone(), saved: Some(saved.clone()), ..Export::new(saved.base(&id)) })
}

/// The text that channels are scored on; `None` for the bundled one.
fn text(options: &Options, asked: &Asked) -> anyhow::Result<Option<CalibrationText>> {
    let given = options.given_text()?;
    if given.is_some() && asked.scoring.is_none() {
        bail!("--text is the text that channels are scored on, but no rule removes channels: leave it out");
    }
    let digest = given.as_ref().map_or_else(|| CalibrationText::BUNDLED_DIGEST.to_owned(), |text| text_digest(&text.text));
    match asked.selection().filter(|linked| linked.text_digest != digest) {
        Some(linked) => bail!(
            "the link's channels were scored over a text with the digest {}, but this text has {digest}: give the link's text with --text",
            linked.text_digest
        ),
        None => Ok(given),
    }
}

/// Loads the model, and scores its channels if a rule removes some.
async fn load(session: &mut Session, options: &Options, asked: &Asked, found: Found, text: Option<CalibrationText>) -> anyhow::Result<()> {
    let name = found.id.clone();
    let of_link = asked.link.as_ref().map(|link| &link.setup.model);
    let bos = of_link.map_or_else(|| options.bos.clone(), |model| model.added_bos.iter().map(|_| 1.0).collect());
    let score = |(sequences, length)| Request::Score { text: None, sequences, length, super_weights: Vec::new(), resume: false };
    let ahead = asked.scoring.map(score).into_iter().chain([Request::Apply { ablation: asked.ablation.clone() }]).collect::<Vec<_>>();
    let info = session.load(&Options { bos, ..options.clone() }, found, None, &ahead).await?;
    asked.check_weights(&info.model.revision, &name)?;
    if let Some(model) = of_link.filter(|model| model.added_bos != info.model.added_bos) {
        bail!("{}", other_bos(model, &info.model, &name));
    }
    let Some((sequences, length)) = asked.scoring else { return Ok(()) };
    session.ask(Request::Score { text, sequences, length, super_weights: Vec::new(), resume: false }).await?;
    let applied = session.ask(Request::Apply { ablation: asked.ablation.clone() }).await?;
    let pruned = applied.into_iter().find_map(|event| if let Event::Applied { pruned, .. } = event { pruned } else { None });
    match (pruned, asked.selection()) {
        (Some(pruned), Some(linked)) if pruned.digest != linked.digest => bail!(
            "the link's rule picks other channels here (digest {}, in the link {}), because devices round differently: save it on the kind \
             of device that the link was made on",
            pruned.digest,
            linked.digest
        ),
        _ => Ok(()),
    }
}

fn other_bos(link: &ModelRef, here: &ModelRef, model: &str) -> String {
    let of = |model: &ModelRef| model.added_bos.map_or_else(|| "none".into(), |bos| format!("token {bos}"));
    format!(
        "the link was made with another BOS put before every text ({}) than {model} gets here ({}), because their tokenizers differ: name \
         the link's model with --model",
        of(link),
        of(here)
    )
}

/// The link that names the edits; `None` if they do not fit into one.
fn link(asked: &Asked, saved: &Saved, id: &str) -> Option<String> {
    match &asked.link {
        Some(link) => link.encode().ok(),
        None => ShareLink::of_edits(saved.base(&model_id_from(id)), saved.ablation.clone(), saved.pruned.as_ref()).ok()?.encode().ok(),
    }
}
