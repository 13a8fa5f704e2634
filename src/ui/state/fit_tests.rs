use super::*;
use crate::ui::state::model::tests::{SMOL, check, chosen, inspection, source};

#[test]
fn models_that_would_fit_are_the_largest_that_pass_every_check() {
    let names = |checks| that_fit(&inspection("smollm2-1.7b", false, checks)).iter().map(|model| model.id).collect::<Vec<_>>();
    let memory = |limit| check(FitKind::Memory, 3_500_000_000, Some(limit));
    let matrix = |limit| check(FitKind::Buffer, 201_326_592, Some(limit));
    assert_eq!(names(vec![memory(3_000_000_000)]), ["llama-3.2-1b", "tinyllama-1.1b-chat", "qwen3-0.6b-base"]);
    // OLMo 1B is stored as f32, 5 GB, although it has fewer parameters than SmolLM2 1.7B.
    assert!(!names(vec![memory(3_400_000_000)]).contains(&"olmo-1b-0724"));
    // The embeddings of Llama, of Qwen and of Gemma are larger than 256 MiB.
    assert_eq!(names(vec![memory(3_000_000_000), matrix(268_435_456)]), ["tinyllama-1.1b-chat", "pythia-410m", "smollm2-360m"]);
    assert_eq!(names(vec![memory(1_000_000)]), [""; 0]);
    // Too little storage does not rule out a model, and a check without a limit passes.
    assert_eq!(names(vec![check(FitKind::Storage, 3_422_777_952, Some(1000)), check(FitKind::Memory, 1, None)]).len(), 3);
}

#[test]
fn unknown_memory_is_not_called_enough() {
    let (enough_of, short_of) = (|kind| check(kind, 1, Some(2)), |kind| check(kind, 2, Some(1)));
    let unknown = check(FitKind::Memory, 1, None);
    let verdict = |fits, checks: &[FitCheck]| {
        let named = source(&chosen(SMOL));
        Fit { title: named.title, of: named.from, inspection: inspection(SMOL, fits, checks.to_vec()) }.verdict()
    };
    assert_eq!((enough(&unknown, true), enough(&enough_of(FitKind::Memory), true)), ("unknown", "yes"));
    assert!(verdict(true, &[enough_of(FitKind::Buffer), unknown]).contains("no known limit is exceeded"));
    assert_eq!(verdict(true, &[enough_of(FitKind::Memory)]), "fits.");
    // A model without room in the storage still runs, if the other checks pass.
    let storage = short_of(FitKind::Storage);
    assert_eq!((enough(&storage, true), verdict(true, &[enough_of(FitKind::Memory), storage.clone()])), ("no, but it runs", "fits."));
    assert_eq!((enough(&storage, false), enough(&short_of(FitKind::Buffer), false)), ("no", "no"));
    assert_eq!(verdict(false, &[short_of(FitKind::Buffer), check(FitKind::Memory, 1, None)]), "does not fit.");
}
