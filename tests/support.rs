//! What several test modules need.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use linchpin::engine::Engine;
use linchpin::engine::control::Control;
use linchpin::model::Model;
use linchpin::model::config::ModelConfig;
use linchpin::platform::{Files, Gpu, open_gpu};
use linchpin::protocol::{BackendChoice, Event, Failure, ModelFile, Request};
use linchpin::weights::load::load_weights;

/// Every fixture with golden values, at least one of each family: a new one is tested by being there.
pub fn fixtures() -> Vec<String> {
    let folders = std::fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap().path());
    let with_golden = folders.filter(|folder| folder.join("golden.safetensors").is_file());
    let mut names = with_golden.map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>();
    names.sort();
    assert!(names.len() >= 7, "fixtures are missing: {names:?}");
    names
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn bundled(id: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("public/models").join(id)
}

/// The tests on the GPU take turns: they share the one device.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a test on a Vulkan device (lavapipe will do: `mesa-vulkan-drivers`), which must not report an error.
pub fn on_vulkan(test: impl FnOnce(&burn::tensor::Device)) {
    on_gpu(|gpu| test(&gpu.device));
}

/// The same, with all there is of the device.
pub fn on_gpu(test: impl FnOnce(&Gpu)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = pollster::block_on(open_gpu()).expect("these tests need a Vulkan device: install mesa-vulkan-drivers and libvulkan1");
    test(&gpu);
    assert_eq!(gpu.health.error(), None);
}

/// The files of a folder under their names.
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
    let config = ModelConfig::from_json(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let files = Files::new(files_in(dir));
    pollster::block_on(load_weights(&files, &config, device, &Control::silent())).unwrap().model
}

/// An engine and the events it sent.
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
            .ask(Request::Load { id: "test".into(), files: files_in(dir), backend })
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", dir.display()));
        session
    }

    pub fn load(&mut self, files: Vec<ModelFile>) -> Result<Vec<Event>, Failure> {
        self.ask(Request::Load { id: "test".into(), files, backend: BackendChoice::Cpu })
    }

    /// The events that answered a request; the last one says that it is over.
    pub fn ask(&mut self, request: Request) -> Result<Vec<Event>, Failure> {
        pollster::block_on(self.engine.handle(request));
        let events = self.events.take();
        match events.last().expect("an answer") {
            Event::Failed(failure) => Err(failure.clone()),
            Event::Done | Event::Stopped => Ok(events),
            other => panic!("a request ended with {other:?}"),
        }
    }
}

/// The one event of a kind.
#[macro_export]
macro_rules! the_event {
    ($events:expr, $pattern:pat => $value:expr) => {
        $events.into_iter().find_map(|event| if let $pattern = event { Some($value) } else { None }).expect("the event")
    };
}
