//! `linchpin surround`: reports the core of each layer and its surroundings.

use super::selection::{AroundArgs, ScoringArgs};
use super::session::Session;
use crate::protocol::{Event, Request};
use crate::terms::CalibrationText;

#[derive(Debug, Clone, clap::Args)]
pub struct SurroundArgs {
    #[command(flatten)]
    pub around: AroundArgs,
    /// Also measure to what degree each halo channel repeats the core, which takes gradients.
    #[arg(long)]
    pub redundancy: bool,
    #[command(flatten)]
    pub scoring: ScoringArgs,
}

impl SurroundArgs {
    pub fn request(&self) -> Request {
        let AroundArgs { layer, rho, eta, support } = self.around;
        Request::Surround { rho, eta, support, layer, redundancy: self.redundancy }
    }
}

/// Scores channels over `text`, or, if it is `None`, over the bundled text, and reports the surroundings.
pub async fn run(session: &mut Session, args: &SurroundArgs, text: Option<CalibrationText>) -> anyhow::Result<Vec<Event>> {
    session.ask(args.scoring.request(text)).await?;
    session.ask(args.request()).await
}
