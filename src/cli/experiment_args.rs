//! The arguments of experiments: options from the table of settings, and the subcommands that have them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::edits::coords;
use super::files;
use crate::protocol::Request;
use crate::terms::{Experiment, ExperimentKind, ModelInfo, OnTasks, SettingId, Settings, TaskFile, TextRef, WeightCoord, text_digest};
use crate::{catalog, language};

/// The arguments of all experiments. Each experiment reads some of them, and refuses those that it would ignore.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct ExperimentArgs {
    /// LAYER,ROW,COL: a super weight for the experiment; by default, the candidates of a scan are used.
    #[arg(long)]
    pub super_weight: Vec<String>,
    /// NAME=FILE or FILE: a zero-shot task, as JSON lines; by default, NAME is the file's name without its extension.
    #[arg(long)]
    pub task: Vec<String>,
    /// Keep every choice of every item in a separate table.
    #[arg(long)]
    pub log_samples: bool,
    /// The prompt to read.
    #[arg(long, allow_hyphen_values = true)]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Folder for every table as a CSV file, EXPERIMENT-TABLE.csv.
    #[arg(long)]
    pub tables: Option<PathBuf>,
}

impl ExperimentArgs {
    /// Checks that one of these kinds reads each given option, and that the options are valid.
    ///
    /// # Errors
    ///
    /// An option that all kinds would ignore, a setting outside its bounds, a coordinate that cannot be parsed, a task's
    /// file that cannot be read, or a folder that cannot be created.
    pub fn check(&self, kinds: &[ExperimentKind]) -> anyhow::Result<()> {
        let has_tasks = !self.task.is_empty();
        let read_by = |reads: &dyn Fn(ExperimentKind) -> bool| kinds.iter().any(|kind| reads(*kind));
        // Every command takes --bos.
        let is_read = |id: &SettingId| *id == SettingId::Bos || read_by(&|kind| kind.reads(*id));
        let settings = self.settings.0.keys().map(|id| (id.option(), is_read(id)));
        let others = [
            (has_tasks, "task", read_by(&ExperimentKind::reads_tasks)),
            (self.prompt.is_some(), "prompt", read_by(&ExperimentKind::reads_prompt)),
        ];
        let others = others.into_iter().filter(|(is_given, ..)| *is_given).map(|(_, option, is_read)| (option.to_owned(), is_read));
        if let Some((option, _)) = settings.chain(others).find(|(_, is_read)| !is_read) {
            let names = kinds.iter().map(|kind| subcommand(*kind)).collect::<Vec<_>>().join(", ");
            bail!("{names} does not use --{option}: leave it out");
        }
        for kind in kinds {
            let mut settings = kind.default_settings();
            self.settings.over(&mut settings)?;
        }
        let of_tasks = [SettingId::Limit, SettingId::ItemSeed].into_iter().find(|id| self.settings.0.contains_key(id));
        let of_tasks = of_tasks.map(SettingId::option).or_else(|| self.log_samples.then(|| "log-samples".into()));
        if let Some(option) = of_tasks.filter(|_| !has_tasks) {
            bail!("--{option} selects items of tasks, but there is no task: name one with --task NAME=FILE");
        }
        coords(&self.super_weight)?;
        self.task_files()?;
        self.tables.as_deref().map_or(Ok(()), files::create_folder)
    }

    /// Applies these arguments to an experiment of any kind, as far as the kind reads them.
    ///
    /// # Errors
    ///
    /// A setting outside its bounds.
    pub fn over(&self, mut of: Experiment, tasks: &[TaskFile]) -> anyhow::Result<Experiment> {
        self.settings.over(&mut of.settings)?;
        let parts = of.settings.parts();
        if let Some(of) = parts.tasks {
            of.tasks = tasks.iter().map(|task| TextRef { name: task.name.clone(), digest: text_digest(&task.jsonl) }).collect();
            of.log_samples = self.log_samples && !tasks.is_empty();
            if tasks.is_empty() {
                *of = OnTasks::default();
            }
        }
        if let (Some(of), Some(prompt)) = (parts.prompt, &self.prompt) {
            of.clone_from(prompt);
        }
        Ok(of)
    }

    /// Creates an experiment on this model. The bundled models get a BOS, because they never saw a text without one.
    ///
    /// # Errors
    ///
    /// A setting outside its bounds.
    pub fn on(
        &self,
        info: &ModelInfo,
        kind: ExperimentKind,
        super_weights: Vec<WeightCoord>,
        tasks: &[TaskFile],
    ) -> anyhow::Result<Experiment> {
        let mut experiment = Experiment::with_defaults(kind, super_weights);
        if let Some(text) = experiment.settings.parts().text {
            text.bos = catalog::find(&info.model.id).is_some();
        }
        self.over(experiment, tasks)
    }

    /// The experiment as far as it is known without a model, to be checked before anything is computed.
    ///
    /// # Errors
    ///
    /// A setting outside its bounds, or a coordinate that cannot be parsed.
    pub fn ahead(&self, kind: ExperimentKind) -> anyhow::Result<Request> {
        let experiment = Experiment::with_defaults(kind, coords(&self.super_weight)?);
        Ok(Request::Experiment(self.over(experiment, &[])?))
    }

    /// Reads the files of `--task`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn task_files(&self) -> anyhow::Result<Vec<TaskFile>> {
        self.task.iter().map(|text| task_file(text)).collect()
    }
}

/// The options from the table of settings that were given, with their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SettingArgs(pub BTreeMap<SettingId, Vec<f64>>);

impl SettingArgs {
    /// Sets the settings that the kind has.
    fn over(&self, settings: &mut Settings) -> anyhow::Result<()> {
        for (id, values) in &self.0 {
            if let Some(value) = settings.number(*id) {
                id.check(value, values)?;
                value.set(values);
            }
        }
        Ok(())
    }
}

impl clap::Args for SettingArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        SettingId::ALL.iter().fold(command, |command, id| {
            let (low, high) = id.bounds();
            let help = format!("{}: {low} to {high}", language::option_help(*id));
            let option = clap::Arg::new(id.name()).long(id.option()).help(help).value_delimiter(',').num_args(1);
            command.arg(option.allow_hyphen_values(true).action(clap::ArgAction::Append).value_parser(number))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let given = |id: &SettingId| Some((*id, matches.get_many::<f64>(id.name())?.copied().collect()));
        Ok(Self(SettingId::ALL.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

/// A number of a setting; `true` and `false` stand for 1 and 0.
pub fn number(text: &str) -> Result<f64, String> {
    match text {
        "true" => Ok(1.0),
        "false" => Ok(0.0),
        _ => text.parse().map_err(|_| format!("“{text}” is not a number")),
    }
}

/// An experiment as a subcommand with its name. Its help lists the options that the kind reads.
#[derive(Debug, Clone)]
pub struct ExperimentCommand {
    pub kind: ExperimentKind,
    pub args: ExperimentArgs,
}

/// The kind's name as a subcommand.
pub fn subcommand(kind: ExperimentKind) -> String {
    kind.name().replace('_', "-")
}

impl clap::Subcommand for ExperimentCommand {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        use clap::Args as _;
        ExperimentKind::ALL.iter().fold(command, |command, kind| {
            let of_kind = ExperimentArgs::augment_args(clap::Command::new(subcommand(*kind)).about(language::summary(*kind)));
            let is_read = |id: &str| match id {
                "prompt" => kind.reads_prompt(),
                "task" | "log_samples" => kind.reads_tasks(),
                id => SettingId::ALL.iter().find(|setting| setting.name() == id).is_none_or(|setting| kind.reads(*setting)),
            };
            // Options that the kind would ignore are refused with our own message.
            command.subcommand(of_kind.mut_args(|arg| if is_read(arg.get_id().as_str()) { arg } else { arg.hide(true) }))
        })
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        ExperimentKind::ALL.iter().any(|kind| subcommand(*kind) == name)
    }
}

impl clap::FromArgMatches for ExperimentCommand {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let chosen =
            matches.subcommand().and_then(|(name, of)| Some((ExperimentKind::ALL.iter().find(|kind| subcommand(**kind) == name)?, of)));
        let (kind, matches) = chosen.ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        Ok(Self { kind: *kind, args: ExperimentArgs::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn task_file(text: &str) -> anyhow::Result<TaskFile> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) => (name.to_owned(), Path::new(path)),
        None => (Path::new(text).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()), Path::new(text)),
    };
    let jsonl = files::read_text(path, "the task")?;
    Ok(TaskFile { name, jsonl })
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _, Subcommand as _};

    use super::*;

    fn parse(args: &[&str]) -> ExperimentArgs {
        let command = ExperimentArgs::augment_args(clap::Command::new("experiment"));
        ExperimentArgs::from_arg_matches(&command.try_get_matches_from([&["experiment"], args].concat()).unwrap()).unwrap()
    }

    fn tasks() -> Vec<TaskFile> {
        vec![TaskFile { name: "sciq".into(), jsonl: "{}".into() }]
    }

    #[test]
    fn options_that_would_be_ignored_are_refused() {
        let args = parse(&["--alpha", "0.5"]);
        let error = args.check(&[ExperimentKind::WeightQuantisation]).unwrap_err();
        assert_eq!(error.to_string(), "weight-quantisation does not use --alpha: leave it out");
        assert!(args.check(ExperimentKind::ALL).is_ok());
        let error = parse(&["--limit", "3"]).check(&[ExperimentKind::Importance]).unwrap_err();
        assert!(error.to_string().contains("name one with --task"), "{error}");
        let args = parse(&["--task", "none.jsonl"]);
        assert!(args.check(&[ExperimentKind::Importance]).unwrap_err().to_string().contains("cannot read the task none.jsonl"));
        assert!(args.check(&[ExperimentKind::Sinks]).unwrap_err().to_string().contains("--task"));
    }

    #[test]
    fn settings_outside_their_bounds_are_refused() {
        for (option, value, why) in [
            ("--factors", "0,4", "factors: 4 is not a number from -3 to 3"),
            ("--bits", "1", "bits: 1 is not a whole number from 2 to 16"),
            ("--block", "2.5", "block: 2.5 is not a whole number from 2 to 1048576"),
        ] {
            assert_eq!(parse(&[option, value]).check(ExperimentKind::ALL).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn kinds_keep_what_they_read() {
        let args = parse(&["--block", "128", "--prompt", "a b", "--factors", "-0.5", "--bits", "4", "--bos", "true", "--limit", "2"]);
        for kind in ExperimentKind::ALL {
            let ours = args.over(Experiment::with_defaults(*kind, Vec::new()), &tasks()).unwrap();
            let mut settings = ours.settings.clone();
            let mut given = |id| settings.number(id).map(|value| value.get());
            assert_eq!(given(SettingId::Block), kind.reads_text().then(|| vec![128.0]), "{kind:?}");
            assert_eq!(given(SettingId::Bos), kind.reads_text().then(|| vec![1.0]), "{kind:?}");
            assert_eq!(given(SettingId::Factors), kind.reads(SettingId::Factors).then(|| vec![-0.5]), "{kind:?}");
            assert_eq!(given(SettingId::Bits), kind.reads(SettingId::Bits).then(|| vec![4.0]), "{kind:?}");
            assert_eq!(given(SettingId::Limit), kind.reads_tasks().then(|| vec![2.0]), "{kind:?}");
            assert_eq!(ours.prompt(), kind.reads_prompt().then(|| "a b".into()), "{kind:?}");
        }
    }

    #[test]
    fn subcommands_show_the_options_that_their_kind_reads() {
        let command = ExperimentCommand::augment_subcommands(clap::Command::new("linchpin"));
        let help = |name: &str| command.find_subcommand(name).unwrap().clone().render_long_help().to_string();
        let (scaling, sinks) = (help("scaling"), help("sinks"));
        assert!(scaling.contains("--factors") && scaling.contains("-3 to 3") && !scaling.contains("--alpha"), "{scaling}");
        assert!(sinks.contains("--prompt") && !sinks.contains("--factors") && !sinks.contains("--task"), "{sinks}");
    }
}
