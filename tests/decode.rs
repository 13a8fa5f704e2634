//! Path B compared with Path A, on a Vulkan device (lavapipe is enough: `mesa-vulkan-drivers`).

use burn::tensor::Tensor;
use linchpin::decode::error::DecodeError;
use linchpin::decode::{DecodeGpu, DecodePlan, MAX_BATCH, submit};
use linchpin::model::config::Activation;
use linchpin::model::layers::{Linear, Norm};
use linchpin::model::probe::Probe;
use linchpin::model::{DecoderLayer, KvCache, Model, Positions};
use linchpin::protocol::{BackendChoice, Event, Request};
use linchpin::terms::{Ablation, Action, EditTarget, Intervention, Matrix, Sampling, Site, WeightEdit};

use crate::support::{self, Copy, Session, fixture, fixtures, in_chunks_of, model_in, model_on, whole_and_in_chunks};
use crate::the_event;

/// Path B rounds in another order. Errors are relative to the largest logit.
const TOLERANCE: f32 = 1e-3;
/// Below this lead, as a share of the largest logit, either of two tokens may win; the engine has the same limit.
const SAFE_MARGIN: f32 = 1e-3;

/// A device, for plans and for Path A.
struct Vulkan {
    gpu: DecodeGpu,
    device: burn::tensor::Device,
}

fn on_gpu(test: impl FnOnce(&Vulkan)) {
    support::on_gpu(|gpu| test(&Vulkan { gpu: DecodeGpu::new(gpu.handles.clone()), device: gpu.device.clone() }));
}

/// Path A's logits after each of `ids[from..]`, fed one by one.
fn path_a(model: &Model, interventions: &[Intervention], ids: &[u32], from: usize) -> (KvCache, Vec<Vec<f32>>) {
    let mut cache = KvCache::default();
    let mut probe = Probe::with_interventions(interventions);
    model.forward(&ids[..from], Some(&mut cache), Positions::Last, &mut probe);
    let start = cache.clone();
    let feed = |id: &u32| {
        let logits = model.forward(&[*id], Some(&mut cache), Positions::Last, &mut probe);
        logits.into_data().try_into_vec::<f32>().unwrap()
    };
    (start, ids[from..].iter().map(feed).collect())
}

#[track_caller]
fn assert_same(name: &str, a: &[f32], b: &[f32]) {
    let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let furthest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0_f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    assert_eq!(a.len(), b.len());
    assert!(furthest <= TOLERANCE * largest, "{name}: off by {furthest} of {largest}");
    let mut order = (0..a.len()).collect::<Vec<_>>();
    order.sort_by(|i, j| a[*j].total_cmp(&a[*i]));
    let first_of = |row: &[f32]| (0..row.len()).max_by(|i, j| row[*i].total_cmp(&row[*j]));
    if a[order[0]] - a[order[1]] > SAFE_MARGIN * largest {
        assert_eq!(first_of(a), first_of(b), "{name}");
    }
}

fn check_forced(name: &str, vulkan: &Vulkan, model: &Model, ids: &[u32], from: usize) {
    check_intervened(name, vulkan, model, &[], ids, from);
}

#[track_caller]
fn check_intervened(name: &str, vulkan: &Vulkan, model: &Model, interventions: &[Intervention], ids: &[u32], from: usize) {
    let (cache, expected) = path_a(model, interventions, ids, from);
    let mut plan = DecodePlan::new(&vulkan.gpu, model, interventions, &[], ids.len()).unwrap();
    plan.start(&cache).unwrap();
    for (id, expected) in ids[from..].iter().zip(&expected) {
        let got = pollster::block_on(plan.logits(*id).unwrap().read()).unwrap();
        assert_same(name, expected, &got);
    }
}

/// Path B's logits after each of `ids[from..]`.
fn plan_logits(vulkan: &Vulkan, model: &Model, ids: &[u32], from: usize) -> Vec<Vec<f32>> {
    let (cache, _) = path_a(model, &[], ids, from);
    let mut plan = DecodePlan::new(&vulkan.gpu, model, &[], &[], ids.len()).unwrap();
    plan.start(&cache).unwrap();
    ids[from..].iter().map(|id| pollster::block_on(plan.logits(*id).unwrap().read()).unwrap()).collect()
}

fn ids_of(model: &Model, n: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + 13) % model.config.vocab_size) as u32).collect()
}

/// Integers of `golden.safetensors`.
fn golden_ids(name: &str, tensor: &str) -> Vec<u32> {
    let bytes = std::fs::read(fixture(name).join("golden.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(tensor).unwrap().data().as_chunks().0.iter().map(|id| i64::from_le_bytes(*id) as u32).collect()
}

/// Greedy decoding on the GPU, `batch` tokens between two reads.
fn greedy(vulkan: &Vulkan, model: &Model, prompt: &[u32], n: usize, batch: usize) -> Vec<u32> {
    let (cache, _) = path_a(model, &[], prompt, prompt.len() - 1);
    let mut plan = DecodePlan::new(&vulkan.gpu, model, &[], &[], prompt.len() - 1 + n).unwrap();
    plan.start(&cache).unwrap();
    plan.feed(prompt[prompt.len() - 1]);
    let mut drawn = Vec::new();
    while drawn.len() < n {
        let batch = submit(&mut [(&mut plan, Vec::new())], batch.min(n - drawn.len())).unwrap();
        drawn.extend(pollster::block_on(batch.read()).unwrap().remove(0).iter().map(|drawn| drawn.token_id));
    }
    drawn
}

fn add_bias(linear: &mut Linear) {
    linear.bias = Some(Tensor::zeros([linear.shape()[0]], &linear.weight.device()));
}

/// The kernels are made for one layer and used for all.
#[test]
fn layers_that_are_not_built_alike_have_no_plan() {
    on_gpu(|vulkan| {
        let is_refused = |model: &Model| {
            let plan = DecodePlan::new(&vulkan.gpu, model, &[], &[], 8);
            plan.is_err_and(|error| matches!(error, DecodeError::Unsupported { .. }))
        };
        let model = model_on("gemma3", &vulkan.device);
        assert!(!is_refused(&model));
        let changes: [fn(&mut DecoderLayer); 9] = [
            |layer| layer.is_parallel = true,
            |layer| layer.input_layernorm = None,
            |layer| layer.post_feedforward_layernorm = None,
            |layer| layer.self_attn.scale *= 2.0,
            |layer| layer.self_attn.clip_qkv = Some(1.0),
            |layer| layer.self_attn.num_kv_heads *= 2,
            |layer| layer.mlp.activation = Activation::Silu,
            |layer| add_bias(&mut layer.mlp.down_proj),
            |layer| match &mut layer.input_layernorm {
                Some(Norm::Rms { eps, .. }) => *eps *= 2.0,
                _ => panic!("another norm"),
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut other = model.clone();
            change(&mut other.layers[1]);
            assert!(is_refused(&other), "change {index}");
        }
        // In every layer, queries have a bias, and keys and values have none.
        let mut other = model.clone();
        for layer in other.layers.iter_mut() {
            add_bias(layer.matrix_mut(Matrix::QProj).unwrap());
        }
        assert!(is_refused(&other));
    });
}

#[test]
fn every_family_decodes_what_path_a_computes() {
    on_gpu(|vulkan| {
        for name in &fixtures() {
            let model = model_on(name, &vulkan.device);
            check_forced(name, vulkan, &model, &golden_ids(name, "input_ids"), 3);
        }
    });
}

#[test]
fn every_family_in_bf16_decodes_what_path_a_computes() {
    on_gpu(|vulkan| {
        for name in &fixtures() {
            let model = model_in(Copy::in_bf16(name, "decode-bf16").dir(), &vulkan.device);
            check_forced(&format!("{name} in bf16"), vulkan, &model, &golden_ids(name, "input_ids"), 3);
        }
    });
}

/// Both layouts of matrices, in f32 and packed, and layers of every kind: parallel blocks, norms after blocks, fused
/// matrices. With the names of their fixtures.
fn every_build(vulkan: &Vulkan, test: &str) -> Vec<(&'static str, Model)> {
    let rounded = model_in(Copy::in_bf16("gpt2", test).dir(), &vulkan.device);
    let names = ["llama", "llama3", "gpt2", "gpt-neox", "phi3", "gemma3"];
    names.map(|name| (name, model_on(name, &vulkan.device))).into_iter().chain([("gpt2", rounded)]).collect()
}

#[test]
fn gpu_draws_the_golden_tokens_twice() {
    on_gpu(|vulkan| {
        for name in &fixtures() {
            let model = model_on(name, &vulkan.device);
            let (prompt, expected) = (golden_ids(name, "input_ids"), golden_ids(name, "greedy_ids"));
            for batch in [MAX_BATCH, 3] {
                assert_eq!(greedy(vulkan, &model, &prompt[..8], expected.len(), batch), expected, "{name}");
            }
        }
    });
}

/// The logits are the same bit for bit, because only the place of the computation differs.
#[test]
fn tables_in_chunks_decode_what_whole_ones_do() {
    on_gpu(|vulkan| {
        for name in &fixtures() {
            for copy in [Copy::of(name, "decode-chunks"), Copy::in_bf16(name, "decode-chunks-bf16")] {
                let ([whole, mut cut], _) = whole_and_in_chunks(copy.dir(), &vulkan.device);
                let (prompt, ids) = (3, &golden_ids(name, "input_ids")[..10]);
                let n_head = cut.lm_head.weight.chunks().count();
                // The dispatches except those of embeddings and head, as with whole tables.
                let n_others = DecodePlan::new(&vulkan.gpu, &whole, &[], &[], 8).unwrap().dispatches() - 2;
                // The embeddings are in a few chunks, and then in many.
                for _ in 0..2 {
                    check_forced(name, vulkan, &cut, ids, prompt);
                    assert_eq!(plan_logits(vulkan, &cut, ids, prompt), plan_logits(vulkan, &whole, ids, prompt), "{name}");
                    let n_tables =
                        cut.embed_tokens.chunks().count() + cut.embed_positions.as_ref().map_or(0, |table| table.chunks().count());
                    let plan = DecodePlan::new(&vulkan.gpu, &cut, &[], &[], 8).unwrap();
                    assert_eq!(plan.dispatches(), n_others + n_head + n_tables.div_ceil(6), "{name}");
                    cut.embed_tokens = in_chunks_of(&whole.embed_tokens, 20);
                    cut.embed_positions = whole.embed_positions.as_ref().map(|table| in_chunks_of(table, 7));
                }
            }
        }
    });
}

#[test]
fn tables_in_chunks_draw_the_golden_tokens() {
    on_gpu(|vulkan| {
        for name in &fixtures() {
            let ([_, cut], _) = whole_and_in_chunks(&fixture(name), &vulkan.device);
            let (prompt, expected) = (golden_ids(name, "input_ids"), golden_ids(name, "greedy_ids"));
            assert_eq!(greedy(vulkan, &cut, &prompt[..8], expected.len(), MAX_BATCH), expected, "{name}");
            // The other pane has the same tables.
            let edit = WeightEdit { target: EditTarget::row(0, 3), scale: -3.0 };
            let ablated = cut.with_ablation(&Ablation { weight_edits: vec![edit], ..Ablation::default() }).unwrap();
            check_intervened(name, vulkan, &ablated, &interventions_at(5), &prompt[..12], 3);
        }
    });
}

/// A buffer can be bound only at multiples of an alignment.
#[test]
fn head_cut_where_no_buffer_begins_is_left_to_path_a() {
    on_gpu(|vulkan| {
        let mut model = model_on("llama", &vulkan.device);
        model.lm_head.weight = in_chunks_of(&model.lm_head.weight, 80);
        assert!(DecodePlan::new(&vulkan.gpu, &model, &[], &[], 8).is_err());
    });
}

#[test]
fn ablated_models_decode_what_path_a_computes() {
    let scaled = [(EditTarget::scalar(1, 5, 17), -3.0), (EditTarget::row(0, 3), 0.5), (EditTarget::channel(1, 9), 0.0)];
    // Packed matrices stay packed.
    let zeroed = [(EditTarget::scalar(1, 5, 17), 0.0), (EditTarget::row(0, 3), 0.0), (EditTarget::channel(2, 8), 0.0)];
    on_gpu(|vulkan| {
        for (name, intact) in &every_build(vulkan, "decode-ablated") {
            let ids = &golden_ids(name, "input_ids")[..16];
            for edits in [scaled, zeroed] {
                let weight_edits = edits.map(|(target, scale)| WeightEdit { target, scale }).to_vec();
                let ablated = intact.with_ablation(&Ablation { weight_edits, ..Ablation::default() }).unwrap();
                check_forced(name, vulkan, &ablated, ids, 3);
            }
            let means = vec![vec![0.3; intact.config.intermediate_size.at(0)]; intact.layers.len()];
            let edit = WeightEdit { target: EditTarget::channel_mean(1, 9), scale: 0.0 };
            let at_mean = intact.with_ablation_by(&Ablation { weight_edits: vec![edit], ..Ablation::default() }, Some(&means)).unwrap();
            check_forced(name, vulkan, &at_mean, ids, 3);
            let scalars = Matrix::ALL.map(|matrix| (1, matrix, 13));
            check_forced(name, vulkan, &intact.with_zeroed(&scalars), ids, 3);
            // Constants in one layer only, although the others have no bias.
            let means = vec![vec![2.0; intact.config.intermediate_size.at(0)]; intact.layers.len()];
            check_forced(name, vulkan, &intact.without_channels(&[vec![], vec![8, 9, 30]], Some(&means)), ids, 3);
            check_forced(name, vulkan, intact, ids, 3);
        }
    });
}

#[test]
fn two_plans_in_one_submission_do_not_disturb_each_other() {
    on_gpu(|vulkan| {
        let intact = model_on("llama", &vulkan.device);
        let edit = WeightEdit { target: EditTarget::row(0, 3), scale: -3.0 };
        let ablated = intact.with_ablation(&Ablation { weight_edits: vec![edit], ..Ablation::default() }).unwrap();
        let prompt = &golden_ids("llama", "input_ids")[..8];
        let alone = [&intact, &ablated].map(|model| greedy(vulkan, model, prompt, 16, MAX_BATCH));
        let mut plans = [&intact, &ablated].map(|model| {
            let (cache, _) = path_a(model, &[], prompt, 7);
            let mut plan = DecodePlan::new(&vulkan.gpu, model, &[], &[], 23).unwrap();
            plan.start(&cache).unwrap();
            plan.feed(prompt[7]);
            plan
        });
        let [a, b] = &mut plans;
        let mut together = [Vec::new(), Vec::new()];
        // The second batch is requested before the first is read.
        let batches = [8, 8].map(|n| submit(&mut [(&mut *a, Vec::new()), (&mut *b, Vec::new())], n).unwrap());
        for batch in batches {
            for (all, drawn) in together.iter_mut().zip(pollster::block_on(batch.read()).unwrap()) {
                all.extend(drawn.iter().map(|drawn| drawn.token_id));
            }
        }
        assert_eq!(together, alone);
    });
}

/// As many positions as the model has: the cache grows, heads are split, and a window leaves the first positions.
#[test]
fn cache_grows_without_a_seam() {
    on_gpu(|vulkan| {
        for name in ["llama", "mistral", "gpt-neox", "olmo2", "gemma3"] {
            let model = model_on(name, &vulkan.device);
            check_forced(name, vulkan, &model, &ids_of(&model, 128), 3);
        }
    });
}

/// Beyond 8 splits of 256 positions, each split takes more than one tile.
#[test]
fn long_context_takes_several_tiles() {
    on_gpu(|vulkan| {
        let mut model = model_on("llama", &vulkan.device);
        model.config.max_position_embeddings = 4096;
        check_forced("llama, long", vulkan, &model, &ids_of(&model, 2403), 2400);
    });
}

/// The cost of a token in a browser is mostly its dispatches (docs/benchmarks.md).
#[test]
fn token_takes_five_dispatches_a_layer_one_a_norm_behind_a_block_and_four_more() {
    on_gpu(|vulkan| {
        for name in &fixtures() {
            let model = model_on(name, &vulkan.device);
            let plan = DecodePlan::new(&vulkan.gpu, &model, &[], &[], 8).unwrap();
            let behind = |layer: &DecoderLayer| [&layer.post_attention_layernorm, &layer.post_feedforward_layernorm].map(Option::is_some);
            let norms = model.layers.iter().flat_map(behind).filter(|is_there| *is_there).count();
            assert_eq!(plan.dispatches(), 5 * model.layers.len() + norms + 4, "{name}");
            assert!(norms == 0 || ["gemma3", "olmo2"].contains(&name.as_str()), "{name}");
        }
    });
}

const SITES: [Site; 4] = [Site::ResidPre, Site::DownProjInput, Site::DownProjOutput, Site::ResidPost];

/// The same interventions at every site: factors, then a value and a factor on one channel, whose order matters.
fn interventions_at(token: usize) -> Vec<Intervention> {
    let at = |site, layer, channel, action| Intervention { site, layer, token, channel, action };
    let of_site = |site| {
        [
            at(site, 1, 20, Action::Scale(3.0)),
            at(site, 1, 70, Action::Scale(3.0)),
            at(site, 0, 5, Action::Set(2.5)),
            at(site, 0, 5, Action::Scale(-2.0)),
            at(site, 0, 6, Action::Scale(0.0)),
            // An index beyond the width or the layers changes nothing on both paths.
            at(site, 0, 1 << 20, Action::Set(9.0)),
            at(site, 99, 0, Action::Set(9.0)),
        ]
    };
    SITES.into_iter().flat_map(of_site).collect()
}

#[test]
fn interventions_on_new_tokens_are_path_as() {
    on_gpu(|vulkan| {
        for (name, model) in &every_build(vulkan, "decode-intervened") {
            let ids = &golden_ids(name, "input_ids")[..12];
            let logits_of = |interventions: &[Intervention]| path_a(model, interventions, ids, 3).1;
            let untouched = logits_of(&[]);
            for site in SITES {
                let here = |token| interventions_at(token).into_iter().filter(move |at| at.site == site);
                // A token of the prompt, the first new token, and two later ones.
                let some = [1, 3, 4, 9].into_iter().flat_map(here).collect::<Vec<_>>();
                check_intervened(&format!("{name}, {site:?}"), vulkan, model, &some, ids, 3);
                let alone = here(3).collect::<Vec<_>>();
                assert_ne!(logits_of(&alone)[0], untouched[0], "{name}, {site:?} does nothing");
            }
            let all = (0..12).flat_map(interventions_at).collect::<Vec<_>>();
            check_intervened(&format!("{name}, all sites"), vulkan, model, &all, ids, 3);
        }
    });
}

/// The activation has a spike's size, so that adding it would lose the digits of a block's output.
#[test]
fn huge_activation_does_not_blur_the_others() {
    on_gpu(|vulkan| {
        let model = model_on("llama", &vulkan.device);
        let at = |site, action| Intervention { site, layer: 0, token: 5, channel: 5, action };
        let spike =
            [at(Site::ResidPre, Action::Set(1e5)), at(Site::DownProjOutput, Action::Scale(1e4)), at(Site::ResidPost, Action::Scale(1e-3))];
        check_intervened("a spike", vulkan, &model, &spike, &ids_of(&model, 8), 3);
    });
}

#[test]
fn only_places_with_interventions_take_dispatches() {
    on_gpu(|vulkan| {
        let model = model_on("llama", &vulkan.device);
        let dispatches = |interventions: &[Intervention]| DecodePlan::new(&vulkan.gpu, &model, interventions, &[], 8).unwrap().dispatches();
        // One dispatch for each place, and another that adds the output of `down_proj` if it is changed. The places
        // of layer 99 take none.
        assert_eq!(dispatches(&interventions_at(3)) - dispatches(&[]), 2 * (4 + 1));
    });
}

#[test]
fn gpu_engine_writes_the_text_of_the_cpu_engine() {
    on_gpu(|_vulkan| {
        let at = |token| Intervention { site: Site::ResidPost, layer: 0, token, channel: 5, action: Action::Set(4.0) };
        // One intervention in the prompt, others while text is written.
        let interventions = [at(1), at(12), at(13), at(20), at(30)];
        for (temperature, top_k, top_p) in [(0.0, 0, 1.0), (0.8, 40, 0.95), (1.5, 256, 1.0), (0.8, 0, 1.0), (1.2, 0, 0.7)] {
            let sampling = Sampling { temperature, top_k, top_p, seed: 7, max_new_tokens: 40 };
            let [cpu, gpu] = [BackendChoice::Cpu, BackendChoice::Gpu].map(|backend| {
                let mut session = Session::with_model_on(&fixture("llama"), backend);
                let edit = WeightEdit { target: EditTarget::row(0, 3), scale: -3.0 };
                session
                    .ask(Request::Apply {
                        ablation: Ablation { weight_edits: vec![edit], interventions: interventions.to_vec(), pruning: None },
                    })
                    .unwrap();
                let prompt = "the old man".to_owned();
                the_event!(session.ask(Request::Generate { prompt, sampling }).unwrap(), Event::Generated(record) => record)
            });
            assert_eq!((&cpu.intact.token_ids, &cpu.ablated.token_ids), (&gpu.intact.token_ids, &gpu.ablated.token_ids));
            assert!((cpu.intact.stopword_mass - gpu.intact.stopword_mass).abs() < 1e-4);
            assert!((cpu.ablated.stopword_mass - gpu.ablated.stopword_mass).abs() < 1e-4);
        }
    });
}
