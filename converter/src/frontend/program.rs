//! Traced and exported models: the inputs sized, the outputs named.

use super::Imported;
use super::aten::{self, Inputs, Program};
use crate::error::ConvertError;
use crate::request::{Request, Task};
use crate::shapes::InputShape;

/// The program as a graph, for inputs of the sizes given.
pub(super) fn import(
    program: &Program,
    file: &str,
    request: &Request,
    shape: InputShape,
) -> Result<Imported, ConvertError> {
    let (Some(batch), Some(tokens)) = (shape.batch.known(), shape.tokens.known()) else {
        return Err(ConvertError::Request {
            flag: "--sequence-length",
            reason: "a traced or exported program is converted for sizes that are known; list them (32,64,128) with \
                     --target ios18 to have a function for each"
                .into(),
        });
    };
    let task = task(request.task, program.class.as_deref());
    let inputs = Inputs {
        batch,
        tokens,
        dims: &program.input_dims(shape)?,
        declared: &request.inputs,
        zero: (!request.token_types).then_some("token_type_ids"),
    };
    let names = match (&request.output_names[..], own_names(task)) {
        ([], own) if unnamed(program) && own.len() >= program.outputs.len() => own[..program.outputs.len()]
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        (given, _) => given.to_vec(),
    };
    let mut graph = aten::import(program, file, &inputs, &names)?;
    graph.sweep();
    graph.check().map_err(|error| ConvertError::Graph {
        stage: "frontend".into(),
        error,
    })?;
    Ok(Imported {
        graph,
        task,
        labels: Vec::new(),
        unused: Vec::new(),
        notes: Vec::new(),
    })
}

fn unnamed(program: &Program) -> bool {
    program.outputs.iter().all(|output| output.name.is_none())
}

/// What is asked, else what the class of a transformers model says, else the model's own business.
fn task(asked: Task, class: Option<&str>) -> Task {
    const HEADS: [(&str, Task); 5] = [
        ("ForSequenceClassification", Task::SequenceClassification),
        ("ForTokenClassification", Task::TokenClassification),
        ("ForQuestionAnswering", Task::QuestionAnswering),
        ("ForMaskedLM", Task::FillMask),
        ("Model", Task::FeatureExtraction),
    ];
    match (asked, class) {
        (Task::Auto, Some(class)) => {
            let head = HEADS.iter().find(|(suffix, _)| class.ends_with(suffix));
            head.map_or(Task::Custom, |(_, task)| *task)
        }
        (Task::Auto, None) => Task::Custom,
        (task, _) => task,
    }
}

/// What a task's outputs are called when the program does not name them.
const fn own_names(task: Task) -> &'static [&'static str] {
    match task {
        Task::FeatureExtraction => &["last_hidden_state", "pooler_output"],
        Task::SequenceClassification | Task::TokenClassification | Task::FillMask => &["logits"],
        Task::QuestionAnswering => &["start_logits", "end_logits"],
        Task::SentenceEmbedding => &["sentence_embedding"],
        Task::Auto | Task::Custom => &[],
    }
}
