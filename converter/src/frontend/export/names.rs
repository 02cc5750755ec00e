//! Names of outputs: keys of the dictionaries a model returns.

use serde::Deserialize;

use super::schema::GraphModule;

/// A container, or a leaf when it has no type (`torch/utils/_pytree.py`, `_TreeSpecSchema`).
#[derive(Deserialize)]
struct Tree {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// JSON once more: the keys of a dictionary or of a `ModelOutput`.
    context: Option<String>,
    children_spec: Vec<Tree>,
}

/// A name for each of `count` outputs, in order; `None` where what is returned has no keys. Two outputs never have
/// the same name.
pub(super) fn outputs(module: &GraphModule, count: usize) -> Vec<Option<String>> {
    let root = module.module_call_graph.iter().find(|call| call.fqn.is_empty());
    let tree = root
        .and_then(|call| call.signature.as_ref())
        .and_then(|signature| serde_json::from_str::<(i64, Tree)>(&signature.out_spec).ok());
    let mut names = Vec::new();
    if let Some((_, tree)) = &tree {
        collect(tree, None, &mut names);
    }
    if names.len() != count {
        return vec![None; count];
    }
    let taken = names.clone();
    for (index, name) in names.iter_mut().enumerate() {
        if name.is_some() && taken[..index].contains(name) {
            *name = None;
        }
    }
    names
}

/// Appends the names of a tree's leaves. What has no key of its own is named after the key above and its position.
fn collect(tree: &Tree, name: Option<String>, names: &mut Vec<Option<String>>) {
    if tree.kind.is_none() {
        names.push(name);
        return;
    }
    let keys = tree
        .context
        .as_deref()
        .and_then(|context| serde_json::from_str::<Vec<String>>(context).ok())
        .filter(|keys| keys.len() == tree.children_spec.len());
    for (index, child) in tree.children_spec.iter().enumerate() {
        let part = keys.as_ref().map(|keys| keys[index].clone());
        let child_name = match (&name, part) {
            (Some(name), Some(part)) => Some(format!("{name}_{part}")),
            (Some(name), None) => Some(format!("{name}_{index}")),
            (None, part) => part,
        };
        collect(child, child_name, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(spec: &str) -> Vec<Option<String>> {
        let mut names = Vec::new();
        let (_, tree) = serde_json::from_str::<(i64, Tree)>(spec).unwrap();
        collect(&tree, None, &mut names);
        names
    }

    #[test]
    fn keys_name_what_they_hold() {
        let leaf = r#"{"type":null,"context":null,"children_spec":[]}"#;
        let pair = format!(r#"{{"type":"builtins.tuple","context":"null","children_spec":[{leaf},{leaf}]}}"#);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(names(&format!("[1,{leaf}]")), [None]);
        assert_eq!(names(&format!("[1,{pair}]")), [None, None]);
        let dict = format!(
            r#"[1,{{"type":"builtins.dict","context":"[\"logits\",\"rest\"]","children_spec":[{leaf},{pair}]}}]"#
        );
        assert_eq!(names(&dict), [some("logits"), some("rest_0"), some("rest_1")]);
    }
}
