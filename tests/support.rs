//! Functions shared by several test modules.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use linchpin::engine::Engine;
use linchpin::job::control::Control;
use linchpin::language;
use linchpin::loading::LoadingError;
use linchpin::loading::checkpoint::Onto;
use linchpin::loading::load::{LoadedWeights, load_weights};
use linchpin::model::Model;
use linchpin::model::config::ModelConfig;
use linchpin::platform::{Files, Gpu, open_gpu};
use linchpin::protocol::{BackendChoice, Event, Export, Request, outcome_of};
use linchpin::tensors::{CHUNK_UNIT, DeviceError, Packed, Table, Weight};
use linchpin::terms::{Experiment, Failure, Matrix, Message, ModelFile, ModelSource, Outcome, SettingId, TextRef};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Every fixture with golden values, at least one of each family. A new fixture is tested automatically.
pub fn fixtures() -> Vec<String> {
    let folders = std::fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap().path());
    let with_golden = folders.filter(|folder| folder.join("golden.safetensors").is_file());
    let mut names = with_golden.map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>();
    names.sort();
    assert!(names.len() >= 14, "fixtures are missing: {names:?}");
    names
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn bundled(id: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("public/models").join(id)
}

/// The tests on the GPU take turns, because they share one device.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a test on a Vulkan device (lavapipe is enough: `mesa-vulkan-drivers`), which must not report an error.
pub fn on_vulkan(test: impl FnOnce(&burn::tensor::Device)) {
    on_gpu(|gpu| test(&gpu.device));
}

/// Like [`on_vulkan`], with everything about the device.
pub fn on_gpu(test: impl FnOnce(&Gpu)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = pollster::block_on(open_gpu()).expect("these tests need a Vulkan device: install mesa-vulkan-drivers and libvulkan1");
    test(&gpu);
    assert_eq!(gpu.health.error(), None);
}

/// The files of a folder by name.
pub fn files_in(dir: &Path) -> Vec<ModelFile> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let path = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path();
    entries.map(path).map(|path| file(&path)).collect()
}

pub fn file(path: &Path) -> ModelFile {
    ModelFile { name: path.file_name().unwrap().to_string_lossy().into(), url: path.display().to_string() }
}

/// A model on the CPU, without an engine around it.
pub fn model(name: &str) -> Model {
    model_on(name, &burn::tensor::Device::flex())
}

pub fn model_on(name: &str, device: &burn::tensor::Device) -> Model {
    model_in(&fixture(name), device)
}

pub fn model_in(dir: &Path, device: &burn::tensor::Device) -> Model {
    load_in(dir, device).unwrap().model
}

pub fn load_in(dir: &Path, device: &burn::tensor::Device) -> Result<LoadedWeights, LoadingError> {
    let config = ModelConfig::from_json(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let files = Files::new(files_in(dir));
    pollster::block_on(load_weights(&files, &config, &Onto::new(device, None), &Control::silent()))
}

/// Loads a folder with at most `limit` bytes for a tensor.
pub fn load_within(dir: &Path, device: &burn::tensor::Device, limit: u64) -> Result<LoadedWeights, LoadingError> {
    let config = ModelConfig::from_json(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let files = Files::new(files_in(dir));
    let onto = Onto { largest_buffer: Some(limit), ..Onto::new(device, None) };
    pollster::block_on(load_weights(&files, &config, &onto, &Control::silent()))
}

/// A model with its tables whole, the same model with tables in chunks, and the limit in bytes for the latter: the
/// smallest that its matrices allow.
pub fn whole_and_in_chunks(dir: &Path, device: &burn::tensor::Device) -> ([Model; 2], u64) {
    let whole = model_in(dir, device);
    let bytes = |weight: &Weight, rows: usize| {
        let per_value = if matches!(weight, Weight::F32(_)) { 4 } else { 2 };
        (weight.dims()[1] * rows * per_value) as u64
    };
    let mut layers = whole.layers.clone();
    let matrices =
        layers.iter_mut().flat_map(|layer| Matrix::ALL.map(|matrix| layer.matrix_mut(matrix).map(|linear| linear.weight.clone())));
    let largest = matrices.flatten().map(|weight| bytes(&weight, weight.dims()[0])).max().unwrap();
    let of_tables = whole.embed_tokens.chunks().map(|(_, table)| bytes(table, CHUNK_UNIT)).max().unwrap();
    let mut limit = largest.max(of_tables);
    // Fused matrices must fit together.
    let cut = load_within(dir, device, limit).or_else(|error| match error {
        LoadingError::Device(DeviceError::GpuTooSmall { needed, .. }) => {
            limit = needed;
            load_within(dir, device, limit)
        }
        other => Err(other),
    });
    ([whole, cut.unwrap().model], limit)
}

/// A table cut after every `step` rows.
pub fn in_chunks_of(table: &Table, step: usize) -> Table {
    let [rows, cols] = table.dims();
    let (_, whole) = table.chunks().next().unwrap();
    assert_eq!(whole.dims()[0], rows, "it is cut already");
    let chunk = |first: usize| {
        let range = first..(first + step).min(rows);
        match whole {
            Weight::F32(weight) => Weight::F32(weight.clone().slice([range, 0..cols])),
            Weight::Bf16(packed) => Weight::Bf16(Packed { words: packed.words.clone().slice([range, 0..cols / 2]) }),
        }
    };
    Table::from_chunks((0..rows).step_by(step).map(chunk).collect())
}

/// A folder of a test, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    /// `test` distinguishes the folders of several tests.
    pub fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("linchpin-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The path of a file in the folder.
    pub fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The names in the folder, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        let mut names = files_in(&self.0).into_iter().map(|file| file.name).collect::<Vec<_>>();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A copy of a fixture to change, removed at the end.
pub struct Copy(Scratch);

impl Copy {
    /// `test` distinguishes the copies of several tests.
    pub fn of(name: &str, test: &str) -> Self {
        let scratch = Scratch::new(test);
        for file in files_in(&fixture(name)) {
            std::fs::copy(&file.url, scratch.dir().join(&file.name)).unwrap();
        }
        Self(scratch)
    }

    /// The same model with weights in bf16.
    pub fn in_bf16(name: &str, test: &str) -> Self {
        Self::of(name, test).with_tensors(|_name, shape| shape.to_vec())
    }

    pub fn dir(&self) -> &Path {
        self.0.dir()
    }

    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> &Self {
        let path = self.dir().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
        self
    }

    pub fn edit_config(&self, change: impl FnOnce(&mut serde_json::Value)) -> &Self {
        self.edit("config.json", |bytes| {
            let mut config = serde_json::from_slice(bytes).unwrap();
            change(&mut config);
            *bytes = serde_json::to_vec(&config).unwrap();
        })
    }

    /// Rewrites all weights in bf16, rounded to nearest even, each in the shape that `resize` returns for it: cut, or
    /// padded with zeros.
    pub fn with_tensors(self, resize: impl Fn(&str, &[usize]) -> Vec<usize>) -> Self {
        for name in files_in(self.dir()).into_iter().map(|file| file.name) {
            if name.starts_with("model") && name.ends_with(".safetensors") {
                self.edit(&name, |bytes| *bytes = rewritten(bytes, &resize));
            }
        }
        self
    }
}

/// Changes values of f32 tensors in place; `change` gets a tensor's name, its last dimension and its values.
pub fn with_values(file: &mut [u8], change: impl Fn(&str, usize, &mut [f32])) {
    let (length, metadata) = SafeTensors::read_metadata(file).unwrap();
    for (name, info) in metadata.tensors() {
        let bytes = &mut file[8 + length..][info.data_offsets.0..info.data_offsets.1];
        assert_eq!(info.dtype, Dtype::F32, "{name}");
        let mut values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>();
        change(&name, info.shape[info.shape.len() - 1], &mut values);
        bytes.copy_from_slice(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    }
}

/// Zeroes residual channel 0 of a llama: no embedding has it, and nothing writes to it.
pub fn silence_channel_0(name: &str, width: usize, values: &mut [f32]) {
    if name.contains("embed_tokens") {
        values.iter_mut().step_by(width).for_each(|value| *value = 0.0);
    } else if name.contains("o_proj") || name.contains("down_proj") {
        values[..width].fill(0.0);
    }
}

fn rewritten(file: &[u8], resize: impl Fn(&str, &[usize]) -> Vec<usize>) -> Vec<u8> {
    let file = SafeTensors::deserialize(file).unwrap();
    let rewrite = |(name, tensor): (String, TensorView<'_>)| {
        let shape = resize(&name, tensor.shape());
        let values = resized(floats(&tensor), tensor.shape(), &shape);
        let bytes = values.into_iter().flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect::<Vec<_>>();
        (name, shape, bytes)
    };
    let tensors = file.tensors().into_iter().map(rewrite).collect::<Vec<_>>();
    let view = |shape: &Vec<usize>, bytes| TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap();
    safetensors::serialize(tensors.iter().map(|(name, shape, bytes)| (name, view(shape, bytes))), None).unwrap()
}

fn floats(tensor: &TensorView<'_>) -> Vec<f32> {
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        other => panic!("a fixture in {other:?}"),
    }
}

fn resized(values: Vec<f32>, from: &[usize], to: &[usize]) -> Vec<f32> {
    if from == to {
        return values;
    }
    let (rows, [old, new]) = (to[..to.len() - 1].iter().product(), [from, to].map(|shape| shape[shape.len() - 1]));
    let row = |index: usize| values.iter().skip(index * old).take(old).copied().chain(std::iter::repeat(0.0)).take(new);
    (0..rows).flat_map(row).collect()
}

/// An engine and its events.
pub struct Session {
    engine: Engine,
    events: Rc<RefCell<Vec<Event>>>,
}

impl Session {
    pub fn new() -> Self {
        let events = Rc::new(RefCell::new(Vec::new()));
        let basket = events.clone();
        let control = Control::new(move |event| basket.borrow_mut().push(event));
        Self { engine: Engine::new(control), events }
    }

    pub fn with_model(dir: &Path) -> Self {
        Self::with_model_on(dir, BackendChoice::Cpu)
    }

    pub fn with_model_on(dir: &Path, backend: BackendChoice) -> Self {
        let mut session = Self::new();
        session
            .ask(Request::Load { id: "test".into(), source: ModelSource::Files(files_in(dir)), backend, bos: false })
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", dir.display()));
        session
    }

    pub fn load(&mut self, files: Vec<ModelFile>) -> Result<Vec<Event>, Failure> {
        self.ask(Request::Load { id: "test".into(), source: ModelSource::Files(files), backend: BackendChoice::Cpu, bos: false })
    }

    /// The events that answer a request; the last one ends it.
    pub fn ask(&mut self, request: Request) -> Result<Vec<Event>, Failure> {
        let events = self.events_of(request);
        match events.last().expect("an answer") {
            Event::Failed(failure) => Err(failure.clone()),
            Event::Done | Event::Stopped => Ok(events),
            other => panic!("a request ended with {other:?}"),
        }
    }

    /// Like [`Self::ask`], with the events before a failure.
    pub fn events_of(&mut self, request: Request) -> Vec<Event> {
        pollster::block_on(self.engine.handle(request));
        self.events.take()
    }
}

/// The events of the last of these requests to an engine with the fixture `llama`, which is told to stop after each
/// event of a kind.
pub fn stopped_after(is_enough: impl Fn(&Event) -> bool + 'static, requests: Vec<Request>) -> Vec<Event> {
    let (events, own) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(None::<Control>)));
    let (basket, of_sink) = (events.clone(), own.clone());
    let control = Control::new(move |event| {
        if let (true, Some(control)) = (is_enough(&event), of_sink.borrow().as_ref()) {
            control.request_stop();
        }
        basket.borrow_mut().push(event);
    });
    *own.borrow_mut() = Some(control.clone());
    let mut engine = Engine::new(control);
    let load = Request::Load {
        id: "test".into(),
        source: ModelSource::Files(files_in(&fixture("llama"))),
        backend: BackendChoice::Cpu,
        bos: false,
    };
    for request in std::iter::once(load).chain(requests) {
        events.borrow_mut().clear();
        pollster::block_on(engine.handle(request));
    }
    events.take()
}

/// Runs the command on a fixture.
pub fn linchpin(args: &[&str]) -> Output {
    let model = fixture("llama").display().to_string();
    linchpin_raw(&[args, &["--device", "cpu", "--model", &model]].concat())
}

/// The command with these arguments and no others.
pub fn linchpin_raw(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linchpin")).args(args).output().unwrap()
}

/// The output of `--json`.
pub fn export(output: &Output) -> Export {
    let shown = |bytes| String::from_utf8_lossy(bytes).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", shown(&output.stdout), shown(&output.stderr)))
}

pub fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// The one event of a kind.
#[macro_export]
macro_rules! the_event {
    ($events:expr, $pattern:pat => $value:expr) => {
        $events.into_iter().find_map(|event| if let $pattern = event { Some($value) } else { None }).expect("the event")
    };
}

/// The experiment with these settings changed, as far as its kind reads them.
pub fn with(mut experiment: Experiment, values: &[(SettingId, &[f64])]) -> Experiment {
    for (id, values) in values {
        if let Some(value) = experiment.settings.number(*id) {
            value.set(values);
        }
    }
    experiment
}

/// The experiment on these tasks, if its kind reads tasks.
pub fn with_tasks(mut experiment: Experiment, tasks: Vec<TextRef>) -> Experiment {
    if let Some(of) = experiment.settings.parts().tasks {
        of.tasks = tasks;
    }
    experiment
}

/// The experiment on this prompt, if its kind reads one.
pub fn with_prompt(mut experiment: Experiment, prompt: &str) -> Experiment {
    if let Some(of) = experiment.settings.parts().prompt {
        *of = prompt.into();
    }
    experiment
}

/// The values of a setting; `None` if the kind does not have it.
pub fn setting(experiment: &Experiment, id: SettingId) -> Option<Vec<f64>> {
    experiment.settings.clone().number(id).map(|value| value.get())
}

/// The last outcome of these events, every code of which has words.
#[track_caller]
pub fn last_outcome(events: &[Event]) -> Outcome {
    let outcome = outcome_of(events).unwrap_or_else(|| panic!("no outcome: {events:?}"));
    if let Some(message) = language::unknown(&outcome) {
        panic!("no words: {message:?}");
    }
    outcome
}

/// The findings of an outcome as sentences.
pub fn sentences(outcome: &Outcome) -> Vec<String> {
    outcome.findings.iter().map(language::finding).collect()
}

/// The finding of this code.
#[track_caller]
pub fn finding<'a>(outcome: &'a Outcome, code: &str) -> &'a Message {
    outcome.findings.iter().find(|finding| finding.code == code).unwrap_or_else(|| panic!("no {code}: {:?}", outcome.findings))
}
