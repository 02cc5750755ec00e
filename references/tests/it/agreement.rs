//! Everything that can be a reference, against each other: candle, which reads the checkpoint by itself, the source graph
//! of the checkpoint, of a trace and of an export, and what PyTorch recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_converter::Task;
use corer_references::GraphReference;
use corer_verifier::{CandleReference, GoldenReference, Reference};

use crate::{below, feed, fixtures};

/// What any two may differ by.
const TOLERANCE: f32 = 1e-5;

/// A model in every form, and what PyTorch computes for it.
struct Forms {
    checkpoint: PathBuf,
    programs: Vec<PathBuf>,
    recording: PathBuf,
}

impl Forms {
    /// The largest difference of every two references at tokens, over all recorded rows, by their names.
    fn differences(&self) -> BTreeMap<(String, String), f32> {
        let golden = GoldenReference::open(&self.recording).unwrap();
        let inputs = golden.inputs();
        let mut candle = CandleReference::open(&self.checkpoint, None).unwrap();
        candle.prepare(&feed(inputs, 1)).unwrap();
        let outputs = candle.task_outputs();
        let mut references: Vec<(String, Box<dyn Reference>)> = vec![("candle".into(), Box::new(candle))];
        let graphs = std::iter::once(&self.checkpoint).chain(&self.programs);
        for path in graphs {
            let mut graph = GraphReference::open(path, Task::Auto).unwrap();
            graph.prepare(&feed(inputs, 1)).unwrap();
            assert_eq!(graph.task_outputs().len(), outputs.len(), "{}", path.display());
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            references.push((format!("graph of {name}"), Box::new(graph)));
        }
        references.push((
            "PyTorch".into(),
            Box::new(GoldenReference::open(&self.recording).unwrap()),
        ));
        let mut apart: BTreeMap<(String, String), f32> = BTreeMap::new();
        for first in (0..inputs.rows.len()).step_by(8) {
            let batch = inputs.batch(first, 8);
            let computed: Vec<_> = references
                .iter()
                .map(|(name, reference)| {
                    let mut all = reference.outputs_at_tokens(&batch).unwrap();
                    // A trace returns a tuple, in the order the checkpoint has.
                    let named = outputs.iter().zip(reference.task_outputs()).map(|(output, own)| {
                        let value = all.remove(output).or_else(|| all.remove(&own));
                        value.unwrap_or_else(|| panic!("{name} has no {output}"))
                    });
                    (name, named.collect::<Vec<_>>())
                })
                .collect();
            for (at, (one, ours)) in computed.iter().enumerate() {
                for (other, theirs) in &computed[at + 1..] {
                    let worst = apart.entry(((*one).clone(), (*other).clone())).or_default();
                    for (ours, theirs) in ours.iter().zip(theirs) {
                        assert_eq!(ours.shape(), theirs.shape(), "{one} and {other}");
                        let per_position = ours.row_shape().len() == 2;
                        for (index, row) in batch.rows.iter().enumerate() {
                            let width = ours.row(index).len() / if per_position { inputs.length } else { 1 };
                            let pairs = ours.row(index).iter().zip(theirs.row(index)).enumerate();
                            for (at, (a, b)) in pairs {
                                if !per_position || row.is_token(at / width) {
                                    assert!(a.is_finite() && b.is_finite(), "{one} and {other}");
                                    *worst = worst.max((a - b).abs());
                                }
                            }
                        }
                    }
                }
            }
        }
        apart
    }

    #[allow(clippy::print_stdout)] // figures, for whoever asks with --nocapture
    fn agree(&self) {
        let apart = self.differences();
        // Every two of them, and no two the same computation.
        let references = 3 + self.programs.len();
        assert_eq!(apart.len(), references * (references - 1) / 2);
        for ((one, other), worst) in apart {
            println!("{one} and {other}: {worst:.2e}");
            assert!(worst <= TOLERANCE, "{one} and {other}: {worst:e}");
        }
    }
}

fn programs(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    below(folder, |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        endings.iter().any(|ending| name.ends_with(ending)) && !name.contains("dynamic")
    })
}

#[test]
fn references_of_a_small_bert_agree() {
    let folder = fixtures().join("families/bert/feature-extraction");
    let forms = Forms {
        programs: programs(&folder, &[".pt", ".pt2"]),
        recording: folder.join("expected.safetensors"),
        checkpoint: folder,
    };
    assert!(forms.programs.len() >= 4, "{:?}", forms.programs);
    forms.agree();
}

/// Real weights; `conformance/references.sh` makes the folder.
#[test]
#[ignore = "needs MiniLM in every form in $CORER_AGREEMENT"]
fn references_of_a_real_model_agree() {
    let folder = PathBuf::from(std::env::var_os("CORER_AGREEMENT").expect("a folder"));
    let forms = Forms {
        programs: programs(&folder, &[".pt", ".pt2"]),
        recording: folder.join("recorded.safetensors"),
        checkpoint: folder.join("checkpoint"),
    };
    assert!(forms.programs.len() >= 2, "{:?}", forms.programs);
    forms.agree();
}
